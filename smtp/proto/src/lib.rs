//! SMTP (RFC 5321), submission (RFC 6409) and LMTP (RFC 2033): the server's side of a session as a state machine, and the
//! client's ([`client`]).
//!
//! Bytes of the client go in through [`Session::step`], which answers with the next [`Event`]; what the client
//! is to read gathers in [`Session::output`]. An event that asks for a decision (may this recipient be served? is
//! the message stored?) is answered by [`Session::accept`], [`Session::reject`] or one of their kin before the
//! next step. Any session can thus be driven from a byte slice, and the tests here are conversations.
//!
//! What is strict, and why:
//! - only `<CR><LF>.<CR><LF>` ends DATA, and a bare CR or LF never gets through (SMTP smuggling);
//! - commands end in `<CR><LF>`; one with a bare LF, a bare CR or a control character is refused unread;
//! - what a client sent together with `STARTTLS` is never read (CVE-2011-0411), the connection ends;
//! - an address is parsed once and never interpreted beyond RFC 5321: source routes are dropped, `%` and `!` mean
//!   nothing, so that no spelling of a recipient leads elsewhere.
//!
//! *Architecture Invariant:* this crate knows no sockets, no clock, no directory and no store. It knows what may be
//! said in which state, and leaves to its driver who may send what to whom.

pub mod client;
mod command;
mod config;
#[cfg(test)]
mod conversation;
mod data;
pub mod limits;
mod line;
mod reply;
mod session;

pub use command::{
    BodyType, ForwardPath, HelloName, HelloVerb, MailCommand, Notify, OriginalRecipient,
    RcptCommand, Ret,
};
pub use config::{BareNewlines, Service, SessionConfig};
pub use reply::{EnhancedCode, Reply, ReplyCode};
pub use session::{Aborted, AuthBytes, Awaiting, CloseReason, Event, Session, Step};
