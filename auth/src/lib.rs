//! Logins: SASL exchanges, and passwords without SASL, run against the directory and a token issuer. SMTP, IMAP and POP3
//! log in here.
//!
//! A session begins a [`Login`] in a [`LoginPlace`], sends the client what a [`LoginStep::Challenge`] asks for, and hands
//! its response back, until the login is done or failed; [`enter`] then has it count. What bounds guessing is in one place:
//!
//! - the cache, the throttle by address and the pool that hashes, shared by all sessions ([`Logins`]);
//! - the failures of one connection ([`Attempts`]). SMTP counts them in its own session, which closes on other errors too.
//!
//! *Architecture Invariant:* this crate knows no protocol. What a client hears of a [`LoginFailure`] is the session's
//! affair, and no session sees more of it than that: not whether there is such a user, nor which part was wrong.

mod attempts;
mod entry;
mod login;
mod seldom;

#[cfg(test)]
mod tests;

pub use attempts::{AttemptLimits, Attempts, Reaction};
pub use entry::enter;
pub use login::{Login, LoginFailure, LoginPlace, LoginStep, Logins, bindings};
