//! SASL (RFC 4422) on the server's side: PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-256-PLUS, OAUTHBEARER and XOAUTH2 as
//! state machines, and the stored form of passwords.
//!
//! An [`Exchange`] is driven step by step. Whoever drives it sends the challenges, looks the user up, has tokens
//! checked, and runs the one costly step, [`PasswordCheck::hash`], where it blocks nobody:
//!
//! ```text
//! let (mut exchange, mut step) = Exchange::start(mechanism, initial_response, context);
//! loop {
//!     step = match step {
//!         Step::Challenge(bytes) => exchange.respond(&ask the client),
//!         Step::Lookup(user)     => exchange.credentials(directory.find(user).await),
//!         Step::Token(token)     => exchange.token(whose it is),
//!         Step::Check(check)     => exchange.checked(check.cached(&cache) or check.hash(&cache)),
//!         Step::Done(success)    => break Ok(success),
//!         Step::Failed(failure)  => break Err(failure),
//!     }
//! }
//! ```
//!
//! An unknown user takes the same steps as a wrong password: the same challenges, the same costs, the same end. One whom
//! a good token names hears the same as one whose token is not good.
//!
//! With the feature `client`, `Client` is the other side, for smart hosts and for tests.
//!
//! *Architecture Invariant:* this crate knows no sockets, no directory and no async runtime; it never learns why
//! a user was not found. No password, token, proof or key appears in a `Debug` output.

mod bearer;
mod cache;
#[cfg(any(test, feature = "client"))]
mod client;
mod exchange;
mod login;
mod mechanism;
mod password;
mod plain;
mod scram;
mod token;
mod verifier;
mod wire;

pub use cache::PasswordCache;
#[cfg(any(test, feature = "client"))]
pub use client::{Client, ClientError};
pub use exchange::{Context, Exchange, Failure, Step, Success};
pub use mechanism::{ChannelBindings, Mechanism, OfferPolicy};
pub use password::{Credentials, Password, PasswordCheck, PasswordError, Verdict};
pub use token::{TOKEN_LEN_MAX, Token, TokenService, TokenVerdict};
pub use verifier::{FakeSaltKey, Salt, Verifier, VerifierError};
pub use wire::{RESPONSE_BASE64_LEN_MAX, Response, ResponseError, encode_challenge};
