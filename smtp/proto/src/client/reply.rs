//! What the remote answers: a bounded reader of replies (RFC 5321 §4.2), and a reply as an outcome keeps it.

use std::fmt;

use memchr::memchr;
use thiserror::Error;

use super::Command;
use crate::{EnhancedCode, limits};

/// A reply of the remote, fit to be logged and told in a report's Diagnostic-Code (RFC 3464 §2.3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteReply {
    /// What it answers.
    pub command: Command,
    /// From 200 to 599.
    pub code: u16,
    /// Subject and detail of the enhanced code (RFC 3463), if one stands there and its class is the code's.
    pub enhanced: Option<EnhancedCode>,
    /// The text of all lines in one, without codes; control characters and broken UTF-8 are `?`. At most
    /// [`limits::REMOTE_TEXT_LEN_MAX`] bytes.
    pub text: String,
}

/// Why bytes are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// No code of three digits that begins with 2 to 5, or something else than a hyphen or space behind it.
    #[error("the remote's line does not begin with a reply code")]
    NoCode,
    /// The lines of one reply have different codes.
    #[error("the lines of the remote's reply have different codes")]
    MixedCodes,
    /// Longer than [`limits::REMOTE_LINE_MAX`].
    #[error(
        "a line of the remote's reply is longer than {} bytes",
        limits::REMOTE_LINE_MAX
    )]
    LineTooLong,
    /// More than [`limits::REMOTE_LINES_MAX`] lines.
    #[error("the remote's reply has more than {} lines", limits::REMOTE_LINES_MAX)]
    TooManyLines,
    /// More than [`limits::REMOTE_REPLY_MAX`] bytes.
    #[error("the remote's reply has more than {} bytes", limits::REMOTE_REPLY_MAX)]
    TooLong,
}

/// A reply as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RawReply {
    pub(super) code: u16,
    /// What stands behind code and hyphen or space, without the line's end.
    pub(super) lines: Vec<Vec<u8>>,
}

/// Gathers one reply out of bytes that come in any pieces. It holds at most as much as the bounds of lines permit.
///
/// A line may end in a bare LF: nothing of a reply is passed on, so that nobody can be misled by it, and some old
/// hosts write such.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    line: Vec<u8>,
    code: Option<u16>,
    lines: Vec<Vec<u8>>,
    /// Bytes of the reply so far.
    len: usize,
}

impl ReplyReader {
    /// Takes from `input` up to a line's end. Says how much, and what reply it ended.
    pub(super) fn next(&mut self, input: &[u8]) -> (usize, Result<Option<RawReply>, ReplyError>) {
        let found = memchr(b'\n', input);
        let taken = found.map_or(input.len(), |at| at + 1);
        if self.line.len() + taken > limits::REMOTE_LINE_MAX {
            return (taken, Err(ReplyError::LineTooLong));
        }
        self.len += taken;
        if self.len > limits::REMOTE_REPLY_MAX {
            return (taken, Err(ReplyError::TooLong));
        }
        self.line.extend_from_slice(&input[..taken]);
        if found.is_none() {
            return (taken, Ok(None));
        }
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        (
            taken,
            self.end_line(line.strip_suffix(b"\r").unwrap_or(line)),
        )
    }

    fn end_line(&mut self, line: &[u8]) -> Result<Option<RawReply>, ReplyError> {
        let (code, rest) = line.split_at_checked(3).ok_or(ReplyError::NoCode)?;
        if !matches!(code[0], b'2'..=b'5') || !code.iter().all(u8::is_ascii_digit) {
            return Err(ReplyError::NoCode);
        }
        let code = code
            .iter()
            .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        let (last, text) = match rest.split_first() {
            None => (true, rest),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(ReplyError::NoCode),
        };
        if self.code.is_some_and(|before| before != code) {
            return Err(ReplyError::MixedCodes);
        }
        if self.lines.len() == limits::REMOTE_LINES_MAX {
            return Err(ReplyError::TooManyLines);
        }
        self.code = Some(code);
        self.lines.push(text.to_vec());
        if !last {
            return Ok(None);
        }
        (self.code, self.len) = (None, 0);
        let lines = std::mem::take(&mut self.lines);
        Ok(Some(RawReply { code, lines }))
    }
}

impl RemoteReply {
    pub(super) fn new(command: Command, raw: &RawReply) -> RemoteReply {
        let class = raw.code / 100;
        let mut enhanced = None;
        let mut text = String::new();
        for (index, line) in raw.lines.iter().enumerate() {
            let (found, rest) = split_enhanced(class, line);
            if index == 0 {
                enhanced = found;
            } else if !text.is_empty() && !rest.is_empty() {
                text.push(' ');
            }
            let clean = |c: char| {
                if c.is_control() || c == char::REPLACEMENT_CHARACTER {
                    '?'
                } else {
                    c
                }
            };
            text.extend(String::from_utf8_lossy(rest).chars().map(clean));
            if text.len() > limits::REMOTE_TEXT_LEN_MAX {
                text.truncate(text.floor_char_boundary(limits::REMOTE_TEXT_LEN_MAX));
                break;
            }
        }
        RemoteReply {
            command,
            code: raw.code,
            enhanced,
            text,
        }
    }

