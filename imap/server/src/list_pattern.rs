//! LIST's wildcards (RFC 9051 §6.3.9): `*` stands for anything, `%` for anything within a level.
//!
//! A pattern is carried over a name as a set of positions, one bit each: 64 positions a step, whatever the wildcards. A
//! pattern made to explode costs what any other of its length does.

use mailrook_types::MailboxName;

/// A pattern, ready to be compared with many names.
#[derive(Clone, Debug)]
pub(crate) struct ListPattern {
    tokens: Vec<Token>,
    /// How many of the tokens are literal: no shorter name can match.
    literals: usize,
    /// The class of each byte, from 1; 0 for those that are not in the pattern.
    classes: Box<[u8; 256]>,
    /// How many classes there are: different bytes in the pattern.
    class_count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// A byte, by its class.
    Byte(u8),
    /// `*`
    Anything,
    /// `%`
    WithinLevel,
}

/// Positions in a name, one bit each, the end included.
type Positions = Vec<u64>;

impl ListPattern {
    /// From the reference and the pattern, one behind the other.
    pub(crate) fn new(pattern: &str) -> ListPattern {
        let mut classes = Box::new([0; 256]);
        let mut class_count = 0;
        let mut tokens: Vec<Token> = Vec::new();
        for byte in pattern.bytes() {
            let token = match byte {
                b'*' => Token::Anything,
                b'%' => Token::WithinLevel,
                _ => {
                    let class: &mut u8 = &mut classes[usize::from(byte)];
                    if *class == 0 {
                        class_count += 1;
                        *class = class_count;
                    }
                    Token::Byte(*class)
                }
            };
            match (tokens.last_mut(), token) {
                // Several wildcards in a row are the strongest of them.
                (Some(Token::Anything), Token::Anything | Token::WithinLevel) => {}
                (Some(Token::WithinLevel), Token::WithinLevel) => {}
                (Some(last @ Token::WithinLevel), Token::Anything) => *last = Token::Anything,
                _ => tokens.push(token),
            }
        }
        let is_byte = |token: &&Token| matches!(token, Token::Byte(_));
        ListPattern {
            literals: tokens.iter().filter(is_byte).count(),
            tokens,
            classes,
            class_count: usize::from(class_count),
        }
    }

    /// Whether the pattern names this mailbox, or would if it existed. A first level INBOX matches in any case.
    pub(crate) fn matches(&self, name: &str) -> bool {
        if self.literals > name.len() {
            return false;
        }
        let words = name.len() / 64 + 1;
        let places = self.places(name, words);
        let mut reached: Positions = vec![0; words];
        reached[0] = 1;
        for token in &self.tokens {
            match token {
                Token::Byte(class) => {
                    let class = usize::from(*class);
                    step(&mut reached, &places[class * words..][..words]);
                }
                Token::Anything => from_first(&mut reached, name.len()),
                Token::WithinLevel => flood(&mut reached, &places[..words]),
            }
            if reached.iter().all(|word| *word == 0) {
                return false;
            }
        }
        has(&reached, name.len())
    }

    /// Where each class of bytes stands in the name; in the place of class 0, where no separator stands.
    fn places(&self, name: &str, words: usize) -> Positions {
        let mut places = vec![0; (self.class_count + 1) * words];
        let mut mark = |class: u8, at: usize| {
            places[usize::from(class) * words + at / 64] |= 1 << (at % 64);
        };
        let inbox_len = inbox_level(name);
        for (at, byte) in name.bytes().enumerate() {
            if byte != MailboxName::SEPARATOR as u8 {
                mark(0, at);
            }
            let mut mark_byte = |byte: u8| match self.classes[usize::from(byte)] {
                0 => {}
                class => mark(class, at),
            };
            mark_byte(byte);
            if at < inbox_len {
                mark_byte(byte.to_ascii_lowercase());
            }
        }
        places
    }
}

/// The length of a first level INBOX, or 0.
fn inbox_level(name: &str) -> usize {
    let first = name.split(MailboxName::SEPARATOR).next().unwrap_or(name);
    match first {
        "INBOX" => first.len(),
        _ => 0,
    }
}

fn has(positions: &Positions, at: usize) -> bool {
    positions[at / 64] & (1 << (at % 64)) != 0
}

