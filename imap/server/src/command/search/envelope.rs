//! Answers FROM, TO, CC, BCC and SUBJECT from the stored envelope, which is what RFC 9051 §6.4.4 defines them by.

use mailrook_mime::{Matcher, decode_header};
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

/// Whether the field has the text in it; `None` if only the header itself can tell.
pub(super) fn ask(envelope: &Envelope, field: EnvelopeField, matcher: &Matcher) -> Option<bool> {
    let addresses = match field {
        EnvelopeField::From => &envelope.from,
        EnvelopeField::To => &envelope.to,
        EnvelopeField::Cc => &envelope.cc,
        EnvelopeField::Bcc => &envelope.bcc,
        EnvelopeField::Subject => {
            let Some(subject) = &envelope.subject else {
                return Some(false);
            };
            let found = matcher.matches_str(&decode_header(subject));
            return (found || subject.len() < TEXT_WHOLE).then_some(found);
        }
    };
    if addresses.is_empty() {
        return Some(false);
    }
    let mut text = String::new();
    let mut whole = addresses.len() < ADDRESSES_WHOLE;
    for address in addresses {
        whole &= append(address, &mut text);
    }
    let found = matcher.matches_str(&text);
    (found || whole).then_some(found)
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
