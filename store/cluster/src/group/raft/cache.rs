//! The newest entries of one group's log, in memory.

use std::{collections::VecDeque, ops::Range};

use openraft::EntryPayload;

use super::types::Entry;

/// What an entry takes beside its command.
const ENTRY_BYTES: usize = 200;

struct Cached {
    entry: Entry,
    /// Which append it came with.
    append: u64,
}

/// Consecutive entries up to the last one. What is not written yet is always there.
pub(super) struct TailCache {
    entries: VecDeque<Cached>,
    bytes: usize,
    bytes_max: usize,
}

fn len_bytes(entry: &Entry) -> usize {
    ENTRY_BYTES
        + match &entry.payload {
            EntryPayload::Normal(command) => command.bytes.len(),
            EntryPayload::Blank | EntryPayload::Membership(_) => 0,
        }
}

impl TailCache {
    /// Starts empty, and keeps at most about `bytes_max` of what is written.
    pub(super) fn new(bytes_max: usize) -> TailCache {
        TailCache {
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Adds the next entry of the log, which came with the append numbered `append`.
    pub(super) fn push(&mut self, entry: Entry, append: u64) {
        self.bytes += len_bytes(&entry);
        self.entries.push_back(Cached { entry, append });
    }

    /// Drops the oldest ones beyond the bound whose appends, up to `written`, are written.
    pub(super) fn trim(&mut self, written: u64) {
        while self.bytes > self.bytes_max
            && self
                .entries
                .front()
                .is_some_and(|oldest| oldest.append <= written)
        {
            self.pop_front();
        }
    }

    /// Drops those before `index`.
    pub(super) fn drop_before(&mut self, index: u64) {
        while self
            .entries
            .front()
            .is_some_and(|oldest| oldest.entry.log_id.index < index)
        {
            self.pop_front();
        }
    }

    /// Drops those from `index` on.
    pub(super) fn drop_from(&mut self, index: u64) {
        while self
            .entries
            .back()
            .is_some_and(|newest| newest.entry.log_id.index >= index)
        {
            if let Some(newest) = self.entries.pop_back() {
                self.bytes -= len_bytes(&newest.entry);
            }
        }
    }

    /// The first entry's index.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|oldest| oldest.entry.log_id.index)
    }

    /// Those of `range` that are here, up to `bytes_max` of them, but at least one.
    pub(super) fn read(&self, range: Range<u64>, bytes_max: usize) -> Vec<Entry> {
        let Some(first) = self.first() else {
            return Vec::new();
        };
        let skip = usize::try_from(range.start.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut found = Vec::new();
        for cached in self.entries.iter().skip(skip) {
            bytes += len_bytes(&cached.entry);
            if cached.entry.log_id.index >= range.end || bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(cached.entry.clone());
        }
        found
    }

    fn pop_front(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.bytes -= len_bytes(&oldest.entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft::EntryPayload;

    use super::{ENTRY_BYTES, TailCache};
    use crate::{
        group::raft::{Command, Entry},
        log::log_id,
    };

    fn entry(index: u64) -> Entry {
        let command = Command {
            time_ms: 0,
            bytes: Bytes::from_static(&[0; 100]),
        };
        Entry {
            log_id: log_id(1, 1, index),
            payload: EntryPayload::Normal(command),
        }
    }

    fn indexes(cache: &TailCache, range: std::ops::Range<u64>, bytes_max: usize) -> Vec<u64> {
        cache
            .read(range, bytes_max)
            .iter()
            .map(|entry| entry.log_id.index)
            .collect()
    }

    #[test]
    fn what_is_not_written_stays() {
        let one = ENTRY_BYTES + 100;
        let mut cache = TailCache::new(3 * one);
        for index in 10..20 {
            cache.push(entry(index), index / 2);
        }
        cache.trim(6);
        assert_eq!(
            cache.first(),
            Some(14),
            "the append of 14 and 15 is not written"
        );
        cache.trim(100);
        assert_eq!(cache.first(), Some(17));
        assert_eq!(indexes(&cache, 0..100, usize::MAX), [17, 18, 19]);
        assert_eq!(indexes(&cache, 18..19, usize::MAX), [18]);
        assert_eq!(indexes(&cache, 17..20, 2 * one), [17, 18]);
        assert_eq!(indexes(&cache, 17..20, 1), [17], "at least one");
        cache.drop_from(19);
        cache.drop_before(18);
        assert_eq!(indexes(&cache, 0..100, usize::MAX), [18]);
        cache.drop_before(50);
        assert_eq!((cache.first(), cache.bytes), (None, 0));
    }
}
