//! Command lines out of bytes that come in any pieces.
//!
//! A line ends in `<CR><LF>` and nowhere else. A bare LF is answered at once, as the sender waits for a reply to what
//! it takes for a line, but what stands between it and the next `<CR><LF>` is never read as a command.

use memchr::memchr;

use crate::limits;

/// What a stretch of input came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line, without its `<CR><LF>`: printable, no control characters, no bare CR or LF. It may hold UTF-8.
    Whole(String),
    /// A line, or a part of one, that is refused.
    Bad(BadLine),
}

/// Why a line is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadLine {
    /// A LF without a CR before it.
    BareLf,
    /// A control character, NUL or bare CR.
    Control,
    /// No UTF-8.
    NotUtf8,
    /// Beyond the limit of its command.
    TooLong,
    /// Beyond [`limits::LINE_SWALLOW_MAX`] and no end in sight.
    Endless,
}

/// Gathers one line.
#[derive(Debug, Default)]
pub(crate) struct LineReader {
    /// What has come of the line so far, up to the largest limit.
    held: Vec<u8>,
    /// Bytes of the line that were dropped, since it is too long.
    dropped: usize,
    /// A bare LF was seen, and no line's end since.
    tainted: bool,
}

impl LineReader {
    /// Takes from `input` up to the next LF. Says how much, and what line it ended. `auth` is set where a response
    /// of an AUTH exchange is awaited.
    pub(crate) fn next(&mut self, input: &[u8], auth: bool) -> (usize, Option<Line>) {
        let found = memchr(b'\n', input);
        let taken = found.map_or(input.len(), |at| at + 1);
        self.hold(&input[..taken]);
        if self.held.len() + self.dropped > limits::LINE_SWALLOW_MAX {
            self.forget();
            return (taken, Some(Line::Bad(BadLine::Endless)));
        }
        if found.is_none() {
            return (taken, None);
        }
        let line = self.end(auth);
        self.forget();
        (taken, Some(line))
    }

    /// Bytes held in memory.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = limits::AUTH_LINE_MAX.saturating_sub(self.held.len());
        // The last two bytes decide how the line ended: keep them even of an overlong one.
        if bytes.len() <= room {
            self.held.extend_from_slice(bytes);
            return;
        }
        self.held.extend_from_slice(bytes);
        let excess = self.held.len() - limits::AUTH_LINE_MAX;
        let end = self.held.len() - 2;
        self.held.drain(end - excess..end);
        self.dropped += excess;
    }

    fn forget(&mut self) {
        self.dropped = 0;
        // A session waits between lines for minutes: give back what an AUTH line took.
        if self.held.capacity() > 2 * limits::MAIL_LINE_MAX {
            self.held = Vec::new();
        }
        self.held.clear();
    }

    /// The held line ended in LF: what is it?
    fn end(&mut self, auth: bool) -> Line {
        let Some(line) = self.held.strip_suffix(b"\r\n") else {
            self.tainted = true;
            return Line::Bad(BadLine::BareLf);
        };
        if std::mem::take(&mut self.tainted) {
            return Line::Bad(BadLine::BareLf);
        }
        if self.held.len() + self.dropped > line_max(line, auth) || self.dropped > 0 {
            return Line::Bad(BadLine::TooLong);
        }
        if line
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
        {
            return Line::Bad(BadLine::Control);
        }
        match std::str::from_utf8(line) {
            // RFC 5321 §4.1.1: white space before the end is tolerated.
            Ok(text) => Line::Whole(text.trim_end_matches([' ', '\t']).to_owned()),
            Err(_) => Line::Bad(BadLine::NotUtf8),
        }
    }
}

/// The limit of a line, its `<CR><LF>` included.
fn line_max(line: &[u8], auth: bool) -> usize {
    let verb = line.get(..4).unwrap_or_default();
    if auth || verb.eq_ignore_ascii_case(b"AUTH") {
        limits::AUTH_LINE_MAX
    } else if verb.eq_ignore_ascii_case(b"MAIL") {
        limits::MAIL_LINE_MAX
    } else if verb.eq_ignore_ascii_case(b"RCPT") {
        limits::RCPT_LINE_MAX
    } else {
        limits::COMMAND_LINE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], step: usize) -> Vec<Line> {
        let mut reader = LineReader::default();
        let mut found = Vec::new();
        for piece in input.chunks(step) {
            let mut rest = piece;
            while !rest.is_empty() {
                let (taken, line) = reader.next(rest, false);
                rest = &rest[taken..];
                found.extend(line);
                assert!(reader.held() <= limits::AUTH_LINE_MAX);
            }
        }
        found
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.to_owned())
    }

    #[test]
    fn ends_only_in_crlf() {
        use BadLine::{BareLf, Control, NotUtf8};
        let input = b"NOOP\r\nNOOP \t\r\nA\nRSET\r\nNOOP\r\nA\rB\r\nA\0\r\n\xff\r\n\r\nQUIT\r\n";
        let expected = [
            whole("NOOP"),
            whole("NOOP"),
            Line::Bad(BareLf),
            // What followed the bare LF is not read as a command.
            Line::Bad(BareLf),
            whole("NOOP"),
            Line::Bad(Control),
            Line::Bad(Control),
            Line::Bad(NotUtf8),
            whole(""),
            whole("QUIT"),
        ];
        for step in 1..=input.len() {
            assert_eq!(lines(input, step), expected, "in pieces of {step}");
        }
    }

    #[test]
    fn each_command_has_its_limit() {
        for (verb, max) in [
            ("NOOP", limits::COMMAND_LINE_MAX),
            ("mail", limits::MAIL_LINE_MAX),
            ("RCPT", limits::RCPT_LINE_MAX),
            ("AUTH", limits::AUTH_LINE_MAX),
        ] {
            let longest = format!("{verb} {}", "x".repeat(max - 7));
            let longer = format!("{longest}x");
            let input = format!("{longest}\r\n{longer}\r\nNOOP\r\n");
            for step in [1, 7, 511, 4096, 100_000] {
                assert_eq!(
                    lines(input.as_bytes(), step),
                    [whole(&longest), Line::Bad(BadLine::TooLong), whole("NOOP")],
                    "{verb} in pieces of {step}"
                );
            }
        }
    }

    #[test]
    fn an_endless_line_costs_little() {
        let input = vec![b'x'; limits::LINE_SWALLOW_MAX + 10];
        assert_eq!(lines(&input, 1000), [Line::Bad(BadLine::Endless)]);
    }
}
