//! STORE, COPY, MOVE and UID EXPUNGE (RFC 9051 §6.4.6 to §6.4.9).

use mailrook_types::{FlagUpdate, Flags};

use super::input::{Input, Parsed};
use crate::{
    command::{Command, Store, Transfer},
    error::ParseError,
};

const EXPECTED_ITEM: &str = "FLAGS, +FLAGS or -FLAGS";

// RFC 9051 §6.4.6, RFC 7162 §3.1.3
pub(super) fn store(input: &mut Input<'_>, by_uid: bool) -> Parsed<Command> {
    input.space("a set of message numbers")?;
    let set = input.sequence_set()?;
    input.space(EXPECTED_ITEM)?;
    let mut unchanged_since = None;
    if input.peek() == Some(b'(') {
        input.list("UNCHANGEDSINCE", false, |input| {
            if !input.eat_word("UNCHANGEDSINCE ") {
                return Err(ParseError::Unknown("parameter"));
            }
            unchanged_since = Some(input.mod_seq()?);
            Ok(())
        })?;
        input.space(EXPECTED_ITEM)?;
    }
    let update = match (input.eat(b'+'), input.eat(b'-')) {
        (false, false) => FlagUpdate::Replace,
        (true, false) => FlagUpdate::Add,
        (false, true) => FlagUpdate::Remove,
        (true, true) => return Err(ParseError::Expected(EXPECTED_ITEM)),
    };
    let silent = match input.word(EXPECTED_ITEM)?.as_str() {
        "FLAGS" => false,
        "FLAGS.SILENT" => true,
        _ => return Err(ParseError::Expected(EXPECTED_ITEM)),
    };
    input.space("flags")?;
    let flags = store_flags(input)?;
    Ok(Command::Store(Store {
        set,
        by_uid,
        unchanged_since,
        update,
        silent,
        flags,
    }))
}

/// In parentheses, or one or more without.
fn store_flags(input: &mut Input<'_>) -> Parsed<Flags> {
    if input.peek() == Some(b'(') {
        return input.flag_list();
    }
    let mut flags = Flags::default();
    loop {
        input.flag(&mut flags)?;
        if input.end().is_ok() {
            return Ok(flags);
        }
        input.space("another flag")?;
    }
}

// RFC 9051 §6.4.7, §6.4.8
pub(super) fn transfer(input: &mut Input<'_>, by_uid: bool) -> Parsed<Transfer> {
    input.space("a set of message numbers")?;
    let set = input.sequence_set()?;
    input.space("a mailbox's name")?;
    Ok(Transfer {
        set,
        by_uid,
        mailbox: input.mailbox()?,
    })
}

// RFC 9051 §6.4.9
pub(super) fn uid_expunge(input: &mut Input<'_>) -> Parsed<Command> {
    input.space("a set of UIDs")?;
    Ok(Command::Expunge {
        uids: Some(input.sequence_set()?),
    })
}
