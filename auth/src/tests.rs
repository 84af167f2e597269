//! Logins against a directory that says what the test wants.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use mailrook_net::{BlockingPool, LoginThrottle, ThrottleSettings};
use mailrook_oauth::{TestIssuer, TestKey, TokenVerifier};
use mailrook_sasl::{ChannelBindings, FakeSaltKey, Password, PasswordCache, Salt, Verifier};
use mailrook_store_api::{
    Call, Directory, StoreError,
    meta::{
        AccountRecord, Credential, CredentialScope, LoginAccount, MetaAnswer, MetaCommand,
        MetaQuery, MetaReply,
    },
};
use mailrook_types::{AccountId, Address, ShardId, Timestamp};
use tokio::sync::oneshot;

use crate::{
    AttemptLimits, Attempts, Login, LoginFailure, LoginPlace, LoginStep, Logins, Reaction,
};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// A directory with one account; `None` cannot be reached.
struct One(Option<LoginAccount>);

impl Directory for One {
    fn command(&self, _: MetaCommand) -> Call<'_, MetaReply> {
        unreachable!("a login changes nothing")
    }

    fn query(&self, query: MetaQuery) -> Call<'_, MetaAnswer> {
        let answer = match (&self.0, query) {
            (None, _) => Err(StoreError::Unavailable("for the test".to_owned())),
            (Some(one), MetaQuery::Login(name)) => {
                let found = one.record.address.to_string() == name;
                let account = found.then(|| Box::new(one.clone()));
                Ok(MetaAnswer::Login(account))
            }
            (_, other) => panic!("{other:?}"),
        };
        Box::pin(async move { answer })
    }
}

/// `u@a.test`, whose password `secret` opens `scopes`.
fn directory(enabled: bool, scopes: &[CredentialScope]) -> One {
    let address = Address::parse("u@a.test").unwrap();
    let password = Password::prepare(b"secret").unwrap();
    let verifier = Verifier::new(&password, Salt::random().unwrap());
    let credential = Credential {
        name: "main".to_owned(),
        scopes: scopes.to_vec(),
        verifier: verifier.to_bytes(),
        version: 1,
        created: Timestamp(0),
    };
    One(Some(LoginAccount {
        senders: vec![address.clone()],
        record: AccountRecord {
            id: AccountId(1),
            address,
            shard: ShardId(1),
            enabled,
            quota_storage_bytes: None,
            quota_messages: None,
            credentials: vec![credential],
            credentials_version: 1,
            created: Timestamp(0),
        },
    }))
}

/// After a failure the next login of the same address is late.
const LATE: Duration = Duration::from_millis(100);

fn logins() -> Logins {
    let throttle = ThrottleSettings {
        free_failures: 0,
        delay_first: LATE,
        delay_max: LATE,
        ..ThrottleSettings::default()
    };
    Logins {
        cache: Arc::new(PasswordCache::new(10, Duration::from_secs(60)).unwrap()),
        fake_salts: FakeSaltKey::new([7; 32]),
        throttle: Arc::new(LoginThrottle::new(throttle)),
        hashing: BlockingPool::new(1, 10),
        tokens: None,
    }
}

fn place<'a>(logins: &'a Logins, directory: &'a One, scope: CredentialScope) -> LoginPlace<'a> {
    LoginPlace {
        logins,
        directory,
        scope,
        ip: Some(CLIENT),
        bindings: ChannelBindings::default(),
    }
}

async fn plain(logins: &Logins, directory: &One, user: &str, password: &str) -> LoginStep {
    let place = place(logins, directory, CredentialScope::Imap);
    Login::with_password(user.as_bytes(), password.as_bytes(), place).await
}

#[track_caller]
fn assert_failed(step: LoginStep, expected: LoginFailure) {
    match step {
        LoginStep::Failed(failure) => assert_eq!(failure, expected),
        LoginStep::Done(_) => panic!("it was let in"),
        LoginStep::Challenge(_) => panic!("it was asked for more"),
    }
}

