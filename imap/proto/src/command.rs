//! What a client can ask for: the commands of RFC 3501 and RFC 9051 with the extensions that Mailrook announces.
//!
//! A value here is well formed by its grammar. What only the store can tell (whether a mailbox exists, whether
//! its name may be used) is left to the session: mailbox names are plain strings, already decoded to UTF-8.

mod date;
mod fetch;
mod list;
mod search;
mod select;
mod sequence;

use std::fmt;

use mailrook_types::{FlagUpdate, Flags, ModSeq, SpecialUse, Timestamp};

pub(crate) use self::date::MONTHS;
pub use self::{
    date::Date,
    fetch::{Fetch, FetchItem, Partial, Section, SectionText},
    list::{List, ListReturn, ListSelection, StatusItem},
    search::{Search, SearchKey, SearchReturn},
    select::{Qresync, Select},
    sequence::{SequenceBound, SequenceRange, SequenceSet},
};

/// What ties a reply to its command (RFC 9051 §2.2.1).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tag(Box<str>);

impl Tag {
    /// 128 bytes: clients use fewer than 20, and a reply repeats them.
    pub const LEN_MAX: usize = 128;

    /// Checks RFC 9051 §9, `tag`: one or more `ASTRING-CHAR` except `+`.
    pub fn parse(bytes: &[u8]) -> Option<Tag> {
        let in_tag = |b: &u8| b.is_ascii_graphic() && !b"(){%*\"\\+".contains(b);
        if bytes.is_empty() || bytes.len() > Tag::LEN_MAX || !bytes.iter().all(in_tag) {
            return None;
        }
        std::str::from_utf8(bytes).ok().map(|text| Tag(text.into()))
    }

    /// The tag as the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes that no log may show: passwords, SASL responses. Its `Debug` tells the length alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Wraps what must not be shown.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Secret {
        Secret(bytes.into())
    }

    /// The bytes themselves.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// A command and its tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// What the reply must carry.
    pub tag: Tag,
    /// What is asked.
    pub command: Command,
}

/// What a client can ask for, APPEND excepted: a message is streamed (see [`crate::framing`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `CAPABILITY`
    Capability,
    /// `NOOP`
    Noop,
    /// `LOGOUT`
    Logout,
    /// `STARTTLS`
    StartTls,
    /// `AUTHENTICATE`, with the initial response of RFC 4959.
    Authenticate {
        /// The SASL mechanism, in capitals.
        mechanism: String,
        /// The decoded initial response; empty where the client wrote `=`.
        initial_response: Option<Secret>,
    },
    /// `LOGIN`
    Login {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// `ENABLE` (RFC 9051 §6.3.1): the names in capitals, unknown ones included.
    Enable(Vec<String>),
    /// `ID` (RFC 2971); `None` for `NIL`. Names as the client spelt them.
    Id(Option<Vec<(String, Option<String>)>>),
    /// `COMPRESS DEFLATE` (RFC 4978)
    CompressDeflate,
    /// `SELECT` and `EXAMINE`
    Select(Select),
    /// `CREATE`, with the special uses of RFC 6154 §3. The name may end with the hierarchy separator
    /// (RFC 9051 §6.3.4), which the session drops.
    Create {
        /// The mailbox's name.
        mailbox: String,
        /// What it shall be for.
        special_uses: Vec<SpecialUse>,
    },
    /// `DELETE`
    Delete {
        /// The mailbox's name.
        mailbox: String,
    },
    /// `RENAME`
    Rename {
        /// The present name.
        from: String,
        /// The new one.
        to: String,
    },
    /// `SUBSCRIBE`
    Subscribe {
        /// The mailbox's name.
        mailbox: String,
    },
    /// `UNSUBSCRIBE`
    Unsubscribe {
        /// The mailbox's name.
        mailbox: String,
    },
    /// `LIST`, basic and extended (RFC 9051 §6.3.9)
    List(List),
    /// `LSUB` (RFC 3501 §6.3.9)
    Lsub {
        /// The reference name.
        reference: String,
        /// The pattern, with `*` and `%` as wildcards.
        pattern: String,
    },
    /// `NAMESPACE`
    Namespace,
    /// `STATUS`
    Status {
        /// The mailbox's name.
        mailbox: String,
        /// What to tell, nothing twice.
        items: Vec<StatusItem>,
    },
    /// `IDLE`. The session answers with a continuation and calls [`crate::framing::Framer::expect_done`].
    Idle,
    /// `GETQUOTA` (RFC 9208)
    GetQuota {
        /// The quota root's name.
        root: String,
    },
    /// `GETQUOTAROOT`
    GetQuotaRoot {
        /// The mailbox's name.
        mailbox: String,
    },
    /// `SETQUOTA`
    SetQuota {
        /// The quota root's name.
        root: String,
        /// Resources, in capitals, with their limits.
        limits: Vec<(String, u64)>,
    },
    /// `CHECK` (RFC 3501 §6.4.1)
    Check,
    /// `CLOSE`
    Close,
    /// `UNSELECT`
    Unselect,
    /// `EXPUNGE`, or `UID EXPUNGE` with its UIDs.
    Expunge {
        /// The UIDs of `UID EXPUNGE`; `None` means all that are marked as deleted.
        uids: Option<SequenceSet>,
    },
    /// `SEARCH` and `UID SEARCH`
    Search(Search),
    /// `FETCH` and `UID FETCH`
    Fetch(Fetch),
    /// `STORE` and `UID STORE`
    Store(Store),
    /// `COPY` and `UID COPY`
    Copy(Transfer),
    /// `MOVE` and `UID MOVE`
    Move(Transfer),
}

