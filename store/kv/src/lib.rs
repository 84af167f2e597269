//! The ordered key-value store under the state machines.
//!
//! A state machine reads through [`Read`], gathers what it writes in an [`Overlay`], which it can read back at
//! once, and hands the finished [`Batch`] to a [`Store`], which makes it visible as a whole. The in-memory twin,
//! [`MemoryStore`], behaves as the real one over RocksDB does, so that most tests need no RocksDB.
//!
//! *Architecture Invariant:* this crate knows no mail, no Raft and no disk. Keys and values are bytes; order is
//! the order of bytes.

mod machine;
mod memory;
mod overlay;
mod record;
mod room;
mod wire;

use std::ops::ControlFlow;

use thiserror::Error;

pub use machine::{Applied, ApplyError, StateMachine, View};
pub use memory::{MemorySnapshot, MemoryStore};
pub use overlay::{Batch, Overlay, Write};
pub use record::{RecordError, decode, encode};
pub use room::{ANSWER_BYTES_MAX, Room};
#[doc(hidden)]
pub use wire::Versioned;

/// Where a key lives. Spaces differ in how the engine keeps them, not in what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Small records that are listed and looked up: indexes, mailboxes, counters, tables.
    Index,
    /// A few hundred bytes to a few KiB for each message: envelopes, structures, signatures.
    Detail,
    /// The chunks of bodies, compressed already.
    Body,
}

impl Space {
    /// Every space.
    pub const ALL: [Space; 3] = [Space::Index, Space::Detail, Space::Body];
}

/// Which end of a range a scan starts at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

/// The engine failed. It is our fault or the disk's, never the caller's; the node cannot go on with this shard.
#[derive(Clone, Debug, Error)]
pub enum KvError {
    /// Reading or writing failed.
    #[error("the store's engine failed: {0}")]
    Engine(String),
    /// A checksum did not match, or a record cannot be read: what is there is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// There is no room to write. Nothing is damaged: it goes on once there is.
    #[error("the disk is full: {0}")]
    Full(String),
}

impl From<RecordError> for KvError {
    fn from(error: RecordError) -> KvError {
        KvError::Damaged(error.to_string())
    }
}

/// A view that can be read. Reads of one snapshot, or of one overlay, agree with each other.
pub trait Read {
    /// The value of `key`.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;

    /// Calls `visit` for each pair with `start <= key < end`, until it breaks.
    #[expect(
        clippy::type_complexity,
        reason = "an alias would hide the visitor's lifetime"
    )]
    fn scan(
        &self,
        space: Space,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError>;
}

/// What holds the state of one group.
pub trait Store: Send + Sync + 'static {
    /// A view that later writes do not change.
    type Snapshot<'a>: Read
    where
        Self: 'a;

    /// The state as of now.
    fn snapshot(&self) -> Self::Snapshot<'_>;

    /// Makes all of `batch` visible at once. Durability is the caller's matter: the log holds what was applied.
    fn write(&self, batch: Batch) -> Result<(), KvError>;
}

/// The first key after all keys that start with `prefix`, as the exclusive end of a scan.
///
/// A prefix of nothing but `0xff` has no such key; ours start with a table's tag below that.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0xff; prefix.len() + 1]
}
