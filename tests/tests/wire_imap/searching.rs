//! SEARCH, ESEARCH, SEARCHRES, WITHIN, text search over charsets and encodings.

use mailrook_tests::client::Imap;

use crate::{fixture, selected, with_mail};

#[test]
fn search_keys() {
    // RFC 9051 §6.4.4.
    selected(4).play(
        r#"C: a1 STORE 1 FLAGS (\Seen \Answered kw)
         S~ a1 OK ...
         C: a2 STORE 2 FLAGS (\Flagged \Deleted \Draft)
         S~ a2 OK ...
         C: b1 SEARCH ALL
         S* * SEARCH 1 2 3 4
         S: b1 OK ...
         C: b2 SEARCH SEEN ANSWERED KEYWORD kw
         S* * SEARCH 1
         S: b2 OK ...
         C: b3 SEARCH FLAGGED DELETED DRAFT UNKEYWORD kw
         S* * SEARCH 2
         S: b3 OK ...
         C: b4 SEARCH UNSEEN UNDELETED
         S* * SEARCH 3 4
         S: b4 OK ...
         C: b5 SEARCH OR SUBJECT "message 1" SUBJECT "message 3"
         S* * SEARCH 1 3
         S: b5 OK ...
         C: b6 SEARCH NOT 2:3
         S* * SEARCH 1 4
         S: b6 OK ...
         C: b7 SEARCH FROM blurdybloop TO MOOCH
         S* * SEARCH 1 2 3 4
         S: b7 OK ...
         C: b8 SEARCH HEADER Message-Id <m2@
         S* * SEARCH 2
         S: b8 OK ...
         C: b9 SEARCH HEADER X-None ""
         S* * SEARCH
         S: b9 OK ...
         C: c1 SEARCH BODY "number 4"
         S* * SEARCH 4
         S: c1 OK ...
         C: c2 SEARCH TEXT "subject: message 2"
         S: ...
         S~ c2 OK ...
         C: c3 SEARCH LARGER 100 SMALLER 100000
         S* * SEARCH 1 2 3 4
         S: c3 OK ...
         C: c4 SEARCH SENTBEFORE 8-Feb-1994 SENTSINCE 7-Feb-1994
         S* * SEARCH 1 2 3 4
         S: c4 OK ...
         C: c5 SEARCH SENTON 8-Feb-1994
         S* * SEARCH
         S: c5 OK ...
         C: c6 SEARCH SINCE 1-Jan-2020
         S* * SEARCH 1 2 3 4
         S: c6 OK ...
         C: c7 SEARCH UID 2:3 (SEEN)
         S* * SEARCH
         S: c7 OK ...
         C: c8 UID SEARCH UID 3:*
         S* * SEARCH 3 4
         S: c8 OK ...
         C: c9 SEARCH NOSUCHKEY
         S: c9 BAD ...
         C: d1 SEARCH CHARSET X-UNKNOWN TEXT x
         S: d1 NO [BADCHARSET...] ...
         C: d2 SEARCH OR (SEEN) (OR FLAGGED (NOT (NOT 4)))
         S* * SEARCH 1 2 4
         S: d2 OK ..."#,
    );
}

#[test]
fn esearch_return_options() {
    // RFC 4731 §3.
    selected(5).play(
        r#"C: a1 STORE 2,4:5 FLAGS.SILENT (\Seen)
         S~ a1 OK ...
         C: a2 SEARCH RETURN (MIN COUNT MAX ALL) SEEN
         S* * ESEARCH (TAG "a2")... COUNT 3...
         S: a2 OK ...
         C: a3 SEARCH RETURN () SEEN
         S* * ESEARCH (TAG "a3") ALL 2,4:5
         S: a3 OK ...
         C: a4 UID SEARCH RETURN (MIN) SEEN
         S* * ESEARCH (TAG "a4") UID MIN 2
         S: a4 OK ...
         C: a5 SEARCH RETURN (MIN MAX) DELETED
         S* * ESEARCH (TAG "a5")
         S: a5 OK ...
         C: a6 SEARCH RETURN (COUNT) DELETED
         S* * ESEARCH (TAG "a6") COUNT 0
         S: a6 OK ...
         C: a7 SEARCH RETURN (MAX) SEEN
         S* * ESEARCH (TAG "a7") MAX 5
         S: a7 OK ..."#,
    );
}

