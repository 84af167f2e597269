//! CREATE, DELETE, RENAME, SUBSCRIBE, STATUS, QUOTA, OBJECTID, names.

use crate::{fixture, with_mail};

#[test]
fn create_delete_rename() {
    // RFC 9051 §6.3.4 to §6.3.6.
    fixture().imap_in().play(
        r#"C: a1 CREATE owatagusiam/
         S: a1 OK ...
         C: a2 CREATE owatagusiam/blurdybloop
         S: a2 OK ...
         C: a3 CREATE owatagusiam/blurdybloop
         S: a3 NO [ALREADYEXISTS] ...
         C: a4 CREATE INBOX
         S: a4 NO ...
         C: a5 RENAME owatagusiam/blurdybloop sarasoop
         S: a5 OK ...
         C: a6 LIST "" sarasoop
         S* * LIST (...) "/" sarasoop
         S: a6 OK ...
         C: a7 RENAME nowhere elsewhere
         S: a7 NO [NONEXISTENT] ...
         C: a8 DELETE sarasoop
         S: a8 OK ...
         C: a9 DELETE sarasoop
         S: a9 NO [NONEXISTENT] ...
         C: b1 DELETE INBOX
         S: b1 NO ...
         C: b2 SELECT sarasoop
         S~ b2 NO ..."#,
    );
}

#[test]
fn rename_takes_children_along() {
    fixture().imap_in().play(
        r#"C: a1 CREATE a/b/c
         S: a1 OK ...
         C: a2 RENAME a z
         S: a2 OK ...
         C: a3 LIST "" z*
         S* * LIST (...) "/" z/b
         S* * LIST (...) "/" z/b/c
         S: a3 OK ..."#,
    );
}

#[test]
fn rename_of_inbox_moves_the_mail_and_keeps_inbox() {
    // RFC 9051 §6.3.6.
    with_mail(2).play(
        "C: a1 RENAME INBOX old-mail
         S: a1 OK ...
         C: a2 STATUS INBOX (MESSAGES)
         S* * STATUS INBOX (MESSAGES 0)
         S: a2 OK ...
         C: a3 STATUS old-mail (MESSAGES)
         S* * STATUS old-mail (MESSAGES 2)
         S: a3 OK ...",
    );
}

#[test]
fn a_mailbox_made_again_has_another_uidvalidity_or_never_the_same_uids() {
    fixture().imap_in().play(
        "C: a1 CREATE again
         S: a1 OK ...
         C: a2 STATUS again (UIDVALIDITY)
         S: * STATUS again (UIDVALIDITY <<v>>)
         S: a2 OK ...
         C: a3 DELETE again
         S: a3 OK ...
         C: a4 CREATE again
         S: a4 OK ...
         C: a5 STATUS again (UIDVALIDITY)
         S! * STATUS again (UIDVALIDITY <<v>>)
         S: a5 OK ...",
    );
}

#[test]
fn inbox_in_any_case() {
    with_mail(1).play(
        "C: a1 STATUS inbox (MESSAGES)
         S* * STATUS INBOX (MESSAGES 1)
         S: a1 OK ...
         C: a2 SELECT InBoX
         S* * 1 EXISTS
         S: a2 OK ...",
    );
}

#[test]
fn subscriptions_are_independent_of_mailboxes() {
    fixture().imap_in().play(
        r#"C: a1 CREATE Lists
         S: a1 OK ...
         C: a2 SUBSCRIBE Lists
         S: a2 OK ...
         C: a3 LSUB "" *
         S* * LSUB (...) "/" Lists
         S: a3 OK ...
         C: a4 UNSUBSCRIBE Lists
         S: a4 OK ...
         C: a5 LSUB "" Lists
         S! * LSUB ...
         S: a5 OK ..."#,
    );
}

#[test]
fn status_of_everything() {
    // STATUS=SIZE of RFC 8438, DELETED of RFC 9051.
    let size = 2 * mailrook_tests::harness::mail(1).len();
    with_mail(2).with("size", size.to_string()).play(
        "C: a1 STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN RECENT)
         S* * STATUS INBOX (~MESSAGES 2 UIDNEXT 3 UIDVALIDITY <<v>> UNSEEN 2 RECENT <<r>>)
         S: a1 OK ...
         C: a2 STATUS INBOX (SIZE HIGHESTMODSEQ)
         S* * STATUS INBOX (~SIZE <<size>> HIGHESTMODSEQ <<m>>)
         S: a2 OK ...
         C: a3 STATUS nowhere (MESSAGES)
         S: a3 NO ...",
    );
}

