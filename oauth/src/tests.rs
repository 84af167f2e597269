//! Tokens against an issuer on loopback: its keys change, it goes away and comes back, and it says strange things.

use std::{sync::Arc, time::Duration};

use rcgen::generate_simple_self_signed;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    Algorithm, HttpUrl, KEYS_BYTES_MAX, KeySet, KeysFrom, Refusal, Settings, SetupError, Source,
    TestIssuer, TestKey, TokenError, TokenVerifier,
};

const USER: &str = "user1@example.test";

fn verifier(settings: Settings) -> TokenVerifier {
    TokenVerifier::new(settings).unwrap()
}

/// `settings` with other times between readings.
fn with_times(mut settings: Settings, refreshed: Duration, retried: Duration) -> Settings {
    if let Source::Keys { refresh, retry, .. } = &mut settings.source {
        (*refresh, *retry) = (refreshed, retried);
    }
    settings
}

#[track_caller]
fn assert_refused(got: Result<String, TokenError>, expected: Refusal) {
    match got {
        Err(TokenError::Refused(refusal)) => assert_eq!(refusal, expected),
        other => panic!("{other:?} and not {expected:?}"),
    }
}

#[track_caller]
fn assert_unavailable(got: Result<String, TokenError>) {
    assert!(matches!(got, Err(TokenError::Unavailable(_))), "{got:?}");
}

#[tokio::test]
async fn a_signed_token_names_its_account() {
    let keys = [TestKey::es256("a"), TestKey::ed25519("b")];
    let issuer = TestIssuer::new(&[&keys[0], &keys[1]]).await;
    let verifier = verifier(issuer.settings());
    for key in &keys {
        let token = key.sign(&issuer.claims(USER));
        assert_eq!(verifier.identify(&token, None).await.unwrap(), USER);
    }
    assert_eq!(issuer.requests(), 1, "the keys are kept");
    let expected = format!("{}/.well-known/openid-configuration", issuer.url(""));
    assert_eq!(verifier.openid_configuration(), expected);
    assert_eq!(verifier.scope(), Some("mail"));
}

