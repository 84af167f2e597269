//! Answers FROM, TO, CC, BCC and SUBJECT from the stored envelope, which is what RFC 9051 §6.4.4 defines them by.

use mailrook_mime::{Matcher, decode_header, fold};
use mailrook_types::{Envelope, EnvelopeAddress};

/// A field of the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EnvelopeField {
    From,
    To,
    Cc,
    Bcc,
    Subject,
}

/// The stored envelope of a message with endless fields is cut down: texts to no less than this, lists to no less than
/// [`ADDRESSES_WHOLE`]. What is shorter is whole.
const TEXT_WHOLE: usize = 64;

/// See [`TEXT_WHOLE`].
const ADDRESSES_WHOLE: usize = 4;

/// One message's envelope as it is searched: each field is decoded and folded once, however many texts are looked for.
pub(super) struct EnvelopeTexts<'e> {
    envelope: &'e Envelope,
    /// By field, those that were asked for.
    texts: [Option<FieldText>; 5],
    /// Bytes that were looked at.
    cost: usize,
}

enum FieldText {
    Absent,
    /// Folded; and whether the header has no more to find.
    Present {
        folded: Vec<u8>,
        whole: bool,
    },
}

impl<'e> EnvelopeTexts<'e> {
    pub(super) fn new(envelope: &'e Envelope) -> EnvelopeTexts<'e> {
        EnvelopeTexts {
            envelope,
            texts: [const { None }; 5],
            cost: 0,
        }
    }

    /// Whether the field has the text in it; `None` if only the header itself can tell.
    pub(super) fn ask(&mut self, field: EnvelopeField, matcher: &Matcher) -> Option<bool> {
        let text =
            self.texts[field as usize].get_or_insert_with(|| FieldText::of(self.envelope, field));
        match text {
            FieldText::Absent => Some(false),
            FieldText::Present { folded, whole } => {
                self.cost += folded.len();
                let found = matcher.matches_folded(folded);
                (found || *whole).then_some(found)
            }
        }
    }

    /// Whether so many bytes were looked at since this was true last.
    pub(super) fn take_turn(&mut self, at_least: usize) -> bool {
        let reached = self.cost >= at_least;
        if reached {
            self.cost = 0;
        }
        reached
    }
}

impl FieldText {
    fn of(envelope: &Envelope, field: EnvelopeField) -> FieldText {
        let addresses = match field {
            EnvelopeField::From => &envelope.from,
            EnvelopeField::To => &envelope.to,
            EnvelopeField::Cc => &envelope.cc,
            EnvelopeField::Bcc => &envelope.bcc,
            EnvelopeField::Subject => {
                let Some(subject) = &envelope.subject else {
                    return FieldText::Absent;
                };
                return FieldText::Present {
                    folded: fold(&decode_header(subject)),
                    whole: subject.len() < TEXT_WHOLE,
                };
            }
        };
        if addresses.is_empty() {
            return FieldText::Absent;
        }
        let mut text = String::new();
        let mut whole = addresses.len() < ADDRESSES_WHOLE;
        for address in addresses {
            whole &= append(address, &mut text);
        }
        FieldText::Present {
            folded: fold(&text),
            whole,
        }
    }
}

/// Appends an address as it would stand in the header; false if its header may have more to find.
fn append(address: &EnvelopeAddress, text: &mut String) -> bool {
    if !text.is_empty() {
        text.push_str(", ");
    }
    let mut whole = true;
    let mut part = |text: &mut String, part: &Option<Box<[u8]>>| {
        let part = part.as_deref().unwrap_or_default();
        text.push_str(&decode_header(part));
        // Quotes and comments are not in the envelope.
        whole &= part.len() < TEXT_WHOLE
            && part
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b" -_.+=?@".contains(byte));
    };
    if address.name.is_some() {
        part(text, &address.name);
        text.push(' ');
    }
    text.push('<');
    part(text, &address.mailbox);
    text.push('@');
    part(text, &address.host);
    text.push('>');
    whole && address.host.is_some()
}
