//! Replies: code (RFC 5321 §4.2), enhanced status code (RFC 2034, RFC 3463) and text.

use std::{borrow::Cow, fmt};

use crate::limits::REPLY_LINE_MAX;

macro_rules! reply_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// A reply code of RFC 5321 §4.2.3, RFC 4954 §4 or RFC 3207 §4, named after its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ReplyCode {
            $($(#[$doc])* $name = $code,)*
        }
    };
}

reply_codes! {
    /// Help.
    Help214 = 214,
    /// The greeting, and the answer to STARTTLS.
    Ready220 = 220,
    /// The answer to QUIT.
    Closing221 = 221,
    /// RFC 4954 §6.
    AuthSucceeded235 = 235,
    /// Done.
    Ok250 = 250,
    /// The answer to VRFY that tells nothing.
    CannotVerify252 = 252,
    /// RFC 4954 §4: the next step of an exchange.
    AuthContinue334 = 334,
    /// Start of the message's text.
    StartMail354 = 354,
    /// The server closes the connection.
    ServiceNotAvailable421 = 421,
    /// RFC 4954 §6, X.7.12: a password transition is needed.
    PasswordTransition432 = 432,
    /// The mailbox is busy or blocked for now.
    MailboxBusy450 = 450,
    /// We are at fault; try again later.
    LocalError451 = 451,
    /// No room, or too many recipients.
    InsufficientStorage452 = 452,
    /// RFC 4954 §6: authentication could not be checked now.
    TemporaryAuthFailure454 = 454,
    /// Parameters cannot be honoured now.
    CannotAccommodate455 = 455,
    /// No such command, or an unreadable one.
    SyntaxError500 = 500,
    /// Unreadable parameters.
    ParameterError501 = 501,
    /// A known command that is not offered.
    NotImplemented502 = 502,
    /// A command in the wrong order.
    BadSequence503 = 503,
    /// A parameter or mechanism that is not offered.
    ParameterNotImplemented504 = 504,
    /// This host takes no mail; also used when a peer is sent away for good (RFC 7504).
    NoMail521 = 521,
    /// RFC 4954 §6: authentication is required.
    AuthRequired530 = 530,
    /// RFC 4954 §6: wrong credentials.
    AuthFailed535 = 535,
    /// RFC 4954 §6: the mechanism needs encryption.
    EncryptionRequired538 = 538,
    /// No such mailbox, or refused by policy.
    MailboxUnavailable550 = 550,
    /// The user is elsewhere.
    UserNotLocal551 = 551,
    /// Too large, or beyond the mailbox's quota for good.
    ExceededStorage552 = 552,
    /// The address is not allowed.
    MailboxNameNotAllowed553 = 553,
    /// The transaction failed.
    TransactionFailed554 = 554,
    /// Unknown parameters of MAIL or RCPT.
    ParametersNotRecognised555 = 555,
}

impl ReplyCode {
    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Whether the client may try again later.
    pub const fn is_temporary(self) -> bool {
        self.number() / 100 == 4
    }

    /// Whether this is a failure of either kind.
    pub const fn is_failure(self) -> bool {
        self.number() >= 400
    }
}

/// Subject and detail of an enhanced status code (RFC 3463). Its class is the first digit of the reply code, so
/// that the two can never disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EnhancedCode {
    /// RFC 3463 §3.
    pub subject: u16,
    /// RFC 3463 §3.
    pub detail: u16,
}