#[tokio::test]
async fn what_is_not_permitted_is_not_taken() {
    let key = TestKey::es256("a");
    let issuer = TestIssuer::new(&[&key]).await;
    let mut settings = issuer.settings();
    if let Source::Keys { algorithms, .. } = &mut settings.source {
        *algorithms = vec![Algorithm::Rs256];
    }
    let token = key.sign(&issuer.claims(USER));
    let only_rsa = verifier(settings);
    assert_refused(only_rsa.identify(&token, None).await, Refusal::Algorithm);

    let verifier = verifier(issuer.settings());
    let mut claims = issuer.claims(USER);
    claims["aud"] = json!("other");
    let token = key.sign(&claims);
    assert_refused(verifier.identify(&token, None).await, Refusal::Audience);
    // Another key of that name.
    let forged = TestKey::es256("a").sign(&issuer.claims(USER));
    assert_refused(verifier.identify(&forged, None).await, Refusal::Signature);
    assert_refused(verifier.identify("opaque", None).await, Refusal::Malformed);
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_once_in_a_while() {
    let (old, new, never) = (
        TestKey::es256("old"),
        TestKey::es256("new"),
        TestKey::es256("x"),
    );
    let issuer = TestIssuer::new(&[&old]).await;
    let token = |key: &TestKey| key.sign(&issuer.claims(USER));
    let eager = verifier(issuer.settings());
    assert!(eager.identify(&token(&old), None).await.is_ok());
    issuer.publish(&[&new]);
    assert!(eager.identify(&token(&new), None).await.is_ok());
    assert_eq!(issuer.requests(), 2);
    // The old one is gone with that.
    assert_refused(
        eager.identify(&token(&old), None).await,
        Refusal::UnknownKey,
    );

    let hour = Duration::from_secs(3600);
    let patient = verifier(with_times(issuer.settings(), hour, hour));
    let before = issuer.requests();
    // It may have been made since: nobody can say no before the keys are read again.
    for _ in 0..10 {
        assert_unavailable(patient.identify(&token(&never), None).await);
    }
    assert_eq!(
        issuer.requests(),
        before + 1,
        "strangers' tokens cost the issuer nothing"
    );
}

/// What would be refused with any key has no key asked for.
#[tokio::test]
async fn no_keys_are_read_for_strangers() {
    let (key, unknown) = (TestKey::es256("a"), TestKey::es256("x"));
    let issuer = TestIssuer::new(&[&key]).await;
    let verifier = verifier(issuer.settings());
    let strange = [
        ("iss", json!("https://other.test"), Refusal::Issuer),
        ("aud", json!("other"), Refusal::Audience),
        ("exp", json!(1_000_000_000), Refusal::Expired),
        ("nbf", json!(99_999_999_999_u64), Refusal::NotYet),
    ];
    for requests in [0, 1] {
        for (name, value, refusal) in &strange {
            let mut claims = issuer.claims(USER);
            claims[*name] = value.clone();
            let got = verifier.identify(&unknown.sign(&claims), None).await;
            assert_refused(got, *refusal);
        }
        assert_eq!(issuer.requests(), requests);
        verifier.warm_up().await;
    }
    let got = verifier
        .identify(&unknown.sign(&issuer.claims(USER)), None)
        .await;
    assert_refused(got, Refusal::UnknownKey);
    assert_eq!(issuer.requests(), 2);
}

/// What the issuer has taken back is good for so long at most, also if it cannot be asked.
#[tokio::test]
async fn keys_do_not_hold_for_ever() {
    let (old, new) = (TestKey::es256("old"), TestKey::es256("new"));
    let issuer = TestIssuer::new(&[&old]).await;
    let mut settings = issuer.settings();
    if let Source::Keys { keep, .. } = &mut settings.source {
        *keep = Duration::ZERO;
    }
    let verifier = verifier(settings);
    let token = |key: &TestKey| key.sign(&issuer.claims(USER));
    for _ in 0..2 {
        assert!(verifier.identify(&token(&old), None).await.is_ok());
    }
    issuer.set_away(true);
    assert_unavailable(verifier.identify(&token(&old), None).await);
    issuer.set_away(false);
    issuer.publish(&[&new]);
    assert_refused(
        verifier.identify(&token(&old), None).await,
        Refusal::UnknownKey,
    );
    assert!(verifier.identify(&token(&new), None).await.is_ok());
}

/// They are signed by the same keys, and may even be for the same audience.
#[tokio::test]
async fn an_id_token_is_no_access_token() {
    let dir = tempfile::tempdir().unwrap();
    let key = TestKey::es256("a");
    let issuer = TestIssuer::new(&[&key]).await;
    let by_keys = verifier(issuer.settings());
    let by_asking = verifier(issuer.introspection_settings(dir.path()));
    for (name, value) in [
        ("nonce", json!("n-0S6_WzA2Mj")),
        ("at_hash", json!("77QmUPtjPfzWtF2AnpK9RQ")),
        ("c_hash", json!("LDktKdoQak3Pk0cnXxCltA")),
        ("typ", json!("ID")),
        ("typ", json!("Refresh")),
    ] {
        let mut claims = issuer.claims(USER);
        claims[name] = value;
        let got = by_keys.identify(&key.sign(&claims), None).await;
        assert_refused(got, Refusal::Type);
        issuer.know("opaque", &claims);
        assert_refused(by_asking.identify("opaque", None).await, Refusal::Type);
    }
    let header = json!({"alg": "ES256", "typ": "id+jwt", "kid": "a"});
    let token = key.sign_with(&header, &issuer.claims(USER));
    assert_refused(by_keys.identify(&token, None).await, Refusal::Type);
}

#[tokio::test]
async fn old_keys_hold_while_the_issuer_is_away() {
    let (old, new) = (TestKey::es256("old"), TestKey::es256("new"));
    let issuer = TestIssuer::new(&[&old]).await;
    let token = |key: &TestKey| key.sign(&issuer.claims(USER));
    let settings = with_times(issuer.settings(), Duration::ZERO, Duration::ZERO);
    let verifier = verifier(settings);
    issuer.set_away(true);
    assert_unavailable(verifier.identify(&token(&old), None).await);
    verifier.warm_up().await;
    issuer.set_away(false);
    assert!(verifier.identify(&token(&old), None).await.is_ok());

    issuer.set_away(true);
    for _ in 0..3 {
        assert!(verifier.identify(&token(&old), None).await.is_ok());
    }
    // Nobody can say that the issuer has no such key, but who knows the key can say that it did not sign.
    assert_unavailable(verifier.identify(&token(&new), None).await);
    let forged = TestKey::es256("old").sign(&issuer.claims(USER));
    assert_refused(verifier.identify(&forged, None).await, Refusal::Signature);
    // Nor can what comes back be nonsense.
    issuer.set_away(false);
    for (status, body) in [
        (500, Vec::new()),
        (302, Vec::new()),
        (200, b"<html>".to_vec()),
        (200, b"{\"keys\":[]}".to_vec()),
        (200, vec![b' '; KEYS_BYTES_MAX + 1]),
    ] {
        issuer.say(status, body);
        assert_unavailable(verifier.identify(&token(&new), None).await);
        assert!(verifier.identify(&token(&old), None).await.is_ok());
    }
}

#[tokio::test]
async fn a_failure_is_not_repeated_at_once() {
    let key = TestKey::es256("a");
    let issuer = TestIssuer::new(&[&key]).await;
    let token = key.sign(&issuer.claims(USER));
    issuer.say(503, "");
    let hour = Duration::from_secs(3600);
    let verifier = verifier(with_times(issuer.settings(), hour, hour));
    for _ in 0..5 {
        assert_unavailable(verifier.identify(&token, None).await);
    }
    assert_eq!(issuer.requests(), 1);
}

#[tokio::test]
async fn keys_are_read_again_by_age() {
    let (old, new) = (TestKey::es256("k"), TestKey::es256("k"));
    let issuer = TestIssuer::new(&[&old]).await;
    let verifier = verifier(with_times(
        issuer.settings(),
        Duration::ZERO,
        Duration::ZERO,
    ));
    let token = new.sign(&issuer.claims(USER));
    assert_refused(verifier.identify(&token, None).await, Refusal::Signature);
    issuer.publish(&[&new]);
    // In the background, while the old ones are used.
    let begin = Instant::now();
    while verifier.identify(&token, None).await.is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "they stay");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = TestKey::es256("a");
    let issuer = TestIssuer::new(&[&key]).await;
    let mut settings = issuer.settings();
    settings.timeout = Duration::from_millis(200);
    if let Source::Keys { from, .. } = &mut settings.source {
        let url = format!("http://{}/keys", silent.local_addr().unwrap());
        *from = KeysFrom::Url(HttpUrl::parse(&url).unwrap());
    }
    let begin = Instant::now();
    let token = key.sign(&issuer.claims(USER));
    assert_unavailable(verifier(settings).identify(&token, None).await);
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn keys_may_stand_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let (old, new) = (TestKey::es256("old"), TestKey::es256("new"));
    let issuer = TestIssuer::new(&[]).await;
    let mut settings = issuer.settings();
    if let Source::Keys { from, .. } = &mut settings.source {
        *from = KeysFrom::File(path.clone());
    }
    let refused = TokenVerifier::new(settings.clone()).unwrap_err();
    assert!(matches!(refused, SetupError::KeyFile(_)), "{refused}");
    let write = |key: &TestKey| {
        std::fs::write(&path, json!({"keys": [key.jwk()]}).to_string()).unwrap();
    };
    write(&old);
    let verifier = verifier(settings);
    assert!(
        verifier
            .identify(&old.sign(&issuer.claims(USER)), None)
            .await
            .is_ok()
    );
    write(&new);
    assert!(
        verifier
            .identify(&new.sign(&issuer.claims(USER)), None)
            .await
            .is_ok()
    );
    assert_eq!(issuer.requests(), 0);
}

