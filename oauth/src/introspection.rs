//! Asks the issuer about each token (RFC 7662), and remembers for a short while what it said is good. The cache knows a
//! token by its SHA-256: nothing that could be used to log in. What was said not to be good is asked again.

use std::{
    collections::HashMap,
    io::Read,
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    HttpUrl, LEEWAY, Refusal, Settings, SetupError, TokenError,
    claims::{self, Identity, Origin},
    fault,
    http::{Fetcher, Question},
    places::Places,
    verifier::unix_now,
};

/// Of the secret.
const SECRET_BYTES_MAX: usize = 4_096;

/// An issuer that is asked.
pub(crate) struct Introspection {
    url: HttpUrl,
    fetcher: Fetcher,
    /// `Basic …`
    authorization: Zeroizing<String>,
    places: Places,
    cache: Cache,
    timeout: Duration,
}

impl Introspection {
    /// The secret's file must be there and readable.
    pub(crate) fn new(
        settings: &Settings,
        url: &HttpUrl,
        (client_id, secret_file): (&str, &Path),
        (entries, lifetime): (u64, Duration),
    ) -> Result<Introspection, SetupError> {
        let secret = read_secret(secret_file).map_err(|error| SetupError::SecretFile {
            path: secret_file.to_owned(),
            error,
        })?;
        // RFC 6749 §2.3.1: both are encoded as in a form before they are joined.
        let (client_id, secret) = (
            form_encoded(client_id),
            Zeroizing::new(form_encoded(&secret)),
        );
        let pair = Zeroizing::new(format!("{client_id}:{}", *secret));
        let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        Ok(Introspection {
            url: url.clone(),
            fetcher: Fetcher::new(url, settings.ca_file.as_deref(), settings.timeout)?,
            authorization: Zeroizing::new(format!("Basic {}", *encoded)),
            places: Places::new(),
            cache: Cache::new(entries, lifetime),
            timeout: settings.timeout,
        })
    }

    /// Whose it is.
    pub(crate) async fn identify(
        &self,
        token: &str,
        from: Option<IpAddr>,
        settings: &Settings,
    ) -> Result<String, TokenError> {
        let digest = Digest::of(token);
        if let Some(account) = self.cache.find(&digest, unix_now()) {
            return Ok(account);
        }
        // Twice the time of one answer: as long may it take to get a place.
        let asked = self.places.hold(from, self.ask(token));
        let claims = match tokio::time::timeout(2 * self.timeout, asked).await {
            Ok(claims) => claims.map_err(TokenError::Unavailable)?,
            Err(_) => {
                let text = format!("{}: too many questions wait for an answer", self.url);
                return Err(TokenError::Unavailable(text));
            }
        };
        // RFC 7662 §2.2
        if claims.get("active") != Some(&Value::Bool(true)) {
            return Err(TokenError::Refused(Refusal::Inactive));
        }
        let now = unix_now();
        let identity = claims::identity(&claims, settings, Origin::Introspection, now)
            .map_err(TokenError::Refused)?;
        let account = identity.account.clone();
        self.cache.insert(digest, identity);
        Ok(account)
    }

