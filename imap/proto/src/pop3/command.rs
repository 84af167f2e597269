//! The commands of POP3 (RFC 1939 §5 to §7, RFC 2449, RFC 2595, RFC 5034, RFC 6856).

use std::num::NonZeroU32;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use thiserror::Error;

use crate::command::Secret;

/// What a client can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `USER name`
    User(String),
    /// `PASS password`: everything behind the first space, spaces included (RFC 1939 §7).
    Pass(Secret),
    /// `APOP`, which is always refused.
    Apop,
    /// `STLS` (RFC 2595 §4)
    Stls,
    /// `AUTH` (RFC 5034 §4). Without a mechanism some clients ask for the list of them.
    Auth {
        /// The SASL mechanism, in capitals.
        mechanism: Option<String>,
        /// The decoded initial response; empty where the client wrote `=`.
        initial_response: Option<Secret>,
    },
    /// `CAPA` (RFC 2449 §5)
    Capa,
    /// `STAT`
    Stat,
    /// `LIST [message]`
    List(Option<NonZeroU32>),
    /// `UIDL [message]`
    Uidl(Option<NonZeroU32>),
    /// `RETR message`
    Retr(NonZeroU32),
    /// `TOP message lines`
    Top {
        /// The message's number.
        message: NonZeroU32,
        /// How many lines of its body.
        lines: u32,
    },
    /// `DELE message`
    Dele(NonZeroU32),
    /// `NOOP`
    Noop,
    /// `RSET`
    Rset,
    /// `QUIT`
    Quit,
    /// `UTF8` (RFC 6856 §2)
    Utf8,
    /// `LANG [tag]` (RFC 6856 §3), which has nothing to choose from.
    Lang,
}

/// What a session awaits (RFC 1939 §3). The third state, UPDATE, is what QUIT does and awaits nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A login.
    Authorization,
    /// Commands on the mailbox.
    Transaction,
}

/// Why a line is no command. The words are for the client's user.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// A command that nobody announced.
    #[error("unknown command")]
    UnknownCommand,
    /// Arguments are missing, too many or malformed: what is expected.
    #[error("expected {0}")]
    Expected(&'static str),
    /// The argument is not UTF-8.
    #[error("a name is not UTF-8")]
    NotUtf8,
    /// An initial response or an answer to a challenge that is not base64.
    #[error("this is not base64")]
    BadBase64,
    /// RFC 2449 §4: at most 255 bytes.
    #[error("the line is longer than {0} bytes")]
    LineTooLong(usize),
}

impl Command {
    /// The command's name, for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Command::User(_) => "USER",
            Command::Pass(_) => "PASS",
            Command::Apop => "APOP",
            Command::Stls => "STLS",
            Command::Auth { .. } => "AUTH",
            Command::Capa => "CAPA",
            Command::Stat => "STAT",
            Command::List(_) => "LIST",
            Command::Uidl(_) => "UIDL",
            Command::Retr(_) => "RETR",
            Command::Top { .. } => "TOP",
            Command::Dele(_) => "DELE",
            Command::Noop => "NOOP",
            Command::Rset => "RSET",
            Command::Quit => "QUIT",
            Command::Utf8 => "UTF8",
            Command::Lang => "LANG",
        }
    }

    /// Whether the command has a place in this state (RFC 2449 §6, the table of each capability).
    pub fn permitted_in(&self, state: State) -> bool {
        match self {
            Command::Capa | Command::Quit | Command::Lang => true,
            Command::User(_)
            | Command::Pass(_)
            | Command::Apop
            | Command::Stls
            | Command::Auth { .. }
            | Command::Utf8 => state == State::Authorization,
            _ => state == State::Transaction,
        }
    }

    /// Reads a line without its end.
    pub fn parse(line: &[u8]) -> Result<Command, ParseError> {
        let name_len = memchr::memchr(b' ', line).unwrap_or(line.len());
        let (name, rest) = line.split_at(name_len);
        // `None` without a space; spaces at the end are harmless but for PASS.
        let argument = rest.get(1..);
        let name = name.to_ascii_uppercase();
        match (name.as_slice(), argument) {
            (b"USER", Some(user)) if !user.is_empty() => {
                text(user.trim_ascii_end()).map(Command::User)
            }
            (b"PASS", Some(password)) => Ok(Command::Pass(Secret::new(password))),
            (b"USER", _) => Err(ParseError::Expected("a name")),
            (b"PASS", _) => Err(ParseError::Expected("a password")),
            (b"APOP", _) => Ok(Command::Apop),
            (b"LANG", _) => Ok(Command::Lang),
            (b"AUTH", argument) => auth(argument.unwrap_or_default()),
            (name, argument) => with_numbers(name, argument.unwrap_or_default()),
        }
    }
}

fn with_numbers(name: &[u8], argument: &[u8]) -> Result<Command, ParseError> {
    const MESSAGE: &str = "a message's number";
    let mut words = argument
        .split(|b| *b == b' ')
        .filter(|word| !word.is_empty());
    let command = match name {
        b"STLS" => Command::Stls,
        b"CAPA" => Command::Capa,
        b"STAT" => Command::Stat,
        b"NOOP" => Command::Noop,
        b"RSET" => Command::Rset,
        b"QUIT" => Command::Quit,
        b"UTF8" => Command::Utf8,
        b"LIST" => Command::List(words.next().map(message).transpose()?),
        b"UIDL" => Command::Uidl(words.next().map(message).transpose()?),
        b"RETR" => Command::Retr(message(words.next().ok_or(ParseError::Expected(MESSAGE))?)?),
        b"DELE" => Command::Dele(message(words.next().ok_or(ParseError::Expected(MESSAGE))?)?),
        b"TOP" => Command::Top {
            message: message(words.next().ok_or(ParseError::Expected(MESSAGE))?)?,
            lines: lines(words.next().unwrap_or_default())?,
        },
        _ => return Err(ParseError::UnknownCommand),
    };
    match words.next() {
        Some(_) => Err(ParseError::Expected("fewer arguments")),
        None => Ok(command),
    }
}

