//! `[oauth]`: whose tokens are taken, and how they are checked.

use std::{path::PathBuf, time::Duration};

use mailrook_oauth::{Algorithm, HttpUrl, KeysFrom, Settings, Source};
use serde::Serialize;

use super::{
    reader::{Section, Value},
    value::{self, Span},
};

/// Logins by a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Oauth {
    /// Who makes the tokens.
    pub issuer: HttpUrl,
    /// For whom they must be; empty with [`TokenSource::Introspection`] alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<String>,
    /// The claim that names the account.
    pub account_claim: String,
    /// Whether an address does that of which the issuer does not say that it has verified it.
    pub trust_email: bool,
    /// What they must be good for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// How long the issuer may take for an answer.
    pub timeout: Span,
    /// The CAs to trust for it, in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How they are checked.
    #[serde(flatten)]
    pub source: TokenSource,
}

/// How tokens are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum TokenSource {
    /// By the issuer's keys.
    Keys(Keys),
    /// By asking the issuer.
    Introspection(Introspection),
}

/// The issuer's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Keys {
    /// Where they are.
    #[serde(flatten)]
    pub place: KeysPlace,
    /// What tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// When they are read again.
    pub jwks_refresh: Span,
    /// When they verify nothing any longer, if they cannot be read again.
    pub jwks_keep: Span,
    /// The same where one is missing, at the soonest.
    pub jwks_retry: Span,
}

/// Where the issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum KeysPlace {
    /// On this machine.
    File {
        /// A JWK set.
        jwks_file: PathBuf,
    },
    /// With the issuer.
    Url {
        /// Its `jwks_uri`.
        jwks_url: HttpUrl,
    },
}

/// An issuer that is asked about each token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Introspection {
    /// Where.
    pub introspection_url: HttpUrl,
    /// Who asks.
    pub client_id: String,
    /// Holds the secret that proves it.
    pub client_secret_file: PathBuf,
    /// Whether tokens may be for anybody and anything.
    pub any_audience: bool,
    /// For how long a good token is not asked about again.
    pub cache_lifetime: Span,
    /// For how many that holds.
    pub cache_entries: u64,
}

impl Oauth {
    /// As the crate that checks tokens wants it.
    pub fn settings(&self) -> Settings {
        let source = match &self.source {
            TokenSource::Keys(keys) => Source::Keys {
                from: match &keys.place {
                    KeysPlace::File { jwks_file } => KeysFrom::File(jwks_file.clone()),
                    KeysPlace::Url { jwks_url } => KeysFrom::Url(jwks_url.clone()),
                },
                algorithms: keys.algorithms.clone(),
                refresh: keys.jwks_refresh.0,
                keep: keys.jwks_keep.0,
                retry: keys.jwks_retry.0,
            },
            TokenSource::Introspection(asked) => Source::Introspection {
                url: asked.introspection_url.clone(),
                client_id: asked.client_id.clone(),
                client_secret_file: asked.client_secret_file.clone(),
                cache_entries: asked.cache_entries,
                cache_lifetime: asked.cache_lifetime.0,
            },
        };
        Settings {
            issuer: self.issuer.clone(),
            audiences: self.audience.clone(),
            any_audience: match &self.source {
                TokenSource::Keys(_) => false,
                TokenSource::Introspection(asked) => asked.any_audience,
            },
            account_claim: self.account_claim.clone(),
            trust_email: self.trust_email,
            scope: self.scope.clone(),
            timeout: self.timeout.0,
            ca_file: self.ca_file.clone(),
            source,
        }
    }
}

/// OpenID Connect Core §5.1.
const EMAIL: &str = "email";

const fn seconds(n: u64) -> Span {
    Span(Duration::from_secs(n))
}

