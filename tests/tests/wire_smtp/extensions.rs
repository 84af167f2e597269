//! What EHLO announces, and that it holds.

use mailrook_tests::client::Smtp;
use mailrook_tests::script::Script;

use crate::{fixture, hello, inbox};

#[test]
fn every_promised_extension_is_announced() {
    let smtp = Smtp::connect(fixture().server.ports().smtp).unwrap();
    for keyword in [
        "PIPELINING",
        "SIZE",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "BINARYMIME",
        "ENHANCEDSTATUSCODES",
        "STARTTLS",
        "LIMITS",
    ] {
        let there = smtp
            .capabilities
            .iter()
            .any(|c| c.split(' ').next() == Some(keyword));
        assert!(there, "{keyword} not in {:?}", smtp.capabilities);
    }
}

#[test]
fn helo_knows_no_extensions() {
    let fixture = fixture();
    fixture
        .named(Script::new(fixture.server.ports().smtp))
        .play(
            "S: 220 ... ...
         C: HELO client.example.test
         S: 250 ...
         C: MAIL FROM:<a@x.example>
         S: 250 ...
         C: RCPT TO:<<<user>>>
         S: 250 ...
         C: DATA
         S: 354 ...
         C: Subject: by HELO
         C:
         C: text
         C: .
         S: 250 ...
         C: QUIT
         S: 221 ...
         END",
        );
    assert_eq!(inbox(&fixture).len(), 1);
}

#[test]
fn pipelining_answers_in_order() {
    // RFC 2920 §3.1.
    let (fixture, mut script) = hello();
    script.play(
        "C- MAIL FROM:<a@x.example>\\r\\nRCPT TO:<<<user>>>\\r\\nRCPT TO:<nobody-here@<<domain>>>\\r\\nDATA\\r\\n
         S: 250 2...
         S: 250 2...
         S: 550 5.1.1 ...
         S: 354 ...
         C- Subject: x\\r\\n\\r\\ntext\\r\\n.\\r\\nNOOP\\r\\nQUIT\\r\\n
         S: 250 2...
         S: 250 2...
         S: 221 2...
         END",
    );
    assert_eq!(inbox(&fixture).len(), 1);
}

#[test]
fn data_without_valid_recipient() {
    // RFC 2920 §3.1: 503 or 554, and the next transaction works.
    let (fixture, mut script) = hello();
    script.play(
        "C: MAIL FROM:<a@x.example>
         S: 250 ...
         C: RCPT TO:<nobody-here@<<domain>>>
         S: 550 5.1.1 ...
         C: DATA
         S: 5...
         C: RSET
         S: 250 ...
         C: MAIL FROM:<a@x.example>
         S: 250 ...
         C: RCPT TO:<<<user>>>
         S: 250 ...
         C: DATA
         S: 354 ...
         C: .
         S: 250 ...",
    );
    assert_eq!(inbox(&fixture).len(), 1);
}

#[test]
fn size_is_checked_at_mail_and_while_data_comes() {
    // RFC 1870 §6.1.
    let (_, mut script) = hello();
    script.play(
        "C: MAIL FROM:<a@x.example> SIZE=99999999999
         S: 552 5.3.4 ...
         C: MAIL FROM:<a@x.example> SIZE=abc
         S: 501 5.5.4 ...
         C: MAIL FROM:<a@x.example> SIZE=1000
         S: 250 ...",
    );
}

#[test]
fn eight_bit_and_utf8() {
    // RFC 6152, RFC 6531 §3.4.
    let (fixture, mut script) = hello();
    script.play(
        "C: MAIL FROM:<grüße@x.example> BODY=8BITMIME SMTPUTF8
         S: 250 ...
         C: RCPT TO:<<<user>>>
         S: 250 ...
         C: DATA
         S: 354 ...
         C: Subject: Grüße
         C:
         C: Füße
         C: .
         S: 250 ...",
    );
    assert!(inbox(&fixture)[0].contains("Füße"));
    let (_, mut script) = hello();
    script.play(
        "C: MAIL FROM:<grüße@x.example>\nS: 5...\nC: MAIL FROM:<a@x.example> BODY=9BIT\nS: 501 ...",
    );
}

#[test]
fn chunking() {
    // RFC 3030 §4.2.
    let (fixture, mut script) = hello();
    script.play(
        "C: MAIL FROM:<a@x.example> BODY=BINARYMIME
         S: 250 ...
         C: RCPT TO:<<<user>>>
         S: 250 ...
         C- BDAT 24\\r\\nSubject: in pieces\\r\\n\\r\\nab
         S: 250 ...
         C- BDAT 5\\r\\nc.\\r\\n.
         S: 250 ...
         C- BDAT 2 LAST\\r\\n\\r\\n
         S: 250 ...
         C: MAIL FROM:<a@x.example>
         S: 250 ...
         C: RCPT TO:<<<user>>>
         S: 250 ...
         C: BDAT 0 LAST
         S: 250 ...",
    );
    let mail = inbox(&fixture);
    assert_eq!(mail.len(), 2);
    assert!(mail[0].ends_with("\r\n\r\nabc.\r\n.\r\n"), "{:?}", mail[0]);
}

