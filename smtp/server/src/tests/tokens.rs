//! Logins by a token before mail is submitted: with OAUTHBEARER and XOAUTH2, with an initial response and without.

use base64::{Engine, engine::general_purpose::STANDARD};
use mailrook_oauth::{TestIssuer, TestKey, TokenVerifier};
use mailrook_sasl::{Client as SaslClient, Mechanism, TOKEN_LEN_MAX};
use mailrook_smtp_proto::Service;
use mailrook_store_api::{
    Directory,
    meta::{MetaCommand, MetaReply},
};
use mailrook_types::Address;

use super::rig::{Client, Rig};

const USER: &str = "user1@example.test";
const OTHER: &str = "user2@example.test";

/// RFC 4954 §4, §6.
const IN: &str = "235 2.7.0";
const REFUSED: &str = "535 5.7.8";
const LATER: &str = "454 4.7.0";
const MALFORMED: &str = "501 5.5.2";

async fn setting() -> (Rig, TestIssuer, TestKey) {
    let key = TestKey::es256("a");
    let issuer = TestIssuer::new(&[&key]).await;
    let tokens = TokenVerifier::new(issuer.settings()).unwrap();
    (Rig::with_tokens(tokens).await, issuer, key)
}

/// A client under TLS, with what it was offered.
async fn secure(rig: &Rig) -> (Client, String) {
    let mut client = rig.connect(Service::Submission);
    assert!(!client.hello().await.contains("AUTH"));
    let mut client = client.start_tls(&rig.certificate).await;
    client.send(b"EHLO client.test\r\n").await;
    let offer = client.reply().await;
    (client, offer)
}

/// The error that the client was shown, if any, and the last reply.
async fn login(
    client: &mut Client,
    early: bool,
    (mechanism, user, token): (Mechanism, &str, &str),
) -> (String, String) {
    let mut sasl = SaslClient::new(mechanism, user, token, &client.bindings);
    let mut line = format!("AUTH {}", mechanism.name());
    if early {
        line += &format!(" {}", STANDARD.encode(sasl.initial().unwrap()));
    }
    client.send(format!("{line}\r\n").as_bytes()).await;
    let mut shown = String::new();
    loop {
        let reply = client.reply().await;
        let Some(challenge) = reply.strip_prefix("334 ") else {
            return (shown, reply);
        };
        let challenge = STANDARD.decode(challenge).unwrap();
        shown += std::str::from_utf8(&challenge).unwrap();
        let response = sasl.respond(&challenge).unwrap();
        client
            .send(format!("{}\r\n", STANDARD.encode(response)).as_bytes())
            .await;
    }
}

/// Tries it in each way there is.
async fn assert_ends(rig: &Rig, what: &str, user: &str, token: &str, end: &str) {
    for mechanism in [Mechanism::OAuthBearer, Mechanism::XOAuth2] {
        for early in [false, true] {
            let (mut client, _) = secure(rig).await;
            let how = (mechanism, user, token);
            let (shown, last) = login(&mut client, early, how).await;
            assert!(
                last.starts_with(end),
                "{what}, {mechanism}, early: {early}: {last}"
            );
            // RFC 7628 §3.2.2: who is refused hears what would do.
            assert_eq!(
                shown.contains("\"scope\":\"mail\""),
                end == REFUSED,
                "{shown}"
            );
        }
    }
}

#[tokio::test]
async fn a_good_token_lets_in_and_no_other_does() {
    let (rig, issuer, key) = setting().await;
    let good = key.sign(&issuer.claims(USER));
    assert_ends(&rig, "a good one", USER, &good, IN).await;
    for (what, token) in issuer.bad_tokens(&key, USER) {
        assert_ends(&rig, what, USER, &token, REFUSED).await;
    }
    assert_ends(&rig, "another user's", OTHER, &good, REFUSED).await;
    let long = "x".repeat(TOKEN_LEN_MAX + 1);
    assert_ends(&rig, "too long", USER, &long, MALFORMED).await;
    let disable = MetaCommand::SetEnabled {
        address: Address::parse(USER).unwrap(),
        enabled: false,
    };
    let reply = rig.twin.command(disable).await.unwrap();
    assert!(!matches!(reply, MetaReply::Refused(_)), "{reply:?}");
    assert_ends(&rig, "of a disabled account", USER, &good, REFUSED).await;
}

#[tokio::test]
async fn keys_change_and_issuers_go_away() {
    let (rig, issuer, _) = setting().await;
    let new = TestKey::es256("b");
    let token = new.sign(&issuer.claims(USER));
    issuer.set_away(true);
    assert_ends(&rig, "who knows", USER, &token, LATER).await;
    issuer.set_away(false);
    assert_ends(&rig, "an unknown key", USER, &token, REFUSED).await;
    issuer.publish(&[&new]);
    assert_ends(&rig, "a new key", USER, &token, IN).await;
    issuer.set_away(true);
    assert_ends(&rig, "a known key", USER, &token, IN).await;
}

#[tokio::test]
async fn a_token_opens_what_a_password_opens() {
    let (rig, issuer, key) = setting().await;
    let (mut client, offer) = secure(&rig).await;
    let all = "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER XOAUTH2";
    assert!(offer.contains(all), "{offer}");
    let token = key.sign(&issuer.claims(USER));
    let how = (Mechanism::OAuthBearer, USER, token.as_str());
    let (_, last) = login(&mut client, true, how).await;
    assert!(last.starts_with(IN), "{last}");
    client
        .talk(
            "
        C: MAIL FROM:<user2@example.test>
        S: 553 5.7.1
        C: MAIL FROM:<user1@example.test>
        S: 250",
        )
        .await;
}

#[tokio::test]
async fn tokens_are_wanted_under_tls_and_only_with_an_issuer() {
    let (rig, _, _) = setting().await;
    let mut client = rig.connect(Service::Submission);
    client.hello().await;
    client.talk("C: AUTH XOAUTH2\nS: 538 5.7.11").await;
    let without = Rig::new().await;
    let mut client = without.connect(Service::Submission);
    client.hello().await;
    client.talk("C: AUTH XOAUTH2\nS: 504").await;
    let (mut client, offer) = secure(&without).await;
    assert!(!offer.contains("OAUTH"), "{offer}");
    client.talk("C: AUTH OAUTHBEARER\nS: 504").await;
}
