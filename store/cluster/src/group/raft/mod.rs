//! A group on openraft.
//!
//! openraft decides; [`log`] and [`machine`] keep what it decides, [`network`] will carry it, and [`RaftGroup`] is
//! the [`Group`](crate::Group) on top. openraft's types stay within this folder and the log's codec.

mod barrier;
mod cache;
mod calls;
mod clock;
mod handle;
mod log;
mod machine;
mod network;
mod snapshot;
mod standing;
#[cfg(test)]
mod tests;
mod types;

pub(crate) use handle::{GroupParts, RaftGroup};
pub(crate) use types::{Command, Entry, LogId, StoredMembership, Vote, log_mark, vote_mark};
