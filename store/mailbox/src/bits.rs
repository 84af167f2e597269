//! Sets of UIDs in blocks of 1,024.
//!
//! A block's set is the unit in which the store keeps UIDs: a mailbox of 1,000,000 messages has 977 of them, changing one
//! message rewrites at most 129 bytes, and changing all of them costs a record for each block and not for each message.
//!
//! Stored form: one byte that says which, then
//! `0` nothing · `1` first and last of one run, u16 LE each · `2` a count (u8) and so many u16 LE, ascending · `3` 128 bytes,
//! bit `n % 64` of the `n / 64`-th u64 LE. The smallest that fits is used, so that equal sets have equal bytes.

use std::ops::RangeInclusive;

use mailrook_types::{Uid, UidSet};

use crate::fields::{Damage, Fields};

/// UIDs in a block.
pub(crate) const BLOCK_LEN: u32 = 1 << BLOCK_SHIFT;
const BLOCK_SHIFT: u32 = 10;
const WORDS: usize = (BLOCK_LEN / 64) as usize;
/// Above this a list of positions is no smaller than the bitmap.
const LISTED_MAX: u32 = 62;

/// A set of the positions 0 to 1,023 in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bits([u64; WORDS]);

/// The block of a UID.
pub(crate) fn block_of(uid: u32) -> u32 {
    uid >> BLOCK_SHIFT
}

impl Bits {
    pub(crate) const EMPTY: Bits = Bits([0; WORDS]);

    pub(crate) fn insert(&mut self, uid: u32) {
        let at = (uid % BLOCK_LEN) as usize;
        self.0[at / 64] |= 1 << (at % 64);
    }

    pub(crate) fn remove(&mut self, uid: u32) {
        let at = (uid % BLOCK_LEN) as usize;
        self.0[at / 64] &= !(1 << (at % 64));
    }

    pub(crate) fn contains(&self, uid: u32) -> bool {
        let at = (uid % BLOCK_LEN) as usize;
        self.0[at / 64] & (1 << (at % 64)) != 0
    }

