//! What TLS must do with one host: decided from what DANE, MTA-STS, the message and the route say, and carried out by rustls.

mod decide;
mod verifier;

pub use decide::{Decision, Facts, MessageTls, Refusal, RefusalReason, StsStatus, TlsNeed, decide};
pub use verifier::{TlsFault, client_config, tls_fault};
