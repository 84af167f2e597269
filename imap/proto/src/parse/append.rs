//! APPEND, up to the bytes of a message (RFC 9051 §6.3.12, RFC 3502).

use mailrook_types::Flags;

use super::input::{Input, Parsed};
use crate::{
    command::{AppendHead, AppendMessage, Tag},
    error::ParseError,
};

/// What a line that ends with a literal is.
#[derive(Debug)]
pub(crate) enum AppendStart {
    /// No APPEND, or one whose mailbox is the literal: read on as with any command.
    ReadOn,
    /// An APPEND, and the literal is its first message.
    Message(AppendHead, AppendMessage),
    /// An APPEND that is not well formed.
    Bad(Tag, ParseError),
}

/// Looks at a command that ends with a literal's head.
pub(crate) fn append_start(bytes: &[u8], utf8: bool) -> AppendStart {
    let mut input = Input::new(bytes, utf8);
    let Some(tag) = input.tag() else {
        return AppendStart::ReadOn;
    };
    if !input.eat_word(" APPEND ") {
        return AppendStart::ReadOn;
    }
    let mut ahead = input;
    if ahead.literal_head().is_ok() && ahead.is_empty() {
        return AppendStart::ReadOn;
    }
    match mailbox_and_message(&mut input) {
        Ok((mailbox, message)) => AppendStart::Message(AppendHead { tag, mailbox }, message),
        Err(error) => AppendStart::Bad(tag, error),
    }
}

/// Reads what stands between two messages of one APPEND, up to the next one's literal.
pub(crate) fn append_next(bytes: &[u8], utf8: bool) -> Parsed<AppendMessage> {
    message(&mut Input::new(bytes, utf8))
}

fn mailbox_and_message(input: &mut Input<'_>) -> Parsed<(String, AppendMessage)> {
    Ok((input.mailbox()?, message(input)?))
}

fn message(input: &mut Input<'_>) -> Parsed<AppendMessage> {
    const EXPECTED: &str = "flags, a date or a message as a literal";
    input.space(EXPECTED)?;
    let mut flags = Flags::default();
    if input.peek() == Some(b'(') {
        flags = input.flag_list()?;
        input.space("a date or a message as a literal")?;
    }
    let mut internal_date = None;
    if input.peek() == Some(b'"') {
        internal_date = Some(input.date_time()?);
        input.space("a message as a literal")?;
    }
    let head = input
        .literal_head()
        .map_err(|_| ParseError::Expected("a message as a literal"))?;
    input.end()?;
    Ok(AppendMessage {
        flags,
        internal_date,
        size: head.size,
        binary: head.binary,
        synchronising: head.synchronising,
    })
}
