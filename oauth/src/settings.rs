//! What tokens are taken, and how they are checked.

use std::{path::PathBuf, time::Duration};

use crate::{Algorithm, HttpUrl};

/// Everything a [`TokenVerifier`](crate::TokenVerifier) wants to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who makes the tokens: `iss`, to the letter.
    pub issuer: HttpUrl,
    /// A token must be for one of them (`aud`). Only with [`Source::Introspection`] may it be empty, and only if there is a
    /// `scope`, or `any_audience` is set: else a token that was made for somebody else would be good.
    pub audiences: Vec<String>,
    /// Whether an answer to a question may be about a token for anybody and anything.
    pub any_audience: bool,
    /// The claim that holds an account's address.
    pub account_claim: String,
    /// Whether an `email` is an account's address even if the issuer does not say that it has verified it.
    pub trust_email: bool,
    /// What a token must be good for, if anything.
    pub scope: Option<String>,
    /// How long the issuer may take for an answer, in all.
    pub timeout: Duration,
    /// The CAs to trust in place of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// How tokens are checked.
    pub source: Source,
}

/// How tokens are checked.
#[derive(Clone, Debug)]
pub enum Source {
    /// They are JWTs, signed by one of the issuer's keys.
    Keys {
        /// The keys, a JWK set (RFC 7517 §5).
        from: KeysFrom,
        /// What they may be signed with.
        algorithms: Vec<Algorithm>,
        /// After so long the keys are read again. The old ones hold until there are new ones, but not beyond `keep`.
        refresh: Duration,
        /// Keys that were read longer ago verify nothing: what their issuer has taken back since would be good for ever.
        keep: Duration,
        /// A token with an unknown key, and a reading that failed, have the keys read again: but not sooner than so long after
        /// the last time.
        retry: Duration,
    },
    /// The issuer is asked (RFC 7662).
    Introspection {
        /// Where.
        url: HttpUrl,
        /// Who asks (RFC 6749 §2.3.1).
        client_id: String,
        /// Holds the secret that proves it, on one line.
        client_secret_file: PathBuf,
        /// How many good tokens are remembered.
        cache_entries: u64,
        /// For how long.
        cache_lifetime: Duration,
    },
}

/// Where the issuer's keys are.
#[derive(Clone, Debug)]
pub enum KeysFrom {
    /// On this machine.
    File(PathBuf),
    /// Where the issuer publishes them: its `jwks_uri`.
    Url(HttpUrl),
}
