//! Status responses and continuations (RFC 9051 §7.1, §7.6).

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Writer,
    primitive::{push_flags, push_number, push_set, push_text},
};
use crate::{
    command::Tag,
    error::ParseError,
    response::{Code, Status},
};

impl Writer<'_> {
    /// `tag OK [CODE] text`: the end of a command.
    pub fn tagged(&mut self, tag: &Tag, status: Status, code: Option<&Code>, text: &str) {
        self.out.extend_from_slice(tag.as_str().as_bytes());
        self.status(status, code, text);
    }

    /// `* OK [CODE] text`
    pub fn untagged(&mut self, status: Status, code: Option<&Code>, text: &str) {
        self.out.push(b'*');
        self.status(status, code, text);
    }

    /// The answer to what was no command, tagged where the tag could be read.
    pub fn parse_error(&mut self, tag: Option<&Tag>, error: &ParseError) {
        let text = error.to_string();
        match tag {
            Some(tag) => self.tagged(tag, error.status(), error.code().as_ref(), &text),
            // Without a tag a NO would be a mere warning; BAD tells that a command was not understood.
            None => self.untagged(Status::Bad, error.code().as_ref(), &text),
        }
    }

    /// `+ text`: go on with the literal, or IDLE has begun.
    pub fn continuation(&mut self, text: &str) {
        self.out.extend_from_slice(b"+ ");
        push_text(self.out, text, self.utf8);
        self.end_line();
    }

    /// `+ base64`: a SASL challenge, which may be empty.
    pub fn challenge(&mut self, challenge: &[u8]) {
        self.out.extend_from_slice(b"+ ");
        self.out
            .extend_from_slice(STANDARD.encode(challenge).as_bytes());
        self.end_line();
    }

    fn status(&mut self, status: Status, code: Option<&Code>, text: &str) {
        self.out.push(b' ');
        self.out.extend_from_slice(status.as_str().as_bytes());
        self.out.push(b' ');
        if let Some(code) = code {
            self.code(code);
        }
        push_text(self.out, text, self.utf8);
        self.end_line();
    }

    /// The code in its brackets and a space; nothing for a set without members, which the grammar lacks.
    fn code(&mut self, code: &Code) {
        let empty = match code {
            Code::AppendUid(_, set) | Code::Modified(set) => set.is_empty(),
            Code::CopyUid(_, source, destination) => source.is_empty() || destination.is_empty(),
            _ => false,
        };
        if empty {
            return;
        }
        self.out.push(b'[');
        self.out.extend_from_slice(code.name().as_bytes());
        self.code_arguments(code);
        self.out.extend_from_slice(b"] ");
    }

    fn code_arguments(&mut self, code: &Code) {
        let out = &mut *self.out;
        match code {
            Code::AppendUid(validity, set) => {
                push_argument(out, u64::from(validity.get()));
                out.push(b' ');
                push_set(out, set);
            }
            Code::CopyUid(validity, source, destination) => {
                push_argument(out, u64::from(validity.get()));
                out.push(b' ');
                push_set(out, source);
                out.push(b' ');
                push_set(out, destination);
            }
            Code::Modified(set) => {
                out.push(b' ');
                push_set(out, set);
            }
            Code::BadCharset => out.extend_from_slice(b" (US-ASCII UTF-8)"),
            Code::Capability(capabilities) => {
                out.push(b' ');
                push_text(out, capabilities, false);
            }
            Code::HighestModSeq(mod_seq) => push_argument(out, mod_seq.0),
            Code::MailboxId(id) => out.extend_from_slice(format!(" ({id})").as_bytes()),
            Code::PermanentFlags {
                flags,
                new_keywords,
            } => {
                out.push(b' ');
                let keywords = flags.keywords.iter().map(|keyword| keyword.as_str());
                push_flags(
                    out,
                    flags.system,
                    false,
                    keywords.chain(new_keywords.then_some("\\*")),
                );
            }
            Code::UidNext(number) | Code::Unseen(number) => push_argument(out, u64::from(*number)),
            Code::UidValidity(validity) => push_argument(out, u64::from(validity.get())),
            _ => {}
        }
    }
}

fn push_argument(out: &mut Vec<u8>, number: u64) {
    out.push(b' ');
    push_number(out, number);
}

#[cfg(test)]
mod tests {
    use mailrook_types::{Flags, MailboxId, ModSeq, SystemFlags, Uid, UidSet, UidValidity};

    use super::*;
    use crate::writer::tests::printed;

    fn set(uids: &[u32]) -> UidSet {
        uids.iter().filter_map(|uid| Uid::new(*uid)).collect()
    }

    #[test]
    fn prints_every_code_with_arguments() {
        let validity = UidValidity::new(38505).unwrap();
        for (code, wire) in [
            (
                Code::AppendUid(validity, set(&[3955])),
                "[APPENDUID 38505 3955] ",
            ),
            (Code::AppendUid(validity, set(&[])), ""),
            (
                Code::CopyUid(validity, set(&[304, 319, 320]), set(&[3956, 3957, 3958])),
                "[COPYUID 38505 304,319:320 3956:3958] ",
            ),
            (Code::Modified(set(&[7, 9])), "[MODIFIED 7,9] "),
            (Code::BadCharset, "[BADCHARSET (US-ASCII UTF-8)] "),
            (
                Code::Capability("IMAP4rev2 IDLE".into()),
                "[CAPABILITY IMAP4rev2 IDLE] ",
            ),
            (
                Code::HighestModSeq(ModSeq(715_194_045_007)),
                "[HIGHESTMODSEQ 715194045007] ",
            ),
            (Code::MailboxId(MailboxId(12)), "[MAILBOXID (m12)] "),
            (
                Code::PermanentFlags {
                    flags: Flags::system(SystemFlags::SEEN),
                    new_keywords: true,
                },
                "[PERMANENTFLAGS (\\Seen \\*)] ",
            ),
            (
                Code::PermanentFlags {
                    flags: Flags::default(),
                    new_keywords: false,
                },
                "[PERMANENTFLAGS ()] ",
            ),
            (Code::UidNext(4392), "[UIDNEXT 4392] "),
            (Code::Unseen(17), "[UNSEEN 17] "),
            (Code::UidValidity(validity), "[UIDVALIDITY 38505] "),
            (Code::ReadOnly, "[READ-ONLY] "),
            (Code::UnknownCte, "[UNKNOWN-CTE] "),
        ] {
            let line = printed(false, |w| w.untagged(Status::Ok, Some(&code), "done"));
            assert_eq!(line, format!("* OK {wire}done\r\n"));
        }
    }

    #[test]
    fn answers_what_was_no_command() {
        let tag = Tag::parse(b"a1").unwrap();
        let line = printed(false, |w| {
            w.parse_error(Some(&tag), &ParseError::UnknownCommand);
            w.parse_error(Some(&tag), &ParseError::LiteralTooLarge(8192));
            w.parse_error(None, &ParseError::NoTag);
        });
        let lines: Vec<&str> = line.split("\r\n").collect();
        assert_eq!(lines[0], "a1 BAD unknown command");
        assert_eq!(
            lines[1],
            "a1 NO [TOOBIG] a literal here may have at most 8192 bytes"
        );
        assert!(lines[2].starts_with("* BAD a command starts with a tag"));
    }

    #[test]
    fn asks_to_go_on() {
        let line = printed(false, |w| {
            w.continuation("OK");
            w.challenge(b"");
            w.challenge(b"r=abc");
        });
        assert_eq!(line, "+ OK\r\n+ \r\n+ cj1hYmM=\r\n");
    }
}
