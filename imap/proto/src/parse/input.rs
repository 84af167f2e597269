//! The tokens of the grammar: atoms, numbers, strings, literals (RFC 9051 §4).

use std::{borrow::Cow, num::NonZeroU32};

use crate::{command::Tag, error::ParseError, utf7};

pub(super) type Parsed<T> = Result<T, ParseError>;

/// What is left of a command.
#[derive(Clone, Copy)]
pub(super) struct Input<'i> {
    rest: &'i [u8],
    /// Whether mailbox names are UTF-8 (IMAP4rev2) and not modified UTF-7.
    utf8: bool,
}

/// `{n}`, `{n+}`, `~{n}` or `~{n+}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LiteralHead {
    /// How many bytes follow; `u64::MAX` where the number does not fit.
    pub(crate) size: u64,
    /// Whether the client waits for a continuation.
    pub(crate) synchronising: bool,
    /// Whether this is a literal8.
    pub(crate) binary: bool,
}

/// 20 digits: `u64::MAX`. What has more is no literal, here and in the framing alike.
const LITERAL_DIGITS_MAX: usize = 20;

/// `~{`, the digits, `+}` and the line's end.
pub(crate) const LITERAL_HEAD_LEN_MAX: usize = LITERAL_DIGITS_MAX + 6;

impl LiteralHead {
    /// The literal that the line announces at its very end; the line's end included.
    pub(crate) fn at_end_of(line: &[u8]) -> Option<LiteralHead> {
        let line = without_line_end(line).strip_suffix(b"}")?;
        let (line, synchronising) = match line.strip_suffix(b"+") {
            Some(line) => (line, false),
            None => (line, true),
        };
        let digits_len = line.iter().rev().take_while(|b| b.is_ascii_digit()).count();
        let (before, digits) = line.split_at(line.len() - digits_len);
        let before = before.strip_suffix(b"{")?;
        let size = literal_size(digits)?;
        Some(LiteralHead {
            size,
            synchronising,
            binary: before.ends_with(b"~"),
        })
    }
}

fn literal_size(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > LITERAL_DIGITS_MAX {
        return None;
    }
    let add = |sum: u64, digit: &u8| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    };
    Some(digits.iter().fold(0, add))
}

/// The line without CRLF or LF.
fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn is_atom_char(b: u8) -> bool {
    b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b)
}

impl<'i> Input<'i> {
    pub(super) fn new(command: &'i [u8], utf8: bool) -> Input<'i> {
        Input {
            rest: without_line_end(command),
            utf8,
        }
    }

    /// Takes the tag, unless there is none.
    pub(super) fn tag(&mut self) -> Option<Tag> {
        // One byte beyond the limit is enough to see that it is too long.
        let window = &self.rest[..self.rest.len().min(Tag::LEN_MAX + 1)];
        let len = memchr::memchr2(b' ', b'\r', window).unwrap_or(window.len());
        let tag = Tag::parse(&self.rest[..len])?;
        self.rest = &self.rest[len..];
        Some(tag)
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes `byte` if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        if next {
            self.rest = &self.rest[1..];
        }
        next
    }

    /// Takes `byte`, which must be next.
    pub(super) fn byte(&mut self, byte: u8, expected: &'static str) -> Parsed<()> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(ParseError::Expected(expected))
        }
    }

    /// Takes a space, behind which `expected` must come.
    pub(super) fn space(&mut self, expected: &'static str) -> Parsed<()> {
        self.byte(b' ', expected)
    }

