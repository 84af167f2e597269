//! Sessions that see each other's changes (RFC 9051 §5.5, §7.5.1).

use super::rig::{Rig, play};

#[tokio::test]
async fn changes_are_told_where_they_may_be() {
    let rig = Rig::new().await;
    rig.add_numbered(4).await;
    let (mut one, mut two) = (rig.selected().await, rig.selected().await);
    play(
        &mut [&mut one, &mut two],
        r"C1: a1 STORE 2,3 +FLAGS (\Deleted $Done)
          S1: * FLAGS (... $Done)
          S1: * 2 FETCH (FLAGS (\Deleted $Done))
          S1: * 3 FETCH (FLAGS (\Deleted $Done))
          S1: a1 OK ...
          C2: b1 FETCH 1 UID
          S2: * 1 FETCH (UID 1)
          S2: * FLAGS (... $Done)
          S2: * 2 FETCH (FLAGS (\Deleted $Done))
          S2: * 3 FETCH (FLAGS (\Deleted $Done))
          S2: b1 OK ...
          C1: a2 EXPUNGE
          S1: * 3 EXPUNGE
          S1: * 2 EXPUNGE
          S1: a2 OK ...
          C2: b2 FETCH 3:4 UID
          S2: * 4 FETCH (UID 4)
          S2: b2 OK [EXPUNGEISSUED] ...
          C2: b3 STORE 4 +FLAGS.SILENT (\Seen)
          S2: b3 OK ...
          C1: a3 NOOP
          S1: * 2 FETCH (FLAGS (\Seen))
          S1: a3 OK ...
          C2: b4 UID FETCH 4 UID
          S2: * 4 FETCH (UID 4)
          S2: * 3 EXPUNGE
          S2: * 2 EXPUNGE
          S2: b4 OK ...
          C1- a4 APPEND INBOX {3+}\r\nnew\r\n
          S1: * 3 EXISTS
          S1: * 0 RECENT
          S1: a4 OK ...
          C2: b5 STATUS INBOX (MESSAGES UIDNEXT)
          S2: * STATUS INBOX (MESSAGES 3 UIDNEXT 6)
          S2: * 3 EXISTS
          S2: * 0 RECENT
          S2: b5 OK ...",
    )
    .await;
}

#[tokio::test]
async fn idle_hears_at_once() {
    let rig = Rig::new().await;
    rig.add_numbered(2).await;
    let (mut one, mut two) = (rig.selected().await, rig.selected().await);
    play(
        &mut [&mut one, &mut two],
        r"C2: b1 IDLE
          S2: + idling
          C1: a1 STORE 1 FLAGS (\Flagged)
          S1: * 1 FETCH (FLAGS (\Flagged))
          S1: a1 OK ...
          S2: * 1 FETCH (FLAGS (\Flagged))
          C1: a2 MOVE 2 Trash
          S1: * OK [COPYUID ... 2 1] ...
          S1: * 2 EXPUNGE
          S1: a2 OK ...
          S2: * 2 EXPUNGE
          C1- a3 APPEND INBOX {3+}\r\nnew\r\n
          S1: * 2 EXISTS
          S1: * 0 RECENT
          S1: a3 OK ...
          S2: * 2 EXISTS
          S2: * 0 RECENT
          C2: done
          S2: b1 OK ...
          C2: b2 IDLE
          S2: + idling
          C2: b3 NOOP
          S2: b2 BAD ...
          C2: b4 NOOP
          S2: b4 OK ...",
    )
    .await;
}

#[tokio::test]
async fn qresync_hears_of_uids() {
    let rig = Rig::new().await;
    rig.add_numbered(5).await;
    let (mut one, mut two) = (rig.logged_in().await, rig.selected().await);
    play(
        &mut [&mut one, &mut two],
        r"C1: a1 ENABLE QRESYNC
          S1: * ENABLED QRESYNC
          S1: a1 OK ...
          C1: a2 SELECT INBOX
          S~1: a2 OK ...
          C2: b1 STORE 2:3 FLAGS.SILENT (\Deleted)
          S2: b1 OK ...
          C1: a3 NOOP
          S1: * 2 FETCH (UID 2 MODSEQ (...) FLAGS (\Deleted))
          S1: * 3 FETCH (UID 3 MODSEQ (...) FLAGS (\Deleted))
          S1: a3 OK ...
          C2: b2 EXPUNGE
          S2: * 3 EXPUNGE
          S2: * 2 EXPUNGE
          S2: b2 OK ...
          C1: a4 NOOP
          S1: * VANISHED 2:3
          S1: a4 OK ...
          C1: a5 STORE 1 +FLAGS.SILENT (\Deleted)
          S1: * 1 FETCH (MODSEQ (...))
          S1: a5 OK ...
          C1: a6 UID EXPUNGE 1:*
          S1: * VANISHED 1
          S1: a6 OK [HIGHESTMODSEQ ...] ...
          C1: a7 UID FETCH 1:* (UID) (CHANGEDSINCE 1 VANISHED)
          S1: * VANISHED (EARLIER) 1:3
          S1: * 1 FETCH (MODSEQ (...) UID 4)
          S1: * 2 FETCH (MODSEQ (...) UID 5)
          S1: a7 OK ...
          C1: a8 STORE 2 +FLAGS.SILENT (\Deleted)
          S1: * 2 FETCH (MODSEQ (...))
          S1: a8 OK ...
          C1: a9 EXPUNGE
          S1: * VANISHED 5
          S1: a9 OK [HIGHESTMODSEQ ...] ...
          C1: a10 UID FETCH 4:* (UID) (CHANGEDSINCE 1 VANISHED)
          S1: * VANISHED (EARLIER) 5
          S1: * 1 FETCH (MODSEQ (...) UID 4)
          S1: a10 OK ...
          C1- a11 APPEND INBOX {3+}\r\nnew\r\n
          S1: * 2 EXISTS
          S1: * 0 RECENT
          S1: a11 OK ...
          C1: a12 STORE 1:2 +FLAGS.SILENT (\Deleted)
          S1: * 1 FETCH (MODSEQ (...))
          S1: * 2 FETCH (MODSEQ (...))
          S1: a12 OK ...
          C1: a13 EXPUNGE
          S1: * VANISHED 4,6
          S1: a13 OK [HIGHESTMODSEQ ...] ...
          C1: a14 UID FETCH 2:100 (UID) (CHANGEDSINCE 1 VANISHED)
          S1: * VANISHED (EARLIER) 2:6
          S1: a14 OK ...
          C1: a15 UID FETCH * (UID) (CHANGEDSINCE 1 VANISHED)
          S1: * VANISHED (EARLIER) 6
          S1: a15 OK ..."
            .replace("S~1:", "S1~")
            .as_str(),
    )
    .await;
}

