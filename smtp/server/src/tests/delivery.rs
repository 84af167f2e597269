//! Mail from other systems and from a local one, into mailboxes.

use mailrook_smtp_proto::Service;

use super::rig::Rig;

#[tokio::test]
async fn a_message_reaches_its_mailbox() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Service::Mx);
    let offer = client.hello().await;
    for extension in [
        "PIPELINING",
        "SIZE 50000000",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "BINARYMIME",
        "ENHANCEDSTATUSCODES",
        "STARTTLS",
        "LIMITS",
    ] {
        assert!(offer.contains(extension), "{offer}");
    }
    assert!(!offer.contains("AUTH") && !offer.contains("DSN"), "{offer}");
    client
        .talk(
            "
        C: MAIL FROM:<a@client.test> SIZE=20
        S: 250 2.0.0
        C: RCPT TO:<User1@EXAMPLE.test>
        S: 250 2.1.5
        C: DATA
        S: 354
        Subject: x
        C:
        ..dot
        C: .
        S: 250 2.0.0 stored as
        C: QUIT
        S: 221
        S: closed
    ",
        )
        .await;
    let mail = rig.mail("user1@example.test", "INBOX").await;
    assert_eq!(mail.len(), 1);
    assert_eq!(mail[0].1, "Subject: x\r\n\r\n.dot\r\n");
    let prefix = &mail[0].0;
    assert!(prefix.starts_with("Return-Path: <a@client.test>\r\nReceived: from client.test ([192.0.2.7])\r\n\tby mx.example.test with ESMTP id "), "{prefix}");
    assert!(
        prefix.contains("\r\n\tfor <User1@example.test>;\r\n\t") && prefix.ends_with(" +0000\r\n"),
        "{prefix}"
    );
    assert_eq!(rig.metric("messages_accepted"), 1);
}

#[tokio::test]
async fn recipients_are_looked_up() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    client
        .talk(
            "
        C: MAIL FROM:<>
        S: 250
        C: RCPT TO:<nobody@example.test>
        S: 550 5.1.1 no such user here
        C: RCPT TO:<both@example.test>
        S: 250
        C: RCPT TO:<user1+Archive@example.test>
        S: 250
        C: RCPT TO:<anything@other.test>
        S: 250
        C: RCPT TO:<postmaster>
        S: 250
        C: RCPT TO:<abuse@example.test>
        S: 250
        C: RCPT TO:<away@example.test>
        S: 550 5.7.1
        C: DATA
        S: 354
        text
        C: .
        S: 250
    ",
        )
        .await;
    // However many recipients lead to an account, it gets one copy.
    assert_eq!(
        (
            rig.count("user1@example.test").await,
            rig.count("user2@example.test").await
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn a_subaddress_chooses_the_mailbox() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    client
        .message("user1+Archive@example.test", "one", "250")
        .await;
    client
        .message("user1+nowhere@example.test", "two", "250")
        .await;
    assert_eq!(rig.mail("user1@example.test", "Archive").await.len(), 1);
    assert_eq!(rig.count("user1@example.test").await, 1);
}

#[tokio::test]
async fn nothing_is_relayed() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    client
        .talk(
            "
        C: MAIL FROM:<user1@example.test>
        S: 250
        C: RCPT TO:<x@elsewhere.test>
        S: 550 5.7.1 relaying denied
        C: RCPT TO:<x%elsewhere.test@example.test>
        S: 550 5.1.1
        C: RCPT TO:<\"x@elsewhere.test\"@example.test>
        S: 550 5.1.1
        C: RCPT TO:<elsewhere.test!x@example.test>
        S: 550 5.1.1
        C: RCPT TO:<@example.test:x@elsewhere.test>
        S: 550 5.7.1 relaying denied
        C: RCPT TO:<@elsewhere.test:user1@example.test>
        S: 250
        C: RCPT TO:<x@[192.0.2.1]>
        S: 550 5.7.1 relaying denied
        C: RCPT TO:<user1@[127.0.0.1]>
        S: 550 5.7.1 relaying denied
        C: RCPT TO:<x@mx.example.test>
        S: 550 5.7.1 relaying denied
        C: RCPT TO:<x@sub.example.test>
        S: 550 5.7.1 relaying denied
        C: RCPT TO:<user1@example.test@elsewhere.test>
        S: 553
        C: RCPT TO:<>
        S: 553
        C: RSET
        S: 250
        C: MAIL FROM:<>
        S: 250
        C: RCPT TO:<x@elsewhere.test>
        S: 550 5.7.1 relaying denied
    ",
        )
        .await;
    assert_eq!(rig.metric("relays_refused"), 7);
}

#[tokio::test]
async fn lmtp_answers_for_each() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Service::Lmtp);
    client.hello().await;
    let long = "x".repeat(700);
    client.message("small@example.test", &long, "250").await;
    client
        .talk(&format!(
            "
        C: MAIL FROM:<a@client.test>
        S: 250
        C: RCPT TO:<user1@example.test>
        S: 250
        C: RCPT TO:<nobody@example.test>
        S: 550 5.1.1
        C: RCPT TO:<small@example.test>
        S: 250
        C: RCPT TO:<x@elsewhere.test>
        S: 550 5.7.1
        C: RCPT TO:<both@example.test>
        S: 250
        C: DATA
        S: 354
        {long}
        C: .
        S: 250 2.0.0
        S: 452 4.2.2 the mailbox is full
        S: 250 2.0.0
    "
        ))
        .await;
    assert_eq!(
        (
            rig.count("user1@example.test").await,
            rig.count("user2@example.test").await
        ),
        (1, 1)
    );
    let prefix = &rig.mail("user1@example.test", "INBOX").await[0].0;
    assert!(prefix.contains(" with LMTP id "), "{prefix}");
}

