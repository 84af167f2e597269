//! One shard's deterministic state machine: accounts with their mailboxes, messages and bodies, and slices of the
//! cluster-wide tables.
//!
//! The log carries [`ShardCommand`]s; the state machine turns each into changes of an ordered key-value store
//! and a [`ShardReply`]. Reads are functions over a snapshot of that store, asked for with a [`Query`].
//! `key` has the layout of the store, `record` the formats of its values.
//!
//! *Architecture Invariant:* this crate knows no Raft, no sockets, no clock and no randomness, and it parses no
//! mail: all that is derived from a message comes with the command.

mod answer;
mod apply;
mod bits;
mod body;
mod check;
mod command;
mod digest;
mod fields;
mod index;
mod key;
mod lane;
pub mod limits;
mod mailbox;
mod maildrop;
mod message;
mod moving;
mod name;
mod query;
mod queue;
mod reap;
mod record;
mod reply;
mod shard;
mod slot;
mod sweep;
#[cfg(test)]
mod testing;
mod transit;
mod tx;
mod wire;

pub use answer::answer;
pub use check::check;
pub use command::{
    AccountChange, AccountCommand, AppendTo, BodySource, Change, Chunk, ChunkCodec, Confirmation,
    Deliver, DeliveryKey, MailboxRef, NewBody, NewMailbox, NewMessage, QuotaLimit,
    RecipientDelivery, ShardCommand, SlotCommand, SlotEntry, SlotStep, TableCommand, TableId,
    TableOp, UploadChunk,
};
pub use digest::{account_digest, shard_digest};
pub use key::table_slot;
pub use maildrop::{LEVEL_POP3_LOCK, MaildropCommand, MaildropHolder, MaildropReply, MaildropStep};
pub use moving::{
    MoveCommand, MoveReply, MoveStage, MoveStanding, MoveStep, MovedMessage, MovedPair, MovedPairs,
    Mover,
};
pub use query::{
    Answer, ChangePlace, Changes, IndexEntry, MailboxInfo, MailboxList, MailboxStatus,
    MessageDetail, Query, QuotaUsage,
};
pub use queue::{
    ClaimId, ClaimJobs, Claimed, ClaimedJob, DestinationSummary, Enqueue, Enqueued, JobChange,
    JobId, JobStanding, LEVEL_QUEUE, ListedJob, Needs, NewJob, NewQueued, Origin, QueueAnswer,
    QueueCommand, QueueConfirmation, QueueQuery, QueueReply, QueueReport, QueueSummary,
    QueuedEnvelope, QueuedId, QueuedNotify, QueuedRecipient, ReportOutcome, ShownMessage,
    transmission_slot,
};
pub use reply::{
    Appended, ChangeReply, Copied, Delivered, DeliveryOutcome, FlagsStored, Refusal, ShardReply,
    SlotReply, TableReply,
};
pub use shard::Shard;
pub use sweep::is_overdue;
