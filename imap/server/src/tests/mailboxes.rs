//! CREATE to LIST, STATUS and QUOTA.

use super::rig::{Door, Rig};

#[tokio::test]
async fn lists() {
    let rig = Rig::new().await;
    rig.logged_in()
        .await
        .play(
            r#"C: a1 LIST "" ""
               S: * LIST (\Noselect) "/" ""
               S: a1 OK ...
               C: a2 LIST "" "%"
               S: * LIST (\HasNoChildren \Archive) "/" Archive
               S: * LIST (\HasNoChildren \Drafts) "/" Drafts
               S: * LIST (\HasNoChildren) "/" INBOX
               S: * LIST (\HasNoChildren \Junk) "/" Junk
               S: * LIST (\HasNoChildren \Sent) "/" Sent
               S: * LIST (\HasNoChildren \Trash) "/" Trash
               S: a2 OK ...
               C: a3 CREATE a/b/c
               S: a3 OK [MAILBOXID (...)] ...
               C: a4 DELETE a/b
               S: a4 OK ...
               C: a5 LIST "a/" "*"
               S: * LIST (\NonExistent \Noselect \HasChildren) "/" a/b
               S: * LIST (\HasNoChildren) "/" a/b/c
               S: a5 OK ...
               C: a6 SUBSCRIBE a/b/c
               S: a6 OK ...
               C: a7 LSUB "" "a/%"
               S: * LSUB (\Noselect) "/" a/b
               S: a7 OK ...
               C: a8 LIST (SUBSCRIBED) "" (a* Sent)
               S: * LIST (\Subscribed) "/" Sent
               S: * LIST (\Subscribed) "/" a/b/c
               S: a8 OK ...
               C: a9 LIST (SUBSCRIBED RECURSIVEMATCH) "" a
               S: * LIST () "/" a ("CHILDINFO" ("SUBSCRIBED"))
               S: a9 OK ...
               C: b1 LIST (SPECIAL-USE) "" "*" RETURN (STATUS (MESSAGES))
               S: * LIST (\Archive) "/" Archive
               S: * STATUS Archive (MESSAGES 0)
               S* * LIST (\Trash) "/" Trash
               S~ b1 OK ...
               C: b2 UNSUBSCRIBE a/b/c
               S: b2 OK ..."#,
        )
        .await;
}

#[tokio::test]
async fn creates_renames_deletes() {
    let rig = Rig::new().await;
    rig.logged_in()
        .await
        .play(
            r#"C: a1 CREATE inbox
               S: a1 NO [ALREADYEXISTS] ...
               C: a2 CREATE t&AOQ-st (USE (\Junk))
               S: a2 NO [USEATTR] ...
               C: a3 CREATE t&AOQ-st
               S: a3 OK ...
               C: a4 RENAME t&AOQ-st other
               S: a4 OK ...
               C: a5 DELETE t&AOQ-st
               S: a5 NO [NONEXISTENT] ...
               C: a6 DELETE INBOX
               S: a6 NO [CANNOT] ...
               C: a7 RENAME other Sent
               S: a7 NO [ALREADYEXISTS] ...
               C: a8 STATUS nowhere (MESSAGES)
               S: a8 NO [NONEXISTENT] ...
               C: a9 STATUS other (MESSAGES RECENT UIDNEXT UNSEEN SIZE APPENDLIMIT MAILBOXID DELETED-STORAGE)
               S: * STATUS other (MESSAGES 0 RECENT 0 UIDNEXT 1 UNSEEN 0 SIZE 0 APPENDLIMIT 52428800 MAILBOXID (...) DELETED-STORAGE 0)
               S: a9 OK ..."#,
        )
        .await;
}

#[tokio::test]
async fn quota() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Door::default());
    client
        .play(
            r#"S: * OK ...
               C: a1 LOGIN small@example.test secret
               S: a1 OK ...
               C: a2 GETQUOTAROOT INBOX
               S: * QUOTAROOT INBOX ""
               S: * QUOTA "" (STORAGE 0 1)
               S: a2 OK ...
               C: a3 SETQUOTA "" (STORAGE 100000)
               S: a3 NO [NOPERM] ...
               C: a4 GETQUOTA nowhere
               S: a4 NO [NONEXISTENT] ..."#,
        )
        .await;
    let large = "x".repeat(3000);
    client
        .send(format!("a5 APPEND INBOX {{3000+}}\r\n{large}\r\n").as_bytes())
        .await;
    client.play("S: a5 NO [OVERQUOTA] ...").await;
}

#[tokio::test]
async fn unknown_is_not_absent() {
    let rig = Rig::new().await;
    let mut client = rig.selected().await;
    rig.twin.set_reachable(false);
    client
        .play(
            r#"C: a1 STATUS Sent (MESSAGES)
               S: a1 NO [UNAVAILABLE] ...
               C: a2 LIST "" "*"
               S: a2 NO [UNAVAILABLE] ...
               C: a3 NOOP
               S: a3 NO [UNAVAILABLE] ...
               C: a4 SELECT Sent
               S: * OK [CLOSED] ...
               S: a4 NO [UNAVAILABLE] ..."#,
        )
        .await;
    rig.twin.set_reachable(true);
    client.play("C: a5 SELECT Sent\nS~ a5 OK ...").await;
}
