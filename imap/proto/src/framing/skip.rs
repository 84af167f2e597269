//! Skips what is left of a refused command: its line, and what literals the client sends without waiting.

use crate::parse::{LITERAL_HEAD_LEN_MAX, LiteralHead};

/// What is left to skip.
#[derive(Debug)]
pub(super) struct Skip {
    /// Bytes left of a literal.
    literal_left: u64,
    /// The end of the line so far: enough of it to see a literal announced there.
    tail: [u8; LITERAL_HEAD_LEN_MAX],
    tail_len: usize,
    /// Bytes that may still be skipped.
    budget: u64,
}

/// How far skipping has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// More has to be skipped than there was.
    More,
    /// The command is at its end.
    All,
    /// The budget is spent.
    TooMuch,
}

impl Skip {
    /// Skips a literal and what follows it; `None` if it alone exceeds the budget.
    pub(super) fn literal(size: u64, budget: u64) -> Option<Skip> {
        let budget = budget.checked_sub(size)?;
        Some(Skip {
            literal_left: size,
            tail: [0; LITERAL_HEAD_LEN_MAX],
            tail_len: 0,
            budget,
        })
    }

    /// Skips the rest of a line that has begun with `start`.
    pub(super) fn line(start: &[u8], budget: u64) -> Skip {
        let mut skip = Skip {
            literal_left: 0,
            tail: [0; LITERAL_HEAD_LEN_MAX],
            tail_len: 0,
            budget,
        };
        skip.keep_tail(start);
        skip
    }

    /// Skips in `input`: how many bytes were used, and how far that is.
    pub(super) fn next(&mut self, input: &[u8]) -> (usize, Skipped) {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            if self.literal_left > 0 {
                let taken = usize::try_from(self.literal_left)
                    .map_or(rest.len(), |left| left.min(rest.len()));
                self.literal_left -= taken as u64;
                used += taken;
                if self.literal_left > 0 {
                    return (used, Skipped::More);
                }
                continue;
            }
            let end = memchr::memchr(b'\n', rest);
            let line = &rest[..end.map_or(rest.len(), |at| at + 1)];
            used += line.len();
            let Some(budget) = self.budget.checked_sub(line.len() as u64) else {
                return (used, Skipped::TooMuch);
            };
            self.budget = budget;
            self.keep_tail(line);
            if end.is_none() {
                return (used, Skipped::More);
            }
            let literal = LiteralHead::at_end_of(&self.tail[..self.tail_len]);
            self.tail_len = 0;
            // A client that waits with its literal has its answer already, and goes on to the next command.
            let Some(literal) = literal.filter(|literal| !literal.synchronising) else {
                return (used, Skipped::All);
            };
            let Some(budget) = self.budget.checked_sub(literal.size) else {
                return (used, Skipped::TooMuch);
            };
            self.budget = budget;
            self.literal_left = literal.size;
        }
    }

    fn keep_tail(&mut self, line: &[u8]) {
        let max = self.tail.len();
        if line.len() >= max {
            self.tail.copy_from_slice(&line[line.len() - max..]);
            self.tail_len = max;
            return;
        }
        let kept = self.tail_len.min(max - line.len());
        self.tail
            .copy_within(self.tail_len - kept..self.tail_len, 0);
        self.tail[kept..kept + line.len()].copy_from_slice(line);
        self.tail_len = kept + line.len();
    }
}
