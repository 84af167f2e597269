//! Recipients, trace headers, loops, exactly once.

use mailrook_tests::client::{Smtp, dot_stuffed};
use mailrook_tests::harness::mail;

use crate::{fixture, hello, inbox};

#[test]
fn recipients_are_checked_at_rcpt() {
    let (_, mut script) = hello();
    script.play(
        "C: MAIL FROM:<>
         S: 250 ...
         C: RCPT TO:<nobody-here@<<domain>>>
         S: 550 5.1.1 ...
         C: RCPT TO:<postmaster@<<domain>>>
         S: 250 ...
         C: RCPT TO:<abuse@<<domain>>>
         S: 250 ...
         C: RCPT TO:<Postmaster>
         S: 250 ...
         C: RSET
         S: 250 ...",
    );
}

#[test]
fn subaddresses_and_letter_case_find_the_mailbox() {
    let (fixture, mut script) = hello();
    let (local, domain) = fixture.account.user.split_once('@').unwrap();
    for address in [
        format!("{local}+lists@{domain}"),
        format!("{}@{}", local.to_uppercase(), domain.to_uppercase()),
    ] {
        script.play(&format!(
            "C: MAIL FROM:<a@x.example>
             S: 250 ...
             C: RCPT TO:<{address}>
             S: 250 ...
             C: DATA
             S: 354 ...
             C: Subject: to {address}
             C:
             C: .
             S: 250 ..."
        ));
    }
    assert_eq!(inbox(&fixture).len(), 2);
}

#[test]
fn several_recipients_each_get_one_copy() {
    let (first, second) = (fixture(), fixture());
    let mut smtp = Smtp::connect(first.server.ports().smtp).unwrap();
    let recipients = [
        first.account.user.as_str(),
        &second.account.user,
        &first.account.user,
    ];
    smtp.send_stuffed("a@x.example", &recipients, &dot_stuffed(mail(1).as_bytes()))
        .unwrap();
    assert_eq!((inbox(&first).len(), inbox(&second).len()), (1, 1));
}

#[test]
fn trace_headers_are_added_and_nothing_is_changed() {
    // RFC 5321 §4.4.
    let fixture = fixture();
    let mut smtp = Smtp::connect(fixture.server.ports().smtp).unwrap();
    smtp.send_stuffed(
        "a@x.example",
        &[&fixture.account.user],
        &dot_stuffed(mail(7).as_bytes()),
    )
    .unwrap();
    let got = inbox(&fixture).remove(0);
    assert!(got.starts_with("Return-Path: <a@x.example>\r\n"), "{got}");
    assert!(
        got.contains("\r\nReceived: from client.example.test ") && got.contains("with ESMTP"),
        "{got}"
    );
    assert!(got.ends_with(&mail(7)), "{got}");
}

#[test]
fn a_loop_is_refused() {
    // RFC 5321 §6.3: at least 100 Received lines are allowed.
    let fixture = fixture();
    let looped = format!(
        "{}{}",
        "Received: from a by b; Mon, 7 Feb 1994 21:52:25 -0800\r\n".repeat(150),
        mail(1)
    );
    let mut smtp = Smtp::connect(fixture.server.ports().smtp).unwrap();
    let error = smtp
        .send_stuffed(
            "a@x.example",
            &[&fixture.account.user],
            &dot_stuffed(looped.as_bytes()),
        )
        .unwrap_err();
    assert!(error.to_string().contains("server said 554"), "{error}");
    assert!(inbox(&fixture).is_empty());
    let travelled = format!(
        "{}{}",
        "Received: from a by b; Mon, 7 Feb 1994 21:52:25 -0800\r\n".repeat(30),
        mail(2)
    );
    let mut smtp = Smtp::connect(fixture.server.ports().smtp).unwrap();
    smtp.send_stuffed(
        "a@x.example",
        &[&fixture.account.user],
        &dot_stuffed(travelled.as_bytes()),
    )
    .unwrap();
}

#[test]
fn a_retry_after_a_lost_answer_is_delivered_once() {
    // P2: the connection breaks after the final dot, before the client has read the 250.
    let fixture = fixture();
    let (user, stuffed) = (
        fixture.account.user.as_str(),
        dot_stuffed(mail(1).as_bytes()),
    );
    let mut smtp = Smtp::connect(fixture.server.ports().smtp).unwrap();
    smtp.lmtp_begin("a@x.example", &[user], &stuffed).unwrap();
    // The answer is on its way: wait until the mail is there, and go without reading.
    let mut imap = fixture.client().unwrap();
    imap.ok("SELECT INBOX").unwrap();
    for _ in 0..500 {
        if imap
            .ok("STATUS INBOX (MESSAGES)")
            .unwrap()
            .status_item("MESSAGES")
            == Some(1)
        {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(smtp);
    let mut smtp = Smtp::connect(fixture.server.ports().smtp).unwrap();
    smtp.send_stuffed("a@x.example", &[user], &stuffed).unwrap();
    smtp.quit().unwrap();
    assert_eq!(inbox(&fixture).len(), 1);
}

#[test]
fn the_same_bytes_after_a_confirmed_answer_are_all_delivered() {
    // P2's other half: on one connection, and on a new one after QUIT.
    let fixture = fixture();
    let stuffed = dot_stuffed(mail(1).as_bytes());
    for _ in 0..2 {
        let mut smtp = Smtp::connect(fixture.server.ports().smtp).unwrap();
        for _ in 0..2 {
            smtp.send_stuffed("a@x.example", &[&fixture.account.user], &stuffed)
                .unwrap();
        }
        smtp.quit().unwrap();
    }
    assert_eq!(inbox(&fixture).len(), 4);
}

#[test]
fn a_large_message_arrives_whole() {
    let fixture = fixture();
    let text = format!(
        "{}{}",
        mail(1),
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abc\r\n".repeat(160_000)
    );
    let mut smtp = Smtp::connect(fixture.server.ports().smtp).unwrap();
    smtp.send_stuffed(
        "a@x.example",
        &[&fixture.account.user],
        &dot_stuffed(text.as_bytes()),
    )
    .unwrap();
    assert!(inbox(&fixture)[0].ends_with(&text));
}
