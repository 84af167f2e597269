//! What IMAP tells of a message's structure: envelope (RFC 9051 §7.5.2) and body structure.
//!
//! Both are read from the message once, by the proposer of the command that stores it, and kept beside it.
//! The body structure also says where each part stands in the raw message, so that a part can be read alone.

use serde::{Deserialize, Serialize};

/// A byte string of a header field, as it stands in the message after unfolding: it may hold encoded words,
/// and UTF-8 where the message does.
type HeaderText = Box<[u8]>;

/// Parameters of a header field: names and values.
type Parameters = Vec<(Box<str>, HeaderText)>;

/// RFC 9051 §7.5.2, `ENVELOPE`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// `Date`, unparsed.
    #[serde(with = "serde_bytes")]
    pub date: Option<HeaderText>,
    /// `Subject`, not decoded.
    #[serde(with = "serde_bytes")]
    pub subject: Option<HeaderText>,
    /// `From`
    pub from: Vec<EnvelopeAddress>,
    /// `Sender`; as `from` where the field is missing or empty.
    pub sender: Vec<EnvelopeAddress>,
    /// `Reply-To`; as `from` where the field is missing or empty.
    pub reply_to: Vec<EnvelopeAddress>,
    /// `To`
    pub to: Vec<EnvelopeAddress>,
    /// `Cc`
    pub cc: Vec<EnvelopeAddress>,
    /// `Bcc`
    pub bcc: Vec<EnvelopeAddress>,
    /// `In-Reply-To`
    #[serde(with = "serde_bytes")]
    pub in_reply_to: Option<HeaderText>,
    /// `Message-ID`
    #[serde(with = "serde_bytes")]
    pub message_id: Option<HeaderText>,
}

/// RFC 9051 §7.5.2, an address structure. A group starts with a `mailbox` but no `host`, and ends with neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeAddress {
    /// The display name, not decoded.
    #[serde(with = "serde_bytes")]
    pub name: Option<HeaderText>,
    /// The local part, or a group's name.
    #[serde(with = "serde_bytes")]
    pub mailbox: Option<HeaderText>,
    /// The domain.
    #[serde(with = "serde_bytes")]
    pub host: Option<HeaderText>,
}

/// One part of a message, with its place in the raw bytes.
///
/// Offsets count from the first byte of the raw message. The header runs from `header_start` to `body_start`
/// (its empty line included), the body from there to `body_end`. The root's header is the message's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyPart {
    /// First byte of the part's header.
    pub header_start: u32,
    /// First byte after the header's empty line.
    pub body_start: u32,
    /// First byte after the body.
    pub body_end: u32,
    /// The fields that BODYSTRUCTURE tells.
    pub fields: PartFields,
    /// What the part holds.
    pub content: PartContent,
}

/// What every part's header tells (RFC 9051 §7.5.2, body fields and extension data).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartFields {
    /// The media type, `TEXT` of `TEXT/PLAIN`.
    pub media_type: Box<str>,
    /// The media subtype.
    pub media_subtype: Box<str>,
    /// Parameters of `Content-Type`, RFC 2231 continuations joined.
    pub parameters: Parameters,
    /// `Content-ID`
    #[serde(with = "serde_bytes")]
    pub id: Option<HeaderText>,
    /// `Content-Description`
    #[serde(with = "serde_bytes")]
    pub description: Option<HeaderText>,
    /// `Content-Transfer-Encoding`, `7BIT` where it is missing.
    pub encoding: Box<str>,
    /// `Content-MD5`
    #[serde(with = "serde_bytes")]
    pub md5: Option<HeaderText>,
    /// `Content-Disposition` with its parameters.
    pub disposition: Option<(Box<str>, Parameters)>,
    /// `Content-Language`
    pub language: Vec<Box<str>>,
    /// `Content-Location`
    #[serde(with = "serde_bytes")]
    pub location: Option<HeaderText>,
}

/// What a part holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartContent {
    /// `text/*`: BODYSTRUCTURE counts its lines.
    Text(TextPart),
    /// `message/rfc822` or `message/global`, read as a message of its own.
    Message {
        /// The inner message's envelope.
        envelope: Box<Envelope>,
        /// The inner message's root part.
        body: Box<BodyPart>,
        /// Lines of the inner message.
        lines: u32,
    },
    /// `multipart/*`, with at least one part.
    Multipart(MultipartBody),
    /// Anything else.
    Basic,
}

/// A part of type `text`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextPart {
    /// Lines of the encoded body.
    pub lines: u32,
}

/// The parts of a multipart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultipartBody {
    /// In the message's order; never empty.
    pub parts: Vec<BodyPart>,
}
