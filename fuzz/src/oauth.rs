//! Bearer tokens and key sets: no token is good but the one that was signed, and no key set breaks anything.

use std::{sync::OnceLock, time::Duration};

use mailrook_oauth::{
    Algorithm, HttpUrl, KeySet, KeysFrom, Settings, Source, TestKey, TokenVerifier,
};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::Target;

pub(crate) const OAUTH_TOKEN: Target = Target {
    name: "oauth_token",
    run: oauth_token,
    seeds: || {
        vec![
            signed().into(),
            b"eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lkLnRlc3QifQ.".to_vec(),
            json!({"keys": [key().jwk()]}).to_string().into_bytes(),
            json!({"keys": [TestKey::ed25519_of("x", [1; 32]).jwk(), {"kty": "RSA", "n": "AQAB", "e": "AQAB"}]})
                .to_string()
                .into_bytes(),
            b"https://id.example.org:443/realms/mail?x=1".to_vec(),
            b"http://[::1]:8080/".to_vec(),
        ]
    },
    dictionary: &[
        b".",
        b"eyJhbGciOiJub25lIn0",
        b"eyJhbGciOiJFZERTQSJ9",
        b"{\"keys\":[",
        b"\"kty\":\"EC\"",
        b"\"crv\":\"P-256\"",
        b"\"x\":\"",
        b"\"kid\":null",
        b"https://",
        b"http://127.0.0.1",
        b"@",
        b"[::1]",
        b":0",
    ],
    len_max: 2_000,
    rounds: 60_000,
};

const ACCOUNT: &str = "u@a.test";

fn key() -> &'static TestKey {
    static KEY: OnceLock<TestKey> = OnceLock::new();
    KEY.get_or_init(|| TestKey::ed25519_of("a", [7; 32]))
}

/// Good until the year 5138.
fn signed() -> String {
    key().sign(&json!({
        "iss": "https://id.test",
        "aud": "mail",
        "exp": 99_999_999_999u64,
        "email": ACCOUNT,
        "email_verified": true,
    }))
}

struct Checker {
    verifier: TokenVerifier,
    runtime: Runtime,
}

impl Checker {
    fn identify(&self, token: &str) -> Option<String> {
        let identified = self.verifier.identify(token, None);
        self.runtime.block_on(identified).ok()
    }
}

/// Made once: its keys are read from a file.
fn checker() -> &'static Checker {
    static CHECKER: OnceLock<Checker> = OnceLock::new();
    CHECKER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a directory that can be made");
        let path = folder.path().join("keys.json");
        let keys = json!({"keys": [key().jwk()]}).to_string();
        std::fs::write(&path, keys).expect("a file that can be written");
        // The file is there for the first reading alone, and a run may last.
        let a_year = Duration::from_secs(365 * 86_400);
        let verifier = TokenVerifier::new(Settings {
            issuer: HttpUrl::parse("https://id.test").expect("a URL"),
            audiences: vec!["mail".to_owned()],
            any_audience: false,
            account_claim: "email".to_owned(),
            trust_email: false,
            scope: None,
            timeout: Duration::from_secs(5),
            ca_file: None,
            source: Source::Keys {
                from: KeysFrom::File(path),
                algorithms: Algorithm::ALL.to_vec(),
                refresh: a_year,
                keep: a_year,
                retry: a_year,
            },
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let checker = Checker {
            verifier: verifier.expect("the keys are there"),
            runtime: runtime.expect("a runtime"),
        };
        // Read while the file is there.
        checker.runtime.block_on(checker.verifier.warm_up());
        // Were this one refused, all others would be for the same reason, and nothing would have been looked at.
        assert_eq!(checker.identify(&signed()).as_deref(), Some(ACCOUNT));
        checker
    })
}

/// The same bytes as a token, as a key set and as a URL.
///
/// # Panics
/// If a token is taken that was not signed, or the signed one is not, or a URL is taken that is asked in the clear or prints as another.
pub fn oauth_token(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let checker = checker();
    // Nobody signed any other.
    let expected = (text == signed()).then_some(ACCOUNT);
    assert_eq!(checker.identify(&text).as_deref(), expected, "{text}");
    let _ = KeySet::parse(input);
    if let Ok(url) = HttpUrl::parse(&text) {
        assert_eq!(url.as_str(), text);
        let lower = text.to_ascii_lowercase();
        let is_here = lower.starts_with("http://127.") || lower.starts_with("http://[");
        assert!(lower.starts_with("https://") || is_here, "{text}");
    }
}
