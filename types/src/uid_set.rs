//! Sets of UIDs as sorted ranges: the whole view of a session on a mailbox is one of them.

use std::{fmt, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

use crate::Uid;

/// A set of UIDs. The ranges are sorted, disjoint and never adjacent, so that equal sets are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u32, u32)>", into = "Vec<(u32, u32)>")]
pub struct UidSet {
    ranges: Vec<(u32, u32)>,
}

impl UidSet {
    /// The empty set.
    pub const fn new() -> UidSet {
        UidSet { ranges: Vec::new() }
    }

    /// All UIDs of `range`; the empty set if it ends before it starts.
    pub fn from_range(range: RangeInclusive<Uid>) -> UidSet {
        let mut set = UidSet::new();
        set.insert_range(range);
        set
    }

    /// Adds one UID.
    pub fn insert(&mut self, uid: Uid) {
        self.insert_range(uid..=uid);
    }

    /// Adds all UIDs of `range`. Appending at the end, the usual case, costs constant time.
    pub fn insert_range(&mut self, range: RangeInclusive<Uid>) {
        let (mut start, mut end) = (range.start().get(), range.end().get());
        if end < start {
            return;
        }
        // The ranges that touch or overlap the new one stand in `first..last`.
        let first = self
            .ranges
            .partition_point(|(_, e)| e.saturating_add(1) < start);
        let last = self
            .ranges
            .partition_point(|(s, _)| *s <= end.saturating_add(1));
        if first < last {
            start = start.min(self.ranges[first].0);
            end = end.max(self.ranges[last - 1].1);
        }
        self.ranges.splice(first..last, [(start, end)]);
    }

    /// Takes one UID out. Says whether it was there.
    pub fn remove(&mut self, uid: Uid) -> bool {
        let uid = uid.get();
        let at = self.ranges.partition_point(|(_, end)| *end < uid);
        let Some(&(start, end)) = self.ranges.get(at) else {
            return false;
        };
        if uid < start {
            return false;
        }
        let before = (start < uid).then(|| (start, uid - 1));
        let after = (uid < end).then(|| (uid + 1, end));
        self.ranges.splice(at..=at, before.into_iter().chain(after));
        true
    }

    /// Whether `uid` is in the set.
    pub fn contains(&self, uid: Uid) -> bool {
        let at = self.ranges.partition_point(|(_, end)| *end < uid.get());
        self.ranges
            .get(at)
            .is_some_and(|(start, _)| *start <= uid.get())
    }

    /// How many UIDs there are.
    pub fn len(&self) -> u64 {
        self.ranges
            .iter()
            .map(|(start, end)| u64::from(end - start) + 1)
            .sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The smallest UID.
    pub fn first(&self) -> Option<Uid> {
        self.ranges.first().and_then(|(start, _)| Uid::new(*start))
    }

    /// The largest UID.
    pub fn last(&self) -> Option<Uid> {
        self.ranges.last().and_then(|(_, end)| Uid::new(*end))
    }

    /// The ranges, ascending.
    pub fn ranges(
        &self,
    ) -> impl DoubleEndedIterator<Item = RangeInclusive<Uid>> + ExactSizeIterator + '_ {
        self.ranges
            .iter()
            .map(|(start, end)| known_uid(*start)..=known_uid(*end))
    }

    /// The UIDs, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Uid> + '_ {
        self.ranges
            .iter()
            .flat_map(|(start, end)| (*start..=*end).map(known_uid))
    }

    /// What both sets have.
    #[must_use]
    pub fn intersection(&self, other: &UidSet) -> UidSet {
        let mut both = Vec::new();
        let (mut a, mut b) = (0, 0);
        while let (Some(&(a_start, a_end)), Some(&(b_start, b_end))) =
            (self.ranges.get(a), other.ranges.get(b))
        {
            let (start, end) = (a_start.max(b_start), a_end.min(b_end));
            if start <= end {
                both.push((start, end));
            }
            if a_end < b_end { a += 1 } else { b += 1 }
        }
        UidSet { ranges: both }
    }

    /// What either set has.
    #[must_use]
    pub fn union(&self, other: &UidSet) -> UidSet {
        let mut either = self.clone();
        other.ranges().for_each(|range| either.insert_range(range));
        either
    }

    /// What this set has and `other` has not.
    #[must_use]
    pub fn difference(&self, other: &UidSet) -> UidSet {
        let mut rest = Vec::with_capacity(self.ranges.len());
        let mut b = 0;
        for &(start, end) in &self.ranges {
            let mut from = start;
            let mut exhausted = false;
            while let Some(&(b_start, b_end)) = other.ranges.get(b) {
                if b_start > end {
                    break;
                }
                if b_end >= from {
                    if b_start > from {
                        rest.push((from, b_start - 1));
                    }
                    if b_end >= end {
                        // This range of `other` may reach into the next of ours: keep it.
                        exhausted = true;
                        break;
                    }
                    from = b_end + 1;
                }
                b += 1;
            }
            if !exhausted {
                rest.push((from, end));
            }
        }
        UidSet { ranges: rest }
    }

    /// The UID with `index` smaller ones in the set: a sequence number's message, counted from zero.
    ///
    /// Costs a step for each range; a mailbox's ranges are few unless it was expunged in patches.
    pub fn nth(&self, index: u64) -> Option<Uid> {
        let mut before = 0;
        for (start, end) in &self.ranges {
            let count = u64::from(end - start) + 1;
            if index < before + count {
                let offset = u32::try_from(index - before).ok()?;
                return Uid::new(start + offset);
            }
            before += count;
        }
        None
    }

    /// How many UIDs of the set are smaller than `uid`: for a member, its sequence number less one.
    pub fn rank(&self, uid: Uid) -> u64 {
        let uid = uid.get();
        self.ranges
            .iter()
            .take_while(|(start, _)| *start < uid)
            .map(|(start, end)| u64::from((*end).min(uid - 1) - start) + 1)
            .sum()
    }
}

