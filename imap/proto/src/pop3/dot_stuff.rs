//! A message's bytes as the lines of an answer (RFC 1939 §3).

/// Writes a message in pieces: doubles the dots that start a line, and ends lines with CRLF where the message has
/// a bare LF, because clients disagree on whether that ends a line, and with it on where the message ends.
#[derive(Debug)]
pub struct DotStuffer {
    /// The last byte written; LF before the first, as at the start of a line.
    last: u8,
}

/// Cuts a message's body after some lines, for TOP.
#[derive(Debug)]
pub struct LineLimit {
    left: u32,
}

impl Default for DotStuffer {
    fn default() -> DotStuffer {
        DotStuffer::new()
    }
}

impl DotStuffer {
    /// At the start of a message.
    pub const fn new() -> DotStuffer {
        DotStuffer { last: b'\n' }
    }

    /// Appends the next piece of the message to `out`.
    pub fn encode(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let Some(&last) = piece.last() else { return };
        out.reserve(piece.len());
        if self.last == b'\n' && piece[0] == b'.' {
            out.push(b'.');
        }
        // Copied are runs as long as nothing has to be put between: nearly always the whole piece.
        let mut copied = 0;
        for at in memchr::memchr_iter(b'\n', piece) {
            let before = if at == 0 { self.last } else { piece[at - 1] };
            if before != b'\r' {
                out.extend_from_slice(&piece[copied..at]);
                out.push(b'\r');
                copied = at;
            }
            if piece.get(at + 1) == Some(&b'.') {
                out.extend_from_slice(&piece[copied..=at]);
                out.push(b'.');
                copied = at + 1;
            }
        }
        out.extend_from_slice(&piece[copied..]);
        self.last = last;
    }

    /// Ends the message, which need not end with a line's end, and the answer.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.last {
            b'\n' => {}
            b'\r' => out.push(b'\n'),
            _ => out.extend_from_slice(b"\r\n"),
        }
        out.extend_from_slice(b".\r\n");
    }
}

impl LineLimit {
    /// After so many lines.
    pub const fn new(lines: u32) -> LineLimit {
        LineLimit { left: lines }
    }

    /// How much of the next piece of the body belongs to these lines: all of it, or what stands before the cut.
    pub fn take(&mut self, piece: &[u8]) -> usize {
        if self.left == 0 {
            return 0;
        }
        for at in memchr::memchr_iter(b'\n', piece) {
            self.left -= 1;
            if self.left == 0 {
                return at + 1;
            }
        }
        piece.len()
    }

    /// Whether nothing more is wanted.
    pub const fn is_reached(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stuffed(pieces: &[&[u8]]) -> String {
        let (mut stuffer, mut out) = (DotStuffer::new(), Vec::new());
        pieces
            .iter()
            .for_each(|piece| stuffer.encode(piece, &mut out));
        stuffer.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_dots_at_the_start_of_lines() {
        for (message, wire) in [
            ("", ".\r\n"),
            (".", "..\r\n.\r\n"),
            ("a.b\r\n.\r\n..c\r\n", "a.b\r\n..\r\n...c\r\n.\r\n"),
            ("a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"),
            ("\n", "\r\n.\r\n"),
            ("a\r", "a\r\n.\r\n"),
        ] {
            assert_eq!(stuffed(&[message.as_bytes()]), wire, "{message:?}");
        }
    }

    #[test]
    fn cuts_after_lines() {
        let mut limit = LineLimit::new(2);
        assert_eq!(limit.take(b"a\r\nb"), 4);
        assert_eq!(limit.take(b"b\r\nc\r\n"), 3);
        assert!(limit.is_reached());
        assert_eq!(limit.take(b"c"), 0);
        assert_eq!(LineLimit::new(0).take(b"x"), 0);
    }

    proptest! {
        #[test]
        fn a_client_reads_the_message_back(message in "[.a\r\n]{0,40}", cuts in prop::collection::vec(1usize..5, 1..20)) {
            let (mut pieces, mut at, mut cuts) = (Vec::new(), 0, cuts.into_iter().cycle());
            while at < message.len() {
                let end = message.len().min(at + cuts.next().unwrap());
                pieces.push(&message.as_bytes()[at..end]);
                at = end;
            }
            let wire = stuffed(&pieces);
            prop_assert_eq!(&wire, &stuffed(&[message.as_bytes()]));
            // What a client does, line by line.
            let mut lines: Vec<&str> = wire.split_inclusive("\r\n").collect();
            prop_assert_eq!(lines.pop(), Some(".\r\n"));
            let mut read = String::new();
            for line in lines {
                prop_assert!(line != ".\r\n");
                read += line.strip_prefix('.').unwrap_or(line);
            }
            let mut normal = message.replace("\r\n", "\n").replace('\n', "\r\n");
            if !normal.is_empty() && !normal.ends_with('\n') {
                normal += if normal.ends_with('\r') { "\n" } else { "\r\n" };
            }
            prop_assert_eq!(read, normal);
        }
    }
}
