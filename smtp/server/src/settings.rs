//! What an operator can set about the front end, with the defaults' reasons.

use std::time::Duration;

use mailrook_smtp_proto::{BareNewlines, limits};
use mailrook_types::Domain;

use crate::{
    memory::memory_min,
    policy::{HelloPolicy, MailRate},
};

/// The settings of all endpoints.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name that greets, and that stands in `Received`.
    pub hostname: Domain,
    /// The largest message in octets.
    pub size_max: u64,
    /// Recipients of one message.
    pub rcpt_max: u32,
    /// Messages on one connection.
    pub mail_max: u32,
    /// What becomes of a bare CR or LF in a message.
    pub bare_newlines: BareNewlines,
    /// What is asked of the name in HELO on port 25.
    pub hello: HelloPolicy,
    /// How fast one address may send on port 25.
    pub rate: MailRate,
    /// Octets of messages that may be held in memory by all sessions together. A session that needs more waits, and
    /// after [`Timeouts::memory`] its message is put off with 452. The sessions of one network hold at most an eighth
    /// of it, or one message of the largest size.
    pub memory_max: u64,
    /// The session's patience.
    pub timeouts: Timeouts,
}

/// How long a session waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a command, RFC 5321 §4.5.3.2.7: at least 5 minutes.
    pub command: Duration,
    /// For more of a message. RFC 5321 §4.5.3.2.5 gives the client 3 minutes for a block.
    pub text: Duration,
    /// For all of a message: 1 hour carries 50 MB over 15 KB/s.
    pub message: Duration,
    /// For the client to take a reply.
    pub reply: Duration,
    /// For room in [`Settings::memory_max`].
    pub memory: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            command: Duration::from_secs(300),
            text: Duration::from_secs(300),
            message: Duration::from_secs(3600),
            reply: Duration::from_secs(300),
            memory: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// The least [`Settings::memory_max`] for a [`Settings::size_max`]: with less, the largest messages would be put
    /// off with 452 for ever.
    pub const fn memory_min(size_max: u64) -> u64 {
        memory_min(size_max)
    }

    /// The defaults, for a host of this name.
    pub fn new(hostname: Domain) -> Settings {
        Settings {
            hostname,
            size_max: limits::SIZE_MAX_DEFAULT,
            rcpt_max: limits::RCPT_MAX_DEFAULT,
            mail_max: limits::MAIL_MAX_DEFAULT,
            bare_newlines: BareNewlines::default(),
            hello: HelloPolicy::default(),
            rate: MailRate::default(),
            // 1 GB: twenty messages of the largest size at once, or 200,000 of the usual.
            memory_max: 1_000_000_000,
            timeouts: Timeouts::default(),
        }
    }
}