/// One byte further, from where it is the right one.
fn step(reached: &mut Positions, places: &[u64]) {
    let mut carry = 0;
    for (word, places) in reached.iter_mut().zip(places) {
        let here = *word & places;
        *word = (here << 1) | carry;
        carry = here >> 63;
    }
}

/// Everything behind the first position.
fn from_first(reached: &mut Positions, last: usize) {
    let mut found = false;
    for word in reached.iter_mut() {
        if found {
            *word = u64::MAX;
        } else if *word != 0 {
            found = true;
            *word = u64::MAX << word.trailing_zeros();
        }
    }
    if let Some(word) = reached.last_mut() {
        *word &= u64::MAX >> (63 - last % 64);
    }
}

/// As far as the level goes, from each position. Adding a position to the ones of a level carries through all of them.
fn flood(reached: &mut Positions, within: &[u64]) {
    let mut carry = false;
    for (word, &within) in reached.iter_mut().zip(within) {
        let (sum, over) = within.overflowing_add(*word & within);
        let (sum, more) = sum.overflowing_add(u64::from(carry));
        // A carry from below reaches the first position of this word as well.
        let entered = u64::from(carry);
        carry = over || more;
        *word |= (sum ^ within) | entered;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        ListPattern::new(pattern).matches(name)
    }

    #[test]
    fn knows_the_wildcards() {
        for (pattern, name, expected) in [
            ("*", "a/b/c", true),
            ("%", "a", true),
            ("%", "a/b", false),
            ("%/%", "a/b", true),
            ("a/%", "a", false),
            ("a/%", "a/b", true),
            ("a/%", "a/b/c", false),
            ("a*", "a/b/c", true),
            ("a*c", "a/b/c", true),
            ("a%c", "abc", true),
            ("a%c", "a/c", false),
            ("%*", "a/b", true),
            ("", "a", false),
            ("a", "A", false),
            ("*b*", "abc", true),
            ("~/*", "a", false),
            ("日%", "日本/x", false),
            ("日%/x", "日本/x", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn inbox_has_no_case() {
        for pattern in ["inbox", "InBox", "in%", "*x", "INBOX"] {
            assert!(matches(pattern, "INBOX"), "{pattern}");
        }
        assert!(matches("inbox/%", "INBOX/Sent") && !matches("inbox/sent", "INBOX/Sent"));
        assert!(!matches("inbox", "INBOXES") && !matches("inboxes", "INBOXES"));
    }

    #[test]
    fn no_pattern_explodes() {
        // By backtracking, this would take longer than the universe has.
        let name = format!("{}b", "a".repeat(998));
        for wild in ["%", "*", "%a*"] {
            let pattern = format!("{wild}a").repeat(300) + "c";
            for _ in 0..1_000 {
                assert!(!matches(&pattern, &name));
            }
        }
    }

    /// As the RFC says it, by a table of every rest of the pattern against every rest of the name: without one, ten wildcards
    /// before a name of 140 bytes take days.
    fn slow(pattern: &[u8], name: &[u8]) -> bool {
        let mut below = vec![false; name.len() + 1];
        below[name.len()] = true;
        for token in pattern.iter().rev() {
            let mut row = vec![false; name.len() + 1];
            for at in (0..=name.len()).rev() {
                let here = name.get(at).copied();
                let longer = at < name.len() && row[at + 1];
                row[at] = match token {
                    b'*' => below[at] || longer,
                    b'%' => below[at] || (here != Some(b'/') && longer),
                    byte => here == Some(*byte) && below[at + 1],
                };
            }
            below = row;
        }
        below[0]
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab/*%]{0,9}", name in "[ab/]{0,12}", padding in prop::sample::select(vec![0_usize, 50, 60, 63, 64, 65, 130])) {
            // The padding moves what is compared over the words' borders.
            let before = "x".repeat(padding);
            let (pattern, name) = (format!("{before}{pattern}"), format!("{before}{name}"));
            prop_assert_eq!(matches(&pattern, &name), slow(pattern.as_bytes(), name.as_bytes()));
            let wild = format!("%{}", &pattern[padding..]);
            prop_assert_eq!(matches(&wild, &name), slow(wild.as_bytes(), name.as_bytes()));
        }
    }
}
