//! Flags and keywords (RFC 9051 §9, `flag`).

use mailrook_types::{Flags, Keyword, SystemFlags};

use super::input::{Input, Parsed};
use crate::error::ParseError;

/// More keywords than any client sets at once; a bound on the search for doubles too.
const KEYWORDS_MAX: usize = 256;

impl Input<'_> {
    /// `(flag flag …)`, which may be empty.
    pub(super) fn flag_list(&mut self) -> Parsed<Flags> {
        let mut flags = Flags::default();
        self.list("flags in parentheses", true, |input| input.flag(&mut flags))?;
        Ok(flags)
    }

    /// One flag, into `flags`. `\Recent` is dropped: clients that copy a message send what they were told.
    pub(super) fn flag(&mut self, flags: &mut Flags) -> Parsed<()> {
        if self.eat(b'\\') {
            let name = format!("\\{}", self.atom("a flag")?);
            match SystemFlags::parse(&name) {
                Some(flag) => flags.system |= flag,
                None if name.eq_ignore_ascii_case("\\Recent") => {}
                None => return Err(ParseError::Unknown("system flag")),
            }
            return Ok(());
        }
        if flags.keywords.len() == KEYWORDS_MAX {
            return Err(ParseError::TooMany {
                what: "keywords",
                max: KEYWORDS_MAX,
            });
        }
        flags.insert_keyword(self.keyword()?);
        Ok(())
    }

    pub(super) fn keyword(&mut self) -> Parsed<Keyword> {
        let atom = self.atom("a keyword")?;
        Keyword::parse(atom).map_err(|error| ParseError::BadKeyword(error.to_string()))
    }
}
