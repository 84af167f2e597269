//! SIZE, SMTPUTF8, DSN, LIMITS, CHUNKING and BINARYMIME.

use crate::{
    Service, SessionConfig,
    conversation::{config, converse, submission},
};

/// EHLO without its long answer: HELO's state, with extensions.
const HELLO: &str = "
    S: 220 *
    C: EHLO c.test
    S: 250-mx*
    S: 250-PIPELINING
    S: 250-8*
    S: 250-SMTPUTF8
    S: 250-C*
    S: 250-B*
    S: 250-E*
    S: 250-H*
    S: 250-S*
";

fn greeted(config: &SessionConfig, script: &str) -> crate::conversation::Driver {
    converse(config, &format!("{HELLO} S: 250 L*\n {script}"))
}

#[test]
fn size_is_checked_when_announced_and_when_sent() {
    let config = SessionConfig {
        size_max: 10,
        ..config(Service::Mx)
    };
    let driver = greeted(
        &config,
        "
        C: MAIL FROM:<a@c.test> SIZE=11
        S: 552 5.3.4 the message is larger than 10 octets
        C: MAIL FROM:<a@c.test> SIZE=10
        S: 250 *
        C: RCPT TO:<u@example.test>
        S: 250 *
        C: DATA
        S: 354 *
        C: 12345678
        C: .
        S: 250 2.0.0 stored 10
        C: MAIL FROM:<a@c.test>
        S: 250 *
        C: RCPT TO:<u@example.test>
        S: 250 *
        C: DATA
        S: 354 *
        C: 123456789
        C: 123456789
        C: .
        S: 552 5.3.4 *
        C: NOOP
        S: 250 *
    ",
    );
    assert_eq!(driver.mails.len(), 1);
    assert!(driver.events.contains(&"Aborted(TooLarge)".to_owned()));
}

#[test]
fn utf8_addresses_need_smtputf8() {
    greeted(
        &config(Service::Mx),
        "
        C: MAIL FROM:<jürgen@c.test>
        S: 550 5.6.7 *
        C: MAIL FROM:<a@c.test>
        S: 250 *
        C: RCPT TO:<jürgen@example.test>
        S: 553 5.6.7 *
        C: RSET
        S: 250 *
        C: MAIL FROM:<jürgen@c.test> SMTPUTF8
        S: 250 *
        C: RCPT TO:<jürgen@example.test>
        S: 250 *
    ",
    );
}

#[test]
fn dsn_parameters_only_where_offered() {
    greeted(
        &config(Service::Mx),
        "
        C: MAIL FROM:<a@c.test> RET=HDRS
        S: 555 5.5.4 *
        C: MAIL FROM:<a@c.test> AUTH=<>
        S: 555 5.5.4 *
        C: MAIL FROM:<a@c.test>
        S: 250 *
        C: RCPT TO:<u@example.test> NOTIFY=NEVER
        S: 555 5.5.4 *
    ",
    );
    let config = SessionConfig {
        dsn: true,
        ..config(Service::Mx)
    };
    let driver = converse(
        &config,
        &format!(
            "{HELLO}
        S: 250-L*
        S: 250 DSN
        C: MAIL FROM:<a@c.test> RET=HDRS ENVID=x+2B1
        S: 250 *
        C: RCPT TO:<u@example.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;v+2B@c.test
        S: 250 *
    "
        ),
    );
    assert!(
        driver.events[1].contains("envid: Some(\"x+1\")"),
        "{}",
        driver.events[1]
    );
    assert!(
        driver.events[2].contains("v+@c.test"),
        "{}",
        driver.events[2]
    );
}

#[test]
fn limits_are_kept() {
    let config = SessionConfig {
        rcpt_max: 2,
        mail_max: 1,
        ..config(Service::Mx)
    };
    let driver = greeted(
        &config,
        "
        C: MAIL FROM:<a@c.test>
        S: 250 *
        C: RCPT TO:<u@example.test>
        S: 250 *
        C: RCPT TO:<unknown@example.test>
        S: 550 *
        C: RCPT TO:<v@example.test>
        S: 250 *
        C: RCPT TO:<w@example.test>
        S: 452 4.5.3 too many recipients
        C: DATA
        S: 354 *
        C: .
        S: 250 *
        C: MAIL FROM:<a@c.test>
        S: 421 4.7.0 *
    ",
    );
    assert!(driver.closed);
}

