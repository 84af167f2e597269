//! POP3 on the wire: RFC 1939 and its extensions.
#![allow(clippy::unwrap_used, reason = "a test")]

use mailrook_tests::client::Pop3;
use mailrook_tests::harness::{Fixture, Shared, mail};
use mailrook_tests::script::Script;

fn with_mail(count: usize) -> Fixture {
    let fixture = Shared::get().fixture();
    fixture.fill(count).unwrap();
    fixture
}

fn script(fixture: &Fixture) -> Script {
    fixture.named(Script::new(fixture.server.ports().pop3))
}

fn logged_in(count: usize) -> (Fixture, Script) {
    let fixture = with_mail(count);
    let mut script = script(&fixture);
    script.play("S: +OK ...\nC: USER <<user>>\nS: +OK...\nC: PASS <<pass>>\nS: +OK...");
    (fixture, script)
}

#[test]
fn capa_names_everything() {
    // RFC 2449 §6.
    let mut pop3 = Pop3::connect(Shared::get().ports().pop3).unwrap();
    let lines: Vec<String> = pop3
        .lines("CAPA")
        .unwrap()
        .iter()
        .map(|l| String::from_utf8_lossy(l).into_owned())
        .collect();
    let words = [
        "TOP",
        "UIDL",
        "USER",
        "SASL",
        "PIPELINING",
        "STLS",
        "RESP-CODES",
        "AUTH-RESP-CODE",
        "EXPIRE",
        "UTF8",
        "IMPLEMENTATION",
    ];
    for word in words {
        assert!(
            lines.iter().any(|l| l.split(' ').next() == Some(word)),
            "{word} not in {lines:?}"
        );
    }
}

#[test]
fn the_example_session() {
    // RFC 1939 §10.
    let (_, mut script) = logged_in(2);
    let octets = 2 * mail(1).len();
    script.play(&format!(
        "C: STAT
         S: +OK 2 {octets}
         C: LIST
         S: +OK...
         S: 1 <<size1>>
         S: 2 <<size2>>
         S: .
         C: LIST 2
         S: +OK 2 <<size2>>
         C: LIST 3
         S: -ERR ...
         C: RETR 1
         S: +OK...
         S: Date: ...
         S~ .
         C: DELE 1
         S: +OK...
         C: RETR 1
         S: -ERR ...
         C: STAT
         S: +OK 1 <<size2>>
         C: LIST
         S: +OK...
         S: 2 <<size2>>
         S: .
         C: RSET
         S: +OK...
         C: STAT
         S: +OK 2 {octets}
         C: NOOP
         S: +OK...
         C: QUIT
         S: +OK...
         END"
    ));
}

#[test]
fn deletions_are_done_at_quit_only() {
    let (fixture, mut script) = logged_in(3);
    script.play("C: DELE 2\nS: +OK...");
    drop(script);
    let mut pop3 = login_when_free(&fixture);
    assert_eq!(
        pop3.stat().unwrap().0,
        3,
        "a connection that breaks deletes nothing"
    );
    pop3.command("DELE 2").unwrap();
    pop3.quit().unwrap();
    let mut imap = fixture.client().unwrap();
    imap.ok("SELECT INBOX").unwrap();
    assert_eq!(imap.ok("UID SEARCH ALL").unwrap().search(), [1, 3]);
}

