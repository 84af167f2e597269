//! How a client speaks on one connection, and how long it waits.

use std::{fmt, time::Duration};

use mailrook_types::Domain;
use zeroize::Zeroizing;

/// Which protocol the remote speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: a reply for each recipient.
    Lmtp,
}

/// How the connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// It is not.
    Off,
    /// Encrypted, with whoever is at the other end.
    Unverified,
    /// Encrypted, and the remote has proved to be who it should be (DANE, MTA-STS, or a smart host's certificate).
    Verified,
}

/// Whether STARTTLS (RFC 3207) is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// No.
    Never,
    /// When offered. A remote that then refuses it gets the mail in the clear (RFC 7435).
    Opportunistic,
    /// Nothing is sent without it.
    Required,
}

/// What becomes of a message with octets beyond ASCII towards a remote without 8BITMIME.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SevenBitRemote {
    /// It is sent as it is, without BODY, as Exim and qmail do: hosts that clear the eighth bit are gone, and re-coding, as
    /// RFC 6152 §3 and Postfix have it, breaks signatures (RFC 6376).
    #[default]
    SendAsIs,
    /// It is [`Lacking::EightBitMime`](super::Lacking::EightBitMime).
    Fail,
}

/// Who logs in at a smart host. Only done under TLS.
#[derive(Clone)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password, which is wiped after use and shown nowhere.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

/// How a client speaks on one connection.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// What the remote speaks.
    pub protocol: Protocol,
    /// The name that says hello: this host's own (RFC 5321 §4.1.4).
    pub hostname: Domain,
    /// How the connection is secured from its start.
    pub tls: Tls,
    /// Whether STARTTLS is used on one that is not.
    pub starttls: StartTls,
    /// Who logs in. If set, nothing is sent before that succeeded.
    pub login: Option<Login>,
    /// Mail with octets beyond ASCII towards a remote without 8BITMIME.
    pub seven_bit_remote: SevenBitRemote,
    /// Whether BDAT is used when offered.
    pub chunking: bool,
    /// How long each answer is waited for.
    pub timeouts: Timeouts,
}

impl ClientConfig {
    /// Port 25 with opportunistic TLS.
    pub fn new(protocol: Protocol, hostname: Domain) -> ClientConfig {
        ClientConfig {
            protocol,
            hostname,
            tls: Tls::Off,
            starttls: StartTls::Opportunistic,
            login: None,
            seven_bit_remote: SevenBitRemote::default(),
            chunking: true,
            timeouts: Timeouts::default(),
        }
    }
}

/// How long each answer is waited for. The default is what RFC 5321 §4.5.3.2 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The greeting: 5 minutes (§4.5.3.2.1).
    pub greeting: Duration,
    /// EHLO, RSET, STARTTLS with its handshake, AUTH: no figure there; 5 minutes, as for MAIL.
    pub command: Duration,
    /// MAIL: 5 minutes (§4.5.3.2.2).
    pub mail: Duration,
    /// RCPT: 5 minutes (§4.5.3.2.3).
    pub rcpt: Duration,
    /// The 354 after DATA: 2 minutes (§4.5.3.2.4).
    pub data: Duration,
    /// Some of the text must be taken, or a BDAT other than the last be answered: 3 minutes (§4.5.3.2.5).
    pub block: Duration,
    /// The verdict after the final dot or BDAT LAST: 10 minutes (§4.5.3.2.6).
    pub verdict: Duration,
    /// The answer to QUIT, on which nothing depends: 10 seconds.
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Timeouts {
            greeting: minutes(5),
            command: minutes(5),
            mail: minutes(5),
            rcpt: minutes(5),
            data: minutes(2),
            block: minutes(3),
            verdict: minutes(10),
            quit: Duration::from_secs(10),
        }
    }
}
