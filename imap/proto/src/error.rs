//! Why a command was not understood, and what to answer.

use thiserror::Error;

use crate::response::{Code, Status};

/// Why a client's bytes make no command. The words are for the client's user: they name no byte positions.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// The line does not start with a tag.
    #[error("a command starts with a tag of at most 128 bytes, then a space and its name")]
    NoTag,
    /// A command that nobody announced.
    #[error("unknown command")]
    UnknownCommand,
    /// The grammar expected something else: what.
    #[error("expected {0}")]
    Expected(&'static str),
    /// The command is complete, but more follows.
    #[error("the command has more arguments than it takes")]
    TrailingArguments,
    /// An argument that is well formed and means nothing: which.
    #[error("unknown {0}")]
    Unknown(&'static str),
    /// Arguments that exclude or need each other: how.
    #[error("{0}")]
    Combination(&'static str),
    /// A number that is zero or does not fit: which.
    #[error("the {0} is out of range")]
    OutOfRange(&'static str),
    /// A day, time or zone that does not exist.
    #[error("no such date or time")]
    NoSuchDate,
    /// An argument that should be base64.
    #[error("this is not base64")]
    BadBase64,
    /// Parentheses or NOT inside each other.
    #[error("search keys are nested more than {0} deep")]
    TooDeep(usize),
    /// More of something than one command may have.
    #[error("more than {max} {what} in one command")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// The text of a command, without its literals, is too long.
    #[error("the command line is longer than {0} bytes")]
    LineTooLong(usize),
    /// A literal that is not a message is too large, alone or with the others of its command.
    #[error("a literal here may have at most {0} bytes")]
    LiteralTooLarge(usize),
    /// A mailbox name that is not modified UTF-7, or after IMAP4rev2 was enabled not UTF-8.
    #[error("the mailbox name is neither well-formed modified UTF-7 nor UTF-8")]
    MailboxEncoding,
    /// A string that has to be text and is not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// A NUL in a string.
    #[error("a string has a NUL byte")]
    Nul,
    /// SEARCH in a charset that is not known.
    #[error("this charset is not known here")]
    BadCharset,
    /// A keyword that cannot be kept.
    #[error("{0}")]
    BadKeyword(String),
    /// CREATE with a special use that Mailrook does not offer (RFC 6154 §3).
    #[error("this special use is not offered")]
    SpecialUse,
    /// COMPRESS with an unknown mechanism (RFC 4978 §3).
    #[error("only DEFLATE is offered")]
    CompressMechanism,
    /// APPEND before login: its message is not read.
    #[error("log in first")]
    NotAuthenticated,
}

/// Whose fault an error is, which decides the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client does not keep to the grammar: `BAD`.
    Protocol,
    /// The client keeps to the grammar and asks for what it cannot have: `NO`.
    Request,
}

impl ParseError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            ParseError::TooDeep(_)
            | ParseError::TooMany { .. }
            | ParseError::LineTooLong(_)
            | ParseError::LiteralTooLarge(_)
            | ParseError::MailboxEncoding
            | ParseError::BadCharset
            | ParseError::BadKeyword(_)
            | ParseError::SpecialUse
            | ParseError::CompressMechanism
            | ParseError::NotAuthenticated => Fault::Request,
            _ => Fault::Protocol,
        }
    }

    /// What the reply is called.
    pub fn status(&self) -> Status {
        match self.fault() {
            Fault::Protocol => Status::Bad,
            Fault::Request => Status::No,
        }
    }

    /// The response code that tells a program the same.
    pub fn code(&self) -> Option<Code> {
        match self {
            ParseError::TooDeep(_) | ParseError::TooMany { .. } | ParseError::BadKeyword(_) => {
                Some(Code::Limit)
            }
            // RFC 7888 §4 names TOOBIG for literals; RFC 5530's LIMIT says it of anything else.
            ParseError::LineTooLong(_) => Some(Code::Limit),
            ParseError::LiteralTooLarge(_) => Some(Code::TooBig),
            ParseError::MailboxEncoding => Some(Code::Cannot),
            ParseError::BadCharset => Some(Code::BadCharset),
            ParseError::SpecialUse => Some(Code::UseAttr),
            _ => None,
        }
    }
}
