//! LIST and STATUS (RFC 9051 §6.3.9 to §6.3.11, RFC 5258, RFC 5819, RFC 6154).

/// `LIST`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// The reference name.
    pub reference: String,
    /// The patterns, with `*` and `%` as wildcards; at least one. A single empty one asks for the separator
    /// (only where [`List::extended`] is not set).
    pub patterns: Vec<String>,
    /// Which mailboxes are wanted.
    pub select: ListSelection,
    /// What to tell of each.
    pub returns: ListReturn,
    /// Whether any part of the extended syntax was used (RFC 5258 §3).
    pub extended: bool,
}

/// The selection options of LIST (RFC 5258 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListSelection {
    /// `SUBSCRIBED`
    pub subscribed: bool,
    /// `REMOTE`: Mailrook has no remote mailboxes, so that it adds none.
    pub remote: bool,
    /// `RECURSIVEMATCH`; never alone.
    pub recursive_match: bool,
    /// `SPECIAL-USE`
    pub special_use: bool,
}

/// The return options of LIST (RFC 5258 §3.2, RFC 5819, RFC 6154).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListReturn {
    /// `SUBSCRIBED`
    pub subscribed: bool,
    /// `CHILDREN`
    pub children: bool,
    /// `SPECIAL-USE`
    pub special_use: bool,
    /// `STATUS (…)`, nothing twice; empty where it is not asked for.
    pub status: Vec<StatusItem>,
}

/// What STATUS can tell (RFC 9051 §6.3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatusItem {
    /// `MESSAGES`
    Messages,
    /// `RECENT` (RFC 3501)
    Recent,
    /// `UIDNEXT`
    UidNext,
    /// `UIDVALIDITY`
    UidValidity,
    /// `UNSEEN`
    Unseen,
    /// `DELETED`
    Deleted,
    /// `SIZE` (RFC 8438)
    Size,
    /// `HIGHESTMODSEQ` (RFC 7162)
    HighestModSeq,
    /// `APPENDLIMIT` (RFC 7889)
    AppendLimit,
    /// `MAILBOXID` (RFC 8474)
    MailboxId,
    /// `DELETED-STORAGE` (RFC 9208)
    DeletedStorage,
}

impl StatusItem {
    /// Each item with its name on the wire.
    pub const ALL: [(StatusItem, &'static str); 11] = [
        (StatusItem::Messages, "MESSAGES"),
        (StatusItem::Recent, "RECENT"),
        (StatusItem::UidNext, "UIDNEXT"),
        (StatusItem::UidValidity, "UIDVALIDITY"),
        (StatusItem::Unseen, "UNSEEN"),
        (StatusItem::Deleted, "DELETED"),
        (StatusItem::Size, "SIZE"),
        (StatusItem::HighestModSeq, "HIGHESTMODSEQ"),
        (StatusItem::AppendLimit, "APPENDLIMIT"),
        (StatusItem::MailboxId, "MAILBOXID"),
        (StatusItem::DeletedStorage, "DELETED-STORAGE"),
    ];

    /// The item of this name, in any case.
    pub fn parse(name: &str) -> Option<StatusItem> {
        let matching = |(_, known): &&(StatusItem, &str)| known.eq_ignore_ascii_case(name);
        StatusItem::ALL.iter().find(matching).map(|(item, _)| *item)
    }
}