#[test]
fn bdat_and_data_do_not_mix() {
    // RFC 3030 §2: DATA after BDAT is 503.
    let (_, mut script) = hello();
    script.play(
        "C: MAIL FROM:<a@x.example>
         S: 250 ...
         C: RCPT TO:<<<user>>>
         S: 250 ...
         C- BDAT 3\\r\\nabc
         S: 250 ...
         C: DATA
         S: 503 ...
         C: RSET
         S: 250 ...
         C: BDAT 99999999999999999999
         S: 5...",
    );
}

#[test]
fn data_is_refused_for_binarymime() {
    // RFC 3030 §3.
    let (_, mut script) = hello();
    script.play(
        "C: MAIL FROM:<a@x.example> BODY=BINARYMIME
         S: 250 ...
         C: RCPT TO:<<<user>>>
         S: 250 ...
         C: DATA
         S: 503 ...",
    );
}

#[test]
fn dsn_is_for_those_whose_reports_can_be_delivered() {
    // RFC 3461 §5: who announces DSN answers for the reports. Until mail goes out, only a sender of ours gets one; a
    // relaying peer that is not offered DSN tells its sender "relayed" itself (§5.2.2).
    let (_, mut script) = hello();
    script.play(
        "C: EHLO client.example.test
         S! 250...DSN
         S: 250 ...
         C: MAIL FROM:<a@x.example> RET=HDRS
         S: 555 5.5.4 ...",
    );
}

#[test]
fn starttls_and_nothing_before_it_survives() {
    // RFC 3207 §4.2.
    let (fixture, mut script) = hello();
    script.play(
        "C: STARTTLS
         S: 220 ...
         TLS
         C: MAIL FROM:<a@x.example>
         S: 503 ...
         C: EHLO client.example.test
         S! 250...STARTTLS
         S: 250 ...
         C: MAIL FROM:<a@x.example>
         S: 250 ...
         C: RCPT TO:<<<user>>>
         S: 250 ...
         C: DATA
         S: 354 ...
         C: .
         S: 250 ...
         C: STARTTLS
         S: 5...",
    );
    let mail = inbox(&fixture);
    // RFC 3848: with ESMTPS.
    assert!(mail[0].contains("with ESMTPS"), "{}", mail[0]);
    // What comes in the same packet is dropped, or the command is refused for it.
    let (_, mut script) = hello();
    script.play("C- STARTTLS\\r\\nMAIL FROM:<injected@x.example>\\r\\n\nS: <<code>> ...");
    if script.value("code") == "220" {
        script.play(
            "TLS
             C: EHLO client.example.test
             S! 250 2.1.0 ...
             S~ 250 ...
             C: RCPT TO:<<<user>>>
             S: 503 ...",
        );
    } else {
        assert!(script.value("code").starts_with('5'));
    }
}

#[test]
fn unknown_and_misplaced_commands() {
    let (_, mut script) = hello();
    script.play(
        "C: NOSUCH
         S: 500 5.5...
         C: RCPT TO:<<<user>>>
         S: 503 5.5.1 ...
         C: DATA
         S: 503 5.5.1 ...
         C: MAIL FROM:<a@x.example>
         S: 250 ...
         C: MAIL FROM:<b@x.example>
         S: 503 5.5.1 ...
         C: RCPT TO:no-brackets-and-no-at
         S: 501 ...
         C: RCPT TO:<>
         S: 5...
         C: VRFY <<user>>
         S: 252 ...
         C: EXPN list
         S: 5...
         C: HELP
         S: 214 ...
         C: NOOP anything
         S: 250 ...
         C: QUIT
         S: 221 ...
         END",
    );
}

#[test]
fn mail_before_hello_is_refused() {
    let fixture = fixture();
    fixture
        .named(Script::new(fixture.server.ports().smtp))
        .play(
            "S: 220 ...
         C: MAIL FROM:<a@x.example>
         S: 503 ...
         C: EHLO [127.0.0.1]
         S~ 250 ...
         C: MAIL FROM:<a@x.example>
         S: 250 ...
         C: EHLO again.example.test
         S~ 250 ...
         C: RCPT TO:<<<user>>>
         S: 503 ...",
        );
}

#[test]
fn ehlo_is_multi_line_in_good_order() {
    let (_, mut script) = hello();
    script.play("C: EHLO again.example.test\nS: 250-...\nS~ 250 ...\nC: RSET\nS: 250 2...");
}
