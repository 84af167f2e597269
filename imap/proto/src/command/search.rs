//! SEARCH (RFC 9051 §6.4.4; RFC 3501 §6.4.4 for the keys about `\Recent`; RFC 5032, RFC 7162, RFC 8474).

use mailrook_types::{Keyword, ModSeq, SystemFlags};

use super::{Date, SequenceSet};

/// `SEARCH` and `UID SEARCH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Whether the answer counts UIDs. The sets inside `key` say for themselves what they count.
    pub by_uid: bool,
    /// What to answer with; `None` where no `RETURN` was given.
    pub returns: Option<SearchReturn>,
    /// What to look for.
    pub key: SearchKey,
}

/// The result options of SEARCH (RFC 9051 §6.4.4). All unset, from `RETURN ()`, means `all` by then set here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchReturn {
    /// `MIN`
    pub min: bool,
    /// `MAX`
    pub max: bool,
    /// `ALL`
    pub all: bool,
    /// `COUNT`
    pub count: bool,
    /// `SAVE`: keep the result as `$`.
    pub save: bool,
}

/// A search key. Strings are UTF-8, whatever charset the client named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchKey {
    /// `ALL`
    All,
    /// Several keys in a row or in parentheses: all must hold. Never empty.
    And(Vec<SearchKey>),
    /// `OR`
    Or(Box<SearchKey>, Box<SearchKey>),
    /// `NOT`
    Not(Box<SearchKey>),
    /// A set of sequence numbers, or `$`.
    Sequence(SequenceSet),
    /// `UID`
    Uid(SequenceSet),
    /// `ANSWERED`, `DELETED`, `DRAFT`, `FLAGGED`, `SEEN`: one flag that is set.
    Flag(SystemFlags),
    /// `UNANSWERED`, …: one flag that is not set.
    NotFlag(SystemFlags),
    /// `KEYWORD`
    Keyword(Keyword),
    /// `UNKEYWORD`
    NotKeyword(Keyword),
    /// `RECENT`
    Recent,
    /// `NEW`: recent and not seen.
    New,
    /// `OLD`: not recent.
    Old,
    /// `FROM`
    From(String),
    /// `TO`
    To(String),
    /// `CC`
    Cc(String),
    /// `BCC`
    Bcc(String),
    /// `SUBJECT`
    Subject(String),
    /// `BODY`
    Body(String),
    /// `TEXT`
    Text(String),
    /// `HEADER`: the field's name and what it holds; an empty string asks only that the field be there.
    Header(String, String),
    /// `BEFORE`: the internal date is earlier than this day.
    Before(Date),
    /// `ON`
    On(Date),
    /// `SINCE`: the internal date is this day or later.
    Since(Date),
    /// `SENTBEFORE`: as `BEFORE`, by the Date header.
    SentBefore(Date),
    /// `SENTON`
    SentOn(Date),
    /// `SENTSINCE`
    SentSince(Date),
    /// `LARGER`: more bytes than this.
    Larger(u64),
    /// `SMALLER`
    Smaller(u64),
    /// `OLDER` (RFC 5032): the internal date is this many seconds ago or more.
    Older(u32),
    /// `YOUNGER`: this many seconds ago or less.
    Younger(u32),
    /// `MODSEQ` (RFC 7162 §3.1.5): at least this. The entry's name is checked and dropped: Mailrook counts one
    /// sequence for all of a message's flags, which the RFC permits.
    ModSeq(ModSeq),
    /// `EMAILID` (RFC 8474 §7)
    EmailId(String),
    /// `THREADID`
    ThreadId(String),
}

impl SearchKey {
    /// Whether a key anywhere in this one meets `wanted`. Recursion is bounded by the parser's depth.
    pub fn any(&self, wanted: &impl Fn(&SearchKey) -> bool) -> bool {
        wanted(self)
            || match self {
                SearchKey::And(keys) => keys.iter().any(|key| key.any(wanted)),
                SearchKey::Or(a, b) => a.any(wanted) || b.any(wanted),
                SearchKey::Not(key) => key.any(wanted),
                _ => false,
            }
    }

    /// Whether `MODSEQ` is used: the answer must then tell the highest MODSEQ (RFC 7162 §3.1.5).
    pub fn uses_mod_seq(&self) -> bool {
        self.any(&|key| matches!(key, SearchKey::ModSeq(_)))
    }
}
