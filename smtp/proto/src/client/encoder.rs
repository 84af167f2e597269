//! The text of a message as it goes out (RFC 5321 §4.5.2, §2.3.8): streamed, lines ended, dots stuffed.
//!
//! A CR or LF that stands alone becomes `<CR><LF>`, and a dot is stuffed at the start of each line that results: whatever
//! another host takes for a line's end, a line of one dot is not in the text (SMTP smuggling). What does not end in
//! `<CR><LF>` is ended by one. All else goes as it is, also NUL and lines of more than 998 octets: to fold them would break
//! signatures.

use memchr::memchr2;

/// What stands before the next octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    Text,
    /// A CR that was held back.
    Cr,
}

/// How the text is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// For DATA.
    Dotted,
    /// For BDAT: only line ends are seen to.
    Counted,
    /// For BDAT with BINARYMIME: as it is.
    Binary,
}

/// Encodes the text of one message.
#[derive(Debug)]
pub(super) struct Encoder {
    at: At,
    form: Form,
}

impl Encoder {
    pub(super) fn new(form: Form) -> Encoder {
        Encoder {
            at: At::LineStart,
            form,
        }
    }

    /// Appends `input` to `out`.
    pub(super) fn encode(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        if self.form == Form::Binary {
            out.extend_from_slice(input);
            return;
        }
        while let Some(&first) = input.first() {
            match self.at {
                At::Cr => {
                    out.extend_from_slice(b"\r\n");
                    self.at = At::LineStart;
                    input = &input[usize::from(first == b'\n')..];
                    continue;
                }
                At::LineStart if first == b'.' && self.form == Form::Dotted => out.push(b'.'),
                _ => {}
            }
            let Some(end) = memchr2(b'\r', b'\n', input) else {
                out.extend_from_slice(input);
                self.at = At::Text;
                return;
            };
            out.extend_from_slice(&input[..end]);
            self.at = At::Cr;
            if input[end] == b'\n' {
                out.extend_from_slice(b"\r\n");
                self.at = At::LineStart;
            }
            input = &input[end + 1..];
        }
    }

    /// Ends the last line, if it has no end.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.at != At::LineStart {
            out.extend_from_slice(b"\r\n");
            self.at = At::LineStart;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(form: Form, pieces: &[&[u8]]) -> Vec<u8> {
        let mut encoder = Encoder::new(form);
        let mut out = Vec::new();
        pieces
            .iter()
            .for_each(|piece| encoder.encode(piece, &mut out));
        encoder.finish(&mut out);
        out
    }

    #[test]
    fn ends_lines_and_stuffs_dots() {
        for (text, wire) in [
            (&b""[..], &b""[..]),
            (b"a", b"a\r\n"),
            (b"a\r\n", b"a\r\n"),
            (b".", b"..\r\n"),
            (b".\r\n..\r\na.\r\n", b"..\r\n...\r\na.\r\n"),
            (b"a\n.\nb\r.\rc\r\r\n", b"a\r\n..\r\nb\r\n..\r\nc\r\n\r\n"),
            (b"a\r\n.\n\r.", b"a\r\n..\r\n\r\n..\r\n"),
            (b"\0\xff", b"\0\xff\r\n"),
        ] {
            assert_eq!(
                encode(Form::Dotted, &[text]),
                wire,
                "{}",
                text.escape_ascii()
            );
        }
        assert_eq!(encode(Form::Counted, &[b".\n.\r"]), b".\r\n.\r\n");
        assert_eq!(encode(Form::Binary, &[b".\n.\r"]), b".\n.\r");
    }

    proptest! {
        #[test]
        fn no_end_of_data_is_within(
            text in prop::collection::vec(prop::sample::select(b"a.\r\n\0".to_vec()), 0..60),
            cut in 0usize..60,
        ) {
            let whole = encode(Form::Dotted, &[&text]);
            let (first, second) = text.split_at(cut.min(text.len()));
            prop_assert_eq!(&encode(Form::Dotted, &[first, second]), &whole);
            let wire = [b"\r\n", &whole[..]].concat();
            // With only CRLF as line ends, no host can read a line of one dot, whatever it takes for an end.
            let lines: Vec<&[u8]> = wire.split(|byte| matches!(byte, b'\r' | b'\n')).collect();
            prop_assert!(lines.iter().all(|line| *line != b"."));
            let text = String::from_utf8(wire).unwrap().replace("\r\n", "");
            prop_assert!(!text.contains(['\r', '\n']));
        }
    }
}
