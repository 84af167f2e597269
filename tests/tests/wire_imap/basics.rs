//! The commands that every session knows, syntax, literals, ENABLE, ID, COMPRESS.

use crate::{fixture, selected, with_mail};

#[test]
fn noop_check_and_logout() {
    fixture().imap_in().play(
        "C: a1 NOOP
         S: a1 OK ...
         C: a2 LOGOUT
         S: * BYE ...
         S: a2 OK ...
         END",
    );
}

#[test]
fn bad_syntax_is_bad_and_the_session_goes_on() {
    fixture().imap_in().play(
        r#"C: a1 NOSUCHCOMMAND
         S: a1 BAD ...
         C: a2 SELECT
         S: a2 BAD ...
         C: a3 FETCH 1 FLAGS
         S: a3 BAD ...
         C: a4 LIST "
         S: a4 BAD ...
         C: a5 STATUS INBOX (NOSUCHITEM)
         S: a5 BAD ...
         C: a6 NOOP extra
         S: a6 ...
         C: a7 noop
         S: a7 OK ..."#,
    );
}

#[test]
fn a_line_without_tag_is_answered() {
    fixture()
        .imap_in()
        .play("C:  NOOP\nS: * BAD ...\nC: a2 NOOP\nS: a2 OK ...");
}

#[test]
fn synchronising_and_non_synchronising_literals() {
    // RFC 7888; APPEND's own in `storing`.
    fixture().imap_in().play(
        "C: a1 SELECT {5}
         S: + ...
         C: INBOX
         S~ a1 OK ...
         C- a2 SELECT {5+}\\r\\nINBOX\\r\\n
         S~ a2 OK ...
         C- a3 STATUS {5+}\\r\\nINBOX (MESSAGES)\\r\\na4 NOOP\\r\\n
         S* * STATUS INBOX (MESSAGES 0)
         S: a3 OK ...
         S: a4 OK ...",
    );
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    fixture().imap_in().play(
        "C- a1 NOOP\\r\\na2 SELECT INBOX\\r\\na3 NOOP\\r\\na4 UNSELECT\\r\\n
         S: a1 OK ...
         S~ a2 OK ...
         S~ a3 OK ...
         S~ a4 OK ...",
    );
}

#[test]
fn id() {
    // RFC 2971 §3.
    fixture().imap_in().play(
        r#"C: a1 ID ("name" "sodr" "version" "19.34" "vendor" "Pink Floyd Music Limited")
         S* * ID ...
         S: a1 OK ...
         C: a2 ID NIL
         S* * ID ...
         S: a2 OK ..."#,
    );
}

#[test]
fn namespace() {
    // RFC 2342 §5.
    fixture().imap_in().play(
        r#"C: a1 NAMESPACE
         S* * NAMESPACE (("" "/")) NIL NIL
         S: a1 OK ..."#,
    );
}

#[test]
fn enable_says_what_it_enabled() {
    // RFC 5161 §3.1: unknown names are ignored.
    fixture().imap_in().play(
        "C: a1 ENABLE CONDSTORE X-GOOD-IDEA
         S* * ENABLED CONDSTORE
         S: a1 OK ...
         C: a2 ENABLE X-GOOD-IDEA
         S~ a2 OK ...
         C: a3 ENABLE QRESYNC
         S* * ENABLED QRESYNC
         S: a3 OK ...",
    );
}

