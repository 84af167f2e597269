//! FETCH (RFC 9051 §6.4.5, RFC 7162 §3.1.4 and §3.2.6, RFC 8474 §5).

use std::num::NonZeroU32;

use mailrook_types::ModSeq;

use super::SequenceSet;

/// `FETCH` and `UID FETCH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Which messages.
    pub set: SequenceSet,
    /// Whether the set counts UIDs. The answer must then tell the UID, asked for or not.
    pub by_uid: bool,
    /// What to tell, macros written out, nothing twice; at least one.
    pub items: Vec<FetchItem>,
    /// `CHANGEDSINCE`: only what has changed since; the answer must then tell the MODSEQ, asked for or not.
    pub changed_since: Option<ModSeq>,
    /// `VANISHED`: tell also what was expunged since; only with `UID FETCH` and `CHANGEDSINCE`.
    pub vanished: bool,
}

/// What FETCH can tell of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FetchItem {
    /// `FLAGS`
    Flags,
    /// `UID`
    Uid,
    /// `MODSEQ`
    ModSeq,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822.SIZE`
    Size,
    /// `ENVELOPE`
    Envelope,
    /// `BODY` without a section: the structure without its extension data.
    Body,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `EMAILID`
    EmailId,
    /// `THREADID`
    ThreadId,
    /// `RFC822`: as `BODY[]`, under another name (RFC 3501). Sets `\Seen`.
    Rfc822,
    /// `RFC822.HEADER`: as `BODY.PEEK[HEADER]`.
    Rfc822Header,
    /// `RFC822.TEXT`: as `BODY[TEXT]`. Sets `\Seen`.
    Rfc822Text,
    /// `BODY[…]` and `BODY.PEEK[…]`
    Section {
        /// Which bytes.
        section: Section,
        /// Which of them.
        partial: Option<Partial>,
        /// Whether `\Seen` stays as it is.
        peek: bool,
    },
    /// `BINARY[…]` and `BINARY.PEEK[…]`: a part without its transfer encoding (RFC 3516).
    Binary {
        /// The part; the whole message where it is empty.
        part: Vec<NonZeroU32>,
        /// Which bytes of it.
        partial: Option<Partial>,
        /// Whether `\Seen` stays as it is.
        peek: bool,
    },
    /// `BINARY.SIZE[…]`
    BinarySize {
        /// The part; the whole message where it is empty.
        part: Vec<NonZeroU32>,
    },
}

impl FetchItem {
    /// Whether telling this marks the message as seen (RFC 9051 §6.4.5).
    pub fn sets_seen(&self) -> bool {
        match self {
            FetchItem::Rfc822 | FetchItem::Rfc822Text => true,
            FetchItem::Section { peek, .. } | FetchItem::Binary { peek, .. } => !peek,
            _ => false,
        }
    }

    /// Whether this needs the message's bytes, not only what is kept beside them.
    pub fn needs_bytes(&self) -> bool {
        matches!(
            self,
            FetchItem::Rfc822
                | FetchItem::Rfc822Header
                | FetchItem::Rfc822Text
                | FetchItem::Section { .. }
                | FetchItem::Binary { .. }
                | FetchItem::BinarySize { .. }
        )
    }
}

/// What stands between the brackets of `BODY[…]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Section {
    /// The part's numbers; the message itself where there is none.
    pub part: Vec<NonZeroU32>,
    /// Which text of the part.
    pub text: SectionText,
}

/// Which text of a part (RFC 9051 §6.4.5.1). All but `Full` and `Mime` need a part that is a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum SectionText {
    /// All of it: for the message header and body, for a part its body.
    #[default]
    Full,
    /// `HEADER`
    Header,
    /// `HEADER.FIELDS (…)`: names as the client spelt them.
    HeaderFields(Vec<String>),
    /// `HEADER.FIELDS.NOT (…)`
    HeaderFieldsNot(Vec<String>),
    /// `TEXT`
    Text,
    /// `MIME`: a part's own header; never without part numbers.
    Mime,
}

/// `<start.length>`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Partial {
    /// The first byte, from 0. The answer repeats it.
    pub start: u64,
    /// How many bytes at most; never zero.
    pub length: u64,
}