    /// 5yz: the same will be refused again.
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// 2yz: done as asked.
    pub const fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// The status for a report (RFC 3464 §2.3.4): the enhanced code, or X.0.0 of the code's class.
    pub fn status(&self) -> String {
        let EnhancedCode { subject, detail } = self.enhanced.unwrap_or(EnhancedCode::OTHER);
        format!("{}.{subject}.{detail}", self.code / 100)
    }
}

/// As the remote wrote it, in one line.
impl fmt::Display for RemoteReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if self.enhanced.is_some() {
            write!(f, " {}", self.status())?;
        }
        if !self.text.is_empty() {
            write!(f, " {}", self.text)?;
        }
        Ok(())
    }
}

/// RFC 2034 §4: the enhanced code at the start of a line, and what follows it. One of another class than the reply's is
/// text.
fn split_enhanced(class: u16, line: &[u8]) -> (Option<EnhancedCode>, &[u8]) {
    let end = memchr(b' ', line).unwrap_or(line.len());
    let number = |part: &str| {
        let digits = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<u16>().ok().filter(|_| digits)
    };
    let parse = || {
        let mut parts = std::str::from_utf8(&line[..end])
            .ok()?
            .split('.')
            .map(number);
        let mut part = || parts.next().flatten();
        let (first, subject, detail) = (part()?, part()?, part()?);
        (first == class && parts.next().is_none()).then_some(EnhancedCode { subject, detail })
    };
    match parse() {
        Some(code) => (Some(code), line[end..].trim_ascii_start()),
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(wire: &[u8]) -> Result<Option<RawReply>, ReplyError> {
        let mut reader = ReplyReader::default();
        let mut rest = wire;
        loop {
            let (taken, result) = reader.next(rest);
            rest = &rest[taken..];
            match result {
                Ok(None) if !rest.is_empty() => {}
                result => return result,
            }
        }
    }

    fn reply(wire: &[u8]) -> RemoteReply {
        RemoteReply::new(Command::Mail, &read(wire).unwrap().unwrap())
    }

    #[test]
    fn reads_replies() {
        assert_eq!(reply(b"250 2.1.0 Ok\r\n").to_string(), "250 2.1.0 Ok");
        assert_eq!(reply(b"250\r\n").to_string(), "250");
        assert_eq!(reply(b"250\n").to_string(), "250");
        let two = reply(b"550-5.7.1 no\r\n550 5.7.1 never\r\n");
        assert_eq!(two.to_string(), "550 5.7.1 no never");
        assert_eq!((two.status(), two.is_permanent()), ("5.7.1".into(), true));
        assert_eq!(reply(b"450 later\r\n").status(), "4.0.0");
    }

    #[test]
    fn only_an_enhanced_code_of_the_same_class_is_one() {
        for text in [
            "2.1.0 x",
            "5.1 x",
            "5.1.1.1 x",
            "5.1.1000 x",
            "5.a.1 x",
            "5..1",
            "+5.1.1",
        ] {
            let reply = reply(format!("550 {text}\r\n").as_bytes());
            assert_eq!((reply.enhanced, reply.text.as_str()), (None, text));
        }
    }

    #[test]
    fn garbage_is_an_error() {
        for (wire, error) in [
            (&b"\r\n"[..], ReplyError::NoCode),
            (b"25\r\n", ReplyError::NoCode),
            (b"150 x\r\n", ReplyError::NoCode),
            (b"650 x\r\n", ReplyError::NoCode),
            (b"25x x\r\n", ReplyError::NoCode),
            (b"250x\r\n", ReplyError::NoCode),
            (b"250\t\r\n", ReplyError::NoCode),
            (b"HTTP/1.0 400 Bad Request\r\n", ReplyError::NoCode),
            (b"250-a\r\n251 b\r\n", ReplyError::MixedCodes),
        ] {
            assert_eq!(read(wire), Err(error), "{}", wire.escape_ascii());
        }
    }

    #[test]
    fn everything_is_bounded() {
        let long = [&b"250 "[..], &vec![b'x'; limits::REMOTE_LINE_MAX]].concat();
        assert_eq!(read(&long), Err(ReplyError::LineTooLong));
        let many = b"250-x\r\n".repeat(limits::REMOTE_LINES_MAX + 1);
        assert_eq!(read(&many), Err(ReplyError::TooManyLines));
        let wide = [&b"250-"[..], &[b'x'; 1000], b"\r\n"].concat();
        assert_eq!(read(&wide.repeat(100)), Err(ReplyError::TooLong));
        let most = [
            &b"550-x\xc3\xa9y\r\n".repeat(limits::REMOTE_LINES_MAX - 1)[..],
            b"550 x\r\n",
        ]
        .concat();
        let text = reply(&most).text;
        assert!(text.len() <= limits::REMOTE_TEXT_LEN_MAX && text.starts_with("x\u{e9}y x\u{e9}y"));
    }

    #[test]
    fn text_is_made_harmless() {
        assert_eq!(
            reply(b"550 a\0b\rc\x1bd\xffe\xc2\x85\r\n").text,
            "a?b?c?d?e?"
        );
    }
}
