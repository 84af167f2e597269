//! Charsets to UTF-8, a chunk at a time.
//!
//! encoding_rs reads the charsets of the web; UTF-7 (RFC 2152) is read here. A missing, unknown or us-ascii label is
//! read as UTF-8, and a byte that is none as windows-1252: what mail without a right label mostly is.

use std::sync::LazyLock;

use encoding_rs::{CoderResult, Encoding};

/// Decodes one text, chunk by chunk.
pub(crate) enum TextDecoder {
    Labelled(Box<encoding_rs::Decoder>),
    Guessed { carry: Vec<u8> },
    Utf7(Utf7),
}

impl TextDecoder {
    /// For a charset label, of any case and perhaps unknown.
    pub(crate) fn new(label: &str) -> Self {
        let label = label.trim();
        if label.is_empty()
            || label.eq_ignore_ascii_case("us-ascii")
            || label.eq_ignore_ascii_case("ascii")
        {
            return TextDecoder::Guessed { carry: Vec::new() };
        }
        if label.eq_ignore_ascii_case("utf-7") || label.eq_ignore_ascii_case("unicode-1-1-utf-7") {
            return TextDecoder::Utf7(Utf7::default());
        }
        // cp1251 and its like are known, with a number that the web writes otherwise: cp1254, cp874.
        let found = Encoding::for_label_no_replacement(label.as_bytes()).or_else(|| {
            let number = label
                .strip_prefix("cp")
                .or_else(|| label.strip_prefix("CP"))?;
            Encoding::for_label_no_replacement(format!("windows-{number}").as_bytes())
        });
        match found {
            Some(encoding) => {
                TextDecoder::Labelled(Box::new(encoding.new_decoder_with_bom_removal()))
            }
            None => TextDecoder::Guessed { carry: Vec::new() },
        }
    }

    /// Appends the text of `bytes` to `out`; with `last`, also that of an unfinished character.
    pub(crate) fn push(&mut self, bytes: &[u8], last: bool, out: &mut String) {
        match self {
            TextDecoder::Labelled(decoder) => decode_labelled(decoder, bytes, last, out),
            TextDecoder::Guessed { carry } => decode_guessed(carry, bytes, last, out),
            TextDecoder::Utf7(utf7) => bytes.iter().for_each(|&byte| utf7.push(byte, out)),
        }
    }
}

/// All of `bytes` at once.
pub(crate) fn decode(label: &str, bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    TextDecoder::new(label).push(bytes, true, &mut out);
    out
}

fn decode_labelled(
    decoder: &mut encoding_rs::Decoder,
    mut bytes: &[u8],
    last: bool,
    out: &mut String,
) {
    loop {
        // Room for all at once: encoding_rs clears what is free of the buffer at each call.
        out.reserve(
            decoder
                .max_utf8_buffer_length(bytes.len())
                .unwrap_or(bytes.len())
                .max(16),
        );
        let (result, read, _) = decoder.decode_to_string(bytes, out, last);
        bytes = &bytes[read..];
        if result == CoderResult::InputEmpty {
            return;
        }
    }
}

fn decode_guessed(carry: &mut Vec<u8>, bytes: &[u8], last: bool, out: &mut String) {
    if !carry.is_empty() {
        // An unfinished character is at most three bytes; with four more it is decided.
        let (head, rest) = bytes.split_at(bytes.len().min(4));
        let mut joined = std::mem::take(carry);
        joined.extend_from_slice(head);
        let unfinished = guess(&joined, out);
        let unfinished = joined.len() - unfinished;
        if unfinished <= head.len() {
            decode_guessed(carry, &bytes[head.len() - unfinished..], last, out);
            return;
        }
        debug_assert!(rest.is_empty());
        *carry = joined.split_off(joined.len() - unfinished);
    } else {
        let read = guess(bytes, out);
        carry.extend_from_slice(&bytes[read..]);
    }
    if last {
        carry
            .drain(..)
            .for_each(|byte| out.push(windows_1252(byte)));
    }
}

/// Appends UTF-8, and what is none as windows-1252; gives how much was read: all but an unfinished character.
fn guess(mut bytes: &[u8], out: &mut String) -> usize {
    let length = bytes.len();
    loop {
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                out.push_str(text);
                return length;
            }
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                out.push_str(std::str::from_utf8(valid).unwrap_or_default());
                let Some(wrong) = error.error_len() else {
                    return length - rest.len();
                };
                rest[..wrong]
                    .iter()
                    .for_each(|&byte| out.push(windows_1252(byte)));
                bytes = &rest[wrong..];
            }
        }
    }
}

