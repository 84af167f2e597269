//! The lexical pieces of structured fields (RFC 5322 §3.2, RFC 2045 §5.1): comments, quoted strings, runs of text.
//!
//! The reader is lenient: what is not closed ends with the field. Each byte is looked at a constant number of times.

/// A place in a field's value.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(crate) fn advance(&mut self) {
        self.at = (self.at + 1).min(self.bytes.len());
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Goes back to a `position` seen before.
    pub(crate) fn return_to(&mut self, position: usize) {
        self.at = position.min(self.at);
    }

    /// Steps over `byte` if it is next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    /// The bytes up to the first for which `stop` holds.
    pub(crate) fn take_until(&mut self, stop: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        let length = rest
            .iter()
            .position(|&byte| stop(byte))
            .unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Skips white space and comments (CFWS); gives the text of the last comment, and whether anything was skipped.
    pub(crate) fn skip_cfws(&mut self) -> (Option<&'a [u8]>, bool) {
        let start = self.at;
        let mut comment = None;
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r' | b'\n' | 0) => self.at += 1,
                Some(b'(') => comment = Some(self.comment()),
                _ => return (comment, self.at > start),
            }
        }
    }

    /// Skips a comment with those nested in it; the cursor stands on its parenthesis. Gives what it encloses.
    fn comment(&mut self) -> &'a [u8] {
        let start = self.at + 1;
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'\\' => self.advance(),
                b'(' => depth += 1,
                b')' => {
                    depth -= 1;
                    if depth == 0 {
                        return &self.bytes[start..self.at - 1];
                    }
                }
                _ => {}
            }
        }
        &self.bytes[start.min(self.at)..self.at]
    }

    /// Appends what a quoted string says, without quotes, escapes and folding; the cursor stands on its first quote.
    pub(crate) fn quoted_string(&mut self, out: &mut Vec<u8>) {
        self.advance();
        loop {
            out.extend_from_slice(
                self.take_until(|byte| matches!(byte, b'"' | b'\\' | b'\r' | b'\n' | 0)),
            );
            match self.peek() {
                None => return,
                Some(b'"') => return self.advance(),
                Some(b'\\') => {
                    self.advance();
                    if let Some(byte) = self
                        .peek()
                        .filter(|byte| !matches!(byte, 0 | b'\r' | b'\n'))
                    {
                        out.push(byte);
                        self.advance();
                    }
                }
                Some(_) => self.advance(),
            }
        }
    }

    /// Skips to the next byte for which `stop` holds, over quoted strings and comments.
    pub(crate) fn skip_to(&mut self, stop: impl Fn(u8) -> bool) {
        let mut ignored = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                _ if stop(byte) => return,
                b'"' => self.quoted_string(&mut ignored),
                b'(' => _ = self.comment(),
                _ => self.advance(),
            }
            ignored.clear();
        }
    }
}

/// The text of a comment or quoted string without escapes, line ends and NUL.
pub(crate) fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'\\' {
            bytes.next()
        } else {
            Some(byte)
        };
        out.extend(byte.filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
    }
    out
}
