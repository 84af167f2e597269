//! Conversations for each command and extension, and hostile ones.

mod extensions;
mod hostile;

use crate::{
    Service, SessionConfig,
    conversation::{config, converse, converse_tls, submission},
};

#[test]
fn a_message() {
    let driver = converse(
        &config(Service::Mx),
        "
        S: 220 mx.example.test ESMTP Mailrook
        C: EHLO client.example.test
        S: 250-mx.example.test
        S: 250-PIPELINING
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-CHUNKING
        S: 250-BINARYMIME
        S: 250-ENHANCEDSTATUSCODES
        S: 250-HELP
        S: 250-SIZE 50000000
        S: 250 LIMITS MAILMAX=10000 RCPTMAX=1000
        C: MAIL FROM:<a@client.example.test>
        S: 250 2.0.0 sender ok
        C: RCPT TO:<u@example.test>
        S: 250 2.1.5 recipient ok
        C: RCPT TO:<unknown@example.test>
        S: 550 5.1.1 no
        C: DATA
        S: 354 go ahead, end with <CRLF>.<CRLF>
        C: Subject: x
        C:
        C: ..dot
        C: .
        S: 250 2.0.0 stored 20
        C: QUIT
        S: 221 2.0.0 goodbye
    ",
    );
    assert_eq!(driver.mails, [b"Subject: x\r\n\r\n.dot\r\n"]);
    assert!(driver.closed);
}

#[test]
fn a_pipelined_group_is_answered_at_once() {
    let driver = converse(
        &config(Service::Mx),
        "
        C: EHLO c.test
        C: MAIL FROM:<>
        C: RCPT TO:<postmaster>
        C: RCPT TO:<later@example.test>
        C: DATA
        C: one
        C: .
        C: MAIL FROM:<a@c.test>
        C: RCPT TO:<u@example.test>
        C: DATA
        C: .
        C: QUIT
        S: 220 *
        S: 250-mx*
        S: 250-PIPELINING
        S: 250-8*
        S: 250-SMTPUTF8
        S: 250-C*
        S: 250-B*
        S: 250-E*
        S: 250-H*
        S: 250-S*
        S: 250 L*
        S: 250 2.0.0 sender ok
        S: 250 2.1.5 *
        S: 451 4.3.0 later
        S: 354 *
        S: 250 2.0.0 stored 5
        S: 250 2.0.0 sender ok
        S: 250 2.1.5 *
        S: 354 *
        S: 250 2.0.0 stored 0
        S: 221 *
    ",
    );
    assert_eq!(driver.mails, [&b"one\r\n"[..], b""]);
}

#[test]
fn helo_has_no_extensions() {
    converse(
        &config(Service::Mx),
        "
        S: 220 *
        C: HELO client
        S: 250 mx.example.test
        C: MAIL FROM:<a@c.test> SIZE=10
        S: 555 5.5.4 *
        C: MAIL FROM:<a@c.test>
        S: 250 2.0.0 *
    ",
    );
}

#[test]
fn commands_in_the_wrong_order() {
    converse(
        &config(Service::Mx),
        "
        S: 220 *
        C: MAIL FROM:<a@c.test>
        S: 503 5.5.1 say EHLO first
        C: RCPT TO:<u@example.test>
        S: 503 5.5.1 MAIL first
        C: DATA
        S: 503 5.5.1 MAIL first
        C: EHLO bad.test
        S: 550 5.1.1 no
        C: MAIL FROM:<a@c.test>
        S: 503 *
        C: HELO c.test
        S: 250 *
        C: MAIL FROM:<banned@c.test>
        S: 550 5.1.1 no
        C: MAIL FROM:<a@c.test>
        S: 250 *
        C: MAIL FROM:<a@c.test>
        S: 503 5.5.1 a sender was given already
        C: DATA
        S: 503 5.5.1 RCPT first
        C: RCPT TO:<unknown@example.test>
        S: 550 *
        C: DATA
        S: 554 5.5.1 no valid recipients
        C: RSET
        S: 250 2.0.0 reset
        C: DATA
        S: 503 *
    ",
    );
}

#[test]
fn hello_ends_a_transaction() {
    let driver = converse(
        &config(Service::Mx),
        "
        S: 220 *
        C: HELO c.test
        S: 250 *
        C: MAIL FROM:<a@c.test>
        S: 250 *
        C: HELO c.test
        S: 250 *
        C: RCPT TO:<u@example.test>
        S: 503 *
    ",
    );
    assert_eq!(driver.events.len(), 3);
}

