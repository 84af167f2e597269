//! What holds for every message, however broken: random ones, and mutations of tricky ones.

mod support;

use mailrook_mime::{
    Matcher, SearchScope, body_range, decode_transfer, derive, fields, header_fields, header_range,
    limits, part, searchable_text, slice,
};
use mailrook_types::{BodyPart, PartContent};
use proptest::prelude::*;

/// Pieces out of which messages are thrown together.
const PIECES: &[&str] = &[
    "\r\n",
    "\n",
    "\r\n\r\n",
    "--b\r\n",
    "--b--\r\n",
    "--bb\r\n",
    "--bb--\r\n",
    "Content-Type: multipart/mixed; boundary=b\r\n",
    "Content-Type: multipart/digest; boundary=bb\r\n",
    "Content-Type: message/rfc822\r\n",
    "Content-Type: text/html; charset=utf-16\r\n",
    "Content-Type: text/plain; charset*0*=utf-7''; charset*1=x\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "From: a@b, \"c\" <d@e> (f), g: h@i;\r\n",
    "To: =?utf-8?Q?=C3=A4?= <",
    "Subject: =?utf-8?B?w6Q=?=",
    "Date: Fri, 21 Nov 1997 09:55:06 -0600\r\n",
    "References: <a@b> <c@d>\r\n",
    "(",
    ")",
    "\"",
    "\\",
    "<",
    ">",
    "=?",
    "?=",
    "=C3=A4",
    "w6TDpA==",
    "ÄÖÜ",
    "ß",
    "\0",
    " ",
    "\t",
    "word ",
    "\u{fffd}",
    "+Jjo-",
    ";",
    ":",
    "name*0*=",
    "Content-Disposition: attachment; filename=\"x\"\r\n",
];

fn message() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// Offsets in bounds, parts within their parents, in order and apart.
fn check_places(raw: &[u8], part: &BodyPart, depth: usize) -> usize {
    assert!(depth <= limits::DEPTH_MAX);
    assert!(part.header_start <= part.body_start && part.body_start <= part.body_end);
    assert!(part.body_end as usize <= raw.len());
    let header = slice(raw, header_range(part));
    // The fields and the empty line are the header, byte for byte.
    let joined: Vec<u8> = fields(header)
        .flat_map(|field| field.raw.iter().copied())
        .collect();
    assert!(
        [&b""[..], b"\n", b"\r\n"]
            .iter()
            .any(|end| [&joined[..], end].concat() == header)
    );
    match &part.content {
        PartContent::Multipart(multipart) => {
            assert!(!multipart.parts.is_empty());
            let mut end = part.body_start;
            let mut count = 1;
            for child in &multipart.parts {
                assert!(end <= child.header_start && child.body_end <= part.body_end);
                end = child.body_end;
                count += check_places(raw, child, depth + 1);
            }
            count
        }
        PartContent::Message { body, .. } => {
            assert_eq!(
                (body.header_start, body.body_end),
                (part.body_start, part.body_end)
            );
            1 + check_places(raw, body, depth + 1)
        }
        PartContent::Text(text) => {
            let newlines = slice(raw, body_range(part))
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count();
            assert_eq!(text.lines as usize, newlines);
            1
        }
        PartContent::Basic => 1,
    }
}

fn check_sections(raw: &[u8], root: &BodyPart) {
    let mut paths: Vec<Vec<u32>> = vec![vec![]];
    while let Some(path) = paths.pop() {
        let Some(found) = part(root, &path) else {
            continue;
        };
        let body = slice(raw, found.body());
        if let (Some(header), Some(text)) = (found.header(), found.text()) {
            assert_eq!([slice(raw, header), slice(raw, text)].concat(), body);
        }
        let _ = decode_transfer(found.encoding(), body);
        if path.len() < 6 {
            paths.extend((1..4).map(|number| [&path[..], &[number]].concat()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(debug_assertions) { 300 } else { 3000 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_has_a_sound_structure(raw in message()) {
        let derived = derive(&raw);
        let root = &derived.structure;
        prop_assert_eq!((root.header_start, root.body_end as usize), (0, raw.len()));
        prop_assert!(check_places(&raw, root, 0) <= limits::PARTS_MAX);
        check_sections(&raw, root);
        prop_assert_eq!(&derive(&raw), &derived);
    }

    #[test]
    fn any_bytes_at_all(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
        check_places(&raw, &derive(&raw).structure, 0);
    }

    #[test]
    fn selected_fields_and_the_others_are_all_fields(raw in message()) {
        let header = &raw[..derive(&raw).header_end() as usize];
        let names = ["from", "Content-Type", "subject", ""];
        let [some, others] = [false, true].map(|not| header_fields(header, &names, not));
        let count = |header: &[u8]| fields(header).count();
        prop_assert_eq!(count(&some) + count(&others), count(header));
        prop_assert!(some.ends_with(b"\r\n") && others.ends_with(b"\r\n"));
    }

    #[test]
    fn what_stands_in_the_text_is_found_and_not_excluded(raw in message(), place in any::<prop::sample::Index>(), length in 1_usize..12) {
        let derived = derive(&raw);
        for scope in [SearchScope::Header, SearchScope::Body] {
            for text in searchable_text(&raw, &derived.structure, scope) {
                let characters: Vec<char> = text.chars().collect();
                if characters.is_empty() {
                    continue;
                }
                let start = place.index(characters.len());
                let needle: String = characters[start..].iter().take(length).collect();
                for needle in [needle.to_uppercase(), needle.to_lowercase(), needle] {
                    // Upper and lower case may change more than folding equals: ŉ, İ.
                    if mailrook_mime::fold(&needle) != mailrook_mime::fold(&characters[start..].iter().take(length).collect::<String>()) {
                        continue;
                    }
                    let matcher = Matcher::new(&needle);
                    prop_assert!(matcher.matches_text(&raw, &derived.structure), "{:?}", needle);
                    prop_assert!(derived.signature.may_contain(scope, matcher.grams()));
                    prop_assert!(derived.signature.may_contain(SearchScope::Text, matcher.grams()));
                    if scope == SearchScope::Body {
                        prop_assert!(matcher.matches_body(&raw, &derived.structure));
                    }
                }
            }
        }
    }

    #[test]
    fn found_and_excluded_agree_with_the_plain_way(raw in message(), needle in "[a-zäß=?:<@ ]{0,4}") {
        let derived = derive(&raw);
        let matcher = Matcher::new(&needle);
        let folded = mailrook_mime::fold(&needle);
        let holds = |scope| {
            let texts = searchable_text(&raw, &derived.structure, scope);
            needle.is_empty() || texts.iter().any(|text| {
                let text = mailrook_mime::fold(text);
                text.windows(folded.len()).any(|window| window == folded)
            })
        };
        prop_assert_eq!(matcher.matches_text(&raw, &derived.structure), holds(SearchScope::Text));
        prop_assert_eq!(matcher.matches_body(&raw, &derived.structure), holds(SearchScope::Body));
    }

    #[test]
    fn a_transfer_encoding_undone_is_what_was_encoded(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let quoted: String = bytes.iter().map(|byte| format!("={byte:02X}=\r\n")).collect();
        prop_assert_eq!(decode_transfer("quoted-printable", quoted.as_bytes()).unwrap(), bytes);
    }
}