#[tokio::test]
async fn an_issuer_is_asked_about_each_token_once() {
    let dir = tempfile::tempdir().unwrap();
    let issuer = TestIssuer::new(&[]).await;
    let verifier = verifier(issuer.introspection_settings(dir.path()));
    issuer.know("good-1.opaque", &issuer.claims(USER));
    for _ in 0..3 {
        assert_eq!(
            verifier.identify("good-1.opaque", None).await.unwrap(),
            USER
        );
    }
    assert_eq!(issuer.requests(), 1);
    // What is not good is not remembered.
    assert_refused(verifier.identify("later", None).await, Refusal::Inactive);
    issuer.know("later", &issuer.claims(USER));
    assert!(verifier.identify("later", None).await.is_ok());
    let mut expired = issuer.claims(USER);
    expired["exp"] = json!(1_000_000_000);
    issuer.know("expired", &expired);
    assert_refused(verifier.identify("expired", None).await, Refusal::Expired);
    let mut foreign = issuer.claims(USER);
    foreign["aud"] = json!("other");
    issuer.know("foreign", &foreign);
    assert_refused(verifier.identify("foreign", None).await, Refusal::Audience);
    let mut refresh = issuer.claims(USER);
    refresh["token_type"] = json!("refresh_token");
    issuer.know("refresh", &refresh);
    assert_refused(verifier.identify("refresh", None).await, Refusal::Type);
    // What is remembered holds without the issuer; nothing else does.
    issuer.forget();
    issuer.set_away(true);
    assert!(verifier.identify("good-1.opaque", None).await.is_ok());
    assert_unavailable(verifier.identify("another", None).await);
}

