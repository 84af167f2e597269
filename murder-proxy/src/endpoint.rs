//! What a port speaks, and to whom.

use std::{fmt, sync::Arc, time::Duration};

use mailrook_net::{Limiter, Network, Refusal, TlsAcceptor};

/// A protocol of mail clients, with or without TLS from the first byte (RFC 8314 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MailProtocol {
    /// Port 143.
    Imap,
    /// Port 993.
    Imaps,
    /// Port 110.
    Pop3,
    /// Port 995.
    Pop3s,
}

/// One port or socket.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// What it speaks.
    pub protocol: MailProtocol,
    /// TLS, from the first byte or by STARTTLS and STLS. `imaps` and `pop3s` cannot do without.
    pub tls: Option<TlsAcceptor>,
    /// Passwords are taken without TLS from clients on this machine's loopback addresses and unix sockets.
    pub plaintext_login: bool,
    /// Balancers whose PROXY header is believed.
    pub proxies: Vec<Network>,
    /// Counts connections; endpoints may share one.
    pub limiter: Arc<Limiter>,
    /// How long sessions may go on after a shutdown is asked for.
    pub drain_timeout: Duration,
}

impl MailProtocol {
    /// All of them.
    pub const ALL: [MailProtocol; 4] = [
        MailProtocol::Imap,
        MailProtocol::Imaps,
        MailProtocol::Pop3,
        MailProtocol::Pop3s,
    ];

    /// The registered service name: `imaps`.
    pub const fn name(self) -> &'static str {
        match self {
            MailProtocol::Imap => "imap",
            MailProtocol::Imaps => "imaps",
            MailProtocol::Pop3 => "pop3",
            MailProtocol::Pop3s => "pop3s",
        }
    }

    /// Whether TLS comes before anything else.
    pub const fn implicit_tls(self) -> bool {
        matches!(self, MailProtocol::Imaps | MailProtocol::Pop3s)
    }

    /// Whether it is IMAP; else it is POP3.
    pub const fn is_imap(self) -> bool {
        matches!(self, MailProtocol::Imap | MailProtocol::Imaps)
    }

    /// What a client hears that is not let in (RFC 9051 §7.1.5 with RFC 5530; RFC 1939 §3 with RFC 3206).
    pub fn refusal(self) -> fn(Refusal) -> &'static str {
        if self.is_imap() {
            refuse_imap
        } else {
            refuse_pop3
        }
    }
}

fn refuse_imap(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::TooManyConnections => {
            "* BYE [UNAVAILABLE] Too many connections, try again later\r\n"
        }
        Refusal::TooManyFromAddress => "* BYE [LIMIT] Too many connections from your address\r\n",
        Refusal::NotYet => "* BYE [UNAVAILABLE] Server is starting, try again later\r\n",
    }
}

fn refuse_pop3(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::TooManyConnections => "-ERR [SYS/TEMP] Too many connections, try again later\r\n",
        Refusal::TooManyFromAddress => "-ERR [SYS/TEMP] Too many connections from your address\r\n",
        Refusal::NotYet => "-ERR [SYS/TEMP] Server is starting, try again later\r\n",
    }
}

impl fmt::Display for MailProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
