//! Decides on tokens.

use std::{
    fmt,
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use thiserror::Error;

use crate::{
    Algorithm, Refusal, Settings, Source,
    claims::{self, Origin},
    introspection::Introspection,
    jwt::UnverifiedJwt,
    key_source::{KeySource, Times},
};

/// Says whose a token is.
pub struct TokenVerifier {
    settings: Settings,
    way: Way,
}

enum Way {
    Keys {
        source: Arc<KeySource>,
        algorithms: Vec<Algorithm>,
    },
    Introspection(Box<Introspection>),
}

/// Why nobody is named.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The token is not good here.
    #[error("a token was refused: {0}")]
    Refused(Refusal),
    /// It cannot be checked now: the issuer does not answer, or not to us.
    #[error("a token cannot be checked by its issuer now: {0}")]
    Unavailable(String),
}

/// The issuer, or its keys, cannot be had.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Unreachable(pub(crate) String);

/// Why the settings cannot work. The operator's to mend.
#[derive(Debug, Error)]
pub enum SetupError {
    /// Not there, or no JWK set.
    #[error("oauth.jwks_file cannot be used: {0}")]
    KeyFile(String),
    /// Not there, or no secret.
    #[error("oauth.client_secret_file cannot be used: {path}: {error}")]
    SecretFile {
        /// Which.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// Not there, or no certificates.
    #[error("oauth.ca_file cannot be used: {path}: {error}")]
    CaFile {
        /// Which.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// The system has none.
    #[error(
        "the system trusts no CA, so that the token issuer cannot be asked over TLS ({0}); install ca-certificates, or \
         write oauth.ca_file"
    )]
    NoSystemCas(String),
    /// The TLS library's.
    #[error("TLS for the token issuer cannot be set up: {0}")]
    Tls(String),
}

impl TokenVerifier {
    /// Files must be there and right. The issuer is asked when the first token comes.
    pub fn new(settings: Settings) -> Result<TokenVerifier, SetupError> {
        let way = match &settings.source {
            Source::Keys {
                from,
                algorithms,
                refresh,
                keep,
                retry,
            } => {
                let ca_file = settings.ca_file.as_deref();
                let times = Times {
                    refresh: *refresh,
                    keep: *keep,
                    retry: *retry,
                };
                let source = KeySource::new(from, ca_file, settings.timeout, times)?;
                Way::Keys {
                    source: Arc::new(source),
                    algorithms: algorithms.clone(),
                }
            }
            Source::Introspection {
                url,
                client_id,
                client_secret_file,
                cache_entries,
                cache_lifetime,
            } => {
                let client = (client_id.as_str(), client_secret_file.as_path());
                let cache = (*cache_entries, *cache_lifetime);
                let introspection = Introspection::new(&settings, url, client, cache)?;
                Way::Introspection(Box::new(introspection))
            }
        };
        Ok(TokenVerifier { settings, way })
    }

    /// Reads the issuer's keys ahead of the first token. That it cannot be done is logged, and no reason not to start.
    pub async fn warm_up(&self) {
        if let Way::Keys { source, .. } = &self.way {
            // The failure was logged.
            let _ = source.current().await;
        }
    }

    /// The scope that a token must have.
    pub fn scope(&self) -> Option<&str> {
        self.settings.scope.as_deref()
    }

    /// Where clients learn how to get a token (RFC 8414, OpenID Connect Discovery §4).
    pub fn openid_configuration(&self) -> String {
        let issuer = self.settings.issuer.as_str().trim_end_matches('/');
        format!("{issuer}/.well-known/openid-configuration")
    }

    /// The account that a token names, if it is good. `from` is where its bearer is, as far as it is to be told from others;
    /// nowhere for one on this machine.
    pub async fn identify(&self, token: &str, from: Option<IpAddr>) -> Result<String, TokenError> {
        match &self.way {
            Way::Introspection(introspection) => {
                introspection.identify(token, from, &self.settings).await
            }
            Way::Keys { source, algorithms } => self.identify_jwt(token, source, algorithms).await,
        }
    }

    async fn identify_jwt(
        &self,
        token: &str,
        source: &Arc<KeySource>,
        algorithms: &[Algorithm],
    ) -> Result<String, TokenError> {
        let refused = TokenError::Refused;
        let unavailable = |error: Unreachable| TokenError::Unavailable(error.0);
        let jwt = UnverifiedJwt::parse(token).map_err(refused)?;
        if !algorithms.contains(&jwt.algorithm) {
            return Err(refused(Refusal::Algorithm));
        }
        // Nobody's word yet, and yet what it says against itself holds. Keys are read for a token only that may be ours: the
        // next reading has to wait, and strangers' tokens are not to use it up.
        let (claims, now) = (jwt.claims().map_err(refused)?, unix_now());
        claims::validity(&claims, &self.settings, Origin::Jwt, now).map_err(refused)?;
        let known = source.current().await.map_err(unavailable)?;
        let mut verdict = known.keys.verify(&jwt);
        if verdict == Err(Refusal::UnknownKey) {
            let newer = source.newer_than(Some(&known)).await.map_err(unavailable)?;
            verdict = newer.keys.verify(&jwt);
        }
        verdict
            .and_then(|()| claims::identity(&claims, &self.settings, Origin::Jwt, now))
            .map(|identity| identity.account)
            .map_err(refused)
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Seconds since 1970; a clock that stands before that has all tokens begin later.
pub(crate) fn unix_now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
