//! Undoes transfer encodings (RFC 2045 §6), a chunk at a time, with memory bounded whatever the part's size is.
//!
//! Broken encodings are read as far as they go, as §6.7 and §6.8 advise: bytes that are no base64 are passed over, an
//! `=` that starts no escape stands for itself.

use thiserror::Error;

/// Nobody here knows this encoding: `[UNKNOWN-CTE]` (RFC 9051 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("unknown content transfer encoding")]
pub struct UnknownEncoding;

/// White space at a line's end is taken away (RFC 2045 §6.7, rule 3); runs longer than this are kept. A line of
/// quoted-printable has 76 bytes.
const PENDING_SPACE_BYTES_MAX: usize = 1024;

/// Decodes one part.
#[derive(Clone, Debug)]
pub struct TransferDecoder(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Identity,
    Base64 { bits: u32, count: u32 },
    QuotedPrintable(QuotedPrintable),
}

impl TransferDecoder {
    /// A decoder for the value of `Content-Transfer-Encoding`.
    pub fn new(encoding: &str) -> Result<Self, UnknownEncoding> {
        let is = |name: &str| encoding.eq_ignore_ascii_case(name);
        Ok(TransferDecoder(
            if is("7bit") || is("8bit") || is("binary") || encoding.is_empty() {
                Kind::Identity
            } else if is("base64") {
                Kind::Base64 { bits: 0, count: 0 }
            } else if is("quoted-printable") {
                Kind::QuotedPrintable(QuotedPrintable::default())
            } else {
                return Err(UnknownEncoding);
            },
        ))
    }

    /// A decoder that changes nothing.
    pub fn identity() -> Self {
        TransferDecoder(Kind::Identity)
    }

    /// Whether the decoded bytes are the encoded ones.
    pub fn is_identity(&self) -> bool {
        matches!(self.0, Kind::Identity)
    }

    /// Appends to `out` what `input` decodes to; at most `input.len()` and 1 KiB more.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        match &mut self.0 {
            Kind::Identity => out.extend_from_slice(input),
            Kind::Base64 { bits, count } => base64(bits, count, input, out),
            Kind::QuotedPrintable(decoder) => decoder.push(input, out),
        }
    }

    /// Appends what an unfinished end stands for.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.0 {
            Kind::Identity => {}
            Kind::Base64 { bits, count } => base64_end(bits, count, out),
            Kind::QuotedPrintable(decoder) => decoder.finish(out),
        }
    }
}

/// The decoded bytes of a part, all at once.
pub fn decode_transfer(encoding: &str, bytes: &[u8]) -> Result<Vec<u8>, UnknownEncoding> {
    let mut decoder = TransferDecoder::new(encoding)?;
    let mut out = Vec::with_capacity(bytes.len());
    decoder.push(bytes, &mut out);
    decoder.finish(&mut out);
    Ok(out)
}

/// What `BINARY.SIZE` tells: the length of the decoded part, counted without keeping it.
pub fn decoded_size(encoding: &str, bytes: &[u8]) -> Result<u64, UnknownEncoding> {
    let mut decoder = TransferDecoder::new(encoding)?;
    if decoder.is_identity() {
        return Ok(bytes.len() as u64);
    }
    let mut out = Vec::new();
    let mut size = 0;
    for chunk in bytes.chunks(crate::limits::CHUNK_BYTES) {
        decoder.push(chunk, &mut out);
        size += out.len() as u64;
        out.clear();
    }
    decoder.finish(&mut out);
    Ok(size + out.len() as u64)
}

/// No letter of the base64 alphabet.
const NONE: u8 = 0xff;
const PADDING: u8 = 0xfe;

const BASE64_VALUES: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [NONE; 256];
    let mut at = 0;
    while at < 64 {
        values[alphabet[at] as usize] = at as u8;
        at += 1;
    }
    values[b'=' as usize] = PADDING;
    values
};

fn base64(bits: &mut u32, count: &mut u32, mut input: &[u8], out: &mut Vec<u8>) {
    let value = |byte: u8| BASE64_VALUES[usize::from(byte)];
    while let Some((&byte, rest)) = input.split_first() {
        // Four letters at a time, between groups and line ends.
        if *count == 0
            && let Some(group) = input.first_chunk::<4>()
        {
            let [a, b, c, d] = group.map(value);
            if (a | b | c | d) < 64 {
                let word =
                    u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
                out.extend_from_slice(&word.to_be_bytes()[1..]);
                input = &input[4..];
                continue;
            }
        }
        input = rest;
        match value(byte) {
            NONE => {}
            PADDING => {
                base64_end(*bits, *count, out);
                (*bits, *count) = (0, 0);
            }
            letter => {
                *bits = *bits << 6 | u32::from(letter);
                *count += 1;
                if *count == 4 {
                    out.extend_from_slice(&bits.to_be_bytes()[1..]);
                    (*bits, *count) = (0, 0);
                }
            }
        }
    }
}

fn base64_end(bits: u32, count: u32, out: &mut Vec<u8>) {
    match count {
        2 => out.push((bits >> 4) as u8),
        3 => out.extend_from_slice(&((bits >> 2) as u16).to_be_bytes()),
        _ => {}
    }
}

#[derive(Clone, Debug, Default)]
struct QuotedPrintable {
    /// White space that is dropped if a line end follows.
    spaces: Vec<u8>,
    escape: Escape,
}

