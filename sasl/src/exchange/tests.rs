//! Whole conversations, with a client on the other side.

use std::{sync::LazyLock, time::Duration};

use mailrook_types::AccountId;
use proptest::prelude::*;

use super::*;
use crate::{Client, PasswordCache, Salt, Verifier};

static CACHE: LazyLock<PasswordCache> =
    LazyLock::new(|| PasswordCache::new(0, Duration::ZERO).unwrap());

/// `user@example.test` has the passwords `pencil` and `rubber`.
static KNOWN: LazyLock<Credentials> = LazyLock::new(|| {
    let verifier =
        |text: &[u8]| Verifier::new(&Password::prepare(text).unwrap(), Salt::from_bytes([4; 16]));
    Credentials {
        account: AccountId(1),
        version: 1,
        verifiers: vec![verifier(b"pencil"), verifier(b"rubber")],
    }
});

fn context(bindings: &ChannelBindings) -> Context {
    Context {
        bindings: bindings.clone(),
        fake_salts: FakeSaltKey::new([8; 32]),
        tokens: None,
    }
}

fn tls() -> ChannelBindings {
    ChannelBindings {
        tls_exporter: Some([5; 32]),
        tls_server_end_point: Some(vec![6; 32]),
    }
}

/// Carries out what the server asks for until it asks the client something, or ends.
fn settle(exchange: &mut Exchange, mut step: Step) -> Step {
    loop {
        step = match step {
            Step::Lookup(user) => {
                exchange.credentials((user == "user@example.test").then(|| KNOWN.clone()))
            }
            Step::Check(check) => exchange.checked(check.hash(&CACHE)),
            other => return other,
        }
    }
}

fn converse(
    mut client: Client,
    mechanism: Mechanism,
    early: bool,
    bindings: &ChannelBindings,
) -> Result<Success, Failure> {
    let initial = if early { client.initial() } else { None };
    let (mut exchange, mut step) =
        Exchange::start(mechanism, initial.as_deref(), context(bindings));
    loop {
        match settle(&mut exchange, step) {
            Step::Challenge(challenge) => {
                let response = client.respond(&challenge).expect("the server makes sense");
                step = exchange.respond(&response);
            }
            Step::Done(success) => return Ok(success),
            Step::Failed(failure) => return Err(failure),
            other => panic!("{other:?} is settled"),
        }
    }
}

#[test]
fn each_mechanism_lets_the_right_password_in() {
    for mechanism in Mechanism::PASSWORD {
        for early in [true, false] {
            let login = |user: &str, password: &str| {
                converse(
                    Client::new(mechanism, user, password, &tls()),
                    mechanism,
                    early,
                    &tls(),
                )
            };
            let success = login("user@example.test", "pencil").unwrap();
            assert_eq!(
                (success.user.as_str(), success.credential),
                ("user@example.test", Some(0)),
                "{mechanism}"
            );
            assert_eq!(success.mechanism, Some(mechanism));
            assert_eq!(
                login("user@example.test", "rubber").unwrap().credential,
                Some(1),
                "{mechanism}"
            );
            assert_eq!(
                login("user@example.test", "eraser"),
                Err(Failure::Credentials),
                "{mechanism}"
            );
            assert_eq!(
                login("nobody@example.test", "pencil"),
                Err(Failure::Credentials),
                "{mechanism}"
            );
        }
    }
}