/// The table, if it is there and whole; what is wrong is reported.
pub(super) fn read(section: &Section<'_, '_>) -> Option<Oauth> {
    let issuer = section.get("issuer", value::text(issuer));
    let audience = section.get("audience", value::list(audience));
    let account_claim = section.or("account_claim", EMAIL.to_owned(), value::word);
    let trust_email = section.or("trust_email", false, value::boolean);
    let scope = section.get("scope", value::text(scope));
    let timeout = section.or("timeout", seconds(5), value::span("1s", "30s"));
    let ca_file = section.get("ca_file", value::path);
    let keys = read_keys(section);
    let introspection = read_introspection(section);
    section.finish();
    if !section.is_there() {
        return None;
    }
    require(
        section,
        "issuer",
        "write the provider's name as it stands in its tokens, as in issuer = \"https://id.example.org/realms/mail\"",
    )?;
    if audience.as_ref().is_some_and(Vec::is_empty) {
        let text = "oauth.audience: at least one is expected";
        section.reader.report(section.line_of("audience"), text);
    }
    if trust_email && account_claim != EMAIL {
        let text = "oauth.trust_email is about account_claim = \"email\"; remove one of them";
        section.reader.report(section.line_of("trust_email"), text);
    }
    let source = if one_source(section)? {
        let why = "without it a token that was made for somebody else would be good here; write what your provider puts \
                   into \"aud\", as in audience = [\"mail\"]";
        require(section, "audience", why)?;
        TokenSource::Keys(keys?)
    } else {
        let why = "the provider wants to know who asks";
        require(section, "client_id", why)?;
        require(section, "client_secret_file", why)?;
        let introspection = introspection?;
        require_purpose(section, introspection.any_audience)?;
        TokenSource::Introspection(introspection)
    };
    Some(Oauth {
        issuer: issuer?,
        audience: audience.unwrap_or_default(),
        account_claim,
        trust_email,
        scope,
        timeout,
        ca_file,
        source,
    })
}

/// Keys, if their place is there.
fn read_keys(section: &Section<'_, '_>) -> Option<Keys> {
    let file = section.get("jwks_file", value::path);
    let url = section.get("jwks_url", value::text(HttpUrl::parse));
    let algorithms = section.or("algorithms", Algorithm::ALL.to_vec(), algorithms);
    // What issuers let their keys be kept for is an hour to a day.
    let jwks_refresh = section.or("jwks_refresh", seconds(3600), value::span("1m", "7d"));
    // A night in which nobody mends the provider; no less than until they are read again.
    let a_night = Span(Duration::from_secs(86_400).max(jwks_refresh.0));
    let jwks_keep = section.or("jwks_keep", a_night, value::span("1h", "30d"));
    if jwks_keep.0 < jwks_refresh.0 {
        let text = format!(
            "oauth.jwks_keep is {jwks_keep}, and jwks_refresh {jwks_refresh}: keys would be too old before they are read again; \
             expected is at least jwks_refresh"
        );
        section.reader.report(section.line_of("jwks_keep"), text);
    }
    let jwks_retry = section.or("jwks_retry", seconds(60), value::span("1s", "1h"));
    let place = match (file, url) {
        (Some(jwks_file), _) => KeysPlace::File { jwks_file },
        (None, Some(jwks_url)) => KeysPlace::Url { jwks_url },
        (None, None) => return None,
    };
    Some(Keys {
        place,
        algorithms,
        jwks_refresh,
        jwks_keep,
        jwks_retry,
    })
}

/// Whom to ask, if all that it takes is there.
fn read_introspection(section: &Section<'_, '_>) -> Option<Introspection> {
    let introspection_url = section.get("introspection_url", value::text(HttpUrl::parse));
    let client_id = section.get("client_id", value::word);
    let client_secret_file = section.get("client_secret_file", value::path);
    let any_audience = section.or("any_audience", false, value::boolean);
    // More than a minute would let those in for longer whom the issuer has shut out.
    let cache_lifetime = section.or("cache_lifetime", seconds(60), value::span("0s", "1m"));
    let cache_entries = section.or("cache_entries", 10_000, value::number(0, 1_000_000));
    Some(Introspection {
        introspection_url: introspection_url?,
        client_id: client_id?,
        client_secret_file: client_secret_file?,
        any_audience,
        cache_lifetime,
        cache_entries,
    })
}

