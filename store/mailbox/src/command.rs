//! What a shard's log can carry.
//!
//! Postcard writes an enum's variant as a number, so that variants are the version: new ones are appended at the end,
//! old ones stay as they are for ever.

use mailrook_types::{
    AccountId, BlobHash, FlagUpdate, Flags, MailboxId, MailboxName, ModSeq, OpId, SpecialUse,
    Timestamp, Uid, UidSet, UploadId,
};
use serde::{Deserialize, Serialize};

use crate::{JobChange, MaildropCommand, MaildropHolder, MoveCommand, MoveStep, QueueCommand};

/// One command of a shard's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardCommand {
    /// A change of one account, asked for by a session or an administrator.
    Account(AccountCommand),
    /// One message for one or more accounts of the shard.
    Deliver(Deliver),
    /// A chunk of a body too large to travel with the command that makes it visible.
    Upload(UploadChunk),
    /// Deliveries whose acknowledgement the sender is known to have seen.
    Confirm(Vec<Confirmation>),
    /// Changes of the cluster-wide tables' slices.
    Table(TableCommand),
    /// Lets the log's time go on while nothing else happens, so that what has expired is removed.
    Tick,
    /// A step of a move of table slots from one shard to another. From feature level 3 on.
    Slots(SlotCommand),
    /// The shard was brought back from a copy that may lack what others acknowledged: UIDs, MODSEQs and ids that may have been
    /// given in that are left out.
    SkipNumbers,
    /// A step of a move of an account from one shard to another. From feature level 5 on.
    Move(MoveCommand),
    /// A step with the lock of an account's maildrop. From feature level 6 on.
    Maildrop(MaildropCommand),
    /// A step with the queue of outgoing mail. From feature level 8 on.
    Queue(QueueCommand),
}

impl ShardCommand {
    /// Whether it removes mail or what is kept beside it, or is a step of how clients do so: they mark messages as deleted
    /// or move them to the trash first.
    pub(crate) fn makes_room(&self) -> bool {
        match self {
            ShardCommand::Account(command) => match &command.change {
                Change::Account(change) => matches!(change, AccountChange::Delete),
                Change::DeleteMailbox(_)
                | Change::StoreFlags { .. }
                | Change::Expunge { .. }
                | Change::Remove { .. }
                | Change::CloseMaildrop { .. } => true,
                Change::Copy {
                    remove_originals, ..
                } => *remove_originals,
                Change::CreateMailbox(_)
                | Change::RenameMailbox { .. }
                | Change::Subscribe { .. }
                | Change::Append(_)
                | Change::AppendUploaded { .. } => false,
            },
            // Frees what is remembered, or has expired.
            ShardCommand::Confirm(_) | ShardCommand::Tick => true,
            ShardCommand::Deliver(_)
            | ShardCommand::Upload(_)
            | ShardCommand::Table(_)
            | ShardCommand::Slots(_)
            | ShardCommand::SkipNumbers => false,
            // POP3 removes mail, and no session begins without this. What it takes goes again.
            ShardCommand::Maildrop(_) => true,
            // What is queued takes room, and leaves by all the others.
            ShardCommand::Queue(command) => !matches!(
                command,
                QueueCommand::Enqueue(_)
                    | QueueCommand::Change {
                        change: JobChange::Hold,
                        ..
                    }
            ),
            // The account takes room where it goes to; whatever else a move does ends it, or frees room.
            ShardCommand::Move(command) => {
                !matches!(command.step, MoveStep::Begin | MoveStep::Install(_))
            }
        }
    }
}

/// A change of one account under an operation id: repeated, it answers as it did the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountCommand {
    /// Whose mail.
    pub account: AccountId,
    /// Which operation.
    pub op: OpId,
    /// What to do.
    pub change: Change,
}

