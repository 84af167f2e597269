//! What can be asked of a shard, and the answers. Both are sent between nodes, so that the rule of
//! [`crate::command`] for versions holds here too.

use mailrook_types::{
    AccountId, BlobHash, Flags, Keyword, MailboxId, MailboxName, MessageId, ModSeq, SpecialUse,
    Timestamp, Uid, UidSet, UidValidity,
};
use serde::{Deserialize, Serialize};

use crate::{
    Chunk, MailboxRef, MoveStanding, MovedPair, Mover, QueueAnswer, QueueQuery, QuotaLimit,
    SlotEntry, TableId,
};

/// A question about one account, or about the tables.
///
/// What is answered for message after message ends early where that is more than one answer holds
/// ([`ANSWER_BYTES_MAX`](mailrook_kv::ANSWER_BYTES_MAX)), and with none only where there is none: who wants them all asks
/// again for the UIDs after the last, until there are none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// All mailboxes with their counts, and the subscriptions. Answered by [`Answer::Mailboxes`].
    Mailboxes {
        /// Whose.
        account: AccountId,
    },
    /// One mailbox's counts. Answered by [`Answer::Status`].
    Status {
        /// Whose.
        account: AccountId,
        /// Which.
        mailbox: MailboxRef,
    },
    /// The UIDs of a mailbox. Answered by [`Answer::Uids`].
    Uids {
        /// Whose.
        account: AccountId,
        /// Which.
        mailbox: MailboxId,
    },
    /// Flags, dates and sizes of messages, ascending by UID. Answered by [`Answer::Index`], with at most `limit`
    /// entries.
    Index {
        /// Whose.
        account: AccountId,
        /// Which mailbox.
        mailbox: MailboxId,
        /// Which messages.
        uids: UidSet,
        /// The most entries to answer with.
        limit: u32,
    },
    /// What happened in a mailbox after a MODSEQ. Answered by [`Answer::Changes`], piece by piece in the order in which
    /// it happened: whoever reads on from [`Changes::next`] misses nothing that changes meanwhile.
    Changes {
        /// Whose.
        account: AccountId,
        /// Which mailbox.
        mailbox: MailboxId,
        /// After when.
        since: ModSeq,
        /// Only what concerns these; `None` is all.
        uids: Option<UidSet>,
        /// Where the answer before this one ended; `None` to begin.
        after: Option<ChangePlace>,
        /// The most messages to answer with, or one record of up to 1,024 where that is more. With 0 the answer says
        /// what vanished alone.
        limit: u32,
    },
    /// Envelope, structure and place of the bodies of messages. Answered by [`Answer::Details`], with at most `limit`
    /// entries, ascending by UID.
    Details {
        /// Whose.
        account: AccountId,
        /// Which mailbox.
        mailbox: MailboxId,
        /// Which messages.
        uids: UidSet,
        /// The most entries to answer with.
        limit: u32,
    },
    /// The search signatures of messages. Answered by [`Answer::Signatures`], with at most `limit` entries.
    Signatures {
        /// Whose.
        account: AccountId,
        /// Which mailbox.
        mailbox: MailboxId,
        /// Which messages.
        uids: UidSet,
        /// The most entries to answer with.
        limit: u32,
    },
    /// Chunks of a body: `count` from `first`. Answered by [`Answer::Chunks`], with fewer at the body's end.
    Chunks {
        /// Which body.
        hash: BlobHash,
        /// The first chunk.
        first: u32,
        /// How many.
        count: u32,
    },
    /// How much an account holds. Answered by [`Answer::Quota`].
    Quota {
        /// Whose.
        account: AccountId,
    },
    /// One entry of a table, unless it has expired. Answered by [`Answer::TableValue`].
    TableGet {
        /// Which table.
        table: TableId,
        /// Which entry.
        key: Vec<u8>,
    },
    /// Entries of a table whose keys start with `prefix`, in no promised order over slots, ascending within one.
    /// Answered by [`Answer::TableEntries`], with at most `limit`, those after `after`.
    TableScan {
        /// Which table.
        table: TableId,
        /// How their keys start.
        prefix: Vec<u8>,
        /// Slot and key of the last entry seen.
        after: Option<(u16, Vec<u8>)>,
        /// The most entries to answer with.
        limit: u32,
    },
    /// The flags of messages, ascending by UID. Answered by [`Answer::Flags`], with at most `limit` entries. Costs a
    /// record for each 1,024 UIDs, and one for each message with keywords.
    Flags {
        /// Whose.
        account: AccountId,
        /// Which mailbox.
        mailbox: MailboxId,
        /// Which messages.
        uids: UidSet,
        /// The most entries to answer with.
        limit: u32,
    },
    /// As [`Query::TableScan`], of these slots alone. Answered by [`Answer::SlotsScanned`]. From feature level 3 on.
    TableScanSlots {
        /// Which table.
        table: TableId,
        /// How their keys start.
        prefix: Vec<u8>,
        /// Which slots.
        slots: Vec<u16>,
        /// Slot and key of the last entry seen.
        after: Option<(u16, Vec<u8>)>,
        /// The most entries to answer with.
        limit: u32,
    },
    /// The entries of slots, to be moved or to see how much there is of them. Answered by [`Answer::SlotEntries`], with at
    /// most [`SLOT_ENTRIES_MAX`](crate::limits::SLOT_ENTRIES_MAX) entries and
    /// [`SLOT_BYTES_MAX`](crate::limits::SLOT_BYTES_MAX), or one entry that is larger. From feature level 3 on.
    SlotEntries {
        /// Only if all of the slots are fenced by this move, so that nothing changes any more; else the answer is
        /// [`Answer::SlotNotHere`]. `None` asks for entries as they are now.
        fenced_by: Option<u64>,
        /// Which slots, at most [`SLOTS_PER_MOVE_MAX`](crate::limits::SLOTS_PER_MOVE_MAX); those beyond are passed over.
        slots: Vec<u16>,
        /// Slot, table and key of the last entry seen.
        after: Option<(u16, TableId, Vec<u8>)>,
    },
    /// Pairs of an account that leaves the shard. Answered by [`Answer::Moved`], with at most
    /// [`MOVED_BYTES_MAX`](crate::limits::MOVED_BYTES_MAX), or one pair that is larger. From feature level 5 on.
    MovedPairs {
        /// Whose.
        account: AccountId,
        /// Only if this one has taken the last step here; else the answer is [`Answer::Elsewhere`].
        by: Mover,
        /// Only those that changed in this round, as they are now; `None` is all.
        round: Option<u32>,
        /// The key of the last pair seen.
        after: Option<Vec<u8>>,
    },
    /// How far the account's last move has come here. Answered by [`Answer::MoveStanding`]. From feature level 5 on.
    MoveStanding {
        /// Whose.
        account: AccountId,
    },
    /// Which of these bodies are not here. Answered by [`Answer::BodiesMissing`]. From feature level 5 on.
    BodiesMissing(Vec<BlobHash>),
    /// These bodies, as many as fit, up to the first that is longer than a chunk. Answered by [`Answer::Bodies`]. From feature
    /// level 5 on.
    Bodies(Vec<BlobHash>),
    /// About the queue of outgoing mail. Answered by [`Answer::Queue`]. From feature level 8 on.
    Queue(QueueQuery),
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// All mailboxes.
    Mailboxes(MailboxList),
    /// One mailbox.
    Status(MailboxStatus),
    /// A mailbox's messages.
    Uids(UidSet),
    /// What is in the index.
    Index(Vec<IndexEntry>),
    /// What happened.
    Changes(Changes),
    /// What is beside the bodies.
    Details(Vec<MessageDetail>),
    /// Search signatures.
    Signatures(Vec<(Uid, Vec<u8>)>),
    /// Pieces of a body.
    Chunks(Vec<Chunk>),
    /// How much an account holds.
    Quota(QuotaUsage),
    /// A table's entry.
    TableValue(Option<Vec<u8>>),
    /// A table's entries: slot, key, value.
    TableEntries(Vec<(u16, Vec<u8>, Vec<u8>)>),
    /// There is no such account on this shard.
    NoSuchAccount,
    /// There is no such mailbox.
    NoSuchMailbox,
    /// There is no such body.
    NoSuchBody,
    /// How messages are marked.
    Flags(Vec<(Uid, Flags)>),
    /// The slot of the tables that was asked for is not on this shard, or slots were moved and are to be asked for by
    /// number: the client looks up where they are.
    SlotNotHere,
    /// A table's entries in the slots that were asked for.
    SlotsScanned {
        /// Slot, key, value.
        entries: Vec<(u16, Vec<u8>, Vec<u8>)>,
        /// The slots that were asked for and are not on this shard, ascending.
        elsewhere: Vec<u16>,
    },
    /// What slots hold, ascending by slot, table and key.
    SlotEntries {
        /// Some of it.
        entries: Vec<SlotEntry>,
        /// Whether there is no more.
        complete: bool,
    },
    /// The account is on another shard, or on its way: the client looks up where it is.
    Elsewhere,
    /// Pairs of an account, ascending.
    Moved {
        /// Some of them.
        pairs: Vec<MovedPair>,
        /// The key of the last of them; `None` if there are no more.
        next: Option<Vec<u8>>,
    },
    /// How far the account's last move has come; `None` if it never moved.
    MoveStanding(Option<MoveStanding>),
    /// Those that are not here.
    BodiesMissing(Vec<BlobHash>),
    /// Bodies, in the order in which they were asked for, as many as fit.
    Bodies(Vec<Vec<Chunk>>),
    /// About the queue of outgoing mail.
    Queue(QueueAnswer),
}

