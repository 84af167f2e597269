//! Entries of the cluster-wide tables.

use std::{collections::BTreeSet, ops::ControlFlow};

use mailrook_kv::{KvError, Read, Space, prefix_end};

use crate::{
    TableId,
    fields::Damage,
    index::scan,
    key::{self, parse_table_entry, table_slot},
    limits::TABLE_SLOTS,
    record::TableRecord,
};

pub(super) fn get(
    view: &dyn Read,
    now: i64,
    table: TableId,
    key: &[u8],
) -> Result<Option<Vec<u8>>, KvError> {
    let key = key::table_entry(table_slot(table, key), table, key);
    let Some(stored) = view.get(Space::Index, &key)? else {
        return Ok(None);
    };
    let record = TableRecord::decode(&stored)?;
    Ok((!record.has_expired(now)).then_some(record.value))
}

/// Slot, key and value of an entry.
type Found = (u16, Vec<u8>, Vec<u8>);

/// A walk over slots, from one slot that has entries to the next.
pub(super) struct Scan<'a> {
    pub table: TableId,
    pub prefix: &'a [u8],
    /// `None` is all.
    pub slots: Option<BTreeSet<u16>>,
    pub limit: u32,
}

impl Scan<'_> {
    pub(super) fn run(
        &self,
        view: &dyn Read,
        now: i64,
        after: Option<&(u16, Vec<u8>)>,
    ) -> Result<Vec<Found>, KvError> {
        let mut found = Vec::new();
        let mut next = match after {
            None => self.slot_from(0),
            Some((slot, key)) if self.has(*slot) => {
                let mut after = key::table_entry(*slot, self.table, key);
                after.push(0);
                Some(after.max(self.start_of(*slot)))
            }
            Some((slot, _)) => self.slot_from(*slot),
        };
        while let Some(start) = next
            && found.len() < self.limit as usize
        {
            next = self.step(view, now, &start, &mut found)?;
        }
        Ok(found)
    }

    /// Where this table's entries with the prefix start in a slot.
    fn start_of(&self, slot: u16) -> Vec<u8> {
        key::table_entry(slot, self.table, self.prefix)
    }

    fn has(&self, slot: u16) -> bool {
        (self.slots.as_ref()).is_none_or(|slots| slots.contains(&slot))
    }

    /// The same of the first of the slots that is not below `slot`.
    fn slot_from(&self, slot: u16) -> Option<Vec<u8>> {
        let next = match &self.slots {
            None => (slot < TABLE_SLOTS).then_some(slot),
            Some(slots) => slots.range(slot..).next().copied(),
        };
        next.map(|slot| self.start_of(slot))
    }

    /// Reads on from `start` while keys match. Gives the place to go on from.
    fn step(
        &self,
        view: &dyn Read,
        now: i64,
        start: &[u8],
        found: &mut Vec<Found>,
    ) -> Result<Option<Vec<u8>>, KvError> {
        let mut next = None;
        let end = prefix_end(&[key::TABLE]);
        scan(view, Space::Index, start, &end, |stored_key, value| {
            let (slot, table, key) =
                parse_table_entry(stored_key).ok_or(Damage("a table's key is cut short"))?;
            if !self.has(slot) {
                next = self.slot_from(slot);
                return Ok(ControlFlow::Break(()));
            }
            if table == self.table && key.starts_with(self.prefix) {
                let record = TableRecord::decode(value)?;
                if !record.has_expired(now) {
                    found.push((slot, key.to_vec(), record.value));
                }
                let enough = found.len() >= self.limit as usize;
                return Ok(if enough {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                });
            }
            let here = self.start_of(slot);
            next = if stored_key < here.as_slice() {
                Some(here)
            } else {
                self.slot_from(slot + 1)
            };
            Ok(ControlFlow::Break(()))
        })?;
        Ok(next)
    }
}
