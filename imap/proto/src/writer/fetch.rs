//! FETCH responses (RFC 9051 §7.5.2).

use std::num::NonZeroU32;

use mailrook_types::{
    BodyPart, Envelope, MessageId, ModSeq, SystemFlags, ThreadId, Timestamp, Uid,
};

use super::{
    primitive::{push_astring, push_flags, push_literal_head, push_number},
    structure::{push_body, push_envelope},
};
use crate::command::{Date, Section, SectionText};

/// Prints the items of one FETCH response; [`FetchWriter::finish`] ends it.
///
/// Where an item is a literal, the writer prints its head and the caller appends exactly as many bytes through
/// [`FetchWriter::buffer`], which it may send and empty as often as it likes meanwhile.
#[derive(Debug)]
#[must_use = "the response must be finished"]
pub struct FetchWriter<'b> {
    out: &'b mut Vec<u8>,
    utf8: bool,
    /// Whether an item was printed, so that the next one needs a space before it.
    any: bool,
}

impl<'b> FetchWriter<'b> {
    #[inline]
    pub(super) fn begin(out: &'b mut Vec<u8>, utf8: bool, sequence: u32) -> FetchWriter<'b> {
        out.extend_from_slice(b"* ");
        push_number(out, u64::from(sequence));
        out.extend_from_slice(b" FETCH (");
        FetchWriter {
            out,
            utf8,
            any: false,
        }
    }

    /// The buffer, for the bytes of a literal.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Ends the response.
    #[inline]
    pub fn finish(self) {
        self.out.extend_from_slice(b")\r\n");
    }

    /// `FLAGS (…)`; `recent` adds `\Recent`.
    #[inline]
    pub fn flags<'a>(
        &mut self,
        system: SystemFlags,
        recent: bool,
        keywords: impl IntoIterator<Item = &'a str>,
    ) {
        self.name(b"FLAGS ");
        push_flags(self.out, system, recent, keywords);
    }

    /// `UID n`
    #[inline]
    pub fn uid(&mut self, uid: Uid) {
        self.name(b"UID ");
        push_number(self.out, u64::from(uid.get()));
    }

    /// `MODSEQ (n)`
    #[inline]
    pub fn mod_seq(&mut self, mod_seq: ModSeq) {
        self.name(b"MODSEQ (");
        push_number(self.out, mod_seq.0);
        self.out.push(b')');
    }

    /// `RFC822.SIZE n`
    pub fn size(&mut self, bytes: u64) {
        self.name(b"RFC822.SIZE ");
        push_number(self.out, bytes);
    }

    /// `INTERNALDATE "17-Jul-1996 02:44:25 +0000"`
    pub fn internal_date(&mut self, date: Timestamp) {
        self.name(b"INTERNALDATE \"");
        push_date_time(self.out, date);
        self.out.push(b'"');
    }

    /// `ENVELOPE (…)`
    pub fn envelope(&mut self, envelope: &Envelope) {
        self.name(b"ENVELOPE ");
        push_envelope(self.out, envelope, self.utf8);
    }

    /// `BODY (…)`: the structure without extension data.
    pub fn body(&mut self, root: &BodyPart) {
        self.name(b"BODY ");
        push_body(self.out, root, self.utf8, false);
    }

    /// `BODYSTRUCTURE (…)`
    pub fn body_structure(&mut self, root: &BodyPart) {
        self.name(b"BODYSTRUCTURE ");
        push_body(self.out, root, self.utf8, true);
    }

    /// `EMAILID (…)`
    pub fn email_id(&mut self, id: MessageId) {
        self.name(b"EMAILID ");
        self.out.extend_from_slice(format!("({id})").as_bytes());
    }

    /// `THREADID (…)`, or `NIL` where threads are not known.
    pub fn thread_id(&mut self, id: Option<ThreadId>) {
        self.name(b"THREADID ");
        let text = id.map_or_else(|| "NIL".to_owned(), |id| format!("({id})"));
        self.out.extend_from_slice(text.as_bytes());
    }