fn auth(argument: &[u8]) -> Result<Command, ParseError> {
    let mut words = argument
        .split(|b| *b == b' ')
        .filter(|word| !word.is_empty());
    let mechanism = words
        .next()
        .map(text)
        .transpose()?
        .map(|name| name.to_ascii_uppercase());
    let initial_response = words.next().map(initial_response).transpose()?;
    match words.next() {
        Some(_) => Err(ParseError::Expected("a mechanism and an initial response")),
        None => Ok(Command::Auth {
            mechanism,
            initial_response,
        }),
    }
}

/// RFC 5034 §4: a single `=` is the empty response.
fn initial_response(encoded: &[u8]) -> Result<Secret, ParseError> {
    if encoded == b"=" {
        return Ok(Secret::new([]));
    }
    auth_response(encoded)
}

/// The answer to a SASL challenge.
pub(super) fn auth_response(encoded: &[u8]) -> Result<Secret, ParseError> {
    STANDARD
        .decode(encoded)
        .map(Secret::new)
        .map_err(|_| ParseError::BadBase64)
}

fn text(bytes: &[u8]) -> Result<String, ParseError> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| ParseError::NotUtf8)
}

fn message(word: &[u8]) -> Result<NonZeroU32, ParseError> {
    let number = number(word).and_then(NonZeroU32::new);
    number.ok_or(ParseError::Expected("a message's number"))
}

fn lines(word: &[u8]) -> Result<u32, ParseError> {
    number(word).ok_or(ParseError::Expected("a number of lines"))
}

/// Digits alone: no sign.
fn number(word: &[u8]) -> Option<u32> {
    let digits = word.iter().all(u8::is_ascii_digit);
    digits
        .then(|| std::str::from_utf8(word).ok()?.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn c(line: &str) -> Result<Command, ParseError> {
        Command::parse(line.as_bytes())
    }

    fn n(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    #[test]
    fn reads_every_command() {
        let auth = |mechanism: Option<&str>, response: Option<&[u8]>| Command::Auth {
            mechanism: mechanism.map(str::to_owned),
            initial_response: response.map(Secret::new),
        };
        for (line, command) in [
            ("USER fred", Command::User("fred".into())),
            (
                "user jürgen@example.test ",
                Command::User("jürgen@example.test".into()),
            ),
            (
                "PASS  two  spaces ",
                Command::Pass(Secret::new(*b" two  spaces ")),
            ),
            ("PASS ", Command::Pass(Secret::new([]))),
            ("APOP fred c4c9", Command::Apop),
            ("STLS", Command::Stls),
            ("AUTH", auth(None, None)),
            ("AUTH plain", auth(Some("PLAIN"), None)),
            ("AUTH PLAIN =", auth(Some("PLAIN"), Some(b""))),
            ("AUTH PLAIN AHQAdA==", auth(Some("PLAIN"), Some(b"\0t\0t"))),
            ("CAPA", Command::Capa),
            ("STAT ", Command::Stat),
            ("LIST", Command::List(None)),
            ("LIST 2", Command::List(Some(n(2)))),
            ("UIDL", Command::Uidl(None)),
            ("UIDL 4294967295", Command::Uidl(Some(n(u32::MAX)))),
            ("RETR 1", Command::Retr(n(1))),
            (
                "TOP 1 0",
                Command::Top {
                    message: n(1),
                    lines: 0,
                },
            ),
            ("DELE 1", Command::Dele(n(1))),
            ("NOOP", Command::Noop),
            ("rset", Command::Rset),
            ("QUIT", Command::Quit),
            ("UTF8", Command::Utf8),
            ("LANG de", Command::Lang),
        ] {
            assert_eq!(c(line).as_ref().map(Command::name), Ok(command.name()));
            assert_eq!(c(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for line in [
            "",
            " ",
            "XYZZY",
            "USER",
            "USER ",
            "PASS",
            "RETR",
            "RETR 0",
            "RETR -1",
            "RETR +1",
            "RETR 4294967296",
            "RETR x",
            "RETR 1 2",
            "TOP 1",
            "TOP 1 x",
            "LIST 1 2",
            "STAT 1",
            "AUTH PLAIN !",
            "AUTH PLAIN = =",
            "QUIT now",
        ] {
            assert!(c(line).is_err(), "{line:?} was accepted: {:?}", c(line));
        }
        assert_eq!(Command::parse(b"USER \xff"), Err(ParseError::NotUtf8));
    }

    #[test]
    fn knows_the_states() {
        assert!(c("USER x").unwrap().permitted_in(State::Authorization));
        assert!(!c("UTF8").unwrap().permitted_in(State::Transaction));
        assert!(!c("STAT").unwrap().permitted_in(State::Authorization));
        assert!(c("CAPA").unwrap().permitted_in(State::Transaction));
    }

    proptest! {
        #[test]
        fn survives_anything(line in any::<Vec<u8>>()) {
            let _ = Command::parse(&line);
        }
    }
}