/// All mailboxes of an account, ascending by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxList {
    /// Those that exist.
    pub mailboxes: Vec<MailboxInfo>,
    /// The names subscribed to, whether or not they exist.
    pub subscriptions: Vec<MailboxName>,
}

/// One mailbox in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxInfo {
    /// Its name.
    pub name: MailboxName,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
    /// Its numbers.
    pub status: MailboxStatus,
}

/// The numbers of a mailbox (RFC 9051 §6.3.11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxStatus {
    /// MAILBOXID.
    pub id: MailboxId,
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// UIDNEXT.
    pub uid_next: Uid,
    /// HIGHESTMODSEQ.
    pub highest_modseq: ModSeq,
    /// Before this MODSEQ the history of expunged messages is no longer complete.
    pub history_floor: ModSeq,
    /// MESSAGES.
    pub messages: u64,
    /// UNSEEN.
    pub unseen: u64,
    /// DELETED.
    pub deleted: u64,
    /// SIZE, in bytes.
    pub size_bytes: u64,
    /// The smallest UID of a message without `\Seen`.
    pub first_unseen: Option<Uid>,
    /// The keywords in use, or once in use, in the mailbox. Not told in a [`MailboxList`]: 10,000 mailboxes with 512 each would
    /// be a gigabyte.
    pub keywords: Vec<Keyword>,
}