/// What can be done to an account's mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Creates or removes the account itself, or changes its limits.
    Account(AccountChange),
    /// CREATE. Missing levels above are created too (RFC 9051 §6.3.4).
    CreateMailbox(NewMailbox),
    /// DELETE: the mailbox with its messages. Children stay.
    DeleteMailbox(MailboxName),
    /// RENAME: with all children; renaming INBOX moves its messages (RFC 9051 §6.3.6).
    RenameMailbox {
        /// The present name.
        from: MailboxName,
        /// The new one.
        to: MailboxName,
    },
    /// SUBSCRIBE or UNSUBSCRIBE; the mailbox need not exist (RFC 9051 §6.3.7).
    Subscribe {
        /// Which name.
        name: MailboxName,
        /// `false` unsubscribes.
        subscribed: bool,
    },
    /// APPEND: all messages or none (RFC 3502).
    Append(AppendTo),
    /// STORE.
    StoreFlags {
        /// Where.
        mailbox: MailboxId,
        /// Which messages; those that do not exist are passed over.
        uids: UidSet,
        /// RFC 7162 §3.1.3, UNCHANGEDSINCE: messages changed after it are left alone and named in the reply.
        unchanged_since: Option<ModSeq>,
        /// What to do with `flags`.
        update: FlagUpdate,
        /// The flags.
        flags: Flags,
    },
    /// COPY or MOVE: all messages or none.
    Copy {
        /// From where.
        mailbox: MailboxId,
        /// Which messages; those that do not exist are passed over.
        uids: UidSet,
        /// To where.
        to: MailboxRef,
        /// Whether the originals are expunged in the same step (RFC 6851).
        remove_originals: bool,
    },
    /// EXPUNGE, UID EXPUNGE, CLOSE: removes messages that are marked `\Deleted`.
    Expunge {
        /// Where.
        mailbox: MailboxId,
        /// Only these, or all.
        uids: Option<UidSet>,
    },
    /// POP3's QUIT: removes these messages, whatever their flags.
    Remove {
        /// Where.
        mailbox: MailboxId,
        /// Which messages.
        uids: UidSet,
    },
    /// APPEND of more messages than one command can carry: the bytes of [`AppendTo`] were sent before, as an upload of
    /// chunks that are not compressed. Unless all are there with these digests, the answer is
    /// [`Refusal::BodyMissing`](crate::Refusal::BodyMissing).
    AppendUploaded {
        /// Under which id.
        upload: UploadId,
        /// The BLAKE3 of each chunk's bytes.
        digests: Vec<[u8; 32]>,
    },
    /// POP3's QUIT of a session that holds the maildrop: as [`Change::Remove`], and gives the maildrop back. Neither, with
    /// [`Refusal::MaildropLost`](crate::Refusal::MaildropLost), if another session has taken it. From feature level 6 on.
    CloseMaildrop {
        /// Who holds it.
        holder: MaildropHolder,
        /// Where.
        mailbox: MailboxId,
        /// Which messages.
        uids: UidSet,
    },
}

/// A change of the account as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountChange {
    /// Makes the account with INBOX and the given mailboxes. An account that is there already is left as it is; one that
    /// was removed is not made again ([`Refusal::NoSuchAccount`](crate::Refusal::NoSuchAccount)).
    Create {
        /// INBOX need not be named.
        mailboxes: Vec<NewMailbox>,
        /// How much it may hold.
        quota: QuotaLimit,
    },
    /// Removes the account with all its mail, for good. Of an account that is not here the removal is noted all the
    /// same, as the command that makes it may be on its way.
    Delete,
    /// Sets how much it may hold. What is there already stays.
    SetQuota(QuotaLimit),
}

/// How much an account may hold (RFC 9208). `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaLimit {
    /// STORAGE, in bytes here and in units of 1,024 bytes on the wire.
    pub storage_bytes: Option<u64>,
    /// MESSAGE.
    pub messages: Option<u64>,
}

/// A mailbox to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMailbox {
    /// Its full name.
    pub name: MailboxName,
    /// What it is for (RFC 6154).
    pub special_use: Option<SpecialUse>,
    /// Whether it is subscribed to at once.
    pub subscribed: bool,
}

/// A mailbox by its id, or by the name that it has when the command is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MailboxRef {
    /// By id.
    Id(MailboxId),
    /// By name.
    Name(MailboxName),
}

/// The messages of one APPEND.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendTo {
    /// To where.
    pub mailbox: MailboxRef,
    /// In order; they get consecutive UIDs.
    pub messages: Vec<NewMessage>,
}

/// A message to be stored, with all that is derived from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMessage {
    /// The message's own bytes.
    pub body: NewBody,
    /// Header fields that stand before the body and belong to this copy alone (Return-Path, Received).
    #[serde(with = "serde_bytes")]
    pub prefix: Vec<u8>,
    /// INTERNALDATE.
    pub internal_date: Timestamp,
    /// The flags it starts with.
    pub flags: Flags,
}

/// A message's bytes and what was derived from them: the same for every recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewBody {
    /// The name of the raw bytes.
    pub hash: BlobHash,
    /// How many raw bytes there are, without any prefix.
    pub size: u32,
    /// How many more there are when each line ends with CRLF, the last one too.
    pub crlf_growth: u32,
    /// Where the chunks are.
    pub source: BodySource,
    /// Envelope and body structure, encoded with a version of their own. Opaque to the state machine.
    #[serde(with = "serde_bytes")]
    pub detail: Vec<u8>,
    /// The search signature, with a version of its own. Opaque to the state machine.
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
}

/// Where the chunks of a body are when it becomes visible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodySource {
    /// Here.
    Inline(Vec<Chunk>),
    /// Sent before, chunk by chunk. Unless all are there with these digests, the answer is
    /// [`Refusal::BodyMissing`](crate::Refusal::BodyMissing), and the proposer sends them again.
    Uploaded {
        /// Under which id.
        upload: UploadId,
        /// The BLAKE3 of each chunk's bytes as stored.
        digests: Vec<[u8; 32]>,
    },
}

/// A piece of a body. Every chunk but the last holds [`Chunk::RAW_LEN`] raw bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// How `bytes` are encoded.
    pub codec: ChunkCodec,
    /// The encoded bytes.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