#[tokio::test]
async fn resynchronises_at_select() {
    let rig = Rig::new().await;
    rig.add_numbered(6).await;
    let mut one = rig.logged_in().await;
    one.play("C: a1 ENABLE QRESYNC\nS~ a1 OK ...\nC: a2 SELECT INBOX")
        .await;
    let lines = one.lines_until("a2 ").await;
    let number = |code: &str| {
        let line = lines.iter().find(|line| line.contains(code)).unwrap();
        let at = line.find(code).unwrap() + code.len() + 1;
        line[at..].split(']').next().unwrap().to_owned()
    };
    let (validity, modseq) = (number("UIDVALIDITY"), number("HIGHESTMODSEQ"));
    let mut two = rig.selected().await;
    two.play(
        r"C: b1 STORE 1,4 FLAGS.SILENT (\Deleted)
          S: b1 OK ...
          C: b2 EXPUNGE
          S~ b2 OK ...
          C: b3 STORE 2 FLAGS.SILENT (\Answered)
          S: b3 OK ...",
    )
    .await;
    one.play(&format!(
        r"C: a3 SELECT INBOX (QRESYNC ({validity} {modseq}))
          S* * 4 EXISTS
          S* * VANISHED (EARLIER) 1,4
          S* * 2 FETCH (UID 3 FLAGS (\Answered) MODSEQ (...))
          S! * 1 FETCH ...
          S~ a3 OK [READ-WRITE] ...
          C: a4 SELECT INBOX (QRESYNC ({validity} {modseq} 2:6))
          S* * VANISHED (EARLIER) 4
          S~ a4 OK ...
          C: a5 SELECT INBOX (QRESYNC (1 {modseq}))
          S! * VANISHED ...
          S~ a5 OK ..."
    ))
    .await;
}

#[tokio::test]
async fn a_deleted_mailbox_ends_its_sessions() {
    let rig = Rig::new().await;
    let (mut one, mut two) = (rig.logged_in().await, rig.logged_in().await);
    play(
        &mut [&mut one, &mut two],
        r"C1: a1 CREATE doomed/
          S1: a1 OK [MAILBOXID (...)] ...
          C1: a2 SELECT doomed
          S1~ a2 OK ...
          C2: b1 SELECT doomed
          S2~ b1 OK ...
          C1: a3 DELETE doomed
          S1: * OK [CLOSED] ...
          S1: a3 OK ...
          C1: a4 FETCH 1 FLAGS
          S1: a4 BAD ...
          C2: b2 NOOP
          S2: * BYE ...",
    )
    .await;
}

#[tokio::test]
async fn idle_outlives_a_store_that_cannot_be_reached() {
    let rig = Rig::new().await;
    rig.add_numbered(1).await;
    let mut one = rig.selected().await;
    rig.twin.set_reachable(false);
    one.play("C: a1 IDLE\nS: + idling").await;
    rig.twin.set_reachable(true);
    rig.add_numbered(1).await;
    one.play("S: * 2 EXISTS\nS: * 0 RECENT\nC: DONE\nS: a1 OK ...")
        .await;
}

#[tokio::test]
async fn many_changes_are_told_in_pieces() {
    let rig = Rig::new().await;
    rig.add_numbered(9_000).await;
    let (mut one, mut two) = (rig.selected().await, rig.selected().await);
    two.play(
        r"C: b1 STORE 1:* +FLAGS.SILENT (\Flagged)
          S: b1 OK ...
          C: b2 STORE 1:10 +FLAGS.SILENT (\Deleted)
          S: b2 OK ...
          C: b3 EXPUNGE
          S~ b3 OK ...",
    )
    .await;
    rig.add_numbered(1).await;
    one.send(b"a1 NOOP\r\n").await;
    let lines = one.lines_until("a1 ").await;
    let count = |end: &str| lines.iter().filter(|line| line.ends_with(end)).count();
    assert_eq!((count(" EXPUNGE"), count(" 8991 EXISTS")), (10, 1));
    assert_eq!(count(" FETCH (FLAGS (\\Flagged))"), 8_990);
    one.play("C: a2 NOOP\nS: a2 OK ...").await;
}
