//! The submission ports: TLS, AUTH, who may send as whom.

use mailrook_tests::client::{Conn, Smtp, scram_sha_256, tls_config, wire_error};
use mailrook_tests::script::Script;

use crate::{fixture, inbox};

fn submission() -> (mailrook_tests::harness::Fixture, Script) {
    let fixture = fixture();
    let mut script = fixture.named(Script::new(fixture.server.ports().submission));
    script.play("S: 220 ...\nC: EHLO client.example.test\nS~ 250 ...");
    (fixture, script)
}

#[test]
fn mechanisms_are_announced_and_mail_needs_a_login() {
    let (_, mut script) = submission();
    script.play(
        "C: EHLO client.example.test
         S~ 250...AUTH ...PLAIN...
         C: MAIL FROM:<<<user>>>
         S~ 530 5.7.0 ...",
    );
}

#[test]
fn auth_plain_with_and_without_initial_response() {
    // RFC 4954 §4.
    for text in [
        "C: AUTH PLAIN <<plain>>\nS: 235 2.7.0 ...",
        "C: AUTH PLAIN\nS: 334...\nC: <<plain>>\nS: 235 2.7.0 ...",
    ] {
        let (fixture, mut script) = submission();
        script.play(text).play(
            "C: AUTH PLAIN <<plain>>
             S: 503 ...
             C: MAIL FROM:<<<user>>>
             S: 250 ...
             C: RCPT TO:<<<user>>>
             S: 250 ...
             C: DATA
             S: 354 ...
             C: Subject: mine
             C:
             C: .
             S: 250 ...",
        );
        assert!(
            inbox(&fixture)[0].contains("with ESMTPA"),
            "RFC 3848: authenticated"
        );
    }
}

#[test]
fn auth_login() {
    let (_, mut script) = submission();
    script.play("C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: <<user64>>\nS: 334 UGFzc3dvcmQ6\nC: <<pass64>>\nS: 235 ...");
}

#[test]
fn wrong_cancelled_and_malformed() {
    let (_, mut script) = submission();
    script.play(
        "C: AUTH PLAIN <<wrong>>
         S: 535 5.7.8 ...
         C: AUTH PLAIN
         S: 334...
         C: *
         S: 501 ...
         C: AUTH PLAIN !!!
         S: 501 5.5...
         C: AUTH NOSUCH
         S: 504 ...
         C: AUTH
         S: 501 ...
         C: AUTH PLAIN <<plain>>
         S: 235 ...",
    );
}

#[test]
fn scram() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    let fixture = fixture();
    let mut smtp = Smtp::connect(fixture.server.ports().submission).unwrap();
    let mut first = true;
    let (user, password) = (&fixture.account.user, &fixture.account.password);
    scram_sha_256(user, password, "n,,", b"", |message| {
        let encoded = BASE64.encode(message);
        let line = if std::mem::take(&mut first) {
            format!("AUTH SCRAM-SHA-256 {encoded}")
        } else {
            encoded
        };
        let reply = smtp.command(&line)?.expect(334)?;
        String::from_utf8(
            BASE64
                .decode(&reply.lines[0])
                .map_err(|e| wire_error(e.to_string()))?,
        )
        .map_err(|e| wire_error(e.to_string()))
    })
    .unwrap();
    smtp.command("").unwrap().expect(235).unwrap();
    smtp.command(&format!("MAIL FROM:<{user}>"))
        .unwrap()
        .expect(250)
        .unwrap();
}

#[test]
fn a_recipient_elsewhere_gets_a_clear_refusal() {
    // Outgoing mail is not there yet; relaying in silence would be worse than saying so.
    let (_, mut script) = submission();
    script.play(
        "C: AUTH PLAIN <<plain>>
         S: 235 ...
         C: MAIL FROM:<<<user>>>
         S: 250 ...
         C: RCPT TO:<someone@elsewhere.example>
         S: 550 5...",
    );
}

#[test]
fn starttls_and_implicit_tls() {
    let (fixture, mut script) = submission();
    script.play(
        "C: STARTTLS
         S: 220 ...
         TLS
         C: EHLO client.example.test
         S~ 250...AUTH ...SCRAM-SHA-256-PLUS...
         C: AUTH PLAIN <<plain>>
         S~ 235 ...",
    );
    let mut conn = Conn::connect_tls(
        fixture.server.ports().submissions,
        tls_config(&fixture.server.ca()).unwrap(),
    )
    .unwrap();
    assert!(conn.line().unwrap().starts_with(b"220 "));
    fixture
        .named(Script::new(fixture.server.ports().submissions))
        .tls_at_once()
        .play(
            "S: 220 ...
         C: EHLO client.example.test
         S~ 250 ...
         C: AUTH PLAIN <<plain>>
         S: 235 ...
         C: MAIL FROM:<<<user>>>
         S: 250 ...",
        );
}

#[test]
fn dsn_parameters_are_taken_and_checked() {
    // RFC 3461 §4.
    let (fixture, mut script) = submission();
    script.play(
        "C: EHLO client.example.test
         S~ 250...DSN...
         C: AUTH PLAIN <<plain>>
         S~ 235 ...
         C: MAIL FROM:<<<user>>> RET=HDRS ENVID=QQ314159
         S: 250 ...
         C: RCPT TO:<<<user>>> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@x.example
         S: 250 ...
         C: DATA
         S: 354 ...
         C: Subject: report, please
         C:
         C: .
         S: 250 ...
         C: MAIL FROM:<<<user>>> RET=SOME
         S: 501 ...
         C: MAIL FROM:<<<user>>>
         S: 250 ...
         C: RCPT TO:<<<user>>> NOTIFY=NEVER,SUCCESS
         S: 501 ...
         C: RCPT TO:<<<user>>> NOSUCH=1
         S: 555 ...",
    );
    let inbox = inbox(&fixture);
    assert_eq!(inbox.len(), 2, "the message and the report of its delivery");
    let report = inbox.iter().find(|mail| mail.contains("multipart/report"));
    assert!(report.is_some_and(|mail| mail.contains("Original-Envelope-Id: QQ314159")));
}
