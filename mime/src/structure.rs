//! Walks a message once, from its first byte to its last, and says where each part stands.
//!
//! The rules, where RFC 2046 leaves a choice or mail does not keep to it, are those that Dovecot shows its clients:
//! - A line that starts with `--` and the boundary of an open multipart is a delimiter, whatever follows
//!   (RFC 2046 §5.1.1); of several that fit, the longest boundary counts, then the innermost. The line end before it
//!   belongs to it.
//! - A delimiter of an outer multipart ends all that is open within, closed or not; the end of the message ends
//!   everything. A delimiter also ends a header that has no empty line.
//! - What stands behind a closing delimiter, up to one of an outer multipart, belongs to the body of the multipart.
//! - A multipart without a boundary, or in which no delimiter occurs, holds its whole body as one `text/plain` part,
//!   so that nothing a sender wrote is out of sight.
//! - Messages within are read as they stand: RFC 2046 §5.2.1 allows them no transfer encoding.
//!
//! Each byte is looked at a constant number of times; only lines that start with `--` are compared with the open
//! boundaries, of which there are at most [`DEPTH_MAX`].

use mailrook_types::{BodyPart, Envelope, MultipartBody, PartContent, PartFields, TextPart};

use crate::{
    header::{is_line_end, line_length},
    limits::{BOUNDARY_BYTES_MAX, DEPTH_MAX, PARTS_MAX},
    part_header::{self, DefaultType, HeaderBudget, parameter},
};

/// The envelope and the root part of a message of less than 4 GiB.
pub(crate) fn read_message(raw: &[u8]) -> (Envelope, BodyPart) {
    let mut walker = Walker {
        raw,
        open: OpenBoundaries::default(),
        parts_left: PARTS_MAX,
        header_budget: HeaderBudget::new(),
    };
    let mut envelope = Envelope::default();
    let (root, _) = walker.part(0, DefaultType::TextPlain, Some(&mut envelope), 0);
    (envelope, root)
}

struct Walker<'a> {
    raw: &'a [u8],
    open: OpenBoundaries,
    parts_left: usize,
    header_budget: HeaderBudget,
}

/// Boundaries of the multiparts that are open, the outermost first.
#[derive(Default)]
struct OpenBoundaries {
    texts: Vec<Vec<u8>>,
    /// The same with their levels, sorted, equal ones with the innermost last: a line is looked up among them and not
    /// compared with each.
    sorted: Vec<(Vec<u8>, usize)>,
}

impl OpenBoundaries {
    fn push(&mut self, text: &[u8]) {
        self.texts.push(text.to_vec());
        self.sort();
    }

    fn truncate(&mut self, level: usize) {
        if self.texts.len() > level {
            self.texts.truncate(level);
            self.sort();
        }
    }

    fn sort(&mut self) {
        self.sorted = self.texts.iter().cloned().zip(0..).collect();
        self.sorted.sort_unstable();
    }

    /// The level and length of the boundary that `line` starts with: the longest, of equal ones the innermost.
    fn find(&self, line: &[u8]) -> Option<(usize, usize)> {
        let mut start = line;
        loop {
            // Of the boundaries that `start` begins with, the longest is the last one not above it, unless one stands
            // between that is above the boundary by a byte that differs; then both begin with what those have in common.
            let below = self.sorted.partition_point(|(text, _)| text[..] <= *start);
            let (text, level) = self.sorted[..below].last()?;
            let common = text
                .iter()
                .zip(start)
                .take_while(|(one, other)| one == other)
                .count();
            if common == text.len() {
                return Some((*level, common));
            }
            start = &start[..common];
        }
    }
}

/// Why a part ended.
#[derive(Clone, Copy, Debug)]
struct Stop {
    /// The first byte that belongs to the part no more.
    at: usize,
    /// The delimiter found there; none at the end of the message.
    delimiter: Option<Delimiter>,
}

#[derive(Clone, Copy, Debug)]
struct Delimiter {
    /// Index of its boundary in `open`.
    level: usize,
    /// Whether it is the last one of its multipart.
    closing: bool,
    /// The first byte behind its line.
    after: usize,
}