#[test]
fn small_commands() {
    converse(
        &config(Service::Mx),
        "
        S: 220 *
        C: NOOP
        S: 250 2.0.0 ok
        C: noop whatever
        S: 250 2.0.0 ok
        C: VRFY u
        S: 252 2.1.0 *
        C: VRFY
        S: 501 5.5.4 *
        C: EXPN list
        S: 502 5.5.1 *
        C: HELP
        S: 214 2.0.0 *
        C: RSET
        S: 250 *
        C: XCLIENT ADDR=192.0.2.1
        S: 500 5.5.1 no such command
        C: LHLO c.test
        S: 500 5.5.1 no such command
        C: AUTH PLAIN
        S: 502 5.5.1 *
        C: STARTTLS
        S: 502 5.5.1 *
        C: QUIT now
        S: 501 *
        C: QUIT
        S: 221 *
        C: NOOP
    ",
    );
}

#[test]
fn the_driver_can_refuse_data() {
    let driver = converse(
        &config(Service::Mx),
        "
        S: 220 *
        C: HELO c.test
        S: 250 *
        C: MAIL FROM:<a@c.test>
        S: 250 *
        C: RCPT TO:<nodata@example.test>
        S: 250 *
        C: DATA
        S: 451 4.3.0 later
        C: RCPT TO:<u@example.test>
        S: 503 *
    ",
    );
    assert!(driver.mails.is_empty());
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let driver = converse(
        &config(Service::Lmtp),
        "
        S: 220 mx.example.test LMTP Mailrook
        C: EHLO c.test
        S: 500 5.5.1 *
        C: HELO c.test
        S: 500 5.5.1 *
        C: LHLO c.test
        S: 250-mx.example.test
        S: 250-PIPELINING
        S: 250-8*
        S: 250-SMTPUTF8
        S: 250-C*
        S: 250-B*
        S: 250-E*
        S: 250-H*
        S: 250-S*
        S: 250 L*
        C: MAIL FROM:<>
        C: RCPT TO:<u@example.test>
        C: RCPT TO:<unknown@example.test>
        C: RCPT TO:<v@example.test>
        C: DATA
        S: 250 *
        S: 250 *
        S: 550 *
        S: 250 *
        S: 354 *
        C: x
        C: .
        S: 250 2.0.0 stored 3
        S: 250 2.0.0 stored 3
        C: MAIL FROM:<>
        C: RCPT TO:<u@example.test>
        C: RCPT TO:<v@example.test>
        C: DATA
        c: bare\\nnewline\\r\\n.\\r\\n
        S: 250 *
        S: 250 *
        S: 250 *
        S: 354 *
        S: 550 5.6.11 *
        S: 550 5.6.11 *
    ",
    );
    assert_eq!(driver.mails.len(), 1);
}

#[test]
fn authentication_under_tls() {
    let driver = converse_tls(
        &submission(),
        "
        S: 220 *
        C: HELO c.test
        S: 250 *
        C: AUTH PLAIN
        S: 503 5.5.1 say EHLO first
        C: EHLO c.test
        S: 250-mx*
        S: 250-P*
        S: 250-8*
        S: 250-SMTPUTF8
        S: 250-C*
        S: 250-B*
        S: 250-E*
        S: 250-H*
        S: 250-SIZE*
        S: 250-L*
        S: 250-DSN
        S: 250 AUTH SCRAM-SHA-256 PLAIN LOGIN
        C: MAIL FROM:<a@example.test>
        S: 530 5.7.0 authentication required
        C: AUTH CRAM-MD5
        S: 504 5.5.4 *
        C: AUTH PLAIN not*base64
        S: 501 5.5.2 *
        C: AUTH PLAIN
        S: 334 
        C: *
        S: 501 5.7.0 authentication cancelled
        C: auth login
        S: 334 VXNlcm5hbWU6
        C: dQ==
        S: 334 UGFzc3dvcmQ6
        C: d3Jvbmc=
        S: 535 5.7.8 wrong credentials
        C: AUTH PLAIN AHUAc2VjcmV0
        S: 235 2.7.0 authenticated
        C: AUTH PLAIN AHUAc2VjcmV0
        S: 503 5.5.1 authenticated already
        C: MAIL FROM:<a@example.test> AUTH=<>
        S: 250 *
    ",
    );
    assert!(driver.session.is_authenticated());
}

