//! Conversations with a token, against a driver that knows two.

use super::*;
use crate::Client;

const USER: &str = "user@example.test";
const GOOD: &str = "good.token";
const NARROW: &str = "narrow.token";

const MECHANISMS: [Mechanism; 2] = [Mechanism::OAuthBearer, Mechanism::XOAuth2];

fn context(scope: Option<&str>) -> Context {
    Context {
        bindings: ChannelBindings::default(),
        fake_salts: FakeSaltKey::new([8; 32]),
        tokens: Some(TokenService {
            scope: scope.map(str::to_owned),
            openid_configuration: "https://id.test/.well-known/openid-configuration".to_owned(),
        }),
    }
}

/// An account without any password, if it exists.
fn account(exists: bool) -> Option<Credentials> {
    exists.then(|| Credentials {
        account: mailrook_types::AccountId(1),
        version: 1,
        verifiers: Vec::new(),
    })
}

/// [`GOOD`] is `user`'s, and [`NARROW`] too, for something else.
fn settle(exchange: &mut Exchange, mut step: Step, exists: bool) -> Step {
    loop {
        step = match step {
            Step::Token(token) => exchange.token(match token.as_str() {
                GOOD => TokenVerdict::Of("User@example.test".to_owned()),
                NARROW => TokenVerdict::InsufficientScope,
                _ => TokenVerdict::Invalid,
            }),
            Step::Lookup(user) => {
                assert_eq!(user, "User@example.test");
                exchange.credentials(account(exists))
            }
            other => return other,
        }
    }
}

/// What the client heard besides empty challenges, and how it ended.
fn login(
    mechanism: Mechanism,
    user: &str,
    token: &str,
    early: bool,
    exists: bool,
) -> (String, Result<Success, Failure>) {
    let mut client = Client::new(mechanism, user, token, &ChannelBindings::default());
    let initial = if early { client.initial() } else { None };
    let (mut exchange, mut step) =
        Exchange::start(mechanism, initial.as_deref(), context(Some("mail")));
    let mut heard = String::new();
    loop {
        match settle(&mut exchange, step, exists) {
            Step::Challenge(challenge) => {
                heard.push_str(str::from_utf8(&challenge).unwrap());
                let refused = exchange.refused();
                assert_eq!(refused.is_some(), !challenge.is_empty());
                step = exchange.respond(&client.respond(&challenge).unwrap());
                if let Some(refused) = refused {
                    assert!(matches!(step, Step::Failed(failure) if failure == refused));
                }
            }
            Step::Done(success) => return (heard, Ok(success)),
            Step::Failed(failure) => return (heard, Err(failure)),
            other => panic!("{other:?} is settled"),
        }
    }
}

#[test]
fn a_good_token_lets_its_user_in() {
    for mechanism in MECHANISMS {
        for early in [true, false] {
            let (heard, end) = login(mechanism, USER, GOOD, early, true);
            let success = end.unwrap();
            assert_eq!(heard, "");
            assert_eq!(
                (success.credential, success.mechanism),
                (None, Some(mechanism))
            );
            assert_eq!(success.user, "User@example.test");
        }
    }
    // OAUTHBEARER need not name the user.
    let (_, end) = login(Mechanism::OAuthBearer, "", GOOD, true, true);
    assert!(end.is_ok());
}