impl Walker<'_> {
    /// Reads the part whose header starts at `start`, and where and why it ended.
    fn part(
        &mut self,
        start: usize,
        default: DefaultType,
        envelope: Option<&mut Envelope>,
        depth: usize,
    ) -> (BodyPart, Stop) {
        self.parts_left = self.parts_left.saturating_sub(1);
        if self.parts_left == 0 {
            self.open.truncate(0);
            let stop = Stop {
                at: self.raw.len(),
                delimiter: None,
            };
            return (
                body_part(start, start, stop.at, opaque_fields(), PartContent::Basic),
                stop,
            );
        }
        let (body_start, header_stop) = self.header_end(start);
        let mut fields = part_header::read(
            &self.raw[start..body_start],
            default,
            envelope,
            &mut self.header_budget,
        );
        let is = |media_type: &str| fields.media_type.eq_ignore_ascii_case(media_type);
        let is_message = is("message")
            && (fields.media_subtype.eq_ignore_ascii_case("rfc822")
                || fields.media_subtype.eq_ignore_ascii_case("global"));
        let is_text = is("text");
        let (content, stop) = if is("multipart") {
            self.multipart(&mut fields, body_start, header_stop, depth)
        } else if is_message {
            self.message(&mut fields, body_start, header_stop, depth)
        } else {
            let stop = header_stop.unwrap_or_else(|| self.next_delimiter(body_start, body_start));
            let lines = || self.lines(body_start, stop.at);
            (
                if is_text {
                    PartContent::Text(TextPart { lines: lines() })
                } else {
                    PartContent::Basic
                },
                stop,
            )
        };
        (body_part(start, body_start, stop.at, fields, content), stop)
    }

    /// Reads `multipart/*`; `fields` become those of an opaque part where it cannot be taken apart.
    fn multipart(
        &mut self,
        fields: &mut PartFields,
        body_start: usize,
        header_stop: Option<Stop>,
        depth: usize,
    ) -> (PartContent, Stop) {
        if depth >= DEPTH_MAX {
            return self.opaque(fields, body_start, header_stop);
        }
        let boundary = parameter(&fields.parameters, "boundary").map(<[u8]>::trim_ascii_end);
        let boundary = boundary.filter(|text| !text.is_empty() && text.len() <= BOUNDARY_BYTES_MAX);
        let child_default = match &*fields.media_subtype {
            subtype if subtype.eq_ignore_ascii_case("digest") => DefaultType::MessageRfc822,
            _ => DefaultType::TextPlain,
        };
        let level = self.open.texts.len();
        let mut parts = Vec::new();
        let mut stop = match (header_stop, boundary) {
            (Some(stop), _) => stop,
            (None, None) => self.next_delimiter(body_start, body_start),
            (None, Some(boundary)) => {
                self.open.push(boundary);
                self.next_delimiter(body_start, body_start)
            }
        };
        while let Some(delimiter) = stop.delimiter.filter(|delimiter| delimiter.level == level) {
            if delimiter.closing {
                self.open.truncate(level);
                stop = self.next_delimiter(delimiter.after, body_start);
                break;
            }
            // A delimiter that ends a cut-off message starts no part.
            if delimiter.after >= self.raw.len() && !parts.is_empty() {
                stop = Stop {
                    at: self.raw.len(),
                    delimiter: None,
                };
                break;
            }
            let (part, part_stop) = self.part(delimiter.after, child_default, None, depth + 1);
            parts.push(part);
            stop = part_stop;
        }
        self.open.truncate(level);
        if parts.is_empty() {
            if self.parts_left <= 1 {
                *fields = opaque_fields();
                return (PartContent::Basic, stop);
            }
            self.parts_left -= 1;
            parts.push(self.whole_body_as_text(body_start, stop.at));
        }
        (PartContent::Multipart(MultipartBody { parts }), stop)
    }

    /// Reads `message/rfc822` or `message/global`.
    fn message(
        &mut self,
        fields: &mut PartFields,
        body_start: usize,
        header_stop: Option<Stop>,
        depth: usize,
    ) -> (PartContent, Stop) {
        if depth >= DEPTH_MAX || self.parts_left <= 1 {
            return self.opaque(fields, body_start, header_stop);
        }
        let mut envelope = Box::new(Envelope::default());
        let (body, stop) = match header_stop {
            // Its own header was cut off: the message within is empty.
            Some(stop) => {
                self.parts_left -= 1;
                (self.whole_body_as_text(body_start, body_start), stop)
            }
            None => self.part(
                body_start,
                DefaultType::TextPlain,
                Some(&mut envelope),
                depth + 1,
            ),
        };
        let lines = self.lines(body_start, stop.at);
        (
            PartContent::Message {
                envelope,
                body: Box::new(body),
                lines,
            },
            stop,
        )
    }

    /// Beyond a bound: told of as data, as Dovecot does, since clients expect an inside of the other types.
    fn opaque(
        &mut self,
        fields: &mut PartFields,
        body_start: usize,
        header_stop: Option<Stop>,
    ) -> (PartContent, Stop) {
        *fields = opaque_fields();
        (
            PartContent::Basic,
            header_stop.unwrap_or_else(|| self.next_delimiter(body_start, body_start)),
        )
    }

    fn whole_body_as_text(&mut self, start: usize, end: usize) -> BodyPart {
        let fields = part_header::read(&[], DefaultType::TextPlain, None, &mut self.header_budget);
        let lines = self.lines(start, end);
        body_part(
            start,
            start,
            end,
            fields,
            PartContent::Text(TextPart { lines }),
        )
    }

    /// The first byte behind the header at `start` and its empty line, and the delimiter that cut it off, if one did.
    fn header_end(&self, start: usize) -> (usize, Option<Stop>) {
        let mut at = start;
        while at < self.raw.len() {
            let rest = &self.raw[at..];
            if is_line_end(rest) {
                return (at + line_length(rest), None);
            }
            if let Some(delimiter) = self.delimiter_at(at) {
                return (
                    at,
                    Some(Stop {
                        at,
                        delimiter: Some(delimiter),
                    }),
                );
            }
            at += line_length(rest);
        }
        (at, None)
    }

    /// Finds the next delimiter from the line that starts at `from`, for a part whose body starts at `body_start`.
    fn next_delimiter(&self, from: usize, body_start: usize) -> Stop {
        let end = Stop {
            at: self.raw.len(),
            delimiter: None,
        };
        if self.open.texts.is_empty() {
            return end;
        }
        let stop_at = |line: usize, delimiter| Stop {
            at: self.before_line_end(line).max(body_start),
            delimiter: Some(delimiter),
        };
        if let Some(delimiter) = self.delimiter_at(from) {
            return stop_at(from, delimiter);
        }
        let rest = &self.raw[from.min(self.raw.len())..];
        for newline in memchr::memchr_iter(b'\n', rest) {
            let line = from + newline + 1;
            if let Some(delimiter) = self.delimiter_at(line) {
                return stop_at(line, delimiter);
            }
        }
        end
    }

    /// Where the line before the one at `line` ends, its CRLF or LF left out.
    fn before_line_end(&self, line: usize) -> usize {
        let before = &self.raw[..line];
        crate::header::without_line_end(before).len()
    }

    /// The delimiter on the line that starts at `line`, if it is one.
    fn delimiter_at(&self, line: usize) -> Option<Delimiter> {
        let text = self.raw.get(line..)?.strip_prefix(b"--")?;
        let (level, length) = self.open.find(text)?;
        let closing = text[length..].starts_with(b"--");
        let after = line + 2 + length;
        Some(Delimiter {
            level,
            closing,
            after: after + line_length(&self.raw[after..]),
        })
    }

    /// Line ends from `start` to `end`, as Dovecot and Cyrus count lines.
    fn lines(&self, start: usize, end: usize) -> u32 {
        memchr::memchr_iter(b'\n', &self.raw[start.min(end)..end]).count() as u32
    }
}

fn body_part(
    header_start: usize,
    body_start: usize,
    body_end: usize,
    fields: PartFields,
    content: PartContent,
) -> BodyPart {
    // The caller cut the message below 4 GiB.
    let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    BodyPart {
        header_start: offset(header_start),
        body_start: offset(body_start),
        body_end: offset(body_end),
        fields,
        content,
    }
}

/// What an opaque part is told to be.
pub(crate) fn opaque_fields() -> PartFields {
    PartFields {
        media_type: "application".into(),
        media_subtype: "octet-stream".into(),
        encoding: "7BIT".into(),
        ..PartFields::default()
    }
}
