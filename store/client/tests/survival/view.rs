//! What a client believes to be in its mailbox, by the responses alone.

use std::ops::RangeInclusive;

/// A message as a client knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub uid: Option<u32>,
    /// In their alphabet's order.
    pub flags: Option<Vec<String>>,
}

/// The messages, by sequence number.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub messages: Vec<Known>,
}

impl View {
    /// The UIDs, as far as they are known.
    pub fn uids(&self) -> Vec<u32> {
        self.messages.iter().filter_map(|known| known.uid).collect()
    }

    /// Where something is to be asked for.
    pub fn is_incomplete(&self) -> bool {
        let unknown = |known: &Known| known.uid.is_none() || known.flags.is_none();
        self.messages.iter().any(unknown)
    }

    /// Has flags asked for again: what `.SILENT` does a client is not told.
    pub fn forget_flags(&mut self) {
        self.messages
            .iter_mut()
            .for_each(|known| known.flags = None);
    }

    /// Takes an untagged response in.
    ///
    /// # Errors
    /// It contradicts what was said before.
    pub fn hear(&mut self, line: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(line);
        let taken = self.take_in(line, &text);
        taken.ok_or_else(|| format!("{text:?} does not fit {:?}", self.messages))
    }

    fn take_in(&mut self, line: &[u8], text: &str) -> Option<()> {
        let mut words = text.split(' ').skip(1);
        let (Some(first), second) = (words.next(), words.next()) else {
            return Some(());
        };
        match (first.parse::<usize>(), second) {
            (Ok(count), Some("EXISTS")) => {
                if count < self.messages.len() {
                    return None;
                }
                self.messages.resize(count, Known::default());
            }
            (Ok(sequence), Some("EXPUNGE")) => {
                self.messages.get(sequence.checked_sub(1)?)?;
                self.messages.remove(sequence - 1);
            }
            (Ok(sequence), Some("FETCH")) => {
                let known = self.messages.get_mut(sequence.checked_sub(1)?)?;
                for (name, value) in fetch_items(line) {
                    match name.as_str() {
                        "UID" => {
                            let uid = value.parse().ok()?;
                            if known.uid.replace(uid).is_some_and(|before| before != uid) {
                                return None;
                            }
                        }
                        "FLAGS" => known.flags = Some(flags(&value)),
                        _ => {}
                    }
                }
            }
            (Err(_), Some(set)) if first == "VANISHED" && set != "(EARLIER)" => {
                for uid in ranges(set).flatten() {
                    self.vanish(uid)?;
                }
            }
            _ => {}
        }
        Some(())
    }

    /// RFC 7162 §3.2.10: by UID. One whose UID was never asked for stands behind all smaller ones.
    fn vanish(&mut self, uid: u32) -> Option<()> {
        let known = self
            .messages
            .iter()
            .position(|known| known.uid == Some(uid));
        let smaller = |known: &Known| known.uid.is_some_and(|known| known < uid);
        let behind = self
            .messages
            .iter()
            .rposition(smaller)
            .map_or(0, |at| at + 1);
        let at = known.unwrap_or(behind);
        if known.is_none() && self.messages.get(at)?.uid.is_some() {
            return None;
        }
        self.messages.remove(at);
        Some(())
    }
}

fn ranges(set: &str) -> impl Iterator<Item = RangeInclusive<u32>> {
    set.split(',').filter_map(|range| {
        let (from, to) = range.split_once(':').unwrap_or((range, range));
        Some(from.parse().ok()?..=to.parse().ok()?)
    })
}

fn flags(list: &str) -> Vec<String> {
    let list = list.trim_start_matches('(').trim_end_matches(')');
    let mut flags: Vec<String> = list.split(' ').map(str::to_owned).collect();
    flags.retain(|flag| !flag.is_empty());
    flags.sort();
    flags
}

/// The items of a FETCH response: names and values as they stand there.
pub fn fetch_items(line: &[u8]) -> Vec<(String, String)> {
    let open = line.iter().position(|byte| *byte == b'(');
    let inner = open.map_or(&[][..], |open| &line[open + 1..line.len() - 1]);
    let mut tokens: Vec<String> = Vec::new();
    let mut at = 0;
    while at < inner.len() {
        let end = at + token_len(&inner[at..]);
        tokens.push(String::from_utf8_lossy(&inner[at..end]).into_owned());
        // The space behind it.
        at = end + 1;
    }
    let pairs = tokens.chunks_exact(2);
    pairs
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect()
}

/// Up to the space that ends it, which stands within no parentheses, brackets, quotes or literal.
fn token_len(bytes: &[u8]) -> usize {
    let (mut depth, mut at, mut quoted) = (0_i32, 0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' => at += literal_len(&bytes[at..]),
            b' ' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// What follows the brace of a literal that stands whole: its length, the line's end and its bytes.
fn literal_len(bytes: &[u8]) -> usize {
    let digits = bytes[1..].iter().take_while(|byte| byte.is_ascii_digit());
    let digits = digits.count();
    let number = std::str::from_utf8(&bytes[1..=digits]).ok();
    let len = number.and_then(|number| number.parse::<usize>().ok());
    // `{`, digits, `}`, CR, LF, then the bytes; the caller steps over one of them.
    len.map_or(0, |len| digits + 3 + len)
}

/// Whether a response tells what happened in the mailbox, and may stand elsewhere as well (RFC 9051 §5.2, §7.5).
pub fn is_news(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let words: Vec<&str> = text.splitn(4, ' ').collect();
    match words.as_slice() {
        ["*", _, "EXISTS" | "EXPUNGE" | "RECENT"] => true,
        ["*", "FLAGS", ..] => true,
        ["*", "VANISHED", set, ..] => *set != "(EARLIER)",
        ["*", _, "FETCH", _] => {
            let items = fetch_items(line);
            items
                .iter()
                .all(|(name, _)| matches!(name.as_str(), "UID" | "FLAGS" | "MODSEQ"))
        }
        _ => false,
    }
}

#[test]
fn what_is_fetched_is_told_from_what_it_contains() {
    let line = b"* 3 FETCH (UID 7 BODY[HEADER.FIELDS (A B)] {12}\r\nUID 9 FLAGS( FLAGS (\\Seen a) ENVELOPE (\"UID 3 \\\" (\" NIL))";
    let items = fetch_items(line);
    let names: Vec<&str> = items.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["UID", "BODY[HEADER.FIELDS (A B)]", "FLAGS", "ENVELOPE"]
    );
    assert_eq!(
        (items[0].1.as_str(), items[2].1.as_str()),
        ("7", "(\\Seen a)")
    );
    assert!(!is_news(line) && is_news(b"* 3 FETCH (UID 7 FLAGS ())"));
    let mut view = View::default();
    view.hear(b"* 3 EXISTS").unwrap();
    view.hear(line).unwrap();
    assert_eq!(view.messages[2].flags.as_ref().unwrap(), &["\\Seen", "a"]);
    view.hear(b"* VANISHED 3,7").unwrap();
    assert_eq!(view.messages, [Known::default()]);
    assert!(view.hear(b"* 2 EXPUNGE").is_err());
}