#[test]
fn a_password_without_sasl() {
    let login = |user: &[u8], password: &[u8]| {
        let (mut exchange, step) = Exchange::with_password(user, password, context(&tls()));
        match settle(&mut exchange, step) {
            Step::Done(success) => Ok((success.credential, success.mechanism)),
            Step::Failed(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(login(b"user@example.test", b"pencil"), Ok((Some(0), None)));
    assert_eq!(login(b"user@example.test", b""), Err(Failure::Credentials));
    assert_eq!(login(b"", b"pencil"), Err(Failure::Credentials));
    assert_eq!(login(b"us\0er", b"pencil"), Err(Failure::Credentials));
}

#[test]
fn an_account_without_passwords_is_no_account() {
    let (mut exchange, _) =
        Exchange::start(Mechanism::Plain, Some(b"\0user\0pencil"), context(&tls()));
    let none = Credentials {
        account: AccountId(1),
        version: 1,
        verifiers: vec![],
    };
    let Step::Check(check) = exchange.credentials(Some(none)) else {
        panic!("no check")
    };
    assert!(matches!(
        exchange.checked(check.hash(&CACHE)),
        Step::Failed(Failure::Credentials)
    ));
}

#[test]
fn an_unknown_user_is_asked_with_a_salt_that_stays() {
    let ask = |user: &str| {
        let mut client = Client::new(
            Mechanism::ScramSha256,
            user,
            "pencil",
            &ChannelBindings::default(),
        );
        let (mut exchange, step) = Exchange::start(
            Mechanism::ScramSha256,
            client.initial().as_deref(),
            context(&ChannelBindings::default()),
        );
        let Step::Challenge(challenge) = settle(&mut exchange, step) else {
            panic!("no challenge")
        };
        let text = String::from_utf8(challenge).unwrap();
        text[text.find(",s=").unwrap()..].to_owned()
    };
    let (known, unknown) = (ask("user@example.test"), ask("nobody@example.test"));
    assert_eq!(unknown, ask("NOBODY@example.test"));
    assert_ne!(unknown, ask("nobody2@example.test"));
    // What differs is the salt alone.
    assert_eq!(known.len(), unknown.len());
    assert_eq!(known.split(",i=").nth(1), unknown.split(",i=").nth(1));
}

#[test]
fn a_downgrade_and_a_foreign_channel_are_noticed() {
    let client = |mechanism, bindings: &ChannelBindings| {
        Client::new(mechanism, "user@example.test", "pencil", bindings)
    };
    // Somebody removed -PLUS from what we announced.
    let downgraded = client(Mechanism::ScramSha256, &tls()).with_gs2_header("y,,");
    assert_eq!(
        converse(downgraded, Mechanism::ScramSha256, true, &tls()),
        Err(Failure::ChannelBinding)
    );
    // We did not announce it: fine.
    let honest = client(Mechanism::ScramSha256, &tls()).with_gs2_header("y,,");
    assert!(
        converse(
            honest,
            Mechanism::ScramSha256,
            true,
            &ChannelBindings::default()
        )
        .is_ok()
    );
    // The client's TLS connection ends elsewhere.
    let elsewhere = ChannelBindings {
        tls_exporter: Some([7; 32]),
        tls_server_end_point: None,
    };
    let relayed = client(Mechanism::ScramSha256Plus, &elsewhere);
    assert_eq!(
        converse(relayed, Mechanism::ScramSha256Plus, true, &tls()),
        Err(Failure::ChannelBinding)
    );
    // The second kind of binding.
    let by_certificate = ChannelBindings {
        tls_exporter: None,
        ..tls()
    };
    let bound = client(Mechanism::ScramSha256Plus, &by_certificate);
    assert!(converse(bound, Mechanism::ScramSha256Plus, true, &tls()).is_ok());
    // A binding that we have not.
    let unique = client(Mechanism::ScramSha256Plus, &tls()).with_gs2_header("p=tls-unique,,");
    assert_eq!(
        converse(unique, Mechanism::ScramSha256Plus, true, &tls()),
        Err(Failure::ChannelBinding)
    );
}

#[test]
fn nobody_acts_for_somebody_else() {
    let plain = |message: &[u8]| {
        let (mut exchange, step) =
            Exchange::start(Mechanism::Plain, Some(message), context(&tls()));
        match settle(&mut exchange, step) {
            Step::Done(success) => Ok(success.user),
            Step::Failed(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    };
    assert!(plain(b"USER@example.test\0user@example.test\0pencil").is_ok());
    assert_eq!(
        plain(b"boss@example.test\0user@example.test\0pencil"),
        Err(Failure::AuthzidRefused)
    );
    // Without the password nothing is said of it.
    assert_eq!(
        plain(b"boss@example.test\0user@example.test\0wrong"),
        Err(Failure::Credentials)
    );

    let scram = |header: &str| {
        let client = Client::new(
            Mechanism::ScramSha256,
            "user@example.test",
            "pencil",
            &tls(),
        );
        converse(
            client.with_gs2_header(header),
            Mechanism::ScramSha256,
            true,
            &tls(),
        )
        .map(|_| ())
    };
    assert_eq!(scram("n,a=user@example.test,"), Ok(()));
    assert_eq!(
        scram("n,a=boss@example.test,"),
        Err(Failure::AuthzidRefused)
    );
}

#[test]
fn ends_once_and_stays_ended() {
    let (mut exchange, _) = Exchange::start(Mechanism::Plain, None, context(&tls()));
    assert!(matches!(
        exchange.credentials(None),
        Step::Failed(Failure::OutOfOrder)
    ));
    assert!(matches!(
        exchange.respond(b"\0user@example.test\0pencil"),
        Step::Failed(Failure::OutOfOrder)
    ));

    // A message when a lookup is due.
    let (mut exchange, step) = Exchange::start(
        Mechanism::Plain,
        Some(b"\0user@example.test\0pencil"),
        context(&tls()),
    );
    assert!(matches!(step, Step::Lookup(_)));
    assert!(matches!(
        exchange.respond(b""),
        Step::Failed(Failure::OutOfOrder)
    ));
    assert!(matches!(
        exchange.credentials(Some(KNOWN.clone())),
        Step::Failed(Failure::OutOfOrder)
    ));
    let (mut exchange, _) = Exchange::start(Mechanism::Login, None, context(&tls()));
    assert!(matches!(
        exchange.respond(&vec![b'x'; 20_000]),
        Step::Failed(Failure::Malformed)
    ));
}

#[test]
fn no_secret_is_printed() {
    let (exchange, step) = Exchange::start(
        Mechanism::Plain,
        Some(b"\0user@example.test\0pencil"),
        context(&tls()),
    );
    assert!(!format!("{exchange:?} {step:?}").contains("pencil"));
    let (mut exchange, _) =
        Exchange::with_password(b"user@example.test", b"pencil", context(&tls()));
    let step = exchange.credentials(Some(KNOWN.clone()));
    let printed = format!("{exchange:?} {step:?} {:?}", *KNOWN);
    assert!(
        !printed.contains("pencil") && !printed.contains("SCRAM-SHA-256$"),
        "{printed}"
    );
}

proptest! {
    /// Any bytes at any point end in an answer.
    #[test]
    fn survives_anything(
        mechanism in 0..6usize,
        messages in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..80),
                "[nyp]=?[a-z-]{0,12},(a=[a-z=,]{0,8})?,n=[a-z=0-9]{0,8},r=[!-~]{0,20}".prop_map(String::into_bytes),
                "(n,(a=[a-z]{0,4})?,|user=[a-z]{0,4})\x01auth=(Bearer [a-z=.]{0,8})?\x01{1,2}".prop_map(String::into_bytes),
                "c=[A-Za-z+/=]{0,12},r=[!-~]{0,20},p=[A-Za-z+/=]{0,48}".prop_map(String::into_bytes),
            ],
            1..4,
        ),
    ) {
        let (mut exchange, mut step) = Exchange::start(Mechanism::ALL[mechanism], None, context(&tls()));
        for message in messages {
            loop {
                step = match step {
                    Step::Lookup(_) => exchange.credentials(None),
                    Step::Token(_) => exchange.token(TokenVerdict::Of("user@example.test".to_owned())),
                    _ => break,
                };
            }
            if !matches!(step, Step::Challenge(_)) {
                break;
            }
            step = exchange.respond(&message);
        }
        prop_assert!(!matches!(step, Step::Done(_)));
    }
}
