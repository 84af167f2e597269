//! What mail asks the DNS, and what follows from the answers.
//!
//! - `resolve` asks: [`Resolver`] servers, with DNSSEC and a bounded cache; a twin in tests what it was told.
//! - `route` finds where a domain's mail goes.
//! - `dane` (RFC 7672) and `sts` (RFC 8461) find what the host's certificate must be; `tls` decides from both and verifies.
//! - `tlsrpt` (RFC 8460) counts what came of it, and writes the report.
//! - `list` asks block and allow lists (RFC 5782), and for the confirmed name of an address.
//!
//! Everything that was asked for and is not known is an error of its own, which no caller can take for "there is none".
//!
//! *Architecture Invariant:* this crate knows no SMTP session, no queue and no store: it sends no mail. What is decided is
//! decided by functions that ask nobody.

pub mod dane;
mod fields;
pub mod list;
mod name;
pub mod resolve;
pub mod route;
pub mod sts;
#[cfg(any(test, feature = "test-server"))]
pub mod stub;
pub mod tls;
pub mod tlsrpt;

pub use name::{DnsName, NameError};
pub use resolve::{Resolve, Resolver, ResolverSettings};
