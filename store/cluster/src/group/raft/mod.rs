//! A group on openraft.
//!
//! openraft decides; [`log`] and [`machine`] keep what it decides, [`network`] carries it to the other copies and
//! [`serve`] takes it from them, and [`RaftGroup`] is the [`Group`](crate::Group) on top. openraft's types stay within this folder and the log's codec.

mod admission;
mod barrier;
mod cache;
mod calls;
mod clock;
mod handle;
mod heard;
mod log;
mod machine;
mod members;
mod network;
mod receive;
mod runtime;
mod send;
mod serve;
mod snapshot;
mod standing;
#[cfg(test)]
mod tests;
mod transfer;
mod types;
pub(crate) mod wire;

pub(crate) use admission::recovery_term;
pub(crate) use clock::{Correction, WallClock, wall_ms};
pub(crate) use handle::{GroupParts, Origin, RaftGroup};
pub(crate) use heard::Heard;
pub(crate) use send::SnapshotSender;
pub(crate) use types::{Command, Entry, LogId, StoredMembership, Vote, log_mark, vote_mark};