    /// `BODY[section]<origin> {length}`: the caller appends `length` bytes.
    pub fn section(&mut self, section: &Section, origin: Option<u64>, length: u64) {
        self.section_name(section);
        self.origin(origin);
        self.out.push(b' ');
        push_literal_head(self.out, length);
    }

    /// `BODY[section]<origin> NIL`: there is no such part.
    pub fn section_nil(&mut self, section: &Section, origin: Option<u64>) {
        self.section_name(section);
        self.origin(origin);
        self.out.extend_from_slice(b" NIL");
    }

    /// `RFC822 {length}`: the caller appends `length` bytes, the whole message.
    pub fn rfc822(&mut self, length: u64) {
        self.name(b"RFC822 ");
        push_literal_head(self.out, length);
    }

    /// `RFC822.HEADER {length}`: the caller appends `length` bytes.
    pub fn rfc822_header(&mut self, length: u64) {
        self.name(b"RFC822.HEADER ");
        push_literal_head(self.out, length);
    }

    /// `RFC822.TEXT {length}`: the caller appends `length` bytes.
    pub fn rfc822_text(&mut self, length: u64) {
        self.name(b"RFC822.TEXT ");
        push_literal_head(self.out, length);
    }

    /// `BINARY[part]<origin> {length}`, or `~{length}` where the bytes hold a NUL: the caller appends them.
    pub fn binary(&mut self, part: &[NonZeroU32], origin: Option<u64>, length: u64, nul: bool) {
        self.name(b"BINARY[");
        push_part(self.out, part);
        self.out.push(b']');
        self.origin(origin);
        self.out.extend_from_slice(if nul { b" ~" } else { b" " });
        push_literal_head(self.out, length);
    }

    /// `BINARY[part]<origin> NIL`: there is no such part.
    pub fn binary_nil(&mut self, part: &[NonZeroU32], origin: Option<u64>) {
        self.name(b"BINARY[");
        push_part(self.out, part);
        self.out.push(b']');
        self.origin(origin);
        self.out.extend_from_slice(b" NIL");
    }

    /// `BINARY.SIZE[part] n`
    pub fn binary_size(&mut self, part: &[NonZeroU32], bytes: u64) {
        self.name(b"BINARY.SIZE[");
        push_part(self.out, part);
        self.out.extend_from_slice(b"] ");
        push_number(self.out, bytes);
    }

    #[inline]
    fn name(&mut self, name: &[u8]) {
        if self.any {
            self.out.push(b' ');
        }
        self.any = true;
        self.out.extend_from_slice(name);
    }

    fn origin(&mut self, origin: Option<u64>) {
        if let Some(origin) = origin {
            self.out.push(b'<');
            push_number(self.out, origin);
            self.out.push(b'>');
        }
    }

    fn section_name(&mut self, section: &Section) {
        self.name(b"BODY[");
        push_section(self.out, section);
        self.out.push(b']');
    }
}

/// What stands between the brackets of `BODY[…]`.
pub(crate) fn push_section(out: &mut Vec<u8>, section: &Section) {
    push_part(out, &section.part);
    if !section.part.is_empty() && section.text != SectionText::Full {
        out.push(b'.');
    }
    let (name, fields): (&[u8], &[String]) = match &section.text {
        SectionText::Full => (b"", &[]),
        SectionText::Header => (b"HEADER", &[]),
        SectionText::Text => (b"TEXT", &[]),
        SectionText::Mime => (b"MIME", &[]),
        SectionText::HeaderFields(fields) => (b"HEADER.FIELDS (", fields),
        SectionText::HeaderFieldsNot(fields) => (b"HEADER.FIELDS.NOT (", fields),
    };
    out.extend_from_slice(name);
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        push_astring(out, field.as_bytes(), false);
    }
    if name.ends_with(b"(") {
        out.push(b')');
    }
}

pub(crate) fn push_part(out: &mut Vec<u8>, part: &[NonZeroU32]) {
    for (index, number) in part.iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        push_number(out, u64::from(number.get()));
    }
}

