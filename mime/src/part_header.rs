//! What the header of one part says: its fields for BODYSTRUCTURE and, if it heads a message, its envelope.
//!
//! A field that stands twice counts once, the first time; addresses are joined, lest a client shows another sender
//! than a filter has seen.

use mailrook_types::{Envelope, EnvelopeAddress, PartFields};

use crate::{
    address::parse_addresses,
    header::{Field, fields, unfold},
    limits::{ADDRESSES_MAX, HEADER_BYTES_MAX, HEADER_BYTES_TOTAL_MAX, LANGUAGES_MAX},
    parameter::{Parameter, parse_content_type, parse_disposition, parse_token},
    token::Cursor,
};

/// The type of a part whose header names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultType {
    /// RFC 2045 §5.2: `text/plain; charset=us-ascii`.
    TextPlain,
    /// RFC 2046 §5.1.5: the parts of `multipart/digest`.
    MessageRfc822,
}

/// The part of `header` whose fields are looked at, whole lines.
pub(crate) fn examined(header: &[u8]) -> &[u8] {
    examined_within(header, &mut HEADER_BYTES_MAX.clone())
}

/// The same, at most `budget` bytes, which it lowers by what is looked at.
pub(crate) fn examined_within<'a>(header: &'a [u8], budget: &mut usize) -> &'a [u8] {
    let length_max = HEADER_BYTES_MAX.min(*budget);
    *budget -= header.len().min(length_max);
    if header.len() <= length_max {
        return header;
    }
    let cut = &header[..length_max];
    memchr::memrchr(b'\n', cut).map_or(cut, |at| &cut[..=at])
}

/// What the headers of one message may still cost.
pub(crate) struct HeaderBudget {
    pub(crate) bytes: usize,
    pub(crate) addresses: usize,
}

impl HeaderBudget {
    /// For one message with all its parts.
    pub(crate) fn new() -> Self {
        HeaderBudget {
            bytes: HEADER_BYTES_TOTAL_MAX,
            addresses: ADDRESSES_MAX,
        }
    }
}

/// Reads the MIME fields of a header, and its envelope into `envelope` if there is one to fill.
pub(crate) fn read(
    header: &[u8],
    default: DefaultType,
    mut envelope: Option<&mut Envelope>,
    left: &mut HeaderBudget,
) -> PartFields {
    let mut mime = MimeFields::default();
    for field in fields(examined_within(header, &mut left.bytes)) {
        match field.name.first().map(u8::to_ascii_lowercase) {
            Some(b'c') if field.name.len() > 2 => mime.take(field),
            Some(_) => {
                if let Some(envelope) = envelope.as_deref_mut() {
                    envelope_field(envelope, field, &mut left.addresses);
                }
            }
            None => {}
        }
    }
    if let Some(envelope) = envelope {
        // RFC 9051 §7.5.2: both default to From.
        for list in [&mut envelope.sender, &mut envelope.reply_to] {
            if list.is_empty() {
                list.clone_from(&envelope.from);
            }
        }
    }
    mime.into_part_fields(default)
}

fn envelope_field(envelope: &mut Envelope, field: Field<'_>, addresses_left: &mut usize) {
    let text = |slot: &mut Option<Box<[u8]>>| {
        if slot.is_none() {
            *slot = Some(unfold(field.value).into());
        }
    };
    let mut addresses =
        |list: &mut Vec<EnvelopeAddress>| parse_addresses(field.value, list, addresses_left);
    // The length decides between most of them without comparing letters.
    match field.name.len() {
        2 if field.is("To") => addresses(&mut envelope.to),
        2 if field.is("Cc") => addresses(&mut envelope.cc),
        3 if field.is("Bcc") => addresses(&mut envelope.bcc),
        4 if field.is("From") => addresses(&mut envelope.from),
        4 if field.is("Date") => text(&mut envelope.date),
        6 if field.is("Sender") => addresses(&mut envelope.sender),
        7 if field.is("Subject") => text(&mut envelope.subject),
        8 if field.is("Reply-To") => addresses(&mut envelope.reply_to),
        10 if field.is("Message-ID") => text(&mut envelope.message_id),
        11 if field.is("In-Reply-To") => text(&mut envelope.in_reply_to),
        _ => {}
    }
}

