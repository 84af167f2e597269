//! Prints a server's responses.
//!
//! A [`Writer`] appends to a buffer of the caller's and never sends. What it prints is one line each, apart
//! from literals; nothing that comes from a message or a client can end a line or a quoted string early.

mod fetch;
mod mailbox;
mod primitive;
mod status;
mod structure;

use mailrook_types::{ModSeq, SystemFlags, UidSet};

pub use self::fetch::FetchWriter;
#[cfg(test)]
pub(crate) use self::fetch::{push_part, push_section};
use self::primitive::{push_flags, push_set, push_string};
pub(crate) use self::primitive::{push_number, push_text};
use crate::{command::Tag, response::Esearch};

/// Prints responses into a buffer.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
    /// Whether the session enabled IMAP4rev2, so that strings and names go out as UTF-8.
    utf8: bool,
}

impl<'b> Writer<'b> {
    /// Prints into `out`, with names in modified UTF-7 and quoted strings in ASCII unless `utf8` is set
    /// (RFC 9051 §6.3.1: what ENABLE IMAP4rev2 changes).
    pub fn new(out: &'b mut Vec<u8>, utf8: bool) -> Writer<'b> {
        Writer { out, utf8 }
    }

    /// The buffer, to append to or to empty between two responses.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// `* CAPABILITY …`: the names parted by spaces.
    pub fn capability(&mut self, capabilities: &str) {
        self.line(&[b"* CAPABILITY ", capabilities.as_bytes()]);
    }

    /// `* ENABLED …`
    pub fn enabled<'a>(&mut self, capabilities: impl IntoIterator<Item = &'a str>) {
        self.out.extend_from_slice(b"* ENABLED");
        for capability in capabilities {
            self.out.push(b' ');
            self.out.extend_from_slice(capability.as_bytes());
        }
        self.end_line();
    }

