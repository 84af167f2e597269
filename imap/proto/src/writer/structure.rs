//! ENVELOPE, BODY and BODYSTRUCTURE (RFC 9051 §7.5.2).

use mailrook_types::{BodyPart, Envelope, EnvelopeAddress, PartContent, PartFields};

use super::primitive::{push_nstring, push_number, push_string};

/// Deeper parts are shown as opaque: a bound on the recursion that does not lean on the message parser's.
const DEPTH_MAX: usize = 128;

/// Appends an envelope.
pub(crate) fn push_envelope(out: &mut Vec<u8>, envelope: &Envelope, utf8: bool) {
    out.push(b'(');
    push_nstring(out, envelope.date.as_deref(), utf8);
    out.push(b' ');
    push_nstring(out, envelope.subject.as_deref(), utf8);
    for addresses in [
        &envelope.from,
        &envelope.sender,
        &envelope.reply_to,
        &envelope.to,
        &envelope.cc,
        &envelope.bcc,
    ] {
        out.push(b' ');
        push_addresses(out, addresses, utf8);
    }
    out.push(b' ');
    push_nstring(out, envelope.in_reply_to.as_deref(), utf8);
    out.push(b' ');
    push_nstring(out, envelope.message_id.as_deref(), utf8);
    out.push(b')');
}

/// Appends a body structure, `extended` with what BODYSTRUCTURE tells and BODY does not.
pub(crate) fn push_body(out: &mut Vec<u8>, root: &BodyPart, utf8: bool, extended: bool) {
    Printer {
        out,
        utf8,
        extended,
    }
    .part(root, 0);
}

fn push_addresses(out: &mut Vec<u8>, addresses: &[EnvelopeAddress], utf8: bool) {
    if addresses.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    out.push(b'(');
    for address in addresses {
        out.push(b'(');
        push_nstring(out, address.name.as_deref(), utf8);
        // The source route, which RFC 5322 made obsolete.
        out.extend_from_slice(b" NIL ");
        push_nstring(out, address.mailbox.as_deref(), utf8);
        out.push(b' ');
        push_nstring(out, address.host.as_deref(), utf8);
        out.push(b')');
    }
    out.push(b')');
}

struct Printer<'b> {
    out: &'b mut Vec<u8>,
    utf8: bool,
    extended: bool,
}

impl Printer<'_> {
    fn part(&mut self, part: &BodyPart, depth: usize) {
        if depth >= DEPTH_MAX {
            return self.opaque(part);
        }
        self.out.push(b'(');
        match &part.content {
            PartContent::Multipart(multipart) => {
                multipart
                    .parts
                    .iter()
                    .for_each(|inner| self.part(inner, depth + 1));
                if multipart.parts.is_empty() {
                    // The grammar needs a part.
                    self.out
                        .extend_from_slice(b"(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 0 0)");
                }
                self.out.push(b' ');
                self.string(part.fields.media_subtype.as_bytes());
                if self.extended {
                    self.out.push(b' ');
                    self.parameters(&part.fields.parameters);
                    self.extension(&part.fields);
                }
            }
            content => {
                self.single(part);
                match content {
                    PartContent::Text(text) => self.number(u64::from(text.lines)),
                    PartContent::Message {
                        envelope,
                        body,
                        lines,
                    } => {
                        self.out.push(b' ');
                        push_envelope(self.out, envelope, self.utf8);
                        self.out.push(b' ');
                        self.part(body, depth + 1);
                        self.number(u64::from(*lines));
                    }
                    PartContent::Basic | PartContent::Multipart(_) => {}
                }
                if self.extended {
                    self.nstring(part.fields.md5.as_deref());
                    self.extension(&part.fields);
                }
            }
        }
        self.out.push(b')');
    }

    /// Type, subtype and `body-fields`.
    fn single(&mut self, part: &BodyPart) {
        let fields = &part.fields;
        self.string(fields.media_type.as_bytes());
        self.out.push(b' ');
        self.string(fields.media_subtype.as_bytes());
        self.out.push(b' ');
        self.parameters(&fields.parameters);
        self.nstring(fields.id.as_deref());
        self.nstring(fields.description.as_deref());
        self.out.push(b' ');
        self.string(fields.encoding.as_bytes());
        self.number(u64::from(part.body_end.saturating_sub(part.body_start)));
    }

    /// Disposition, language and location, each after a space.
    fn extension(&mut self, fields: &PartFields) {
        match &fields.disposition {
            Some((kind, parameters)) => {
                self.out.extend_from_slice(b" (");
                self.string(kind.as_bytes());
                self.out.push(b' ');
                self.parameters(parameters);
                self.out.push(b')');
            }
            None => self.out.extend_from_slice(b" NIL"),
        }
        if fields.language.is_empty() {
            self.out.extend_from_slice(b" NIL");
        } else {
            self.out.extend_from_slice(b" (");
            for (index, language) in fields.language.iter().enumerate() {
                if index > 0 {
                    self.out.push(b' ');
                }
                self.string(language.as_bytes());
            }
            self.out.push(b')');
        }
        self.nstring(fields.location.as_deref());
    }

    fn parameters(&mut self, parameters: &[(Box<str>, Box<[u8]>)]) {
        if parameters.is_empty() {
            return self.out.extend_from_slice(b"NIL");
        }
        let mut separator = b'(';
        for (name, value) in parameters {
            self.out.push(separator);
            self.string(name.as_bytes());
            self.out.push(b' ');
            self.string(value);
            separator = b' ';
        }
        self.out.push(b')');
    }

    fn opaque(&mut self, part: &BodyPart) {
        self.out
            .extend_from_slice(b"(\"APPLICATION\" \"OCTET-STREAM\" NIL NIL NIL \"BINARY\"");
        self.number(u64::from(part.body_end.saturating_sub(part.body_start)));
        self.out.push(b')');
    }

    fn string(&mut self, bytes: &[u8]) {
        push_string(self.out, bytes, self.utf8);
    }

    fn nstring(&mut self, bytes: Option<&[u8]>) {
        self.out.push(b' ');
        push_nstring(self.out, bytes, self.utf8);
    }

    fn number(&mut self, number: u64) {
        self.out.push(b' ');
        push_number(self.out, number);
    }
}

