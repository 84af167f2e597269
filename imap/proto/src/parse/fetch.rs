//! FETCH (RFC 9051 §6.4.5, RFC 3516, RFC 7162 §3.1.4 and §3.2.6, RFC 8474 §5).

use std::num::NonZeroU32;

use super::input::{Input, Parsed, into_text};
use crate::{
    command::{Command, Fetch, FetchItem, Partial, Section, SectionText},
    error::ParseError,
};

/// Each item costs a part of the answer for each message.
const ITEMS_MAX: usize = 256;
/// Each name is compared with each field of a header.
const HEADER_FIELDS_MAX: usize = 256;
/// Deeper parts than a message may have.
const PART_DEPTH_MAX: usize = 128;

const EXPECTED_ITEM: &str = "a fetch item";

pub(super) fn fetch(input: &mut Input<'_>, by_uid: bool) -> Parsed<Command> {
    input.space("a set of message numbers")?;
    let set = input.sequence_set()?;
    input.space(EXPECTED_ITEM)?;
    let mut fetch = Fetch {
        set,
        by_uid,
        items: Vec::new(),
        changed_since: None,
        vanished: false,
    };
    if input.peek() == Some(b'(') {
        input.list("fetch items", false, |input| {
            let parsed = item(input)?;
            add(&mut fetch.items, parsed)
        })?;
    } else if let Some(items) = macro_items(input) {
        fetch.items = items;
    } else {
        fetch.items = vec![item(input)?];
    }
    if input.end().is_err() {
        input.space("modifiers in parentheses")?;
        modifiers(input, &mut fetch)?;
    }
    Ok(Command::Fetch(fetch))
}

fn add(items: &mut Vec<FetchItem>, item: FetchItem) -> Parsed<()> {
    if items.contains(&item) {
        return Ok(());
    }
    if items.len() == ITEMS_MAX {
        return Err(ParseError::TooMany {
            what: "fetch items",
            max: ITEMS_MAX,
        });
    }
    items.push(item);
    Ok(())
}

fn modifiers(input: &mut Input<'_>, fetch: &mut Fetch) -> Parsed<()> {
    input.list("modifiers in parentheses", false, |input| {
        match input.word("a modifier")?.as_str() {
            "CHANGEDSINCE" => {
                input.space("a MODSEQ")?;
                fetch.changed_since = Some(input.mod_seq()?);
            }
            "VANISHED" => fetch.vanished = true,
            _ => return Err(ParseError::Unknown("modifier")),
        }
        Ok(())
    })?;
    // RFC 7162 §3.2.6
    if fetch.vanished && !(fetch.by_uid && fetch.changed_since.is_some()) {
        return Err(ParseError::Combination(
            "VANISHED needs UID FETCH and CHANGEDSINCE",
        ));
    }
    Ok(())
}

/// RFC 9051 §6.4.5: `ALL`, `FAST` and `FULL` stand alone.
fn macro_items(input: &mut Input<'_>) -> Option<Vec<FetchItem>> {
    let mut items = vec![FetchItem::Flags, FetchItem::InternalDate, FetchItem::Size];
    if input.eat_word("FAST") {
    } else if input.eat_word("ALL") {
        items.push(FetchItem::Envelope);
    } else if input.eat_word("FULL") {
        items.extend([FetchItem::Envelope, FetchItem::Body]);
    } else {
        return None;
    }
    Some(items)
}