#[test]
fn status_deleted_of_rev2() {
    with_mail(2).play(
        "C: a1 SELECT INBOX
         S~ a1 OK ...
         C: a2 STORE 1 +FLAGS (\\Deleted)
         S~ a2 OK ...
         C: a3 UNSELECT
         S: a3 OK ...
         C: a4 STATUS INBOX (DELETED)
         S* * STATUS INBOX (DELETED 1)
         S: a4 OK ...",
    );
}

#[test]
fn names_in_modified_utf_7_and_in_utf_8() {
    // RFC 3501 §5.1.3; after ENABLE IMAP4rev2 names are UTF-8 (RFC 9051 §5.1).
    fixture().imap_in().play(
        r#"C: a1 CREATE Entw&APw-rfe
         S: a1 OK ...
         C: a2 LIST "" Entw*
         S* * LIST (...) "/" Entw&APw-rfe
         S: a2 OK ...
         C: a3 CREATE "Q&-A"
         S: a3 OK ...
         C: a4 CREATE "bad&name"
         S: a4 ...
         C: a5 ENABLE IMAP4rev2
         S~ a5 OK ...
         C: a6 LIST "" Entw*
         S* * LIST (...) "/" "Entwürfe"
         S: a6 OK ...
         C: a7 STATUS "Entwürfe" (MESSAGES)
         S* * STATUS "Entwürfe" (MESSAGES 0)
         S: a7 OK ...
         C: a8 LIST "" Q*
         S* * LIST (...) "/" ...Q&A...
         S: a8 OK ..."#,
    );
}

#[test]
fn bad_names_are_refused() {
    let long = "x".repeat(5_000);
    fixture().imap_in().with("long", long).play(
        r#"C: a1 CREATE ""
         S: a1 ...
         C: a2 CREATE "a//b"
         S: a2 NO ...
         C: a3 CREATE <<long>>
         S: a3 ...
         C: a4 LIST "" *
         S! * LIST ...a//b
         S: a4 OK ..."#,
    );
}

#[test]
fn quota() {
    // RFC 9208 §4.
    with_mail(1).play(
        r#"C: a1 GETQUOTAROOT INBOX
         S* * QUOTAROOT INBOX <<root>>
         S* * QUOTA <<root>> (...)
         S: a1 OK ...
         C: a2 GETQUOTA <<root>>
         S* * QUOTA <<root>> (...)
         S: a2 OK ...
         C: a3 GETQUOTA "no such root"
         S: a3 NO ...
         C: a4 GETQUOTAROOT INBOX
         S~ a4 OK ..."#,
    );
}

#[test]
fn object_ids() {
    // RFC 8474: the id of a mailbox survives RENAME; a message's id goes along with COPY.
    with_mail(1).play(
        "C: a1 CREATE thing
         S: a1 OK [MAILBOXID (<<id>>)] ...
         C: a2 RENAME thing thing2
         S: a2 OK ...
         C: a3 STATUS thing2 (MAILBOXID)
         S* * STATUS thing2 (MAILBOXID (<<id>>))
         S: a3 OK ...
         C: a4 SELECT INBOX
         S* * OK [MAILBOXID (<<inbox>>)] ...
         S: a4 OK ...
         C: a5 FETCH 1 (EMAILID THREADID)
         S* * 1 FETCH (~EMAILID (<<email>>) THREADID ...)
         S: a5 OK ...
         C: a6 COPY 1 thing2
         S: a6 OK ...
         C: a7 SELECT thing2
         S* * OK [MAILBOXID (<<id>>)] ...
         S: a7 OK ...
         C: a8 FETCH 1 EMAILID
         S* * 1 FETCH (~EMAILID (<<email>>))
         S: a8 OK ...
         C: a9 SEARCH EMAILID <<email>>
         S* * SEARCH 1
         S: a9 OK ...",
    );
}

#[test]
fn appendlimit_is_told_and_kept() {
    // RFC 7889 §4.
    fixture().imap_in().play(
        "C: a1 STATUS INBOX (APPENDLIMIT)
         S* * STATUS INBOX (APPENDLIMIT ...)
         S: a1 OK ...
         C: a2 APPEND INBOX {4000000000}
         S: a2 NO [TOOBIG] ...
         C: a3 NOOP
         S: a3 OK ...",
    );
}
