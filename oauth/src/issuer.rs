//! An issuer on loopback, for tests: it publishes keys, signs tokens, and says what it knows of others. It can be away,
//! or answer anything.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{Algorithm, HttpUrl, KeysFrom, Settings, Source, verifier::unix_now};

/// A key that signs.
pub struct TestKey {
    id: String,
    pair: Pair,
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

/// A running issuer; it ends when it is dropped.
pub struct TestIssuer {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    is_away: Mutex<bool>,
    keys: Mutex<Vec<Value>>,
    tokens: Mutex<HashMap<String, Value>>,
    /// In place of everything.
    says: Mutex<Option<(u16, Vec<u8>)>>,
    requests: AtomicUsize,
}

/// What introspection wants to see.
const CLIENT: (&str, &str) = ("mailrook", "s3cret & more");

impl TestKey {
    /// One for ES256.
    ///
    /// # Panics
    /// If the machine has no random bytes.
    pub fn es256(id: &str) -> TestKey {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let document = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("random bytes");
        let pair = EcdsaKeyPair::from_pkcs8(kind, document.as_ref(), &random);
        TestKey {
            id: id.to_owned(),
            pair: Pair::Es256(pair.expect("what was made can be read")),
        }
    }

    /// One for EdDSA.
    ///
    /// # Panics
    /// If the machine has no random bytes.
    pub fn ed25519(id: &str) -> TestKey {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("random bytes");
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref());
        TestKey {
            id: id.to_owned(),
            pair: Pair::EdDsa(pair.expect("what was made can be read")),
        }
    }

