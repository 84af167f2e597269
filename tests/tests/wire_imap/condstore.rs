//! CONDSTORE and QRESYNC (RFC 7162).

use crate::{selected, with_mail};

#[test]
fn modseq_is_told_and_grows() {
    // RFC 7162 §3.1.
    with_mail(3).play(
        "C: a1 SELECT INBOX (CONDSTORE)
         S* * OK [HIGHESTMODSEQ <<h>>] ...
         S: a1 OK ...
         C: a2 FETCH 1:3 (UID MODSEQ)
         S* * 1 FETCH (~UID 1 MODSEQ (<<m1>>))
         S* * 2 FETCH (~UID 2 MODSEQ (<<m2>>))
         S* * 3 FETCH (~UID 3 MODSEQ (<<m3>>))
         S: a2 OK ...
         C: a3 UID STORE 2 +FLAGS.SILENT (\\Flagged)
         S* * 2 FETCH (~UID 2 MODSEQ (<<new>>))
         S: a3 OK ...
         C: a4 FETCH 1:3 (FLAGS) (CHANGEDSINCE <<h>>)
         S! * 1 FETCH ...
         S! * 3 FETCH ...
         S* * 2 FETCH (~FLAGS (~\\Flagged ...) MODSEQ (<<new>>) ...)
         S: a4 OK ...
         C: a5 SEARCH MODSEQ <<new>>
         S* * SEARCH 2 (MODSEQ <<new>>)
         S: a5 OK ...
         C: a6 STATUS INBOX (HIGHESTMODSEQ)
         S* * STATUS INBOX (HIGHESTMODSEQ <<new>>)
         S: a6 OK ...",
    );
}

#[test]
fn unchangedsince_refuses_what_changed() {
    // RFC 7162 §3.1.3, examples 4 to 8.
    selected(3).play(
        "C: a1 FETCH 1:3 (MODSEQ)
         S* * 1 FETCH (MODSEQ (<<m1>>))
         S* * 3 FETCH (MODSEQ (<<m3>>))
         S: a1 OK ...
         C: a2 STORE 1 +FLAGS.SILENT (\\Seen)
         S~ a2 OK ...
         C: a3 UID STORE 1,3 (UNCHANGEDSINCE <<m3>>) +FLAGS.SILENT (\\Deleted)
         S* * 3 FETCH (~UID 3 MODSEQ (...))
         S! * 1 FETCH (...Deleted...)
         S: a3 OK [MODIFIED 1] ...
         C: a4 FETCH 1,3 FLAGS
         S! * 1 FETCH (...Deleted...)
         S* * 3 FETCH (~FLAGS (~\\Deleted ...) ...)
         S: a4 OK ...
         C: a5 STORE 2 (UNCHANGEDSINCE 0) +FLAGS (\\Seen)
         S: a5 OK [MODIFIED 2] ...",
    );
}

#[test]
fn a_condstore_enabling_command_brings_modseq_to_flag_changes() {
    selected(1).play(
        "C: a1 STORE 1 +FLAGS (\\Seen)
         S! * 1 FETCH (...MODSEQ...)
         S: a1 OK ...
         C: a2 STATUS INBOX (HIGHESTMODSEQ)
         S~ a2 OK ...
         C: a3 STORE 1 -FLAGS (\\Seen)
         S* * 1 FETCH (...MODSEQ (...)...)
         S: a3 OK ...",
    );
}

#[test]
fn qresync_select_tells_what_vanished_and_changed() {
    // RFC 7162 §3.2.5.
    with_mail(5).play(
        "C: a1 ENABLE QRESYNC
         S* * ENABLED QRESYNC
         S: a1 OK ...
         C: a2 SELECT INBOX
         S* * OK [UIDVALIDITY <<v>>] ...
         S* * OK [HIGHESTMODSEQ <<h>>] ...
         S: a2 OK ...
         C: a3 STORE 2,4 +FLAGS.SILENT (\\Deleted)
         S~ a3 OK ...
         C: a4 EXPUNGE
         S! * ... EXPUNGE
         S* * VANISHED 2,4
         S: a4 OK [HIGHESTMODSEQ <<h2>>] ...
         C: a5 UID STORE 5 +FLAGS (\\Flagged)
         S~ a5 OK ...
         C: a6 UNSELECT
         S: a6 OK ...
         C: a7 SELECT INBOX (QRESYNC (<<v>> <<h>>))
         S* * 3 EXISTS
         S* * VANISHED (EARLIER) 2,4
         S* * 3 FETCH (~UID 5 FLAGS (~\\Flagged ...) MODSEQ (<<m5>>))
         S! * 1 FETCH ...
         S: a7 OK ...
         C: a8 SELECT INBOX (QRESYNC (<<v>> <<h2>> 1:3))
         S* * OK [CLOSED] ...
         S! * VANISHED ...
         S: a8 OK ...
         C: a9 UID FETCH 1:5 (FLAGS) (CHANGEDSINCE <<h>> VANISHED)
         S* * VANISHED (EARLIER) 2,4
         S* * 3 FETCH (~UID 5 FLAGS ... MODSEQ (<<m5>>))
         S: a9 OK ...",
    );
}

#[test]
fn qresync_with_another_uidvalidity_is_ignored() {
    with_mail(2).play(
        "C: a1 ENABLE QRESYNC
         S~ a1 OK ...
         C: a2 SELECT INBOX (QRESYNC (1 1))
         S! * VANISHED ...
         S* * 2 EXISTS
         S: a2 OK ...",
    );
}

#[test]
fn qresync_must_be_enabled_first() {
    with_mail(1).play("C: a1 SELECT INBOX (QRESYNC (1 1))\nS: a1 BAD ...");
}

#[test]
fn uid_expunge_and_move_say_vanished() {
    with_mail(3).play(
        "C: a1 ENABLE QRESYNC
         S~ a1 OK ...
         C: a2 CREATE other
         S: a2 OK ...
         C: a3 SELECT INBOX
         S~ a3 OK ...
         C: a4 UID MOVE 1 other
         S* * VANISHED 1
         S: a4 OK ...
         C: a5 STORE 1 +FLAGS.SILENT (\\Deleted)
         S~ a5 OK ...
         C: a6 UID EXPUNGE 2
         S* * VANISHED 2
         S: a6 OK ...",
    );
}