/// A wrong token, another user's, and one of a user that is not here look the same.
#[test]
fn any_other_hears_what_is_wanted_and_no_more() {
    let oauthbearer = r#"{"openid-configuration":"https://id.test/.well-known/openid-configuration","scope":"mail","status":"invalid_token"}"#;
    let xoauth2 = r#"{"schemes":"bearer","scope":"mail","status":"401"}"#;
    for (mechanism, expected) in [
        (Mechanism::OAuthBearer, oauthbearer),
        (Mechanism::XOAuth2, xoauth2),
    ] {
        for (user, token, exists) in [
            (USER, "bad.token", true),
            ("boss@example.test", GOOD, true),
            (USER, GOOD, false),
        ] {
            let (heard, end) = login(mechanism, user, token, true, exists);
            assert_eq!(heard, expected, "{user} {token}");
            assert_eq!(end, Err(Failure::Credentials));
        }
    }
    let (heard, end) = login(Mechanism::OAuthBearer, USER, NARROW, true, true);
    assert!(
        heard.contains(r#""status":"insufficient_scope""#),
        "{heard}"
    );
    assert_eq!(end, Err(Failure::Credentials));
    let (heard, _) = login(Mechanism::XOAuth2, USER, NARROW, true, true);
    assert!(heard.contains(r#""status":"403""#), "{heard}");
}

/// RFC 7628 §4.3: an empty token asks, and nobody is asked about it.
#[test]
fn a_client_may_ask_what_is_wanted() {
    for (mechanism, asks) in [
        (Mechanism::OAuthBearer, &b"n,,\x01auth=\x01\x01"[..]),
        (Mechanism::XOAuth2, b"user=u@a.test\x01auth=Bearer \x01\x01"),
    ] {
        let (mut exchange, step) = Exchange::start(mechanism, Some(asks), context(None));
        let Step::Challenge(challenge) = step else {
            panic!("{step:?}");
        };
        let said = String::from_utf8(challenge).unwrap();
        assert!(said.starts_with('{') && !said.contains("scope"), "{said}");
        // Anything ends it, not only what the RFC wants.
        for response in [&b"\x01"[..], b"", b"n,,\x01auth=Bearer good.token\x01\x01"] {
            let step = exchange.respond(response);
            let expected = match response {
                b"\x01" => Failure::NoToken,
                _ => Failure::OutOfOrder,
            };
            assert!(matches!(step, Step::Failed(failure) if failure == expected));
        }
    }
}

#[test]
fn what_is_not_due_ends_it() {
    let initial = b"n,,\x01auth=Bearer good.token\x01\x01";
    let start = || Exchange::start(Mechanism::OAuthBearer, Some(initial), context(None));
    let of = |user: &str| TokenVerdict::Of(user.to_owned());
    let failed =
        |step: Step, expected| matches!(step, Step::Failed(failure) if failure == expected);

    let (mut exchange, step) = start();
    assert!(matches!(step, Step::Token(_)));
    assert!(failed(exchange.respond(b""), Failure::OutOfOrder));
    assert!(failed(exchange.token(of(USER)), Failure::OutOfOrder));
    let (mut exchange, _) = start();
    assert!(failed(
        exchange.credentials(account(true)),
        Failure::OutOfOrder
    ));
    let (mut exchange, _) = Exchange::start(Mechanism::Plain, None, context(None));
    assert!(failed(exchange.token(of(USER)), Failure::OutOfOrder));
    // A claim that cannot be anybody's name.
    for name in ["", "a\0b", &"u".repeat(NAME_LEN_MAX + 1)] {
        let (mut exchange, _) = start();
        assert!(matches!(exchange.token(of(name)), Step::Challenge(_)));
        assert_eq!(exchange.refused(), Some(Failure::Credentials));
    }
    // Where nobody takes tokens there is nothing to say about them.
    let nobody = Context {
        tokens: None,
        ..context(None)
    };
    let (mut exchange, _) = Exchange::start(Mechanism::OAuthBearer, Some(initial), nobody);
    assert!(failed(
        exchange.token(TokenVerdict::Invalid),
        Failure::Credentials
    ));
}

#[test]
fn no_token_is_printed() {
    let message = b"n,,\x01auth=Bearer good.token\x01\x01";
    let (exchange, step) = Exchange::start(Mechanism::OAuthBearer, Some(message), context(None));
    let printed = format!("{exchange:?} {step:?}");
    assert!(!printed.contains(GOOD), "{printed}");
}
