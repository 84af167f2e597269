//! Identifiers that the store grants. Each is immutable and never used again for something else.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! numeric_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

numeric_id!(
    /// A node of the cluster, drawn at random when its data directory is made. Never zero.
    NodeId,
    "n"
);
numeric_id!(
    /// An account of the directory. Names change, this does not.
    AccountId,
    "a"
);
numeric_id!(
    /// A mailbox, unique within its account: it survives RENAME (RFC 8474 §5.1, MAILBOXID).
    MailboxId,
    "m"
);
numeric_id!(
    /// A message, unique within its account: it survives COPY and MOVE (RFC 8474 §5.2, EMAILID).
    MessageId,
    "e"
);
numeric_id!(
    /// A thread of messages within its account (RFC 8474 §5.3, THREADID).
    ThreadId,
    "t"
);

/// A shard: a Raft group that holds accounts and slices of the cluster-wide tables. Zero is the meta group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub u32);

impl ShardId {
    /// The group that holds the directory, the placement and the settings.
    pub const META: ShardId = ShardId(0);
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The BLAKE3 of a message's raw bytes: the name of its body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobHash(pub [u8; 32]);

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobHash({self})")
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Names the chunks of one body on their way into a shard, and afterwards the place where they stay.
/// Chosen at random by the proposer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UploadId(pub u128);
