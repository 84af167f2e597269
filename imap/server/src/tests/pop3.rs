//! POP3 sessions.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mailrook_sasl::{ChannelBindings, Client as SaslClient, Mechanism};
use mailrook_store_api::{
    Append, Delivery, DeliveryRecipient, Mailstore, PreparedMessage, shard::MailboxRef,
};
use mailrook_types::{Flags, MailboxName, Timestamp};

use proptest::{
    prelude::*,
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use super::{
    rig::{Door, PASSWORD, Rig, USER, Wire},
    transport::tls,
};

const DOOR: Door = Door {
    pop3: true,
    plaintext_login: true,
    starttls: false,
    capacity: 64 << 10,
};

const LOGIN: &str = "S: +OK ...
                     C: USER user1@example.test
                     S: +OK ...
                     C: PASS secret
                     S: +OK ...";

async fn logged_in(rig: &Rig) -> Wire {
    let mut wire = rig.connect(DOOR);
    wire.play(LOGIN).await;
    wire
}

/// The lines of an answer of several, without the first and the last.
async fn lines(wire: &mut Wire, command: &str) -> Vec<String> {
    wire.send(format!("{command}\r\n").as_bytes()).await;
    let first = wire.line().await.unwrap();
    assert!(first.starts_with("+OK"), "{command}: {first}");
    let mut lines = Vec::new();
    loop {
        let line = wire.line().await.unwrap();
        if line == "." {
            return lines;
        }
        lines.push(line);
    }
}

/// How many messages INBOX has, as IMAP sees it.
async fn exists(rig: &Rig) -> String {
    let mut imap = rig.logged_in().await;
    imap.send(b"x1 STATUS INBOX (MESSAGES)\r\n").await;
    let lines = imap.lines_until("x1").await;
    lines[0].clone()
}

#[tokio::test]
async fn the_session_of_rfc_1939() {
    let rig = Rig::new().await;
    rig.add_mail(&["Subject: 1\n\n.dot\n..\nend\n", "Subject: 2\n\ntwo\n"])
        .await;
    let mut wire = logged_in(&rig).await;
    wire.play(
        "C: STAT
         S: +OK 2 48
         C: LIST
         S: +OK ...
         S: 1 29
         S: 2 19
         S: .
         C: LIST 2
         S: +OK 2 19
         C: LIST 3
         S: -ERR ...
         C: RETR 1
         S: +OK 29 octets
         S: Subject: 1
         S: 
         S: ..dot
         S: ...
         S: end
         S: .
         C: TOP 1 0
         S: +OK ...
         S: Subject: 1
         S: 
         S: .
         C: TOP 1 1
         S: +OK ...
         S: Subject: 1
         S: 
         S: ..dot
         S: .
         C: TOP 1 99
         S~ end
         S: .
         C: DELE 1
         S: +OK ...
         C: DELE 1
         S: -ERR ...
         C: RETR 1
         S: -ERR ...
         C: STAT
         S: +OK 1 19
         C: LIST
         S: +OK ...
         S: 2 19
         S: .
         C: RSET
         S: +OK ...
         C: STAT
         S: +OK 2 48
         C: NOOP
         S: +OK
         C: RETR 0
         S: -ERR ...
         C: XYZZY
         S: -ERR ...
         C: USER again
         S: -ERR ...
         C: DELE 2
         S: +OK ...
         C: QUIT
         S: +OK ...
         END",
    )
    .await;
    assert_eq!(exists(&rig).await, "* STATUS INBOX (MESSAGES 1)");
}

#[tokio::test]
async fn what_is_offered() {
    let rig = Rig::new().await;
    let mut wire = rig.connect(DOOR);
    wire.play("S: +OK ...").await;
    let offered = lines(&mut wire, "CAPA").await;
    for line in [
        "TOP",
        "UIDL",
        "RESP-CODES",
        "AUTH-RESP-CODE",
        "PIPELINING",
        "EXPIRE NEVER",
        "UTF8",
        "USER",
        "SASL SCRAM-SHA-256 PLAIN LOGIN",
        "IMPLEMENTATION Mailrook",
    ] {
        assert!(
            offered.iter().any(|offer| offer == line),
            "{line}: {offered:?}"
        );
    }
    assert_eq!(
        lines(&mut wire, "AUTH").await,
        ["SCRAM-SHA-256", "PLAIN", "LOGIN"]
    );
    wire.play(
        "C: UTF8
         S: +OK ...
         C: APOP user x
         S: -ERR ...
         C: STLS
         S: -ERR ...
         C: STAT
         S: -ERR ...
         C: LANG
         S: -ERR ...
         C: QUIT
         S: +OK ...
         END",
    )
    .await;
    // Without TLS no password, and none is asked for.
    let door = Door {
        plaintext_login: false,
        starttls: true,
        ..DOOR
    };
    let mut wire = rig.connect(door);
    wire.play("S: +OK ...").await;
    let offered = lines(&mut wire, "CAPA").await;
    assert!(offered.contains(&"STLS".to_owned()));
    assert!(
        !offered
            .iter()
            .any(|offer| offer.starts_with("SASL") || offer == "USER")
    );
    wire.play(
        "C: USER user1@example.test
         S: -ERR ...
         C: AUTH PLAIN AHVzZXIxQGV4YW1wbGUudGVzdABzZWNyZXQ=
         S: -ERR ...",
    )
    .await;
}

#[tokio::test]
async fn logins() {
    let rig = Rig::new().await;
    let mut wire = rig.connect(DOOR);
    wire.play(
        "S: +OK ...
         C: PASS secret
         S: -ERR ...
         C: USER user1@example.test
         S: +OK ...
         C: PASS wrong
         S: -ERR [AUTH] ...
         C: PASS secret
         S: -ERR ...
         C: USER imaponly@example.test
         S: +OK ...
         C: PASS secret
         S: -ERR [AUTH] ...
         C: AUTH PLAIN
         S: + 
         C: *
         S: -ERR ...
         C: AUTH PLAIN
         S: + 
         C: not base64!
         S: -ERR ...
         C: AUTH NONSENSE
         S: -ERR ...
         C: AUTH PLAIN AHVzZXIxQGV4YW1wbGUudGVzdABzZWNyZXQ=
         S: +OK 0 messages
         C: AUTH PLAIN AHVzZXIxQGV4YW1wbGUudGVzdABzZWNyZXQ=
         S: -ERR ...",
    )
    .await;
}

#[tokio::test]
async fn scram() {
    let rig = Rig::new().await;
    let mut wire = rig.connect(DOOR);
    wire.play("S: +OK ...").await;
    let bindings = ChannelBindings::default();
    let mut client = SaslClient::new(Mechanism::ScramSha256, USER, PASSWORD, &bindings);
    let first = client.initial().unwrap();
    wire.send(format!("AUTH SCRAM-SHA-256 {}\r\n", STANDARD.encode(first)).as_bytes())
        .await;
    loop {
        let line = wire.line().await.unwrap();
        let Some(challenge) = line.strip_prefix("+ ") else {
            assert!(line.starts_with("+OK"), "{line}");
            return;
        };
        let response = client
            .respond(&STANDARD.decode(challenge).unwrap())
            .unwrap();
        wire.send(format!("{}\r\n", STANDARD.encode(response)).as_bytes())
            .await;
    }
}

#[tokio::test]
async fn one_session_a_maildrop() {
    let rig = Rig::new().await;
    let first = logged_in(&rig).await;
    let mut second = rig.connect(DOOR);
    second
        .play(
            "S: +OK ...
             C: USER user1@example.test
             S: +OK ...
             C: PASS secret
             S: -ERR [IN-USE] ...
             C: USER user2@example.test
             S: +OK ...
             C: PASS secret
             S: +OK ...
             C: QUIT
             S: +OK ...
             END",
        )
        .await;
    // The lock goes with the connection, however that ends.
    let session = first.session;
    drop(first.stream);
    session.await.unwrap();
    let mut third = logged_in(&rig).await;
    third.play("C: QUIT\nS: +OK ...\nEND").await;
    logged_in(&rig).await;
}

#[tokio::test]
async fn a_quit_that_fails_leaves_everything() {
    let rig = Rig::new().await;
    rig.add_numbered(3).await;
    let mut wire = logged_in(&rig).await;
    wire.play("C: DELE 1\nS: +OK ...\nC: DELE 3\nS: +OK ...")
        .await;
    rig.twin.set_reachable(false);
    wire.play(
        "C: RETR 2
         S: -ERR [SYS/TEMP] ...
         C: TOP 2 1
         S: -ERR [SYS/TEMP] ...
         C: QUIT
         S: -ERR [SYS/TEMP] some deleted messages not removed, perhaps they are: ...
         END",
    )
    .await;
    rig.twin.set_reachable(true);
    assert_eq!(exists(&rig).await, "* STATUS INBOX (MESSAGES 3)");
    // Nor does a session remove anything that ends in another way.
    let mut wire = logged_in(&rig).await;
    wire.play("C: DELE 1\nS: +OK ...").await;
    let session = wire.session;
    drop(wire.stream);
    session.await.unwrap();
    let mut wire = logged_in(&rig).await;
    wire.play("C: DELE 1\nS: +OK ...").await;
    rig.trigger.shut_down();
    wire.play("S: -ERR [SYS/TEMP] ...\nEND").await;
}

#[tokio::test]
async fn an_unreachable_store_is_not_a_wrong_password() {
    let rig = Rig::new().await;
    let mut wire = rig.connect(DOOR);
    rig.twin.set_reachable(false);
    wire.play(
        "S: +OK ...
         C: USER user1@example.test
         S: +OK ...
         C: PASS secret
         S: -ERR [SYS/TEMP] ...",
    )
    .await;
    rig.twin.set_reachable(true);
    wire.play("C: USER user1@example.test\nS: +OK ...\nC: PASS secret\nS: +OK ...")
        .await;
}

#[tokio::test]
async fn unique_ids_stay() {
    let rig = Rig::new().await;
    rig.add_numbered(3).await;
    let mut wire = logged_in(&rig).await;
    let before = lines(&mut wire, "UIDL").await;
    let second = before[1].strip_prefix("2 ").unwrap().to_owned();
    wire.play(&format!(
        "C: UIDL 2\nS: +OK 2 {second}\nC: DELE 1\nS: +OK ...\nC: UIDL 1\nS: -ERR ...\nC: QUIT\nS: +OK ...\nEND"
    ))
    .await;
    let mut wire = logged_in(&rig).await;
    let after = lines(&mut wire, "UIDL").await;
    assert_eq!(after.len(), 2);
    assert_eq!(after[0], format!("1 {second}"));
    assert!(before.iter().all(|line| line.len() <= 2 + 70));
}

#[tokio::test]
async fn the_list_is_what_it_was_at_login() {
    let rig = Rig::new().await;
    rig.add_numbered(2).await;
    let mut wire = logged_in(&rig).await;
    let mut imap = rig.selected().await;
    imap.play("C: a1 STORE 1 +FLAGS.SILENT (\\Deleted)\nS~ a1 OK ...\nC: a2 EXPUNGE\nS~ a2 OK ...")
        .await;
    rig.add_numbered(1).await;
    wire.play(
        "C: STAT
         S: +OK 2 ...
         C: RETR 1
         S: -ERR ...
         C: RETR 2
         S: +OK ...
         S~ .
         C: RETR 3
         S: -ERR ...
         C: DELE 1
         S: +OK ...
         C: QUIT
         S: +OK ...
         END",
    )
    .await;
    assert_eq!(exists(&rig).await, "* STATUS INBOX (MESSAGES 2)");
}

#[tokio::test]
async fn commands_in_a_row() {
    let rig = Rig::new().await;
    rig.add_numbered(2).await;
    let mut wire = rig.connect(DOOR);
    wire.play(
        r"S: +OK ...
          C- USER user1@example.test\r\nPASS secret\r\nSTAT\r\nUIDL 1\r\nDELE 2\r\nTOP 1 0\r\nQUIT\r\n
          S: +OK ...
          S: +OK ...
          S: +OK 2 ...
          S: +OK 1 ...
          S: +OK ...
          S: +OK ...
          S: Subject: 1
          S: 
          S: .
          S: +OK ...
          END",
    )
    .await;
}

#[tokio::test]
async fn copies_have_their_own_first_lines() {
    let rig = Rig::new().await;
    let raw = b"Subject: x\r\n\r\nbody\r\n";
    let delivery = Delivery {
        message: Arc::new(PreparedMessage::new(raw).unwrap()),
        received: Timestamp(0),
        key: None,
        recipients: vec![DeliveryRecipient {
            account: rig.account,
            mailbox: None,
            prefix: "Return-Path: <sender@example.test>\r\n.Odd: 1\r\n".into(),
            flags: Flags::default(),
        }],
        confirmed: Vec::new(),
    };
    let mut lane = rig.twin.open_lane().await.unwrap();
    rig.twin.deliver(&mut lane, delivery).await.unwrap();
    let mut wire = logged_in(&rig).await;
    wire.play(
        "C: LIST 1
         S: +OK 1 65
         C: TOP 1 0
         S: +OK ...
         S: Return-Path: <sender@example.test>
         S: ..Odd: 1
         S: Subject: x
         S: 
         S: .
         C: QUIT
         S: +OK ...
         END",
    )
    .await;
    // And SEARCH finds them there.
    let mut imap = rig.selected().await;
    imap.play(
        "C: a1 SEARCH HEADER Return-Path sender@
         S: * SEARCH 1
         S: a1 OK ...
         C: a2 SEARCH TEXT \"path: <sender\"
         S: * SEARCH 1
         S: a2 OK ...
         C: a3 SEARCH BODY sender
         S: * SEARCH
         S: a3 OK ...
         C: a4 SEARCH NOT TEXT elsewhere FROM \"\"
         S: * SEARCH
         S: a4 OK ...",
    )
    .await;
}

/// IMAP's APPEND and SMTP's BINARYMIME take lines that end otherwise, and keep them; POP3 counts what it sends.
#[tokio::test]
async fn sizes_are_those_of_what_is_sent() {
    let rig = Rig::new().await;
    let mut imap = rig.logged_in().await;
    imap.play(
        r"C- a1 APPEND INBOX {24+}\r\nSubject: x\n\n.a\nb\r\nc\rd\n.e\r\n
          S~ a1 OK ...
          C: a2 LOGOUT
          S~ a2 OK ...",
    )
    .await;
    let mut runner = TestRunner::deterministic();
    let mut some = || {
        let text = "[.a\r\n]{0,30}".new_tree(&mut runner).unwrap();
        text.current()
    };
    rig.add_raw((0..100).map(|_| some())).await;
    rig.add_mail(&["Subject: y\n\nas it should be\n"]).await;
    let delivery = Delivery {
        message: Arc::new(PreparedMessage::new(b"\nbare\nto its end").unwrap()),
        received: Timestamp(0),
        key: None,
        recipients: vec![DeliveryRecipient {
            account: rig.account,
            mailbox: None,
            prefix: "Return-Path: <>\r\n".into(),
            flags: Flags::default(),
        }],
        confirmed: Vec::new(),
    };
    let mut lane = rig.twin.open_lane().await.unwrap();
    rig.twin.deliver(&mut lane, delivery).await.unwrap();
    // A copy has the size of its original.
    let mut imap = rig.selected().await;
    imap.play("C: a1 COPY 1:103 INBOX\nS~ a1 OK ...").await;

    let mut wire = logged_in(&rig).await;
    let sizes = lines(&mut wire, "LIST").await;
    assert_eq!(sizes.len(), 206);
    assert_eq!(sizes[0], "1 30");
    let mut sum = 0;
    for (number, listed) in (1..).zip(sizes) {
        wire.send(format!("RETR {number}\r\n").as_bytes()).await;
        let told = wire.line().await.unwrap();
        let mut sent = 0;
        loop {
            let line = wire.line().await.unwrap();
            assert!(!line.ends_with('\n'), "{line:?}");
            if line == "." {
                break;
            }
            sent += line.strip_prefix('.').unwrap_or(&line).len() + 2;
        }
        assert_eq!(told, format!("+OK {sent} octets"));
        assert_eq!(listed, format!("{number} {sent}"));
        sum += sent;
    }
    wire.play(&format!("C: STAT\nS: +OK 206 {sum}")).await;
}

#[tokio::test]
async fn large_messages_to_slow_clients() {
    let rig = Rig::with(|settings| settings.under_way_patience = Duration::from_millis(300)).await;
    let text = ".a line of a message\n".repeat(60_000);
    let message = format!("Subject: large\n\n{text}");
    rig.add_mail(&[&message]).await;
    // So little is on the way that the server waits for the client all the time.
    let mut wire = rig.connect(Door {
        capacity: 512,
        ..DOOR
    });
    wire.play(LOGIN).await;
    let read = lines(&mut wire, "RETR 1").await;
    assert_eq!(read.len(), 60_002);
    assert!(read[2..].iter().all(|line| line == "..a line of a message"));
    let read = lines(&mut wire, "TOP 1 30000").await;
    assert_eq!(read.len(), 30_002);
    // A message that breaks off ends the connection, lest what follows be taken for the rest of it.
    wire.send(b"RETR 1\r\n").await;
    for _ in 0..100 {
        wire.line().await.unwrap();
    }
    rig.twin.set_reachable(false);
    let mut last = String::new();
    while let Some(line) = wire.line().await {
        last = line;
    }
    assert_ne!(last, ".");
}

#[tokio::test]
async fn a_client_that_stops_reading_is_given_up() {
    let rig = Rig::with(|settings| settings.write_timeout = Duration::from_millis(50)).await;
    let message = format!("Subject: large\n\n{}", "line\n".repeat(100_000));
    rig.add_mail(&[&message]).await;
    let mut wire = logged_in(&rig).await;
    wire.send(b"RETR 1\r\n").await;
    wire.session.await.unwrap();
    // The maildrop is free again.
    logged_in(&rig).await;
}

#[tokio::test]
async fn silent_clients_are_sent_away() {
    let rig = Rig::with(|settings| {
        settings.login_timeout = Duration::from_millis(100);
        settings.pop3_idle_timeout = Duration::from_secs(3600);
    })
    .await;
    let mut wire = rig.connect(DOOR);
    wire.play("S: +OK ...\nS: -ERR [SYS/TEMP] ...\nEND").await;
    let rig = Rig::with(|settings| settings.pop3_idle_timeout = Duration::from_millis(100)).await;
    rig.add_numbered(1).await;
    let mut wire = logged_in(&rig).await;
    wire.play("C: DELE 1\nS: +OK ...\nS: -ERR [SYS/TEMP] ...\nEND")
        .await;
    assert_eq!(exists(&rig).await, "* STATUS INBOX (MESSAGES 1)");
}

#[tokio::test]
async fn guessing_is_slow_and_ends() {
    let rig = Rig::with(|settings| settings.failed_login_delay = Duration::from_millis(1)).await;
    let mut wire = rig.connect(DOOR);
    wire.play("S: +OK ...").await;
    for _ in 0..9 {
        wire.play("C: USER nobody@example.test\nS: +OK ...\nC: PASS x\nS: -ERR [AUTH] ...")
            .await;
    }
    wire.play("C: USER nobody@example.test\nS: +OK ...\nC: PASS x\nS: -ERR [AUTH] ...\nEND")
        .await;
}

#[tokio::test]
async fn lines_without_end() {
    let rig = Rig::new().await;
    let mut wire = rig.connect(DOOR);
    wire.play("S: +OK ...").await;
    wire.send(&[b'x'; 300]).await;
    wire.play("S: -ERR ...").await;
    wire.send(&[b'x'; 64 << 10]).await;
    wire.play("S: -ERR ...\nEND").await;
}

#[tokio::test]
async fn a_maildrop_of_many_messages() {
    let rig = Rig::new().await;
    add_copies(&rig, MANY).await;
    let mut wire = logged_in(&rig).await;
    let listed = lines(&mut wire, "LIST").await;
    assert_eq!(listed.len(), MANY);
    let ids = lines(&mut wire, "UIDL").await;
    assert_eq!(ids.len(), MANY);
    for number in 1..=MANY / 2 {
        wire.send(format!("DELE {number}\r\n").as_bytes()).await;
        assert!(wire.line().await.unwrap().starts_with("+OK"));
    }
    let left = MANY - MANY / 2;
    wire.play(&format!(
        "C: STAT\nS: +OK {left} ...\nC: QUIT\nS: +OK ...\nEND"
    ))
    .await;
    assert_eq!(
        exists(&rig).await,
        format!("* STATUS INBOX (MESSAGES {left})")
    );
}

const MANY: usize = 100_000;

/// One prepared message for all, as preparing is what takes the time.
async fn add_copies(rig: &Rig, count: usize) {
    let prepared = Arc::new(PreparedMessage::new(b"Subject: x\r\n\r\nx\r\n").unwrap());
    let mut lane = rig.twin.open_lane().await.unwrap();
    let message = (prepared, Flags::default(), Timestamp(0));
    let append = Append {
        mailbox: MailboxRef::Name(MailboxName::inbox()),
        messages: vec![message; 10_000],
    };
    for _ in 0..count / append.messages.len() {
        let appended = rig
            .twin
            .append(&mut lane, rig.account, append.clone())
            .await;
        appended.unwrap().unwrap();
    }
}

#[tokio::test]
async fn stls_forgets_what_came_before_it() {
    let rig = Rig::new().await;
    rig.add_numbered(1).await;
    let door = Door {
        plaintext_login: false,
        starttls: true,
        ..DOOR
    };
    let mut wire = rig.connect(door);
    // The second command is injected in the clear: it must be neither obeyed nor answered.
    wire.play(
        r"S: +OK ...
          C- STLS\r\nQUIT\r\n
          S: +OK ...",
    )
    .await;
    let mut wire = Wire::over(Box::new(tls(&rig, wire.stream).await), wire.session);
    let offered = lines(&mut wire, "CAPA").await;
    assert!(offered.contains(&"SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN".to_owned()));
    assert!(!offered.contains(&"STLS".to_owned()));
    wire.play(
        "C: STLS
         S: -ERR ...
         C: USER user1@example.test
         S: +OK ...
         C: PASS secret
         S: +OK ...
         C: STAT
         S: +OK 1 ...
         C: QUIT
         S: +OK ...
         END",
    )
    .await;
}

/// What a client may send, sensible or not.
const PIECES: [&str; 24] = [
    "USER user1@example.test\r\n",
    "PASS secret\r\n",
    "PASS wrong\r\n",
    "AUTH PLAIN\r\n",
    "AUTH PLAIN AHVzZXIxQGV4YW1wbGUudGVzdABzZWNyZXQ=\r\n",
    "AHVzZXIxQGV4YW1wbGUudGVzdABzZWNyZXQ=\r\n",
    "AUTH\r\n",
    "*\r\n",
    "STLS\r\n",
    "STAT\r\n",
    "LIST\r\n",
    "LIST 2\r\n",
    "UIDL\r\n",
    "RETR 1\r\n",
    "RETR 4294967295\r\n",
    "TOP 1 0\r\n",
    "TOP 2 4294967295\r\n",
    "DELE 1\r\n",
    "RSET\r\n",
    "UTF8\r\n",
    "\r\n",
    "\0\u{ff}\n",
    "no line",
    "CAPA\n",
];

#[tokio::test]
async fn any_order_of_anything_is_answered() {
    let rig = Rig::with(|settings| settings.failed_login_delay = Duration::ZERO).await;
    rig.add_numbered(3).await;
    let mut runner = TestRunner::deterministic();
    let pieces = prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..60);
    for _ in 0..100 {
        let said = pieces.new_tree(&mut runner).unwrap().current().concat();
        let mut wire = rig.connect(DOOR);
        wire.send(said.as_bytes()).await;
        // Whatever state that has led to, the session is still there, unless it has said why not.
        wire.send(b"\r\n*\r\nQUIT\r\n").await;
        let mut last = String::new();
        while let Some(line) = wire.line().await {
            last = line;
        }
        assert!(
            last.starts_with("+OK goodbye") || last == "-ERR [AUTH] too many failed logins",
            "{said:?}: {last}"
        );
        wire.session.await.unwrap();
        if last.contains("gone") {
            rig.add_numbered(1).await;
        }
    }
}