/// The head of an APPEND: what precedes its first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendHead {
    /// The command's tag.
    pub tag: Tag,
    /// The mailbox's name.
    pub mailbox: String,
}

/// One message of an APPEND: what precedes its bytes (RFC 9051 §6.3.12, RFC 3502).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendMessage {
    /// The flags to set; `\Recent` is left out.
    pub flags: Flags,
    /// The internal date to set.
    pub internal_date: Option<Timestamp>,
    /// How many bytes follow.
    pub size: u64,
    /// Whether it is a literal8 (`~{n}`), which may hold NUL.
    pub binary: bool,
    /// Whether the client waits for a continuation before it sends them.
    pub synchronising: bool,
}

/// `STORE` (RFC 9051 §6.4.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Which messages.
    pub set: SequenceSet,
    /// Whether the set counts UIDs.
    pub by_uid: bool,
    /// Leave out what has changed since (RFC 7162 §3.1.3).
    pub unchanged_since: Option<ModSeq>,
    /// What to do with the flags.
    pub update: FlagUpdate,
    /// `.SILENT`: the client does not want to be told the new flags.
    pub silent: bool,
    /// The flags.
    pub flags: Flags,
}

/// What COPY and MOVE name (RFC 9051 §6.4.7, §6.4.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Which messages.
    pub set: SequenceSet,
    /// Whether the set counts UIDs.
    pub by_uid: bool,
    /// The destination's name.
    pub mailbox: String,
}

impl Command {
    /// The command's name, for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Capability => "CAPABILITY",
            Command::Noop => "NOOP",
            Command::Logout => "LOGOUT",
            Command::StartTls => "STARTTLS",
            Command::Authenticate { .. } => "AUTHENTICATE",
            Command::Login { .. } => "LOGIN",
            Command::Enable(_) => "ENABLE",
            Command::Id(_) => "ID",
            Command::CompressDeflate => "COMPRESS",
            Command::Select(select) if select.read_only => "EXAMINE",
            Command::Select(_) => "SELECT",
            Command::Create { .. } => "CREATE",
            Command::Delete { .. } => "DELETE",
            Command::Rename { .. } => "RENAME",
            Command::Subscribe { .. } => "SUBSCRIBE",
            Command::Unsubscribe { .. } => "UNSUBSCRIBE",
            Command::List(_) => "LIST",
            Command::Lsub { .. } => "LSUB",
            Command::Namespace => "NAMESPACE",
            Command::Status { .. } => "STATUS",
            Command::Idle => "IDLE",
            Command::GetQuota { .. } => "GETQUOTA",
            Command::GetQuotaRoot { .. } => "GETQUOTAROOT",
            Command::SetQuota { .. } => "SETQUOTA",
            Command::Check => "CHECK",
            Command::Close => "CLOSE",
            Command::Unselect => "UNSELECT",
            Command::Expunge { uids: None } => "EXPUNGE",
            Command::Expunge { uids: Some(_) } => "UID EXPUNGE",
            Command::Search(search) => ["SEARCH", "UID SEARCH"][usize::from(search.by_uid)],
            Command::Fetch(fetch) => ["FETCH", "UID FETCH"][usize::from(fetch.by_uid)],
            Command::Store(store) => ["STORE", "UID STORE"][usize::from(store.by_uid)],
            Command::Copy(copy) => ["COPY", "UID COPY"][usize::from(copy.by_uid)],
            Command::Move(transfer) => ["MOVE", "UID MOVE"][usize::from(transfer.by_uid)],
        }
    }
}
