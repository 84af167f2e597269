//! Messages with something odd about them, and the structure that the RFCs, or else other servers, give them.

mod support;

use mailrook_mime::{derive, part, slice};
use support::{crlf, structure};

#[test]
fn a_message_without_mime_is_plain_text() {
    // RFC 2045 §5.2
    let raw = crlf("Subject: x\n\nHello\nWorld\n");
    assert_eq!(
        structure(&raw),
        r#"text/plain;charset=us-ascii 7BIT 2 "Hello\r\nWorld\r\n""#
    );
}

#[test]
fn no_message_is_refused() {
    assert_eq!(structure(b""), r#"text/plain;charset=us-ascii 7BIT 0 """#);
    assert_eq!(
        structure(b"\r\n"),
        r#"text/plain;charset=us-ascii 7BIT 0 """#
    );
    assert_eq!(
        structure(b"\nbody"),
        r#"text/plain;charset=us-ascii 7BIT 0 "body""#
    );
    assert_eq!(
        structure(b"no header at all"),
        r#"text/plain;charset=us-ascii 7BIT 0 """#
    );
    assert_eq!(
        structure(b"A: b\r\nC: d"),
        r#"text/plain;charset=us-ascii 7BIT 0 """#
    );
    assert_eq!(
        structure(b"\0\0\n\n\0"),
        r#"text/plain;charset=us-ascii 7BIT 0 "\x00""#
    );
}

#[test]
fn bare_line_feeds_and_mixed_line_ends() {
    let raw = b"Content-Type: multipart/mixed; boundary=b\n\npre\n--b\n\none\n\r\n--b\r\nContent-Type: text/html\n\ntwo\n--b--\n";
    assert_eq!(
        structure(raw),
        r#"multipart/mixed;boundary=b[text/plain;charset=us-ascii 7BIT 1 "one\n" | text/html;charset=us-ascii 7BIT 0 "two"]"#
    );
}

#[test]
fn the_example_of_rfc_2046() {
    // §5.1.1: the line end before a delimiter belongs to it.
    let raw = crlf(
        "From: Nathaniel Borenstein <nsb@bellcore.com>\nMIME-Version: 1.0\nContent-type: multipart/mixed; boundary=\"simple boundary\"\n\n\
         This is the preamble.\n\n--simple boundary\n\nThis is implicitly typed.\nIt does NOT end with a linebreak.\n--simple boundary\n\
         Content-type: text/plain; charset=us-ascii\n\nThis DOES end with a linebreak.\n\n--simple boundary--\n\nThis is the epilogue.\n",
    );
    assert_eq!(
        structure(&raw),
        r#"multipart/mixed;boundary=simple boundary[text/plain;charset=us-ascii 7BIT 1 "This is implicitly typed.\r\nIt does NOT end with a linebreak." | text/plain;charset=us-ascii 7BIT 1 "This DOES end with a linebreak.\r\n"]"#
    );
}

#[test]
fn a_multipart_that_is_not_closed_ends_with_the_message() {
    let raw = crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n");
    assert_eq!(
        structure(&raw),
        r#"multipart/mixed;boundary=b[text/plain;charset=us-ascii 7BIT 0 "one" | text/plain;charset=us-ascii 7BIT 1 "two\r\n"]"#
    );
    // Cut off right behind a delimiter: no part was begun.
    let raw = crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n");
    assert_eq!(
        structure(&raw),
        r#"multipart/mixed;boundary=b[text/plain;charset=us-ascii 7BIT 0 "one"]"#
    );
}

#[test]
fn an_outer_delimiter_ends_what_is_open_within() {
    let raw = crlf(
        "Content-Type: multipart/mixed; boundary=out\n\n--out\nContent-Type: multipart/alternative; boundary=in\n\n--in\n\na\n--out\n\nb\n--in\nc\n--out--\n",
    );
    assert_eq!(
        structure(&raw),
        r#"multipart/mixed;boundary=out[multipart/alternative;boundary=in[text/plain;charset=us-ascii 7BIT 0 "a"] | text/plain;charset=us-ascii 7BIT 2 "b\r\n--in\r\nc"]"#
    );
}

#[test]
fn of_equal_boundaries_the_innermost_counts() {
    let raw = crlf(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\na\n--b\n\nb\n--b--\n--b\n\nc\n--b--\n",
    );
    assert_eq!(
        structure(&raw),
        r#"multipart/mixed;boundary=b[multipart/mixed;boundary=b[text/plain;charset=us-ascii 7BIT 0 "a" | text/plain;charset=us-ascii 7BIT 0 "b"] | text/plain;charset=us-ascii 7BIT 0 "c"]"#
    );
}

#[test]
fn a_boundary_that_begins_with_another_is_told_apart() {
    for (outer, inner) in [("x", "x1"), ("x1", "x")] {
        let raw = crlf(&format!(
            "Content-Type: multipart/mixed; boundary={outer}\n\n--{outer}\nContent-Type: multipart/mixed; boundary={inner}\n\n--{inner}\n\na\n--{inner}--\n--{outer}\n\nb\n--{outer}--\n"
        ));
        assert_eq!(
            structure(&raw),
            format!(
                r#"multipart/mixed;boundary={outer}[multipart/mixed;boundary={inner}[text/plain;charset=us-ascii 7BIT 0 "a"] | text/plain;charset=us-ascii 7BIT 0 "b"]"#
            )
        );
    }
}

#[test]
fn delimiters_may_have_space_behind_and_boundaries_odd_characters() {
    let raw = crlf(
        "Content-Type: multipart/mixed; boundary=\"a '()+_,-./:=? b\"\n\n--a '()+_,-./:=? b \t\n\none\n--a '()+_,-./:=? b--  \nend",
    );
    assert_eq!(
        structure(&raw),
        r#"multipart/mixed;boundary=a \'()+_,-./:=? b[text/plain;charset=us-ascii 7BIT 0 "one"]"#
    );
}

#[test]
fn a_multipart_without_boundary_or_delimiters_shows_its_body() {
    let text = r#"[text/plain;charset=us-ascii 7BIT 1 "hidden?\r\n"]"#;
    for parameters in ["", ";boundary=", ";boundary=b"] {
        let raw = crlf(&format!(
            "Content-Type: multipart/mixed{parameters}\n\nhidden?\n"
        ));
        let shown = structure(&raw);
        assert!(shown.ends_with(text), "{shown}");
    }
}

#[test]
fn empty_parts() {
    // Delimiter upon delimiter; a part of an empty line; a header that a delimiter cuts off.
    let raw = crlf(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\n--b\nContent-Type: image/png\n--b\n\n\n--b--\n",
    );
    assert_eq!(
        structure(&raw),
        r#"multipart/mixed;boundary=b[text/plain;charset=us-ascii 7BIT 0 "" | text/plain;charset=us-ascii 7BIT 0 "" | image/png 7BIT "" | text/plain;charset=us-ascii 7BIT 0 ""]"#
    );
    let structure = derive(&raw).structure;
    let cut_off = part(&structure, &[3]).unwrap();
    assert_eq!(
        slice(&raw, cut_off.mime().unwrap()),
        b"Content-Type: image/png\r\n"
    );
}

#[test]
fn parts_of_a_digest_are_messages() {
    // RFC 2046 §5.1.5
    let raw = crlf(
        "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: one\n\nbody 1\n--b\nContent-Type: text/plain\n\nno message\n--b\n\nSubject: two\n\nbody 2\n\n--b--\n",
    );
    assert_eq!(
        structure(&raw),
        concat!(
            r#"multipart/digest;boundary=b[message/rfc822 2{one: text/plain;charset=us-ascii 7BIT 0 "body 1"}"#,
            r#" | text/plain;charset=us-ascii 7BIT 0 "no message""#,
            r#" | message/rfc822 3{two: text/plain;charset=us-ascii 7BIT 1 "body 2\r\n"}]"#
        )
    );
}

#[test]
fn messages_within_messages() {
    let raw = crlf(
        "Subject: 0\nContent-Type: message/rfc822\n\nSubject: 1\nContent-Type: MESSAGE/Global\n\nSubject: 2\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\ndeep\n--b--\n",
    );
    assert_eq!(
        structure(&raw),
        r#"message/rfc822 10{1: MESSAGE/Global 7{2: multipart/mixed;boundary=b[text/plain;charset=us-ascii 7BIT 0 "deep"]}}"#
    );
}

#[test]
fn a_multipart_in_a_message_in_a_multipart_with_the_same_boundary() {
    let raw = crlf(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nSubject: in\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\na\n--b--\n--b\n\nz\n--b--\n",
    );
    assert_eq!(
        structure(&raw),
        r#"multipart/mixed;boundary=b[message/rfc822 6{in: multipart/mixed;boundary=b[text/plain;charset=us-ascii 7BIT 0 "a"]} | text/plain;charset=us-ascii 7BIT 0 "z"]"#
    );
}

#[test]
fn broken_content_types_fall_back_to_plain_text() {
    // RFC 2045 §5.2
    for value in ["", "text", "/", "te xt/plain", "\"text\"/plain", "text/"] {
        let raw = crlf(&format!("Content-Type: {value}\n\nx"));
        assert_eq!(
            structure(&raw),
            r#"text/plain;charset=us-ascii 7BIT 0 "x""#,
            "{value}"
        );
    }
    let raw = crlf("Content-Type: image/png\nContent-Type: text/html\n\nx");
    assert_eq!(structure(&raw), r#"image/png 7BIT "x""#);
}

#[test]
fn all_fields_of_a_part() {
    let raw = crlf(
        "Content-Type: application/pdf (a comment); name*0=\"long \";\n name*1=name.pdf\nContent-ID: <1@x>\nContent-Description: =?utf-8?Q?=C3=A4?=\n d\n\
         Content-Transfer-Encoding: base64 (really)\nContent-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\nContent-Disposition: attachment;\n filename*=iso-8859-1''%e4.pdf; size=3\n\
         Content-Language: de, en-US (x)\nContent-Location: http://example.test/a\n\nAAAA",
    );
    let structure = derive(&raw).structure;
    let fields = &structure.fields;
    assert_eq!(
        fields.parameters,
        [("name".into(), b"long name.pdf"[..].into())]
    );
    assert_eq!(fields.id.as_deref(), Some(&b"<1@x>"[..]));
    assert_eq!(
        fields.description.as_deref(),
        Some(&b"=?utf-8?Q?=C3=A4?= d"[..])
    );
    assert_eq!(&*fields.encoding, "base64");
    assert_eq!(
        fields.md5.as_deref(),
        Some(&b"Q2hlY2sgSW50ZWdyaXR5IQ=="[..])
    );
    let (disposition, parameters) = fields.disposition.as_ref().unwrap();
    assert_eq!(&**disposition, "attachment");
    assert_eq!(
        parameters[0],
        ("filename*".into(), "ä.pdf".as_bytes().into())
    );
    assert_eq!(parameters[1], ("size".into(), b"3"[..].into()));
    assert_eq!(fields.language, ["de".into(), Box::from("en-US")]);
    assert_eq!(
        fields.location.as_deref(),
        Some(&b"http://example.test/a"[..])
    );
}

#[test]
fn a_header_longer_than_is_examined_still_ends_at_its_empty_line() {
    let mut raw = b"Subject: early\r\n".to_vec();
    raw.extend(b"X: 0123456789\r\n".repeat(100_000));
    raw.extend_from_slice(b"From: late@x\r\n\r\nbody");
    let derived = derive(&raw);
    assert_eq!(derived.envelope.subject.as_deref(), Some(&b"early"[..]));
    assert!(derived.envelope.from.is_empty());
    assert_eq!(&raw[derived.header_end() as usize..], b"body");
}