#[tokio::test]
async fn a_right_password_is_hashed_once() {
    let (logins, directory) = (logins(), directory(true, &[]));
    let step = plain(&logins, &directory, "u@a.test", "secret").await;
    assert!(matches!(step, LoginStep::Done(account) if account.record.id == AccountId(1)));
    // While nobody can hash, what is known is let in all the same, and what is not hears that it should wait.
    let logins = Logins {
        hashing: BlockingPool::new(1, 0),
        ..logins
    };
    let (release, released) = mpsc::channel::<()>();
    let (begun, beginning) = oneshot::channel();
    let pool = logins.hashing.clone();
    let busy = tokio::spawn(async move {
        let occupy = move || {
            let _ = begun.send(());
            let _ = released.recv();
        };
        pool.run(occupy).await
    });
    beginning.await.unwrap();
    let step = plain(&logins, &directory, "u@a.test", "secret").await;
    assert!(matches!(step, LoginStep::Done(_)));
    let step = plain(&logins, &directory, "u@a.test", "wrong").await;
    assert_failed(step, LoginFailure::Unavailable);
    drop(release);
    busy.await.unwrap().unwrap();
}

/// A wrong password, an unknown user, one that is kept out and a password for something else look the same, and count.
#[tokio::test]
async fn who_is_not_let_in_does_not_learn_why() {
    for (user, password, directory) in [
        ("u@a.test", "wrong", directory(true, &[])),
        ("x@a.test", "secret", directory(true, &[])),
        ("u@a.test", "secret", directory(false, &[])),
        (
            "u@a.test",
            "secret",
            directory(true, &[CredentialScope::Smtp]),
        ),
    ] {
        let logins = logins();
        let step = plain(&logins, &directory, user, password).await;
        assert_failed(step, LoginFailure::Credentials);
        assert_eq!(logins.throttle.delay(CLIENT), LATE);
    }
    let (logins, directory) = (logins(), directory(true, &[CredentialScope::Imap]));
    let step = plain(&logins, &directory, "u@a.test", "secret").await;
    assert!(matches!(step, LoginStep::Done(_)));
}

/// What is not the guess of a password is not held against the client.
#[tokio::test]
async fn other_failures_do_not_count() {
    let logins = logins();
    let away = One(None);
    let step = plain(&logins, &away, "u@a.test", "secret").await;
    assert_failed(step, LoginFailure::Unavailable);

    let directory = directory(true, &[]);
    let start = |mechanism, initial: &'static [u8]| {
        let place = place(&logins, &directory, CredentialScope::Smtp);
        Login::start(mechanism, Some(initial), place)
    };
    let (login, step) = start("CRAM-MD5", b"").await;
    assert!(login.is_none());
    assert_failed(step, LoginFailure::NotOffered);
    // Without TLS there is nothing to bind to.
    let (_, step) = start("SCRAM-SHA-256-PLUS", b"p=tls-exporter,,n=u,r=x").await;
    assert_failed(step, LoginFailure::NotOffered);
    let (_, step) = start("PLAIN", b"no separators").await;
    assert_failed(step, LoginFailure::Malformed);
    assert_eq!(logins.throttle.delay(CLIENT), Duration::ZERO);
}

#[tokio::test]
async fn who_failed_waits() {
    let (logins, directory) = (logins(), directory(true, &[]));
    logins.throttle.failed(CLIENT);
    let begin = Instant::now();
    let step = plain(&logins, &directory, "u@a.test", "secret").await;
    assert!(matches!(step, LoginStep::Done(_)));
    assert!(begin.elapsed() >= LATE);
    assert_eq!(logins.throttle.delay(CLIENT), Duration::ZERO);
}

#[tokio::test]
async fn an_exchange_goes_step_by_step() {
    let (logins, directory) = (logins(), directory(true, &[]));
    let place = place(&logins, &directory, CredentialScope::Pop3);
    let (login, step) = Login::start("LOGIN", None, place).await;
    assert!(matches!(step, LoginStep::Challenge(_)));
    let mut login = login.unwrap();
    let step = login.respond(b"u@a.test", &logins, &directory).await;
    assert!(matches!(step, LoginStep::Challenge(_)));
    let step = login.respond(b"secret", &logins, &directory).await;
    assert!(matches!(step, LoginStep::Done(_)));
}

#[tokio::test]
async fn a_connection_is_answered_later_and_then_closed() {
    let limits = AttemptLimits {
        delay: LATE,
        ..AttemptLimits::default()
    };
    let mut attempts = Attempts::default();
    let mut late = Vec::new();
    let reaction = loop {
        let begin = Instant::now();
        let reaction = attempts.failed(limits).await;
        late.push(begin.elapsed() >= LATE);
        if reaction == Reaction::Close {
            break reaction;
        }
    };
    assert_eq!(reaction, Reaction::Close);
    // People mistype twice; the tenth time is the last.
    let expected = [
        false, false, true, true, true, true, true, true, true, false,
    ];
    assert_eq!(late, expected);
}

