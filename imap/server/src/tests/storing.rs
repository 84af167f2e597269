//! STORE, COPY, MOVE, EXPUNGE, CLOSE.

use super::rig::Rig;

#[tokio::test]
async fn flags() {
    let rig = Rig::new().await;
    rig.add_numbered(3).await;
    rig.selected()
        .await
        .play(
            r"C: a1 STORE 1:2 FLAGS (\Seen \Flagged)
              S: * 1 FETCH (FLAGS (\Flagged \Seen))
              S: * 2 FETCH (FLAGS (\Flagged \Seen))
              S: a1 OK ...
              C: a2 UID STORE 1 -FLAGS (\Seen)
              S: * 1 FETCH (UID 1 FLAGS (\Flagged))
              S: a2 OK ...
              C: a3 STORE 3 +FLAGS.SILENT (\Draft)
              S: a3 OK ...
              C: a4 FETCH 3 MODSEQ
              S: * 3 FETCH (MODSEQ (...))
              S: a4 OK ...
              C: a5 STORE 1:3 (UNCHANGEDSINCE 1) +FLAGS (\Answered)
              S: a5 OK [MODIFIED 1:3] ...
              C: a6 STORE 3 +FLAGS.SILENT (\Answered)
              S: * 3 FETCH (MODSEQ (...))
              S: a6 OK ...
              C: a7 STORE 9 FLAGS (\Seen)
              S: a7 BAD ...",
        )
        .await;
}

#[tokio::test]
async fn copies_and_moves() {
    let rig = Rig::new().await;
    rig.add_numbered(4).await;
    rig.selected()
        .await
        .play(
            r"C: a1 COPY 2:3 Archive
              S: a1 OK [COPYUID ... 2:3 1:2] ...
              C: a2 COPY 1 nowhere
              S: a2 NO [TRYCREATE] ...
              C: a3 UID MOVE 1 Archive
              S: * OK [COPYUID ... 1 3] ...
              S: * 1 EXPUNGE
              S: a3 OK ...
              C: a4 STORE 1 +FLAGS.SILENT (\Deleted)
              S: a4 OK ...
              C: a5 UID EXPUNGE 3:4
              S: a5 OK ...
              C: a6 CLOSE
              S: a6 OK ...
              C: a7 STATUS INBOX (MESSAGES DELETED SIZE)
              S: * STATUS INBOX (MESSAGES 2 DELETED 0 SIZE ...)
              S: a7 OK ...
              C: a8 UNSELECT
              S: a8 BAD ...",
        )
        .await;
}
