//! The text after DATA: where it ends, dots unstuffed, line ends checked (RFC 5321 §4.5.2, §2.3.8).
//!
//! Works on whatever pieces the network gives and copies nothing: text comes out as slices of the input, as long
//! as they can be. What must be held back at the end of a piece (a CR, a dot that starts a line) is a state, not a
//! buffer. Cost is linear: each byte is looked at once, most of them by `memchr`.
//!
//! Only `<CR><LF>.<CR><LF>` ends the text. After a bare CR or LF a line has not started, so that neither a dot is
//! unstuffed there nor can one end the text: what another server reads as the end, and we do not, stays inside.

use memchr::memchr2;

use crate::config::BareNewlines;

/// What stands before the next byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The start, or `<CR><LF>`.
    LineStart,
    /// Anything else that was passed on.
    Text,
    /// A CR that was held back.
    Cr,
    /// A dot at a line's start, held back.
    Dot,
    /// A dot at a line's start and a CR, held back.
    DotCr,
}

/// What came out of the input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Text of the message.
    Text(&'a [u8]),
    /// A bare CR or LF, which the policy refuses.
    Bare,
    /// The end of the text.
    End,
}

/// Decodes the text of one message.
#[derive(Debug)]
pub(crate) struct Decoder {
    at: At,
    policy: BareNewlines,
    /// False for BDAT: no dots are stuffed and nothing ends the text (RFC 3030 §2).
    dots: bool,
}

impl Decoder {
    /// For the text after DATA.
    pub(crate) fn dotted(policy: BareNewlines) -> Decoder {
        Decoder {
            at: At::LineStart,
            policy,
            dots: true,
        }
    }

    /// For the octets of BDAT, other than BINARYMIME: only line ends are checked.
    pub(crate) fn counted(policy: BareNewlines) -> Decoder {
        Decoder {
            at: At::LineStart,
            policy,
            dots: false,
        }
    }

