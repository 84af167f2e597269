//! Cuts a client's bytes into commands with their literals (RFC 9051 §2.2, §4.3, RFC 7888), and streams the
//! messages of APPEND.
//!
//! The session calls [`Framer::next`] with what it has read, drops the bytes that were used, acts on the event,
//! and calls again until there is no event and nothing more is used. Nothing is read beyond one command, so that
//! what a command changes (login, IMAP4rev2, TLS) holds for the next one. A framer between two commands keeps no
//! buffer.
//!
//! Whatever is refused, the stream stays in step: a literal that the client announces and waits with is not
//! continued; one that it sends at once is skipped, up to a bound, beyond which the connection must be closed.

mod event;
mod skip;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};

pub use self::event::{CloseReason, Event};
use self::skip::{Skip, Skipped};
use crate::{
    command::{Secret, Tag},
    error::ParseError,
    parse::{self, AppendStart, LiteralHead},
};

/// The text of a command, its literals left out: 64 KiB, what Dovecot allows.
pub const LINE_LEN_MAX: usize = 64 * 1024;
/// The same before login: an AUTHENTICATE with the longest initial response fits.
pub const LINE_LEN_MAX_BEFORE_LOGIN: usize = 16 * 1024;
/// All literals of a command together, a message's apart: search strings and mailbox names need far less.
pub const LITERALS_LEN_MAX: usize = 128 * 1024;
/// The same before login: 8 KiB, more than any user's name with its password.
pub const LITERALS_LEN_MAX_BEFORE_LOGIN: usize = 8 * 1024;
/// A line of an AUTHENTICATE exchange, as RFC 4954 §4.5 has it for SMTP.
pub const AUTH_LINE_LEN_MAX: usize = 12_288;
/// How much of a refused command is skipped before the connection is given up.
pub const SKIP_MAX: u64 = 1024 * 1024;
/// How much of a refused APPEND is skipped: the messages that a usual limit refuses, not a flood.
pub const SKIP_APPEND_MAX: u64 = 256 * 1024 * 1024;
/// Messages in one APPEND (RFC 3502): the session keeps a record of each until all are there.
pub const APPEND_MESSAGES_MAX: usize = 1024;

/// Reads a client's bytes.
#[derive(Debug)]
pub struct Framer {
    state: State,
    /// What has been read of the command, where it did not arrive at once.
    buffer: Vec<u8>,
    /// How many bytes of `buffer` are text, and how many are literals.
    text_len: usize,
    literals_len: usize,
    utf8: bool,
    authenticated: bool,
}

/// Named by what the framer awaits.
#[derive(Debug)]
enum State {
    /// A command, or the rest of its line.
    Command,
    /// The bytes of a literal that belongs into the buffer.
    Literal { left: usize },
    /// The session's word on a message.
    Verdict {
        append: Append,
        size: u64,
        synchronising: bool,
    },
    /// A message's bytes.
    Message { append: Append, left: u64 },
    /// What follows a message: the command's end, or another message.
    MessageEnd { append: Append },
    /// `DONE`, the end of IDLE.
    Done,
    /// A line of an AUTHENTICATE exchange.
    AuthResponse,
    /// The end of what was refused.
    Refused(Skip),
    /// Nothing: the connection is given up, which the session still has to be told.
    Closing(CloseReason),
    /// Nothing.
    Closed,
}

/// An APPEND under way.
#[derive(Debug)]
struct Append {
    tag: Tag,
    messages: usize,
}

impl Default for Framer {
    fn default() -> Framer {
        Framer::new()
    }
}

impl Framer {
    /// For a new connection: before login, with names in modified UTF-7.
    pub const fn new() -> Framer {
        Framer {
            state: State::Command,
            buffer: Vec::new(),
            text_len: 0,
            literals_len: 0,
            utf8: false,
            authenticated: false,
        }
    }

    /// After login the limits are wider and APPEND is streamed.
    pub fn set_authenticated(&mut self, authenticated: bool) {
        self.authenticated = authenticated;
    }

    /// After `ENABLE IMAP4rev2` mailbox names are UTF-8 (RFC 9051 §6.3.1).
    pub fn set_utf8(&mut self, utf8: bool) {
        self.utf8 = utf8;
    }

    /// The next line is `DONE`: IDLE has begun.
    pub fn expect_done(&mut self) {
        self.state = State::Done;
    }

    /// The next line answers a SASL challenge.
    pub fn expect_auth_response(&mut self) {
        self.state = State::AuthResponse;
    }

    /// Whether nothing of a next command has been taken in, so that the connection may change its nature.
    pub fn is_between_commands(&self) -> bool {
        matches!(self.state, State::Command) && self.buffer.is_empty()
    }

    /// Takes the message that [`Event::Append`] or [`Event::AppendNext`] announced. If it is synchronising, the
    /// session prints a continuation.
    pub fn accept_message(&mut self) {
        self.state = match self.take_state() {
            State::Verdict {
                append, size: 0, ..
            } => State::MessageEnd { append },
            State::Verdict { append, size, .. } => State::Message { append, left: size },
            other => other,
        };
    }