    /// Takes `word` if it is next, in any case.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let next = self.rest.get(..word.len());
        let matches = next.is_some_and(|next| next.eq_ignore_ascii_case(word.as_bytes()));
        if matches {
            self.rest = &self.rest[word.len()..];
        }
        matches
    }

    /// Nothing may be left. Spaces at the end are some clients' habit and harmless.
    pub(super) fn end(&self) -> Parsed<()> {
        if self.rest.iter().all(|b| *b == b' ') {
            Ok(())
        } else {
            Err(ParseError::TrailingArguments)
        }
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'i [u8] {
        let len = self
            .rest
            .iter()
            .position(|b| !wanted(*b))
            .unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }

    /// A name of the protocol, in capitals: letters, digits and `.-=/`, brackets excluded.
    pub(super) fn word(&mut self, expected: &'static str) -> Parsed<String> {
        let word = self.take_while(|b| b.is_ascii_alphanumeric() || b".-=/".contains(&b));
        if word.is_empty() {
            return Err(ParseError::Expected(expected));
        }
        Ok(word
            .iter()
            .map(|b| char::from(b.to_ascii_uppercase()))
            .collect())
    }

    /// An `atom`.
    pub(super) fn atom(&mut self, expected: &'static str) -> Parsed<&'i str> {
        let atom = self.take_while(is_atom_char);
        match std::str::from_utf8(atom) {
            Ok(atom) if !atom.is_empty() => Ok(atom),
            _ => Err(ParseError::Expected(expected)),
        }
    }

    /// A decimal number of at most 64 bits.
    pub(super) fn number64(&mut self, what: &'static str) -> Parsed<u64> {
        let digits = self.take_while(|b| b.is_ascii_digit());
        if digits.is_empty() {
            return Err(ParseError::Expected(what));
        }
        let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
        digits
            .iter()
            .try_fold(0, add)
            .ok_or(ParseError::OutOfRange(what))
    }

    /// An `nz-number`.
    pub(super) fn nz_number(&mut self, what: &'static str) -> Parsed<NonZeroU32> {
        let number = u32::try_from(self.number64(what)?).ok();
        number
            .and_then(NonZeroU32::new)
            .ok_or(ParseError::OutOfRange(what))
    }

    /// An `astring`: an atom (in which `]` may stand too), a quoted string or a literal.
    pub(super) fn astring(&mut self, expected: &'static str) -> Parsed<Cow<'i, [u8]>> {
        self.atom_or_string(expected, |b| is_atom_char(b) || b == b']')
    }

    /// A `list-mailbox`: an astring with wildcards.
    pub(super) fn pattern(&mut self, expected: &'static str) -> Parsed<Cow<'i, [u8]>> {
        self.atom_or_string(expected, |b| is_atom_char(b) || b"]%*".contains(&b))
    }

    fn atom_or_string(
        &mut self,
        expected: &'static str,
        in_atom: impl Fn(u8) -> bool,
    ) -> Parsed<Cow<'i, [u8]>> {
        if matches!(self.peek(), Some(b'"' | b'{' | b'~')) && self.starts_string() {
            return self.string(expected);
        }
        // Names in bare UTF-8 are no atoms, yet some clients send them, and they mean one thing only.
        let atom = self.take_while(|b| in_atom(b) || b >= 0x80);
        if atom.is_empty() {
            return Err(ParseError::Expected(expected));
        }
        Ok(Cow::Borrowed(atom))
    }

    /// A tilde starts a literal8, and a name such as `~user` too.
    fn starts_string(&self) -> bool {
        !matches!(self.rest, [b'~', next, ..] if *next != b'{') && self.rest != b"~"
    }

    /// A `string`: quoted, or a literal.
    pub(super) fn string(&mut self, expected: &'static str) -> Parsed<Cow<'i, [u8]>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{' | b'~') => self.literal().map(Cow::Borrowed),
            _ => Err(ParseError::Expected(expected)),
        }
    }

    /// An `nstring`.
    pub(super) fn nstring(&mut self, expected: &'static str) -> Parsed<Option<Cow<'i, [u8]>>> {
        if self.eat_word("NIL") {
            return Ok(None);
        }
        self.string(expected).map(Some)
    }

    fn quoted(&mut self) -> Parsed<Cow<'i, [u8]>> {
        const OPEN: ParseError = ParseError::Expected("the end of a quoted string");
        self.byte(b'"', "a quoted string")?;
        let end = memchr::memchr2(b'"', b'\\', self.rest).ok_or(OPEN)?;
        let plain = &self.rest[..end];
        if self.rest[end] == b'"' {
            self.rest = &self.rest[end + 1..];
            check_quoted(plain)?;
            return Ok(Cow::Borrowed(plain));
        }
        let mut value = Vec::with_capacity(2 * end + 16);
        loop {
            let at = memchr::memchr2(b'"', b'\\', self.rest).ok_or(OPEN)?;
            value.extend_from_slice(&self.rest[..at]);
            let special = self.rest[at];
            self.rest = &self.rest[at + 1..];
            if special == b'"' {
                check_quoted(&value)?;
                return Ok(Cow::Owned(value));
            }
            // RFC 9051 §9, `quoted-specials`: nothing else may be escaped.
            match self.peek() {
                Some(escaped @ (b'"' | b'\\')) => value.push(escaped),
                _ => return Err(ParseError::Expected("'\"' or '\\' after '\\'")),
            }
            self.rest = &self.rest[1..];
        }
    }

    fn literal(&mut self) -> Parsed<&'i [u8]> {
        let head = self.literal_head()?;
        // The framing has read all of it, unless this is the literal that it will stream.
        let size = usize::try_from(head.size).unwrap_or(usize::MAX);
        if size > self.rest.len() {
            return Err(ParseError::Expected("the bytes of a literal"));
        }
        let (literal, rest) = self.rest.split_at(size);
        self.rest = rest;
        if memchr::memchr(0, literal).is_some() {
            return Err(ParseError::Nul);
        }
        Ok(literal)
    }

    /// Takes a literal's head with its line end, which the end of the input stands for too.
    pub(super) fn literal_head(&mut self) -> Parsed<LiteralHead> {
        const EXPECTED: &str = "a literal";
        let binary = self.eat(b'~');
        self.byte(b'{', EXPECTED)?;
        let digits = self.take_while(|b| b.is_ascii_digit());
        let size = literal_size(digits).ok_or(ParseError::Expected(EXPECTED))?;
        let synchronising = !self.eat(b'+');
        self.byte(b'}', EXPECTED)?;
        if !self.is_empty() {
            self.eat(b'\r');
            self.byte(b'\n', EXPECTED)?;
        }
        Ok(LiteralHead {
            size,
            synchronising,
            binary,
        })
    }

    /// A string that is text.
    pub(super) fn text(&mut self, expected: &'static str) -> Parsed<String> {
        into_text(self.astring(expected)?)
    }

    /// A mailbox's name, decoded.
    pub(super) fn mailbox(&mut self) -> Parsed<String> {
        let name = self.astring("a mailbox's name")?;
        self.decode_mailbox(name)
    }

    /// Modified UTF-7 or UTF-8, as the session has it. UTF-8 that is not ASCII cannot be modified UTF-7, so
    /// that it is taken as it is where a client does not wait for IMAP4rev2.
    pub(super) fn decode_mailbox(&self, name: Cow<'i, [u8]>) -> Parsed<String> {
        if self.utf8 || !name.is_ascii() {
            return into_text(name).map_err(|_| ParseError::MailboxEncoding);
        }
        utf7::decode(&name).ok_or(ParseError::MailboxEncoding)
    }

    /// `(item item …)`, at least one unless `or_none`.
    pub(super) fn list<T>(
        &mut self,
        expected: &'static str,
        or_none: bool,
        mut item: impl FnMut(&mut Input<'i>) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        self.byte(b'(', expected)?;
        let mut items = Vec::new();
        if or_none && self.eat(b')') {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat(b')') {
                return Ok(items);
            }
            self.space("')'")?;
        }
    }
}

/// RFC 9051 §9, `QUOTED-CHAR`: no CR, no LF, no NUL.
fn check_quoted(value: &[u8]) -> Parsed<()> {
    match memchr::memchr3(b'\r', b'\n', 0, value).map(|at| value[at]) {
        None => Ok(()),
        Some(0) => Err(ParseError::Nul),
        Some(_) => Err(ParseError::Expected("the end of a quoted string")),
    }
}

pub(super) fn into_text(bytes: Cow<'_, [u8]>) -> Parsed<String> {
    String::from_utf8(bytes.into_owned()).map_err(|_| ParseError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_the_literal_at_the_end_of_a_line() {
        let head = |size, synchronising, binary| {
            Some(LiteralHead {
                size,
                synchronising,
                binary,
            })
        };
        for (line, seen) in [
            ("a LOGIN {5}\r\n", head(5, true, false)),
            ("a LOGIN {5+}\n", head(5, false, false)),
            ("a APPEND x ~{310}\r\n", head(310, true, true)),
            ("{99999999999999999999}", head(u64::MAX, true, false)),
            ("{000000000000000000005}", None),
            ("{}", None),
            ("{+}", None),
            ("{5-}", None),
            ("5}", None),
            ("a LOGIN {5} \r\n", None),
            ("", None),
        ] {
            assert_eq!(LiteralHead::at_end_of(line.as_bytes()), seen, "{line}");
        }
    }

    #[test]
    fn reads_strings_in_each_form() {
        for (wire, value) in [
            ("atom]", "atom]"),
            ("~peter", "~peter"),
            ("~", "~"),
            ("\"a \\\"b\\\" \\\\\"", "a \"b\" \\"),
            ("{3}\r\na b", "a b"),
            ("{3+}\na b", "a b"),
            ("~{0}\r\n", ""),
            ("\"\"", ""),
        ] {
            let mut input = Input {
                rest: wire.as_bytes(),
                utf8: false,
            };
            assert_eq!(input.text("a string").as_deref(), Ok(value), "{wire}");
            assert!(input.is_empty());
        }
        for wire in [
            "",
            "\"open",
            "\"a\\b\"",
            "\"a\rb\"",
            "\"a\0\"",
            "{3}\r\nab",
            "{1}\r\n\0",
            "(",
            "%",
            "\\a",
            "{3}ab",
        ] {
            let mut input = Input {
                rest: wire.as_bytes(),
                utf8: false,
            };
            assert!(input.text("a string").is_err(), "{wire:?}");
        }
    }
}
