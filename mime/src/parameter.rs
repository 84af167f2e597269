//! `Content-Type`, `Content-Disposition` and their parameters (RFC 2045 §5.1, RFC 2183, RFC 2231).
//!
//! RFC 9051 §7.5.2 says how a server tells of RFC 2231: `name*0`, `name*1` are joined to `name`; if any of the
//! sections is extended (`name*0*`), the whole is decoded, converted to UTF-8 and told as `name*`. So it is kept here.
//! Older clients know `name*` with the syntax of RFC 2231 only: [`extended_parameter`] gives that.

use std::collections::HashMap;

use crate::{
    charset,
    limits::{PARAMETERS_MAX, TOKEN_BYTES_MAX},
    token::Cursor,
};

/// A parameter's name and its value.
pub(crate) type Parameter = (Box<str>, Box<[u8]>);

/// A media type with its parameters; `None` if the syntax is broken (RFC 2045 §5.2 then takes the default).
pub(crate) fn parse_content_type(value: &[u8]) -> Option<(Box<str>, Box<str>, Vec<Parameter>)> {
    let mut cursor = Cursor::new(value);
    let media_type = token(&mut cursor)?;
    cursor.skip_cfws();
    if !cursor.eat(b'/') {
        return None;
    }
    let media_subtype = token(&mut cursor)?;
    Some((media_type, media_subtype, parameters(&mut cursor)))
}

/// A disposition with its parameters.
pub(crate) fn parse_disposition(value: &[u8]) -> Option<(Box<str>, Vec<Parameter>)> {
    let mut cursor = Cursor::new(value);
    Some((token(&mut cursor)?, parameters(&mut cursor)))
}

/// The first token of a field: a transfer encoding, a language.
pub(crate) fn parse_token(value: &[u8]) -> Option<Box<str>> {
    token(&mut Cursor::new(value))
}

fn token(cursor: &mut Cursor<'_>) -> Option<Box<str>> {
    cursor.skip_cfws();
    let text = cursor.take_until(|byte| !is_token_byte(byte));
    if text.is_empty() || text.len() > TOKEN_BYTES_MAX {
        return None;
    }
    std::str::from_utf8(text).ok().map(Box::from)
}

/// RFC 2045 §5.1, `token`.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte)
}

/// One `name=value` as it stands, its name taken apart (RFC 2231 §3, §4).
struct Section {
    name: Box<str>,
    /// `1` of `name*1`; none for `name` and `name*`.
    index: Option<u32>,
    /// `name*` or `name*1*`: percent-encoded, the first with charset and language.
    extended: bool,
    value: Vec<u8>,
}

fn parameters(cursor: &mut Cursor<'_>) -> Vec<Parameter> {
    let mut sections = Vec::new();
    while sections.len() < PARAMETERS_MAX {
        cursor.skip_to(|byte| byte == b';');
        if !cursor.eat(b';') {
            break;
        }
        sections.extend(section(cursor));
    }
    join(sections)
}

fn section(cursor: &mut Cursor<'_>) -> Option<Section> {
    let name = token(cursor)?;
    cursor.skip_cfws();
    if !cursor.eat(b'=') {
        return None;
    }
    cursor.skip_cfws();
    let mut value = Vec::new();
    if cursor.peek() == Some(b'"') {
        cursor.quoted_string(&mut value);
    } else {
        // More than a token allows: `name=a/b` and 8-bit names are common.
        let end = |byte| matches!(byte, b';' | b'(' | b' ' | b'\t' | b'\r' | b'\n' | 0);
        value.extend_from_slice(cursor.take_until(end));
    }
    let (base, extended) = match name.strip_suffix('*') {
        Some(base) => (base, true),
        None => (&*name, false),
    };
    let (base, index) = match base.split_once('*') {
        // Four digits: more sections than are looked at.
        Some((base, digits)) if (1..=4).contains(&digits.len()) => {
            (base, Some(digits.parse().ok()?))
        }
        Some(_) => return None,
        None => (base, None),
    };
    (!base.is_empty()).then(|| Section {
        name: base.into(),
        index,
        extended,
        value,
    })
}

/// Joins the sections of each name, in the order in which the names first appear.
fn join(sections: Vec<Section>) -> Vec<Parameter> {
    let mut joined = Vec::new();
    let mut continued: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<Vec<Section>> = Vec::new();
    for section in sections {
        if section.index.is_none() {
            joined.push((groups.len(), section.name.clone()));
            groups.push(vec![section]);
            continue;
        }
        let group = *continued
            .entry(section.name.to_ascii_lowercase())
            .or_insert_with(|| {
                joined.push((groups.len(), section.name.clone()));
                groups.push(Vec::new());
                groups.len() - 1
            });
        groups[group].push(section);
    }
    joined
        .into_iter()
        .filter_map(|(group, name)| join_group(&name, &mut groups[group]))
        .collect()
}

