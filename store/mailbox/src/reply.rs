//! What applying a command answers. Replies are kept and sent, so that the rule of [`crate::command`] for versions
//! holds here too.

use mailrook_types::{MailboxId, ModSeq, Uid, UidSet, UidValidity};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Confirmation, MaildropReply, MoveReply, QueueReply};

/// The answer to a [`ShardCommand`](crate::ShardCommand), variant for variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardReply {
    /// To an account command.
    Account(Result<ChangeReply, Refusal>),
    /// To a delivery, for each recipient in order.
    Deliver(Vec<DeliveryOutcome>),
    /// To an uploaded chunk.
    Uploaded(Result<(), Refusal>),
    /// To confirmations and ticks.
    Done,
    /// To table changes, for each in order. Refused as a whole is only what cannot be told from a repeat, and what
    /// concerns a slot that is not here.
    Table(Result<Vec<TableReply>, Refusal>),
    /// To a step of a move of slots.
    Slots(Result<SlotReply, Refusal>),
    /// To a step of a move of an account.
    Move(Result<MoveReply, Refusal>),
    /// To confirmations, some of which are of accounts that are not here: they belong where the accounts are.
    Elsewhere(Vec<Confirmation>),
    /// To a delivery that brought such confirmations.
    DeliverAndElsewhere(Vec<DeliveryOutcome>, Vec<Confirmation>),
    /// To a step with the lock of a maildrop.
    Maildrop(Result<MaildropReply, Refusal>),
    /// To a step with the queue.
    Queue(Result<QueueReply, Refusal>),
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeReply {
    /// Nothing more to say.
    Done,
    /// A mailbox was made.
    Created(MailboxId),
    /// Messages were appended.
    Appended(Appended),
    /// Flags were stored.
    FlagsStored(FlagsStored),
    /// Messages were copied or moved.
    Copied(Copied),
    /// Messages were expunged.
    Expunged {
        /// Which.
        uids: UidSet,
        /// The MODSEQ of the removal; the mailbox's highest if nothing was removed.
        modseq: ModSeq,
    },
}

/// Where appended messages are (RFC 4315, APPENDUID).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// Its UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The messages' UIDs, in order.
    pub uids: UidSet,
    /// The MODSEQ that they have.
    pub modseq: ModSeq,
}

/// What STORE did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlagsStored {
    /// Messages whose flags are now other than before.
    pub changed: UidSet,
    /// Messages left alone for UNCHANGEDSINCE (RFC 7162, MODIFIED).
    pub modified: UidSet,
    /// The MODSEQ of the changed ones; the mailbox's highest if none changed.
    pub modseq: ModSeq,
}

/// Where copied messages are (RFC 4315, COPYUID).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// The target.
    pub mailbox: MailboxId,
    /// Its UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The originals that existed, ascending.
    pub from: UidSet,
    /// Their copies, ascending, as many.
    pub to: UidSet,
    /// The MODSEQ of the copies, and of the originals' removal.
    pub modseq: ModSeq,
}

/// What became of one recipient's delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryOutcome {
    /// It is in the mailbox.
    Delivered(Delivered),
    /// The same transmission is in the mailbox already; nothing was added.
    Duplicate(Delivered),
    /// It is not in the mailbox.
    Refused(Refusal),
}

/// Where a delivered message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// The message.
    pub uid: Uid,
}

/// Why a command changed nothing. None of these is retried: the same command would be refused again, except where
/// it is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum Refusal {
    /// The shard holds no such account. (It may have moved: the client looks the placement up again.) To the command that
    /// makes an account: it was removed.
    #[error("the account is not on this shard")]
    NoSuchAccount,
    /// There is no such mailbox.
    #[error("there is no such mailbox")]
    NoSuchMailbox,
    /// There is a mailbox of that name.
    #[error("there is a mailbox of that name already")]
    MailboxExists,
    /// INBOX cannot be deleted, nor be a target of RENAME.
    #[error("INBOX cannot be deleted or replaced")]
    InboxIsFixed,
    /// RENAME into a mailbox's own descendant.
    #[error("a mailbox cannot be moved below itself")]
    BelowItself,
    /// Another mailbox of the account has that special use.
    #[error("another mailbox has that special use")]
    SpecialUseTaken,
    /// The account would hold more than it may.
    #[error("the account is over its quota")]
    OverQuota,
    /// A bound of the store that the message names: mailboxes in an account, keywords in a mailbox, UIDs.
    #[error("a limit is reached: {0}")]
    Limit(String),
    /// The chunks of a body are not all here. Send them again, then the command.
    #[error("the message's body is not here, send it again")]
    BodyMissing,
    /// The operation is older than what its client says it has seen answered, or its client is no longer known.
    #[error("the operation is too old to be recognised")]
    StaleOperation,
    /// A slot of the tables is not on this shard, or not any more. Nothing was changed, and a repeat changes nothing
    /// either: the client looks up where the slot is, and asks there by a new operation.
    #[error("slot {0} of the tables is not on this shard")]
    SlotNotHere(u16),
    /// A step of a move of slots that is over here, or that was not begun.
    #[error("slot {0} of the tables is not in that move on this shard")]
    StaleMove(u16),
    /// The account is on another shard, or on its way from or to this one. Nothing was changed, and it is not kept: the client
    /// looks up where the account is, and sends the same operation there.
    #[error("the account is on another shard, or is moving")]
    Elsewhere,
    /// A step of a move that is over here, that was not begun, or that another mover has taken over.
    #[error("the account is not in that move on this shard")]
    StaleAccountMove,
    /// The lock of the maildrop is not this session's, or not any more: its lease was over, and another session has taken it.
    #[error("another session has taken over the maildrop")]
    MaildropLost,
}

/// What became of one table change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableReply {
    /// It was carried out; the counter's value after `Add`.
    Done(Option<i64>),
    /// `CompareAndPut` found this instead.
    Mismatch(Option<Vec<u8>>),
    /// `Add` met a value that is no counter.
    NotACounter,
}

/// How far a step of a move of slots has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotReply {
    /// It is done.
    Done,
    /// A part of it: the same command goes on.
    More,
}
