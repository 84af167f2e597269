//! Commands whose answer was lost between the store and the session: NO [UNAVAILABLE] means "perhaps", and the client that
//! sends them again gets what it asked for, once.

use super::rig::Rig;

#[tokio::test]
async fn what_is_asked_for_again_is_done_once() {
    let rig = Rig::new().await;
    rig.add_numbered(2).await;
    let mut client = rig.selected().await;
    let commands = [
        (
            r"APPEND Drafts (\Draft) {3+}\r\nnew\r\n",
            "[APPENDUID ... 1]",
        ),
        (r"COPY 1 Archive\r\n", "[COPYUID ... 1 1]"),
        (r"CREATE Later\r\n", ""),
        (r"RENAME Later Sooner\r\n", ""),
        (r"DELETE Sooner\r\n", ""),
    ];
    for (command, code) in commands {
        rig.twin.set_loses_answers(true);
        for tag in ["a1", "a2"] {
            let script = format!("C- {tag} {command}\nS~ {tag} NO [UNAVAILABLE] ...");
            client.play(&script).await;
        }
        rig.twin.set_loses_answers(false);
        let answer = format!("S: a3 OK {code} ...").replace("OK  ...", "OK ...");
        client.play(&format!("C- a3 {command}\n{answer}")).await;
    }
    // The client hears that the message has gone.
    rig.twin.set_loses_answers(true);
    client
        .play("C: a4 UID MOVE 2 Trash\nS: * 2 EXPUNGE\nS: a4 NO [UNAVAILABLE] ...")
        .await;
    rig.twin.set_loses_answers(false);
    client.play("C: a5 UID MOVE 2 Trash\nS: a5 OK ...").await;
    client
        .play(
            r"C: b1 STATUS Drafts (MESSAGES)
              S: * STATUS Drafts (MESSAGES 1)
              S: b1 OK ...
              C: b2 STATUS Archive (MESSAGES)
              S: * STATUS Archive (MESSAGES 1)
              S: b2 OK ...
              C: b3 STATUS Trash (MESSAGES)
              S: * STATUS Trash (MESSAGES 1)
              S: b3 OK ...
              C: b4 STATUS INBOX (MESSAGES)
              S: * STATUS INBOX (MESSAGES 1)
              S: b4 OK ...
              C- b5 APPEND Drafts (\Draft) {3+}\r\nnew\r\n
              S: b5 OK [APPENDUID ... 2] ...
              C: b6 COPY 1 Archive
              S: b6 OK [COPYUID ... 1 2] ...",
        )
        .await;
}

#[tokio::test]
async fn a_mailbox_that_is_made_again_is_deleted_again() {
    let rig = Rig::new().await;
    let mut client = rig.logged_in().await;
    client.play("C: a1 CREATE x\nS: a1 OK ...").await;
    rig.twin.set_loses_answers(true);
    client
        .play("C: a2 DELETE x\nS: a2 NO [UNAVAILABLE] ...")
        .await;
    rig.twin.set_loses_answers(false);
    client
        .play(
            r#"C: a3 CREATE x
               S: a3 OK ...
               C: a4 DELETE x
               S: a4 OK ...
               C: a5 LIST "" x
               S: a5 OK ..."#,
        )
        .await;
}

#[tokio::test]
async fn another_session_does_not_go_on_with_it() {
    let rig = Rig::new().await;
    let mut one = rig.logged_in().await;
    rig.twin.set_loses_answers(true);
    one.play("C- a1 APPEND INBOX {3+}\\r\\nnew\\r\\n\nS~ a1 NO [UNAVAILABLE] ...")
        .await;
    rig.twin.set_loses_answers(false);
    // It may be somebody else's message of the same bytes.
    let mut two = rig.logged_in().await;
    two.play("C- b1 APPEND INBOX {3+}\\r\\nnew\\r\\n\nS: b1 OK [APPENDUID ... 2] ...")
        .await;
    one.play("C- a2 APPEND INBOX {3+}\\r\\nnew\\r\\n\nS: a2 OK [APPENDUID ... 1] ...")
        .await;
}
