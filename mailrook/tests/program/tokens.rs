//! Logins by a token of an identity provider, whose keys stand in a file.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::STANDARD};
use mailrook_oauth::TestKey;
use serde_json::{Value, json};

use crate::{
    by_hand::{Machines, Node},
    harness::Session,
};

const USER: &str = "user1@example.test";
const OTHER: &str = "user2@example.test";
const ISSUER: &str = "https://id.example.test/realms/mail";

/// A token of [`USER`]'s that ends so many seconds from now.
fn token(key: &TestKey, ends_in: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_secs()).unwrap();
    key.sign(&json!({
        "iss": ISSUER,
        "aud": "mail",
        "exp": now + ends_in,
        "scope": "openid mail",
        "email": USER,
        "email_verified": true,
    }))
}

/// A node that takes the tokens of an issuer with this key.
fn start(key: &TestKey) -> Machines {
    let mut machines = Machines::new(1);
    let keys = machines.data("keys.json");
    std::fs::write(&keys, json!({"keys": [key.jwk()]}).to_string()).unwrap();
    machines.nodes[0].configure(&format!(
        "[oauth]\nissuer = \"{ISSUER}\"\naudience = [\"mail\"]\nscope = \"mail\"\njwks_file = \"{}\"\n",
        keys.display()
    ));
    machines.start(1);
    machines.nodes[0].until_ready();
    machines.nodes[0].done(&["domain", "add", "example.test"]);
    for user in [USER, OTHER] {
        let add = ["account", "add", user, "--password-stdin"];
        let (code, printed, said) = machines.nodes[0].run_typing(&add, "not told to anybody");
        assert_eq!(code, 0, "{printed}{said}");
    }
    machines
}

/// The first message of each mechanism: RFC 7628 §3.1, and XOAUTH2's.
fn messages(token: &str) -> [(&'static str, String); 2] {
    let encode = |text: String| STANDARD.encode(text);
    [
        (
            "OAUTHBEARER",
            encode(format!("n,a={USER},\x01auth=Bearer {token}\x01\x01")),
        ),
        (
            "XOAUTH2",
            encode(format!("user={USER}\x01auth=Bearer {token}\x01\x01")),
        ),
    ]
}

/// Logs in by IMAP; gives the error that was shown, if any, and the last line.
fn imap(node: &Node, mechanism: &str, initial: &str) -> (Option<Value>, String) {
    let (mut session, greeting) = Session::open(node.port("imap"));
    assert!(greeting.starts_with("* OK"), "{greeting}");
    let command = format!("a AUTHENTICATE {mechanism} {initial}");
    conclude(&mut session, &command, "+ ")
}

/// The same by POP3.
fn pop3(node: &Node, mechanism: &str, initial: &str) -> (Option<Value>, String) {
    let (mut session, greeting) = Session::open(node.port("pop3"));
    assert!(greeting.starts_with("+OK"), "{greeting}");
    conclude(&mut session, &format!("AUTH {mechanism} {initial}"), "+ ")
}

/// The same to submit mail.
fn submission(node: &Node, mechanism: &str, initial: &str) -> (Option<Value>, String) {
    let (mut session, greeting) = Session::open(node.port("submission"));
    assert!(greeting.starts_with("220 "), "{greeting}");
    session.send("EHLO client.example.test");
    while session.line().starts_with("250-") {}
    conclude(&mut session, &format!("AUTH {mechanism} {initial}"), "334 ")
}

/// RFC 7628 §3.2.3: a client acknowledges its error before it hears the end. Who is let in is shown no challenge.
fn conclude(session: &mut Session, command: &str, goes_on: &str) -> (Option<Value>, String) {
    session.send(command);
    let line = session.line();
    let Some(challenge) = line.strip_prefix(goes_on) else {
        return (None, line);
    };
    let error = STANDARD.decode(challenge.trim_end()).unwrap();
    session.send("AQ==");
    (
        Some(serde_json::from_slice(&error).unwrap()),
        session.line(),
    )
}

#[test]
fn a_token_lets_in_its_user_and_nobody_else() {
    let key = TestKey::es256("a");
    let machines = start(&key);
    let node = &machines.nodes[0];

    let good = token(&key, 300);
    for (mechanism, message) in messages(&good) {
        let (error, last) = imap(node, mechanism, &message);
        assert_eq!(error, None, "{mechanism}");
        assert!(last.starts_with("a OK "), "{mechanism}: {last}");
        let (error, last) = pop3(node, mechanism, &message);
        assert_eq!(error, None, "{mechanism}");
        assert!(last.starts_with("+OK"), "{mechanism}: {last}");
        let (error, last) = submission(node, mechanism, &message);
        assert_eq!(error, None, "{mechanism}");
        assert!(last.starts_with("235 2.7.0 "), "{mechanism}: {last}");
    }

    let forged = token(&TestKey::es256("a"), 300);
    // Beyond what clocks may differ by.
    let expired = token(&key, -120);
    // One mechanism each, in turn: who fails often waits for long.
    for (bad, why, turn) in [
        (&forged, "its signature is wrong", 0),
        (&expired, "it has expired", 1),
    ] {
        let messages = messages(bad);
        let of = |turn: usize| &messages[turn % messages.len()];
        let (one, two) = (of(turn), of(turn + 1));
        for (mechanism, end, (error, last)) in [
            (
                one.0,
                "a NO [AUTHENTICATIONFAILED] ",
                imap(node, one.0, &one.1),
            ),
            (two.0, "-ERR [AUTH] ", pop3(node, two.0, &two.1)),
            (one.0, "535 5.7.8 ", submission(node, one.0, &one.1)),
        ] {
            let status = match mechanism {
                "XOAUTH2" => "401",
                _ => "invalid_token",
            };
            let error = error.expect("who is refused is shown what would do");
            assert_eq!(error["status"], status, "{why}");
            assert_eq!(error["scope"], "mail", "{why}");
            assert!(last.starts_with(end), "{why}: {last}");
        }
        assert!(node.log().contains(why), "the log says why: {why}");
    }
    // An account of somebody else's is not opened by it.
    let other = format!("user={OTHER}\x01auth=Bearer {good}\x01\x01");
    let (error, last) = imap(node, "XOAUTH2", &STANDARD.encode(other));
    assert!(error.is_some() && last.starts_with("a NO "), "{last}");

    let log = node.log();
    for token in [&good, &forged, &expired] {
        let (_, signature) = token.rsplit_once('.').unwrap();
        assert!(!log.contains(signature), "a token is in the log");
    }
}
