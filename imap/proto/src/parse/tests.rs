//! Conversations: what a client writes, and what is understood.

mod auth;
mod fetch;
mod mailbox;
mod printer;
mod property;
mod search;
mod store;

use std::num::NonZeroU32;

use super::command;
use crate::{
    command::{Command, FetchItem, SearchKey, SequenceBound, SequenceRange, SequenceSet},
    error::ParseError,
};

/// What the client's line means, before IMAP4rev2 is enabled.
fn c(line: &str) -> Command {
    match command(format!("{line}\r\n").as_bytes(), false) {
        Ok(tagged) => {
            assert_eq!(tagged.tag.as_str(), "a1");
            tagged.command
        }
        Err(error) => panic!("{line:?} was refused: {error:?}"),
    }
}

/// Why the client's line means nothing; the tag was found.
fn refused(line: &str) -> ParseError {
    match command(format!("{line}\r\n").as_bytes(), false) {
        Ok(tagged) => panic!("{line:?} was accepted: {:?}", tagged.command),
        Err((tag, error)) => {
            assert_eq!(tag.expect("a tag").as_str(), "a1", "{line}");
            error
        }
    }
}

fn search(line: &str) -> SearchKey {
    match c(line) {
        Command::Search(search) => search.key,
        other => panic!("{other:?}"),
    }
}

fn fetch_items(line: &str) -> Vec<FetchItem> {
    match c(line) {
        Command::Fetch(fetch) => fetch.items,
        other => panic!("{other:?}"),
    }
}

fn set(ranges: &[(u32, u32)]) -> SequenceSet {
    let bound = |n| NonZeroU32::new(n).map_or(SequenceBound::Largest, SequenceBound::Number);
    let range = |&(start, end)| SequenceRange {
        start: bound(start),
        end: bound(end),
    };
    SequenceSet::Ranges(ranges.iter().map(range).collect())
}

fn part(numbers: &[u32]) -> Vec<NonZeroU32> {
    numbers.iter().filter_map(|n| NonZeroU32::new(*n)).collect()
}

fn text(text: &str) -> String {
    text.to_owned()
}
