//! AUTHENTICATE, LOGIN, ENABLE, ID and COMPRESS.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::input::{Input, Parsed, into_text};
use crate::{
    command::{Command, Secret},
    error::ParseError,
};

/// More capabilities than exist to be enabled.
const ENABLE_MAX: usize = 64;
/// RFC 2971 §3.3: at most 30 pairs, names of at most 30 bytes, values of at most 1,024.
const ID_FIELDS_MAX: usize = 30;
const ID_VALUE_LEN_MAX: usize = 1024;

// RFC 9051 §6.2.2
pub(super) fn authenticate(input: &mut Input<'_>) -> Parsed<Command> {
    input.space("a mechanism")?;
    let mechanism = input.atom("a mechanism")?.to_ascii_uppercase();
    let mut initial_response = None;
    if !input.is_empty() {
        input.space("an initial response")?;
        initial_response = Some(initial_response_of(input)?);
    }
    Ok(Command::Authenticate {
        mechanism,
        initial_response,
    })
}

fn initial_response_of(input: &mut Input<'_>) -> Parsed<Secret> {
    // RFC 4959 §3: a single `=` is the empty response.
    match input.atom("an initial response in base64")? {
        "=" => Ok(Secret::new([])),
        encoded => STANDARD
            .decode(encoded)
            .map(Secret::new)
            .map_err(|_| ParseError::BadBase64),
    }
}

// RFC 9051 §6.2.3
pub(super) fn login(input: &mut Input<'_>) -> Parsed<Command> {
    input.space("a user's name")?;
    let user = input.text("a user's name")?;
    input.space("a password")?;
    let password = Secret::new(input.astring("a password")?.into_owned());
    Ok(Command::Login { user, password })
}

// RFC 9051 §6.3.1
pub(super) fn enable(input: &mut Input<'_>) -> Parsed<Command> {
    let mut names = Vec::new();
    while !input.is_empty() || names.is_empty() {
        input.space("a capability")?;
        if names.len() == ENABLE_MAX {
            return Err(ParseError::TooMany {
                what: "capabilities",
                max: ENABLE_MAX,
            });
        }
        names.push(input.atom("a capability")?.to_ascii_uppercase());
    }
    Ok(Command::Enable(names))
}

// RFC 2971 §3.1
pub(super) fn id(input: &mut Input<'_>) -> Parsed<Command> {
    input.space("NIL or a list of fields")?;
    if input.eat_word("NIL") {
        return Ok(Command::Id(None));
    }
    let mut count = 0;
    let fields = input.list("NIL or a list of fields", true, |input| {
        count += 1;
        if count > ID_FIELDS_MAX {
            return Err(ParseError::TooMany {
                what: "fields",
                max: ID_FIELDS_MAX,
            });
        }
        let name = input.text("a field's name")?;
        input.space("a field's value")?;
        let value = input
            .nstring("a field's value")?
            .map(into_text)
            .transpose()?;
        if name.len().max(value.as_ref().map_or(0, String::len)) > ID_VALUE_LEN_MAX {
            return Err(ParseError::OutOfRange("length of a field"));
        }
        Ok((name, value))
    })?;
    Ok(Command::Id(Some(fields)))
}

// RFC 4978 §3
pub(super) fn compress(input: &mut Input<'_>) -> Parsed<Command> {
    input.space("a compression mechanism")?;
    match input.word("a compression mechanism")?.as_str() {
        "DEFLATE" => Ok(Command::CompressDeflate),
        _ => Err(ParseError::CompressMechanism),
    }
}
