//! Several sessions on one mailbox: each sees the other's changes, with correct numbers, when it may.

use crate::{fixture, selected, with_mail};

const SECOND: &str =
    "S2: * OK ...\nC2: l LOGIN <<user>> <<pass>>\nS2~ l OK ...\nC2: s SELECT INBOX\nS2~ s OK ...";

#[test]
fn flags_and_new_mail_come_with_noop() {
    let mut script = selected(2);
    script.play(SECOND).play(
        "C2: b1 STORE 1 +FLAGS (\\Flagged)
         S2~ b1 OK ...
         C2- b2 APPEND INBOX {<<size1>>+}\\r\\n<<mail1>>\\r\\n
         S2~ b2 OK ...
         C: a1 NOOP
         S* * 3 EXISTS
         S* * 1 FETCH (~FLAGS (~\\Flagged ...) ...)
         S: a1 OK ...",
    );
}

#[test]
fn silent_is_silent_for_the_one_who_stores_only() {
    let mut script = selected(1);
    script.play(SECOND).play(
        "C2: b1 STORE 1 +FLAGS.SILENT (\\Answered)
         S2! * 1 FETCH ...
         S2: b1 OK ...
         C: a1 NOOP
         S* * 1 FETCH (~FLAGS (~\\Answered ...) ...)
         S: a1 OK ...",
    );
}

#[test]
fn expunges_wait_until_they_may_be_told() {
    // RFC 9051 §7.5.1: no EXPUNGE while FETCH, STORE or SEARCH is answered; numbers stay what they were until then.
    let mut script = selected(3);
    script.play(SECOND).play(
        "C2: b1 STORE 1 +FLAGS.SILENT (\\Deleted)
         S2~ b1 OK ...
         C2: b2 EXPUNGE
         S2* * 1 EXPUNGE
         S2: b2 OK ...
         C: a1 FETCH 2:3 UID
         S! * ... EXPUNGE
         S* * 2 FETCH (UID 2)
         S* * 3 FETCH (UID 3)
         S: a1 OK ...
         C: a2 STORE 2 +FLAGS.SILENT (\\Seen)
         S! * ... EXPUNGE
         S: a2 OK ...
         C: a3 NOOP
         S* * 1 EXPUNGE
         S: a3 OK ...
         C: a4 FETCH 1 UID
         S* * 1 FETCH (UID 2)
         S: a4 OK ...",
    );
}

#[test]
fn uid_commands_may_tell_expunges() {
    let mut script = selected(3);
    script.play(SECOND).play(
        "C2: b1 STORE 2 +FLAGS.SILENT (\\Deleted)
         S2~ b1 OK ...
         C2: b2 EXPUNGE
         S2~ b2 OK ...
         C: a1 UID STORE 3 +FLAGS.SILENT (\\Seen)
         S~ a1 OK ...
         C: a2 NOOP
         S~ a2 OK ...
         C: a3 FETCH 1:* UID
         S* * 1 FETCH (UID 1)
         S* * 2 FETCH (UID 3)
         S: a3 OK ...",
    );
}

#[test]
fn idle_tells_at_once() {
    // RFC 2177.
    let mut script = selected(2);
    script.play(SECOND).play(
        "C: a1 IDLE
         S: + ...
         C2- b1 APPEND INBOX {<<size1>>+}\\r\\n<<mail1>>\\r\\n
         S2~ b1 OK ...
         S~ * 3 EXISTS
         C2: b2 STORE 2 +FLAGS (\\Deleted)
         S2~ b2 OK ...
         S~ * 2 FETCH (~FLAGS (~\\Deleted ...) ...)
         C2: b3 EXPUNGE
         S2~ b3 OK ...
         S~ * 2 EXPUNGE
         C: DONE
         S~ a1 OK ...",
    );
}

#[test]
fn idle_sees_mail_that_comes_by_lmtp() {
    let fixture = fixture();
    let mut script = fixture.imap_in();
    script.play("C: s SELECT INBOX\nS~ s OK ...\nC: a1 IDLE\nS: + ...");
    let mut lmtp = mailrook_tests::client::Smtp::connect_lmtp(fixture.server.ports().lmtp).unwrap();
    let stuffed = mailrook_tests::client::dot_stuffed(mailrook_tests::harness::mail(1).as_bytes());
    lmtp.lmtp_stuffed("a@x.example", &[&fixture.account.user], &stuffed)
        .unwrap()
        .remove(0)
        .expect(250)
        .unwrap();
    script.play("S~ * 1 EXISTS\nC: DONE\nS~ a1 OK ...");
}

#[test]
fn idle_ends_with_done_only() {
    fixture().imap_in().play(
        "C: a1 IDLE
         S: + ...
         C: NOOP
         S~ a1 BAD ...
         C: a2 NOOP
         S: a2 OK ...",
    );
}

#[test]
fn qresync_sessions_see_vanished() {
    let mut script = with_mail(3);
    script
        .play("C: e ENABLE QRESYNC\nS~ e OK ...\nC: s SELECT INBOX\nS~ s OK ...")
        .play(SECOND)
        .play(
            "C2: b1 STORE 2 +FLAGS.SILENT (\\Deleted)
         S2~ b1 OK ...
         C2: b2 EXPUNGE
         S2* * 2 EXPUNGE
         S2: b2 OK ...
         C: a1 NOOP
         S* * VANISHED 2
         S! * ... EXPUNGE
         S: a1 OK ...",
        );
}

#[test]
fn a_deleted_mailbox_under_a_session() {
    // RFC 2180 §3: the session that has it selected gets an error or an end, never another mailbox's mail.
    let mut script = fixture().imap_in();
    script
        .play(
            "C: a1 CREATE doomed
             S: a1 OK ...
             C: a2 SELECT doomed
             S~ a2 OK ...",
        )
        .play(SECOND)
        .play(
            "C2: b1 DELETE doomed
             S2~ b1 OK ...
             C2: b2 CREATE doomed
             S2~ b2 OK ...
             C2- b3 APPEND doomed {<<size1>>+}\\r\\n<<mail1>>\\r\\n
             S2~ b3 OK ...
             C2: b4 NOOP
             S2~ b4 OK ...
             C: a3 FETCH 1:* BODY[]
             S! * 1 FETCH ...
             S: ...",
        );
}

#[test]
fn a_read_only_session_sees_changes() {
    let mut script = with_mail(1);
    script
        .play("C: e EXAMINE INBOX\nS~ e OK ...")
        .play(SECOND)
        .play(
            "C2: b1 STORE 1 +FLAGS (\\Seen)
         S2~ b1 OK ...
         C: a1 NOOP
         S* * 1 FETCH (~FLAGS (~\\Seen ...) ...)
         S: a1 OK ...",
        );
}
