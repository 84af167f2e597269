//! Sequence sets (RFC 9051 §9, `sequence-set`).

use super::input::{Input, Parsed};
use crate::{
    command::{SequenceBound, SequenceRange, SequenceSet},
    error::ParseError,
};

const EXPECTED: &str = "a set of message numbers";

impl Input<'_> {
    /// A set of numbers or `$`.
    pub(super) fn sequence_set(&mut self) -> Parsed<SequenceSet> {
        if self.eat(b'$') {
            return Ok(SequenceSet::Saved);
        }
        let mut ranges = Vec::new();
        loop {
            if ranges.len() == SequenceSet::RANGES_MAX {
                return Err(ParseError::TooMany {
                    what: "ranges of messages",
                    max: SequenceSet::RANGES_MAX,
                });
            }
            let start = self.bound()?;
            let end = if self.eat(b':') { self.bound()? } else { start };
            ranges.push(SequenceRange { start, end });
            if !self.eat(b',') {
                return Ok(SequenceSet::Ranges(ranges));
            }
        }
    }

    /// A set without `$` and `*`: what a client knows from before (RFC 7162 §7, `known-uids`).
    pub(super) fn explicit_set(&mut self) -> Parsed<SequenceSet> {
        let set = self.sequence_set()?;
        if set.is_explicit() {
            Ok(set)
        } else {
            Err(ParseError::Expected("a set without '*' and '$'"))
        }
    }

    fn bound(&mut self) -> Parsed<SequenceBound> {
        if self.eat(b'*') {
            return Ok(SequenceBound::Largest);
        }
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Err(ParseError::Expected(EXPECTED));
        }
        self.nz_number("message number").map(SequenceBound::Number)
    }
}
