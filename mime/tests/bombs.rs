//! Messages made to cost time or memory. Each is read, searched and summed up within a bound.
//!
//! Dev builds are ten times as slow as release ones and get ten times the time.

#![allow(clippy::print_stdout)] // what was measured

mod support;

use std::time::Duration;

use mailrook_mime::{Matcher, decode_header, decode_transfer, derive, header_fields, limits};
use mailrook_types::{BodyPart, PartContent};
use support::cpu_time;

const MB: usize = 1 << 20;

/// Measured: 0.4 s at worst on an idle machine; a busy sibling core doubles it.
const TIME_MAX: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });

/// Large inputs are for release builds; in dev builds a hundredth tells of quadratic time as well.
const LARGE: usize = if cfg!(debug_assertions) {
    MB / 2
} else {
    50 * MB
};

/// Derives and measures; gives the structure.
#[track_caller]
fn within_time(name: &str, raw: &[u8]) -> BodyPart {
    let start = cpu_time();
    let derived = derive(raw);
    let took = cpu_time() - start;
    println!("{name}: {} KB in {took:?}", raw.len() >> 10);
    assert!(took < TIME_MAX, "{name}: {took:?}");
    let stored = postcard::to_allocvec(&(&derived.envelope, &derived.structure))
        .expect("plain data serialises");
    assert!(
        stored.len() <= limits::DERIVED_BYTES_MAX,
        "{name}: {} bytes",
        stored.len()
    );
    derived.structure
}

fn count(part: &BodyPart) -> usize {
    1 + match &part.content {
        PartContent::Multipart(multipart) => multipart.parts.iter().map(count).sum(),
        PartContent::Message { body, .. } => count(body),
        PartContent::Text(_) | PartContent::Basic => 0,
    }
}

const MULTIPART: &str = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";

#[test]
fn a_hundred_thousand_parts() {
    let raw = format!("{MULTIPART}{}", "--b\r\n\r\nx\r\n".repeat(100_000));
    let root = within_time("100,000 parts", raw.as_bytes());
    assert_eq!(count(&root), limits::PARTS_MAX);
    let PartContent::Multipart(multipart) = &root.content else {
        panic!("{root:?}")
    };
    let last = multipart.parts.last().unwrap();
    assert_eq!(&*last.fields.media_subtype, "octet-stream");
    assert_eq!(last.body_end as usize, raw.len());
}

#[test]
fn parts_without_anything() {
    let raw = format!("{MULTIPART}{}", "--b\n".repeat(LARGE / 4));
    assert!(count(&within_time("delimiters alone", raw.as_bytes())) <= limits::PARTS_MAX);
}

#[test]
fn ten_thousand_messages_within_each_other() {
    for header in [
        "Content-Type: message/rfc822\r\n\r\n",
        "Content-Type: message/global\n\n",
    ] {
        let root = within_time("10,000 messages", header.repeat(10_000).as_bytes());
        assert!(count(&root) <= limits::DEPTH_MAX + 1);
    }
}

#[test]
fn multiparts_within_each_other() {
    let same = format!("{MULTIPART}--b\r\n").repeat(10_000);
    within_time("10,000 multiparts, one boundary", same.as_bytes());
    let own: String = (0..10_000)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
        .collect();
    within_time("10,000 multiparts, own boundaries", own.as_bytes());
}

#[test]
fn near_delimiters_of_fifty_open_multiparts() {
    let mut raw: Vec<u8> = (0..50)
        .flat_map(|n| {
            format!("Content-Type: multipart/mixed; boundary=aaaaaaaa{n}\r\n\r\n--aaaaaaaa{n}\r\n")
                .into_bytes()
        })
        .collect();
    raw.extend_from_slice(b"\r\n");
    for line in [&b"--a\n"[..], b"--aaaaaaaa\n", b"--\n"] {
        let near = [&raw[..], &line.repeat(LARGE / line.len())].concat();
        let start = cpu_time();
        derive(&near);
        // 13 million look-ups, 30 to 60 ns each.
        assert!(
            cpu_time() - start < 2 * TIME_MAX,
            "{:?}",
            cpu_time() - start
        );
    }
}

#[test]
fn a_hundred_thousand_address_fields() {
    let raw = "To: a@b, \"c\" <d@e>\r\n".repeat(100_000);
    let start = cpu_time();
    let derived = derive(raw.as_bytes());
    assert!(cpu_time() - start < TIME_MAX);
    assert!(derived.envelope.to.len() <= limits::ADDRESSES_MAX);
    let groups = "g:".repeat(400_000);
    within_time("groups", format!("To: {groups}\r\n\r\n").as_bytes());
    let words = "a <b@c> ".repeat(100_000);
    within_time(
        "addresses without commas",
        format!("From: {words}\r\n\r\n").as_bytes(),
    );
}

