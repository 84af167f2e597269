//! The text of a message that SEARCH looks at (RFC 9051 §6.4.4), decoded from transfer encoding and charset to UTF-8.
//!
//! `TEXT` is headers and bodies, `BODY` bodies alone:
//! - *headers*: `Name: value` of every field of the message, of its parts and of the messages within, encoded words
//!   decoded, and the parameters that RFC 2231 encodes, decoded;
//! - *bodies*: the parts of type `text`, markup and all, and of `message/…` other than messages (delivery reports).
//!   A part with an unknown transfer encoding or charset is read as it stands.
//!
//! A needle may span lines of a text, but neither fields nor parts. Preambles, epilogues and other media are not
//! searched, as RFC 9051 allows and other servers do.

use std::ops::ControlFlow;

use mailrook_types::{BodyPart, PartContent};

use crate::{
    charset::TextDecoder,
    encoded_word::decode_header,
    header::fields,
    limits::{CHUNK_BYTES, HEADER_BYTES_TOTAL_MAX},
    part_header::{examined_within, parameter},
    section::{body_range, header_range, slice},
    signature::SearchScope,
    transfer::TransferDecoder,
};

/// Takes the text piece by piece.
pub(crate) trait TextSink {
    /// A piece of text that goes on where the one before ended.
    fn piece(&mut self, scope: SearchScope, text: &str) -> ControlFlow<()>;

    /// The text ends here; what comes next is another field or part.
    fn end(&mut self, scope: SearchScope);
}

/// Reads out the headers of the message and of all its parts.
pub(crate) fn read_headers(
    raw: &[u8],
    root: &BodyPart,
    sink: &mut impl TextSink,
) -> ControlFlow<()> {
    read_part_headers(raw, root, sink, &mut HEADER_BYTES_TOTAL_MAX.clone())
}

fn read_part_headers(
    raw: &[u8],
    part: &BodyPart,
    sink: &mut impl TextSink,
    bytes_left: &mut usize,
) -> ControlFlow<()> {
    for field in fields(examined_within(slice(raw, header_range(part)), bytes_left)) {
        let text = decode_header(field.value);
        if let Ok(name) = std::str::from_utf8(field.name) {
            sink.piece(SearchScope::Header, name)?;
            sink.piece(SearchScope::Header, ": ")?;
        }
        sink.piece(SearchScope::Header, &text)?;
        sink.end(SearchScope::Header);
    }
    let disposition = part
        .fields
        .disposition
        .iter()
        .flat_map(|(_, parameters)| parameters);
    for (name, value) in part.fields.parameters.iter().chain(disposition) {
        if name.ends_with('*') {
            sink.piece(SearchScope::Header, &String::from_utf8_lossy(value))?;
            sink.end(SearchScope::Header);
        }
    }
    children(part)
        .iter()
        .try_for_each(|child| read_part_headers(raw, child, sink, bytes_left))
}

/// Reads out the bodies of the part and of those within.
pub(crate) fn read_bodies(
    raw: &[u8],
    part: &BodyPart,
    sink: &mut impl TextSink,
) -> ControlFlow<()> {
    let is_text = match part.content {
        PartContent::Text(_) => true,
        PartContent::Basic => part.fields.media_type.eq_ignore_ascii_case("message"),
        PartContent::Message { .. } | PartContent::Multipart(_) => false,
    };
    if is_text {
        read_body(raw, part, sink)?;
    }
    children(part)
        .iter()
        .try_for_each(|child| read_bodies(raw, child, sink))
}

fn children(part: &BodyPart) -> &[BodyPart] {
    match &part.content {
        PartContent::Multipart(multipart) => &multipart.parts,
        PartContent::Message { body, .. } => std::slice::from_ref(body),
        PartContent::Text(_) | PartContent::Basic => &[],
    }
}

fn read_body(raw: &[u8], part: &BodyPart, sink: &mut impl TextSink) -> ControlFlow<()> {
    let label = parameter(&part.fields.parameters, "charset").unwrap_or_default();
    let mut charset = TextDecoder::new(&String::from_utf8_lossy(label));
    let mut transfer =
        TransferDecoder::new(&part.fields.encoding).unwrap_or_else(|_| TransferDecoder::identity());
    let body = slice(raw, body_range(part));
    let mut bytes = Vec::with_capacity(body.len().min(CHUNK_BYTES));
    let mut text = String::with_capacity(body.len().min(CHUNK_BYTES));
    for chunk in body.chunks(CHUNK_BYTES) {
        if transfer.is_identity() {
            charset.push(chunk, false, &mut text);
        } else {
            transfer.push(chunk, &mut bytes);
            charset.push(&bytes, false, &mut text);
        }
        sink.piece(SearchScope::Body, &text)?;
        bytes.clear();
        text.clear();
    }
    transfer.finish(&mut bytes);
    charset.push(&bytes, true, &mut text);
    sink.piece(SearchScope::Body, &text)?;
    sink.end(SearchScope::Body);
    ControlFlow::Continue(())
}

/// The decoded texts of one scope, one string a field or part. For tests and tools: it takes memory for all of them.
pub fn searchable_text(raw: &[u8], root: &BodyPart, scope: SearchScope) -> Vec<String> {
    let mut collected = Collected::default();
    // The sink never breaks off.
    if scope != SearchScope::Body {
        let _ = read_headers(raw, root, &mut collected);
    }
    if scope != SearchScope::Header {
        let _ = read_bodies(raw, root, &mut collected);
    }
    collected.texts
}

#[derive(Default)]
struct Collected {
    texts: Vec<String>,
    current: String,
}

impl TextSink for Collected {
    fn piece(&mut self, _scope: SearchScope, text: &str) -> ControlFlow<()> {
        self.current.push_str(text);
        ControlFlow::Continue(())
    }

    fn end(&mut self, _scope: SearchScope) {
        self.texts.push(std::mem::take(&mut self.current));
    }
}
