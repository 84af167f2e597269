//! Reads a message once: envelope, body structure, search signature, decoded text.
//!
//! [`derive()`] reads a raw message and gives all that the store keeps beside it, so that a listing, a `FETCH` of a part or
//! a `SEARCH` need not read it again. The rest reads one thing out of the raw bytes: a section ([`part`],
//! [`header_fields`]), a decoded part ([`TransferDecoder`]), whether a text occurs ([`Matcher`]).
//!
//! The readers are our own, and not mail-parser's: that one decodes and normalises as it reads, whereas IMAP wants
//! envelope strings undecoded and ranges exact to the byte, and every bound ([`limits`]) has to hold inside the walk.
//! Nothing is refused: a message that breaks every rule has a structure too, told in [`mod@limits`] and the modules.
//!
//! All times are linear in the message's size, all results bounded. The same bytes give the same result in the same
//! version; another version may derive something else, so that the result is stored and never compared.
//!
//! *Architecture Invariant:* pure functions of bytes. This crate knows no storage, no protocol's session, no clock, no
//! randomness and no async runtime, and no input makes it fail.

mod address;
mod charset;
mod date;
mod derive;
mod encoded_word;
mod fold;
mod header;
pub mod limits;
mod parameter;
mod part_header;
mod reference;
mod search;
mod section;
mod signature;
mod structure;
mod text;
mod token;
mod transfer;

pub use date::{SentDate, parse_date};
pub use derive::{Derived, derive};
pub use encoded_word::decode_header;
pub use fold::fold;
pub use header::{Field, Fields, fields, header_fields, unfold};
pub use parameter::extended_parameter;
pub use reference::{Threading, references, threading};
pub use search::Matcher;
pub use section::{PartRef, body_range, header_range, part, slice};
pub use signature::{NeedleGrams, SearchScope, Signature};
pub use text::searchable_text;
pub use transfer::{TransferDecoder, UnknownEncoding, decode_transfer, decoded_size};
