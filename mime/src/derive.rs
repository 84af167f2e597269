//! All that is kept beside a message, read from it once, and cut down to its bound.

use mailrook_types::{BodyPart, Envelope, EnvelopeAddress, PartContent};

use crate::{
    SentDate, Signature, Threading,
    date::parse_date,
    limits::DERIVED_BYTES_MAX,
    parameter::Parameter,
    reference::threading,
    section::{header_range, slice},
    structure::{opaque_fields, read_message},
};

/// What [`derive`] reads out of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// `ENVELOPE`
    pub envelope: Envelope,
    /// `BODYSTRUCTURE`, with the places of the parts. With the envelope it takes at most [`DERIVED_BYTES_MAX`].
    pub structure: BodyPart,
    /// Lets SEARCH skip this message.
    pub signature: Signature,
    /// The `Date` field, for SENTBEFORE and SORT; `None` if it is missing or no date.
    pub sent_date: Option<SentDate>,
    /// Message ids, for threads.
    pub threading: Threading,
}

impl Derived {
    /// The first byte behind the message's header and its empty line.
    pub fn header_end(&self) -> u32 {
        self.structure.body_start
    }
}

/// Reads a raw message. Any bytes have a structure; what lies beyond 4 GiB has none.
pub fn derive(raw: &[u8]) -> Derived {
    let raw = &raw[..raw.len().min(u32::MAX as usize)];
    let (mut envelope, mut structure) = read_message(raw);
    let threading = threading(slice(raw, header_range(&structure)));
    let sent_date = envelope.date.as_deref().and_then(parse_date);
    cut_down(&mut envelope, &mut structure);
    // After the cut: the search goes by the structure that is stored.
    let signature = Signature::of_message(raw, &structure);
    Derived {
        envelope,
        structure,
        signature,
        sent_date,
        threading,
    }
}

/// What is kept of each text and list.
#[derive(Clone, Copy)]
struct Cut {
    text_bytes: usize,
    addresses: usize,
    parameters: usize,
}

/// Tried one after another until the result fits. The first leaves all real mail whole but for endless recipient
/// lists; the last keeps what tells one message from another.
const CUTS: [Cut; 4] = [
    Cut {
        text_bytes: 8 << 10,
        addresses: 1_000,
        parameters: 64,
    },
    Cut {
        text_bytes: 998,
        addresses: 200,
        parameters: 16,
    },
    Cut {
        text_bytes: 256,
        addresses: 50,
        parameters: 8,
    },
    Cut {
        text_bytes: 64,
        addresses: 4,
        parameters: 2,
    },
];

fn cut_down(envelope: &mut Envelope, structure: &mut BodyPart) {
    for cut in CUTS {
        if stored_size(envelope, structure) <= DERIVED_BYTES_MAX {
            return;
        }
        cut.envelope(envelope);
        cut.part(structure);
    }
    if stored_size(envelope, structure) > DERIVED_BYTES_MAX {
        // A thousand parts, each with long names: none of them can be told.
        structure.fields = opaque_fields();
        structure.content = PartContent::Basic;
    }
}

fn stored_size(envelope: &Envelope, structure: &BodyPart) -> usize {
    // Plain data always serialises; should it not, it is too large.
    postcard::experimental::serialized_size(&(envelope, structure)).unwrap_or(usize::MAX)
}

impl Cut {
    fn envelope(self, envelope: &mut Envelope) {
        for text in [
            &mut envelope.date,
            &mut envelope.subject,
            &mut envelope.in_reply_to,
            &mut envelope.message_id,
        ] {
            self.text(text);
        }
        let lists = [
            &mut envelope.from,
            &mut envelope.sender,
            &mut envelope.reply_to,
            &mut envelope.to,
            &mut envelope.cc,
            &mut envelope.bcc,
        ];
        lists.into_iter().for_each(|list| self.addresses(list));
    }

    fn addresses(self, list: &mut Vec<EnvelopeAddress>) {
        if list.len() > self.addresses {
            list.truncate(self.addresses);
            // A group that was cut in two ends here.
            let last_mark = list.iter().rev().find(|address| address.host.is_none());
            if last_mark.is_some_and(|mark| mark.mailbox.is_some()) {
                list.push(EnvelopeAddress::default());
            }
        }
        for address in list {
            for text in [&mut address.name, &mut address.mailbox, &mut address.host] {
                self.text(text);
            }
        }
    }

    fn part(self, part: &mut BodyPart) {
        let fields = &mut part.fields;
        for text in [
            &mut fields.id,
            &mut fields.description,
            &mut fields.md5,
            &mut fields.location,
        ] {
            self.text(text);
        }
        self.parameters(&mut fields.parameters);
        if let Some((_, parameters)) = &mut fields.disposition {
            self.parameters(parameters);
        }
        fields.language.truncate(self.parameters);
        match &mut part.content {
            PartContent::Multipart(multipart) => {
                multipart.parts.iter_mut().for_each(|part| self.part(part))
            }
            PartContent::Message { envelope, body, .. } => {
                self.envelope(envelope);
                self.part(body);
            }
            PartContent::Text(_) | PartContent::Basic => {}
        }
    }

    fn parameters(self, parameters: &mut Vec<Parameter>) {
        parameters.truncate(self.parameters);
        for (_, value) in parameters {
            *value = self.cut(value);
        }
    }

    fn text(self, text: &mut Option<Box<[u8]>>) {
        if let Some(text) = text {
            *text = self.cut(text);
        }
    }

    /// Cuts before a character of UTF-8, not within.
    fn cut(self, text: &[u8]) -> Box<[u8]> {
        if text.len() <= self.text_bytes {
            return text.into();
        }
        let is_continuation = |at: usize| text[at] & 0xc0 == 0x80;
        let earliest = self.text_bytes - 3;
        let end = (earliest..=self.text_bytes)
            .rev()
            .find(|&at| !is_continuation(at))
            .unwrap_or(self.text_bytes);
        text[..end].into()
    }
}
