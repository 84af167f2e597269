//! What a server answers: status responses with their codes, and the values of untagged responses.
//!
//! Values alone; [`crate::writer`] prints them.

mod code;

use mailrook_types::{ModSeq, SpecialUse, UidSet};

pub use self::code::Code;

/// The condition that a status response tells (RFC 9051 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done; untagged: information.
    Ok,
    /// Failed; untagged: a warning.
    No,
    /// Not understood.
    Bad,
    /// The greeting of a connection that needs no login. Untagged only.
    PreAuth,
    /// The connection is about to close. Untagged only.
    Bye,
}

impl Status {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::No => "NO",
            Status::Bad => "BAD",
            Status::PreAuth => "PREAUTH",
            Status::Bye => "BYE",
        }
    }
}

/// The attributes of a mailbox in LIST, as a set (RFC 9051 §7.3.1); special uses stand apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListAttributes(u16);

impl ListAttributes {
    /// No attribute.
    pub const NONE: ListAttributes = ListAttributes(0);
    /// `\NonExistent`, which implies `\Noselect` (printed with it for clients of RFC 3501).
    pub const NON_EXISTENT: ListAttributes = ListAttributes(1 | 2);
    /// `\Noselect`
    pub const NO_SELECT: ListAttributes = ListAttributes(2);
    /// `\Noinferiors`
    pub const NO_INFERIORS: ListAttributes = ListAttributes(4);
    /// `\HasChildren`
    pub const HAS_CHILDREN: ListAttributes = ListAttributes(8);
    /// `\HasNoChildren`
    pub const HAS_NO_CHILDREN: ListAttributes = ListAttributes(16);
    /// `\Marked`
    pub const MARKED: ListAttributes = ListAttributes(32);
    /// `\Unmarked`
    pub const UNMARKED: ListAttributes = ListAttributes(64);
    /// `\Subscribed`
    pub const SUBSCRIBED: ListAttributes = ListAttributes(128);

    /// Each attribute's bit with its name on the wire.
    pub(crate) const NAMES: [(u16, &'static str); 8] = [
        (1, "\\NonExistent"),
        (2, "\\Noselect"),
        (4, "\\Noinferiors"),
        (8, "\\HasChildren"),
        (16, "\\HasNoChildren"),
        (32, "\\Marked"),
        (64, "\\Unmarked"),
        (128, "\\Subscribed"),
    ];

    /// Whether all of `other` are set.
    pub const fn contains(self, other: ListAttributes) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) fn bits(self) -> u16 {
        self.0
    }
}

impl std::ops::BitOr for ListAttributes {
    type Output = ListAttributes;
    fn bitor(self, other: ListAttributes) -> ListAttributes {
        ListAttributes(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for ListAttributes {
    fn bitor_assign(&mut self, other: ListAttributes) {
        self.0 |= other.0;
    }
}

/// One line of LIST or LSUB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListEntry<'a> {
    /// What the mailbox is like.
    pub attributes: ListAttributes,
    /// What it is for.
    pub special_uses: &'a [SpecialUse],
    /// Its name, in UTF-8; the writer encodes it. Empty for the answer to an empty pattern.
    pub name: &'a str,
    /// `CHILDINFO ("SUBSCRIBED")`: a mailbox below it is subscribed (RFC 5258 §4).
    pub child_subscribed: bool,
    /// `OLDNAME`: the name it had before, or that the client spelt otherwise (RFC 9051 §6.3.9.7).
    pub old_name: Option<&'a str>,
}

/// One value of STATUS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusValue {
    /// `MESSAGES`
    Messages(u32),
    /// `RECENT`
    Recent(u32),
    /// `UIDNEXT`
    UidNext(u32),
    /// `UIDVALIDITY`
    UidValidity(u32),
    /// `UNSEEN`
    Unseen(u32),
    /// `DELETED`
    Deleted(u32),
    /// `SIZE`
    Size(u64),
    /// `HIGHESTMODSEQ`
    HighestModSeq(ModSeq),
    /// `APPENDLIMIT`; `None` for `NIL`.
    AppendLimit(Option<u64>),
    /// `MAILBOXID`
    MailboxId(mailrook_types::MailboxId),
    /// `DELETED-STORAGE`
    DeletedStorage(u64),
}

/// An ESEARCH response (RFC 9051 §7.3.4, RFC 4731). What is `None` is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Esearch {
    /// Whether the numbers are UIDs.
    pub by_uid: bool,
    /// The smallest match.
    pub min: Option<u32>,
    /// The largest.
    pub max: Option<u32>,
    /// How many there are.
    pub count: Option<u32>,
    /// All of them; left out where it is empty, as the grammar has no empty set.
    pub all: Option<UidSet>,
    /// The highest MODSEQ among them (RFC 7162 §3.1.5).
    pub mod_seq: Option<ModSeq>,
}

/// One resource of a QUOTA response (RFC 9208 §4.1): name, usage, limit. `STORAGE` counts units of 1,024 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaResource<'a> {
    /// `STORAGE`, `MESSAGE`, …
    pub name: &'a str,
    /// What is in use.
    pub usage: u64,
    /// What may be.
    pub limit: u64,
}
