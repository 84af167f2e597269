//! Header text as the reader sees it: unfolded, encoded words decoded (RFC 2047, RFC 2231 §5), as UTF-8.

use crate::{
    charset::{self, TextDecoder},
    header::unfold,
    transfer::decode_transfer,
};

/// Bytes of a charset's name and language in an encoded word. The longest registered name has 45.
const CHARSET_BYTES_MAX: usize = 80;

/// The decoded text of a field's value.
///
/// White space between encoded words goes (RFC 2047 §6.2), and a character that was cut between two words of one
/// charset is joined, though §5 forbids to cut it: mailers do. What is not encoded is read as UTF-8 or windows-1252.
pub fn decode_header(value: &[u8]) -> String {
    let value = unfold(value);
    if value.is_ascii() && memchr::memmem::find(&value, b"=?").is_none() {
        return String::from_utf8(value).unwrap_or_default();
    }
    let mut out = String::with_capacity(value.len());
    let mut rest = &value[..];
    let mut previous: Option<(&[u8], TextDecoder)> = None;
    // Where the next search for `=?` starts: behind those that were no encoded word.
    let mut from = 0;
    while let Some(found) = memchr::memmem::find(&rest[from..], b"=?").map(|found| found + from) {
        let Some((charset, bytes, length)) = encoded_word(&rest[found..]) else {
            from = found + 2;
            continue;
        };
        let between = &rest[..found];
        if previous.is_none() || !between.iter().all(u8::is_ascii_whitespace) {
            finish(&mut previous, &mut out);
            plain(between, &mut out);
        }
        if previous
            .as_ref()
            .is_none_or(|(before, _)| !before.eq_ignore_ascii_case(charset))
        {
            finish(&mut previous, &mut out);
            previous = Some((charset, TextDecoder::new(&String::from_utf8_lossy(charset))));
        }
        if let Some((_, decoder)) = &mut previous {
            decoder.push(&bytes, false, &mut out);
        }
        rest = &rest[found + length..];
        from = 0;
    }
    finish(&mut previous, &mut out);
    plain(rest, &mut out);
    out
}

fn finish(decoder: &mut Option<(&[u8], TextDecoder)>, out: &mut String) {
    if let Some((_, mut decoder)) = decoder.take() {
        decoder.push(&[], true, out);
    }
}

fn plain(text: &[u8], out: &mut String) {
    match std::str::from_utf8(text) {
        Ok(text) => out.push_str(text),
        Err(_) => out.push_str(&charset::decode("", text)),
    }
}

/// `=?charset*language?B?text?=` at the start of `text`: charset, decoded bytes, length.
///
/// It never looks beyond the fourth `?`, so that a text of nothing but `=?` costs linear time.
fn encoded_word(text: &[u8]) -> Option<(&[u8], Vec<u8>, usize)> {
    let inner = &text[2..];
    let charset_end = inner
        .iter()
        .take(CHARSET_BYTES_MAX)
        .position(|&byte| byte == b'?')?;
    let charset = inner[..charset_end].split(|&byte| byte == b'*').next()?;
    let &[encoding, b'?', ref encoded @ ..] = &inner[charset_end + 1..] else {
        return None;
    };
    let end = memchr::memchr(b'?', encoded)?;
    if charset.is_empty() || encoded.get(end + 1) != Some(&b'=') {
        return None;
    }
    let encoded = &encoded[..end];
    let bytes = match encoding {
        b'b' | b'B' => decode_transfer("base64", encoded).ok()?,
        b'q' | b'Q' => quoted(encoded),
        _ => return None,
    };
    Some((charset, bytes, 2 + charset_end + 3 + end + 2))
}

/// RFC 2047 §4.2: underscores are spaces, `=` and two digits a byte.
fn quoted(text: &[u8]) -> Vec<u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], hex(text.get(at + 1)), hex(text.get(at + 2))) {
            (b'=', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                at += 2;
            }
            (b'_', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> String {
        decode_header(text.as_bytes())
    }

    #[test]
    fn rfc_2047_examples() {
        // §8
        assert_eq!(decoded("(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)"), "(ab)");
        assert_eq!(
            decoded("(=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=)"),
            "(ab)"
        );
        assert_eq!(decoded("(=?ISO-8859-1?Q?a_b?= c)"), "(a b c)");
        assert_eq!(
            decoded("=?US-ASCII*EN?Q?Keith_Moore?= <m@x>"),
            "Keith Moore <m@x>"
        );
        assert_eq!(
            decoded(
                "=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\r\n =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?="
            ),
            "If you can read this you understand the example."
        );
    }

    #[test]
    fn characters_cut_between_words_are_joined() {
        assert_eq!(decoded("=?utf-8?Q?=E2=82?= =?UTF-8?Q?=AC?="), "€");
        assert_eq!(decoded("=?utf-8?B?4oI=?= =?UTF-8?B?rA==?= x"), "€ x");
        assert_eq!(decoded("=?utf-8?Q?=E2=82?= a"), "\u{fffd} a");
    }

    #[test]
    fn what_is_no_encoded_word_stays() {
        for text in [
            "=?",
            "=?utf-8?Q?abc",
            "=?utf-8?X?abc?=",
            "=??Q?a?=",
            "a =?= b",
            "=?utf-8?Q?a?b?=",
        ] {
            assert_eq!(decoded(text), text);
        }
        assert_eq!(decoded("=?=?utf-8?Q?a?="), "=?a");
        assert_eq!(decode_header(b"gr\xfc\xdf"), "grüß");
    }
}
