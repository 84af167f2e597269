//! The SMTP front end: mail from other systems (port 25), from users (587 and 465) and from a local mail system (LMTP).
//!
//! [`FrontEnd::serve`] runs a listener. Each connection is one session: `driver` does its I/O and answers the events of
//! [`mailrook_smtp_proto::Session`]; what it answers is decided in `policy`, one file for each rule; `delivery` puts
//! the message into every recipient's mailbox, committed, before the client hears `250`.
//!
//! A front end holds nothing that matters: a session that dies has either acknowledged a committed message, or not
//! acknowledged it, and then the client sends it again. What it was delivered of it is recognised by its
//! [delivery key](mailrook_store_api::shard::DeliveryKey).
//!
//! *Architecture Invariant:* this crate sees the store through the traits of `mailrook_store_api` alone, and decides
//! nothing about the protocol's syntax or order of commands: that is the session's.

mod auth;
mod body;
mod confirm;
mod delivery;
mod driver;
mod dsn;
mod front;
mod input;
mod memory;
mod metrics;
mod policy;
mod settings;
mod trace;
mod transaction;

#[cfg(test)]
mod tests;

pub use front::{Endpoint, FrontEnd, Services, refusal};
pub use metrics::Metrics;
pub use policy::{HelloPolicy, MailRate};
pub use settings::{Settings, Timeouts};

pub use mailrook_smtp_proto::{BareNewlines, Service};