    /// Takes what it can from the start of `input`. Says how much that was and what came of it; without a piece,
    /// all input was taken.
    pub(crate) fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Piece<'a>>) {
        let mut taken = 0;
        while let Some(&byte) = input.get(taken) {
            let (step, piece) = match self.at {
                At::Text => self.scan(&input[taken..]),
                _ => self.resolve(byte),
            };
            taken += step;
            if piece.is_some() {
                return (taken, piece);
            }
        }
        (taken, None)
    }

    /// The end of BDAT's last chunk: a CR held back was a bare one.
    pub(crate) fn finish(&mut self) -> Option<Piece<'static>> {
        (self.at == At::Cr).then(|| self.bare())
    }

    /// One byte where something was held back or a line starts.
    fn resolve<'a>(&mut self, byte: u8) -> (usize, Option<Piece<'a>>) {
        match (self.at, byte) {
            (At::LineStart, b'.') if self.dots => self.hold(At::Dot),
            (At::LineStart, b'\r') => self.hold(At::Cr),
            (At::LineStart | At::Text, _) => {
                self.at = At::Text;
                (0, None)
            }
            (At::Cr, b'\n') => {
                self.at = At::LineStart;
                (1, Some(Piece::Text(b"\r\n")))
            }
            (At::Dot, b'\r') => self.hold(At::DotCr),
            // RFC 5321 §4.5.2: with more on the line, the first dot goes.
            (At::Dot, _) => {
                self.at = At::Text;
                (0, None)
            }
            (At::DotCr, b'\n') => {
                self.at = At::LineStart;
                (1, Some(Piece::End))
            }
            // The byte itself is looked at next: it may be a CR, too.
            (At::Cr | At::DotCr, _) => (0, Some(self.bare())),
        }
    }

    fn hold<'a>(&mut self, at: At) -> (usize, Option<Piece<'a>>) {
        self.at = at;
        (1, None)
    }

    /// A bare CR or LF stands before the next byte.
    fn bare(&mut self) -> Piece<'static> {
        self.at = At::Text;
        match self.policy {
            BareNewlines::Refuse => Piece::Bare,
            BareNewlines::Normalise => Piece::Text(b"\r\n"),
        }
    }

    /// The longest stretch of text that can be passed on as it is.
    fn scan<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Piece<'a>>) {
        let text = |end: usize| (end, (end > 0).then(|| Piece::Text(&input[..end])));
        let mut at = 0;
        while let Some(found) = memchr2(b'\r', b'\n', &input[at..]) {
            let newline = at + found;
            if input[newline] == b'\n' {
                return if newline == 0 {
                    (1, Some(self.bare()))
                } else {
                    text(newline)
                };
            }
            let after = newline + 2;
            match input.get(newline + 1) {
                Some(b'\n') if !self.dots || input.get(after).is_some_and(|next| *next != b'.') => {
                    at = after
                }
                Some(b'\n') => {
                    self.at = At::LineStart;
                    return text(after);
                }
                // A CR at the end of the input or before something else: the next byte decides.
                _ => {
                    self.at = At::Cr;
                    return (newline + 1, text(newline).1);
                }
            }
        }
        text(input.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text, whether a bare newline was seen, and how many bytes were taken up to the end.
    fn decode(policy: BareNewlines, pieces: &[&[u8]]) -> (Vec<u8>, bool, Option<usize>) {
        let mut decoder = Decoder::dotted(policy);
        let (mut text, mut bare, mut before) = (Vec::new(), false, 0);
        for piece in pieces {
            let mut rest = *piece;
            loop {
                let (taken, out) = decoder.next(rest);
                before += taken;
                rest = &rest[taken..];
                match out {
                    Some(Piece::Text(slice)) => text.extend_from_slice(slice),
                    Some(Piece::Bare) => bare = true,
                    Some(Piece::End) => return (text, bare, Some(before)),
                    None => break,
                }
            }
            assert!(rest.is_empty());
        }
        (text, bare, None)
    }

    /// The plain reading of RFC 5321 §4.5.2: lines end in CRLF, a line of one dot ends all, a first dot goes.
    fn model(input: &[u8]) -> Option<(Vec<u8>, usize)> {
        let (mut text, mut at) = (Vec::new(), 0);
        loop {
            let end = at + memchr::memmem::find(&input[at..], b"\r\n")? + 2;
            let line = &input[at..end];
            at = end;
            if line == b".\r\n" {
                return Some((text, at));
            }
            text.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
    }

    #[test]
    fn unstuffs_and_ends() {
        for (wire, text) in [
            (&b".\r\n"[..], &b""[..]),
            (b"\r\n.\r\n", b"\r\n"),
            (b"a\r\n.\r\n", b"a\r\n"),
            (b"..\r\n.\r\n", b".\r\n"),
            (b"..a\r\n...\r\n.\r\n", b".a\r\n..\r\n"),
            (b".a\r\n.\r\n", b"a\r\n"),
            (b"a.\r\n.b.\r\n.\r\n", b"a.\r\nb.\r\n"),
        ] {
            assert_eq!(
                decode(BareNewlines::Refuse, &[wire]),
                (text.to_vec(), false, Some(wire.len()))
            );
        }
    }

    #[test]
    fn no_other_sequence_ends_the_text() {
        for smuggled in [
            "\n.\n",
            "\n.\r\n",
            "\r.\r\n",
            "\r.\r",
            "\r\n.\n",
            "\r\n.\r",
            "\r\n\r.\r\n",
            "\n\r.\r\n",
            "\r\n.\r\r\n",
            "\r\r\n.\n",
            "\r\n\0.\r\n",
            "\r\n.\0\r\n",
            "\n\n.\r\n",
            "\r\n.\r.\r\n",
            "\u{85}.\u{85}",
            "\r\n. \r\n",
        ] {
            let wire = format!("text{smuggled}MAIL FROM:<x@example.test>");
            for policy in [BareNewlines::Refuse, BareNewlines::Normalise] {
                let (text, _, end) = decode(policy, &[wire.as_bytes()]);
                assert_eq!(end, None, "{smuggled:?}");
                assert!(
                    text.ends_with(b"MAIL FROM:<x@example.test>"),
                    "{smuggled:?}"
                );
            }
        }
    }

    #[test]
    fn normalises_to_crlf() {
        let (text, bare, end) = decode(BareNewlines::Normalise, &[b"a\nb\rc\r\rd\n.\ne\r\n.\r\n"]);
        assert_eq!(text, b"a\r\nb\r\nc\r\n\r\nd\r\n.\r\ne\r\n");
        assert!(!bare && end.is_some());
    }

    #[test]
    fn passes_long_stretches_whole() {
        let mut wire = b"x\r\n".repeat(1000);
        wire.splice(0..0, *b"y");
        let mut decoder = Decoder::dotted(BareNewlines::Refuse);
        let (taken, piece) = decoder.next(&wire);
        assert_eq!((taken, piece), (wire.len(), Some(Piece::Text(&wire))));
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_reading(
            wire in prop::collection::vec(prop::sample::select(b"a.\r\n".to_vec()), 0..40),
            cuts in prop::collection::vec(0usize..40, 0..4),
        ) {
            let wire = [&wire[..], b"\r\n.\r\n"].concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(wire.len())).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect();
            let whole = decode(BareNewlines::Refuse, &[&wire]);
            prop_assert_eq!(&decode(BareNewlines::Refuse, &pieces), &whole);
            let (text, bare, end) = whole;
            let (model_text, model_end) = model(&wire).expect("it ends");
            prop_assert_eq!(end, Some(model_end));
            if !bare {
                prop_assert_eq!(text, model_text);
            }
            // Nothing bare comes out of either policy.
            let (normal, _, normal_end) = decode(BareNewlines::Normalise, &pieces);
            prop_assert_eq!(normal_end, Some(model_end));
            let stripped = String::from_utf8(normal).unwrap().replace("\r\n", "");
            prop_assert!(!stripped.contains(['\r', '\n']));
        }
    }
}
