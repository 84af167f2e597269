//! APPEND, STORE, COPY, MOVE, EXPUNGE with UIDPLUS and MULTIAPPEND.

use crate::{fixture, selected, with_mail};

#[test]
fn append_answers_with_the_uid() {
    // RFC 9051 §6.3.12, RFC 4315 §3.
    fixture().imap_in().play(
        "C: a1 STATUS INBOX (UIDVALIDITY)
         S: * STATUS INBOX (UIDVALIDITY <<v>>)
         S: a1 OK ...
         C: a2 APPEND INBOX (\\Seen $Label1) \"17-Feb-1994 21:52:25 +0000\" {<<size1>>}
         S: + ...
         C: <<mail1>>
         S~ a2 OK [APPENDUID <<v>> 1] ...
         C- a3 APPEND INBOX {<<size2>>+}\\r\\n<<mail2>>\\r\\n
         S~ a3 OK [APPENDUID <<v>> 2] ...
         C: a4 SELECT INBOX
         S~ a4 OK ...
         C: a5 FETCH 1:2 (UID FLAGS INTERNALDATE RFC822.SIZE)
         S* * 1 FETCH (~UID 1 FLAGS (~\\Seen $Label1 ...) INTERNALDATE \"17-Feb-1994 21:52:25 +0000\" RFC822.SIZE <<size1>>)
         S* * 2 FETCH (~UID 2 FLAGS ... INTERNALDATE \"...\" RFC822.SIZE <<size2>>)
         S: a5 OK ...",
    );
}

#[test]
fn append_to_a_missing_mailbox_says_trycreate() {
    fixture().imap_in().play(
        "C- a1 APPEND nowhere {<<size1>>+}\\r\\n<<mail1>>\\r\\n
         S: a1 NO [TRYCREATE] ...
         C: a2 NOOP
         S: a2 OK ...",
    );
}

#[test]
fn multiappend_is_all_or_nothing() {
    // RFC 3502 §6.3.11.
    fixture().imap_in().play(
        "C- a1 APPEND INBOX (\\Seen) {<<size1>>+}\\r\\n<<mail1>> (\\Flagged) {<<size2>>+}\\r\\n<<mail2>>\\r\\n
         S~ a1 OK [APPENDUID <<v>> 1:2] ...
         C- a2 APPEND INBOX {<<size1>>+}\\r\\n<<mail1>> {0+}\\r\\n\\r\\n
         S: a2 ...
         C: a3 STATUS INBOX (MESSAGES)
         S~ a3 OK ...
         C: a4 SELECT INBOX
         S~ a4 OK ...
         C: a5 FETCH 1:2 FLAGS
         S* * 1 FETCH (FLAGS (~\\Seen ...))
         S* * 2 FETCH (FLAGS (~\\Flagged ...))
         S: a5 OK ...",
    );
}

#[test]
fn append_to_the_selected_mailbox_is_seen_at_once() {
    selected(1).play(
        "C- a1 APPEND INBOX {<<size1>>+}\\r\\n<<mail1>>\\r\\n
         S* * 2 EXISTS
         S: a1 OK [APPENDUID <<v>> 2] ...",
    );
}

#[test]
fn store_in_every_form() {
    // RFC 9051 §6.4.6.
    selected(3).play(
        "C: a1 STORE 1:2 FLAGS (\\Seen keyword)
         S* * 1 FETCH (~FLAGS (~\\Seen keyword ...) ...)
         S* * 2 FETCH (~FLAGS (~\\Seen keyword ...) ...)
         S: a1 OK ...
         C: a2 STORE 1 +FLAGS \\Deleted
         S* * 1 FETCH (~FLAGS (~\\Deleted \\Seen keyword ...) ...)
         S: a2 OK ...
         C: a3 STORE 1 -FLAGS (\\Seen \\Deleted)
         S* * 1 FETCH (~FLAGS (~keyword ...) ...)
         S: a3 OK ...
         C: a4 STORE 2:3 FLAGS.SILENT (\\Draft)
         S! * ... FETCH ...
         S: a4 OK ...
         C: a5 UID STORE 3 +FLAGS (\\Answered)
         S* * 3 FETCH (~UID 3 FLAGS (~\\Answered \\Draft ...) ...)
         S: a5 OK ...
         C: a6 STORE 9 +FLAGS (\\Seen)
         S: a6 ...
         C: a7 UID STORE 999 +FLAGS (\\Seen)
         S: a7 OK ...
         C: a8 STORE 1 +FLAGS (\\Recent)
         S~ a8 ...
         C: a9 FETCH 1 FLAGS
         S* * 1 FETCH (FLAGS (~keyword ...))
         S: a9 OK ...",
    );
}

#[test]
fn copy_answers_with_the_uids() {
    // RFC 4315 §3.
    selected(4).play(
        "C: a1 CREATE funny
         S: a1 OK ...
         C: a2 STORE 2 FLAGS (\\Answered label)
         S~ a2 OK ...
         C: a3 COPY 2:4 funny
         S: a3 OK [COPYUID <<v>> 2:4 1:3] ...
         C: a4 COPY 1 nowhere
         S: a4 NO [TRYCREATE] ...
         C: a5 UID COPY 999 funny
         S: a5 ...
         C: a6 SELECT funny
         S* * 3 EXISTS
         S: a6 OK ...
         C: a7 FETCH 1 (FLAGS ENVELOPE)
         S* * 1 FETCH (~FLAGS (~\\Answered label ...) ENVELOPE (... \"message 2\" ...))
         S: a7 OK ...",
    );
}

#[test]
fn expunge_tells_shifting_numbers() {
    // RFC 9051 §6.4.3.
    selected(5).play(
        "C: a1 STORE 2:3,5 +FLAGS.SILENT (\\Deleted)
         S~ a1 OK ...
         C: a2 EXPUNGE
         # From the last to the first or from the first to the last: 5 3 2 or 2 2 3.
         S* * ... EXPUNGE
         S* * ... EXPUNGE
         S* * ... EXPUNGE
         S: a2 OK ...
         C: a3 FETCH 1:2 UID
         S* * 1 FETCH (UID 1)
         S* * 2 FETCH (UID 4)
         S: a3 OK ...",
    );
}

#[test]
fn uid_expunge_takes_only_the_named() {
    // RFC 4315 §2.1.
    selected(3).play(
        "C: a1 STORE 1:3 +FLAGS.SILENT (\\Deleted)
         S~ a1 OK ...
         C: a2 UID EXPUNGE 2
         S* * 2 EXPUNGE
         S! * 1 EXPUNGE
         S: a2 OK ...
         C: a3 STATUS INBOX (MESSAGES)
         S~ a3 OK ...
         C: a4 UID SEARCH ALL
         S* * SEARCH 1 3
         S: a4 OK ...",
    );
}

#[test]
fn move_answers_with_copyuid_and_expunges() {
    // RFC 6851 §4.3: COPYUID in an untagged OK before the EXPUNGEs.
    selected(4).play(
        "C: a1 CREATE foo
         S: a1 OK ...
         C: a2 UID MOVE 2:3 foo
         S: * OK [COPYUID <<v>> 2:3 1:2] ...
         S* * ... EXPUNGE
         S* * ... EXPUNGE
         S: a2 OK ...
         C: a3 MOVE 2 foo
         S: * OK [COPYUID <<v>> 4 3] ...
         S* * 2 EXPUNGE
         S: a3 OK ...
         C: a4 MOVE 1 nowhere
         S: a4 NO [TRYCREATE] ...
         C: a5 STATUS foo (MESSAGES UIDNEXT)
         S* * STATUS foo (~MESSAGES 3 UIDNEXT 4)
         S: a5 OK ...",
    );
}

#[test]
fn a_uid_is_never_used_twice() {
    // P4: UIDNEXT does not go back when the last message goes.
    with_mail(2).play(
        "C: a1 SELECT INBOX
         S~ a1 OK ...
         C: a2 STORE 2 +FLAGS.SILENT (\\Deleted)
         S~ a2 OK ...
         C: a3 EXPUNGE
         S~ a3 OK ...
         C- a4 APPEND INBOX {<<size1>>+}\\r\\n<<mail1>>\\r\\n
         S~ a4 OK [APPENDUID <<v>> 3] ...",
    );
}

#[test]
fn a_message_with_nul_is_refused_or_kept_as_binary_only() {
    // RFC 3516 §4: NUL may come in a literal8 only.
    fixture().imap_in().play(
        "C- a1 APPEND INBOX {12+}\\r\\nX: y\\r\\n\\r\\n\\x00\\x00ab\\r\\n
         S~ a1 ...
         C: a2 NOOP
         S~ a2 OK ...",
    );
}
