//! Messages: what is read out of them lies within them and within its bounds, and no search misses what is there.

use std::num::NonZeroU32;

use mailrook_imap_proto::writer::Writer;
use mailrook_mime::{
    Matcher, SearchScope, Signature, TransferDecoder, body_range, decode_header, decode_transfer,
    decoded_size, derive, extended_parameter, fields, header_fields, header_range, limits,
    parse_date, part, searchable_text, slice,
};
use mailrook_store_api::Detail;
use mailrook_types::{BodyPart, PartContent, Uid};

use crate::{
    Target,
    choices::{Choices, pieces},
    wire::response_len,
};

pub(crate) const MIME_MESSAGE: Target = Target {
    name: "mime_message",
    run: mime_message,
    seeds: || {
        vec![
            [b"\x00\x05\x07", PLAIN].concat(),
            [b"\x01\x20\x03", MULTIPART].concat(),
            [b"\x00\x01\x09", FORWARDED].concat(),
            [b"\x02\x30\x05", ENCODED].concat(),
        ]
    },
    dictionary: &[
        b"\r\n",
        b"\r\n\r\n",
        b"\n\n",
        b"--b\r\n",
        b"--b--\r\n",
        b"Content-Type: ",
        b"multipart/mixed; boundary=b",
        b"multipart/digest; boundary=\"b c\"",
        b"message/rfc822",
        b"message/global",
        b"text/plain; charset=",
        b"iso-2022-jp",
        b"utf-16",
        b"utf-7",
        b"gb18030",
        b"Content-Transfer-Encoding: ",
        b"base64",
        b"quoted-printable",
        b"=\r\n",
        b"=3D",
        b"=?utf-8?q?=C3?=",
        b"=?utf-8?b?w6Q=?=",
        b"; name*0*=utf-8''%e4; name*1=",
        b"From: ",
        b"To: a:b@c,d;, \"e\" <@f:g@h>",
        b"(((",
        b"Date: ",
        b"References: <a@b> <c@d>",
        b"\x1b$B",
        b"\x1b(B",
        b"\xe2\x84\xaa",
        b"\xc3\x9f",
        b"\xc4\xb0",
        b"\0",
    ],
    len_max: 6_000,
    rounds: 4_000,
};

const PLAIN: &[u8] = b"From: \"Ann B.\" <ann@example.test>\r\nTo: undisclosed:;, b@c.test (Bob)\r\n\
Subject: =?iso-8859-1?q?Gr=FC=DFe?= an alle\r\nDate: Tue, 1 Jul 2003 10:52:37 +0200 (CEST)\r\n\
Message-ID: <1@example.test>\r\nReferences: <a@b.test>\r\n <c@d.test>\r\n\r\nHello, world.\r\nBye.\r\n";
const MULTIPART: &[u8] = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\npreamble\r\n\
--b\r\nContent-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$B$3$s\x1b(B\r\n--b\r\n\
Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>Gr=C3=BC=C3=9Fe=\r\n!</p>\r\n\
--b\r\nContent-Type: application/pdf; name*0*=utf-8''%C3%A4; name*1=\"b.pdf\"\r\nContent-Disposition: attachment;\
 filename=\"x\\\"y.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8s\r\nIHdvcmxk\r\n--b--\r\nepilogue\r\n";
const FORWARDED: &[u8] = b"Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: inner\n\
Content-Type: message/rfc822\n\nSubject: innermost\nFrom: a@b.test\n\ntext\n--d\nContent-Type: message/rfc822\n\n\
Content-Type: multipart/alternative; boundary=e\n\n--e\n\nx\n--e--\n--d--\n";
const ENCODED: &[u8] = b"Subject: =?utf-8?b?w4TDlsOc?= =?utf-8?b?4oSq?=\r\nContent-Type: text/plain; charset=utf-16\r\n\
Content-Transfer-Encoding: base64\r\n\r\n/v8AVABlAHgAdADfIRI=\r\n";

/// One message. The first bytes choose what is looked for.
///
/// # Panics
/// If a part lies outside of its message, a bound is exceeded, or a search misses what is there.
pub fn mime_message(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (scope, at, length) = (choices.below(3), choices.byte(), choices.byte());
    let raw = choices.rest();
    let derived = derive(raw);
    assert_eq!(derived, derive(raw), "read twice");
    let root = &derived.structure;
    assert_eq!((root.header_start, root.body_end as usize), (0, raw.len()));
    let mut parts = 0;
    check_part(root, 0, &mut parts);
    assert!(parts <= limits::PARTS_MAX, "{parts} parts");
    check_detail(&Detail {
        envelope: derived.envelope,
        structure: derived.structure.clone(),
        sent: derived.sent_date,
    });
    check_sections(raw, root);
    let scope = [SearchScope::Header, SearchScope::Body, SearchScope::Text][scope];
    check_search(raw, root, &derived.signature, scope, at, length);
    check_transfer(raw, at);
    check_header(raw);
}

/// Parts lie within each other, in their order.
fn check_part(part: &BodyPart, depth: usize, parts: &mut usize) {
    *parts += 1;
    assert!(depth <= 2 * limits::DEPTH_MAX, "a part {depth} levels deep");
    assert!(part.header_start <= part.body_start && part.body_start <= part.body_end);
    match &part.content {
        PartContent::Multipart(multipart) => {
            assert!(!multipart.parts.is_empty());
            let mut last_end = part.body_start;
            for child in &multipart.parts {
                assert!(last_end <= child.header_start && child.body_end <= part.body_end);
                last_end = child.body_end;
                check_part(child, depth + 1, parts);
            }
        }
        PartContent::Message { body, .. } => {
            assert!(part.body_start <= body.header_start && body.body_end <= part.body_end);
            check_part(body, depth + 1, parts);
        }
        PartContent::Text(_) | PartContent::Basic => {}
    }
}

/// What is stored is read back, fits its bound, and is printed as one response.
fn check_detail(detail: &Detail) {
    let stored = detail.encode();
    assert_eq!(Detail::decode(&stored).as_ref(), Ok(detail));
    let size = mailrook_kv::encode(&(&detail.envelope, &detail.structure)).len();
    assert!(size <= limits::DERIVED_BYTES_MAX, "{size} bytes are stored");
    for utf8 in [false, true] {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, utf8);
        let mut fetch = writer.fetch(1);
        fetch.uid(Uid::MIN);
        fetch.envelope(&detail.envelope);
        fetch.body(&detail.structure);
        fetch.body_structure(&detail.structure);
        fetch.finish();
        assert_eq!(
            response_len(&out),
            Some(out.len()),
            "{}",
            out.escape_ascii()
        );
    }
}

