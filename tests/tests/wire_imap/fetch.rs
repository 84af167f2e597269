//! FETCH: items, sections, partials, macros, BINARY, large and odd messages.

use mailrook_tests::client::Value;

use crate::{fixture, selected};

const MULTIPART: &str = "From: a@x.example\r\nTo: b@x.example\r\nSubject: =?ISO-8859-1?Q?Gr=FC=DFe?=\r\nMIME-Version: 1.0\r\n\
Content-Type: multipart/mixed; boundary=\"b1\"\r\n\r\npreamble\r\n--b1\r\nContent-Type: text/plain; charset=utf-8\r\n\
Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe\r\n--b1\r\nContent-Type: image/png; name=\"x.png\"\r\n\
Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"x.png\"\r\n\r\niVBORw0KGgo=\r\n--b1\r\n\
Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nFrom: c@x.example\r\n\r\ninner text\r\n--b1--\r\n";

#[test]
fn envelope_and_the_macros() {
    // RFC 9051 §7.5.2.
    selected(1).play(
        r#"C: a1 FETCH 1 ENVELOPE
         S* * 1 FETCH (ENVELOPE ("Mon, 7 Feb 1994 21:52:25 -0800" "message 1" (("Fred Foobar" NIL "foobar" "blurdybloop.example")) (("Fred Foobar" NIL "foobar" "blurdybloop.example")) (("Fred Foobar" NIL "foobar" "blurdybloop.example")) ((NIL NIL "mooch" "owatagu.example")) NIL NIL NIL "<m1@blurdybloop.example>"))
         S: a1 OK ...
         C: a2 FETCH 1 FAST
         S* * 1 FETCH (~FLAGS ... INTERNALDATE "..." RFC822.SIZE <<size1>>)
         S: a2 OK ...
         C: a3 FETCH 1 ALL
         S* * 1 FETCH (~FLAGS ... INTERNALDATE "..." RFC822.SIZE <<size1>> ENVELOPE (...))
         S: a3 OK ...
         C: a4 FETCH 1 FULL
         S* * 1 FETCH (~FLAGS ... INTERNALDATE "..." RFC822.SIZE <<size1>> ENVELOPE (...) BODY (...))
         S: a4 OK ..."#,
    );
}

#[test]
fn sections_and_partials() {
    // RFC 9051 §6.4.5.
    selected(1).play(
        r#"C: a1 FETCH 1 BODY.PEEK[]
         S* * 1 FETCH (BODY[] {<<size1>>}\r\n<<mail1>>)
         S: a1 OK ...
         C: a2 FETCH 1 BODY.PEEK[TEXT]<5.7>
         S* * 1 FETCH (BODY[TEXT]<5> ...is text...)
         S: a2 OK ...
         C: a3 FETCH 1 BODY.PEEK[HEADER.FIELDS (Subject FROM)]
         S* * 1 FETCH (BODY[HEADER.FIELDS (SUBJECT FROM)] {...}\r\n...Subject: message 1...)
         S: a3 OK ...
         C: a4 FETCH 1 BODY.PEEK[HEADER.FIELDS.NOT (Subject From Date To Message-Id)]
         S* * 1 FETCH (BODY[HEADER.FIELDS.NOT (...)] {2}\r\n\r\n)
         S: a4 OK ...
         C: a5 FETCH 1 BODY.PEEK[1]
         S* * 1 FETCH (BODY[1] {24}\r\nThis is text number 1.\r\n)
         S: a5 OK ...
         C: a6 FETCH 1 BODY.PEEK[]<100000.10>
         S* * 1 FETCH (BODY[]<100000> ...)
         S: a6 OK ...
         C: a7 FETCH 1 BODY.PEEK[2.3.MIME]
         S~ a7 OK ..."#,
    );
}

#[test]
fn body_sets_seen_and_peek_does_not() {
    selected(2).play(
        "C: a1 FETCH 1 BODY.PEEK[TEXT]
         S! * 1 FETCH (...FLAGS...)
         S: a1 OK ...
         C: a2 FETCH 1 BODY[TEXT]
         S* * 1 FETCH (...FLAGS (...\\Seen...)...)
         S: a2 OK ...
         C: a3 FETCH 2 RFC822.HEADER
         S* * 2 FETCH (...RFC822.HEADER {...}\\r\\nDate: ...)
         S: a3 OK ...
         C: a4 FETCH 2 FLAGS
         S! * 2 FETCH (FLAGS (...\\Seen...))
         S: a4 OK ...
         C: a5 FETCH 2 RFC822
         S* * 2 FETCH (...FLAGS (...\\Seen...)...)
         S: a5 OK ...",
    );
}

