//! IMAP and POP3 sessions against a [`Mailstore`](mailrook_store_api::Mailstore).
//!
//! [`serve_imap`] and [`serve_pop3`] run one client each, to its end. What all of them share is a [`SessionContext`].
//!
//! - `connection` is the wire: TLS and DEFLATE under it, buffers that an idle session does not have.
//! - `driver` reads commands off it and gives them to `command`, one file each; `session` is what lasts between them,
//!   `view` what the client believes to be in the selected mailbox, and `notify` brings that belief up to date.
//! - `pop3` is the other protocol.
//!
//! *Architecture Invariant:* a session holds nothing that matters. What a client was told is done is in the store, so
//! that a session may end at any moment; and no client makes it hold more than named bounds.

mod account;
mod body;
mod changed_pages;
mod command;
mod connection;
mod context;
mod detail_pages;
mod driver;
mod list_pattern;
mod notify;
mod outcome;
mod pop3;
mod session;
mod uid_pages;
mod view;

#[cfg(test)]
mod tests;

pub use context::{Client, SessionContext, Settings};
pub use driver::serve_imap;
pub use pop3::serve_pop3;
