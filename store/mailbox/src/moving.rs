//! What the log carries of a move of an account from one shard to another, and what shards say of it.
//!
//! The account is copied while it is used: what changes meanwhile is noted in rounds, and copied again. Then it is fenced, for the
//! last of it, and both sides are compared; the meta group decides between them; and it opens where it has gone, or where
//! it was. `apply/moving.rs` has the steps, `transit.rs` what each may follow.

use mailrook_types::{AccountId, BlobHash, UploadId};
use serde::{Deserialize, Serialize};

use crate::BodySource;

/// A step of a move, at the shard that the account leaves or at the one that gets it. Every step can be sent again: what is done
/// is answered as done. What is of an older move than the account has seen, or of a mover that another one has taken over from, is
/// refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveCommand {
    /// Whose mail.
    pub account: AccountId,
    /// Which move, and by whom.
    pub by: Mover,
    /// Which step.
    pub step: MoveStep,
    /// Where the last part of the step ended, as [`MoveReply::More`] said; empty for the first one.
    #[serde(with = "serde_bytes")]
    pub cursor: Vec<u8>,
}

/// Which move, and by whom. Later ones are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mover {
    /// Which move. Later moves of an account have higher numbers.
    pub move_id: u64,
    /// How often the move was taken over by another mover.
    pub turn: u32,
}

/// The steps of a move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveStep {
    /// Where the account goes: clears what an earlier move may have left, and takes pairs from now on.
    Begin,
    /// Where it comes from: from now on what changes is noted under this round, the first of which is 1. What was noted
    /// under rounds before `noted_from` is forgotten: it was copied.
    Leave {
        /// Which round.
        round: u32,
        /// The first round of which the notes are still needed.
        noted_from: u32,
    },
    /// Where it goes: takes some of the account's pairs, at most [`MOVED_BYTES_MAX`](crate::limits::MOVED_BYTES_MAX).
    Install(Vec<MovedPair>),
    /// The same of pairs that are longer than an entry of the log (a lane that keeps long replies): they were uploaded, as
    /// [`MovedPairs`], in at most [`MOVED_CHUNKS_MAX`](crate::limits::MOVED_CHUNKS_MAX) chunks.
    InstallUploaded {
        /// The upload.
        upload: UploadId,
        /// The BLAKE3 of each of its chunks.
        digests: Vec<[u8; 32]>,
    },
    /// Where it comes from: refuses to read or change it from now on. Answered by [`MoveReply::Fenced`].
    Fence,
    /// Where it goes: all of it is there; the account's own record comes with this, and says what all pairs add up to.
    Complete {
        /// As the fenced source said.
        #[serde(with = "serde_bytes")]
        record: Vec<u8>,
    },
    /// Where it goes, once the meta group says that it is there: the account is this shard's.
    Open,
    /// Where it came from, once the meta group says that it is not there any more: removes some of it.
    Drop,
    /// Where it comes from, once the meta group says that the move comes to nothing: it is served again.
    Return,
    /// Where it would have gone, once the meta group says that the move comes to nothing: removes some of it.
    Discard,
}

/// A pair of an account, as it is at the shard that the account leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedPair {
    /// The key, whole.
    #[serde(with = "serde_bytes")]
    pub key: Vec<u8>,
    /// The value; none if there is no such pair any more.
    pub value: Option<serde_bytes::ByteBuf>,
    /// What stands beside a message.
    pub message: Option<MovedMessage>,
}

impl MovedPair {
    /// How many bytes it takes of what a step may have.
    pub fn bytes(&self) -> usize {
        let value = self.value.as_ref().map_or(0, |value| value.len());
        self.key.len() + value + self.message.as_ref().map_or(0, MovedMessage::bytes)
    }
}

/// Pairs as they are uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedPairs(pub Vec<MovedPair>);

/// What stands beside a message's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedMessage {
    /// Its body.
    pub hash: BlobHash,
    /// How long the body is.
    pub body_size: u32,
    /// Envelope, structure, prefix.
    #[serde(with = "serde_bytes")]
    pub detail: Vec<u8>,
    /// The search signature.
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
    /// Where the body is; none if the shard that the account goes to has it.
    pub source: Option<BodySource>,
}

impl MovedMessage {
    fn bytes(&self) -> usize {
        let body = match &self.source {
            Some(BodySource::Inline(chunks)) => chunks.iter().map(|chunk| chunk.bytes.len()).sum(),
            Some(BodySource::Uploaded { digests, .. }) => digests.len() * 32,
            None => 0,
        };
        self.detail.len() + self.signature.len() + body
    }
}

/// How a step of a move went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveReply {
    /// It is done.
    Done,
    /// A part of it: the same step goes on.
    More {
        /// Up to where.
        #[serde(with = "serde_bytes")]
        cursor: Vec<u8>,
    },
    /// The account is fenced, and this is its own record: what [`MoveStep::Complete`] is to bring.
    Fenced {
        /// The record.
        #[serde(with = "serde_bytes")]
        record: Vec<u8>,
    },
    /// Nothing was taken: these bodies are not here.
    BodiesMissing(Vec<BlobHash>),
    /// What came is not what the shard that the account leaves says it is.
    Differs,
}

/// Where an account stands in its last move, for who goes on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveStanding {
    /// The last one that took a step.
    pub by: Mover,
    /// How far it has come.
    pub stage: MoveStage,
}

/// How far a move has come at one of its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveStage {
    /// It is served here, and what changes is noted under this round.
    Leaving(u32),
    /// It is fenced in this round.
    Fenced(u32),
    /// What an earlier move has left is removed, before its pairs come.
    Clearing,
    /// Its pairs are coming.
    Incoming,
    /// It is here whole, and not served yet.
    Complete,
    /// It is served here.
    Here,
    /// It is on another shard, and what is left of it here is being removed.
    Going,
    /// It is on another shard.
    Gone,
}