    async fn ask(&self, token: &str) -> Result<Map<String, Value>, String> {
        let url = &self.url;
        let question = Question::Form {
            authorization: self.authorization.to_string(),
            body: format!("token={}&token_type_hint=access_token", form_encoded(token)),
        };
        let answer = self.fetcher.ask(url, question).await;
        let answer = answer.map_err(|error| format!("{url}: {error}"))?;
        serde_json::from_slice(&answer)
            .map_err(|error| format!("{url}: no right answer: {}", fault::of_json(&error)))
    }
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = Zeroizing::new(String::new());
    let read = file
        .take(SECRET_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || text.len() > SECRET_BYTES_MAX || secret.contains(['\r', '\n']) {
        return Err(format!(
            "one line with the secret is expected, of {SECRET_BYTES_MAX} bytes at most"
        ));
    }
    Ok(Zeroizing::new(secret.to_owned()))
}

/// As `application/x-www-form-urlencoded` writes it; more is escaped than must be.
fn form_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'*') {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Digest([u8; 32]);

impl Digest {
    fn of(token: &str) -> Digest {
        let mut bytes = [0; 32];
        // SHA-256 has 32 bytes.
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Digest(bytes)
    }
}

/// Good tokens, in two generations: when the young one is full, or has had its time, it becomes the old one and the old
/// one is dropped. Bounded, and without a scan.
struct Cache {
    entries_max: usize,
    lifetime: Duration,
    generations: Mutex<Generations>,
}

struct Generations {
    young: HashMap<Digest, Entry>,
    old: HashMap<Digest, Entry>,
    turned_at: Instant,
}

struct Entry {
    identity: Identity,
    asked_at: Instant,
}

impl Cache {
    fn new(entries: u64, lifetime: Duration) -> Cache {
        let generations = Generations {
            young: HashMap::new(),
            old: HashMap::new(),
            turned_at: Instant::now(),
        };
        Cache {
            entries_max: usize::try_from(entries).unwrap_or(usize::MAX),
            lifetime,
            generations: Mutex::new(generations),
        }
    }

    fn find(&self, digest: &Digest, now: f64) -> Option<String> {
        let generations = self.generations.lock();
        let entry = generations
            .young
            .get(digest)
            .or_else(|| generations.old.get(digest))?;
        let has_expired = |expires_at: f64| now >= expires_at + LEEWAY.as_secs_f64();
        let is_old = entry.asked_at.elapsed() >= self.lifetime;
        if is_old || entry.identity.expires_at.is_some_and(has_expired) {
            return None;
        }
        Some(entry.identity.account.clone())
    }

    fn insert(&self, digest: Digest, identity: Identity) {
        let half = self.entries_max / 2;
        if half == 0 || self.lifetime.is_zero() {
            return;
        }
        let mut generations = self.generations.lock();
        let full = generations.young.len() >= half;
        if full || generations.turned_at.elapsed() >= self.lifetime {
            generations.old = std::mem::take(&mut generations.young);
            generations.turned_at = Instant::now();
        }
        let asked_at = Instant::now();
        generations
            .young
            .insert(digest, Entry { identity, asked_at });
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let generations = self.generations.lock();
        generations.young.len() + generations.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(account: &str, expires_at: Option<f64>) -> Identity {
        Identity {
            account: account.to_owned(),
            expires_at,
        }
    }

    #[test]
    fn what_was_good_is_known_for_a_while() {
        let cache = Cache::new(10, Duration::from_secs(60));
        let digest = Digest::of("t");
        assert_eq!(cache.find(&digest, 0.0), None);
        cache.insert(digest, identity("u@a.test", Some(1_000.0)));
        assert_eq!(cache.find(&digest, 0.0).as_deref(), Some("u@a.test"));
        assert_eq!(cache.find(&Digest::of("u"), 0.0), None);
        // It ends with the token, at the latest.
        assert!(cache.find(&digest, 1_059.0).is_some());
        assert_eq!(cache.find(&digest, 1_060.0), None);
        let short = Cache::new(10, Duration::from_millis(1));
        short.insert(digest, identity("u@a.test", None));
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(short.find(&digest, 0.0), None);
    }

    #[test]
    fn the_cache_has_a_bound() {
        let cache = Cache::new(10, Duration::from_secs(60));
        for n in 0..1_000 {
            let digest = Digest::of(&n.to_string());
            cache.insert(digest, identity("u@a.test", None));
            assert!(cache.find(&digest, 0.0).is_some());
            assert!(cache.len() <= 10);
        }
        let none = Cache::new(0, Duration::from_secs(60));
        none.insert(Digest::of("t"), identity("u@a.test", None));
        assert_eq!(none.len(), 0);
    }

    #[test]
    fn forms_and_secrets() {
        assert_eq!(form_encoded("a-b._*~+/=&ü"), "a-b._*%7E%2B%2F%3D%26%C3%BC");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_secret(&path).map(|secret| secret.to_string())
        };
        assert_eq!(
            read("s3cret: with spaces\r\n").unwrap(),
            "s3cret: with spaces"
        );
        for text in ["", "\n", "two\nlines\n", &"x".repeat(SECRET_BYTES_MAX + 1)] {
            assert!(read(text).is_err());
        }
        assert!(read_secret(&dir.path().join("none")).is_err());
    }
}