fn item(input: &mut Input<'_>) -> Parsed<FetchItem> {
    let name = input.word(EXPECTED_ITEM)?;
    let bracket = input.peek() == Some(b'[');
    Ok(match (name.as_str(), bracket) {
        ("FLAGS", false) => FetchItem::Flags,
        ("UID", false) => FetchItem::Uid,
        ("MODSEQ", false) => FetchItem::ModSeq,
        ("INTERNALDATE", false) => FetchItem::InternalDate,
        ("RFC822.SIZE", false) => FetchItem::Size,
        ("ENVELOPE", false) => FetchItem::Envelope,
        ("BODY", false) => FetchItem::Body,
        ("BODYSTRUCTURE", false) => FetchItem::BodyStructure,
        ("EMAILID", false) => FetchItem::EmailId,
        ("THREADID", false) => FetchItem::ThreadId,
        ("RFC822", false) => FetchItem::Rfc822,
        ("RFC822.HEADER", false) => FetchItem::Rfc822Header,
        ("RFC822.TEXT", false) => FetchItem::Rfc822Text,
        ("BODY" | "BODY.PEEK", true) => FetchItem::Section {
            section: section(input)?,
            partial: partial(input)?,
            peek: name.len() > "BODY".len(),
        },
        ("BINARY" | "BINARY.PEEK", true) => FetchItem::Binary {
            part: binary_part(input)?,
            partial: partial(input)?,
            peek: name.len() > "BINARY".len(),
        },
        ("BINARY.SIZE", true) => FetchItem::BinarySize {
            part: binary_part(input)?,
        },
        ("BODY.PEEK" | "BINARY" | "BINARY.PEEK" | "BINARY.SIZE", false) => {
            return Err(ParseError::Expected("a section in brackets"));
        }
        _ => return Err(ParseError::Unknown("fetch item")),
    })
}

/// RFC 9051 §9, `section`.
fn section(input: &mut Input<'_>) -> Parsed<Section> {
    input.byte(b'[', "a section")?;
    let (part, more) = part_numbers(input)?;
    let text = if !more && (!part.is_empty() || input.peek() == Some(b']')) {
        SectionText::Full
    } else {
        section_text(input, !part.is_empty())?
    };
    input.byte(b']', "']'")?;
    Ok(Section { part, text })
}

fn section_text(input: &mut Input<'_>, in_part: bool) -> Parsed<SectionText> {
    let name = input.word("HEADER, HEADER.FIELDS, TEXT or MIME")?;
    Ok(match name.as_str() {
        "HEADER" => SectionText::Header,
        "TEXT" => SectionText::Text,
        "MIME" if in_part => SectionText::Mime,
        "HEADER.FIELDS" => SectionText::HeaderFields(header_fields(input)?),
        "HEADER.FIELDS.NOT" => SectionText::HeaderFieldsNot(header_fields(input)?),
        _ => return Err(ParseError::Unknown("section")),
    })
}

fn header_fields(input: &mut Input<'_>) -> Parsed<Vec<String>> {
    input.space("header fields in parentheses")?;
    let mut count = 0;
    input.list("header fields in parentheses", false, |input| {
        count += 1;
        if count > HEADER_FIELDS_MAX {
            return Err(ParseError::TooMany {
                what: "header fields",
                max: HEADER_FIELDS_MAX,
            });
        }
        let field = into_text(input.astring("a header field's name")?)?;
        // The answer repeats it in a place where no literal may stand in some clients' grammar.
        if field.chars().any(char::is_control) {
            return Err(ParseError::Expected("a header field's name"));
        }
        Ok(field)
    })
}

fn binary_part(input: &mut Input<'_>) -> Parsed<Vec<NonZeroU32>> {
    input.byte(b'[', "a part in brackets")?;
    let (part, more) = part_numbers(input)?;
    if more {
        return Err(ParseError::Expected("a part's number"));
    }
    input.byte(b']', "']'")?;
    Ok(part)
}

/// Numbers with dots between them, and whether a dot follows the last.
fn part_numbers(input: &mut Input<'_>) -> Parsed<(Vec<NonZeroU32>, bool)> {
    let mut part = Vec::new();
    while input.peek().is_some_and(|b| b.is_ascii_digit()) {
        if part.len() == PART_DEPTH_MAX {
            return Err(ParseError::TooMany {
                what: "levels of parts",
                max: PART_DEPTH_MAX,
            });
        }
        part.push(input.nz_number("part's number")?);
        if !input.eat(b'.') {
            return Ok((part, false));
        }
    }
    let more = !part.is_empty();
    Ok((part, more))
}

/// `<start.length>`, if it is there.
fn partial(input: &mut Input<'_>) -> Parsed<Option<Partial>> {
    if !input.eat(b'<') {
        return Ok(None);
    }
    let start = input.number64("first byte")?;
    input.byte(b'.', "how many bytes")?;
    let length = input.number64("number of bytes")?;
    input.byte(b'>', "'>'")?;
    if length == 0 {
        return Err(ParseError::OutOfRange("number of bytes"));
    }
    Ok(Some(Partial { start, length }))
}
