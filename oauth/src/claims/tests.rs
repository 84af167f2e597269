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
        any_audience: false,
        account_claim: "email".to_owned(),
        trust_email: false,
        scope: None,
        timeout: Duration::from_secs(5),
        ca_file: None,
        source: Source::Keys {
            from: KeysFrom::File("keys.json".into()),
            algorithms: Algorithm::ALL.to_vec(),
            refresh: Duration::from_secs(3600),
            keep: Duration::from_secs(86_400),
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
        "email_verified": true,
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
        (
            json!({"email_verified": null}),
            Err(Refusal::UnverifiedEmail),
        ),
        (json!({"typ": "Bearer"}), good.clone()),
        (json!({"typ": "Offline"}), Err(Refusal::Type)),
        (json!({"nonce": ""}), Err(Refusal::Type)),
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
    let nothing = Settings {
        audiences: Vec::new(),
        ..settings
    };
    for changes in [json!({}), json!({"aud": null})] {
        assert_eq!(answer(&nothing, changes), Err(Refusal::Audience));
    }
    let scoped = Settings {
        scope: Some("mail".to_owned()),
        ..nothing.clone()
    };
    let with_scope = json!({"aud": null, "scope": "mail"});
    assert!(answer(&scoped, with_scope).is_ok());
    assert_eq!(answer(&scoped, json!({})), Err(Refusal::Scope));
    let any = Settings {
        any_audience: true,
        ..nothing
    };
    assert!(answer(&any, json!({"aud": null})).is_ok());
    assert!(answer(&any, json!({"aud": "x"})).is_ok());
    assert_eq!(jwt(&any, json!({"aud": "x"})), Err(Refusal::Audience));
}

/// RFC 7662 §2.2: `token_type` may be left out. A refresh token may be active, too.
#[test]
fn an_answer_about_another_kind_of_token_names_nobody() {
    let settings = settings();
    for (kind, is_good) in [
        (json!("Bearer"), true),
        (json!("bearer"), true),
        (json!("refresh_token"), false),
        (json!("DPoP"), false),
        (json!(""), false),
        (json!(["Bearer"]), false),
    ] {
        let got = answer(&settings, json!({"token_type": kind}));
        assert_eq!(got.err(), (!is_good).then_some(Refusal::Type), "{kind}");
    }
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

#[test]
fn an_issuer_may_be_trusted_with_addresses() {
    let settings = Settings {
        trust_email: true,
        ..settings()
    };
    for verified in [Value::Null, json!(false), json!(true)] {
        let got = jwt(&settings, json!({"email_verified": verified}));
        assert_eq!(got, Ok("u@a.test".to_owned()), "{verified}");
    }
}
