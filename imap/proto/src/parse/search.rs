//! SEARCH (RFC 9051 §6.4.4, RFC 3501 §6.4.4, RFC 5032, RFC 7162 §3.1.5, RFC 8474 §7).

use mailrook_types::SystemFlags;

use super::input::{Input, Parsed};
use crate::{
    command::{Command, Search, SearchKey, SearchReturn},
    error::ParseError,
};

/// How deep keys may nest: far beyond what clients build, and a bound on recursion here and in the search.
const DEPTH_MAX: usize = 50;
/// Each key may be looked for in each message.
const KEYS_MAX: usize = 1024;

pub(super) fn search(input: &mut Input<'_>, by_uid: bool) -> Parsed<Command> {
    input.space("search keys")?;
    let mut returns = None;
    if input.eat_word("RETURN ") {
        returns = Some(result_options(input)?);
        input.space("search keys")?;
    }
    if input.eat_word("CHARSET ") {
        let charset = input.text("a charset")?;
        if !["UTF-8", "US-ASCII"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&charset))
        {
            return Err(ParseError::BadCharset);
        }
        input.space("search keys")?;
    }
    let mut keys = KeyParser { input, count: 0 };
    let mut all = vec![keys.key(0)?];
    while keys.input.end().is_err() {
        keys.input.space("another search key")?;
        all.push(keys.key(0)?);
    }
    Ok(Command::Search(Search {
        by_uid,
        returns,
        key: and(all),
    }))
}

fn result_options(input: &mut Input<'_>) -> Parsed<SearchReturn> {
    let mut returns = SearchReturn::default();
    input.list("result options", true, |input| {
        match input.word("a result option")?.as_str() {
            "MIN" => returns.min = true,
            "MAX" => returns.max = true,
            "ALL" => returns.all = true,
            "COUNT" => returns.count = true,
            "SAVE" => returns.save = true,
            _ => return Err(ParseError::Unknown("result option")),
        }
        Ok(())
    })?;
    // RFC 9051 §6.4.4: an empty list means ALL.
    if returns == SearchReturn::default() {
        returns.all = true;
    }
    Ok(returns)
}

/// One key for several; a single one stays itself.
fn and(mut keys: Vec<SearchKey>) -> SearchKey {
    match keys.pop() {
        Some(only) if keys.is_empty() => only,
        Some(last) => {
            keys.push(last);
            SearchKey::And(keys)
        }
        None => SearchKey::All,
    }
}

struct KeyParser<'p, 'i> {
    input: &'p mut Input<'i>,
    count: usize,
}

impl KeyParser<'_, '_> {
    fn key(&mut self, depth: usize) -> Parsed<SearchKey> {
        if depth > DEPTH_MAX {
            return Err(ParseError::TooDeep(DEPTH_MAX));
        }
        self.count += 1;
        if self.count > KEYS_MAX {
            return Err(ParseError::TooMany {
                what: "search keys",
                max: KEYS_MAX,
            });
        }
        match self.input.peek() {
            Some(b'(') => self.parentheses(depth),
            Some(b'0'..=b'9' | b'*' | b'$') => self.input.sequence_set().map(SearchKey::Sequence),
            _ => self.named(depth),
        }
    }

    fn parentheses(&mut self, depth: usize) -> Parsed<SearchKey> {
        self.input.byte(b'(', "'('")?;
        let mut keys = Vec::new();
        loop {
            keys.push(self.key(depth + 1)?);
            if self.input.eat(b')') {
                return Ok(and(keys));
            }
            self.input.space("')'")?;
        }
    }

    fn named(&mut self, depth: usize) -> Parsed<SearchKey> {
        let name = self.input.word("a search key")?;
        if let Some(key) = key_without_argument(&name) {
            return Ok(key);
        }
        match name.as_str() {
            "NOT" => {
                self.input.space("a search key")?;
                Ok(SearchKey::Not(Box::new(self.key(depth + 1)?)))
            }
            "OR" => {
                self.input.space("a search key")?;
                let first = self.key(depth + 1)?;
                self.input.space("a second search key")?;
                Ok(SearchKey::Or(
                    Box::new(first),
                    Box::new(self.key(depth + 1)?),
                ))
            }
            _ => key_with_argument(&name, self.input),
        }
    }
}

