//! POP3 (RFC 1939) with CAPA (RFC 2449), STLS (RFC 2595), AUTH (RFC 5034), response codes (RFC 2449, RFC 3206) and
//! UTF8 (RFC 6856).
//!
//! - [`Framer`] cuts a client's bytes into commands.
//! - [`Writer`] prints replies, [`DotStuffer`] a message's bytes.
//!
//! APOP is refused by design: it needs the password in clear on the server. LANG has nothing to choose from.

mod command;
mod dot_stuff;
mod framing;
mod reply;

pub use self::{
    command::{Command, ParseError, State},
    dot_stuff::{DotStuffer, LineLimit},
    framing::{AUTH_LINE_LEN_MAX, Event, Framer, LINE_LEN_MAX, SKIP_MAX},
    reply::{Capabilities, ResponseCode, Writer},
};
