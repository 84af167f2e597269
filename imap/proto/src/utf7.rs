//! Modified UTF-7, the encoding of mailbox names before IMAP4rev2 (RFC 3501 §5.1.3, RFC 9051 Appendix A.1).
//!
//! There is exactly one encoding of each name: decoding refuses the others, lest two spellings name one mailbox.

use base64::{
    Engine as _, alphabet::IMAP_MUTF7, engine::GeneralPurpose, engine::general_purpose::NO_PAD,
};

const BASE64: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

/// Appends `name` in modified UTF-7.
pub fn encode(name: &str, out: &mut Vec<u8>) {
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        if is_direct(first) {
            out.push(first as u8);
            if first == '&' {
                out.push(b'-');
            }
            rest = &rest[1..];
            continue;
        }
        let run_end = rest.find(is_direct).unwrap_or(rest.len());
        let (run, after) = rest.split_at(run_end);
        let utf16: Vec<u8> = run.encode_utf16().flat_map(u16::to_be_bytes).collect();
        out.push(b'&');
        out.extend_from_slice(BASE64.encode(utf16).as_bytes());
        out.push(b'-');
        rest = after;
    }
}

/// The name that `encoded` stands for; `None` unless it is that name's one encoding.
pub fn decode(encoded: &[u8]) -> Option<String> {
    let mut name = String::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&first, after)) = rest.split_first() {
        if first != b'&' {
            let c = char::from(first);
            if !is_direct(c) {
                return None;
            }
            name.push(c);
            rest = after;
            continue;
        }
        let end = memchr::memchr(b'-', after)?;
        let (run, after_run) = (&after[..end], &after[end + 1..]);
        if run.is_empty() {
            name.push('&');
        } else {
            decode_run(run, &mut name)?;
        }
        rest = after_run;
    }
    let mut canonical = Vec::with_capacity(encoded.len());
    encode(&name, &mut canonical);
    (canonical == encoded).then_some(name)
}

/// What stands for itself: printable ASCII. `&` does too, as `&-`.
fn is_direct(c: char) -> bool {
    matches!(c, ' '..='~')
}

/// One run of base64 between `&` and `-`.
fn decode_run(run: &[u8], name: &mut String) -> Option<()> {
    let bytes = BASE64.decode(run).ok()?;
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    for unit in char::decode_utf16(units) {
        name.push(unit.ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(name: &str) -> String {
        let mut out = Vec::new();
        encode(name, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_the_examples_of_the_rfc() {
        for (name, wire) in [
            ("INBOX", "INBOX"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Tom & Jerry", "Tom &- Jerry"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("😀", "&2D3eAA-"),
        ] {
            assert_eq!(encoded(name), wire);
            assert_eq!(decode(wire.as_bytes()).as_deref(), Some(name));
        }
    }

    #[test]
    fn refuses_second_spellings_and_nonsense() {
        for wire in [
            "&AGE-",      // a letter that stands for itself
            "&Jjo-&Jjo-", // two runs where one would do
            "a&b",
            "&",
            "&&-",
            "&AA-",
            "&2D0-",
            "&====-",
            "Entwürfe",
            "\n",
            "&AP=-",
            "&APz-",
        ] {
            assert_eq!(decode(wire.as_bytes()), None, "{wire:?}");
        }
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(name in any::<String>()) {
            prop_assert_eq!(decode(encoded(&name).as_bytes()), Some(name));
        }

        #[test]
        fn survives_anything(wire in any::<Vec<u8>>()) {
            if let Some(name) = decode(&wire) {
                prop_assert_eq!(encoded(&name).into_bytes(), wire);
            }
        }
    }
}