    /// Gives the APPEND up, at its head or anywhere in it: the session has answered it with `NO`. What is left of
    /// it is skipped without an event; the next event belongs to the next command.
    pub fn refuse_append(&mut self) {
        self.state = match self.take_state() {
            State::Verdict {
                synchronising: true,
                ..
            } => State::Command,
            State::Verdict { size: left, .. } | State::Message { left, .. } => {
                Framer::skip_literal(left, SKIP_APPEND_MAX)
            }
            State::MessageEnd { .. } => {
                let skip = Skip::line(&self.buffer, SKIP_APPEND_MAX);
                self.forget();
                State::Refused(skip)
            }
            other => other,
        };
    }

    /// Reads from `input`: how many of its bytes are used, and what they complete.
    ///
    /// Without an event and with nothing used it needs more input, or, after an APPEND's head, the session's word.
    pub fn next<'i>(&mut self, input: &'i [u8]) -> (usize, Option<Event<'i>>) {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            let (more, step) = match &self.state {
                State::Command | State::MessageEnd { .. } | State::Done | State::AuthResponse => {
                    self.line(rest)
                }
                State::Literal { left } => {
                    let left = *left;
                    self.literal(rest, left)
                }
                State::Message { left, .. } => {
                    let left = *left;
                    self.message(rest, left)
                }
                State::Refused(_) => self.refused(rest),
                State::Verdict { .. } => (0, Step::Wait),
                State::Closing(reason) => {
                    let reason = *reason;
                    self.state = State::Closed;
                    (rest.len(), Step::Event(Event::Close(reason)))
                }
                State::Closed => (rest.len(), Step::Wait),
            };
            used += more;
            match step {
                Step::Event(event) => return (used, Some(event)),
                Step::Wait => return (used, None),
                Step::GoOn => {}
            }
        }
    }

    fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Command)
    }

    /// Gives the buffer back.
    fn forget(&mut self) {
        self.buffer = Vec::new();
        (self.text_len, self.literals_len) = (0, 0);
    }

    fn line_len_max(&self) -> usize {
        match (&self.state, self.authenticated) {
            (State::AuthResponse, _) => AUTH_LINE_LEN_MAX,
            (_, true) => LINE_LEN_MAX,
            (_, false) => LINE_LEN_MAX_BEFORE_LOGIN,
        }
    }

    fn literals_len_max(&self) -> usize {
        if self.authenticated {
            LITERALS_LEN_MAX
        } else {
            LITERALS_LEN_MAX_BEFORE_LOGIN
        }
    }

    /// Up to a line's end.
    fn line<'i>(&mut self, rest: &'i [u8]) -> (usize, Step<'i>) {
        let room = self.line_len_max().saturating_sub(self.text_len);
        let window = &rest[..rest.len().min(room)];
        let Some(end) = memchr::memchr(b'\n', window) else {
            self.buffer.extend_from_slice(window);
            self.text_len += window.len();
            if window.len() == room {
                return (window.len(), self.line_too_long());
            }
            return (window.len(), Step::Wait);
        };
        let line = &window[..=end];
        self.text_len += line.len();
        if self.buffer.is_empty() {
            // The usual case: it is all there and need not be copied.
            return (line.len(), self.whole_line(Cow::Borrowed(line)));
        }
        self.buffer.extend_from_slice(line);
        let buffer = std::mem::take(&mut self.buffer);
        (line.len(), self.whole_line(Cow::Owned(buffer)))
    }

    fn line_too_long<'i>(&mut self) -> Step<'i> {
        let error = ParseError::LineTooLong(self.line_len_max());
        let skip = Skip::line(&self.buffer, SKIP_MAX);
        let tag = match self.take_state() {
            State::MessageEnd { append } => Some(append.tag),
            State::Command => parse::tag_of(&self.buffer),
            _ => None,
        };
        self.forget();
        self.state = State::Refused(skip);
        Step::Event(Event::Bad { tag, error })
    }

    /// `text` ends with a line's end. It holds all of the command so far and is not in the buffer any more.
    fn whole_line<'i>(&mut self, text: Cow<'_, [u8]>) -> Step<'i> {
        let literal = LiteralHead::at_end_of(&text);
        match self.take_state() {
            State::MessageEnd { append } => self.after_message(append, &text, literal),
            State::Done => {
                let done = without_end(&text).eq_ignore_ascii_case(b"DONE");
                let outcome = if done {
                    Ok(Event::Done)
                } else {
                    Err(ParseError::Expected("DONE"))
                };
                self.complete(None, outcome, literal.filter(|_| !done))
            }
            State::AuthResponse => {
                let outcome = match without_end(&text) {
                    b"*" => Ok(Event::AuthResponse(None)),
                    line => match STANDARD.decode(line) {
                        Ok(response) => Ok(Event::AuthResponse(Some(Secret::new(response)))),
                        Err(_) => Err(ParseError::BadBase64),
                    },
                };
                self.complete(None, outcome, literal)
            }
            _ => match literal {
                Some(literal) => self.command_with_literal(text, literal),
                None => {
                    self.forget();
                    match parse::command(&text, self.utf8) {
                        Ok(tagged) => Step::Event(Event::Command(tagged)),
                        Err((tag, error)) => Step::Event(Event::Bad { tag, error }),
                    }
                }
            },
        }
    }

    /// Ends what took one line. A literal is skipped where the outcome is an error.
    fn complete<'i>(
        &mut self,
        tag: Option<Tag>,
        outcome: Result<Event<'i>, ParseError>,
        literal: Option<LiteralHead>,
    ) -> Step<'i> {
        self.forget();
        match outcome {
            Ok(event) => Step::Event(event),
            Err(error) => {
                if let Some(literal) = literal.filter(|literal| !literal.synchronising) {
                    self.state = Framer::skip_literal(literal.size, SKIP_MAX);
                }
                Step::Event(Event::Bad { tag, error })
            }
        }
    }

    fn command_with_literal<'i>(&mut self, text: Cow<'_, [u8]>, literal: LiteralHead) -> Step<'i> {
        if self.authenticated {
            match parse::append_start(&text, self.utf8) {
                AppendStart::ReadOn => {}
                AppendStart::Bad(tag, error) => {
                    return self.complete(Some(tag), Err(error), Some(literal));
                }
                AppendStart::Message(head, message) => {
                    self.forget();
                    let append = Append {
                        tag: head.tag.clone(),
                        messages: 1,
                    };
                    self.state = State::Verdict {
                        append,
                        size: message.size,
                        synchronising: message.synchronising,
                    };
                    return Step::Event(Event::Append { head, message });
                }
            }
        }
        let Some(tag) = parse::tag_of(&text) else {
            return self.complete(None, Err(ParseError::NoTag), Some(literal));
        };
        let room = self.literals_len_max() - self.literals_len;
        let Some(size) = usize::try_from(literal.size)
            .ok()
            .filter(|size| *size <= room)
        else {
            let error = ParseError::LiteralTooLarge(self.literals_len_max());
            return self.complete(Some(tag), Err(error), Some(literal));
        };
        self.literals_len += size;
        // Moved back where it came from the buffer, lest ten thousand literals copy it ten thousand times.
        self.buffer = text.into_owned();
        self.state = State::Literal { left: size };
        if literal.synchronising {
            Step::Event(Event::Continue)
        } else {
            Step::GoOn
        }
    }

    fn literal<'i>(&mut self, rest: &'i [u8], left: usize) -> (usize, Step<'i>) {
        let taken = left.min(rest.len());
        self.buffer.extend_from_slice(&rest[..taken]);
        if taken < left {
            self.state = State::Literal { left: left - taken };
            return (taken, Step::Wait);
        }
        self.state = State::Command;
        (taken, Step::GoOn)
    }

    fn message<'i>(&mut self, rest: &'i [u8], left: u64) -> (usize, Step<'i>) {
        if rest.is_empty() {
            return (0, Step::Wait);
        }
        let taken = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
        let remaining = left - taken as u64;
        if let State::Message { append, .. } = self.take_state() {
            self.state = match remaining {
                0 => State::MessageEnd { append },
                left => State::Message { append, left },
            };
        }
        (taken, Step::Event(Event::AppendBytes(&rest[..taken])))
    }

    fn after_message<'i>(
        &mut self,
        append: Append,
        text: &[u8],
        literal: Option<LiteralHead>,
    ) -> Step<'i> {
        self.forget();
        let Append { tag, messages } = append;
        if without_end(text).iter().all(|b| *b == b' ') {
            return Step::Event(Event::AppendEnd { tag });
        }
        if messages == APPEND_MESSAGES_MAX {
            let error = ParseError::TooMany {
                what: "messages",
                max: APPEND_MESSAGES_MAX,
            };
            return self.complete(Some(tag), Err(error), literal);
        }
        match parse::append_next(text, self.utf8) {
            Ok(message) => {
                self.state = State::Verdict {
                    append: Append {
                        tag,
                        messages: messages + 1,
                    },
                    size: message.size,
                    synchronising: message.synchronising,
                };
                Step::Event(Event::AppendNext(message))
            }
            Err(error) => self.complete(Some(tag), Err(error), literal),
        }
    }

    fn refused<'i>(&mut self, rest: &'i [u8]) -> (usize, Step<'i>) {
        let State::Refused(skip) = &mut self.state else {
            return (0, Step::Wait);
        };
        let (used, skipped) = skip.next(rest);
        match skipped {
            Skipped::More => (used, Step::Wait),
            Skipped::All => {
                self.state = State::Command;
                (used, Step::GoOn)
            }
            Skipped::TooMuch => {
                self.state = State::Closing(CloseReason::RefusedTooLarge);
                (used, Step::GoOn)
            }
        }
    }

    fn skip_literal(size: u64, budget: u64) -> State {
        match Skip::literal(size, budget) {
            Some(skip) => State::Refused(skip),
            None => State::Closing(CloseReason::RefusedTooLarge),
        }
    }
}

/// What a step of the framer comes to.
enum Step<'i> {
    /// Something for the session.
    Event(Event<'i>),
    /// More input is needed, or the session's word.
    Wait,
    /// Nothing yet, but more can be read from the same input.
    GoOn,
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