#[test]
fn nothing_is_offered_where_no_password_is_taken() {
    let (logins, none) = (logins(), ChannelBindings::default());
    assert_eq!(logins.offered(&none, false).count(), 0);
    let some: Vec<_> = logins.offered(&none, true).collect();
    assert!(some.contains(&"PLAIN") && !some.contains(&"SCRAM-SHA-256-PLUS"));
    assert!(logins.mechanisms().any(|name| name == "SCRAM-SHA-256-PLUS"));
    assert!(!logins.mechanisms().any(|name| name == "OAUTHBEARER"));
}

/// Those of [`logins`], and tokens by an issuer with this key.
async fn with_tokens(key: &TestKey) -> (Logins, TestIssuer) {
    let issuer = TestIssuer::new(&[key]).await;
    let tokens = Some(Arc::new(TokenVerifier::new(issuer.settings()).unwrap()));
    let logins = Logins { tokens, ..logins() };
    (logins, issuer)
}

fn oauthbearer(token: &str) -> Vec<u8> {
    format!("n,,\x01auth=Bearer {token}\x01\x01").into_bytes()
}

#[tokio::test]
async fn a_token_opens_what_no_password_does() {
    let key = TestKey::es256("a");
    let (logins, issuer) = with_tokens(&key).await;
    assert!(logins.mechanisms().any(|name| name == "XOAUTH2"));
    let initial = oauthbearer(&key.sign(&issuer.claims("u@a.test")));
    let login = async |directory: &One| {
        let place = place(&logins, directory, CredentialScope::Imap);
        Login::start("OAUTHBEARER", Some(&initial), place).await.1
    };
    // Its only password is for something else.
    let step = login(&directory(true, &[CredentialScope::Smtp])).await;
    assert!(matches!(step, LoginStep::Done(account) if account.record.id == AccountId(1)));
    let mut without = directory(true, &[]);
    if let Some(account) = &mut without.0 {
        account.record.credentials.clear();
    }
    assert!(matches!(login(&without).await, LoginStep::Done(_)));
    // But nobody is let in who is kept out.
    let step = login(&directory(false, &[])).await;
    assert!(matches!(step, LoginStep::Challenge(_)));
    assert_failed(login(&One(None)).await, LoginFailure::Unavailable);
}

/// It is held against the address once, whether or not the client waits for the end.
#[tokio::test]
async fn a_refused_token_counts_once_and_an_unanswered_question_never() {
    let key = TestKey::es256("a");
    let (logins, issuer) = with_tokens(&key).await;
    let directory = directory(true, &[]);
    let start = async |initial: &[u8]| {
        let place = place(&logins, &directory, CredentialScope::Imap);
        Login::start("OAUTHBEARER", Some(initial), place).await
    };
    let forged = TestKey::es256("a").sign(&issuer.claims("u@a.test"));
    let (login, step) = start(&oauthbearer(&forged)).await;
    assert!(matches!(step, LoginStep::Challenge(_)));
    let mut login = login.unwrap();
    assert!(login.has_failed());
    assert_eq!(logins.throttle.delay(CLIENT), LATE);
    logins.throttle.succeeded(CLIENT);
    let step = login.respond(b"\x01", &logins, &directory).await;
    assert_failed(step, LoginFailure::Credentials);
    assert_eq!(logins.throttle.delay(CLIENT), Duration::ZERO);

    // Who asks for what is wanted has guessed at nothing.
    let (login, step) = start(b"n,,\x01auth=\x01\x01").await;
    assert!(matches!(step, LoginStep::Challenge(_)) && login.unwrap().has_failed());
    assert_eq!(logins.throttle.delay(CLIENT), Duration::ZERO);
    issuer.set_away(true);
    let unknown = TestKey::es256("b").sign(&issuer.claims("u@a.test"));
    let (_, step) = start(&oauthbearer(&unknown)).await;
    assert_failed(step, LoginFailure::Unavailable);
    assert_eq!(logins.throttle.delay(CLIENT), Duration::ZERO);
}

#[tokio::test]
async fn who_failed_waits_with_a_token_too_and_once() {
    let key = TestKey::es256("a");
    let (logins, issuer) = with_tokens(&key).await;
    let directory = directory(true, &[]);
    logins.throttle.failed(CLIENT);
    let initial = oauthbearer(&key.sign(&issuer.claims("u@a.test")));
    let place = place(&logins, &directory, CredentialScope::Imap);
    let begin = Instant::now();
    let (_, step) = Login::start("OAUTHBEARER", Some(&initial), place).await;
    assert!(matches!(step, LoginStep::Done(_)));
    assert!(begin.elapsed() >= LATE);
}
