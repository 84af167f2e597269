//! Sequence sets (RFC 9051 §9, `sequence-set`).

use std::{fmt, num::NonZeroU32};

use mailrook_types::{Uid, UidSet};

/// The messages that a command names: by sequence number or by UID, which the command says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceSet {
    /// `$`: the saved result of a search (RFC 9051 §6.4.4.1).
    Saved,
    /// Ranges as the client wrote them; at least one.
    Ranges(Vec<SequenceRange>),
}

/// One range. Its ends may stand in either order (RFC 9051 §9, `seq-range`); a single number is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceRange {
    /// What stands before the colon.
    pub start: SequenceBound,
    /// What stands after it.
    pub end: SequenceBound,
}

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceBound {
    /// A number.
    Number(NonZeroU32),
    /// `*`: the largest in use.
    Largest,
}

impl SequenceBound {
    /// The number that is meant, where `largest` is in use; `None` for `*` of an empty mailbox.
    fn resolve(self, largest: u32) -> Option<NonZeroU32> {
        match self {
            SequenceBound::Number(number) => Some(number),
            SequenceBound::Largest => NonZeroU32::new(largest),
        }
    }
}

impl SequenceSet {
    /// How many ranges a set may have: as many as fit a command line of 64 KiB.
    pub const RANGES_MAX: usize = 32_768;

    /// The numbers of the set, where `largest` is the largest in use (0 in an empty mailbox): sorted, each
    /// once, as a [`UidSet`], which serves sequence numbers too. `None` for `$`.
    ///
    /// The set is not cut at `largest`: the numbers beyond it name nothing, and for sequence numbers are the
    /// client's mistake, see [`SequenceSet::exceeds`].
    pub fn resolve(&self, largest: u32) -> Option<UidSet> {
        let SequenceSet::Ranges(ranges) = self else {
            return None;
        };
        let ends = |range: &SequenceRange| {
            let (a, b) = (range.start.resolve(largest)?, range.end.resolve(largest)?);
            Some((a.min(b).get(), a.max(b).get()))
        };
        let mut sorted: Vec<(u32, u32)> = ranges.iter().filter_map(ends).collect();
        // In ascending order every insertion is at the end, so that the whole costs no more than the sort.
        sorted.sort_unstable();
        let mut set = UidSet::new();
        for (start, end) in sorted {
            if let (Some(start), Some(end)) = (Uid::new(start), Uid::new(end)) {
                set.insert_range(start..=end);
            }
        }
        Some(set)
    }

    /// Whether a number above `largest` is named: with sequence numbers that is an error (RFC 9051 §9,
    /// `seq-number`), with UIDs it is not.
    pub fn exceeds(&self, largest: u32) -> bool {
        let above = |bound: SequenceBound| match bound {
            SequenceBound::Number(number) => number.get() > largest,
            SequenceBound::Largest => largest == 0,
        };
        match self {
            SequenceSet::Saved => false,
            SequenceSet::Ranges(ranges) => ranges
                .iter()
                .any(|range| above(range.start) || above(range.end)),
        }
    }

    /// Whether every bound is a number: neither `$` nor `*`.
    pub fn is_explicit(&self) -> bool {
        let number = |bound: SequenceBound| matches!(bound, SequenceBound::Number(_));
        match self {
            SequenceSet::Saved => false,
            SequenceSet::Ranges(ranges) => ranges
                .iter()
                .all(|range| number(range.start) && number(range.end)),
        }
    }
}

impl fmt::Display for SequenceBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SequenceBound::Number(number) => number.fmt(f),
            SequenceBound::Largest => f.write_str("*"),
        }
    }
}

impl fmt::Display for SequenceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SequenceSet::Ranges(ranges) = self else {
            return f.write_str("$");
        };
        for (index, range) in ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if range.start == range.end {
                write!(f, "{comma}{}", range.start)?;
            } else {
                write!(f, "{comma}{}:{}", range.start, range.end)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u32, u32)]) -> SequenceSet {
        let bound =
            |number| NonZeroU32::new(number).map_or(SequenceBound::Largest, SequenceBound::Number);
        let range = |&(start, end)| SequenceRange {
            start: bound(start),
            end: bound(end),
        };
        SequenceSet::Ranges(ranges.iter().map(range).collect())
    }

    #[test]
    fn star_is_the_largest() {
        assert_eq!(set(&[(0, 0)]).resolve(7).unwrap().to_string(), "7");
        assert_eq!(set(&[(0, 0)]).resolve(0).unwrap().to_string(), "");
        // RFC 9051 §9: 4:* with three messages is 3:4, and so has the last one.
        assert_eq!(set(&[(4, 0)]).resolve(3).unwrap().to_string(), "3:4");
        assert_eq!(
            set(&[(9, 8), (1, 2), (2, 3)])
                .resolve(3)
                .unwrap()
                .to_string(),
            "1:3,8:9"
        );
        assert_eq!(SequenceSet::Saved.resolve(3), None);
    }

    #[test]
    fn tells_what_is_beyond_the_mailbox() {
        assert!(
            set(&[(1, 4)]).exceeds(3) && !set(&[(1, 0)]).exceeds(3) && set(&[(0, 0)]).exceeds(0)
        );
        assert!(set(&[(1, 4)]).is_explicit() && !set(&[(1, 0)]).is_explicit());
    }

    #[test]
    fn resolves_many_ranges_in_little_time() {
        let many: Vec<_> = (1..=32_768u32).rev().map(|n| (n * 2, n * 2)).collect();
        assert_eq!(set(&many).resolve(1).unwrap().len(), 32_768);
    }
}