    /// `* ID …` (RFC 2971); `NIL` without fields. A field without a value is `NIL`.
    pub fn id<'a>(&mut self, fields: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) {
        self.out.extend_from_slice(b"* ID ");
        let mut separator = b'(';
        for (name, value) in fields {
            self.out.push(separator);
            push_string(self.out, name.as_bytes(), self.utf8);
            self.out.push(b' ');
            match value {
                Some(value) => push_string(self.out, value.as_bytes(), self.utf8),
                None => self.out.extend_from_slice(b"NIL"),
            }
            separator = b' ';
        }
        self.out
            .extend_from_slice(if separator == b'(' { b"NIL" } else { b")" });
        self.end_line();
    }

    /// `* n EXISTS`
    pub fn exists(&mut self, messages: u32) {
        self.numbered(messages, b" EXISTS\r\n");
    }

    /// `* n RECENT` (RFC 3501 §7.3.2)
    pub fn recent(&mut self, messages: u32) {
        self.numbered(messages, b" RECENT\r\n");
    }

    /// `* n EXPUNGE`, by sequence number. Those behind it move up by one.
    pub fn expunge(&mut self, sequence: u32) {
        self.numbered(sequence, b" EXPUNGE\r\n");
    }

    /// `* VANISHED …` (RFC 7162 §3.2.10); `earlier` for what was expunged before the mailbox was selected or
    /// fetched. Prints nothing for the empty set, which the grammar does not have.
    pub fn vanished(&mut self, earlier: bool, uids: &UidSet) {
        if uids.is_empty() {
            return;
        }
        self.out.extend_from_slice(b"* VANISHED ");
        if earlier {
            self.out.extend_from_slice(b"(EARLIER) ");
        }
        push_set(self.out, uids);
        self.end_line();
    }

    /// `* FLAGS (…)`: the flags in use in the mailbox.
    pub fn flags<'a>(&mut self, system: SystemFlags, keywords: impl IntoIterator<Item = &'a str>) {
        self.out.extend_from_slice(b"* FLAGS ");
        push_flags(self.out, system, false, keywords);
        self.end_line();
    }

    /// `* SEARCH …`, with the highest MODSEQ where a key asked for one (RFC 7162 §3.1.5).
    pub fn search(&mut self, numbers: impl IntoIterator<Item = u32>, mod_seq: Option<ModSeq>) {
        self.out.extend_from_slice(b"* SEARCH");
        for number in numbers {
            self.out.push(b' ');
            push_number(self.out, u64::from(number));
        }
        if let Some(mod_seq) = mod_seq {
            self.out.extend_from_slice(b" (MODSEQ ");
            push_number(self.out, mod_seq.0);
            self.out.push(b')');
        }
        self.end_line();
    }

    /// `* ESEARCH (TAG …) …`, for the command of this tag.
    pub fn esearch(&mut self, tag: &Tag, result: &Esearch) {
        self.out.extend_from_slice(b"* ESEARCH (TAG ");
        push_string(self.out, tag.as_str().as_bytes(), false);
        self.out.push(b')');
        if result.by_uid {
            self.out.extend_from_slice(b" UID");
        }
        self.item(b" MIN ", result.min.map(u64::from));
        self.item(b" MAX ", result.max.map(u64::from));
        self.item(b" COUNT ", result.count.map(u64::from));
        if let Some(all) = result.all.as_ref().filter(|all| !all.is_empty()) {
            self.out.extend_from_slice(b" ALL ");
            push_set(self.out, all);
        }
        self.item(b" MODSEQ ", result.mod_seq.map(|mod_seq| mod_seq.0));
        self.end_line();
    }

    /// `* n FETCH (…`: the items follow through the writer returned.
    pub fn fetch(&mut self, sequence: u32) -> FetchWriter<'_> {
        FetchWriter::begin(self.out, self.utf8, sequence)
    }

    fn item(&mut self, name: &[u8], value: Option<u64>) {
        if let Some(value) = value {
            self.out.extend_from_slice(name);
            push_number(self.out, value);
        }
    }

    fn numbered(&mut self, number: u32, rest: &[u8]) {
        self.out.extend_from_slice(b"* ");
        push_number(self.out, u64::from(number));
        self.out.extend_from_slice(rest);
    }

    fn line(&mut self, parts: &[&[u8]]) {
        parts
            .iter()
            .for_each(|part| self.out.extend_from_slice(part));
        self.end_line();
    }

    fn end_line(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use mailrook_types::Uid;

    use super::*;

    pub(crate) fn printed(utf8: bool, print: impl FnOnce(&mut Writer<'_>)) -> String {
        let mut out = Vec::new();
        print(&mut Writer::new(&mut out, utf8));
        String::from_utf8(out).unwrap()
    }

    fn set(uids: &[u32]) -> UidSet {
        uids.iter().filter_map(|uid| Uid::new(*uid)).collect()
    }

    #[test]
    fn tells_of_the_mailbox() {
        let seen = printed(false, |w| {
            w.capability("IMAP4rev1 IMAP4rev2");
            w.enabled(["CONDSTORE", "QRESYNC"]);
            w.exists(23);
            w.recent(0);
            w.expunge(4_294_967_295);
            w.vanished(true, &set(&[1, 2, 3, 9]));
            w.vanished(false, &set(&[7]));
            w.vanished(false, &set(&[]));
            w.flags(SystemFlags::SEEN | SystemFlags::DRAFT, ["$Junk"]);
        });
        let lines = [
            "* CAPABILITY IMAP4rev1 IMAP4rev2",
            "* ENABLED CONDSTORE QRESYNC",
            "* 23 EXISTS",
            "* 0 RECENT",
            "* 4294967295 EXPUNGE",
            "* VANISHED (EARLIER) 1:3,9",
            "* VANISHED 7",
            "* FLAGS (\\Seen \\Draft $Junk)",
            "",
        ];
        assert_eq!(seen, lines.join("\r\n"));
    }

    #[test]
    fn tells_search_results() {
        let tag = Tag::parse(b"A\\28").or(Tag::parse(b"A28")).unwrap();
        let seen = printed(false, |w| {
            w.search([2, 84, 882], None);
            w.search([], None);
            w.search([2], Some(ModSeq(917_162_500)));
            w.esearch(&tag, &Esearch::default());
            w.esearch(
                &tag,
                &Esearch {
                    by_uid: true,
                    all: Some(set(&[])),
                    ..Esearch::default()
                },
            );
            let all = Esearch {
                min: Some(2),
                max: Some(47),
                count: Some(3),
                all: Some(set(&[2, 10, 11])),
                mod_seq: Some(ModSeq(5)),
                by_uid: false,
            };
            w.esearch(&tag, &all);
        });
        let lines = [
            "* SEARCH 2 84 882",
            "* SEARCH",
            "* SEARCH 2 (MODSEQ 917162500)",
            "* ESEARCH (TAG \"A28\")",
            "* ESEARCH (TAG \"A28\") UID",
            "* ESEARCH (TAG \"A28\") MIN 2 MAX 47 COUNT 3 ALL 2,10:11 MODSEQ 5",
            "",
        ];
        assert_eq!(seen, lines.join("\r\n"));
    }

    #[test]
    fn tells_who_it_is() {
        let seen = printed(false, |w| {
            w.id([("name", Some("Mailrook \"1\"")), ("os", None)]);
            w.id([]);
        });
        assert_eq!(
            seen,
            "* ID (\"name\" \"Mailrook \\\"1\\\"\" \"os\" NIL)\r\n* ID NIL\r\n"
        );
    }
}