#[derive(Default)]
struct MimeFields<'a> {
    content_type: Option<&'a [u8]>,
    encoding: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    description: Option<&'a [u8]>,
    md5: Option<&'a [u8]>,
    disposition: Option<&'a [u8]>,
    language: Option<&'a [u8]>,
    location: Option<&'a [u8]>,
}

impl<'a> MimeFields<'a> {
    fn take(&mut self, field: Field<'a>) {
        const PREFIX: &[u8] = b"content-";
        let Some((prefix, rest)) = field.name.split_at_checked(PREFIX.len()) else {
            return;
        };
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return;
        }
        let slot = match rest.to_ascii_lowercase().as_slice() {
            b"type" => &mut self.content_type,
            b"transfer-encoding" => &mut self.encoding,
            b"id" => &mut self.id,
            b"description" => &mut self.description,
            b"md5" => &mut self.md5,
            b"disposition" => &mut self.disposition,
            b"language" => &mut self.language,
            b"location" => &mut self.location,
            _ => return,
        };
        slot.get_or_insert(field.value);
    }

    fn into_part_fields(self, default: DefaultType) -> PartFields {
        let parsed = self.content_type.and_then(parse_content_type);
        let (media_type, media_subtype, mut parameters) = parsed.unwrap_or_else(|| match default {
            DefaultType::TextPlain => ("text".into(), "plain".into(), Vec::new()),
            DefaultType::MessageRfc822 => ("message".into(), "rfc822".into(), Vec::new()),
        });
        // RFC 2045 §5.2 names the default; Dovecot and Cyrus tell it, and clients rely on finding a charset.
        if media_type.eq_ignore_ascii_case("text")
            && !parameters.iter().any(|(name, _)| is_charset(name))
        {
            parameters.push(("charset".into(), b"us-ascii"[..].into()));
        }
        let unfolded = |value: Option<&[u8]>| {
            value
                .map(unfold)
                .filter(|text| !text.is_empty())
                .map(Vec::into_boxed_slice)
        };
        PartFields {
            media_type,
            media_subtype,
            parameters,
            id: unfolded(self.id),
            description: unfolded(self.description),
            encoding: self
                .encoding
                .and_then(parse_token)
                .unwrap_or_else(|| "7BIT".into()),
            md5: unfolded(self.md5),
            disposition: self.disposition.and_then(parse_disposition),
            language: self.language.map(languages).unwrap_or_default(),
            location: unfolded(self.location),
        }
    }
}

fn is_charset(name: &str) -> bool {
    name.eq_ignore_ascii_case("charset") || name.eq_ignore_ascii_case("charset*")
}

/// RFC 3282 §2: a list of language tags.
fn languages(value: &[u8]) -> Vec<Box<str>> {
    let mut cursor = Cursor::new(value);
    let mut tags = Vec::new();
    while cursor.peek().is_some() && tags.len() < LANGUAGES_MAX {
        cursor.skip_cfws();
        let tag = cursor.take_until(|byte| !(byte.is_ascii_alphanumeric() || byte == b'-'));
        if !tag.is_empty() {
            tags.push(String::from_utf8_lossy(tag).into());
        }
        cursor.skip_to(|byte| byte == b',');
        cursor.eat(b',');
    }
    tags
}

/// The value of the parameter `name`, if it is there and not empty.
pub(crate) fn parameter<'p>(parameters: &'p [Parameter], name: &str) -> Option<&'p [u8]> {
    let found = parameters.iter().find(|(key, _)| {
        key.eq_ignore_ascii_case(name)
            || key
                .strip_suffix('*')
                .is_some_and(|key| key.eq_ignore_ascii_case(name))
    });
    found
        .map(|(_, value)| &value[..])
        .filter(|value| !value.is_empty())
}
