//! The grammar of commands (RFC 9051 §9, RFC 3501 §9 and the extensions'), one file a family.
//!
//! A parser reads from an [`Input`] of one whole command, literals in their place as on the wire. It never
//! backs up by more than a word, so that a command costs linear time.

mod append;
mod auth;
mod date;
mod fetch;
mod flags;
mod input;
mod list;
mod mailbox;
mod search;
mod sequence;
mod store;
#[cfg(test)]
mod tests;

use self::input::{Input, Parsed};
pub(crate) use self::{
    append::{AppendStart, append_next, append_start},
    input::{LITERAL_HEAD_LEN_MAX, LiteralHead},
};
use crate::{
    command::{Command, Tag, Tagged},
    error::ParseError,
};

/// Reads one command: a line with its literals and its end.
pub(crate) fn command(bytes: &[u8], utf8: bool) -> Result<Tagged, (Option<Tag>, ParseError)> {
    let mut input = Input::new(bytes, utf8);
    let tag = input.tag().ok_or((None, ParseError::NoTag))?;
    match untagged_command(&mut input) {
        Ok(command) => Ok(Tagged { tag, command }),
        Err(error) => Err((Some(tag), error)),
    }
}

/// The tag of what may be no command at all.
pub(crate) fn tag_of(bytes: &[u8]) -> Option<Tag> {
    Input::new(bytes, false).tag()
}

fn untagged_command(input: &mut Input<'_>) -> Parsed<Command> {
    input.space("a command's name after the tag")?;
    let command = match input.word("a command's name")?.as_str() {
        "CAPABILITY" => Command::Capability,
        "NOOP" => Command::Noop,
        "LOGOUT" => Command::Logout,
        "STARTTLS" => Command::StartTls,
        "NAMESPACE" => Command::Namespace,
        "IDLE" => Command::Idle,
        "CHECK" => Command::Check,
        "CLOSE" => Command::Close,
        "UNSELECT" => Command::Unselect,
        "EXPUNGE" => Command::Expunge { uids: None },
        "UID" => uid_command(input)?,
        with_arguments => command_with_arguments(with_arguments, input)?,
    };
    input.end()?;
    Ok(command)
}

fn command_with_arguments(name: &str, input: &mut Input<'_>) -> Parsed<Command> {
    match name {
        "AUTHENTICATE" => auth::authenticate(input),
        "LOGIN" => auth::login(input),
        "ENABLE" => auth::enable(input),
        "ID" => auth::id(input),
        "COMPRESS" => auth::compress(input),
        "SELECT" => mailbox::select(input, false),
        "EXAMINE" => mailbox::select(input, true),
        "CREATE" => mailbox::create(input),
        "DELETE" => mailbox::delete(input),
        "RENAME" => mailbox::rename(input),
        "SUBSCRIBE" => mailbox::subscribe(input),
        "UNSUBSCRIBE" => mailbox::unsubscribe(input),
        "STATUS" => mailbox::status(input),
        "GETQUOTA" => mailbox::get_quota(input),
        "GETQUOTAROOT" => mailbox::get_quota_root(input),
        "SETQUOTA" => mailbox::set_quota(input),
        "LIST" => list::list(input),
        "LSUB" => list::lsub(input),
        "SEARCH" => search::search(input, false),
        "FETCH" => fetch::fetch(input, false),
        "STORE" => store::store(input, false),
        "COPY" => store::transfer(input, false).map(Command::Copy),
        "MOVE" => store::transfer(input, false).map(Command::Move),
        // With a message it is read elsewhere, see `append_start`.
        "APPEND" => Err(ParseError::Expected("a message as a literal")),
        _ => Err(ParseError::UnknownCommand),
    }
}

fn uid_command(input: &mut Input<'_>) -> Parsed<Command> {
    input.space("a command's name after UID")?;
    match input.word("a command's name after UID")?.as_str() {
        "SEARCH" => search::search(input, true),
        "FETCH" => fetch::fetch(input, true),
        "STORE" => store::store(input, true),
        "COPY" => store::transfer(input, true).map(Command::Copy),
        "MOVE" => store::transfer(input, true).map(Command::Move),
        "EXPUNGE" => store::uid_expunge(input),
        _ => Err(ParseError::UnknownCommand),
    }
}