#[test]
fn enable_imap4rev2_changes_search_and_drops_recent() {
    // RFC 9051 appendix E: SEARCH answers by ESEARCH, no RECENT.
    with_mail(3).play(
        "C: a1 ENABLE IMAP4rev2
         S* * ENABLED IMAP4rev2
         S: a1 OK ...
         C: a2 SELECT INBOX
         S! * ... RECENT
         S* * 3 EXISTS
         S* * LIST ... INBOX
         S: a2 OK [READ-WRITE] ...
         C: a3 SEARCH UNSEEN
         S* * ESEARCH (TAG \"a3\") ALL 1:3
         S: a3 OK ...",
    );
}

#[test]
fn compress_deflate() {
    // RFC 4978 §3.
    selected(2).play(
        "C: a1 COMPRESS DEFLATE
         S: a1 OK ...
         DEFLATE
         C: a2 FETCH 1:2 (UID BODY.PEEK[TEXT])
         S* * 1 FETCH (~UID <<u1>> BODY[TEXT] {24}\\r\\nThis is text number 1.\\r\\n)
         S* * 2 FETCH (~UID <<u2>> BODY[TEXT] {24}\\r\\nThis is text number 2.\\r\\n)
         S: a2 OK ...
         C: a3 COMPRESS DEFLATE
         S: a3 NO [COMPRESSIONACTIVE] ...
         C: a4 LOGOUT
         S* * BYE ...
         S: a4 OK ...",
    );
}

#[test]
fn compress_other_than_deflate_is_refused() {
    fixture()
        .imap_in()
        .play("C: a1 COMPRESS SNAPPY\nS: a1 ...\nC: a2 NOOP\nS: a2 OK ...");
}

#[test]
fn commands_of_the_selected_state_need_a_mailbox() {
    fixture().imap_in().play(
        "C: a1 SEARCH ALL
         S: a1 BAD ...
         C: a2 EXPUNGE
         S: a2 BAD ...
         C: a3 UID STORE 1 +FLAGS (\\Seen)
         S: a3 BAD ...
         C: a4 CLOSE
         S: a4 BAD ...",
    );
}

#[test]
fn select_tells_what_a_client_must_know() {
    // RFC 9051 §6.3.2.
    with_mail(2).play(
        "C: a1 SELECT INBOX
         S* * FLAGS (~\\Answered \\Flagged \\Deleted \\Seen \\Draft ...)
         S* * 2 EXISTS
         S* * OK [UIDVALIDITY <<validity>>] ...
         S* * OK [UIDNEXT 3] ...
         S* * OK [PERMANENTFLAGS (~\\Answered \\Flagged \\Deleted \\Seen \\Draft \\* ...)] ...
         S: a1 OK [READ-WRITE] ...
         C: a2 EXAMINE INBOX
         S* * 2 EXISTS
         S* * OK [UIDVALIDITY <<validity>>] ...
         S: a2 OK [READ-ONLY] ...
         C: a3 STORE 1 +FLAGS (\\Seen)
         S: a3 NO ...
         C: a4 SELECT nowhere
         S~ a4 NO ...
         C: a5 FETCH 1 FLAGS
         S: a5 BAD ...",
    );
}

#[test]
fn unselect_keeps_and_close_expunges() {
    // RFC 3691; RFC 9051 §6.4.1.
    selected(3).play(
        "C: a1 STORE 1,3 +FLAGS.SILENT (\\Deleted)
         S~ a1 OK ...
         C: a2 UNSELECT
         S: a2 OK ...
         C: a3 STATUS INBOX (MESSAGES)
         S* * STATUS INBOX (MESSAGES 3)
         S: a3 OK ...
         C: a4 SELECT INBOX
         S~ a4 OK ...
         C: a5 CLOSE
         S! * ... EXPUNGE
         S: a5 OK ...
         C: a6 STATUS INBOX (MESSAGES UIDNEXT)
         S* * STATUS INBOX (~MESSAGES 1 UIDNEXT 4)
         S: a6 OK ...",
    );
}

#[test]
fn close_after_examine_expunges_nothing() {
    selected(1).play(
        "C: a1 STORE 1 +FLAGS.SILENT (\\Deleted)
         S~ a1 OK ...
         C: a2 EXAMINE INBOX
         S~ a2 OK ...
         C: a3 CLOSE
         S: a3 OK ...
         C: a4 STATUS INBOX (MESSAGES)
         S* * STATUS INBOX (MESSAGES 1)
         S: a4 OK ...",
    );
}
