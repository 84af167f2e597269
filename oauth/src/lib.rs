//! Bearer tokens (RFC 6750): whether one is good, and whose it is.
//!
//! A [`TokenVerifier`] has one of two ways to know. Either the issuer publishes keys, and a token is a JWT (RFC 7519, RFC
//! 9068) that one of them has signed; or the issuer is asked about each token (RFC 7662).
//!
//! - `jwt` takes a token apart, `keys` verifies its signature, `claims` reads what it says.
//! - `key_source` keeps the issuer's keys, `introspection` what the issuer said.
//! - `http` asks, bounded in size and time; `url` says who may be asked: over TLS, or on this machine. `places` shares out
//!   the questions under way among those who want to log in.
//!
//! Nothing but the issuer's word lets anybody in: what it could not be asked about is [`TokenError::Unavailable`], and the
//! user may try again.
//!
//! *Architecture Invariant:* this crate knows no mail protocol, no SASL and no directory. A token is in no error, log or
//! cache; caches know it by a digest, and `fault` keeps what an issuer answered out of errors.

mod claims;
mod fault;
mod http;
mod introspection;
#[cfg(any(test, feature = "test-issuer"))]
mod issuer;
mod jwt;
mod key_source;
mod keys;
mod places;
mod settings;
mod url;
mod verifier;

pub use claims::{LEEWAY, Refusal};
#[cfg(any(test, feature = "test-issuer"))]
pub use issuer::{TestIssuer, TestKey};
pub use keys::{Algorithm, KEYS_BYTES_MAX, KeySet, KeySetError};
pub use settings::{KeysFrom, Settings, Source};
pub use url::HttpUrl;
pub use verifier::{SetupError, TokenError, TokenVerifier};

#[cfg(test)]
mod tests;