#[tokio::test]
async fn an_issuer_that_does_not_know_us_is_not_the_users_fault() {
    let dir = tempfile::tempdir().unwrap();
    let issuer = TestIssuer::new(&[]).await;
    let settings = issuer.introspection_settings(dir.path());
    issuer.know("good", &issuer.claims(USER));
    std::fs::write(dir.path().join("secret"), "wrong").unwrap();
    assert_unavailable(verifier(settings.clone()).identify("good", None).await);
    for body in ["", "<html>", "[]", "null"] {
        issuer.say(200, body);
        assert_unavailable(verifier(settings.clone()).identify("good", None).await);
    }
    issuer.say(200, "{\"active\":\"true\"}");
    let got = verifier(settings.clone()).identify("good", None).await;
    assert_refused(got, Refusal::Inactive);
    std::fs::remove_file(dir.path().join("secret")).unwrap();
    let refused = TokenVerifier::new(settings).unwrap_err();
    assert!(
        matches!(refused, SetupError::SecretFile { .. }),
        "{refused}"
    );
}

/// Over TLS an issuer must be who its certificate says, by the CAs that are trusted.
#[tokio::test]
async fn tls_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let key = TestKey::es256("a");
    let issuer = TestIssuer::new(&[&key]).await;
    let made = generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).unwrap();
    let other = generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let other_file = dir.path().join("other.pem");
    std::fs::write(&other_file, other.cert.pem()).unwrap();

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![made.cert.der().clone()],
            made.signing_key.serialize_der().try_into().unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/keys?p=1", listener.local_addr().unwrap());
    let body = json!({"keys": [key.jwk()]}).to_string();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /keys?p=1 HTTP/1.1\r\n"));
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let with_ca = |ca_file: &std::path::Path| {
        let mut settings = issuer.settings();
        settings.ca_file = Some(ca_file.to_owned());
        if let Source::Keys { from, .. } = &mut settings.source {
            *from = KeysFrom::Url(HttpUrl::parse(&url).unwrap());
        }
        settings
    };
    let token = key.sign(&issuer.claims(USER));
    assert!(
        verifier(with_ca(&ca_file))
            .identify(&token, None)
            .await
            .is_ok()
    );
    assert_unavailable(verifier(with_ca(&other_file)).identify(&token, None).await);
    let mut system = with_ca(&ca_file);
    system.ca_file = None;
    // A machine without any CA says so; any other trusts other CAs than ours.
    match TokenVerifier::new(system) {
        Ok(verifier) => assert_unavailable(verifier.identify(&token, None).await),
        Err(error) => assert!(matches!(error, SetupError::NoSystemCas(_)), "{error}"),
    }
    for text in ["", "no certificate"] {
        std::fs::write(&ca_file, text).unwrap();
        let error = TokenVerifier::new(with_ca(&ca_file)).unwrap_err();
        assert!(matches!(error, SetupError::CaFile { .. }), "{error}");
    }
    server.abort();
}

#[tokio::test]
async fn no_secret_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let issuer = TestIssuer::new(&[]).await;
    let verifier = verifier(issuer.introspection_settings(dir.path()));
    issuer.say(500, "token-that-leaks");
    let error = verifier
        .identify("token-that-leaks", None)
        .await
        .unwrap_err();
    let mut printed = format!("{verifier:?} {error:?} {error}");
    // An answer that quotes the token, in place of an object.
    issuer.say(200, "\"token-that-leaks\"");
    let error = verifier
        .identify("token-that-leaks", None)
        .await
        .unwrap_err();
    printed += &format!("{error:?} {error}");
    let error = KeySet::parse(b"{\"keys\":\"token-that-leaks\"}").unwrap_err();
    printed += &format!("{error:?} {error}");
    assert!(
        !printed.contains("leaks") && !printed.contains("s3cret"),
        "{printed}"
    );
}