/// RFC 9051 §9, `date-time` without its quotes: always in UTC, as the store keeps no zone.
pub(crate) fn push_date_time(out: &mut Vec<u8>, moment: Timestamp) {
    let seconds = moment.as_secs();
    let date = Date::from_days_since_epoch(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400) as u64;
    // RFC 9051 §9, `date-day-fixed`: a single digit has a space before it.
    if date.day() < 10 {
        out.push(b' ');
    }
    push_number(out, u64::from(date.day()));
    out.push(b'-');
    out.extend_from_slice(date.month_name().as_bytes());
    out.push(b'-');
    let year = u64::from(date.year());
    push_two_digits(out, year / 100);
    push_two_digits(out, year % 100);
    for (separator, value) in [
        (b' ', of_day / 3600),
        (b':', of_day / 60 % 60),
        (b':', of_day % 60),
    ] {
        out.push(separator);
        push_two_digits(out, value);
    }
    out.extend_from_slice(b" +0000");
}

fn push_two_digits(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&[b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::tests::printed;

    fn numbers(part: &[u32]) -> Vec<NonZeroU32> {
        part.iter().filter_map(|n| NonZeroU32::new(*n)).collect()
    }

    #[test]
    fn prints_what_needs_no_bytes() {
        let seen = printed(false, |w| {
            let mut fetch = w.fetch(12);
            fetch.flags(SystemFlags::SEEN, true, ["$Forwarded", "Work"]);
            fetch.uid(Uid::new(4827).unwrap());
            fetch.mod_seq(ModSeq(65_402));
            fetch.size(4286);
            fetch.internal_date(Timestamp::from_secs(837_571_465));
            fetch.email_id(MessageId(5));
            fetch.thread_id(Some(ThreadId(6)));
            fetch.thread_id(None);
            fetch.binary_size(&numbers(&[1, 2]), 7);
            fetch.finish();
        });
        assert_eq!(
            seen,
            "* 12 FETCH (FLAGS (\\Seen \\Recent $Forwarded Work) UID 4827 MODSEQ (65402) RFC822.SIZE 4286 \
             INTERNALDATE \"17-Jul-1996 02:44:25 +0000\" EMAILID (e5) THREADID (t6) THREADID NIL \
             BINARY.SIZE[1.2] 7)\r\n"
        );
    }

    #[test]
    fn prints_the_heads_of_literals() {
        let fields = vec!["Subject".to_owned(), "a b".to_owned()];
        let seen = printed(false, |w| {
            let mut fetch = w.fetch(1);
            fetch.section(&Section::default(), None, 3);
            fetch.buffer().extend_from_slice(b"a\r\n");
            let text = SectionText::HeaderFields(fields);
            fetch.section(
                &Section {
                    part: numbers(&[4, 1]),
                    text,
                },
                Some(0),
                2,
            );
            fetch.buffer().extend_from_slice(b"\r\n");
            fetch.section_nil(
                &Section {
                    part: numbers(&[9]),
                    text: SectionText::Mime,
                },
                None,
            );
            fetch.binary(&numbers(&[1]), Some(5), 1, true);
            fetch.buffer().extend_from_slice(b"\0");
            fetch.binary_nil(&[], None);
            fetch.rfc822(0);
            fetch.finish();
        });
        assert_eq!(
            seen,
            "* 1 FETCH (BODY[] {3}\r\na\r\n BODY[4.1.HEADER.FIELDS (Subject \"a b\")]<0> {2}\r\n\r\n \
             BODY[9.MIME] NIL BINARY[1]<5> ~{1}\r\n\0 BINARY[] NIL RFC822 {0}\r\n)\r\n"
        );
    }

    #[test]
    fn dates_have_a_fixed_width() {
        let date = |seconds| {
            let mut out = Vec::new();
            push_date_time(&mut out, Timestamp::from_secs(seconds));
            String::from_utf8(out).unwrap()
        };
        assert_eq!(date(0), " 1-Jan-1970 00:00:00 +0000");
        assert_eq!(date(-1), "31-Dec-1969 23:59:59 +0000");
        assert_eq!(date(i64::MAX / 1000).len(), 26);
        assert_eq!(date(i64::MIN / 1000).len(), 26);
    }
}
