//! FETCH (RFC 9051 §6.4.5).

use super::rig::Rig;

const MULTIPART: &str = "From: a@example.test
Subject: parts
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain

one
--b
Content-Type: application/octet-stream
Content-Transfer-Encoding: base64

AGFiYw==
--b--
";

#[tokio::test]
async fn sections_and_partials() {
    let rig = Rig::new().await;
    rig.add_mail(&[MULTIPART]).await;
    rig.selected()
        .await
        .play(
            r#"C: a1 FETCH 1 BODY.PEEK[1]
               S: * 1 FETCH (BODY[1] {3}
               S: one)
               S: a1 OK ...
               C: a2 FETCH 1 (BODY.PEEK[1.MIME] BODY.PEEK[HEADER.FIELDS (SUBJECT)])
               S: * 1 FETCH (BODY[1.MIME] {28}
               S: Content-Type: text/plain
               S:
               S:  BODY[HEADER.FIELDS (SUBJECT)] {18}
               S: Subject: parts
               S:
               S: )
               S: a2 OK ...
               C: a3 FETCH 1 (BODY.PEEK[]<6.14> BODY.PEEK[9])
               S: * 1 FETCH (BODY[]<6> {14}
               S: a@example.test BODY[9] NIL)
               S: a3 OK ...
               C: a4 FETCH 1 (BINARY.PEEK[2] BINARY.SIZE[2] BINARY.PEEK[2]<1.2>)
               S: * 1 FETCH (BINARY[2] ~{4}
               S: ...abc BINARY.SIZE[2] 4 BINARY[2]<1> {2}
               S: ab)
               S: a4 OK ...
               C: a5 FETCH 1 (BODYSTRUCTURE ENVELOPE)
               S: * 1 FETCH (BODYSTRUCTURE (("text" "plain" ...) ENVELOPE (NIL "parts" ...
               S: a5 OK ...
               C: a6 FETCH 1 FLAGS
               S: * 1 FETCH (FLAGS ())
               S: a6 OK ...
               C: a7 FETCH 1 BODY[1]
               S: * 1 FETCH (FLAGS (\Seen) BODY[1] {3}
               S: one)
               S: a7 OK ...
               C: a8 FETCH 1 (EMAILID THREADID)
               S: * 1 FETCH (EMAILID (e...) THREADID NIL)
               S: a8 OK ...
               C: a9 FETCH 2 FLAGS
               S: a9 BAD ..."#,
        )
        .await;
}

#[tokio::test]
async fn uids_and_modseq_come_by_themselves() {
    let rig = Rig::new().await;
    rig.add_numbered(3).await;
    rig.selected()
        .await
        .play(
            r"C: a1 UID FETCH 2:* FLAGS
              S: * 2 FETCH (UID 2 FLAGS ())
              S: * 3 FETCH (UID 3 FLAGS ())
              S: a1 OK ...
              C: a2 UID FETCH 99 FLAGS
              S: a2 OK ...
              C: a3 FETCH 1 (FLAGS) (CHANGEDSINCE 1)
              S: * 1 FETCH (MODSEQ (...) FLAGS ())
              S: a3 OK ...
              C: a4 UID FETCH 1:3 (UID) (CHANGEDSINCE 1 VANISHED)
              S: a4 BAD ...",
        )
        .await;
}

#[tokio::test]
async fn large_bodies_stream() {
    let rig = Rig::new().await;
    let body = "0123456789abcdef\r\n".repeat(100_000);
    rig.add_mail(&[&format!("Subject: x\n\n{body}")]).await;
    let mut client = rig.selected().await;
    client.send(b"a1 FETCH 1 BODY.PEEK[TEXT]\r\n").await;
    let lines = client.lines_until("a1 ").await;
    assert_eq!(lines[0], "* 1 FETCH (BODY[TEXT] {1800000}");
    assert_eq!(lines.len(), 100_003);
    assert!(
        lines[1..=100_000]
            .iter()
            .all(|line| line == "0123456789abcdef")
    );
}

#[tokio::test]
async fn changes_of_many_pages_are_told_once_each() {
    let rig = Rig::new().await;
    rig.add_numbered(60).await;
    let mut client = rig.selected().await;
    client.send(b"a1 STATUS INBOX (HIGHESTMODSEQ)\r\n").await;
    let status = client.lines_until("a1 ").await;
    let digits = |text: &str| {
        text.chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
    };
    let since = digits(&status[0]);
    // The last first: the order of the changes is not that of the messages.
    let changed: Vec<u32> = (1..=60).rev().filter(|uid| uid % 3 != 0).collect();
    for uid in &changed {
        let store = format!("a2 UID STORE {uid} +FLAGS.SILENT (\\Flagged)\r\n");
        client.send(store.as_bytes()).await;
        client.lines_until("a2 ").await;
    }
    // BODY[TEXT] marks them as seen, which is one more change to each.
    for items in ["UID FLAGS", "UID BODY[TEXT]", "UID ENVELOPE"] {
        let fetch = format!("a3 UID FETCH 1:59 ({items}) (CHANGEDSINCE {since})\r\n");
        client.send(fetch.as_bytes()).await;
        let lines = client.lines_until("a3 ").await;
        assert!(lines.last().unwrap().starts_with("a3 OK"), "{lines:?}");
        let told = lines.iter().filter_map(|line| line.split_once("UID "));
        let mut told: Vec<u32> = told
            .map(|(_, rest)| rest.split([' ', ')']).next().unwrap().parse().unwrap())
            .collect();
        told.sort_unstable();
        let mut wanted: Vec<u32> = changed.iter().copied().filter(|uid| *uid < 60).collect();
        wanted.sort_unstable();
        assert_eq!(told, wanted, "{items}");
    }
}

#[tokio::test]
async fn giant_headers_come_whole_though_in_several_answers_of_the_store() {
    let rig = Rig::new().await;
    let giant = "x".repeat(200 << 10);
    let message = |n| format!("X-Number: {n}\nSubject: {giant}\n\ntext\n");
    rig.add_raw((1..=30).map(message)).await;
    let mut client = rig.selected().await;
    client
        .send(b"a1 FETCH 1:* BODY.PEEK[HEADER.FIELDS (X-NUMBER)]\r\n")
        .await;
    let lines = client.lines_until("a1 ").await;
    let fetched = lines.iter().filter(|line| line.starts_with("* ")).count();
    assert_eq!(fetched, 30);
    let last = lines.last().unwrap();
    assert!(last.starts_with("a1 OK FETCH completed"), "{last}");
}