#[tokio::test]
async fn a_full_mailbox_puts_off_only_itself() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    let long = "x".repeat(700);
    client.message("small@example.test", &long, "250").await;
    // Alone, it is found out at the end.
    client
        .message("small@example.test", &format!("{long}y"), "452 4.2.2")
        .await;
    // With others, before.
    client
        .talk(
            "
        C: MAIL FROM:<a@client.test> SIZE=900
        S: 250
        C: RCPT TO:<user1@example.test>
        S: 250
        C: RCPT TO:<small@example.test>
        S: 452 4.2.2
        C: DATA
        S: 354
        text
        C: .
        S: 250
        C: MAIL FROM:<a@client.test> SIZE=900
        S: 250
        C: RCPT TO:<small@example.test>
        S: 250
        C: RCPT TO:<user1@example.test>
        S: 452 4.5.3
        C: RSET
        S: 250
        C: MAIL FROM:<a@client.test> SIZE=1001
        S: 250
        C: RCPT TO:<user1@example.test>
        S: 250
        C: RCPT TO:<small@example.test>
        S: 552 5.2.2
    ",
        )
        .await;
    assert_eq!(rig.count("user1@example.test").await, 1);
}

#[tokio::test]
async fn chunks_and_binary() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    client
        .talk(
            "
        C: MAIL FROM:<a@client.test> BODY=BINARYMIME
        C: RCPT TO:<user1@example.test>
        C: BDAT 6
        text
        C: BDAT 6 LAST
        .
        abc
        S: 250
        S: 250
        S: 250 2.0.0 6 octets
    ",
        )
        .await;
    assert!(client.reply().await.starts_with("250 2.0.0 stored"));
    assert_eq!(
        rig.mail("user1@example.test", "INBOX").await[0].1,
        "text\r\n.\r\nabc"
    );
}

#[tokio::test]
async fn utf8_mail() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    client
        .talk(
            "
        C: MAIL FROM:<jürgen@client.test> SMTPUTF8 BODY=8BITMIME
        S: 250
        C: RCPT TO:<user1@example.test>
        S: 250
        C: DATA
        S: 354
        Subject: grün
        C: .
        S: 250
    ",
        )
        .await;
    let mail = rig.mail("user1@example.test", "INBOX").await;
    assert!(
        mail[0]
            .0
            .starts_with("Return-Path: <jürgen@client.test>\r\n")
            && mail[0].0.contains(" with UTF8SMTP id ")
    );
}

#[tokio::test]
async fn a_large_message_and_one_too_large() {
    let rig = Rig::with(|settings| settings.size_max = 3_000_000).await;
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    let line = format!("{}\n", "x".repeat(998));
    client
        .message("user1@example.test", &line.repeat(2990), "250")
        .await;
    client
        .message("user1@example.test", &line.repeat(3010), "552 5.3.4")
        .await;
    client
        .talk("C: MAIL FROM:<a@client.test> SIZE=3000001\nS: 552 5.3.4")
        .await;
    let mail = rig.mail("user1@example.test", "INBOX").await;
    assert_eq!((mail.len(), mail[0].1.len()), (1, 2_990_000));
}

#[tokio::test]
async fn a_message_in_a_loop_is_refused() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    let hops = "Received: from a.test by b.test; x\n".repeat(51);
    client
        .message("user1@example.test", &hops, "554 5.4.6")
        .await;
    assert_eq!(rig.count("user1@example.test").await, 0);
}

#[tokio::test]
async fn tls_is_told_in_the_trace() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    let mut client = client.start_tls(&rig.certificate).await;
    client
        .talk(
            "
        C: MAIL FROM:<a@client.test>
        S: 503
        C: EHLO client.test
        S: 250-
    ",
        )
        .await;
    client.message("user1@example.test", "x", "250").await;
    let prefix = &rig.mail("user1@example.test", "INBOX").await[0].0;
    assert!(
        prefix.contains(" with ESMTPS id ")
            && prefix.contains("\r\n\ttls TLS_")
            && prefix.contains("(TLSv1.3);"),
        "{prefix}"
    );
}

#[tokio::test]
async fn nobody_else_says_our_name() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Service::Mx);
    client
        .talk(
            "
        S: 220
        C: EHLO mx.example.test
        S: 550 5.7.1
        C: EHLO localhost
        S: 250-
    ",
        )
        .await;
    let rig = Rig::with(|settings| settings.hello = crate::HelloPolicy::Strict).await;
    let mut client = rig.connect(Service::Mx);
    client
        .talk(
            "
        S: 220
        C: EHLO localhost
        S: 501 5.5.4
        C: HELO client.test
        S: 250
    ",
        )
        .await;
}
