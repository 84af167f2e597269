//! Input that nobody sends by mistake.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::{command, session::Session};

use super::rig::{Door, Rig};

#[tokio::test]
async fn the_size_of_a_waiting_session() {
    let rig = Rig::new().await;
    let door = Door::default();
    let client = rig.client(door).0;
    let future = crate::serve_imap(client, rig.context.clone());
    // What each of 10,000 idle clients costs, beside TLS and its view; IDLE adds a box of its own.
    let waiting = size_of_val(&future);
    let mut session = Session::new(rig.client(door).0, rig.context.clone());
    let idling = size_of_val(&command::idle::run(&mut session));
    assert!(
        waiting < 2048 && idling < 1024,
        "{waiting} bytes, {idling} more in IDLE"
    );
}

#[tokio::test]
async fn commands_in_the_wrong_state() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Door::default());
    client.play("S: * OK ...").await;
    let commands = [
        "CHECK x",
        "CLOSE",
        "EXPUNGE",
        "SEARCH ALL",
        "FETCH 1 FLAGS",
        "STORE 1 FLAGS ()",
        "COPY 1 a",
        "MOVE 1 a",
        "UNSELECT",
        "LIST \"\" *",
        "LSUB \"\" *",
        "STATUS INBOX (MESSAGES)",
        "CREATE a",
        "DELETE a",
        "RENAME a b",
        "SUBSCRIBE a",
        "NAMESPACE",
        "IDLE",
        "GETQUOTA \"\"",
        "ENABLE QRESYNC",
        "COMPRESS DEFLATE",
        "STARTTLS",
        "UID EXPUNGE 1",
        "SELECT INBOX",
        "APPEND INBOX {3+}\r\nabc",
    ];
    for (number, command) in commands.iter().enumerate() {
        client
            .send(format!("a{number} {command}\r\n").as_bytes())
            .await;
        let line = client
            .lines_until(&format!("a{number} "))
            .await
            .pop()
            .unwrap();
        let refused = line.contains(" BAD ") || line.contains(" NO ");
        assert!(refused, "{command}: {line}");
        // Twenty in a row would end the session.
        client.play("C: n NOOP\nS: n OK ...").await;
    }
    client
        .play("C: z LOGIN user1@example.test secret\nS: z OK ...")
        .await;
    for (number, command) in commands[..9].iter().enumerate() {
        client
            .send(format!("b{number} {command}\r\n").as_bytes())
            .await;
        let line = client
            .lines_until(&format!("b{number} "))
            .await
            .pop()
            .unwrap();
        assert!(line.contains(" BAD "), "{command}: {line}");
    }
}

#[tokio::test]
async fn nonsense_ends() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Door::default());
    client.send(&b"GET / HTTP/1.1\r\n".repeat(30)).await;
    let lines = client.lines_until("* BYE").await;
    assert_eq!(lines.len(), 22, "{lines:#?}");
    assert_eq!(client.line().await, None);
}

#[tokio::test]
async fn a_fragmented_mailbox_costs_no_more_than_another() {
    let rig = Rig::new().await;
    rig.add_numbered(6_000).await;
    let mut client = rig.selected().await;
    let odd: Vec<String> = (1..=6_000).step_by(2).map(|n| n.to_string()).collect();
    let begin = Instant::now();
    let store = format!(
        "a1 STORE {} +FLAGS.SILENT (\\Deleted)\r\na2 EXPUNGE\r\n",
        odd.join(",")
    );
    client.send(store.as_bytes()).await;
    let lines = client.lines_until("a2 ").await;
    assert_eq!(lines.len(), 3_002);
    client.send(b"a3 FETCH 1:* (UID FLAGS)\r\n").await;
    let lines = client.lines_until("a3 ").await;
    assert_eq!(lines.len(), 3_001);
    assert!(begin.elapsed() < Duration::from_secs(20));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// Whatever is sent, the session answers or ends, and others go on.
    #[test]
    fn noise(noise in prop::collection::vec(piece(), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new().await;
            rig.add_numbered(3).await;
            let mut client = rig.selected().await;
            for piece in &noise {
                use tokio::io::AsyncWriteExt;
                if client.stream.write_all(piece.as_bytes()).await.is_err() {
                    break;
                }
            }
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let _ = client.stream.shutdown().await;
            let mut answer = Vec::new();
            let read = tokio::time::timeout(Duration::from_secs(20), client.stream.read_to_end(&mut answer));
            read.await.expect("the session hangs").ok();
            (&mut client.session).await.expect("the session panics");
            rig.selected().await.play("C: a1 NOOP\nS: a1 OK ...").await;
        });
    }
}

fn piece() -> impl Strategy<Value = String> {
    let words = [
        "a1 ",
        "FETCH ",
        "UID ",
        "1:* ",
        "STORE ",
        "(FLAGS)",
        "+FLAGS ",
        "(\\Seen)",
        "BODY[]",
        "BODY[1.2.MIME]<0.5>",
        "BINARY[1]",
        "SEARCH ",
        "TEXT x",
        "NOT ",
        "OR ",
        "ALL",
        "\r\n",
        "\r\n",
        "\r\n",
        "\r\n",
        "{3}",
        "{3+}",
        "{99999999+}",
        "APPEND INBOX ",
        "SELECT INBOX",
        "SELECT INBOX (QRESYNC (1 1 1:* (1:9 1:9)))",
        "IDLE",
        "DONE",
        "LIST \"\" *%*%*",
        "STATUS INBOX (MESSAGES)",
        "COPY 1 Trash",
        "MOVE 2 Trash",
        "EXPUNGE",
        "CLOSE",
        "NOOP",
        "ENABLE QRESYNC",
        "$",
        "*",
        "4294967295",
        "\0",
        "\"",
        "(",
        ")",
        "{0+}",
        "AUTHENTICATE PLAIN",
        "=",
        "CREATE x/",
        "RENAME INBOX y",
        "COMPRESS DEFLATE",
    ];
    prop_oneof![
        8 => prop::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => "[ -~]{0,40}",
    ]
}
