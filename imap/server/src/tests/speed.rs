//! Figures, not promises: `cargo test --release -p mailrook-imap-server -- --ignored --nocapture speed`.

use std::time::Instant;

use tokio::io::AsyncReadExt;

use super::rig::{Rig, Wire};

/// Reads until the line that begins with the tag; how many bytes that were, and the milliseconds since the command.
async fn timed(client: &mut Wire, command: &str) -> (usize, f64) {
    let begin = Instant::now();
    client.send(format!("t {command}\r\n").as_bytes()).await;
    let (mut read, mut tail) = (0, Vec::new());
    let mut piece = vec![0; 1 << 20];
    loop {
        let len = client.stream.read(&mut piece).await.unwrap();
        assert!(len > 0, "the server closes");
        read += len;
        tail.extend_from_slice(&piece[..len]);
        if tail.ends_with(b"\r\n") {
            let last = tail[..tail.len() - 2]
                .iter()
                .rposition(|byte| *byte == b'\n');
            let last = &tail[last.map_or(0, |at| at + 1)..];
            if last.starts_with(b"t ") {
                assert!(
                    last.starts_with(b"t OK"),
                    "{:?}",
                    String::from_utf8_lossy(last)
                );
                return (read, begin.elapsed().as_secs_f64() * 1000.0);
            }
        }
        let keep = tail.len().saturating_sub(1000);
        tail.drain(..keep);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures"]
async fn speed() {
    let rig = Rig::new().await;
    for _ in 0..100 {
        rig.add_numbered(1000).await;
    }
    rig.add_mail(&[&format!(
        "Subject: x\n\n{}",
        "0123456789abcdef\n".repeat(1 << 20)
    )])
    .await;
    let mut client = rig.selected().await;
    for command in [
        "FETCH 1:* (UID FLAGS)",
        "FETCH 1:* (UID FLAGS)",
        "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1)",
        "FETCH 1:10000 (UID FLAGS ENVELOPE INTERNALDATE RFC822.SIZE)",
        "FETCH 1:10000 (UID BODY.PEEK[])",
        "FETCH 1:10000 (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])",
        "FETCH 100001 BODY.PEEK[]",
        "STORE 1:100000 +FLAGS.SILENT (\\Flagged)",
        "STORE 1:1000 +FLAGS (\\Answered)",
        "SELECT INBOX",
        "NOOP",
    ] {
        let (bytes, ms) = timed(&mut client, command).await;
        eprintln!("{ms:9.1} ms {bytes:10} bytes  {command}");
    }
}
