//! The tools of the whole-system tests and of the benchmark.
//!
//! - [`client`]: minimal SMTP, LMTP, IMAP and POP3 clients on blocking sockets.
//! - [`script`]: conversations (`C: …` / `S: …`) with wildcards, over several connections.
//! - [`corpus`]: mail as it is in the world, generated from a seed.
//! - [`harness`]: processes, ports, `/proc`, and [`harness::Node`], a running `mailrook dev`.
//! - [`ledger`]: what the clients were told, and whether the server kept its word; [`worker`] keeps it under a mixed load,
//!   [`kill9`] drives that on one node, and [`cluster`] on several, with every fault the machine can be made to have.
//! - [`bench`]: the loads, the peers (Postfix and Dovecot) and the table.
//!
//! *Architecture Invariant:* this crate shares no code with the crates under test. It knows Mailrook only by its
//! sockets, its command line and its exit codes, so that a mistake in a shared parser cannot hide itself.

pub mod bench;
pub mod client;
pub mod cluster;
pub mod corpus;
pub mod harness;
pub mod kill9;
pub mod ledger;
pub mod script;
pub mod worker;
