//! The disk under a node's log: what is written is lost in a crash, as a whole or from some write on, unless it is synced.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mailrook_cluster::{LogError, LogStore, LogWrite, RawEntry, RecordKey};
use parking_lot::Mutex;

use crate::chance::Chance;

/// How fast a disk syncs.
#[derive(Clone, Copy, Debug)]
pub enum Speed {
    /// As an SSD.
    Usual,
    /// So slow that others should lead.
    Slow,
}

#[derive(Default)]
struct Group {
    entries: BTreeMap<u64, RawEntry>,
    records: BTreeMap<RecordKey, Vec<u8>>,
}

struct Inner {
    groups: BTreeMap<u64, Group>,
    /// Written, and not synced.
    written: Vec<LogWrite>,
    speed: Speed,
    fails: bool,
    chance: Chance,
}

/// The log of one node. Clones share it, and it outlives the node's crashes.
#[derive(Clone)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

impl SimDisk {
    /// An empty one.
    pub fn new(chance: Chance) -> SimDisk {
        SimDisk {
            inner: Arc::new(Mutex::new(Inner {
                groups: BTreeMap::new(),
                written: Vec::new(),
                speed: Speed::Usual,
                fails: false,
                chance,
            })),
        }
    }

    /// How fast it is from now on.
    pub fn set_speed(&self, speed: Speed) {
        self.inner.lock().speed = speed;
    }

    /// The next sync fails.
    pub fn fail(&self) {
        self.inner.lock().fails = true;
    }

    /// The process or the power is gone: of what was not synced, nothing is left, or a first part.
    pub fn crash(&self) {
        let mut inner = self.inner.lock();
        inner.fails = false;
        let written = std::mem::take(&mut inner.written);
        let left = inner.chance.range(0, written.len() as u64 + 1) as usize;
        for write in written.into_iter().take(left) {
            inner.carry_out(write);
        }
    }
}

impl Inner {
    fn carry_out(&mut self, write: LogWrite) {
        match write {
            LogWrite::Append { group, entries } => {
                let known = &mut self.groups.entry(group).or_default().entries;
                if let Some(first) = entries.first() {
                    known.split_off(&first.index);
                    let last = known.last_key_value().map(|(last, _)| *last);
                    assert!(
                        last.is_none_or(|last| last + 1 == first.index),
                        "entry {} of group {group} comes behind {last:?}",
                        first.index
                    );
                }
                known.extend(entries.into_iter().map(|entry| (entry.index, entry)));
            }
            LogWrite::Record { group, key, value } => {
                let records = &mut self.groups.entry(group).or_default().records;
                records.insert(key, value);
            }
            LogWrite::Compact { group, first_kept } => {
                if let Some(known) = self.groups.get_mut(&group) {
                    known.entries = known.entries.split_off(&first_kept);
                }
            }
            LogWrite::Forget { group } => drop(self.groups.remove(&group)),
        }
    }
}

impl LogStore for SimDisk {
    fn begin(&self, writes: &[LogWrite]) -> Duration {
        let mut inner = self.inner.lock();
        inner.written = writes.to_vec();
        let speed = inner.speed;
        let ms = match speed {
            Speed::Usual if inner.chance.percent(2) => inner.chance.range(10, 60),
            Speed::Usual => inner.chance.range(0, 4),
            Speed::Slow => inner.chance.range(200, 3000),
        };
        Duration::from_millis(ms)
    }

    fn write_synced(&self, writes: &[LogWrite]) -> Result<(), LogError> {
        let mut inner = self.inner.lock();
        if inner.fails {
            return Err(LogError::failure("syncing", "the disk is broken"));
        }
        inner.written.clear();
        writes
            .iter()
            .for_each(|write| inner.carry_out(write.clone()));
        Ok(())
    }

    fn bounds(&self, group: u64) -> Option<(u64, u64)> {
        let inner = self.inner.lock();
        let entries = &inner.groups.get(&group)?.entries;
        Some((*entries.first_key_value()?.0, *entries.last_key_value()?.0))
    }

    fn read(
        &self,
        group: u64,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<RawEntry>, LogError> {
        let inner = self.inner.lock();
        let missing = || LogError::damage("reading entries", "the group is not there");
        let entries = &inner.groups.get(&group).ok_or_else(missing)?.entries;
        let mut bytes = 0;
        let fits = |(_, entry): &(&u64, &RawEntry)| {
            let first = bytes == 0;
            bytes += entry.body.len() + entry.head.len();
            first || bytes <= bytes_max
        };
        let found = entries.range(from..to).take_while(fits);
        Ok(found.map(|(_, entry)| entry.clone()).collect())
    }

    fn record(&self, group: u64, key: RecordKey) -> Option<Vec<u8>> {
        let inner = self.inner.lock();
        inner.groups.get(&group)?.records.get(&key).cloned()
    }

    fn purge(&self) -> Result<Vec<u64>, LogError> {
        Ok(Vec::new())
    }

    fn used_bytes(&self) -> u64 {
        let inner = self.inner.lock();
        let entries = inner
            .groups
            .values()
            .flat_map(|group| group.entries.values());
        entries
            .map(|entry| (entry.body.len() + entry.head.len()) as u64)
            .sum()
    }
}
