//! APPEND (RFC 9051 §6.3.12, RFC 3502).

use super::rig::Rig;

#[tokio::test]
async fn appends_and_reads_back() {
    let rig = Rig::new().await;
    rig.selected()
        .await
        .play(
            r#"C: a1 APPEND INBOX (\Flagged $Work) "17-Jul-1996 02:44:25 -0700" {20}
               S: + ...
               C- Subject: x\r\n\r\nbody\r\n
               C- \r\n
               S: * FLAGS (... $Work)
               S: * 1 EXISTS
               S: * 0 RECENT
               S: a1 OK [APPENDUID ... 1] ...
               C: a2 FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE UID BODY.PEEK[])
               S: * 1 FETCH (FLAGS (\Flagged $Work) INTERNALDATE "17-Jul-1996 09:44:25 +0000" RFC822.SIZE 20 UID 1 BODY[] {20}
               S: Subject: x
               S: 
               S: body
               S: )
               S: a2 OK ..."#,
        )
        .await;
}

#[tokio::test]
async fn several_messages_are_all_or_none() {
    let rig = Rig::new().await;
    rig.logged_in()
        .await
        .play(
            r"C- a1 APPEND INBOX {3+}\r\none {3+}\r\ntwo\r\n
              S: a1 OK [APPENDUID ... 1:2] ...
              C- a2 APPEND INBOX {3+}\r\none {0+}\r\n\r\n
              S: a2 NO ...
              C: a3 STATUS INBOX (MESSAGES)
              S: * STATUS INBOX (MESSAGES 2)
              S: a3 OK ...",
        )
        .await;
}

#[tokio::test]
async fn as_many_as_there_may_be_and_no_more() {
    let rig = Rig::new().await;
    let mut client = rig.logged_in().await;
    let messages = |count: usize| {
        let one = |n| format!(" {{8+}}\r\nbody{n:04}");
        (0..count).map(one).collect::<String>()
    };
    for (tag, count) in [("a1", 500), ("a2", 1000)] {
        let command = format!("{tag} APPEND INBOX{}\r\n", messages(count));
        client.send(command.as_bytes()).await;
        let lines = client.lines_until(tag).await;
        let ok = format!("{tag} OK [APPENDUID ");
        assert!(
            lines.len() == 1 && lines[0].starts_with(&ok),
            "{}",
            lines[0]
        );
    }
    // Told before the message is sent, and nothing of the others is seen.
    let command = format!("a3 APPEND INBOX{} {{8}}\r\n", messages(1000));
    client.send(command.as_bytes()).await;
    client
        .play(
            r"S: a3 NO [LIMIT] ...
              C: a4 STATUS INBOX (MESSAGES)
              S: * STATUS INBOX (MESSAGES 1500)
              S: a4 OK ...",
        )
        .await;
}

#[tokio::test]
async fn refusals() {
    let rig = Rig::with(|settings| settings.append_limit = 100).await;
    rig.logged_in()
        .await
        .play(
            r"C: a1 APPEND nowhere {3}
              S: a1 NO [TRYCREATE] ...
              C- a2 APPEND nowhere {3+}\r\none\r\n
              S: a2 NO [TRYCREATE] ...
              C: a3 APPEND INBOX {101}
              S: a3 NO [TOOBIG] ...
              C- a4 APPEND INBOX {3}\r\n
              S: + ...
              C- one extra\r\n
              S: a4 BAD ...
              C: a5 NOOP
              S: a5 OK ...",
        )
        .await;
}
