//! Which bytes `BODY[1.2.MIME]` and the like name (RFC 9051 §6.4.5, part numbers and specifiers).

use std::ops::Range;

use mailrook_types::{BodyPart, PartContent};

/// A part found by its number, or the message as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRef<'a> {
    /// The part; the root for the message as a whole.
    pub part: &'a BodyPart,
    is_whole_message: bool,
}

/// Finds the part with this number; the empty one names the whole message.
///
/// The parts of a multipart are numbered from 1. What is no multipart has part 1, itself, if it is a message's root;
/// the numbers within a `message/rfc822` are those of the message in it.
pub fn part<'a>(root: &'a BodyPart, path: &[u32]) -> Option<PartRef<'a>> {
    let mut part = root;
    // Whether `part` heads a message, so that its own content is its part 1.
    let mut is_root = true;
    for &number in path {
        if !is_root && let PartContent::Message { body, .. } = &part.content {
            part = body;
            is_root = true;
        }
        match &part.content {
            PartContent::Multipart(multipart) => {
                part = multipart
                    .parts
                    .get(usize::try_from(number.checked_sub(1)?).ok()?)?;
            }
            _ if is_root && number == 1 => {}
            _ => return None,
        }
        is_root = false;
    }
    Some(PartRef {
        part,
        is_whole_message: path.is_empty(),
    })
}

impl<'a> PartRef<'a> {
    /// `BODY[]`, `BODY[1]`: the message as a whole, or the part's body, transfer encoding and all.
    pub fn body(&self) -> Range<usize> {
        if self.is_whole_message {
            0..self.part.body_end as usize
        } else {
            body_range(self.part)
        }
    }

    /// `BODY[1.MIME]`: the part's header with its empty line. The whole message has none.
    pub fn mime(&self) -> Option<Range<usize>> {
        (!self.is_whole_message).then(|| header_range(self.part))
    }

    /// `BODY[HEADER]`, `BODY[1.HEADER]`: the header, with its empty line, of the message or of the message in the part.
    pub fn header(&self) -> Option<Range<usize>> {
        self.message().map(header_range)
    }

    /// `BODY[TEXT]`, `BODY[1.TEXT]`: what follows that header.
    pub fn text(&self) -> Option<Range<usize>> {
        self.message().map(body_range)
    }

    /// The root of the message, or of the message in the part; `None` where the part is no message.
    pub fn message(&self) -> Option<&'a BodyPart> {
        match &self.part.content {
            _ if self.is_whole_message => Some(self.part),
            PartContent::Message { body, .. } => Some(body),
            _ => None,
        }
    }

    /// The transfer encoding that `BINARY[1]` undoes (RFC 9051 §6.4.5.1): none for the whole message, nor for
    /// multiparts and messages, which have none (RFC 2045 §6.4).
    pub fn encoding(&self) -> &'a str {
        match self.part.content {
            PartContent::Text(_) | PartContent::Basic if !self.is_whole_message => {
                &self.part.fields.encoding
            }
            _ => "8BIT",
        }
    }
}

/// The header of a part with its empty line.
pub fn header_range(part: &BodyPart) -> Range<usize> {
    part.header_start as usize..part.body_start as usize
}

/// The body of a part.
pub fn body_range(part: &BodyPart) -> Range<usize> {
    part.body_start as usize..part.body_end as usize
}

/// The bytes of `range`, as far as the message has them: a damaged record must not stop the process.
pub fn slice(raw: &[u8], range: Range<usize>) -> &[u8] {
    let end = range.end.min(raw.len());
    &raw[range.start.min(end)..end]
}
