//! What is decided about a message and its senders and recipients: one file, one rule.
//!
//! A rule answers with the reply that refuses, so that what is said stands beside what is decided.

mod hello;
mod loops;
pub(crate) mod quota;
pub(crate) mod rate;
pub(crate) mod recipient;
mod relay;
mod sender;

pub use hello::HelloPolicy;
pub use rate::MailRate;

pub(crate) use hello::check as check_hello;
pub(crate) use loops::check as check_loop;
pub(crate) use sender::check as check_sender;

use mailrook_smtp_proto::{EnhancedCode, Reply, ReplyCode};
use mailrook_store_api::StoreError;

/// Unknown is not absent (P6): what cannot be asked now is put off, never refused.
pub(crate) fn store_unreachable(error: &StoreError) -> Reply {
    tracing::warn!(%error, "the store did not answer");
    Reply::new(
        ReplyCode::LocalError451,
        EnhancedCode::SYSTEM,
        "the mail store cannot be reached now, try again later",
    )
}
