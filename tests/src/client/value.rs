//! IMAP's data syntax, as a reader that knows atoms, strings, literals and lists and nothing of their meaning.

use std::io;

use super::{Reply, wire_error};

/// Lists nest no deeper in any answer that a test expects; body structures of hostile mail are the deepest.
const DEPTH_MAX: usize = 2_000;

/// One value of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// NIL.
    Nil,
    /// An atom, a number, a flag, or a section such as `BODY[HEADER]`.
    Atom(String),
    /// A quoted string or literal.
    Text(Vec<u8>),
    /// A parenthesised list.
    List(Vec<Value>),
}

impl Value {
    /// The bytes of an atom or string.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Atom(atom) => atom.as_bytes(),
            Self::Text(text) => text,
            Self::Nil | Self::List(_) => &[],
        }
    }

    /// The atom or string as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<u64> {
        self.text().parse().ok()
    }

    /// The members of a list; of nothing else.
    pub fn list(&self) -> &[Value] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }
}

/// The values of a response line, literals included.
pub fn parse_values(input: &[u8]) -> io::Result<Vec<Value>> {
    let mut at = 0;
    let mut stack: Vec<Vec<Value>> = vec![Vec::new()];
    while at < input.len() {
        let value = match input[at] {
            b' ' => {
                at += 1;
                continue;
            }
            b'(' => {
                if stack.len() > DEPTH_MAX {
                    return Err(wire_error("lists nest too deeply"));
                }
                stack.push(Vec::new());
                at += 1;
                continue;
            }
            b')' => {
                at += 1;
                let list = stack.pop().filter(|_| !stack.is_empty());
                Value::List(list.ok_or_else(|| wire_error("a list ends that never began"))?)
            }
            b'"' => quoted(input, &mut at)?,
            b'{' => literal(input, &mut at)?,
            b'~' if input.get(at + 1) == Some(&b'{') => {
                at += 1;
                literal(input, &mut at)?
            }
            _ => atom(input, &mut at),
        };
        if let Some(top) = stack.last_mut() {
            top.push(value);
        }
    }
    match (stack.pop(), stack.is_empty()) {
        (Some(values), true) => Ok(values),
        _ => Err(wire_error("a list never ends")),
    }
}

fn quoted(input: &[u8], at: &mut usize) -> io::Result<Value> {
    let mut text = Vec::new();
    *at += 1;
    loop {
        match input.get(*at) {
            Some(b'"') => {
                *at += 1;
                return Ok(Value::Text(text));
            }
            Some(b'\\') => {
                text.extend(input.get(*at + 1));
                *at += 2;
            }
            Some(&byte) => {
                text.push(byte);
                *at += 1;
            }
            None => return Err(wire_error("a quoted string never ends")),
        }
    }
}

fn literal(input: &[u8], at: &mut usize) -> io::Result<Value> {
    let rest = &input[*at..];
    let close = rest
        .iter()
        .position(|&b| b == b'}')
        .ok_or_else(|| wire_error("bad literal"))?;
    let count = String::from_utf8_lossy(&rest[1..close])
        .trim_end_matches('+')
        .to_owned();
    let count: usize = count
        .parse()
        .map_err(|_| wire_error(format!("bad literal {{{count}}}")))?;
    let text = rest
        .get(close + 3..close + 3 + count)
        .ok_or_else(|| wire_error("short literal"))?
        .to_vec();
    *at += close + 3 + count;
    Ok(Value::Text(text))
}

/// An atom; a bracketed section belongs to it, spaces and parentheses inside included.
fn atom(input: &[u8], at: &mut usize) -> Value {
    let begin = *at;
    let mut in_section = false;
    while let Some(&byte) = input.get(*at) {
        match byte {
            b'[' => in_section = true,
            b']' => in_section = false,
            b' ' | b'(' | b')' if !in_section => break,
            _ => {}
        }
        *at += 1;
    }
    let text = String::from_utf8_lossy(&input[begin..*at]).into_owned();
    if text.eq_ignore_ascii_case("NIL") {
        Value::Nil
    } else {
        Value::Atom(text)
    }
}

/// One FETCH response: its items by upper-case name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The sequence number.
    pub sequence: u32,
    /// Names and values in the order they came.
    pub items: Vec<(String, Value)>,
}

impl Fetch {
    /// The item of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.items
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    }

    /// The UID.
    pub fn uid(&self) -> Option<u32> {
        self.get("UID")
            .and_then(Value::number)
            .and_then(|n| u32::try_from(n).ok())
    }

    /// The flags, sorted; `\Recent` is left out, as no client can rely on it (RFC 3501 §2.3.2).
    pub fn flags(&self) -> Option<Vec<String>> {
        let list = self.get("FLAGS")?.list();
        let mut flags: Vec<String> = list
            .iter()
            .map(Value::text)
            .filter(|f| f != "\\Recent")
            .collect();
        flags.sort();
        Some(flags)
    }

    /// The MODSEQ (RFC 7162 §3.1.4.2: in parentheses).
    pub fn modseq(&self) -> Option<u64> {
        self.get("MODSEQ")
            .and_then(|v| v.list().first())
            .and_then(Value::number)
    }
}

/// Every FETCH response among a command's untagged lines.
pub fn fetches(reply: &Reply) -> io::Result<Vec<Fetch>> {
    let mut out = Vec::new();
    for line in &reply.untagged {
        let head = String::from_utf8_lossy(&line[..line.len().min(40)]).into_owned();
        let mut words = head.split(' ').skip(1);
        let (Some(number), Some(word)) = (words.next(), words.next()) else {
            continue;
        };
        let Ok(sequence) = number.parse() else {
            continue;
        };
        if !word.eq_ignore_ascii_case("FETCH") {
            continue;
        }
        let values = parse_values(&line[2 + number.len() + 1 + word.len()..])?;
        let list = values.first().map(Value::list).unwrap_or_default();
        let items = list
            .chunks(2)
            .filter(|pair| pair.len() == 2)
            .map(|p| (p[0].text(), p[1].clone()))
            .collect();
        out.push(Fetch { sequence, items });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_fetch_with_a_literal_and_a_section() {
        let line = b"* 3 FETCH (UID 7 FLAGS (\\Seen $x) BODY[HEADER.FIELDS (A B)] {4}\r\na)\"b MODSEQ (12))".to_vec();
        let reply = Reply {
            untagged: vec![line],
            tagged: b"a OK".to_vec(),
        };
        let fetch = fetches(&reply).unwrap().remove(0);
        assert_eq!(
            (fetch.sequence, fetch.uid(), fetch.modseq()),
            (3, Some(7), Some(12))
        );
        assert_eq!(fetch.flags().unwrap(), ["$x", "\\Seen"]);
        assert_eq!(
            fetch.get("BODY[HEADER.FIELDS (A B)]").unwrap().bytes(),
            b"a)\"b"
        );
    }
}