impl Chunk {
    /// 256 KiB: one entry of the log stays small enough that others are not held up (DESIGN, "Bodies").
    pub const RAW_LEN: usize = 256 * 1024;
}

/// How a chunk's bytes are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkCodec {
    /// As they are.
    Raw,
    /// One LZ4 block (without a frame).
    Lz4,
}

/// One chunk of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadChunk {
    /// Which upload.
    pub upload: UploadId,
    /// Which chunk, from zero. Sent twice, the second counts.
    pub index: u32,
    /// When the upload is forgotten unless it was used, by the log's time.
    pub expires: Timestamp,
    /// The chunk.
    pub chunk: Chunk,
}

/// One message for accounts of this shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    /// Which operation. Each recipient's part is kept under it on its own.
    pub op: OpId,
    /// The message.
    pub body: NewBody,
    /// When it was received.
    pub received: Timestamp,
    /// What makes a repeated transmission recognisable; `None` for local generation.
    pub key: Option<DeliveryKey>,
    /// Who gets it.
    pub recipients: Vec<RecipientDelivery>,
    /// Earlier deliveries to this shard that are confirmed by now.
    pub confirmed: Vec<Confirmation>,
}

/// One recipient of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientDelivery {
    /// Whose mail.
    pub account: AccountId,
    /// The mailbox asked for, by a subaddress or a filter. INBOX if it is not there.
    pub mailbox: Option<MailboxName>,
    /// As in [`NewMessage`].
    #[serde(with = "serde_bytes")]
    pub prefix: Vec<u8>,
    /// The flags it starts with.
    pub flags: Flags,
}

/// The digest of reverse-path and received bytes: with the final mailbox, the identity of a transmission
/// (DESIGN, "Exactly once, from outside").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryKey(pub [u8; 32]);

/// Says that the acknowledgement of a delivery arrived: the same bytes sent again are a new message from now on.
///
/// It names the message, which makes it idempotent: sent again, it finds nothing, or a later delivery of the same bytes,
/// which it leaves alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Whose mail.
    pub account: AccountId,
    /// Which mailbox it went to.
    pub mailbox: MailboxId,
    /// The message as which it was delivered.
    pub uid: Uid,
    /// Which transmission.
    pub key: DeliveryKey,
}

/// One of the cluster-wide tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableId(pub u16);

/// Changes of table entries, all of one shard's slots, carried out together, and once: repeated, the command answers as
/// it did the first time. Even setting a value may not be done twice, as another's change may have come between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCommand {
    /// Which operation.
    pub op: OpId,
    /// In order.
    pub ops: Vec<(TableId, Vec<u8>, TableOp)>,
}

/// A change of one entry. An entry that has expired by the log's time counts as absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableOp {
    /// Sets the value.
    Put {
        /// The value.
        value: Vec<u8>,
        /// When it is forgotten.
        expires: Option<Timestamp>,
    },
    /// Sets the value if the present one is `expected` (`None`: if there is none).
    CompareAndPut {
        /// What must be there.
        expected: Option<Vec<u8>>,
        /// The value.
        value: Vec<u8>,
        /// When it is forgotten.
        expires: Option<Timestamp>,
    },
    /// Adds to the counter that the value is (8 bytes, little-endian, two's complement), from zero if absent;
    /// saturating.
    Add {
        /// How much.
        delta: i64,
        /// When it is forgotten, counted anew.
        expires: Option<Timestamp>,
    },
    /// Removes the entry.
    Delete,
}

/// A step of a move of slots of the cluster-wide tables, at the shard that they leave or at the one that gets them.
/// Every step can be sent again, by several controllers too: what is done is answered as done, and what is of an older
/// move than the slots have seen is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotCommand {
    /// Which move. Later moves of a slot have higher numbers.
    pub move_id: u64,
    /// Slots of the move, ascending, at most [`SLOTS_PER_MOVE_MAX`](crate::limits::SLOTS_PER_MOVE_MAX).
    pub slots: Vec<u16>,
    /// Which step.
    pub step: SlotStep,
}

/// The steps of a move, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotStep {
    /// Where the slots go: clears what may be left of them and takes entries from now on.
    Begin,
    /// Where they come from: refuses to read or change their entries from now on, which thus stay as they are.
    Fence,
    /// Where they go: takes some of their entries, at most
    /// [`SLOT_ENTRIES_MAX`](crate::limits::SLOT_ENTRIES_MAX) and
    /// [`SLOT_BYTES_MAX`](crate::limits::SLOT_BYTES_MAX), or one that is larger.
    Install(Vec<SlotEntry>),
    /// Where they go: all entries are there, and the slots are this shard's.
    Open,
    /// Where they came from, when the meta group has given them to the other shard: removes some of their entries.
    Drop,
}

/// An entry of a table as it moves with its slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotEntry {
    /// Which table.
    pub table: TableId,
    /// Its key.
    #[serde(with = "serde_bytes")]
    pub key: Vec<u8>,
    /// Its value.
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
    /// When it is forgotten.
    pub expires: Option<Timestamp>,
}