/// One name's value: sections 0, 1, 2… up to the first that is missing.
fn join_group(name: &str, sections: &mut [Section]) -> Option<Parameter> {
    sections.sort_by_key(|section| section.index);
    let mut bytes = Vec::new();
    let mut charset: Option<String> = None;
    let mut expected = 0;
    for section in sections.iter() {
        match section.index {
            Some(index) if index < expected => continue, // said twice: the first counts
            Some(index) if index > expected => break,
            _ => expected += 1,
        }
        if !section.extended {
            bytes.extend_from_slice(&section.value);
            continue;
        }
        let mut text = &section.value[..];
        if charset.is_none() {
            let mut pieces = text.splitn(3, |&byte| byte == b'\'');
            let label = match (pieces.next(), pieces.next(), pieces.next()) {
                (Some(label), Some(_language), Some(rest)) => {
                    text = rest;
                    String::from_utf8_lossy(label).into_owned()
                }
                _ => String::new(),
            };
            charset = Some(label);
        }
        percent_decode(text, &mut bytes);
    }
    if expected == 0 {
        return None;
    }
    Some(match charset {
        Some(label) => (
            format!("{name}*").into(),
            charset::decode(&label, &bytes).into_bytes().into(),
        ),
        None => (name.into(), bytes.into()),
    })
}

fn percent_decode(text: &[u8], out: &mut Vec<u8>) {
    let hex = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let mut at = 0;
    while at < text.len() {
        match (text[at], hex(text.get(at + 1)), hex(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

/// The value of a parameter `name*` in the syntax of RFC 2231 §4, `utf-8''na%C3%AFve`: what RFC 3501 clients
/// expect (Dovecot tells it so), and what passes where UTF-8 may not.
pub fn extended_parameter(value: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = b"utf-8''".to_vec();
    for &byte in value {
        if is_token_byte(byte) && !matches!(byte, b'*' | b'\'' | b'%') {
            out.push(byte);
        } else {
            out.extend([
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Vec<(String, String)> {
        let (_, _, parameters) = parse_content_type(value.as_bytes()).unwrap();
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        parameters
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn rfc_2231_examples() {
        // §3
        assert_eq!(
            read(
                "message/external-body; access-type=URL;\r\n URL*0=\"ftp://\";\r\n URL*1=\"cs.utk.edu/pub/moore/\""
            ),
            [
                pair("access-type", "URL"),
                pair("URL", "ftp://cs.utk.edu/pub/moore/")
            ]
        );
        // §4
        assert_eq!(
            read(
                "application/x-stuff;\r\n title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A"
            ),
            [pair("title*", "This is ***fun***")]
        );
        // §4.1
        assert_eq!(
            read(
                "application/x-stuff\r\n ;title*0*=us-ascii'en'This%20is%20even%20more%20\r\n ;title*1*=%2A%2A%2Afun%2A%2A%2A%20\r\n ;title*2=\"isn't it!\""
            ),
            [pair("title*", "This is even more ***fun*** isn't it!")]
        );
    }

    #[test]
    fn sections_in_disorder_twice_or_with_a_gap() {
        assert_eq!(
            read("a/b; n*2=c; n*0=a; n*1=b; n*1=x; n*4=e"),
            [pair("n", "abc")]
        );
        assert_eq!(read("a/b; n*1=b"), []);
        assert_eq!(
            read("a/b; x=1; N*0*=iso-8859-1''%e4; y=2; n*1=!"),
            [pair("x", "1"), pair("N*", "ä!"), pair("y", "2")]
        );
    }

    #[test]
    fn lenient_where_mailers_are_sloppy() {
        assert_eq!(
            read("text/plain; charset = us-ascii (Plain text); x"),
            [pair("charset", "us-ascii")]
        );
        assert_eq!(
            read("text / plain;; name=\"a;\\\"b\" garbage ; n=a/b=c"),
            [pair("name", "a;\"b"), pair("n", "a/b=c")]
        );
        assert!(parse_content_type(b"text").is_none());
        assert!(parse_content_type(b"/plain").is_none());
    }

    #[test]
    fn extended_values_for_older_clients() {
        assert_eq!(
            extended_parameter("naïve (1).txt".as_bytes()),
            b"utf-8''na%C3%AFve%20%281%29.txt"
        );
    }
}
