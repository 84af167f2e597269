//! IMAP4rev1, IMAP4rev2 and POP3 as bytes in, events out.
//!
//! - [`framing`] cuts a client's bytes into commands with their literals, and streams what APPEND carries.
//! - [`command`] is what a client can ask for; the grammar that reads it stands in `parse`, one file a family.
//! - [`response`] is what a server answers, [`writer`] prints it.
//! - [`utf7`] is the encoding of mailbox names before IMAP4rev2.
//! - [`pop3`] is the other, smaller protocol.
//!
//! *Architecture Invariant:* this crate knows no sockets, no clock, no async runtime and no store. It never
//! keeps more than one command's bytes, and no input of a client makes it panic, allocate without a named
//! bound, or take more than linear time.

pub mod command;
pub mod error;
pub mod framing;
mod parse;
pub mod pop3;
pub mod response;
pub mod utf7;
pub mod writer;