fn key_without_argument(name: &str) -> Option<SearchKey> {
    Some(match name {
        "ALL" => SearchKey::All,
        "ANSWERED" => SearchKey::Flag(SystemFlags::ANSWERED),
        "DELETED" => SearchKey::Flag(SystemFlags::DELETED),
        "DRAFT" => SearchKey::Flag(SystemFlags::DRAFT),
        "FLAGGED" => SearchKey::Flag(SystemFlags::FLAGGED),
        "SEEN" => SearchKey::Flag(SystemFlags::SEEN),
        "UNANSWERED" => SearchKey::NotFlag(SystemFlags::ANSWERED),
        "UNDELETED" => SearchKey::NotFlag(SystemFlags::DELETED),
        "UNDRAFT" => SearchKey::NotFlag(SystemFlags::DRAFT),
        "UNFLAGGED" => SearchKey::NotFlag(SystemFlags::FLAGGED),
        "UNSEEN" => SearchKey::NotFlag(SystemFlags::SEEN),
        "RECENT" => SearchKey::Recent,
        "NEW" => SearchKey::New,
        "OLD" => SearchKey::Old,
        _ => return None,
    })
}

fn key_with_argument(name: &str, input: &mut Input<'_>) -> Parsed<SearchKey> {
    if !takes_argument(name) {
        return Err(ParseError::Unknown("search key"));
    }
    input.space("the search key's argument")?;
    Ok(match name {
        "UID" => SearchKey::Uid(input.sequence_set()?),
        "KEYWORD" => SearchKey::Keyword(input.keyword()?),
        "UNKEYWORD" => SearchKey::NotKeyword(input.keyword()?),
        "FROM" => SearchKey::From(string(input)?),
        "TO" => SearchKey::To(string(input)?),
        "CC" => SearchKey::Cc(string(input)?),
        "BCC" => SearchKey::Bcc(string(input)?),
        "SUBJECT" => SearchKey::Subject(string(input)?),
        "BODY" => SearchKey::Body(string(input)?),
        "TEXT" => SearchKey::Text(string(input)?),
        "HEADER" => {
            let field = string(input)?;
            input.space("a string to look for")?;
            SearchKey::Header(field, string(input)?)
        }
        "BEFORE" => SearchKey::Before(input.date()?),
        "ON" => SearchKey::On(input.date()?),
        "SINCE" => SearchKey::Since(input.date()?),
        "SENTBEFORE" => SearchKey::SentBefore(input.date()?),
        "SENTON" => SearchKey::SentOn(input.date()?),
        "SENTSINCE" => SearchKey::SentSince(input.date()?),
        "LARGER" => SearchKey::Larger(input.number64("size")?),
        "SMALLER" => SearchKey::Smaller(input.number64("size")?),
        "OLDER" => SearchKey::Older(input.nz_number("number of seconds")?.get()),
        "YOUNGER" => SearchKey::Younger(input.nz_number("number of seconds")?.get()),
        "MODSEQ" => mod_seq(input)?,
        "EMAILID" => SearchKey::EmailId(input.atom("an EMAILID")?.to_owned()),
        _ => SearchKey::ThreadId(input.atom("a THREADID")?.to_owned()),
    })
}

fn takes_argument(name: &str) -> bool {
    const NAMES: [&str; 24] = [
        "UID",
        "KEYWORD",
        "UNKEYWORD",
        "FROM",
        "TO",
        "CC",
        "BCC",
        "SUBJECT",
        "BODY",
        "TEXT",
        "HEADER",
        "BEFORE",
        "ON",
        "SINCE",
        "SENTBEFORE",
        "SENTON",
        "SENTSINCE",
        "LARGER",
        "SMALLER",
        "OLDER",
        "YOUNGER",
        "MODSEQ",
        "EMAILID",
        "THREADID",
    ];
    NAMES.contains(&name)
}

/// UTF-8, as named or not: what is no UTF-8 was meant in some other charset.
fn string(input: &mut Input<'_>) -> Parsed<String> {
    input
        .text("a string to look for")
        .map_err(|error| match error {
            ParseError::NotUtf8 => ParseError::BadCharset,
            other => other,
        })
}

/// RFC 7162 §3.1.5: an entry's name and type may come first.
fn mod_seq(input: &mut Input<'_>) -> Parsed<SearchKey> {
    if input.peek() == Some(b'"') {
        let entry = input.text("an entry's name")?;
        if !entry.to_ascii_lowercase().starts_with("/flags/") {
            return Err(ParseError::Unknown("entry"));
        }
        input.space("an entry's type")?;
        if !["ALL", "PRIV", "SHARED"].contains(&input.word("an entry's type")?.as_str()) {
            return Err(ParseError::Unknown("entry's type"));
        }
        input.space("a MODSEQ")?;
    }
    input.mod_seq().map(SearchKey::ModSeq)
}