/// The maildrop of a connection that just broke may be locked a moment longer (RFC 1939 §8, `IN-USE` of RFC 2449).
fn login_when_free(fixture: &Fixture) -> Pop3 {
    for _ in 0..100 {
        if let Ok(pop3) = Pop3::login(
            fixture.server.ports().pop3,
            &fixture.account.user,
            &fixture.account.password,
        ) {
            return pop3;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the maildrop stays locked");
}

#[test]
fn uidl_never_changes() {
    // P4; RFC 1939 §7.
    let fixture = with_mail(3);
    let list = || {
        let mut pop3 = login_when_free(&fixture);
        let list = pop3.uidl().unwrap();
        pop3.quit().unwrap();
        list
    };
    let before = list();
    let ids: std::collections::BTreeSet<_> = before.iter().map(|(_, id)| id.clone()).collect();
    assert_eq!(ids.len(), 3);
    assert!(
        ids.iter().all(
            |id| (1..=70).contains(&id.len()) && id.bytes().all(|b| (0x21..=0x7e).contains(&b))
        )
    );
    let mut pop3 = login_when_free(&fixture);
    pop3.command("DELE 1").unwrap();
    assert_eq!(
        pop3.command("UIDL 2").unwrap().split(' ').nth(2),
        Some(before[1].1.as_str())
    );
    pop3.command("UIDL 9").unwrap_err();
    pop3.quit().unwrap();
    let after: Vec<String> = list().into_iter().map(|(_, id)| id).collect();
    assert_eq!(after, [before[1].1.clone(), before[2].1.clone()]);
}

#[test]
fn top() {
    let (_, mut script) = logged_in(1);
    script.play(
        "C: TOP 1 0
         S: +OK...
         S: Date: ...
         S: From: ...
         S: Subject: message 1
         S: To: ...
         S: Message-Id: ...
         S:
         S: .
         C: TOP 1 10
         S: +OK...
         S~ This is text number 1.
         S: .
         C: TOP 1
         S: -ERR ...
         C: TOP 2 1
         S: -ERR ...",
    );
}

#[test]
fn messages_come_octet_for_octet_and_dots_are_stuffed() {
    let fixture = Shared::get().fixture();
    let dotted = format!("{}.\r\n..\r\n.x\r\nend\r\n", mail(1));
    let mut imap = fixture.client().unwrap();
    imap.append("INBOX", "", dotted.as_bytes()).unwrap();
    let mut corpus = mailrook_tests::corpus::Corpus::new(9);
    let messages: Vec<_> = (0..20).map(|_| corpus.message()).collect();
    for message in &messages {
        imap.append("INBOX", "", &message.bytes).unwrap();
    }
    let mut pop3 = login_when_free(&fixture);
    assert_eq!(pop3.retrieve(1).unwrap(), dotted.as_bytes());
    for (at, message) in messages.iter().enumerate() {
        assert!(
            pop3.retrieve(at as u32 + 2).unwrap() == message.bytes,
            "message {} changed",
            message.id
        );
    }
    script(&fixture); // A second connection may be opened beside it.
}

#[test]
fn pipelining() {
    let (_, mut script) = logged_in(1);
    script.play(
        "C- STAT\\r\\nLIST 1\\r\\nNOOP\\r\\nQUIT\\r\\n
         S: +OK 1 <<size1>>
         S: +OK 1 <<size1>>
         S: +OK...
         S: +OK...
         END",
    );
}

#[test]
fn wrong_passwords_carry_a_response_code() {
    // RFC 3206 §4.
    let fixture = with_mail(0);
    script(&fixture).play(
        "S: +OK ...
         C: USER <<user>>
         S: +OK...
         C: PASS wrong
         S: -ERR [AUTH] ...
         C: USER nobody-here@<<domain>>
         S: +OK...
         C: PASS wrong
         S: -ERR [AUTH] ...
         C: USER <<user>>
         S: +OK...
         C: PASS <<pass>>
         S: +OK...",
    );
}

#[test]
fn sasl_plain() {
    // RFC 5034 §4.
    let fixture = with_mail(0);
    script(&fixture).play("S: +OK ...\nC: AUTH PLAIN <<plain>>\nS: +OK...\nC: STAT\nS: +OK 0 0");
    let fixture = with_mail(0);
    script(&fixture).play("S: +OK ...\nC: AUTH PLAIN\nS: +...\nC: <<plain>>\nS: +OK...");
    let fixture = with_mail(0);
    script(&fixture)
        .play("S: +OK ...\nC: AUTH PLAIN\nS: +...\nC: *\nS: -ERR ...\nC: AUTH NOSUCH\nS: -ERR ...");
}

#[test]
fn stls_and_nothing_before_it_survives() {
    // RFC 2595 §4.
    let fixture = with_mail(1);
    script(&fixture).play(
        "S: +OK ...
         C- STLS\\r\\nNOOP\\r\\n
         S: +OK...
         TLS
         C: USER <<user>>
         S: +OK...
         C: PASS <<pass>>
         S: +OK...
         C: STAT
         S: +OK 1 <<size1>>
         C: STLS
         S: -ERR ...",
    );
    fixture
        .named(Script::new(fixture.server.ports().pop3s))
        .tls_at_once()
        .play("S: +OK ...\nC: CAPA\nS: +OK...\nS~ .");
}

#[test]
fn commands_in_the_wrong_state() {
    let fixture = with_mail(1);
    script(&fixture).play(
        "S: +OK ...
         C: STAT
         S: -ERR ...
         C: RETR 1
         S: -ERR ...
         C: PASS <<pass>>
         S: -ERR ...
         C: NOSUCH
         S: -ERR ...
         C: USER <<user>>
         S: +OK...
         C: PASS <<pass>>
         S: +OK...
         C: USER <<user>>
         S: -ERR ...
         C: RETR 0
         S: -ERR ...
         C: RETR x
         S: -ERR ...
         C: RETR
         S: -ERR ...
         C: RETR 99999999999999999999
         S: -ERR ...
         C: DELE 1
         S: +OK...
         C: DELE 1
         S: -ERR ...",
    );
}

#[test]
fn the_maildrop_is_locked() {
    // RFC 1939 §8; RFC 2449 §8.1.2. Dovecot locks only when asked to.
    let (_, mut script) = logged_in(1);
    script.play(
        "S2: +OK ...
         C2: USER <<user>>
         S2: +OK...
         C2: PASS <<pass>>
         S2: -ERR [IN-USE] ...
         C: QUIT
         S: +OK...",
    );
}

#[test]
fn mail_that_comes_during_a_session_does_not_shift_numbers() {
    let (fixture, mut script) = logged_in(1);
    fixture.fill(1).unwrap();
    script.play("C: STAT\nS: +OK 1 <<size1>>\nC: LIST 2\nS: -ERR ...");
}
