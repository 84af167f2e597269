//! Address lists (RFC 5322 §3.4, obsolete forms §4.4) as RFC 9051 §7.5.2 wants them: not decoded, groups marked.
//!
//! Nothing is refused: what has no domain or no local part gets `MISSING_DOMAIN` or `MISSING_MAILBOX` in its place,
//! as Dovecot does, since an absent one would mean a group. A comment behind a bare address is its display name.

use mailrook_types::EnvelopeAddress;

use crate::token::{Cursor, unescaped};

const MISSING_MAILBOX: &[u8] = b"MISSING_MAILBOX";
const MISSING_DOMAIN: &[u8] = b"MISSING_DOMAIN";

/// Appends the addresses in `value` to `out`, at most `budget` of them, which it lowers by as many.
pub(crate) fn parse_addresses(value: &[u8], out: &mut Vec<EnvelopeAddress>, budget: &mut usize) {
    let mut list = List {
        cursor: Cursor::new(value),
        out,
        budget,
        in_group: false,
    };
    while *list.budget > 0 && list.next_member() {}
    list.end_group();
}

struct List<'a, 'o> {
    cursor: Cursor<'a>,
    out: &'o mut Vec<EnvelopeAddress>,
    budget: &'o mut usize,
    in_group: bool,
}

/// Words before a special character: as a display name, and whether it is more than one word.
#[derive(Default)]
struct Phrase {
    text: Vec<u8>,
    words: usize,
}

impl List<'_, '_> {
    /// Reads up to the next comma, semicolon or group; false at the end.
    fn next_member(&mut self) -> bool {
        let (comment, _) = self.cursor.skip_cfws();
        let Some(byte) = self.cursor.peek() else {
            return false;
        };
        match byte {
            b',' | b'>' => self.cursor.advance(),
            b';' => {
                self.cursor.advance();
                self.end_group();
            }
            _ => {
                let phrase = self.phrase(comment);
                self.member(phrase);
            }
        }
        true
    }

    /// What follows a phrase decides what the phrase was.
    fn member(&mut self, phrase: Phrase) {
        match self.cursor.peek() {
            Some(b'<') => self.angle_address(phrase.text),
            Some(b'@') => self.bare_address(phrase),
            Some(b':') => {
                self.cursor.advance();
                self.end_group();
                self.push(None, Some(phrase.text), None);
                self.in_group = true;
            }
            _ if phrase.words > 1 => self.push(Some(phrase.text), None, Some(Vec::new())),
            _ if phrase.words == 1 => self.push(None, Some(phrase.text), Some(Vec::new())),
            _ => {}
        }
    }

    /// Words, quoted strings and dots, joined as they stand, with one space where there was any.
    fn phrase(&mut self, comment: Option<&[u8]>) -> Phrase {
        let mut phrase = Phrase::default();
        let mut spaced = false;
        let mut comment = comment.map(<[u8]>::to_vec);
        loop {
            match self.cursor.peek() {
                None | Some(b'<' | b'@' | b',' | b';' | b':' | b'>') => break,
                Some(b' ' | b'\t' | b'\r' | b'\n' | b'(' | 0) => {
                    comment = self.cursor.skip_cfws().0.map(<[u8]>::to_vec).or(comment);
                    spaced = true;
                    continue;
                }
                Some(_) => {}
            }
            if spaced && !phrase.text.is_empty() {
                phrase.text.push(b' ');
            }
            if spaced || phrase.words == 0 {
                phrase.words += 1;
            }
            spaced = false;
            if self.cursor.peek() == Some(b'"') {
                self.cursor.quoted_string(&mut phrase.text);
            } else {
                phrase
                    .text
                    .extend_from_slice(self.cursor.take_until(is_phrase_end));
            }
        }
        // `(Full Name) <user@host>`: the comment is all there is of a name.
        if phrase.words == 0 && self.cursor.peek() == Some(b'<') {
            phrase.text = comment.map(|text| unescaped(&text)).unwrap_or_default();
        }
        phrase
    }

    /// `local@domain`, perhaps with a comment that names the person, perhaps itself a name before `<…>`.
    fn bare_address(&mut self, phrase: Phrase) {
        self.cursor.advance();
        let host = self.domain();
        let (comment, _) = self.cursor.skip_cfws();
        if self.cursor.peek() == Some(b'<') {
            let mut name = phrase.text;
            name.push(b'@');
            name.extend_from_slice(&host);
            return self.angle_address(name);
        }
        let name = comment.map(unescaped);
        self.push(name, Some(without_space_at_dots(&phrase.text)), Some(host));
        self.skip_member();
    }

