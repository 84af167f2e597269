//! Commands of the client, parsed once and strictly (RFC 5321 §4.1.1 and the extensions).
//!
//! A line that is no command becomes the reply that says what is wrong with it. Whether a command may be used now,
//! and whether its parameters were offered, is for the session to say.

mod auth;
mod hello;
mod mail;
mod parameters;
mod path;
mod rcpt;
mod xtext;

pub use hello::{HelloName, HelloVerb};
pub use mail::{BodyType, MailCommand, Ret};
pub use path::ForwardPath;
pub use rcpt::{Notify, OriginalRecipient, RcptCommand};

pub(crate) use auth::decode_response;

use crate::reply::{EnhancedCode, Reply, ReplyCode};

/// One command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Hello(HelloVerb, HelloName),
    Mail(MailCommand),
    Rcpt(RcptCommand),
    Data,
    /// RFC 3030 §2.
    Bdat {
        octets: u64,
        last: bool,
    },
    Rset,
    Noop,
    Quit,
    Vrfy,
    Expn,
    Help,
    StartTls,
    /// RFC 4954 §4. The initial response is decoded.
    Auth {
        mechanism: String,
        initial: Option<Vec<u8>>,
    },
    /// A browser was talked into sending mail: the session must end before its form is read as commands.
    Http,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// What to tell the client.
    pub(crate) reply: Reply,
    /// The octets of a message may follow that cannot be told from commands: the session must end.
    pub(crate) fatal: bool,
}

impl From<Reply> for Malformed {
    fn from(reply: Reply) -> Malformed {
        Malformed {
            reply,
            fatal: false,
        }
    }
}

/// Reads a line without its `<CR><LF>`.
pub(crate) fn parse(line: &str) -> Result<Command, Malformed> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let arguments = rest.trim_start_matches(' ');
    let command = match verb.to_ascii_uppercase().as_str() {
        "EHLO" => Command::Hello(HelloVerb::Ehlo, HelloName::parse(arguments)?),
        "HELO" => Command::Hello(HelloVerb::Helo, HelloName::parse(arguments)?),
        "LHLO" => Command::Hello(HelloVerb::Lhlo, HelloName::parse(arguments)?),
        "MAIL" => Command::Mail(mail::parse(arguments)?),
        "RCPT" => Command::Rcpt(rcpt::parse(arguments)?),
        "DATA" => without_arguments(arguments, Command::Data)?,
        "BDAT" => {
            return parse_bdat(arguments).ok_or_else(|| Malformed {
                reply: arguments_wrong("BDAT <octets> [LAST]"),
                fatal: true,
            });
        }
        "RSET" => without_arguments(arguments, Command::Rset)?,
        // RFC 5321 §4.1.1.9: the argument has no meaning.
        "NOOP" => Command::Noop,
        "QUIT" => without_arguments(arguments, Command::Quit)?,
        "VRFY" if arguments.is_empty() => return Err(arguments_wrong("VRFY <user>").into()),
        "VRFY" => Command::Vrfy,
        "EXPN" => Command::Expn,
        "HELP" => Command::Help,
        "STARTTLS" => without_arguments(arguments, Command::StartTls)?,
        "AUTH" => auth::parse(arguments)?,
        "GET" | "POST" | "PUT" | "HEAD" | "OPTIONS" | "CONNECT" | "HOST:" => Command::Http,
        _ => return Err(unknown_command().into()),
    };
    Ok(command)
}

fn parse_bdat(arguments: &str) -> Option<Command> {
    let mut words = arguments.split_ascii_whitespace();
    let octets = words.next().and_then(parse_number)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return None,
    };
    words
        .next()
        .is_none()
        .then_some(Command::Bdat { octets, last })
}

/// Digits alone: `str::parse` would also take a sign.
fn parse_number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

fn without_arguments(arguments: &str, command: Command) -> Result<Command, Reply> {
    if arguments.is_empty() {
        Ok(command)
    } else {
        Err(arguments_wrong("this command takes no arguments"))
    }
}

pub(crate) fn unknown_command() -> Reply {
    Reply::new(
        ReplyCode::SyntaxError500,
        EnhancedCode::INVALID_COMMAND,
        "no such command",
    )
}

/// 501 with the form that was expected.
fn arguments_wrong(expected: &'static str) -> Reply {
    Reply::new(
        ReplyCode::ParameterError501,
        EnhancedCode::INVALID_ARGUMENTS,
        format!("bad arguments, expected: {expected}"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_verbs_in_any_case() {
        assert_eq!(parse("data"), Ok(Command::Data));
        assert_eq!(parse("NoOp whatever"), Ok(Command::Noop));
        assert_eq!(
            parse("BDAT 86 last"),
            Ok(Command::Bdat {
                octets: 86,
                last: true
            })
        );
        assert_eq!(
            parse("BDAT 0"),
            Ok(Command::Bdat {
                octets: 0,
                last: false
            })
        );
    }

    #[test]
    fn refuses_what_is_no_command() {
        for line in [
            "",
            " ",
            "DATA now",
            "QUIT x",
            "EHLO",
            "VRFY",
            "MAILFROM:<>",
            "NOOP\tx",
            "STARTTLS x",
            "\u{e9}",
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_chunk_of_unknown_length_ends_the_session() {
        for line in [
            "BDAT",
            "BDAT x",
            "BDAT -1",
            "BDAT +1",
            "BDAT 1 x",
            "BDAT 1 LAST x",
            "BDAT 99999999999999999999",
        ] {
            assert!(parse(line).unwrap_err().fatal, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(line in "\\PC{0,300}") {
            let _ = parse(&line);
        }

        #[test]
        fn never_panics_on_near_misses(
            verb in "(MAIL FROM:|RCPT TO:|AUTH |BDAT |EHLO )",
            rest in "[<>@:,\"\\\\a-c.%!+= \\[\\]é]{0,60}",
        ) {
            let _ = parse(&format!("{verb}{rest}"));
        }
    }
}
