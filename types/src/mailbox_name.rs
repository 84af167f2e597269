//! Names of mailboxes (RFC 9051 §5.1) and their special uses (RFC 6154).

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The full name of a mailbox in its account: UTF-8, levels parted by `/`, `INBOX` always in capitals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MailboxName(Box<str>);

/// Why a string is no mailbox name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MailboxNameError {
    /// Nothing was given.
    #[error("a mailbox name is empty")]
    Empty,
    /// More than [`MailboxName::LEN_MAX`] bytes.
    #[error("a mailbox name is {0} bytes long, the limit is {max}", max = MailboxName::LEN_MAX)]
    TooLong(usize),
    /// More than [`MailboxName::DEPTH_MAX`] levels.
    #[error("a mailbox name has {0} levels, the limit is {max}", max = MailboxName::DEPTH_MAX)]
    TooDeep(usize),
    /// A level is empty: the name starts or ends with the separator, or has it twice in a row.
    #[error("a mailbox name has an empty level: it starts or ends with '/', or has '//'")]
    EmptyLevel,
    /// A control character, or one of `*` and `%`, which LIST reads as wildcards.
    #[error("a mailbox name has the character {0:?}, which no name may have")]
    BadCharacter(char),
}

impl MailboxName {
    /// The hierarchy separator.
    pub const SEPARATOR: char = '/';
    /// 1,000 bytes: what fits a command line with room to spare.
    pub const LEN_MAX: usize = 1000;
    /// 100 levels: far beyond use, and keeps every walk over ancestors short.
    pub const DEPTH_MAX: usize = 100;

    /// The mailbox into which mail is delivered.
    pub fn inbox() -> MailboxName {
        MailboxName("INBOX".into())
    }

    /// Checks a name. The first level `INBOX` is recognised in any case (RFC 9051 §5.1).
    pub fn parse(name: &str) -> Result<MailboxName, MailboxNameError> {
        if name.is_empty() {
            return Err(MailboxNameError::Empty);
        }
        if name.len() > MailboxName::LEN_MAX {
            return Err(MailboxNameError::TooLong(name.len()));
        }
        let depth = name.split(MailboxName::SEPARATOR).count();
        if depth > MailboxName::DEPTH_MAX {
            return Err(MailboxNameError::TooDeep(depth));
        }
        if name.split(MailboxName::SEPARATOR).any(str::is_empty) {
            return Err(MailboxNameError::EmptyLevel);
        }
        // RFC 9051 §5.1: no control characters, and LIST's wildcards would make the name unlistable.
        if let Some(c) = name
            .chars()
            .find(|c| c.is_control() || matches!(c, '*' | '%' | '\u{2028}' | '\u{2029}'))
        {
            return Err(MailboxNameError::BadCharacter(c));
        }
        let (first, rest) = name.split_at(name.find(MailboxName::SEPARATOR).unwrap_or(name.len()));
        if first.eq_ignore_ascii_case("INBOX") {
            return Ok(MailboxName(format!("INBOX{rest}").into()));
        }
        Ok(MailboxName(name.into()))
    }

    /// The name as UTF-8.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether mail is delivered here by default.
    pub fn is_inbox(&self) -> bool {
        &*self.0 == "INBOX"
    }

    /// The name one level up, unless this is a first level.
    pub fn parent(&self) -> Option<MailboxName> {
        self.0
            .rsplit_once(MailboxName::SEPARATOR)
            .map(|(parent, _)| MailboxName(parent.into()))
    }

    /// Whether this name stands anywhere below `ancestor`.
    pub fn is_below(&self, ancestor: &MailboxName) -> bool {
        self.0
            .strip_prefix(&*ancestor.0)
            .is_some_and(|rest| rest.starts_with(MailboxName::SEPARATOR))
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for MailboxName {
    type Error = MailboxNameError;
    fn try_from(name: String) -> Result<MailboxName, MailboxNameError> {
        MailboxName::parse(&name)
    }
}

impl From<MailboxName> for String {
    fn from(name: MailboxName) -> String {
        name.0.into()
    }
}

/// What a mailbox is for (RFC 6154 §2). `\All` and `\Flagged` are views, which Mailrook does not offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SpecialUse {
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    /// Each use with its attribute on the wire.
    pub const ALL: [(SpecialUse, &'static str); 5] = [
        (SpecialUse::Archive, "\\Archive"),
        (SpecialUse::Drafts, "\\Drafts"),
        (SpecialUse::Junk, "\\Junk"),
        (SpecialUse::Sent, "\\Sent"),
        (SpecialUse::Trash, "\\Trash"),
    ];

    /// The use with this attribute, in any case.
    pub fn parse(attribute: &str) -> Option<SpecialUse> {
        let matching = |(_, known): &&(SpecialUse, &str)| known.eq_ignore_ascii_case(attribute);
        SpecialUse::ALL
            .iter()
            .find(matching)
            .map(|(special_use, _)| *special_use)
    }

    /// The attribute on the wire.
    pub fn attribute(self) -> &'static str {
        match self {
            SpecialUse::Archive => "\\Archive",
            SpecialUse::Drafts => "\\Drafts",
            SpecialUse::Junk => "\\Junk",
            SpecialUse::Sent => "\\Sent",
            SpecialUse::Trash => "\\Trash",
        }
    }
}