#[test]
fn body_structure_and_parts_of_a_multipart() {
    let fixture = fixture();
    let mut imap = fixture.client().unwrap();
    imap.append("INBOX", "", MULTIPART.as_bytes()).unwrap();
    imap.ok("SELECT INBOX").unwrap();
    let items = "BODYSTRUCTURE BODY.PEEK[1] BODY.PEEK[2.MIME] BODY.PEEK[3.HEADER] BODY.PEEK[3.TEXT] BODY.PEEK[3.1]";
    let fetch = imap.uid_fetch("1", items).unwrap().remove(0);
    let text = |name: &str| {
        fetch
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {fetch:?}"))
            .text()
    };
    assert_eq!(text("BODY[1]"), "Gr=C3=BC=C3=9Fe");
    assert!(text("BODY[2.MIME]").starts_with("Content-Type: image/png; name=\"x.png\"\r\n"));
    assert!(text("BODY[3.HEADER]").starts_with("Subject: inner\r\n"));
    assert_eq!(text("BODY[3.TEXT]"), "inner text");
    assert_eq!(text("BODY[3.1]"), "inner text");
    let structure = fetch.get("BODYSTRUCTURE").unwrap().list();
    assert_eq!(
        structure.len(),
        3 + 5,
        "three parts, subtype, parameters, disposition, language, location: {structure:?}"
    );
    assert_eq!(
        structure[1].list()[..2]
            .iter()
            .map(Value::text)
            .collect::<Vec<_>>(),
        ["image", "png"]
    );
    assert_eq!(structure[3].text().to_lowercase(), "mixed");
    // RFC 9051 §7.5.2: message/rfc822 carries the inner envelope, structure and lines.
    assert_eq!(structure[2].list()[7].list()[1].text(), "inner");
}

#[test]
fn binary() {
    // RFC 3516 §4.2, §4.5.
    let fixture = fixture();
    let mut imap = fixture.client().unwrap();
    imap.append("INBOX", "", MULTIPART.as_bytes()).unwrap();
    fixture.imap_in().play(
        r#"C: a1 SELECT INBOX
         S~ a1 OK ...
         C: a2 FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[1])
         S* * 1 FETCH (~BINARY[1] ...Grüße... BINARY.SIZE[1] 7)
         S: a2 OK ...
         C: a3 FETCH 1 BINARY.SIZE[2]
         S* * 1 FETCH (BINARY.SIZE[2] 8)
         S: a3 OK ...
         C: a4 FETCH 1 BINARY.PEEK[1]<0.2>
         S* * 1 FETCH (BINARY[1]<0> ...Gr...)
         S: a4 OK ..."#,
    );
    imap.ok("SELECT INBOX").unwrap();
    let fetch = imap.uid_fetch("1", "BINARY.PEEK[2]").unwrap().remove(0);
    assert_eq!(
        fetch.get("BINARY[2]").unwrap().bytes(),
        b"\x89PNG\r\n\x1a\n"
    );
}

#[test]
fn binary_append_with_literal8() {
    fixture().imap_in().play(
        "C- a1 APPEND INBOX ~{<<size1>>+}\\r\\n<<mail1>>\\r\\n
         S~ a1 OK [APPENDUID ...] ...",
    );
}

#[test]
fn what_came_in_goes_out_octet_for_octet() {
    let fixture = fixture();
    let mut imap = fixture.client().unwrap();
    let mut corpus = mailrook_tests::corpus::Corpus::new(5);
    let messages: Vec<_> = (0..60).map(|_| corpus.message()).collect();
    for message in &messages {
        imap.append("INBOX", "", &message.bytes).unwrap();
    }
    imap.ok("EXAMINE INBOX").unwrap();
    let fetched = imap
        .uid_fetch("1:*", "UID RFC822.SIZE BODY.PEEK[]")
        .unwrap();
    assert_eq!(fetched.len(), messages.len());
    for (fetch, message) in fetched.iter().zip(&messages) {
        assert!(
            fetch.get("BODY[]").unwrap().bytes() == message.bytes,
            "message {} changed",
            message.id
        );
        assert_eq!(
            fetch.get("RFC822.SIZE").unwrap().number(),
            Some(message.bytes.len() as u64)
        );
    }
    // Header and text are the two halves of the whole, and partials join to it.
    let big = messages.iter().max_by_key(|m| m.bytes.len()).unwrap();
    let uid = messages.iter().position(|m| m.id == big.id).unwrap() + 1;
    let halves = imap
        .uid_fetch(&uid.to_string(), "BODY.PEEK[HEADER] BODY.PEEK[TEXT]")
        .unwrap()
        .remove(0);
    let joined = [
        halves.get("BODY[HEADER]").unwrap().bytes(),
        halves.get("BODY[TEXT]").unwrap().bytes(),
    ]
    .concat();
    assert!(joined == big.bytes);
    let mut pieces = Vec::new();
    for offset in (0..big.bytes.len()).step_by(65_536) {
        let piece = imap
            .uid_fetch(&uid.to_string(), &format!("BODY.PEEK[]<{offset}.65536>"))
            .unwrap()
            .remove(0);
        pieces.extend_from_slice(piece.get(&format!("BODY[]<{offset}>")).unwrap().bytes());
    }
    assert!(pieces == big.bytes);
}

#[test]
fn numbers_out_of_range() {
    selected(2).play(
        "C: a1 FETCH 3 FLAGS
         S: a1 BAD ...
         C: a2 UID FETCH 500 FLAGS
         S! * ... FETCH ...
         S: a2 OK ...
         C: a3 UID FETCH 500:* UID
         S* * 2 FETCH (UID 2)
         S: a3 OK ...
         C: a4 FETCH 0 FLAGS
         S: a4 BAD ...
         C: a5 FETCH 2:1 UID
         S* * 1 FETCH (UID 1)
         S* * 2 FETCH (UID 2)
         S: a5 OK ...
         C: a6 FETCH * UID
         S* * 2 FETCH (UID 2)
         S: a6 OK ...
         C: a7 FETCH 4294967296 FLAGS
         S: a7 BAD ...",
    );
}
