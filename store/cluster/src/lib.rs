//! Raft groups on one shared log, over RocksDB.
//!
//! A [`Node`] opens a data directory and gives a [`Group`] for each shard that it has a copy of. A proposal goes
//! through the group's consensus engine into the log that all groups of the node share, where one writer pays one
//! sync for all that wait; once it is on a majority of the disks it is applied to the group's tables and answered.
//!
//! *Architecture Invariant:* this crate knows no mail. A command is bytes, and what it means is the business of the
//! [`StateMachine`](mailrook_kv::StateMachine) that the group is given.

mod data_dir;
mod disk;
mod group;
mod guard;
mod log;
mod node;
pub mod simulation;
mod state;

pub use data_dir::replace_file;
pub use disk::{DiskSpace, FileSystemSpace};
pub use group::{
    COMMAND_BYTES_MAX, Group, GroupError, GroupRole, GroupStatus, Progress, Touched, Watch,
};
pub use log::{LogError, LogStore, LogWrite, RawEntry, RecordKey};
pub use node::{
    CopyReport, DamagedNode, Machines, Node, NodeOptions, NodeStatus, OpenError, Parts, Plant,
    Reached, Recovery, SHARDS_MAX,
};
pub use state::{StateTables, TableEngine, VisitWithRecord};

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without words").to_owned()
}
