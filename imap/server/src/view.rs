//! What a client believes to be in a mailbox: UIDs by sequence number.
//!
//! A mailbox of a million messages that were never expunged in patches is one range of 12 bytes. A fragmented one is
//! searched by bisection, so that no command costs messages × ranges.

use mailrook_types::{Uid, UidSet};

/// The messages of a selected mailbox as the client counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Ascending, disjoint, never adjacent.
    ranges: Vec<Range>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: u32,
    end: u32,
    /// How many messages stand before it.
    before: u32,
}

impl Range {
    fn len(self) -> u32 {
        self.end - self.start + 1
    }
}

impl View {
    pub(crate) fn new(uids: &UidSet) -> View {
        let mut ranges = Vec::with_capacity(uids.ranges().len());
        let mut before = 0;
        for uids in uids.ranges() {
            let range = Range {
                start: uids.start().get(),
                end: uids.end().get(),
                before,
            };
            // A mailbox has at most 10,000,000 messages.
            before += range.len();
            ranges.push(range);
        }
        View { ranges }
    }

    /// How many messages: EXISTS.
    pub(crate) fn len(&self) -> u32 {
        self.ranges
            .last()
            .map_or(0, |last| last.before + last.len())
    }

    /// The largest UID.
    pub(crate) fn last(&self) -> Option<Uid> {
        self.ranges.last().and_then(|last| Uid::new(last.end))
    }

    /// The UID of a sequence number, which counts from 1.
    #[cfg(test)]
    pub(crate) fn uid(&self, sequence: u32) -> Option<Uid> {
        let index = sequence.checked_sub(1)?;
        let at = self
            .ranges
            .partition_point(|range| range.before + range.len() <= index);
        let range = self.ranges.get(at)?;
        Uid::new(range.start + (index - range.before))
    }

    /// The sequence number of a UID.
    pub(crate) fn sequence(&self, uid: Uid) -> Option<u32> {
        let at = self.ranges.partition_point(|range| range.end < uid.get());
        let range = self.ranges.get(at)?;
        let offset = uid.get().checked_sub(range.start)?;
        Some(range.before + offset + 1)
    }

    /// All UIDs.
    pub(crate) fn uids(&self) -> UidSet {
        let mut uids = UidSet::new();
        for range in &self.ranges {
            insert(&mut uids, range.start, range.end);
        }
        uids
    }

    /// Those of `uids` that are in the view.
    pub(crate) fn known(&self, uids: &UidSet) -> UidSet {
        let mut known = UidSet::new();
        self.each_overlap(uids, |start, end, _| insert(&mut known, start, end));
        known
    }

    /// The sequence numbers of those of `uids` that are in the view, as a set of numbers.
    pub(crate) fn sequences(&self, uids: &UidSet) -> UidSet {
        let mut sequences = UidSet::new();
        self.each_overlap(uids, |start, end, range| {
            let first = range.before + (start - range.start) + 1;
            insert(&mut sequences, first, first + (end - start));
        });
        sequences
    }

    /// The UIDs of a set of sequence numbers; numbers beyond the mailbox name nothing.
    pub(crate) fn uids_of(&self, sequences: &UidSet) -> UidSet {
        let mut uids = UidSet::new();
        for wanted in sequences.ranges() {
            let (first, last) = (wanted.start().get() - 1, wanted.end().get() - 1);
            let at = self
                .ranges
                .partition_point(|range| range.before + range.len() <= first);
            for range in self.ranges[at..]
                .iter()
                .take_while(|range| range.before <= last)
            {
                let from = first.saturating_sub(range.before);
                let to = (last - range.before).min(range.len() - 1);
                insert(&mut uids, range.start + from, range.start + to);
            }
        }
        uids
    }

    /// Takes messages out.
    pub(crate) fn remove(&mut self, uids: &UidSet) {
        *self = View::new(&self.uids().difference(uids));
    }

    /// Adds messages, usually at the end.
    pub(crate) fn add(&mut self, uids: &UidSet) {
        *self = View::new(&self.uids().union(uids));
    }