#[test]
fn esearch_with_modseq() {
    // RFC 7162 §3.1.6: MODSEQ of what was found.
    selected(3).play(
        r#"C: a1 SEARCH RETURN (ALL) MODSEQ 1
         S* * ESEARCH (TAG "a1") ALL 1:3 MODSEQ <<m>>
         S: a1 OK ..."#,
    );
}

#[test]
fn searchres_saves_and_uses() {
    // RFC 5182 §2.4.
    selected(5).play(
        r#"C: a1 SEARCH RETURN (SAVE) 2,4
         S: a1 OK ...
         C: a2 FETCH $ UID
         S* * 2 FETCH (UID 2)
         S* * 4 FETCH (UID 4)
         S: a2 OK ...
         C: a3 UID STORE $ +FLAGS.SILENT (\Flagged)
         S~ a3 OK ...
         C: a4 SEARCH $ NOT 2
         S* * SEARCH 4
         S: a4 OK ...
         C: a5 SEARCH RETURN (SAVE MIN) 3:5
         S* * ESEARCH (TAG "a5") MIN 3
         S: a5 OK ...
         C: a6 FETCH $ UID
         S! * 4 FETCH ...
         S* * 3 FETCH (UID 3)
         S: a6 OK ...
         C: a7 STORE 3 +FLAGS.SILENT (\Deleted)
         S~ a7 OK ...
         C: a8 EXPUNGE
         S* * 3 EXPUNGE
         S: a8 OK ...
         C: a9 FETCH $ UID
         S! * ... FETCH ...
         S: a9 OK ..."#,
    );
}

#[test]
fn within() {
    // RFC 5032 §3.
    selected(2).play(
        "C: a1 SEARCH YOUNGER 3600
         S* * SEARCH 1 2
         S: a1 OK ...
         C: a2 SEARCH OLDER 3600
         S* * SEARCH
         S: a2 OK ...
         C: a3 SEARCH YOUNGER 0
         S: a3 BAD ...",
    );
}

#[test]
fn text_is_found_through_charsets_and_encodings() {
    let fixture = fixture();
    let mut imap = fixture.client().unwrap();
    let encoded = [
        "Subject: =?ISO-8859-1?Q?Gr=FC=DFe?=\r\n\r\nplain\r\n",
        "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nviele Gr=FC=\r\n=DFe\r\n",
        "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPHA+R3LDvMOfZTwvcD4=\r\n",
        "Content-Type: text/plain; charset=utf-8\r\n\r\nGrusse\r\n",
        "Content-Type: text/plain; charset=windows-1251\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=CF=F0=E8=E2=E5=F2\r\n",
    ];
    for message in encoded {
        imap.append("INBOX", "", message.as_bytes()).unwrap();
    }
    imap.ok("SELECT INBOX").unwrap();
    let mut search = |key: &str, word: &str| literal_search(&mut imap, key, word);
    assert_eq!(search("TEXT", "Grüße"), [1, 2, 3]);
    assert_eq!(search("BODY", "Grüße"), [2, 3]);
    assert_eq!(search("SUBJECT", "grüße"), [1]);
    // Substrings, not words; letters without regard to case in every script.
    assert_eq!(search("BODY", "rüß"), [2, 3]);
    assert_eq!(search("BODY", "привет"), [5]);
    assert_eq!(search("BODY", "риве"), [5]);
    assert_eq!(search("TEXT", "nowhere at all"), Vec::<u32>::new());
}

fn literal_search(imap: &mut Imap, key: &str, word: &str) -> Vec<u32> {
    imap.ok(&format!(
        "SEARCH CHARSET UTF-8 {key} {{{}+}}\r\n{word}",
        word.len()
    ))
    .unwrap()
    .search()
}

#[test]
fn a_search_finds_what_was_appended_a_moment_ago() {
    with_mail(1).play(
        "C: a1 SELECT INBOX
         S~ a1 OK ...
         C- a2 APPEND INBOX {<<size2>>+}\\r\\n<<mail2>>\\r\\n
         S~ a2 OK ...
         C: a3 SEARCH BODY \"number 2\"
         S* * SEARCH 2
         S: a3 OK ...",
    );
}