    /// `<route:local@domain>`, the route left out (RFC 9051 §7.5.2 tells none).
    fn angle_address(&mut self, name: Vec<u8>) {
        while self.cursor.eat(b'<') {}
        self.cursor.skip_cfws();
        if self.cursor.peek() == Some(b'@') {
            self.cursor.skip_to(|byte| matches!(byte, b':' | b'>'));
            self.cursor.eat(b':');
            self.cursor.skip_cfws();
        }
        let mut local = Vec::new();
        let mut spaced = false;
        while let Some(byte) = self.cursor.peek() {
            match byte {
                b'@' | b'>' | b'<' => break,
                b'"' => self.cursor.quoted_string(&mut local),
                b' ' | b'\t' | b'\r' | b'\n' | b'(' | 0 => {
                    spaced |= !local.is_empty();
                    self.cursor.skip_cfws();
                    continue;
                }
                _ => {
                    if std::mem::take(&mut spaced) {
                        local.push(b' ');
                    }
                    // Colons and commas belong to no other address here.
                    let text = self.cursor.take_until(|byte| {
                        matches!(
                            byte,
                            b'@' | b'>' | b'<' | b'"' | b' ' | b'\t' | b'\r' | b'\n' | b'(' | 0
                        )
                    });
                    local.extend_from_slice(text);
                }
            }
        }
        let host = if self.cursor.eat(b'@') {
            self.domain()
        } else {
            Vec::new()
        };
        let name = (!name.is_empty()).then_some(name);
        self.push(name, Some(without_space_at_dots(&local)), Some(host));
        self.cursor
            .skip_to(|byte| matches!(byte, b'>' | b',' | b';'));
        self.cursor.eat(b'>');
        self.skip_member();
    }

    /// A domain or a domain literal, without the space and comments that old mail has around dots.
    fn domain(&mut self) -> Vec<u8> {
        let mut host = Vec::new();
        loop {
            let spaced = self.cursor_at_space() && !host.is_empty() && !host.ends_with(b".");
            if self.cursor_at_space() {
                let before = self.cursor.position();
                self.cursor.skip_cfws();
                if spaced && self.cursor.peek() != Some(b'.') {
                    // The comment behind an address is its name: leave it to the caller.
                    self.cursor.return_to(before);
                    return host;
                }
                continue;
            }
            match self.cursor.peek() {
                Some(b'[') => {
                    host.extend(
                        self.cursor
                            .take_until(|byte| matches!(byte, b']' | b'\r' | b'\n' | 0)),
                    );
                    if self.cursor.eat(b']') {
                        host.push(b']');
                    }
                    return host;
                }
                None | Some(b',' | b';' | b'>' | b'<' | b':' | b'"' | b'\\') => return host,
                Some(b'@') => {
                    // No domain; told as it stands.
                    host.push(b'@');
                    self.cursor.advance();
                }
                Some(_) => host.extend_from_slice(
                    self.cursor
                        .take_until(|byte| is_phrase_end(byte) || matches!(byte, b'[' | b'\\')),
                ),
            }
        }
    }

    fn skip_member(&mut self) {
        self.cursor.skip_to(|byte| matches!(byte, b',' | b';'));
    }

    fn end_group(&mut self) {
        if std::mem::take(&mut self.in_group) {
            self.push(None, None, None);
        }
    }

    fn push(&mut self, name: Option<Vec<u8>>, mailbox: Option<Vec<u8>>, host: Option<Vec<u8>>) {
        // A group's end is not counted: it must not be lost.
        *self.budget = self
            .budget
            .saturating_sub(usize::from(mailbox.is_some() || host.is_some()));
        let or = |text: Option<Vec<u8>>, missing: &[u8]| match text {
            Some(text) if text.is_empty() => Some(missing.into()),
            text => text.map(Vec::into_boxed_slice),
        };
        let mailbox = if host.is_some() {
            or(mailbox.or_else(|| Some(Vec::new())), MISSING_MAILBOX)
        } else {
            or(mailbox, b"")
        };
        self.out.push(EnvelopeAddress {
            name: name.map(Vec::into_boxed_slice),
            mailbox,
            host: or(host, MISSING_DOMAIN),
        });
    }

    fn cursor_at_space(&self) -> bool {
        matches!(
            self.cursor.peek(),
            Some(b' ' | b'\t' | b'\r' | b'\n' | b'(' | 0)
        )
    }
}

fn is_phrase_end(byte: u8) -> bool {
    matches!(
        byte,
        b'<' | b'@' | b',' | b';' | b':' | b'>' | b' ' | b'\t' | b'\r' | b'\n' | b'(' | b'"' | 0
    )
}

/// `a . b` is the obsolete form of `a.b` (RFC 5322 §4.4).
fn without_space_at_dots(text: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    for &byte in text {
        match byte {
            b' ' if out.ends_with(b".") => {}
            b'.' => {
                while out.ends_with(b" ") {
                    out.pop();
                }
                out.push(b'.');
            }
            _ => out.push(byte),
        }
    }
    out
}
