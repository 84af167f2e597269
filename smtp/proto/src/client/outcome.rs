//! What became of each recipient, and why a connection ended.

use thiserror::Error;

use super::{Command, RemoteReply, ReplyError};
use crate::EnhancedCode;

/// What became of one recipient in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The remote has it, and answers for it from now on.
    Delivered {
        /// What the remote said.
        reply: RemoteReply,
        /// It was told which reports are wanted (RFC 3461). If not, a report of success that is wanted is for us to write
        /// ("relayed", RFC 3461 §5.2.2).
        dsn: bool,
    },
    /// 5yz: refused for good.
    Refused(RemoteReply),
    /// 4yz: refused for now.
    Deferred(RemoteReply),
    /// Nothing was sent for it, as the message needs what the remote does not offer.
    Impossible(Lacking),
    /// Nothing was decided, as the remote takes no more recipients in one transaction. It is to be named again in another
    /// one, at once (RFC 5321 §4.5.3.1.10, RFC 9422). Never all of a transaction's recipients.
    NextTransaction,
    /// The end of the message was never given out, or the remote had not accepted this recipient: it cannot have it.
    NotSent(Ended),
    /// The end of the message was given out and no whole answer came: the remote may have it or not.
    Unknown(Ended),
}

/// What a message needs and the remote does not offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Lacking {
    /// An address or the header holds UTF-8 (RFC 6531).
    #[error("the remote does not offer SMTPUTF8, which an address or the header needs")]
    SmtpUtf8,
    /// The body holds octets beyond ASCII (RFC 6152), and the configuration does not let them go out without.
    #[error("the remote does not offer 8BITMIME, which the message needs")]
    EightBitMime,
    /// The body is binary (RFC 3030): it can only go by BDAT.
    #[error("the remote does not offer BINARYMIME and CHUNKING, which the message needs")]
    BinaryMime,
    /// RFC 8689 §4.2.1: a verified remote that offers REQUIRETLS under TLS.
    #[error(
        "the sender requires TLS all the way, and the remote does not offer REQUIRETLS under verified TLS"
    )]
    RequireTls,
    /// RFC 1870: larger than the remote takes.
    #[error("the message is larger than the {size_max} octets that the remote takes")]
    Size {
        /// What it takes.
        size_max: u64,
    },
}

impl Lacking {
    /// Subject and detail of class 5, for a report.
    pub const fn enhanced(self) -> EnhancedCode {
        match self {
            // RFC 6531 §3.5
            Lacking::SmtpUtf8 => EnhancedCode::NON_ASCII_ADDRESS,
            // RFC 3463 §3.7, X.6.3: conversion required but not supported.
            Lacking::EightBitMime | Lacking::BinaryMime => EnhancedCode {
                subject: 6,
                detail: 3,
            },
            // RFC 8689 §7
            Lacking::RequireTls => EnhancedCode {
                subject: 7,
                detail: 30,
            },
            Lacking::Size { .. } => EnhancedCode::MESSAGE_TOO_BIG,
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Ended {
    /// By QUIT.
    #[error("the conversation is over")]
    Quit,
    /// The greeting or hello was refused: with 5yz for good, otherwise for now.
    #[error("the remote refused the conversation: {0}")]
    Refused(RemoteReply),
    /// 421 at any point (RFC 5321 §3.8): come again later.
    #[error("the remote closes the connection: {0}")]
    ServiceClosing(RemoteReply),
    /// The remote refused the message before its end was sent, so that nothing more can be said on this connection. Each
    /// recipient has this reply as its outcome.
    #[error("the remote refused the message before its end: {0}")]
    RefusedEarly(RemoteReply),
    /// The peer or the network closed it.
    #[error("the connection was lost")]
    ConnectionLost,
    /// No answer in time.
    #[error("no answer to {0} in time")]
    TimedOut(Command),
    /// The remote broke the protocol.
    #[error("{0}")]
    BadReply(#[from] ReplyError),
    /// A reply that the command does not have, or that answers no command.
    #[error("the remote's reply to {} has no meaning there: {}", .0.command, .0)]
    UnexpectedReply(RemoteReply),
    /// Plaintext behind the answer to STARTTLS: somebody in between (RFC 3207 §6, CVE-2011-0411).
    #[error("the remote's answer to STARTTLS was followed by plaintext")]
    PlaintextAfterStartTls,
    /// TLS is required; it is not offered, or refused with this reply.
    #[error("TLS is required, and the remote does not offer it")]
    NoTls(Option<RemoteReply>),
    /// A login is configured; there is no TLS, or no mechanism in common.
    #[error("logging in is not possible: no TLS, or no mechanism in common")]
    NoLogin,
    /// The login was refused.
    #[error("the remote refused the login: {0}")]
    LoginRefused(RemoteReply),
    /// The remote broke the exchange, or did not prove that it knows the password.
    #[error("the remote broke the exchange of the login")]
    LoginBroken,
    /// The caller gave up.
    #[error("given up on our side")]
    Abandoned,
}
