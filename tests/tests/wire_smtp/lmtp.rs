//! LMTP (RFC 2033).

use mailrook_tests::client::{Smtp, dot_stuffed};
use mailrook_tests::harness::mail;
use mailrook_tests::script::Script;

use crate::{fixture, inbox};

#[test]
fn one_answer_for_each_recipient() {
    // RFC 2033 §4.2, the example.
    let (first, second) = (fixture(), fixture());
    first
        .named(Script::new(first.server.ports().lmtp))
        .with("second", &second.account.user)
        .play(
            "S: 220 ...
         C: LHLO client.example.test
         S~ 250 ...
         C: MAIL FROM:<chris@x.example>
         S: 250 ...
         C: RCPT TO:<<<user>>>
         S: 250 ...
         C: RCPT TO:<nobody-here@<<domain>>>
         S: 550 5.1.1 ...
         C: RCPT TO:<<<second>>>
         S: 250 ...
         C: DATA
         S: 354 ...
         C: Subject: two
         C:
         C: text
         C: .
         S: 250 ...
         S: 250 ...
         C: QUIT
         S: 221 ...
         END",
        );
    assert_eq!((inbox(&first).len(), inbox(&second).len()), (1, 1));
}

#[test]
fn lhlo_announces_what_lmtp_needs() {
    // RFC 2033 §5.
    let lmtp = Smtp::connect_lmtp(fixture().server.ports().lmtp).unwrap();
    for keyword in ["PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"] {
        assert!(
            lmtp.capabilities.iter().any(|c| c == keyword),
            "{keyword} not in {:?}",
            lmtp.capabilities
        );
    }
}

#[test]
fn helo_and_ehlo_are_refused() {
    // RFC 2033 §4.1.
    let fixture = fixture();
    fixture
        .named(Script::new(fixture.server.ports().lmtp))
        .play(
            "S: 220 ...
         C: HELO x.example
         S: 5...
         C: EHLO x.example
         S: 5...
         C: LHLO x.example
         S~ 250 ...",
        );
}

#[test]
fn data_without_recipient_is_503() {
    // RFC 2033 §4.2.
    let fixture = fixture();
    fixture
        .named(Script::new(fixture.server.ports().lmtp))
        .play(
            "S: 220 ...
         C: LHLO x.example
         S~ 250 ...
         C: MAIL FROM:<a@x.example>
         S: 250 ...
         C: DATA
         S: 503 ...",
        );
}

#[test]
fn lhlo_is_not_smtp() {
    let fixture = fixture();
    fixture
        .named(Script::new(fixture.server.ports().smtp))
        .play("S: 220 ...\nC: LHLO x.example\nS: 5...");
}

#[test]
fn a_retry_after_a_lost_answer_and_the_same_on_purpose() {
    let fixture = fixture();
    let (user, stuffed) = (
        fixture.account.user.as_str(),
        dot_stuffed(mail(3).as_bytes()),
    );
    let port = fixture.server.ports().lmtp;
    let mut lmtp = Smtp::connect_lmtp(port).unwrap();
    lmtp.lmtp_begin("a@x.example", &[user], &stuffed).unwrap();
    for _ in 0..500 {
        if inbox(&fixture).len() == 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(lmtp);
    let mut lmtp = Smtp::connect_lmtp(port).unwrap();
    lmtp.lmtp_stuffed("a@x.example", &[user], &stuffed)
        .unwrap()
        .remove(0)
        .expect(250)
        .unwrap();
    assert_eq!(inbox(&fixture).len(), 1, "the retry made a second copy");
    lmtp.lmtp_stuffed("a@x.example", &[user], &stuffed)
        .unwrap()
        .remove(0)
        .expect(250)
        .unwrap();
    lmtp.quit().unwrap();
    assert_eq!(
        inbox(&fixture).len(),
        2,
        "the same bytes after a confirmed answer are another message"
    );
}

#[test]
fn return_path_is_the_envelope_sender() {
    let fixture = fixture();
    let mut lmtp = Smtp::connect_lmtp(fixture.server.ports().lmtp).unwrap();
    let replies = lmtp
        .lmtp_stuffed(
            "",
            &[&fixture.account.user],
            &dot_stuffed(mail(1).as_bytes()),
        )
        .unwrap();
    assert!(replies[0].is_positive());
    let got = inbox(&fixture).remove(0);
    assert!(
        got.starts_with("Return-Path: <>\r\n") && got.contains("with LMTP"),
        "{got}"
    );
    assert!(got.ends_with(&mail(1)));
}