#[test]
fn three_wrong_passwords_end_the_session() {
    let driver = converse_tls(
        &submission(),
        "
        S: 220 *
        C: EHLO c.test
        S: 250-mx*
        S: 250-P*
        S: 250-8*
        S: 250-SMTPUTF8
        S: 250-C*
        S: 250-B*
        S: 250-E*
        S: 250-H*
        S: 250-SIZE*
        S: 250-L*
        S: 250-DSN
        S: 250 AUTH*
        C: AUTH PLAIN AHUAeA==
        S: 535 5.7.8 *
        C: AUTH PLAIN AHUAeA==
        S: 535 5.7.8 *
        C: AUTH PLAIN AHUAeA==
        S: 535 5.7.8 *
        S: 421 4.7.0 *
    ",
    );
    assert!(driver.closed);
}

#[test]
fn starttls_forgets_the_client() {
    let driver = converse(
        &submission(),
        "
        S: 220 *
        C: STARTTLS
        S: 503 5.5.1 say EHLO first
        C: EHLO c.test
        S: 250-mx*
        S: 250-P*
        S: 250-8*
        S: 250-SMTPUTF8
        S: 250-C*
        S: 250-B*
        S: 250-E*
        S: 250-H*
        S: 250-SIZE*
        S: 250-L*
        S: 250-DSN
        S: 250 STARTTLS
        C: MAIL FROM:<a@example.test>
        S: 530 5.7.0 must issue STARTTLS first
        C: AUTH PLAIN AHUAc2VjcmV0
        S: 538 5.7.11 *
        C: STARTTLS
        S: 220 2.0.0 ready to start TLS
        C: MAIL FROM:<a@example.test>
        S: 503 5.5.1 say EHLO first
        C: EHLO c.test
        S: 250-mx*
        S: 250-P*
        S: 250-8*
        S: 250-SMTPUTF8
        S: 250-C*
        S: 250-B*
        S: 250-E*
        S: 250-H*
        S: 250-SIZE*
        S: 250-L*
        S: 250-DSN
        S: 250 AUTH*
        C: STARTTLS
        S: 503 5.5.1 TLS is active already
    ",
    );
    assert!(driver.session.is_tls());
}

#[test]
fn a_login_in_the_clear_is_not_carried_into_tls() {
    let config = SessionConfig {
        mechanisms_plaintext: vec!["PLAIN".into()],
        ..submission()
    };
    let script = "
        S: 220 *
        C: EHLO c.test
        S: 250-mx*
        S: 250-P*
        S: 250-8*
        S: 250-SMTPUTF8
        S: 250-C*
        S: 250-B*
        S: 250-E*
        S: 250-H*
        S: 250-SIZE*
        S: 250-L*
        S: 250-DSN
        S: 250-STARTTLS
        S: 250 AUTH PLAIN
        C: AUTH PLAIN AHUAc2VjcmV0
        S: 235 2.7.0 authenticated
        c: STARTTLS\\r\\nNOOP\\r\\n
        S: 503 5.5.1 authenticated already
        S: 250 *
        C: EHLO c.test
        S: 250-mx*
        S: 250-P*
        S: 250-8*
        S: 250-SMTPUTF8
        S: 250-C*
        S: 250-B*
        S: 250-E*
        S: 250-H*
        S: 250-SIZE*
        S: 250-L*
        S: 250 DSN
        C: STARTTLS
        S: 503 5.5.1 authenticated already
        C: MAIL FROM:<a@example.test>
        S: 250 *
    ";
    let driver = converse(&config, script);
    assert!(driver.session.is_authenticated() && !driver.session.is_tls());
}

#[test]
fn a_draining_server_takes_no_new_message() {
    let mut driver = crate::conversation::Driver::new(config(Service::Mx), false);
    driver.feed(b"HELO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<u@example.test>\r\n");
    driver.session.drain();
    driver.feed(b"DATA\r\nx\r\n.\r\n");
    assert_eq!(driver.mails.len(), 1);
    assert!(!driver.closed);
    driver.feed(b"MAIL FROM:<>\r\nRCPT TO:<u@example.test>\r\n");
    assert!(driver.closed);
    assert!(
        driver
            .output
            .ends_with(b"250 2.0.0 stored 3\r\n421 4.3.2 this server is stopping\r\n")
    );
}