macro_rules! enhanced_codes {
    ($($(#[$doc:meta])* $name:ident = $subject:literal . $detail:literal;)*) => {
        impl EnhancedCode {
            $($(#[$doc])* pub const $name: EnhancedCode = EnhancedCode { subject: $subject, detail: $detail };)*
        }
    };
}

enhanced_codes! {
    /// X.0.0: nothing more to say.
    OTHER = 0 . 0;
    /// X.1.0: something about the address.
    ADDRESS = 1 . 0;
    /// X.1.1: no such mailbox.
    NO_SUCH_MAILBOX = 1 . 1;
    /// X.1.3: the recipient's address is no address.
    BAD_RECIPIENT_SYNTAX = 1 . 3;
    /// X.1.5: the recipient's address is valid.
    RECIPIENT_VALID = 1 . 5;
    /// X.1.7: the sender's address is no address.
    BAD_SENDER_SYNTAX = 1 . 7;
    /// X.1.8: the sender's system cannot exist.
    BAD_SENDER_SYSTEM = 1 . 8;
    /// X.2.1: the mailbox takes no mail.
    MAILBOX_DISABLED = 2 . 1;
    /// X.2.2: the mailbox is full.
    MAILBOX_FULL = 2 . 2;
    /// X.2.4: the mailing list cannot be expanded.
    MAILING_LIST_EXPANSION = 2 . 4;
    /// X.3.0: something about the system.
    SYSTEM = 3 . 0;
    /// X.3.1: the system has no room.
    SYSTEM_FULL = 3 . 1;
    /// X.3.2: the system takes no mail now.
    SYSTEM_SHUTTING_DOWN = 3 . 2;
    /// X.3.4: the message is too big for the system.
    MESSAGE_TOO_BIG = 3 . 4;
    /// X.4.2: the connection is bad, for example too slow.
    BAD_CONNECTION = 4 . 2;
    /// X.4.6: the message goes in a loop.
    ROUTING_LOOP = 4 . 6;
    /// X.5.0: something about the protocol.
    PROTOCOL = 5 . 0;
    /// X.5.1: no such command, or not now.
    INVALID_COMMAND = 5 . 1;
    /// X.5.2: bad syntax.
    SYNTAX = 5 . 2;
    /// X.5.3: too many recipients.
    TOO_MANY_RECIPIENTS = 5 . 3;
    /// X.5.4: bad arguments.
    INVALID_ARGUMENTS = 5 . 4;
    /// X.5.6: an authentication line is too long (RFC 4954 §6).
    AUTH_LINE_TOO_LONG = 5 . 6;
    /// X.6.7: non-ASCII addresses are not permitted here (RFC 6531 §3.5).
    NON_ASCII_ADDRESS = 6 . 7;
    /// X.6.11: the message has characters that it must not have.
    INVALID_CHARACTERS = 6 . 11;
    /// X.7.0: something about security.
    SECURITY = 7 . 0;
    /// X.7.1: not authorised.
    NOT_AUTHORISED = 7 . 1;
    /// X.7.8: wrong credentials (RFC 4954 §6).
    BAD_CREDENTIALS = 7 . 8;
    /// X.7.11: the mechanism needs encryption (RFC 4954 §6).
    ENCRYPTION_REQUIRED = 7 . 11;
}

/// One reply to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The code.
    pub code: ReplyCode,
    /// The enhanced code. `None` where RFC 2034 §4 has none: greeting, HELO and EHLO, and 3yz.
    pub enhanced: Option<EnhancedCode>,
    /// What a person reads. Line feeds make several lines; what is not printable ASCII is sent as `?`.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A reply with an enhanced code.
    pub fn new(
        code: ReplyCode,
        enhanced: EnhancedCode,
        text: impl Into<Cow<'static, str>>,
    ) -> Reply {
        Reply {
            code,
            enhanced: Some(enhanced),
            text: text.into(),
        }
    }

    /// A reply without an enhanced code.
    pub fn plain(code: ReplyCode, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply {
            code,
            enhanced: None,
            text: text.into(),
        }
    }

    /// Appends the reply as it goes on the wire, `<CR><LF>` included.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let start = out.len();
            let hyphen = if lines.peek().is_some() { '-' } else { ' ' };
            out.extend_from_slice(format!("{}{hyphen}", self.code.number()).as_bytes());
            if let Some(EnhancedCode { subject, detail }) = self.enhanced {
                out.extend_from_slice(
                    format!("{}.{subject}.{detail} ", self.code.number() / 100).as_bytes(),
                );
            }
            // RFC 5321 §4.5.3.1.5 counts the CRLF.
            let room = REPLY_LINE_MAX - 2 - (out.len() - start);
            let printable = |c: char| {
                if matches!(c, ' '..='~') {
                    c as u8
                } else {
                    b'?'
                }
            };
            out.extend(line.chars().take(room).map(printable));
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut wire = Vec::new();
        self.write_to(&mut wire);
        f.write_str(String::from_utf8_lossy(&wire).trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_one_and_several_lines() {
        let reply = Reply::new(
            ReplyCode::MailboxUnavailable550,
            EnhancedCode::NO_SUCH_MAILBOX,
            "no such user",
        );
        assert_eq!(reply.to_string(), "550 5.1.1 no such user");
        let reply = Reply::plain(ReplyCode::Ok250, "one\ntwo");
        assert_eq!(reply.to_string(), "250-one\r\n250 two");
    }

    #[test]
    fn no_text_can_break_the_line() {
        let text = format!("a\rb\0c\u{e9}{}", "x".repeat(2000));
        let mut wire = Vec::new();
        Reply::new(ReplyCode::LocalError451, EnhancedCode::SYSTEM, text).write_to(&mut wire);
        assert_eq!(wire.len(), REPLY_LINE_MAX);
        assert!(wire.starts_with(b"451 4.3.0 a?b?c?xxx") && wire.ends_with(b"x\r\n"));
    }
}
