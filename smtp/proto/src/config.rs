//! What a session offers and permits.

use mailrook_types::Domain;

use crate::limits;

/// Which protocol the port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// RFC 5321, port 25: mail from other systems.
    Mx,
    /// RFC 6409, ports 587 and 465: mail from users.
    Submission,
    /// RFC 2033: mail from a local mail system; a reply for each recipient.
    Lmtp,
}

/// What becomes of a message with a CR or LF that stands alone (RFC 5321 §2.3.8 forbids both).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BareNewlines {
    /// The message is read to its end and refused with 550 5.6.11.
    #[default]
    Refuse,
    /// Each becomes `<CR><LF>`. It still neither ends the message nor starts a line that a dot could end.
    Normalise,
}

/// What a session offers and permits. Shared by all sessions of a listener.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Which protocol the port speaks.
    pub service: Service,
    /// The name that greets (RFC 5321 §4.2).
    pub hostname: Domain,
    /// The largest message in octets (RFC 1870).
    pub size_max: u64,
    /// Recipients of one message (RFC 9422 RCPTMAX).
    pub rcpt_max: u32,
    /// Messages on one connection (RFC 9422 MAILMAX).
    pub mail_max: u32,
    /// Whether STARTTLS is offered on a connection without TLS (RFC 3207).
    pub starttls: bool,
    /// Whether MAIL is refused before AUTH (RFC 6409 §4.3).
    pub auth_required: bool,
    /// SASL mechanisms offered under TLS, in order of preference; empty: AUTH is not offered.
    pub mechanisms_tls: Vec<String>,
    /// SASL mechanisms offered without TLS.
    pub mechanisms_plaintext: Vec<String>,
    /// Whether DSN parameters are offered (RFC 3461).
    pub dsn: bool,
    /// What becomes of a bare CR or LF in a message.
    pub bare_newlines: BareNewlines,
}

impl SessionConfig {
    /// The defaults of a service: no TLS, no AUTH.
    pub fn new(service: Service, hostname: Domain) -> SessionConfig {
        SessionConfig {
            service,
            hostname,
            size_max: limits::SIZE_MAX_DEFAULT,
            rcpt_max: limits::RCPT_MAX_DEFAULT,
            mail_max: limits::MAIL_MAX_DEFAULT,
            starttls: false,
            auth_required: false,
            mechanisms_tls: Vec::new(),
            mechanisms_plaintext: Vec::new(),
            dsn: false,
            bare_newlines: BareNewlines::default(),
        }
    }

    /// The mechanisms that AUTH offers in the given state.
    pub(crate) fn mechanisms(&self, tls: bool) -> &[String] {
        if tls {
            &self.mechanisms_tls
        } else {
            &self.mechanisms_plaintext
        }
    }
}
