//! Each claim, right and wrong, in a token and in an answer.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{Algorithm, HttpUrl, KeysFrom, Source};

const NOW: f64 = 1_800_000_000.0;

fn settings() -> Settings {
    Settings {
        issuer: HttpUrl::parse("https://id.test/").unwrap(),
        audiences: vec!["mail".to_owned(), "https://mail.test".to_owned()],
        account_claim: "email".to_owned(),
        scope: None,
        timeout: Duration::from_secs(5),
        ca_file: None,
        source: Source::Keys {
            from: KeysFrom::File("keys.json".into()),
            algorithms: Algorithm::ALL.to_vec(),
            refresh: Duration::from_secs(3600),
            retry: Duration::from_secs(60),
        },
    }
}

/// A good token with these claims in place of its own; `null` takes one away.
fn with(changes: Value) -> Map<String, Value> {
    let good = json!({
        "iss": "https://id.test/",
        "aud": "mail",
        "exp": NOW + 10.0,
        "email": "u@a.test",
    });
    let (Value::Object(mut claims), Value::Object(changes)) = (good, changes) else {
        panic!("both are objects");
    };
    for (name, value) in changes {
        match value.is_null() {
            true => drop(claims.remove(&name)),
            false => drop(claims.insert(name, value)),
        }
    }
    claims
}

fn jwt(settings: &Settings, changes: Value) -> Result<String, Refusal> {
    identity(&with(changes), settings, Origin::Jwt, NOW).map(|identity| identity.account)
}

fn answer(settings: &Settings, changes: Value) -> Result<String, Refusal> {
    identity(&with(changes), settings, Origin::Introspection, NOW).map(|identity| identity.account)
}

#[test]
fn issuer_audience_and_time_must_fit() {
    let (settings, good) = (settings(), Ok("u@a.test".to_owned()));
    for (changes, expected) in [
        (json!({}), good.clone()),
        (json!({"iss": "https://id.test"}), Err(Refusal::Issuer)),
        (json!({"iss": ["https://id.test/"]}), Err(Refusal::Issuer)),
        (json!({"aud": "https://mail.test"}), good.clone()),
        (json!({"aud": ["x", 5, "mail"]}), good.clone()),
        (json!({"aud": ["x"]}), Err(Refusal::Audience)),
        (json!({"aud": []}), Err(Refusal::Audience)),
        (json!({"aud": "mail x"}), Err(Refusal::Audience)),
        (json!({"aud": {"mail": 1}}), Err(Refusal::Audience)),
        (json!({"exp": NOW - 59.0}), good.clone()),
        (json!({"exp": NOW - 60.0}), Err(Refusal::Expired)),
        (json!({"exp": "2030"}), Err(Refusal::Expired)),
        (json!({"nbf": NOW + 60.0}), good.clone()),
        (json!({"nbf": NOW + 61.0}), Err(Refusal::NotYet)),
        (json!({"nbf": "now"}), Err(Refusal::NotYet)),
        (json!({"cnf": {"jkt": "x"}}), Err(Refusal::Bound)),
        (json!({"email": 5}), Err(Refusal::NoAccount)),
        (json!({"email": ""}), Err(Refusal::NoAccount)),
        // What it falls back to is nothing.
        (
            json!({"email": null, "sub": "u@a.test"}),
            Err(Refusal::NoAccount),
        ),
        (json!({"email_verified": true}), good.clone()),
        (json!({"email_verified": "true"}), good.clone()),
        (
            json!({"email_verified": false}),
            Err(Refusal::UnverifiedEmail),
        ),
        (
            json!({"email_verified": "false"}),
            Err(Refusal::UnverifiedEmail),
        ),
        (json!({"email_verified": 1}), Err(Refusal::UnverifiedEmail)),
    ] {
        assert_eq!(jwt(&settings, changes.clone()), expected, "{changes}");
        assert_eq!(answer(&settings, changes.clone()), expected, "{changes}");
    }
}

/// RFC 7662 §2.2: all but `active` is optional in an answer. A token must say it all.
#[test]
fn an_answer_may_leave_out_what_a_token_may_not() {
    let settings = settings();
    assert_eq!(jwt(&settings, json!({"iss": null})), Err(Refusal::Issuer));
    assert_eq!(jwt(&settings, json!({"aud": null})), Err(Refusal::Audience));
    assert_eq!(jwt(&settings, json!({"exp": null})), Err(Refusal::Expired));
    assert!(answer(&settings, json!({"iss": null, "exp": null})).is_ok());
    // But not the audience that was asked for.
    assert_eq!(
        answer(&settings, json!({"aud": null})),
        Err(Refusal::Audience)
    );
    let any = Settings {
        audiences: Vec::new(),
        ..settings
    };
    assert!(answer(&any, json!({"aud": null})).is_ok());
    assert!(answer(&any, json!({"aud": "x"})).is_ok());
    assert_eq!(jwt(&any, json!({"aud": "x"})), Err(Refusal::Audience));
}

#[test]
fn a_scope_is_one_of_a_list() {
    let settings = Settings {
        scope: Some("mail".to_owned()),
        ..settings()
    };
    for (changes, has) in [
        (json!({"scope": "mail"}), true),
        (json!({"scope": "openid mail profile"}), true),
        (json!({"scp": "openid mail"}), true),
        (json!({"scp": ["openid", "mail"]}), true),
        (json!({"scope": "email mailbox"}), false),
        (json!({"scope": "MAIL"}), false),
        (json!({"scope": ""}), false),
        (json!({"scope": 5}), false),
        (json!({"scope": "openid", "scp": "mail"}), false),
        (json!({}), false),
    ] {
        let got = jwt(&settings, changes.clone());
        assert_eq!(got.err(), (!has).then_some(Refusal::Scope), "{changes}");
    }
}

#[test]
fn another_claim_can_name_the_account() {
    let settings = Settings {
        account_claim: "preferred_username".to_owned(),
        ..settings()
    };
    assert_eq!(jwt(&settings, json!({})), Err(Refusal::NoAccount));
    let named = json!({"preferred_username": "v@a.test", "email_verified": false});
    assert_eq!(jwt(&settings, named), Ok("v@a.test".to_owned()));
}
