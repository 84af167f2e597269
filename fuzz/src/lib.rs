//! Fuzz targets: one function for each parser, session and state machine, that takes any bytes.
//!
//! Where there is an oracle, a target asserts it: what was parsed prints so that it parses to the same, a session goes the
//! same way however its input is cut, copies of a state machine stay the same, a search misses nothing, output is bounded
//! by input. A target panics where one does not hold; [`driver`] then shows the input.
//!
//! - `cargo test -p mailrook-fuzz` runs each for a short time on inputs that are the same everywhere;
//!   `MAILROOK_FUZZ_ROUNDS` makes it longer, `MAILROOK_FUZZ_SEED` chooses others.
//! - `libfuzzer/` has the same functions for `cargo fuzz`, which finds its way by coverage.
//!
//! *Architecture Invariant:* this crate uses the public interfaces of the others alone; nothing depends on it.

mod choices;
mod config;
mod dns;
pub mod driver;
mod imap;
mod machines;
mod mime;
mod oauth;
mod proxy;
mod records;
mod sasl;
mod sessions;
mod smtp;
mod smtp_client;
mod types;
mod wire;

pub use config::configuration;
pub use dns::dns_texts;
pub use imap::{imap_framing, pop3_framing};
pub use machines::{meta_commands, raw_commands, shard_commands};
pub use mime::mime_message;
pub use oauth::oauth_token;
pub use proxy::proxy_header;
pub use records::stored_records;
pub use sasl::{sasl_exchange, sasl_token};
pub use sessions::{imap_session, pop3_session};
pub use smtp::smtp_session;
pub use smtp_client::smtp_client;
pub use types::{address, mailbox_name, uid_set};

/// What takes any bytes, with inputs to begin with.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its function.
    pub name: &'static str,
    /// Runs it on one input.
    pub run: fn(&[u8]),
    /// Inputs that it finds interesting.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of its language.
    pub dictionary: &'static [&'static [u8]],
    /// The longest mutant.
    pub len_max: usize,
    /// Mutants of a short run: about two seconds with optimisation.
    pub rounds: u32,
}

/// All of them.
pub const TARGETS: [Target; 20] = [
    types::ADDRESS,
    types::MAILBOX_NAME,
    types::UID_SET,
    mime::MIME_MESSAGE,
    imap::IMAP_FRAMING,
    imap::POP3_FRAMING,
    smtp::SMTP_SESSION,
    smtp_client::SMTP_CLIENT,
    sasl::SASL_EXCHANGE,
    sasl::SASL_TOKEN,
    oauth::OAUTH_TOKEN,
    dns::DNS_TEXTS,
    records::STORED_RECORDS,
    machines::SHARD_COMMANDS,
    machines::RAW_COMMANDS,
    machines::META_COMMANDS,
    sessions::IMAP_SESSION,
    sessions::POP3_SESSION,
    proxy::PROXY_HEADER,
    config::CONFIGURATION,
];