/// Every part is found by its number.
fn check_sections(raw: &[u8], root: &BodyPart) {
    let mut open: Vec<Vec<u32>> = vec![Vec::new()];
    let mut found = 0;
    while let Some(path) = open.pop() {
        let Some(section) = part(root, &path) else {
            continue;
        };
        found += 1;
        assert!(found <= 3 * limits::PARTS_MAX);
        let ranges = [
            Some(section.body()),
            section.mime(),
            section.header(),
            section.text(),
        ];
        for range in ranges.into_iter().flatten() {
            assert!(range.start <= range.end && range.end <= raw.len());
        }
        let body = slice(raw, section.body());
        if let (Ok(decoded), Ok(size)) = (
            decode_transfer(section.encoding(), body),
            decoded_size(section.encoding(), body),
        ) {
            assert_eq!(decoded.len() as u64, size);
            assert!(decoded.len() <= body.len() + 1024);
        }
        let children = match &section.part.content {
            PartContent::Multipart(multipart) => multipart.parts.len(),
            _ => 2,
        };
        if path.len() <= 2 * limits::DEPTH_MAX {
            let numbers = (0..=children as u32 + 1).filter_map(NonZeroU32::new);
            open.extend(numbers.map(|number| [path.as_slice(), &[number.get()]].concat()));
        }
    }
}

/// A piece of the text is found, in the text, by the signature, and in the raw message.
fn check_search(
    raw: &[u8],
    root: &BodyPart,
    signature: &Signature,
    scope: SearchScope,
    at: u8,
    length: u8,
) {
    let texts = searchable_text(raw, root, scope);
    let longest = texts.iter().max_by_key(|text| text.len());
    let mut needles = vec![String::from_utf8_lossy(&[at, length]).into_owned()];
    if let Some(text) = longest {
        let boundary = |at: usize| (at..text.len()).find(|at| text.is_char_boundary(*at));
        let start = boundary(usize::from(at) * text.len() / 256).unwrap_or(text.len());
        let end = boundary(start + usize::from(length) % 12).unwrap_or(text.len());
        needles.push(text[start..end].to_owned());
    }
    for (index, needle) in needles.iter().enumerate() {
        let matcher = Matcher::new(needle);
        let in_texts = texts.iter().any(|text| matcher.matches_str(text)) || needle.is_empty();
        assert!(in_texts || index == 0, "{needle:?} is a piece of the text");
        let by_search = match scope {
            SearchScope::Header => continue,
            SearchScope::Body => matcher.matches_body(raw, root),
            SearchScope::Text => matcher.matches_text(raw, root),
        };
        assert_eq!(by_search, in_texts, "{needle:?} in {scope:?}");
        let excluded = !signature.may_contain(scope, matcher.grams());
        assert!(
            !(by_search && excluded),
            "{needle:?} is missed in {scope:?}"
        );
    }
    let matcher = Matcher::new(&needles[needles.len() - 1]);
    let header = slice(raw, header_range(root));
    if matcher.matches_header_field(header, "Subject") {
        assert!(signature.may_contain(SearchScope::Header, matcher.grams()));
        assert!(signature.may_contain(SearchScope::Text, matcher.grams()));
    }
}

/// Transfer encodings come to the same in any pieces.
fn check_transfer(raw: &[u8], seed: u8) {
    for encoding in ["7bit", "base64", "quoted-printable"] {
        let mut decoder = TransferDecoder::new(encoding).expect("these are known");
        let mut out = Vec::new();
        for piece in pieces(raw, seed) {
            let before = out.len();
            decoder.push(piece, &mut out);
            assert!(out.len() - before <= piece.len() + 1024);
        }
        decoder.finish(&mut out);
        assert_eq!(Ok(&out), decode_transfer(encoding, raw).as_ref());
        assert_eq!(Ok(out.len() as u64), decoded_size(encoding, raw));
    }
}

/// Every byte of a header belongs to one field; the readers of values take anything.
fn check_header(raw: &[u8]) {
    let root = derive(raw).structure;
    let header = slice(raw, header_range(&root));
    let all: usize = fields(header).map(|field| field.raw.len()).sum();
    assert!(all <= header.len());
    let chosen = header_fields(header, &["Subject", "to", ""], false).len();
    let others = header_fields(header, &["Subject", "to", ""], true).len();
    // Each ends with an empty line, and perhaps with the line end that the header lacks.
    assert!((all + 4..=all + 8).contains(&(chosen + others)));
    for field in fields(header) {
        let _ = (parse_date(field.value), extended_parameter(field.value));
        let decoded = decode_header(field.value);
        assert!(decoded.len() <= 3 * field.value.len() + 3, "it grows");
    }
    assert!(body_range(&root).end <= raw.len());
}
