//! The front door of mail clients: listeners for IMAP and POP3, and the sessions behind them.
//!
//! [`FrontDoor::serve`] runs one [`Endpoint`]: it accepts, counts, does TLS, enters each session in the registry, and
//! gives it to the [`ClientSessions`] that speak the protocol. [`LocalSessions`] run against the store of the same process; a
//! session follows its mailbox through the store's traits, so that nothing here changes when there are more nodes.
//!
//! *Architecture Invariant:* this crate knows no command of a protocol but the one line that refuses a client. It
//! holds nothing that outlives a connection.

mod door;
mod endpoint;
mod sessions;
#[cfg(test)]
mod test_door;

pub use door::{ClientSession, ClientSessions, FrontDoor, SessionFuture};
pub use endpoint::{Endpoint, MailProtocol};
pub use sessions::LocalSessions;