#[test]
fn chunks_make_a_message() {
    let driver = greeted(
        &config(Service::Mx),
        "
        C: MAIL FROM:<a@c.test> BODY=BINARYMIME
        S: 250 *
        C: RCPT TO:<u@example.test>
        S: 250 *
        C: DATA
        S: 503 5.5.1 BODY=BINARYMIME needs BDAT
        C: BDAT 7
        c: a\\r\\n.\\r\\n
        c: \\0
        S: 250 2.0.0 7 octets received
        C: RCPT TO:<v@example.test>
        S: 503 *
        C: DATA
        S: 503 *
        C: BDAT 3
        c: \\nb\\r
        S: 250 2.0.0 3 octets received
        C: BDAT 0 LAST
        S: 250 2.0.0 stored 10
        C: MAIL FROM:<a@c.test>
        C: RCPT TO:<u@example.test>
        C: BDAT 8 LAST
        C: ..text
        S: 250 *
        S: 250 *
        S: 250 2.0.0 stored 8
    ",
    );
    assert_eq!(driver.mails, [&b"a\r\n.\r\n\0\nb\r"[..], b"..text\r\n"]);
}

#[test]
fn chunks_nobody_wants_are_dropped() {
    let driver = greeted(
        &config(Service::Mx),
        "
        C: BDAT 6 LAST
        C: QUIT
        S: 503 5.5.1 MAIL first
        C: MAIL FROM:<a@c.test>
        S: 250 *
        C: BDAT 6
        C: QUIT
        S: 503 5.5.1 RCPT first
        C: BDAT 6 LAST
        C: QUIT
        S: 503 *
        C: MAIL FROM:<a@c.test>
        S: 250 *
        C: RCPT TO:<nodata@example.test>
        S: 250 *
        C: BDAT 6
        C: QUIT
        S: 451 4.3.0 later
        C: BDAT 6 LAST
        C: QUIT
        S: 503 *
        C: NOOP
        S: 250 *
    ",
    );
    assert!(driver.mails.is_empty() && !driver.closed);
}

#[test]
fn chunks_are_held_to_line_ends_and_size() {
    let config = SessionConfig {
        size_max: 20,
        ..config(Service::Mx)
    };
    let driver = greeted(
        &config,
        "
        C: MAIL FROM:<a@c.test>
        C: RCPT TO:<u@example.test>
        C: BDAT 4
        c: a\\nbc
        S: 250 *
        S: 250 *
        S: 550 5.6.11 *
        C: BDAT 3 LAST
        c: abc
        S: 550 5.6.11 *
        C: MAIL FROM:<a@c.test>
        C: RCPT TO:<u@example.test>
        C: BDAT 2 LAST
        c: a\\r
        S: 250 *
        S: 250 *
        S: 550 5.6.11 *
        C: MAIL FROM:<a@c.test>
        C: RCPT TO:<u@example.test>
        C: BDAT 12
        C: 1234567890
        S: 250 *
        S: 250 *
        S: 250 *
        C: BDAT 12
        C: 1234567890
        S: 552 5.3.4 *
        C: RSET
        S: 250 *
    ",
    );
    assert!(driver.mails.is_empty());
    assert_eq!(
        driver
            .events
            .iter()
            .filter(|event| event.starts_with("Aborted"))
            .count(),
        3
    );
}

#[test]
fn lmtp_answers_the_last_chunk_for_each_recipient() {
    let driver = converse(
        &config(Service::Lmtp),
        &format!(
            "{}
        S: 250 L*
        C: MAIL FROM:<a@c.test>
        C: RCPT TO:<u@example.test>
        C: RCPT TO:<v@example.test>
        C: BDAT 3
        c: x\\r\\n
        S: 250 *
        S: 250 *
        S: 250 *
        S: 250 2.0.0 3 octets received
        C: BDAT 0 LAST
        S: 250 2.0.0 stored 3
        S: 250 2.0.0 stored 3
    ",
            HELLO.replace("EHLO", "LHLO")
        ),
    );
    assert_eq!(driver.mails.len(), 1);
}

#[test]
fn submission_offers_mechanisms_without_tls_only_if_told() {
    let config = SessionConfig {
        mechanisms_plaintext: vec!["PLAIN".into()],
        starttls: false,
        ..submission()
    };
    converse(
        &config,
        &format!(
            "{HELLO}
        S: 250-L*
        S: 250-DSN
        S: 250 AUTH PLAIN
        C: AUTH PLAIN AHUAc2VjcmV0
        S: 235 *
    "
        ),
    );
}