/// Reports a key that is not there. One that is there and wrong was reported.
fn require(section: &Section<'_, '_>, name: &str, why: &str) -> Option<()> {
    if section.line_of(name).is_some() {
        return Some(());
    }
    let text = format!("{} is missing: {why}", section.full(name));
    section.reader.report(None, text);
    None
}

/// A provider that is asked knows the tokens of all its clients. Reports that nothing tells ours from theirs.
fn require_purpose(section: &Section<'_, '_>, any_audience: bool) -> Option<()> {
    let has = |name: &str| section.line_of(name).is_some();
    let (line, text) = match (any_audience, has("audience") || has("scope")) {
        (false, true) | (true, false) => return Some(()),
        (false, false) => (
            None,
            "oauth.audience or oauth.scope is missing: without one a token that was made for somebody else would be good \
             here; write what your provider puts into \"aud\", as in audience = [\"mail\"], or, if all that it knows are to \
             be good, any_audience = true",
        ),
        (true, true) => (
            section.line_of("any_audience"),
            "oauth.any_audience does without audience and scope; remove it, or them",
        ),
    };
    section.reader.report(line, text);
    None
}

/// Whether it is keys by which tokens are checked; `None` if that is not clear.
fn one_source(section: &Section<'_, '_>) -> Option<bool> {
    const SOURCES: [&str; 3] = ["introspection_url", "jwks_file", "jwks_url"];
    const OF_KEYS: [&str; 4] = ["algorithms", "jwks_refresh", "jwks_keep", "jwks_retry"];
    const OF_INTROSPECTION: [&str; 5] = [
        "any_audience",
        "client_id",
        "client_secret_file",
        "cache_lifetime",
        "cache_entries",
    ];
    let is_there = |name: &&&str| section.line_of(name).is_some();
    let there: Vec<&str> = SOURCES.iter().filter(is_there).copied().collect();
    let one_of = "one of jwks_url, jwks_file and introspection_url";
    let [source] = there[..] else {
        let (line, text) = match there.last() {
            None => (
                None,
                format!("oauth needs {one_of}, to know which tokens are good"),
            ),
            Some(last) => (
                section.line_of(last),
                format!("oauth takes {one_of}; remove {}", there.join(" or ")),
            ),
        };
        section.reader.report(line, text);
        return None;
    };
    let from_keys = source != "introspection_url";
    let (misplaced, right) = match from_keys {
        true => (&OF_INTROSPECTION[..], "introspection_url"),
        false => (&OF_KEYS[..], "jwks_url or jwks_file"),
    };
    for name in misplaced.iter().filter(is_there) {
        let text = format!("{} goes with {right}; remove it", section.full(name));
        section.reader.report(section.line_of(name), text);
    }
    Some(from_keys)
}

fn issuer(text: &str) -> Result<HttpUrl, String> {
    let url = HttpUrl::parse(text)?;
    match url.has_query() {
        // RFC 8414 §2
        true => Err(format!("{text:?} has a query, which no issuer's name has")),
        false => Ok(url),
    }
}

fn audience(text: &str) -> Result<String, String> {
    match text {
        "" => Err("an audience that is empty fits no token".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// One `scope-token` (RFC 6749 §3.3).
fn scope(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if text.is_empty() || text.len() > 256 || !text.bytes().all(fits) {
        return Err(format!(
            "{text:?} is no scope; write one, without spaces and quotes, as in \"mail\""
        ));
    }
    Ok(text.to_owned())
}

fn algorithms(value: &Value<'_, '_>) -> Result<Vec<Algorithm>, String> {
    let algorithm = |text: &str| {
        Algorithm::parse(text).ok_or_else(|| {
            let names = Algorithm::ALL.map(Algorithm::name);
            let known = names.map(|name| format!("{name:?}")).join(", ");
            format!("{text:?} is none of {known}")
        })
    };
    let algorithms = value::list(algorithm)(value)?;
    match algorithms.is_empty() {
        true => Err("at least one is expected".to_owned()),
        false => Ok(algorithms),
    }
}