/// A message in the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// UID.
    pub uid: Uid,
    /// MODSEQ.
    pub modseq: ModSeq,
    /// FLAGS.
    pub flags: Flags,
    /// INTERNALDATE.
    pub internal_date: Timestamp,
    /// When it came into this mailbox (RFC 8514, SAVEDATE).
    pub saved: Timestamp,
    /// RFC822.SIZE: prefix and body.
    pub size: u32,
    /// As in [`NewBody`](crate::NewBody): prefixes end their lines with CRLF.
    pub crlf_growth: u32,
    /// EMAILID.
    pub message: MessageId,
}

/// A record in the order of a mailbox's changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChangePlace {
    /// When.
    pub modseq: ModSeq,
    /// Which 1,024 UIDs.
    pub block: u32,
}

/// What happened in a mailbox after a MODSEQ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The mailbox as it is now.
    pub status: MailboxStatus,
    /// New messages and messages with changed flags, ascending by UID; those that changed first, if there are more.
    pub changed: Vec<IndexEntry>,
    /// Messages that are gone. If `since` is before the mailbox's `history_floor` this is `None`, and the difference
    /// of the UID sets must be used. Only the first answer of several has it.
    pub vanished: Option<UidSet>,
    /// Where to read on, if there may be more.
    pub next: Option<ChangePlace>,
}

/// What is kept beside a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDetail {
    /// UID.
    pub uid: Uid,
    /// The body's name.
    pub hash: BlobHash,
    /// How many bytes the body has, without the prefix.
    pub body_size: u32,
    /// Header fields that stand before the body.
    pub prefix: Vec<u8>,
    /// As in [`NewBody`](crate::NewBody).
    pub detail: Vec<u8>,
}

/// How much an account holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaUsage {
    /// How much it may.
    pub limit: QuotaLimit,
    /// Bytes of all its messages, a copy counted again.
    pub storage_bytes: u64,
    /// All its messages.
    pub messages: u64,
}