    /// Visits what the view and `uids` have in common: its ends, and the range that it is in.
    fn each_overlap(&self, uids: &UidSet, mut visit: impl FnMut(u32, u32, Range)) {
        for wanted in uids.ranges() {
            let (first, last) = (wanted.start().get(), wanted.end().get());
            let at = self.ranges.partition_point(|range| range.end < first);
            for range in self.ranges[at..]
                .iter()
                .take_while(|range| range.start <= last)
            {
                visit(first.max(range.start), last.min(range.end), *range);
            }
        }
    }
}

/// Appends to a set in ascending order, which costs constant time.
fn insert(set: &mut UidSet, start: u32, end: u32) {
    if let (Some(start), Some(end)) = (Uid::new(start), Uid::new(end)) {
        set.insert_range(start..=end);
    }
}

/// The first UID that may come after these.
pub(crate) fn after(uids: &UidSet) -> Uid {
    match uids.last() {
        Some(last) => last.next().unwrap_or(Uid::MAX),
        None => Uid::MIN,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(numbers: impl IntoIterator<Item = u32>) -> UidSet {
        numbers.into_iter().filter_map(Uid::new).collect()
    }

    fn numbers(set: &UidSet) -> Vec<u32> {
        set.iter().map(Uid::get).collect()
    }

    #[test]
    fn counts() {
        let mut view = View::new(&set([3, 4, 5, 9, 20, 21]));
        assert_eq!(view.len(), 6);
        assert_eq!(view.uid(1), Uid::new(3));
        assert_eq!(view.uid(4), Uid::new(9));
        assert_eq!((view.uid(0), view.uid(7)), (None, None));
        assert_eq!(view.sequence(Uid::new(21).unwrap()), Some(6));
        assert_eq!(view.sequence(Uid::new(6).unwrap()), None);
        assert_eq!(numbers(&view.sequences(&set([1, 5, 6, 9, 21]))), [3, 4, 6]);
        assert_eq!(numbers(&view.uids_of(&set([2, 3, 4, 99]))), [4, 5, 9]);
        view.remove(&set([4, 9]));
        view.add(&set([22]));
        assert_eq!(numbers(&view.uids()), [3, 5, 20, 21, 22]);
    }

    #[test]
    fn a_million_messages_every_second_expunged() {
        let uids = set((1..=1_000_000).map(|n| n * 2));
        let view = View::new(&uids);
        assert_eq!(view.len(), 1_000_000);
        // Quadratic, this would take minutes.
        for sequence in 1..=1_000_000 {
            let uid = view.uid(sequence).unwrap();
            assert_eq!(view.sequence(uid), Some(sequence));
        }
        assert_eq!(view.uids_of(&view.sequences(&uids)), uids);
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(uids in prop::collection::btree_set(1u32..60, 0..40), wanted in prop::collection::btree_set(1u32..60, 0..40)) {
            let list: Vec<u32> = uids.iter().copied().collect();
            let view = View::new(&set(list.clone()));
            let wanted_set = set(wanted.iter().copied());
            let known: Vec<u32> = list.iter().copied().filter(|uid| wanted.contains(uid)).collect();
            let sequences: Vec<u32> = (1u32..).zip(&list).filter(|(_, uid)| wanted.contains(uid)).map(|(n, _)| n).collect();
            let named: Vec<u32> = (1u32..).zip(&list).filter(|(n, _)| wanted.contains(n)).map(|(_, uid)| *uid).collect();
            prop_assert_eq!(numbers(&view.known(&wanted_set)), known);
            prop_assert_eq!(numbers(&view.sequences(&wanted_set)), sequences);
            prop_assert_eq!(numbers(&view.uids_of(&wanted_set)), named);
            for (sequence, uid) in (1u32..).zip(&list) {
                prop_assert_eq!(view.sequence(Uid::new(*uid).unwrap()), Some(sequence));
                prop_assert_eq!(view.uid(sequence), Uid::new(*uid));
            }
        }
    }
}
