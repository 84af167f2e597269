//! The formats of the queue's stored values: postcard of an enum of versions, as [`crate::record`]'s.

use mailrook_kv::{RecordError, decode, encode};
use mailrook_types::{BlobHash, ClientId, Domain};
use serde::{Deserialize, Serialize};

use crate::{ClaimId, QueuedEnvelope, QueuedRecipient};

macro_rules! versioned {
    ($($name:ident),*) => {
        $(impl $name {
            pub(crate) fn encode(&self) -> Vec<u8> {
                encode(&Versioned::V1(self))
            }

            pub(crate) fn decode(bytes: &[u8]) -> Result<$name, RecordError> {
                let Versioned::V1(record) = decode(bytes)?;
                Ok(record)
            }
        })*
    };
}

/// Postcard writes the variant as the first byte: later versions are appended.
#[derive(Serialize, Deserialize)]
enum Versioned<T> {
    V1(T),
}

versioned!(
    SummaryRecord,
    MessageRecord,
    JobRecord,
    DestinationRecord,
    ClaimRecord,
    SeenRecord
);

/// What is counted over all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SummaryRecord {
    /// The number that the next message gets.
    pub next_message: u64,
    /// The number that the next claim gets.
    pub next_claim: u64,
    /// How often numbers were left out, of the times that the shard counts.
    pub skips: u32,
    pub messages: u64,
    pub jobs: u64,
    pub held: u64,
    pub bytes: u64,
}

/// A queued message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageRecord {
    pub envelope: QueuedEnvelope,
    pub hash: BlobHash,
    pub size: u32,
    /// Its jobs that are not done.
    pub jobs: u32,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobRecord {
    pub destination: Domain,
    /// Each at its place; those that are done stay there until all are.
    pub recipients: Vec<(QueuedRecipient, IsDone)>,
    pub due_ms: i64,
    pub tries: u32,
    pub delay_told: bool,
    pub held: bool,
    pub claim: Option<ClaimId>,
}

/// Whether a recipient has it, or will not get it.
pub(crate) type IsDone = bool;

impl JobRecord {
    pub(crate) fn is_done(&self) -> bool {
        self.recipients.iter().all(|(_, is_done)| *is_done)
    }

    /// Whether it is among those that wait.
    pub(crate) fn waits(&self) -> bool {
        !self.held && self.claim.is_none()
    }
}

/// What is known of a destination that has jobs, or rests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DestinationRecord {
    pub jobs: u64,
    pub claimed: u64,
    pub rests_until_ms: Option<i64>,
    /// Whether as many of its jobs are under way as may be: then it waits for one to come back.
    pub is_full: bool,
    /// Its place among the destinations that have something to give.
    pub ready_ms: Option<i64>,
}

/// A claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClaimRecord {
    pub runner: ClientId,
    pub expires_ms: i64,
    /// When it was found to be over.
    pub notice_ms: Option<i64>,
    /// Its place among those that are looked at when their time comes.
    pub lapse_ms: i64,
    pub jobs: u32,
}

/// Who has got a message by which transmissions: the value of a table's entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenRecord(pub Vec<Seen>);

/// A transmission's recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub mark: u128,
    /// The first bytes of the digests of their addresses, ascending.
    pub recipients: Vec<[u8; 16]>,
}
