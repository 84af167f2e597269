//! Message ids (RFC 5322 §3.6.4) in one form, for threading (RFC 5256 §3, `REFERENCES`).

use crate::{
    header::fields,
    limits::{MESSAGE_ID_BYTES_MAX, REFERENCES_MAX},
    part_header::examined,
    token::Cursor,
};

/// What threading needs of a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Threading {
    /// The message's own id.
    pub message_id: Option<Box<[u8]>>,
    /// Its ancestors, the eldest first: `References`, or where it has none the first id of `In-Reply-To`.
    pub references: Vec<Box<[u8]>>,
}

/// Reads the ids of a header. At most [`REFERENCES_MAX`] ancestors: the eldest, and the nearest.
pub fn threading(header: &[u8]) -> Threading {
    let mut threading = Threading::default();
    let mut in_reply_to = None;
    for field in fields(examined(header)) {
        match field.name.len() {
            10 if field.is("Message-ID") && threading.message_id.is_none() => {
                threading.message_id = MessageIds::new(field.value).next();
            }
            10 if field.is("References") && threading.references.is_empty() => {
                threading.references = bounded(MessageIds::new(field.value));
            }
            11 if field.is("In-Reply-To") && in_reply_to.is_none() => {
                in_reply_to = MessageIds::new(field.value).next();
            }
            _ => {}
        }
    }
    if threading.references.is_empty() {
        threading.references.extend(in_reply_to);
    }
    threading
}

/// The ancestors alone, as [`threading`] finds them.
pub fn references(header: &[u8]) -> Vec<Box<[u8]>> {
    threading(header).references
}

/// The first id, which names the thread, and the last ones.
fn bounded(ids: impl Iterator<Item = Box<[u8]>>) -> Vec<Box<[u8]>> {
    let mut kept = std::collections::VecDeque::new();
    let mut first = None;
    for id in ids {
        if first.is_none() {
            first = Some(id);
            continue;
        }
        if kept.len() == REFERENCES_MAX - 1 {
            kept.pop_front();
        }
        kept.push_back(id);
    }
    first.into_iter().chain(kept).collect()
}

/// The ids of a field, without brackets, comments and folding, quoted local parts without their quotes
/// (RFC 5256 §3: `<"foo"@bar>` and `<foo@bar>` are one).
struct MessageIds<'a> {
    cursor: Cursor<'a>,
}

impl<'a> MessageIds<'a> {
    fn new(value: &'a [u8]) -> Self {
        MessageIds {
            cursor: Cursor::new(value),
        }
    }
}

impl Iterator for MessageIds<'_> {
    type Item = Box<[u8]>;

    fn next(&mut self) -> Option<Box<[u8]>> {
        loop {
            self.cursor.skip_to(|byte| byte == b'<');
            if !self.cursor.eat(b'<') {
                return None;
            }
            let mut id = Vec::new();
            loop {
                self.cursor.skip_cfws();
                match self.cursor.peek() {
                    None | Some(b'<' | b'>') => break,
                    Some(b'"') => self.cursor.quoted_string(&mut id),
                    Some(_) => {
                        let end = |byte| {
                            matches!(
                                byte,
                                b'<' | b'>' | b'"' | b'(' | b' ' | b'\t' | b'\r' | b'\n' | 0
                            )
                        };
                        id.extend_from_slice(self.cursor.take_until(end));
                    }
                }
            }
            if self.cursor.eat(b'>') && !id.is_empty() && id.len() <= MESSAGE_ID_BYTES_MAX {
                return Some(id.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_one_form() {
        let header = b"Message-ID: <\"a b\"@x> (comment)\r\nIn-Reply-To: Your message of <1@y>\r\nReferences: <1@y>\r\n\t<2 @(c)z> <> <broken <3@z>\r\n\r\n";
        let read = threading(header);
        assert_eq!(read.message_id.as_deref(), Some(&b"a b@x"[..]));
        assert_eq!(
            read.references,
            [b"1@y"[..].into(), b"2@z"[..].into(), Box::from(&b"3@z"[..])]
        );
        assert_eq!(
            references(b"In-Reply-To: <1@y> <2@y>\n"),
            [Box::from(&b"1@y"[..])]
        );
    }

    #[test]
    fn the_first_and_the_last_are_kept() {
        let ids: String = (0..10_000).map(|n| format!(" <{n}@x>")).collect();
        let kept = references(format!("References:{ids}\r\n").as_bytes());
        assert_eq!(kept.len(), REFERENCES_MAX);
        assert_eq!(
            (&*kept[0], &*kept[1], &*kept[49]),
            (&b"0@x"[..], &b"9951@x"[..], &b"9999@x"[..])
        );
    }
}
