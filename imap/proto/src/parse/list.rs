//! LIST and LSUB (RFC 9051 §6.3.9, RFC 5258 §6, RFC 3501 §6.3.9).

use super::{
    input::{Input, Parsed},
    mailbox::status_items,
};
use crate::{
    command::{Command, List, ListReturn, ListSelection},
    error::ParseError,
};

/// Each pattern is matched with each mailbox.
const PATTERNS_MAX: usize = 64;

pub(super) fn list(input: &mut Input<'_>) -> Parsed<Command> {
    let mut list = List::default();
    input.space("a reference name")?;
    if input.peek() == Some(b'(') {
        list.extended = true;
        list.select = selection(input)?;
        input.space("a reference name")?;
    }
    list.reference = input.mailbox()?;
    input.space("a mailbox pattern")?;
    if input.peek() == Some(b'(') {
        list.extended = true;
        let mut count = 0;
        list.patterns = input.list("mailbox patterns", false, |input| {
            count += 1;
            if count > PATTERNS_MAX {
                return Err(ParseError::TooMany {
                    what: "patterns",
                    max: PATTERNS_MAX,
                });
            }
            pattern(input)
        })?;
    } else {
        list.patterns = vec![pattern(input)?];
    }
    if !input.is_empty() {
        list.extended = true;
        input.space("RETURN")?;
        if !input.eat_word("RETURN ") {
            return Err(ParseError::Expected("RETURN"));
        }
        list.returns = returns(input)?;
    }
    Ok(Command::List(list))
}

pub(super) fn lsub(input: &mut Input<'_>) -> Parsed<Command> {
    input.space("a reference name")?;
    let reference = input.mailbox()?;
    input.space("a mailbox pattern")?;
    Ok(Command::Lsub {
        reference,
        pattern: pattern(input)?,
    })
}

fn pattern(input: &mut Input<'_>) -> Parsed<String> {
    let pattern = input.pattern("a mailbox pattern")?;
    input.decode_mailbox(pattern)
}

fn selection(input: &mut Input<'_>) -> Parsed<ListSelection> {
    let mut select = ListSelection::default();
    input.list("selection options", true, |input| {
        match input.word("a selection option")?.as_str() {
            "SUBSCRIBED" => select.subscribed = true,
            "REMOTE" => select.remote = true,
            "RECURSIVEMATCH" => select.recursive_match = true,
            "SPECIAL-USE" => select.special_use = true,
            _ => return Err(ParseError::Unknown("selection option")),
        }
        Ok(())
    })?;
    // RFC 5258 §3.1: it says how to match the others, and alone means nothing.
    if select.recursive_match && !select.subscribed && !select.special_use {
        return Err(ParseError::Combination(
            "RECURSIVEMATCH needs another selection option",
        ));
    }
    Ok(select)
}

fn returns(input: &mut Input<'_>) -> Parsed<ListReturn> {
    let mut returns = ListReturn::default();
    input.list("return options", true, |input| {
        match input.word("a return option")?.as_str() {
            "SUBSCRIBED" => returns.subscribed = true,
            "CHILDREN" => returns.children = true,
            "SPECIAL-USE" => returns.special_use = true,
            "STATUS" => {
                input.space("status items in parentheses")?;
                returns.status = status_items(input)?;
            }
            _ => return Err(ParseError::Unknown("return option")),
        }
        Ok(())
    })?;
    Ok(returns)
}