#[test]
fn ten_thousand_parameters() {
    let sections: String = (0..10_000)
        .map(|n| format!(";\r\n name*{n}*=%41"))
        .collect();
    within_time(
        "10,000 sections",
        format!("Content-Type: a/b{sections}\r\n\r\n").as_bytes(),
    );
    let own: String = (0..10_000).map(|n| format!("; n{n}=v")).collect();
    let root = within_time(
        "10,000 parameters",
        format!("Content-Type: a/b{own}\r\n\r\n").as_bytes(),
    );
    assert_eq!(root.fields.parameters.len(), limits::PARAMETERS_MAX);
    let part = format!("--b\r\nContent-Type: a/b{}\r\n\r\n\r\n", &own[..2000]);
    within_time(
        "1,000 parts of many parameters",
        format!("{MULTIPART}{}", part.repeat(1_000)).as_bytes(),
    );
}

#[test]
fn one_byte_again_and_again() {
    for unit in [
        "(", "\"", "\\", "<", "=?", "=?a?Q?", "=?a?Q?=", ",", ":", ";", "@", "a", "-", "\n", "\r",
        "\0", "ä", "İ", "日", "\n--", " ", "=", "+",
    ] {
        let text = unit.repeat(LARGE / unit.len());
        for header in [
            "",
            "\r\n",
            "Subject: ",
            "From: ",
            "Content-Type: ",
            "Content-Type: a/b; c=",
            "Date: ",
            "References: ",
            "Content-Language: ",
        ] {
            // The whole length where it can count: in a body, and in one field.
            let length = if matches!(header, "\r\n" | "From: ") {
                text.len()
            } else {
                text.len().min((LARGE / 4).min(2 * MB))
            };
            let end = (0..=length)
                .rev()
                .find(|&at| text.is_char_boundary(at))
                .unwrap();
            let raw = [header.as_bytes(), &text.as_bytes()[..end]].concat();
            within_time(&format!("{header:?} and {unit:?}"), &raw);
        }
        let start = cpu_time();
        decode_header(text.as_bytes());
        header_fields(text.as_bytes(), &["a"], true);
        let _ = (
            decode_transfer("base64", text.as_bytes()),
            decode_transfer("quoted-printable", text.as_bytes()),
        );
        assert!(
            (cpu_time() - start) < 4 * TIME_MAX,
            "{unit:?}: {:?}",
            (cpu_time() - start)
        );
    }
}

#[test]
fn encoded_bodies_of_all_kinds() {
    for (encoding, unit) in [
        ("base64", "w6TDpMOk"),
        ("quoted-printable", "=C3=A4 =\r\n"),
        ("7bit", "\u{e4} text "),
    ] {
        for charset in [
            "utf-8",
            "us-ascii",
            "utf-7",
            "iso-8859-1",
            "iso-2022-jp",
            "gb18030",
            "utf-16",
        ] {
            let header = format!(
                "Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
            );
            let raw = [
                header.as_bytes(),
                unit.repeat(LARGE / unit.len()).as_bytes(),
            ]
            .concat();
            let root = within_time(&format!("{encoding} {charset}"), &raw);
            let start = cpu_time();
            assert!(!Matcher::new("absent").matches_text(&raw, &root));
            assert!(
                (cpu_time() - start) < 2 * TIME_MAX,
                "{encoding} {charset}: {:?}",
                (cpu_time() - start)
            );
        }
    }
}

#[test]
fn a_thousand_parts_with_long_fields_fit_the_bound() {
    let long = "x".repeat(5_000);
    let part = format!(
        "--b\r\nContent-ID: <{long}>\r\nContent-Description: {long}\r\nContent-Type: a/b; n={long}\r\n\r\n\r\n"
    );
    let root = within_time(
        "long fields",
        format!("{MULTIPART}{}", part.repeat(990)).as_bytes(),
    );
    assert_eq!(count(&root), 991, "texts are cut before parts are");
    let token = "x".repeat(limits::TOKEN_BYTES_MAX);
    let part = format!(
        "--b\r\nContent-Type: {token}/{token}; {token}=a\r\nContent-Disposition: {token}; {token}=a\r\n\r\n\r\n"
    );
    within_time(
        "long names",
        format!("{MULTIPART}{}", part.repeat(990)).as_bytes(),
    );
}