/// Ranges hold only what came in as a [`Uid`], so that none of their numbers is zero.
fn known_uid(value: u32) -> Uid {
    Uid::new(value).expect("a range of a UidSet never holds zero")
}

/// The form of RFC 9051's `sequence-set`, for example `1:4,7`; nothing at all for the empty set.
impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (start, end)) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if start == end {
                write!(f, "{comma}{start}")?;
            } else {
                write!(f, "{comma}{start}:{end}")?;
            }
        }
        Ok(())
    }
}

impl FromIterator<Uid> for UidSet {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> UidSet {
        let mut set = UidSet::new();
        uids.into_iter().for_each(|uid| set.insert(uid));
        set
    }
}

impl Extend<Uid> for UidSet {
    fn extend<I: IntoIterator<Item = Uid>>(&mut self, uids: I) {
        uids.into_iter().for_each(|uid| self.insert(uid));
    }
}

impl From<UidSet> for Vec<(u32, u32)> {
    fn from(set: UidSet) -> Vec<(u32, u32)> {
        set.ranges
    }
}

impl TryFrom<Vec<(u32, u32)>> for UidSet {
    type Error = &'static str;

    fn try_from(ranges: Vec<(u32, u32)>) -> Result<UidSet, &'static str> {
        let in_order = |pair: &[(u32, u32)]| {
            pair[0]
                .1
                .checked_add(1)
                .is_some_and(|next| next < pair[1].0)
        };
        let well_formed = ranges.iter().all(|(start, end)| 0 < *start && start <= end);
        if well_formed && ranges.windows(2).all(in_order) {
            Ok(UidSet { ranges })
        } else {
            Err("the ranges of a UID set are not sorted, disjoint and above zero")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn uid(value: u32) -> Uid {
        Uid::new(value).unwrap()
    }

    fn set_of(values: &BTreeSet<u32>) -> UidSet {
        values.iter().map(|value| uid(*value)).collect()
    }

    #[test]
    fn prints_as_a_sequence_set() {
        assert_eq!(UidSet::new().to_string(), "");
        assert_eq!(
            [7, 2, 3, 1]
                .map(uid)
                .into_iter()
                .collect::<UidSet>()
                .to_string(),
            "1:3,7"
        );
    }

    #[test]
    fn reaches_both_ends_of_the_numbers() {
        let mut set = UidSet::from_range(Uid::MIN..=Uid::MAX);
        assert_eq!(set.len(), u64::from(u32::MAX));
        assert!(set.remove(Uid::MAX) && set.remove(Uid::MIN));
        assert_eq!(set.to_string(), "2:4294967294");
        set.insert(Uid::MAX);
        assert_eq!(set.last(), Some(Uid::MAX));
    }

    proptest! {
        #[test]
        fn behaves_as_a_set_of_numbers(
            a in prop::collection::btree_set(1u32..60, 0..40),
            b in prop::collection::btree_set(1u32..60, 0..40),
            probe in 1u32..62,
        ) {
            let (sa, sb) = (set_of(&a), set_of(&b));
            prop_assert_eq!(sa.union(&sb), set_of(&a.union(&b).copied().collect()));
            prop_assert_eq!(sa.intersection(&sb), set_of(&a.intersection(&b).copied().collect()));
            prop_assert_eq!(sa.difference(&sb), set_of(&a.difference(&b).copied().collect()));
            prop_assert_eq!(sa.len(), a.len() as u64);
            prop_assert_eq!(sa.contains(uid(probe)), a.contains(&probe));
            prop_assert_eq!(sa.rank(uid(probe)), a.range(..probe).count() as u64);
            prop_assert_eq!(sa.iter().map(Uid::get).collect::<Vec<_>>(), a.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(sa.nth(3).map(Uid::get), a.iter().nth(3).copied());
            let mut removed = sa.clone();
            let mut model = a.clone();
            prop_assert_eq!(removed.remove(uid(probe)), model.remove(&probe));
            prop_assert_eq!(&removed, &set_of(&model));
            prop_assert_eq!(UidSet::try_from(Vec::from(removed.clone())), Ok(removed));
        }
    }
}