    /// One for EdDSA that is the same each time, and so are its signatures.
    ///
    /// # Panics
    /// Never: any seed makes a key.
    pub fn ed25519_of(id: &str, seed: [u8; 32]) -> TestKey {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed);
        TestKey {
            id: id.to_owned(),
            pair: Pair::EdDsa(pair.expect("any seed makes a key")),
        }
    }

    /// The public half.
    pub fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Es256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": encode(x), "y": encode(y)})
            }
            Pair::EdDsa(pair) => {
                let x = encode(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": self.id, "x": x})
            }
        }
    }

    /// The header of its tokens.
    pub fn header(&self) -> Value {
        let algorithm = match &self.pair {
            Pair::Es256(_) => Algorithm::Es256,
            Pair::EdDsa(_) => Algorithm::EdDsa,
        };
        json!({"alg": algorithm.name(), "typ": "at+jwt", "kid": self.id})
    }

    /// A token.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header(), claims)
    }

    /// A token with another header.
    ///
    /// # Panics
    /// If the machine has no random bytes.
    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = match &self.pair {
            Pair::Es256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), signed.as_bytes());
                signature.expect("random bytes").as_ref().to_vec()
            }
            Pair::EdDsa(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl TestIssuer {
    /// One that publishes these keys.
    ///
    /// # Panics
    /// If it cannot listen on loopback.
    pub async fn new(keys: &[&TestKey]) -> TestIssuer {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has a port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State::default());
        let task = tokio::spawn(serve(listener, Arc::clone(&state)));
        let issuer = TestIssuer {
            address,
            state,
            task,
        };
        issuer.publish(keys);
        issuer
    }

    /// Publishes these keys, and no others.
    pub fn publish(&self, keys: &[&TestKey]) {
        *self.state.keys.lock() = keys.iter().map(|key| key.jwk()).collect();
    }

    /// Whether it closes each connection unanswered.
    pub fn set_away(&self, is_away: bool) {
        *self.state.is_away.lock() = is_away;
    }

    /// Answers so from now on, whatever it is asked.
    pub fn say(&self, status: u16, body: impl Into<Vec<u8>>) {
        *self.state.says.lock() = Some((status, body.into()));
    }

    /// What it says of a token that is no JWT, if asked.
    pub fn know(&self, token: &str, claims: &Value) {
        let mut claims = claims.clone();
        claims["active"] = json!(true);
        self.state.tokens.lock().insert(token.to_owned(), claims);
    }

    /// Knows no token any longer.
    pub fn forget(&self) {
        self.state.tokens.lock().clear();
    }

    /// How often it was asked anything.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Its name and the start of its addresses.
    ///
    /// # Panics
    /// Never: a socket's address makes a URL.
    pub fn url(&self, path: &str) -> HttpUrl {
        HttpUrl::parse(&format!("http://{}{path}", self.address)).expect("loopback is permitted")
    }

    /// What a token of this account says that is good for five minutes.
    pub fn claims(&self, account: &str) -> Value {
        json!({
            "iss": self.url("").as_str(),
            "aud": ["other", "mail"],
            "exp": unix_now() + 300.0,
            "nbf": unix_now(),
            "scope": "openid mail",
            "sub": "4711",
            "email": account,
            "email_verified": true,
        })
    }

    /// Tokens that are wrong in one thing each, which is named. `key` is published.
    pub fn bad_tokens(&self, key: &TestKey, account: &str) -> Vec<(&'static str, String)> {
        let good = self.claims(account);
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            key.sign(&claims)
        };
        let mut unsigned_header = key.header();
        unsigned_header["alg"] = json!("none");
        let signed = key.sign_with(&unsigned_header, &good);
        let unsigned = signed.rsplit_once('.').map_or("", |(signed, _)| signed);
        vec![
            ("it has expired", with("exp", json!(unix_now() - 61.0))),
            ("it is not valid yet", with("nbf", json!(unix_now() + 90.0))),
            (
                "it is of another issuer",
                with("iss", json!("https://other.test")),
            ),
            ("it is for somebody else", with("aud", json!("other"))),
            ("it lacks the scope", with("scope", json!("openid"))),
            ("it names nobody", with("email", Value::Null)),
            (
                "its address is not verified",
                with("email_verified", Value::Null),
            ),
            ("it is an ID token", with("nonce", json!("n-0S6_WzA2Mj"))),
            (
                "it names nobody here",
                with("email", json!("nobody@example.test")),
            ),
            (
                "it is signed by another key",
                TestKey::es256(&key.id).sign(&good),
            ),
            (
                "it is signed by an unknown key",
                TestKey::es256("unknown").sign(&good),
            ),
            ("it is not signed", format!("{unsigned}.")),
            ("it says that it is not signed", signed.clone()),
            ("it is no JWT", "opaque".to_owned()),
        ]
    }

    /// Takes this issuer's tokens by its keys, which are read anew as soon as one is missing.
    pub fn settings(&self) -> Settings {
        Settings {
            issuer: self.url(""),
            audiences: vec!["mail".to_owned()],
            any_audience: false,
            account_claim: "email".to_owned(),
            trust_email: false,
            scope: Some("mail".to_owned()),
            timeout: Duration::from_secs(5),
            ca_file: None,
            source: Source::Keys {
                from: KeysFrom::Url(self.url("/keys")),
                algorithms: Algorithm::ALL.to_vec(),
                refresh: Duration::from_secs(3600),
                keep: Duration::from_secs(86_400),
                retry: Duration::ZERO,
            },
        }
    }

    /// Takes this issuer's tokens by asking it. The secret is written into `folder`.
    ///
    /// # Panics
    /// If that cannot be done.
    pub fn introspection_settings(&self, folder: &std::path::Path) -> Settings {
        let client_secret_file = folder.join("secret");
        std::fs::write(&client_secret_file, format!("{}\n", CLIENT.1)).expect("room for a secret");
        Settings {
            source: Source::Introspection {
                url: self.url("/introspect"),
                client_id: CLIENT.0.to_owned(),
                client_secret_file,
                cache_entries: 100,
                cache_lifetime: Duration::from_secs(60),
            },
            ..self.settings()
        }
    }
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        if *state.is_away.lock() {
            continue;
        }
        let state = Arc::clone(&state);
        let service = service_fn(move |request| answer(Arc::clone(&state), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    state.requests.fetch_add(1, Ordering::SeqCst);
    let said = state.says.lock().clone();
    let (status, body) = match (said, request.uri().path()) {
        (Some(said), _) => said,
        (None, "/keys") => {
            let keys = json!({"keys": *state.keys.lock()});
            (200, keys.to_string().into_bytes())
        }
        (None, "/introspect") => introspect(&state, request).await,
        (None, _) => (404, Vec::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status.try_into().expect("a status");
    Ok(response)
}

async fn introspect(state: &State, request: Request<Incoming>) -> (u16, Vec<u8>) {
    let said = request.headers().get(header::AUTHORIZATION).cloned();
    let expected = format!("Basic {}", STANDARD.encode("mailrook:s3cret%20%26%20more"));
    if said.is_none_or(|said| said.as_bytes() != expected.as_bytes()) {
        return (401, Vec::new());
    }
    let body = request.into_body().collect().await;
    let body = body.expect("the client sends all").to_bytes();
    let form = String::from_utf8_lossy(&body).into_owned();
    let fields = form.split('&').filter_map(|field| field.split_once('='));
    let token = fields.into_iter().find(|(name, _)| *name == "token");
    let token = token.map_or("", |(_, token)| token);
    let known = state.tokens.lock().get(token).cloned();
    let claims = known.unwrap_or_else(|| json!({"active": false}));
    (200, claims.to_string().into_bytes())
}