    /// Adds the positions `first..=last`.
    fn insert_run(&mut self, first: u32, last: u32) {
        for (word, bits) in self.0.iter_mut().enumerate() {
            let base = word as u32 * 64;
            let (from, to) = (first.max(base), last.min(base + 63));
            if from <= to {
                *bits |= (u64::MAX >> (63 - (to - from))) << (from - base);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    #[must_use]
    pub(crate) fn and(&self, other: &Bits) -> Bits {
        Bits(std::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    #[must_use]
    pub(crate) fn or(&self, other: &Bits) -> Bits {
        Bits(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    #[must_use]
    pub(crate) fn minus(&self, other: &Bits) -> Bits {
        Bits(std::array::from_fn(|i| self.0[i] & !other.0[i]))
    }

    /// The UIDs of this set, ascending, as those of `block`.
    pub(crate) fn uids(&self, block: u32) -> impl Iterator<Item = u32> + '_ {
        let base = block << BLOCK_SHIFT;
        self.0.iter().enumerate().flat_map(move |(word, bits)| {
            let mut rest = *bits;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(base + word as u32 * 64 + bit)
            })
        })
    }

    pub(crate) fn first(&self, block: u32) -> Option<u32> {
        self.uids(block).next()
    }

    pub(crate) fn last(&self, block: u32) -> Option<u32> {
        let (word, bits) = self.0.iter().enumerate().rfind(|(_, bits)| **bits != 0)?;
        Some((block << BLOCK_SHIFT) + word as u32 * 64 + 63 - bits.leading_zeros())
    }

    /// The `n` smallest, and the rest.
    pub(crate) fn split_first(&self, n: u32) -> (Bits, Bits) {
        let mut first = Bits::EMPTY;
        self.uids(0)
            .take(n as usize)
            .for_each(|position| first.insert(position));
        (first, self.minus(&first))
    }

    /// The first position at or after `from` that is in the set, or is not, as `member` says.
    fn find(&self, from: u32, member: bool) -> Option<u32> {
        let mut word = (from / 64) as usize;
        let mut skip = u64::MAX.checked_shl(from % 64).unwrap_or(0);
        while word < WORDS {
            let bits = if member { self.0[word] } else { !self.0[word] };
            if bits & skip != 0 {
                return Some(word as u32 * 64 + (bits & skip).trailing_zeros());
            }
            skip = u64::MAX;
            word += 1;
        }
        None
    }

    /// The runs of adjacent positions, first and last of each.
    fn runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let first = self.find(from, true)?;
            let end = self.find(first, false).unwrap_or(BLOCK_LEN);
            from = end;
            Some((first, end - 1))
        })
    }

    /// Adds the set's UIDs, as those of `block`, to `uids`.
    pub(crate) fn add_to(&self, block: u32, uids: &mut UidSet) {
        let base = block << BLOCK_SHIFT;
        for (first, last) in self.runs() {
            // UID zero is never stored, so that its position is never set.
            if let (Some(first), Some(last)) = (Uid::new(base + first), Uid::new(base + last)) {
                uids.insert_range(first..=last);
            }
        }
    }

    pub(crate) fn encode_to(&self, bytes: &mut Vec<u8>) {
        let mut runs = self.runs();
        let (run, more) = (runs.next(), runs.next().is_some());
        match run {
            None => bytes.push(0),
            Some((first, last)) if !more => {
                bytes.push(1);
                bytes.extend_from_slice(&(first as u16).to_le_bytes());
                bytes.extend_from_slice(&(last as u16).to_le_bytes());
            }
            Some(_) if self.count() <= LISTED_MAX => {
                bytes.extend_from_slice(&[2, self.count() as u8]);
                self.uids(0)
                    .for_each(|at| bytes.extend_from_slice(&(at as u16).to_le_bytes()));
            }
            Some(_) => {
                bytes.push(3);
                self.0
                    .iter()
                    .for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
            }
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8);
        self.encode_to(&mut bytes);
        bytes
    }

    pub(crate) fn decode_from(fields: &mut Fields<'_>) -> Result<Bits, Damage> {
        let mut bits = Bits::EMPTY;
        match fields.u8()? {
            0 => {}
            1 => {
                let (first, last) = (fields.u16()?, fields.u16()?);
                if last < first || u32::from(last) >= BLOCK_LEN {
                    return Err(Damage("a run of UIDs leaves its block"));
                }
                bits.insert_run(first.into(), last.into());
            }
            2 => {
                for _ in 0..fields.u8()? {
                    bits.insert(fields.u16()?.into());
                }
            }
            3 => {
                for word in &mut bits.0 {
                    *word = fields.u64()?;
                }
            }
            _ => return Err(Damage("a set of UIDs has an unknown form")),
        }
        Ok(bits)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Bits, Damage> {
        let mut fields = Fields::new(bytes);
        let bits = Bits::decode_from(&mut fields)?;
        fields.end()?;
        Ok(bits)
    }
}

/// Cuts a [`UidSet`] into blocks, without ever walking over the UIDs between two of them: `1:*` costs nothing.
pub(crate) struct Blocks<'a> {
    ranges: Box<dyn Iterator<Item = RangeInclusive<Uid>> + 'a>,
    current: Option<(u32, u32)>,
}

impl<'a> Blocks<'a> {
    pub(crate) fn of(uids: &'a UidSet) -> Blocks<'a> {
        let mut blocks = Blocks {
            ranges: Box::new(uids.ranges()),
            current: None,
        };
        blocks.step();
        blocks
    }

    fn step(&mut self) {
        let range = self.ranges.next();
        self.current = range.map(|range| (range.start().get(), range.end().get()));
    }

    /// The set's part in `block`. Blocks must be asked for in ascending order.
    pub(crate) fn block(&mut self, block: u32) -> Bits {
        let mut bits = Bits::EMPTY;
        let (base, last) = (
            block << BLOCK_SHIFT,
            (block << BLOCK_SHIFT) | (BLOCK_LEN - 1),
        );
        while let Some((start, end)) = self.current {
            if start > last {
                break;
            }
            if end >= base {
                bits.insert_run(start.max(base) - base, end.min(last) - base);
            }
            if end > last {
                break;
            }
            self.step();
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn bits_of(positions: &BTreeSet<u32>) -> Bits {
        let mut bits = Bits::EMPTY;
        positions.iter().for_each(|at| bits.insert(*at));
        bits
    }

    proptest! {
        #[test]
        fn behaves_as_a_set(
            a in prop::collection::btree_set(0u32..1024, 0..200),
            runs in prop::collection::vec((0u32..1024, 0u32..300), 0..4),
            cut in 0u32..300,
        ) {
            let mut b = BTreeSet::new();
            let mut bits_b = Bits::EMPTY;
            for (first, len) in runs {
                let last = (first + len).min(1023);
                b.extend(first..=last);
                bits_b.insert_run(first, last);
            }
            prop_assert_eq!(bits_b, bits_of(&b));
            let bits_a = bits_of(&a);
            prop_assert_eq!(bits_a.and(&bits_b), bits_of(&a.intersection(&b).copied().collect()));
            prop_assert_eq!(bits_a.or(&bits_b), bits_of(&a.union(&b).copied().collect()));
            prop_assert_eq!(bits_a.minus(&bits_b), bits_of(&a.difference(&b).copied().collect()));
            for (bits, set) in [(bits_a, &a), (bits_b, &b)] {
                prop_assert_eq!(Bits::decode(&bits.encode()).ok(), Some(bits));
                prop_assert_eq!(bits.count() as usize, set.len());
                prop_assert_eq!(bits.first(0), set.first().copied());
                prop_assert_eq!(bits.last(0), set.last().copied());
                prop_assert_eq!(bits.uids(3).collect::<Vec<_>>(), set.iter().map(|at| at + 3072).collect::<Vec<_>>());
                let (head, tail) = bits.split_first(cut);
                prop_assert_eq!(head, bits_of(&set.iter().take(cut as usize).copied().collect()));
                prop_assert_eq!(tail, bits_of(&set.iter().skip(cut as usize).copied().collect()));
                let mut uids = UidSet::new();
                bits.add_to(1, &mut uids);
                prop_assert_eq!(uids.iter().map(Uid::get).collect::<Vec<_>>(), bits.uids(1).collect::<Vec<_>>());
                prop_assert_eq!(Blocks::of(&uids).block(1), bits);
            }
        }

        #[test]
        fn cuts_a_set_into_blocks(uids in prop::collection::btree_set(1u32..5000, 0..400)) {
            let set: UidSet = uids.iter().filter_map(|uid| Uid::new(*uid)).collect();
            let mut blocks = Blocks::of(&set);
            let mut seen = Vec::new();
            for block in 0..5 {
                seen.extend(blocks.block(block).uids(block));
            }
            prop_assert_eq!(seen, uids.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn never_panics_on_garbage(bytes in prop::collection::vec(any::<u8>(), 0..140)) {
            let _ = Bits::decode(&bytes);
        }
    }

    #[test]
    fn reaches_the_last_uid() {
        let all = UidSet::from_range(Uid::MIN..=Uid::MAX);
        let mut blocks = Blocks::of(&all);
        assert!(!blocks.block(0).contains(0));
        let last = blocks.block(block_of(u32::MAX));
        assert_eq!(
            (last.count(), last.last(block_of(u32::MAX))),
            (1024, Some(u32::MAX))
        );
    }
}
