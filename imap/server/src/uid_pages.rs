//! Cuts a set of UIDs into pieces, so that no question to the store and no answer is as large as a mailbox.

use mailrook_types::{Uid, UidSet};

/// Sets of at most `len` UIDs each, ascending, that together are `uids`.
pub(crate) fn uid_pages(uids: &UidSet, len: u32) -> impl Iterator<Item = UidSet> + use<> {
    let mut ranges: std::collections::VecDeque<(Uid, Uid)> = uids
        .ranges()
        .map(|range| (*range.start(), *range.end()))
        .collect();
    std::iter::from_fn(move || {
        let mut page = UidSet::new();
        let mut left = len;
        while left > 0
            && let Some((start, end)) = ranges.pop_front()
        {
            let last = end.get().min(start.get().saturating_add(left - 1));
            let Some(last) = Uid::new(last) else { break };
            page.insert_range(start..=last);
            left -= last.get() - start.get() + 1;
            if last < end
                && let Some(next) = last.next()
            {
                ranges.push_front((next, end));
            }
        }
        (!page.is_empty()).then_some(page)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_across_ranges() {
        let uids: UidSet = [1, 2, 3, 7, 8, 9, 10, 20]
            .into_iter()
            .filter_map(Uid::new)
            .collect();
        let pages: Vec<String> = uid_pages(&uids, 3).map(|page| page.to_string()).collect();
        assert_eq!(pages, ["1:3", "7:9", "10,20"]);
        assert_eq!(uid_pages(&UidSet::new(), 3).count(), 0);
        let all = UidSet::from_range(Uid::MIN..=Uid::MAX);
        assert_eq!(uid_pages(&all, u32::MAX).count(), 1);
    }
}
