//! Part numbers and specifiers, on the example of RFC 9051 §6.4.5.

mod support;

use mailrook_mime::{derive, part, slice};
use support::crlf;

/// The message of the example: `HEADER`, `TEXT`, 1 text/plain, 2 application/octet-stream, 3 message/rfc822 with
/// 3.1 text/plain and 3.2 application/octet-stream, 4 multipart/mixed with 4.1 image/gif and 4.2 message/rfc822 with
/// 4.2.1 text/plain and 4.2.2 multipart/alternative with 4.2.2.1 text/plain and 4.2.2.2 text/richtext.
fn example() -> Vec<u8> {
    crlf(
        "Subject: root\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\nbody 1\n--a\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n\
         Ym9keSAy\n--a\nContent-Type: message/rfc822\n\nSubject: three\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nbody 3.1\n--b\nContent-Type: application/octet-stream\n\nbody 3.2\n--b--\n\
         --a\nContent-Type: multipart/mixed; boundary=c\n\n--c\nContent-Type: image/gif\n\nbody 4.1\n--c\nContent-Type: message/rfc822\n\nSubject: four two\nContent-Type: multipart/mixed; boundary=d\n\n\
         --d\n\nbody 4.2.1\n--d\nContent-Type: multipart/alternative; boundary=e\n\n--e\n\nbody 4.2.2.1\n--e\nContent-Type: text/richtext\n\nbody 4.2.2.2\n--e--\n--d--\n--c--\n--a--\n",
    )
}

#[test]
fn bodies_of_all_parts() {
    let raw = example();
    let structure = derive(&raw).structure;
    for (path, body) in [
        (&[1][..], "body 1"),
        (&[2], "Ym9keSAy"),
        (&[3, 1], "body 3.1"),
        (&[3, 2], "body 3.2"),
        (&[4, 1], "body 4.1"),
        (&[4, 2, 1], "body 4.2.1"),
        (&[4, 2, 2, 1], "body 4.2.2.1"),
        (&[4, 2, 2, 2], "body 4.2.2.2"),
    ] {
        let found = part(&structure, path).unwrap_or_else(|| panic!("{path:?}"));
        assert_eq!(
            slice(&raw, found.body()).escape_ascii().to_string(),
            body,
            "{path:?}"
        );
        assert_eq!(found.header(), None, "{path:?}");
        assert_eq!(found.text(), None, "{path:?}");
    }
    for path in [
        &[0][..],
        &[5],
        &[1, 1],
        &[3, 3],
        &[4, 2, 2, 1, 1],
        &[u32::MAX],
        &[1; 100],
    ] {
        assert_eq!(part(&structure, path), None, "{path:?}");
    }
    assert_eq!(part(&structure, &[2]).unwrap().encoding(), "base64");
}

#[test]
fn the_message_and_the_messages_within() {
    let raw = example();
    let structure = derive(&raw).structure;
    let whole = part(&structure, &[]).unwrap();
    assert_eq!(slice(&raw, whole.body()), raw);
    assert_eq!(whole.mime(), None);
    assert_eq!(
        slice(&raw, whole.header().unwrap()),
        b"Subject: root\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n"
    );
    assert_eq!(whole.header().unwrap().end, whole.text().unwrap().start);
    assert_eq!(whole.text().unwrap().end, raw.len());

    let inner = part(&structure, &[4, 2]).unwrap();
    assert_eq!(
        slice(&raw, inner.mime().unwrap()),
        b"Content-Type: message/rfc822\r\n\r\n"
    );
    let header = slice(&raw, inner.header().unwrap());
    assert_eq!(
        header,
        b"Subject: four two\r\nContent-Type: multipart/mixed; boundary=d\r\n\r\n"
    );
    assert_eq!(
        [header, slice(&raw, inner.text().unwrap())].concat(),
        slice(&raw, inner.body())
    );
    assert!(slice(&raw, inner.body()).ends_with(b"--d--"));
    assert_eq!(
        slice(
            &raw,
            part(&structure, &[4, 2, 2, 2]).unwrap().mime().unwrap()
        ),
        b"Content-Type: text/richtext\r\n\r\n"
    );
}

#[test]
fn a_message_that_is_no_multipart_is_its_own_part_1() {
    let raw = crlf("Subject: x\nContent-Transfer-Encoding: base64\n\nSGk=\n");
    let structure = derive(&raw).structure;
    let one = part(&structure, &[1]).unwrap();
    assert_eq!(slice(&raw, one.body()), b"SGk=\r\n");
    assert_eq!(one.mime(), Some(0..structure.body_start as usize));
    assert_eq!(one.encoding(), "base64");
    assert_eq!(part(&structure, &[]).unwrap().encoding(), "8BIT");
    assert_eq!(part(&structure, &[2]), None);
    assert_eq!(part(&structure, &[1, 1]), None);
}

#[test]
fn a_message_that_is_a_message() {
    let raw = crlf("Content-Type: message/rfc822\n\nSubject: in\n\ntext");
    let structure = derive(&raw).structure;
    assert_eq!(
        slice(&raw, part(&structure, &[1]).unwrap().header().unwrap()),
        b"Subject: in\r\n\r\n"
    );
    assert_eq!(
        slice(&raw, part(&structure, &[1, 1]).unwrap().body()),
        b"text"
    );
    assert_eq!(part(&structure, &[1, 1, 1]), None);
    // A message's numbers are those of the message within; a multipart there is not a number of its own.
    let raw = crlf(
        "Content-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b--",
    );
    let structure = derive(&raw).structure;
    assert_eq!(
        slice(&raw, part(&structure, &[1, 1]).unwrap().body()),
        b"text"
    );
}