/// All 256 characters of windows-1252.
static WINDOWS_1252: LazyLock<[char; 256]> = LazyLock::new(|| {
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    let (text, _) = encoding_rs::WINDOWS_1252.decode_without_bom_handling(&bytes);
    let mut table = ['\u{fffd}'; 256];
    table
        .iter_mut()
        .zip(text.chars())
        .for_each(|(entry, character)| *entry = character);
    table
});

fn windows_1252(byte: u8) -> char {
    WINDOWS_1252[usize::from(byte)]
}

/// RFC 2152: `+` starts base64 of UTF-16, `-` or any other character ends it.
#[derive(Default)]
pub(crate) struct Utf7 {
    shifted: bool,
    /// Whether nothing came since the `+`: `+-` is a plus.
    fresh: bool,
    bits: u32,
    bit_count: u32,
    high_surrogate: Option<u16>,
}

impl Utf7 {
    fn push(&mut self, byte: u8, out: &mut String) {
        if !self.shifted {
            match byte {
                b'+' => {
                    *self = Utf7 {
                        shifted: true,
                        fresh: true,
                        ..Utf7::default()
                    }
                }
                byte if byte.is_ascii() => out.push(char::from(byte)),
                byte => out.push(windows_1252(byte)),
            }
            return;
        }
        if let Some(value) = base64_value(byte) {
            self.fresh = false;
            self.bits = (self.bits << 6 | value) & 0x3f_ffff;
            self.bit_count += 6;
            if self.bit_count >= 16 {
                self.bit_count -= 16;
                self.unit((self.bits >> self.bit_count) as u16, out);
            }
            return;
        }
        let was_fresh = self.fresh;
        *self = Utf7::default();
        match byte {
            b'-' if was_fresh => out.push('+'),
            b'-' => {}
            byte => self.push(byte, out),
        }
    }

    fn unit(&mut self, unit: u16, out: &mut String) {
        let units = self.high_surrogate.take().into_iter().chain([unit]);
        if (0xd800..0xdc00).contains(&unit) {
            self.high_surrogate = Some(unit);
            return;
        }
        out.extend(char::decode_utf16(units).map(|decoded| decoded.unwrap_or('\u{fffd}')));
    }
}

fn base64_value(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        assert_eq!(decode("ISO-8859-1", b"gr\xfc\xdfe"), "grüße");
        assert_eq!(decode("utf-8", "naïve".as_bytes()), "naïve");
        assert_eq!(decode("koi8-r", b"\xf0\xd2\xc9"), "При");
        assert_eq!(decode("shift_jis", b"\x93\xfa\x96\x7b"), "日本");
        assert_eq!(decode("cp1251", b"\xcf"), "П");
        assert_eq!(
            decode("utf-7", b"Hi Mom -+Jjo--! +-"),
            "Hi Mom -\u{263a}-! +"
        ); // RFC 2152, examples
        assert_eq!(decode("utf-7", b"+2D3eAA-"), "\u{1f600}");
    }

    #[test]
    fn without_a_label_utf_8_and_else_windows_1252() {
        assert_eq!(decode("", "ä€".as_bytes()), "ä€");
        assert_eq!(decode("us-ascii", b"a\xe4b\x80"), "aäb€");
        assert_eq!(decode("x-unknown", b"\xc3"), "Ã");
    }

    #[test]
    fn chunks_do_not_matter() {
        for label in ["", "utf-8", "utf-7", "shift_jis", "utf-16le"] {
            let bytes =
                b"a\xe2\x82\xac\xc3\xe4\xf0\x9f\x98\x80\xf0\x9f+Jjo-\x93\xfa\xe2\x82".as_slice();
            let whole = decode(label, bytes);
            for size in 1..6 {
                let mut decoder = TextDecoder::new(label);
                let mut out = String::new();
                bytes
                    .chunks(size)
                    .for_each(|chunk| decoder.push(chunk, false, &mut out));
                decoder.push(b"", true, &mut out);
                assert_eq!(out, whole, "{label} in chunks of {size}");
            }
        }
    }
}
