//! Cuts a header section into fields, without looking into them.
//!
//! A line ends with LF, with or without a CR before it. A field goes on over the lines that start with a space or tab.
//! A line without a colon is a field without a name: kept where raw bytes are asked for, passed over otherwise.

use memchr::memchr;

/// One field of a header section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name, without the colon; empty where the line has none.
    pub name: &'a [u8],
    /// All behind the colon, folded, without the last line end.
    pub value: &'a [u8],
    /// The whole field with its line end.
    pub raw: &'a [u8],
}

impl Field<'_> {
    /// Whether the field has this name, whatever the case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The fields of a header section, up to its empty line or end.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// The fields of `header`, which may end with its empty line or without.
pub fn fields(header: &[u8]) -> Fields<'_> {
    Fields { rest: header }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        if self.rest.is_empty() || is_line_end(self.rest) {
            self.rest = &[];
            return None;
        }
        let mut end = line_length(self.rest);
        while matches!(self.rest.get(end), Some(b' ' | b'\t')) {
            end += line_length(&self.rest[end..]);
        }
        let (raw, rest) = self.rest.split_at(end);
        self.rest = rest;
        let content = without_line_end(raw);
        // A name stands on the first line; a colon on a continuation is none of it.
        let first_line = &content[..line_length(content)];
        Some(match memchr(b':', first_line) {
            Some(colon) => Field {
                name: content[..colon].trim_ascii(),
                value: &content[colon + 1..],
                raw,
            },
            None => Field {
                name: &[],
                value: content,
                raw,
            },
        })
    }
}

/// The length of the first line of `bytes`, its line end included.
pub(crate) fn line_length(bytes: &[u8]) -> usize {
    memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1)
}

/// Whether `bytes` start with an empty line.
pub(crate) fn is_line_end(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\n") || bytes.starts_with(b"\r\n")
}

/// `line` without its CRLF or LF.
pub(crate) fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The value without the line ends of its folding (RFC 5322 §2.2.3) and without space around it.
///
/// NUL, which no IMAP string may hold (RFC 9051 §4.3), becomes U+FFFD; all else stays as it is.
pub fn unfold(value: &[u8]) -> Vec<u8> {
    let value = value.trim_ascii();
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memchr::memchr2(b'\n', 0, rest) {
        if rest[at] == 0 {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice("\u{fffd}".as_bytes());
        } else {
            out.extend_from_slice(without_line_end(&rest[..=at]));
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out
}

/// RFC 9051 §6.4.5, `HEADER.FIELDS` and `HEADER.FIELDS.NOT`: the fields of `header` with one of `names` (or, if
/// `not`, with none of them), as they stand in the message, and an empty line.
pub fn header_fields<N: AsRef<[u8]>>(header: &[u8], names: &[N], not: bool) -> Vec<u8> {
    let mut wanted: Vec<Vec<u8>> = names
        .iter()
        .map(|name| name.as_ref().to_ascii_lowercase())
        .collect();
    wanted.sort_unstable();
    let longest = wanted.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = Vec::new();
    for field in fields(header) {
        let listed = field.name.len() <= longest
            && wanted
                .binary_search(&field.name.to_ascii_lowercase())
                .is_ok();
        if listed != not {
            out.extend_from_slice(field.raw);
        }
    }
    if !out.is_empty() && !out.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_cut_at_unfolded_line_ends() {
        let header = b"A: 1\r\nB : two\r\n\tlines: here\r\nno colon\nC:\n\nbody: x";
        let cut: Vec<_> = fields(header).map(|f| (f.name, f.value)).collect();
        assert_eq!(
            cut,
            [
                (&b"A"[..], &b" 1"[..]),
                (b"B", b" two\r\n\tlines: here"),
                (b"", b"no colon"),
                (b"C", b"")
            ]
        );
    }

    #[test]
    fn unfolding_removes_line_ends_alone() {
        assert_eq!(unfold(b" a\r\n b\n\tc \r\n"), b"a b\tc");
        assert_eq!(unfold(b"x\0y"), "x\u{fffd}y".as_bytes());
        assert_eq!(unfold(b" \r\n "), b"");
    }

    #[test]
    fn header_fields_keep_order_and_folding_and_end_with_an_empty_line() {
        let header = b"To: a\r\nsubject: x\r\n y\r\nCc: b\r\nTO: c";
        assert_eq!(
            header_fields(header, &["Subject", "to"], false),
            b"To: a\r\nsubject: x\r\n y\r\nTO: c\r\n\r\n"
        );
        assert_eq!(
            header_fields(header, &["Subject", "to"], true),
            b"Cc: b\r\n\r\n"
        );
        assert_eq!(header_fields(header, &["X"], false), b"\r\n");
    }
}