/// What was read of an escape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// `=`
    Equals,
    /// `=4`
    Digit(u8),
    /// `=` and white space or a CR: a soft line break if LF follows.
    LineEnd,
}

impl QuotedPrintable {
    fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while let Some((&byte, rest)) = input.split_first() {
            if self.escape == Escape::None {
                let run = memchr::memchr3(b'=', b'\n', b'\r', input).unwrap_or(input.len());
                if run > 0 {
                    self.run(&input[..run], out);
                    input = &input[run..];
                    continue;
                }
                input = rest;
                self.outside(byte, out);
            } else if self.inside(byte, out) {
                input = rest;
            }
        }
    }

    /// Bytes that stand for themselves; white space at their end does so unless a line end follows.
    fn run(&mut self, run: &[u8], out: &mut Vec<u8>) {
        let text = run
            .iter()
            .rposition(|byte| !matches!(byte, b' ' | b'\t'))
            .map_or(0, |at| at + 1);
        if text > 0 {
            out.append(&mut self.spaces);
            out.extend_from_slice(&run[..text]);
        }
        run[text..]
            .iter()
            .for_each(|&space| self.outside(space, out));
    }

    /// A special byte outside of an escape.
    fn outside(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            b'=' => {
                out.append(&mut self.spaces);
                self.escape = Escape::Equals;
            }
            b'\n' => {
                if self.spaces.last() == Some(&b'\r') {
                    out.push(b'\r');
                }
                self.spaces.clear();
                out.push(b'\n');
            }
            _ => {
                if self.spaces.last() == Some(&b'\r')
                    || self.spaces.len() >= PENDING_SPACE_BYTES_MAX
                {
                    out.append(&mut self.spaces);
                }
                self.spaces.push(byte);
            }
        }
    }

    /// A byte after `=`; false if the escape ended before it, so that the byte is to be read again.
    fn inside(&mut self, byte: u8, out: &mut Vec<u8>) -> bool {
        let hex = |byte: u8| char::from(byte).to_digit(16);
        match (self.escape, byte) {
            (Escape::Equals | Escape::LineEnd, b'\n') => {
                self.spaces.clear();
                self.escape = Escape::None;
                return true;
            }
            (Escape::Equals | Escape::LineEnd, b' ' | b'\t' | b'\r')
                if self.spaces.len() < PENDING_SPACE_BYTES_MAX =>
            {
                self.spaces.push(byte);
                self.escape = Escape::LineEnd;
                return true;
            }
            (Escape::Equals, _) if hex(byte).is_some() => {
                self.escape = Escape::Digit(byte);
                return true;
            }
            (Escape::Digit(high), _) => {
                self.escape = Escape::None;
                if let (Some(high), Some(low)) = (hex(high), hex(byte)) {
                    out.push((high << 4 | low) as u8);
                    return true;
                }
                out.extend_from_slice(&[b'=', high]);
            }
            _ => {
                self.escape = Escape::None;
                out.push(b'=');
                out.append(&mut self.spaces);
            }
        }
        false
    }

    /// The end of the part is the end of a line: white space before it goes, and so does a soft line break.
    fn finish(self, out: &mut Vec<u8>) {
        if let Escape::Digit(digit) = self.escape {
            out.extend_from_slice(&[b'=', digit]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> String {
        String::from_utf8(decode_transfer("Quoted-Printable", text.as_bytes()).unwrap()).unwrap()
    }

    fn base64(text: &str) -> String {
        String::from_utf8(decode_transfer("BASE64", text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn quoted_printable() {
        assert_eq!(quoted("na=C3=AFve=3d"), "naïve=");
        // RFC 2045 §6.7
        assert_eq!(
            quoted("Now's the time =\r\nfor all folk to come=\r\n to the aid of their country."),
            "Now's the time for all folk to come to the aid of their country."
        );
        assert_eq!(
            quoted("space \t\r\nend  =20\r\nsoft= \t\r\n.\nlast "),
            "space\r\nend   \r\nsoft.\nlast"
        );
        assert_eq!(quoted("a=zz=4z== 1=\rx=4"), "a=zz=4z== 1=\rx=4");
        assert_eq!(quoted("a\rb \rc="), "a\rb \rc");
    }

    #[test]
    fn base_64() {
        assert_eq!(base64("SGVs\r\nbG8h"), "Hello!");
        assert_eq!(base64("SGVsbG8="), "Hello");
        assert_eq!(base64("S G*V.s\0bG8"), "Hello");
        assert_eq!(base64("SGk=SGk="), "HiHi");
        assert_eq!(base64("SGVsbG8"), "Hello");
        assert_eq!(decode_transfer("x-uuencode", b""), Err(UnknownEncoding));
    }

    #[test]
    fn chunks_do_not_matter() {
        let text = b"=C3=AF = \r\n \t\n=4=\n=\r\n= x SGVs\r\nbG8=SGk= \r \r\n";
        for encoding in ["7bit", "base64", "quoted-printable"] {
            let whole = decode_transfer(encoding, text).unwrap();
            assert_eq!(decoded_size(encoding, text), Ok(whole.len() as u64));
            for size in 1..7 {
                let mut decoder = TransferDecoder::new(encoding).unwrap();
                let mut out = Vec::new();
                text.chunks(size)
                    .for_each(|chunk| decoder.push(chunk, &mut out));
                decoder.finish(&mut out);
                assert_eq!(out, whole, "{encoding} in chunks of {size}");
            }
        }
    }
}
