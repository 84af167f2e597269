//! Login, states, ENABLE, ID, COMPRESS, STARTTLS.

use super::rig::{Door, Rig};

#[tokio::test]
async fn greets_and_says_goodbye() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Door::default());
    client
        .play(
            "S: * OK [CAPABILITY IMAP4rev1 IMAP4rev2 ... AUTH=SCRAM-SHA-256 AUTH=PLAIN AUTH=LOGIN] ...
             C: a1 NOOP
             S: a1 OK ...
             C: a2 SELECT INBOX
             S: a2 BAD ...
             C: a3 NONSENSE
             S: a3 BAD ...
             C: a4 LOGIN user1@example.test wrong
             S: a4 NO [AUTHENTICATIONFAILED] ...
             C: a5 LOGIN user1@example.test secret
             S: a5 OK [CAPABILITY ... IDLE ...] ...
             C: a6 LOGIN user1@example.test secret
             S: a6 BAD ...
             C: a7 LOGOUT
             S: * BYE ...
             S: a7 OK ...
             END",
        )
        .await;
}

#[tokio::test]
async fn plain_with_and_without_initial_response() {
    let rig = Rig::new().await;
    for script in [
        "S: * OK ...
         C: a1 AUTHENTICATE PLAIN AHVzZXIxQGV4YW1wbGUudGVzdABzZWNyZXQ=
         S: a1 OK ...",
        "S: * OK ...
         C: a1 AUTHENTICATE PLAIN
         S: + 
         C: AHVzZXIxQGV4YW1wbGUudGVzdABzZWNyZXQ=
         S: a1 OK ...",
        "S: * OK ...
         C: a1 AUTHENTICATE LOGIN
         S: + VXNlcm5hbWU6
         C: dXNlcjFAZXhhbXBsZS50ZXN0
         S: + UGFzc3dvcmQ6
         C: c2VjcmV0
         S: a1 OK ...",
        "S: * OK ...
         C: a1 AUTHENTICATE PLAIN
         S: + 
         C: *
         S: a1 BAD ...
         C: a2 AUTHENTICATE CRAM-MD5
         S: a2 NO ...
         C: a3 AUTHENTICATE PLAIN
         S: + 
         C: not base64!
         S: a3 BAD ...",
    ] {
        rig.connect(Door::default()).play(script).await;
    }
}

#[tokio::test]
async fn no_password_without_tls() {
    let rig = Rig::new().await;
    let door = Door {
        plaintext_login: false,
        starttls: true,
        ..Door::default()
    };
    rig.connect(door)
        .play(
            "S: * OK [CAPABILITY ... STARTTLS LOGINDISABLED] ...
             C: a1 LOGIN user1@example.test secret
             S: a1 NO [PRIVACYREQUIRED] ...
             C: a2 AUTHENTICATE PLAIN AHVzZXIxQGV4YW1wbGUudGVzdABzZWNyZXQ=
             S: a2 NO [PRIVACYREQUIRED] ...",
        )
        .await;
}

#[tokio::test]
async fn names_of_the_session() {
    let rig = Rig::new().await;
    rig.logged_in()
        .await
        .play(
            r#"C: a1 ID ("name" "test")
               S: * ID ("name" "Mailrook" "version" ...)
               S: a1 OK ...
               C: a2 NAMESPACE
               S: * NAMESPACE (("" "/")) NIL NIL
               S: a2 OK ...
               C: a3 ENABLE QRESYNC NOSUCH IMAP4rev2
               S: * ENABLED QRESYNC IMAP4rev2
               S: a3 OK ..."#,
        )
        .await;
}

#[tokio::test]
async fn selects() {
    let rig = Rig::new().await;
    rig.add_numbered(3).await;
    rig.logged_in()
        .await
        .play(
            r"C: a1 SELECT inbox
              S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
              S: * 3 EXISTS
              S: * 0 RECENT
              S: * OK [UNSEEN 1] ...
              S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] ...
              S: * OK [UIDVALIDITY ...] ...
              S: * OK [UIDNEXT 4] ...
              S: * OK [HIGHESTMODSEQ ...] ...
              S: * OK [MAILBOXID (m...)] ...
              S: a1 OK [READ-WRITE] ...
              C: a2 EXAMINE INBOX
              S: * OK [CLOSED] ...
              S~ a2 OK [READ-ONLY] ...
              C: a3 STORE 1 FLAGS (\Seen)
              S: a3 NO [READ-ONLY] ...
              C: a4 SELECT nowhere
              S: * OK [CLOSED] ...
              S: a4 NO [NONEXISTENT] ...
              C: a5 FETCH 1 FLAGS
              S: a5 BAD ...",
        )
        .await;
}
