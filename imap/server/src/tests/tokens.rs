//! Logins by a token, in IMAP and POP3: with OAUTHBEARER and XOAUTH2, with an initial response and without.

use base64::{Engine, engine::general_purpose::STANDARD};
use mailrook_oauth::{TestIssuer, TestKey, TokenVerifier};
use mailrook_sasl::{ChannelBindings, Client as SaslClient, Mechanism, TOKEN_LEN_MAX};
use mailrook_store_api::{
    Directory,
    meta::{MetaCommand, MetaReply},
};
use mailrook_types::Address;

use super::{
    rig::{Door, Rig, USER, Wire, is_like},
    transport::tls,
};

const OTHER: &str = "user2@example.test";

/// How a login ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    In,
    Refused,
    Later,
    Malformed,
}

impl End {
    /// What the server says then, in IMAP and in POP3 (RFC 5530, RFC 3206).
    fn said(self, pop3: bool) -> &'static str {
        match (self, pop3) {
            (End::In, false) => "a OK [CAPABILITY ...] logged in",
            (End::Refused, false) => "a NO [AUTHENTICATIONFAILED] ...",
            (End::Later, false) => "a NO [UNAVAILABLE] ...",
            (End::Malformed, false) => "a BAD ...",
            (End::In, true) => "+OK ...",
            (End::Refused, true) => "-ERR [AUTH] ...",
            (End::Later, true) => "-ERR [SYS/TEMP] ...",
            (End::Malformed, true) => "-ERR the response does not fit the mechanism",
        }
    }
}

async fn setting() -> (Rig, TestIssuer, TestKey) {
    let key = TestKey::es256("a");
    let issuer = TestIssuer::new(&[&key]).await;
    let tokens = TokenVerifier::new(issuer.settings()).unwrap();
    (Rig::with_tokens(tokens).await, issuer, key)
}

fn door(pop3: bool) -> Door {
    Door {
        pop3,
        ..Door::default()
    }
}

/// The error that the client was shown, if any, and the last line.
async fn login(
    wire: &mut Wire,
    (pop3, early): (bool, bool),
    (mechanism, user, token): (Mechanism, &str, &str),
) -> (String, String) {
    let mut client = SaslClient::new(mechanism, user, token, &ChannelBindings::default());
    let verb = if pop3 { "AUTH" } else { "a AUTHENTICATE" };
    let mut line = format!("{verb} {}", mechanism.name());
    if early {
        line += &format!(" {}", STANDARD.encode(client.initial().unwrap()));
    }
    wire.send(format!("{line}\r\n").as_bytes()).await;
    let mut shown = String::new();
    loop {
        let line = wire.line().await.unwrap();
        let Some(challenge) = line.strip_prefix("+ ") else {
            return (shown, line);
        };
        let challenge = STANDARD.decode(challenge).unwrap();
        shown += std::str::from_utf8(&challenge).unwrap();
        let response = client.respond(&challenge).unwrap();
        wire.send(format!("{}\r\n", STANDARD.encode(response)).as_bytes())
            .await;
    }
}