#[cfg(test)]
mod tests {
    use mailrook_types::{MultipartBody, TextPart};

    use super::*;

    fn bytes(text: &str) -> Box<[u8]> {
        text.as_bytes().into()
    }

    fn part(kind: &str, subtype: &str, content: PartContent) -> BodyPart {
        let fields = PartFields {
            media_type: kind.into(),
            media_subtype: subtype.into(),
            encoding: "7BIT".into(),
            ..PartFields::default()
        };
        BodyPart {
            header_start: 0,
            body_start: 100,
            body_end: 1252,
            fields,
            content,
        }
    }

    fn text_part() -> BodyPart {
        let mut text = part("TEXT", "PLAIN", PartContent::Text(TextPart { lines: 23 }));
        text.fields.parameters = vec![("CHARSET".into(), bytes("US-ASCII"))];
        text
    }

    fn printed(part: &BodyPart, extended: bool) -> String {
        let mut out = Vec::new();
        push_body(&mut out, part, false, extended);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn prints_an_envelope() {
        let terry = EnvelopeAddress {
            name: Some(bytes("Terry Gray")),
            mailbox: Some(bytes("gray")),
            host: Some(bytes("cac.washington.example")),
        };
        let group = EnvelopeAddress {
            mailbox: Some(bytes("undisclosed")),
            ..Default::default()
        };
        let envelope = Envelope {
            date: Some(bytes("Wed, 17 Jul 1996 02:23:25 -0700")),
            subject: Some(bytes("Grüße")),
            from: vec![terry],
            to: vec![group, EnvelopeAddress::default()],
            message_id: Some(bytes("<B27397@example.test>")),
            ..Default::default()
        };
        let mut out = Vec::new();
        push_envelope(&mut out, &envelope, true);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "(\"Wed, 17 Jul 1996 02:23:25 -0700\" \"Grüße\" \
             ((\"Terry Gray\" NIL \"gray\" \"cac.washington.example\")) NIL NIL \
             ((NIL NIL \"undisclosed\" NIL)(NIL NIL NIL NIL)) NIL NIL NIL \"<B27397@example.test>\")"
        );
    }

    #[test]
    fn prints_single_parts() {
        let text = text_part();
        let short = "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 1152 23";
        assert_eq!(printed(&text, false), format!("{short})"));
        assert_eq!(printed(&text, true), format!("{short} NIL NIL NIL NIL)"));
        let mut image = part("IMAGE", "PNG", PartContent::Basic);
        image.fields.disposition = Some((
            "attachment".into(),
            vec![("filename".into(), bytes("a.png"))],
        ));
        image.fields.language = vec!["en".into(), "de".into()];
        assert_eq!(
            printed(&image, true),
            "(\"IMAGE\" \"PNG\" NIL NIL NIL \"7BIT\" 1152 NIL \
             (\"attachment\" (\"filename\" \"a.png\")) (\"en\" \"de\") NIL)"
        );
    }

    #[test]
    fn prints_parts_in_parts() {
        let message = PartContent::Message {
            envelope: Box::default(),
            body: Box::new(text_part()),
            lines: 5,
        };
        let parts = vec![text_part(), part("MESSAGE", "RFC822", message)];
        let mixed = part(
            "MULTIPART",
            "MIXED",
            PartContent::Multipart(MultipartBody { parts }),
        );
        assert_eq!(
            printed(&mixed, false),
            "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 1152 23)\
             (\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 1152 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) \
             (\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 1152 23) 5) \"MIXED\")"
        );
        assert!(printed(&mixed, true).ends_with(" \"MIXED\" NIL NIL NIL NIL)"));
    }

    #[test]
    fn ends_at_a_depth() {
        let mut deep = text_part();
        for _ in 0..1000 {
            let parts = vec![deep];
            deep = part(
                "MULTIPART",
                "MIXED",
                PartContent::Multipart(MultipartBody { parts }),
            );
        }
        let text = printed(&deep, true);
        assert_eq!(text.matches("OCTET-STREAM").count(), 1);
        assert_eq!(text.matches('(').count(), text.matches(')').count());
    }
}
