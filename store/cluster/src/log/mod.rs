//! The log shared by all groups of a node: the only write-ahead log there is.
//!
//! A [`LogStore`] keeps entries and small records for each group; [`SharedLog`] is the one writer on top of it, that
//! gathers what waits and pays one sync for all. Entries are opaque here but for their index.

mod codec;
mod engine;
mod shim;
mod writer;

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

pub(crate) use codec::{
    HEAD_BYTES, decode_entry, decode_log_id, decode_membership, decode_vote, encode_entry,
    encode_log_id, encode_membership, encode_vote, log_id,
};
pub(crate) use engine::{EngineLog, EngineOptions, QUEUES, Queue};
pub(crate) use writer::{OnFatal, SharedLog, WriterOptions};

/// One write of the log is at most about this large: what the writer gathers before it syncs. A sync of 8 MiB takes
/// some 10 ms on an ordinary disk; more would only add latency.
pub(crate) const WRITE_BYTES_MAX: usize = 8 << 20;

/// What one group may have in flight, which its engine may hand over as one append.
pub(crate) const APPEND_BYTES_MAX: usize = 16 << 20;

/// An entry as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEntry {
    /// Its place in its group's log.
    pub index: u64,
    /// The fixed first part, in the log's own format.
    pub head: [u8; HEAD_BYTES],
    /// The rest, shared with whoever holds the entry in memory.
    pub body: Bytes,
}

impl RawEntry {
    /// An entry that was sent.
    pub(crate) fn of_parts(head: [u8; HEAD_BYTES], body: Bytes) -> RawEntry {
        RawEntry {
            index: codec::entry_index(&head),
            head,
            body,
        }
    }

    /// What it takes in the log.
    pub(crate) fn len_bytes(&self) -> usize {
        HEAD_BYTES + self.body.len()
    }
}

/// One change of the log.
#[derive(Clone, Debug)]
pub enum LogWrite {
    /// Entries with consecutive indexes; those at or after the first one's are replaced.
    Append {
        /// Whose.
        group: u64,
        /// At least one.
        entries: Vec<RawEntry>,
    },
    /// A small record of the group.
    Record {
        /// Whose.
        group: u64,
        /// Which.
        key: RecordKey,
        /// What it says from now on.
        value: Vec<u8>,
    },
    /// The group's entries before `first_kept` are not needed any more. May lie beyond the last one.
    Compact {
        /// Whose.
        group: u64,
        /// The first entry that is still needed.
        first_kept: u64,
    },
    /// Nothing of the group is needed any more: neither entries nor records.
    Forget {
        /// Whose.
        group: u64,
    },
}

/// The records that a group has in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKey {
    /// The vote.
    Vote,
    /// The last entry that was cut.
    Purged,
    /// The last entry of a snapshot that is about to replace the group's state.
    Installing,
}

impl RecordKey {
    fn bytes(self) -> &'static [u8] {
        match self {
            RecordKey::Vote => b"vote",
            RecordKey::Purged => b"purged",
            RecordKey::Installing => b"installing",
        }
    }
}

/// The log failed. For writes there is no going on, but where there was no room; a read concerns its group alone.
#[derive(Clone, Debug, Error)]
#[error("the log failed {doing}: {cause}")]
pub struct LogError {
    doing: &'static str,
    cause: String,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// What is there is not what was written.
    Damage,
    /// There was no room, and nothing was written.
    NoRoom,
    /// The log is closed.
    Closed,
    /// Something else, as a missing right.
    Other,
}

impl LogError {
    /// What is there is not what was written.
    pub fn damage(doing: &'static str, cause: impl Into<String>) -> LogError {
        LogError {
            doing,
            cause: cause.into(),
            fault: Fault::Damage,
        }
    }

    /// There was no room for a write. All of it was taken back before it was synced, so that it may be tried again.
    pub fn no_room(doing: &'static str, cause: impl Into<String>) -> LogError {
        LogError {
            doing,
            cause: cause.into(),
            fault: Fault::NoRoom,
        }
    }

    /// Something else is wrong.
    pub fn failure(doing: &'static str, cause: impl Into<String>) -> LogError {
        LogError {
            doing,
            cause: cause.into(),
            fault: Fault::Other,
        }
    }

    pub(crate) fn closed() -> LogError {
        LogError {
            doing: "using it",
            cause: "it is closed".to_owned(),
            fault: Fault::Closed,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.fault == Fault::Closed
    }

    pub(crate) fn is_damage(&self) -> bool {
        self.fault == Fault::Damage
    }

    pub(crate) fn is_no_room(&self) -> bool {
        self.fault == Fault::NoRoom
    }
}

impl From<LogError> for std::io::Error {
    fn from(error: LogError) -> std::io::Error {
        std::io::Error::other(error)
    }
}

/// What keeps the log.
pub trait LogStore: Send + Sync + 'static {
    /// Tells of the next write, and says how long the writer waits before it carries it out. On a disk not at all: the
    /// write itself takes its time, which in a simulation nothing can.
    fn begin(&self, _writes: &[LogWrite]) -> Duration {
        Duration::ZERO
    }

    /// Makes all of `writes` durable, in order, in one sync. After an error nothing is known of them, but for
    /// [`LogError::no_room`].
    ///
    /// # Errors
    /// What was not written, or cannot be: there is no going on, but for [`LogError::no_room`].
    fn write_synced(&self, writes: &[LogWrite]) -> Result<(), LogError>;

    /// The group's first and last entry, if it has any.
    fn bounds(&self, group: u64) -> Option<(u64, u64)>;

    /// The entries of `from..to`, as many as fit `bytes_max`, but at least one.
    ///
    /// # Errors
    /// What cannot be read, or is not what was written.
    fn read(
        &self,
        group: u64,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<RawEntry>, LogError>;

    /// A record's value.
    fn record(&self, group: u64, key: RecordKey) -> Option<Vec<u8>>;

    /// Gives files back that hold nothing needed, once there are too many, and names the groups whose old entries
    /// stand in the way. Slow; may run beside writes.
    ///
    /// # Errors
    /// As reading and writing files.
    fn purge(&self) -> Result<Vec<u64>, LogError>;

    /// What the log occupies.
    fn used_bytes(&self) -> u64;
}
