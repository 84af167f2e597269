//! Cuts a client's bytes into lines and reads them.

use super::command::{Command, ParseError, auth_response};
use crate::command::Secret;

/// RFC 2449 §4: 255 bytes with the line's end.
pub const LINE_LEN_MAX: usize = 255;
/// RFC 5034 §4: 12,288 bytes, for AUTH and the answers to its challenges.
pub const AUTH_LINE_LEN_MAX: usize = 12_288;
/// How much of a line that is too long is skipped before the connection is given up.
pub const SKIP_MAX: usize = 64 * 1024;

/// Reads a client's bytes. Between two lines it keeps no buffer.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    state: Expect,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expect {
    #[default]
    Command,
    AuthResponse,
    /// The end of a line that is too long, within so many bytes.
    LineEnd(usize),
    /// Nothing more.
    Nothing,
}

/// What a client's bytes come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A command.
    Command(Command),
    /// The answer to a SASL challenge; `None` where the client gives up (`*`).
    AuthResponse(Option<Secret>),
    /// Nothing that could be understood; an AUTH under way is at its end.
    Bad(ParseError),
    /// A line without an end: the session closes.
    Close,
}

impl Framer {
    /// For a new connection.
    pub const fn new() -> Framer {
        Framer {
            buffer: Vec::new(),
            state: Expect::Command,
        }
    }

    /// The next line answers a SASL challenge.
    pub fn expect_auth_response(&mut self) {
        self.state = Expect::AuthResponse;
    }

    /// Whether nothing of a next line has been taken in.
    pub fn is_between_commands(&self) -> bool {
        self.state == Expect::Command && self.buffer.is_empty()
    }

    /// Reads from `input`: how many of its bytes are used, and what they complete. Without an event it needs more.
    pub fn next(&mut self, input: &[u8]) -> (usize, Option<Event>) {
        let mut used = 0;
        if let Expect::LineEnd(left) = self.state {
            match memchr::memchr(b'\n', &input[..input.len().min(left)]) {
                Some(at) => {
                    self.state = Expect::Command;
                    used = at + 1;
                }
                None if input.len() < left => {
                    self.state = Expect::LineEnd(left - input.len());
                    return (input.len(), None);
                }
                None => {
                    self.state = Expect::Nothing;
                    return (input.len(), Some(Event::Close));
                }
            }
        }
        if self.state == Expect::Nothing {
            return (input.len(), None);
        }
        let (more, event) = self.line(&input[used..]);
        (used + more, event)
    }

    fn line(&mut self, rest: &[u8]) -> (usize, Option<Event>) {
        let room = self.len_max(rest) - self.buffer.len();
        let window = &rest[..rest.len().min(room)];
        let Some(end) = memchr::memchr(b'\n', window) else {
            if window.len() < room {
                self.buffer.extend_from_slice(window);
                return (window.len(), None);
            }
            let max = self.buffer.len() + room;
            self.buffer = Vec::new();
            self.state = Expect::LineEnd(SKIP_MAX);
            return (window.len(), Some(Event::Bad(ParseError::LineTooLong(max))));
        };
        let event = if self.buffer.is_empty() {
            self.whole_line(&window[..end])
        } else {
            let mut line = std::mem::take(&mut self.buffer);
            line.extend_from_slice(&window[..end]);
            self.whole_line(&line)
        };
        (end + 1, Some(event))
    }

    /// How long this line may be; its start may stand in the buffer, in `rest`, or in both.
    fn len_max(&self, rest: &[u8]) -> usize {
        let start = self
            .buffer
            .iter()
            .chain(rest)
            .take(5)
            .map(u8::to_ascii_uppercase);
        if self.state == Expect::AuthResponse || start.eq(*b"AUTH ") {
            AUTH_LINE_LEN_MAX
        } else {
            LINE_LEN_MAX
        }
    }

    fn whole_line(&mut self, line: &[u8]) -> Event {
        // A bare LF is taken for a line's end, as in IMAP.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.state == Expect::AuthResponse {
            self.state = Expect::Command;
            return match line {
                b"*" => Event::AuthResponse(None),
                _ => match auth_response(line) {
                    Ok(response) => Event::AuthResponse(Some(response)),
                    Err(error) => Event::Bad(error),
                },
            };
        }
        match Command::parse(line) {
            Ok(command) => Event::Command(command),
            Err(error) => Event::Bad(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a session hears when the client's bytes come in pieces of this size.
    fn hear(framer: &mut Framer, bytes: &[u8], piece: usize) -> Vec<String> {
        let mut heard = Vec::new();
        for piece in bytes.chunks(piece) {
            let mut at = 0;
            loop {
                let (used, event) = framer.next(&piece[at..]);
                at += used;
                heard.push(match event {
                    Some(Event::Command(command)) => {
                        if matches!(
                            command,
                            Command::Auth {
                                initial_response: None,
                                ..
                            }
                        ) {
                            framer.expect_auth_response();
                        }
                        command.name().to_owned()
                    }
                    Some(Event::AuthResponse(response)) => format!("response {response:?}"),
                    Some(Event::Bad(error)) => error.to_string(),
                    Some(Event::Close) => "close".to_owned(),
                    None => break,
                });
            }
            assert_eq!(at, piece.len());
        }
        heard
    }

    #[test]
    fn a_session_in_any_pieces() {
        let wire =
            b"CAPA\r\nAUTH PLAIN\r\nAHQAdA==\r\nAUTH PLAIN\r\n*\nSTAT\r\nxyzzy\r\n\r\nQUIT\r\n";
        let expected = [
            "CAPA",
            "AUTH",
            "response Some(Secret(4 bytes))",
            "AUTH",
            "response None",
            "STAT",
            "unknown command",
            "unknown command",
            "QUIT",
        ];
        for piece in 1..wire.len() {
            let mut framer = Framer::new();
            assert_eq!(hear(&mut framer, wire, piece), expected);
            assert!(framer.is_between_commands() && framer.buffer.capacity() == 0);
        }
    }

    #[test]
    fn long_lines_are_refused() {
        let mut framer = Framer::new();
        let longest = format!("USER {}\r\n", "x".repeat(LINE_LEN_MAX - 7));
        assert_eq!(hear(&mut framer, longest.as_bytes(), 100), ["USER"]);
        let too_long = format!("USER {}\r\nNOOP\r\n", "x".repeat(LINE_LEN_MAX - 6));
        assert_eq!(
            hear(&mut framer, too_long.as_bytes(), 100),
            ["the line is longer than 255 bytes", "NOOP"]
        );
        let auth = format!("auth PLAIN {}\r\nNOOP\r\n", "A".repeat(12_000));
        assert_eq!(hear(&mut framer, auth.as_bytes(), 3), ["AUTH", "NOOP"]);
        let auth = format!("AUTH PLAIN {}\r\nNOOP\r\n", "A".repeat(13_000));
        assert_eq!(
            hear(&mut framer, auth.as_bytes(), 3),
            ["the line is longer than 12288 bytes", "NOOP"]
        );
        let endless = "x".repeat(200_000);
        assert_eq!(
            hear(&mut framer, endless.as_bytes(), 1000),
            ["the line is longer than 255 bytes", "close"]
        );
        assert_eq!(hear(&mut framer, b"\r\nNOOP\r\n", 1000), [""; 0]);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(bytes in prop::collection::vec(prop::sample::select(b"auth quit\r\n*=1".to_vec()), 0..400), piece in 1usize..40) {
            let whole = hear(&mut Framer::new(), &bytes, bytes.len().max(1));
            prop_assert_eq!(hear(&mut Framer::new(), &bytes, piece), whole);
        }
    }
}