/// Tries it in each way there is.
async fn assert_ends(rig: &Rig, what: &str, user: &str, token: &str, end: End) {
    for mechanism in [Mechanism::OAuthBearer, Mechanism::XOAuth2] {
        for pop3 in [false, true] {
            for early in [false, true] {
                let mut wire = rig.connect(door(pop3));
                wire.line().await.unwrap();
                let how = (mechanism, user, token);
                let (shown, last) = login(&mut wire, (pop3, early), how).await;
                assert!(
                    is_like(&last, end.said(pop3)),
                    "{what}, {mechanism}, pop3: {pop3}, early: {early}: {last}"
                );
                // RFC 7628 §3.2.2: who is refused hears what would do.
                assert_eq!(
                    shown.contains("\"scope\":\"mail\""),
                    end == End::Refused,
                    "{shown}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_good_token_lets_in_and_no_other_does() {
    let (rig, issuer, key) = setting().await;
    let good = key.sign(&issuer.claims(USER));
    assert_ends(&rig, "a good one", USER, &good, End::In).await;
    assert_ends(&rig, "in capitals", "USER1@EXAMPLE.TEST", &good, End::In).await;
    for (what, token) in issuer.bad_tokens(&key, USER) {
        assert_ends(&rig, what, USER, &token, End::Refused).await;
    }
    assert_ends(&rig, "another user's", OTHER, &good, End::Refused).await;
    let long = "x".repeat(TOKEN_LEN_MAX + 1);
    assert_ends(&rig, "too long", USER, &long, End::Malformed).await;
    let odd = "not a token";
    assert_ends(&rig, "with spaces", USER, odd, End::Malformed).await;
}

#[tokio::test]
async fn who_is_kept_out_is_kept_out_with_a_token_too() {
    let (rig, issuer, key) = setting().await;
    let token = key.sign(&issuer.claims(OTHER));
    assert_ends(&rig, "before", OTHER, &token, End::In).await;
    let disable = MetaCommand::SetEnabled {
        address: Address::parse(OTHER).unwrap(),
        enabled: false,
    };
    let reply = rig.twin.command(disable).await.unwrap();
    assert!(!matches!(reply, MetaReply::Refused(_)), "{reply:?}");
    assert_ends(&rig, "after", OTHER, &token, End::Refused).await;
}

#[tokio::test]
async fn keys_change_and_issuers_go_away() {
    let (rig, issuer, old) = setting().await;
    issuer.set_away(true);
    let first = old.sign(&issuer.claims(USER));
    assert_ends(&rig, "keys that were never read", USER, &first, End::Later).await;
    issuer.set_away(false);
    assert_ends(&rig, "keys that can be read", USER, &first, End::In).await;

    let new = TestKey::ed25519("b");
    let second = new.sign(&issuer.claims(USER));
    assert_ends(
        &rig,
        "a key that is not published",
        USER,
        &second,
        End::Refused,
    )
    .await;
    issuer.publish(&[&new]);
    assert_ends(&rig, "a new key", USER, &second, End::In).await;

    issuer.set_away(true);
    assert_ends(&rig, "a known key", USER, &second, End::In).await;
    let third = TestKey::es256("c").sign(&issuer.claims(USER));
    assert_ends(&rig, "who knows", USER, &third, End::Later).await;
    // What a known key says is not good, the issuer need not be asked about.
    for (what, token) in issuer.bad_tokens(&new, USER) {
        if what == "it has expired" {
            assert_ends(&rig, what, USER, &token, End::Refused).await;
        }
    }
}

#[tokio::test]
async fn an_issuer_can_be_asked() {
    let dir = tempfile::tempdir().unwrap();
    let issuer = TestIssuer::new(&[]).await;
    let settings = issuer.introspection_settings(dir.path());
    let rig = Rig::with_tokens(TokenVerifier::new(settings).unwrap()).await;
    issuer.know("opaque-1", &issuer.claims(USER));
    assert_ends(&rig, "one it knows", USER, "opaque-1", End::In).await;
    assert_ends(&rig, "another user's", OTHER, "opaque-1", End::Refused).await;
    assert_ends(&rig, "one it does not know", USER, "opaque-2", End::Refused).await;
    issuer.set_away(true);
    assert_ends(&rig, "one it said is good", USER, "opaque-1", End::In).await;
    assert_ends(
        &rig,
        "one that it cannot be asked about",
        USER,
        "opaque-3",
        End::Later,
    )
    .await;
}

/// By the rule that passwords go by.
#[tokio::test]
async fn tokens_are_wanted_under_tls_and_only_with_an_issuer() {
    let (rig, issuer, key) = setting().await;
    let starttls = Door {
        plaintext_login: false,
        starttls: true,
        ..Door::default()
    };
    let good = key.sign(&issuer.claims(USER));
    let how = (Mechanism::XOAuth2, USER, good.as_str());
    let mut wire = rig.connect(starttls);
    wire.play("S: * OK [CAPABILITY ... STARTTLS LOGINDISABLED] ...")
        .await;
    let (_, last) = login(&mut wire, (false, true), how).await;
    assert!(is_like(&last, "a NO [PRIVACYREQUIRED] ..."), "{last}");
    wire.play("C: b STARTTLS\nS: b OK ...").await;
    let mut wire = Wire::over(Box::new(tls(&rig, wire.stream).await), wire.session);
    wire.play(
        "C: c CAPABILITY
         S: * CAPABILITY ... SASL-IR ... AUTH=LOGIN AUTH=OAUTHBEARER AUTH=XOAUTH2
         S: c OK ...",
    )
    .await;
    let (_, last) = login(&mut wire, (false, true), how).await;
    assert!(is_like(&last, End::In.said(false)), "{last}");

    let mut wire = rig.connect(door(true));
    wire.play(
        "S: +OK ...
         C: CAPA
         S~ SASL SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER XOAUTH2
         S~ .
         C: QUIT
         S: +OK ...",
    )
    .await;
    let without = Rig::new().await;
    let mut wire = without.connect(Door::default());
    wire.line().await.unwrap();
    let (_, last) = login(&mut wire, (false, true), how).await;
    assert!(is_like(&last, "a NO [CANNOT] ..."), "{last}");
}

/// Who is told to come again is not asked about without end in one connection.
#[tokio::test]
async fn each_token_that_cannot_be_checked_is_an_attempt() {
    let (rig, issuer, key) = setting().await;
    issuer.set_away(true);
    let token = key.sign(&issuer.claims(USER));
    for pop3 in [false, true] {
        let mut wire = rig.connect(door(pop3));
        wire.line().await.unwrap();
        let how = (Mechanism::OAuthBearer, USER, token.as_str());
        for attempt in 1..10 {
            let (_, last) = login(&mut wire, (pop3, true), how).await;
            assert!(is_like(&last, End::Later.said(pop3)), "{attempt}: {last}");
        }
        let (_, last) = login(&mut wire, (pop3, true), how).await;
        let goodbye = match pop3 {
            true => "-ERR [AUTH] too many failed logins",
            false => "* BYE too many failed logins",
        };
        assert!(is_like(&last, goodbye), "{last}");
    }
}

/// Whether a client acknowledges that its token was refused, gives up, or talks nonsense: it has tried.
#[tokio::test]
async fn each_refused_token_is_an_attempt() {
    let (rig, issuer, _) = setting().await;
    let forged = TestKey::es256("a").sign(&issuer.claims(USER));
    for pop3 in [false, true] {
        let mut wire = rig.connect(door(pop3));
        wire.line().await.unwrap();
        let verb = if pop3 { "AUTH" } else { "a AUTHENTICATE" };
        let initial = STANDARD.encode(format!("n,,\x01auth=Bearer {forged}\x01\x01"));
        let mut last = String::new();
        for attempt in 1..=10 {
            wire.send(format!("{verb} OAUTHBEARER {initial}\r\n").as_bytes())
                .await;
            let challenge = wire.line().await.unwrap();
            assert!(challenge.starts_with("+ "), "{attempt}: {challenge}");
            let answer = ["*", "AQ==", "not base64!"][attempt % 3];
            wire.send(format!("{answer}\r\n").as_bytes()).await;
            last = wire.line().await.unwrap();
        }
        let goodbye = match pop3 {
            true => "-ERR [AUTH] too many failed logins",
            false => "* BYE too many failed logins",
        };
        assert!(is_like(&last, goodbye), "{last}");
    }
}
