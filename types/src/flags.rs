//! Flags and keywords of a message (RFC 9051 §2.3.2).

use std::{fmt, ops};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The system flags, as a set. `\Recent` is not among them: it belongs to a session, not to a message.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct SystemFlags(u8);

impl SystemFlags {
    /// No flag.
    pub const NONE: SystemFlags = SystemFlags(0);
    /// `\Answered`
    pub const ANSWERED: SystemFlags = SystemFlags(1);
    /// `\Flagged`
    pub const FLAGGED: SystemFlags = SystemFlags(1 << 1);
    /// `\Deleted`
    pub const DELETED: SystemFlags = SystemFlags(1 << 2);
    /// `\Seen`
    pub const SEEN: SystemFlags = SystemFlags(1 << 3);
    /// `\Draft`
    pub const DRAFT: SystemFlags = SystemFlags(1 << 4);

    /// Each flag with its name on the wire, in the order in which servers list them.
    pub const ALL: [(SystemFlags, &'static str); 5] = [
        (SystemFlags::ANSWERED, "\\Answered"),
        (SystemFlags::FLAGGED, "\\Flagged"),
        (SystemFlags::DELETED, "\\Deleted"),
        (SystemFlags::SEEN, "\\Seen"),
        (SystemFlags::DRAFT, "\\Draft"),
    ];

    /// The flag of this name (with its backslash), in any case.
    pub fn parse(name: &str) -> Option<SystemFlags> {
        let matching = |(_, known): &&(SystemFlags, &str)| known.eq_ignore_ascii_case(name);
        SystemFlags::ALL
            .iter()
            .find(matching)
            .map(|(flag, _)| *flag)
    }

    /// The flags as a number with the bits of the constants, for records of a fixed layout.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The flags of [`SystemFlags::bits`]; bits that mean nothing are dropped.
    pub const fn from_bits(bits: u8) -> SystemFlags {
        SystemFlags(bits & 0b1_1111)
    }

    /// Whether all of `flags` are set.
    pub const fn contains(self, flags: SystemFlags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether none is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names on the wire of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        SystemFlags::ALL
            .iter()
            .filter(move |(flag, _)| self.contains(*flag))
            .map(|(_, name)| *name)
    }
}

impl ops::BitOr for SystemFlags {
    type Output = SystemFlags;
    fn bitor(self, other: SystemFlags) -> SystemFlags {
        SystemFlags(self.0 | other.0)
    }
}

impl ops::BitOrAssign for SystemFlags {
    fn bitor_assign(&mut self, other: SystemFlags) {
        self.0 |= other.0;
    }
}

impl ops::Sub for SystemFlags {
    type Output = SystemFlags;
    fn sub(self, other: SystemFlags) -> SystemFlags {
        SystemFlags(self.0 & !other.0)
    }
}

/// A keyword: a flag without a backslash, such as `$Junk` or `Work`. Compared without regard to ASCII case;
/// the spelling seen first in a mailbox is the one shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Keyword(Box<str>);

/// Why a string is no keyword.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeywordError {
    /// Nothing was given.
    #[error("a keyword is empty")]
    Empty,
    /// More than [`Keyword::LEN_MAX`] bytes.
    #[error("a keyword is {0} bytes long, the limit is {max}", max = Keyword::LEN_MAX)]
    TooLong(usize),
    /// A character that RFC 9051's `atom` does not permit.
    #[error("a keyword has the character {0:?}, which an atom cannot have")]
    BadCharacter(char),
}

impl Keyword {
    /// 255 bytes: no client is known to write longer ones, and a message's record stays small.
    pub const LEN_MAX: usize = 255;

    /// Checks that `text` is an `atom` (RFC 9051 §9, `flag-keyword`).
    pub fn parse(text: &str) -> Result<Keyword, KeywordError> {
        if text.is_empty() {
            return Err(KeywordError::Empty);
        }
        if text.len() > Keyword::LEN_MAX {
            return Err(KeywordError::TooLong(text.len()));
        }
        let not_in_atom = |c: char| !c.is_ascii_graphic() || "(){%*\"\\]".contains(c);
        match text.chars().find(|c| not_in_atom(*c)) {
            Some(c) => Err(KeywordError::BadCharacter(c)),
            None => Ok(Keyword(text.into())),
        }
    }

    /// The keyword as it was spelt.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Keyword) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Keyword {
    type Error = KeywordError;
    fn try_from(text: String) -> Result<Keyword, KeywordError> {
        Keyword::parse(&text)
    }
}

impl From<Keyword> for String {
    fn from(keyword: Keyword) -> String {
        keyword.0.into()
    }
}

/// What a message is marked with: system flags and keywords.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// The system flags.
    pub system: SystemFlags,
    /// The keywords, none twice.
    pub keywords: Vec<Keyword>,
}

impl Flags {
    /// System flags alone.
    pub const fn system(system: SystemFlags) -> Flags {
        Flags {
            system,
            keywords: Vec::new(),
        }
    }

    /// Adds one keyword unless it is there already.
    pub fn insert_keyword(&mut self, keyword: Keyword) {
        if !self.keywords.contains(&keyword) {
            self.keywords.push(keyword);
        }
    }
}

/// What STORE does with the flags that it names (RFC 9051 §6.4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlagUpdate {
    /// `FLAGS`
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}
