//! Raft groups on one shared log, over RocksDB.
//!
//! A node opens a data directory and gives a [`Group`] for each shard that it has a copy of.
//!
//! *Architecture Invariant:* this crate knows no mail. A command is bytes, and what it means is the business of the
//! [`StateMachine`](mailrook_kv::StateMachine) that the group is given.

mod group;
mod node;

pub use group::{COMMAND_BYTES_MAX, Group, GroupError, GroupRole, GroupStatus, Touched, Watch};
pub use node::{NodeOptions, NodeStatus, OpenError, Plant, SHARDS_MAX};
