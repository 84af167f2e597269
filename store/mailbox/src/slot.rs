//! Which slots of the cluster-wide tables are this shard's.
//!
//! A slot without a record is as it was in the beginning, when the meta group dealt the slots out: those who ask for it have
//! read there that it is this shard's. Once it has moved its record says so, and stays for good: whoever has an older map
//! is refused, and reads the map again.

use std::{collections::BTreeSet, ops::ControlFlow};

use mailrook_kv::{KvError, Read, Space, prefix_end};

use crate::{
    TableId,
    fields::Damage,
    index::scan,
    key::{self, Expiring, parse_table_entry},
    limits::{SLOT_BYTES_MAX, SLOT_ENTRIES_MAX},
    record::{SlotRecord, SlotState, SlotsRecord, TableRecord},
    tx::Writable,
};

impl SlotRecord {
    /// Whether the slot's entries are read and changed here.
    pub(crate) fn is_here(self) -> bool {
        self.state == SlotState::Here
    }
}

/// What the last move of a slot has made of it.
pub(crate) fn record(view: &dyn Read, slot: u16) -> Result<Option<SlotRecord>, KvError> {
    match view.get(Space::Index, &key::slot(slot))? {
        Some(bytes) => Ok(Some(SlotRecord::decode(&bytes)?)),
        None => Ok(None),
    }
}

/// Whether the slot's entries are read and changed here.
pub(crate) fn is_here(view: &dyn Read, slot: u16) -> Result<bool, KvError> {
    Ok(record(view, slot)?.is_none_or(SlotRecord::is_here))
}

/// Whether any slot ever came or left.
pub(crate) fn any_moved(view: &dyn Read) -> Result<bool, KvError> {
    Ok(view.get(Space::Index, &key::slots())?.is_some())
}

/// The slots that are not here.
pub(crate) fn elsewhere(view: &dyn Read) -> Result<BTreeSet<u16>, KvError> {
    let mut found = BTreeSet::new();
    let prefix = [key::SLOT];
    scan(
        view,
        Space::Index,
        &prefix,
        &prefix_end(&prefix),
        |key, value| {
            if !SlotRecord::decode(value)?.is_here() {
                found.insert(key::parse_slot(key)?);
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(found)
}

/// Notes what a move makes of slots.
pub(crate) fn put_all(
    view: &mut dyn Writable,
    slots: &[u16],
    record: SlotRecord,
) -> Result<(), KvError> {
    let guard_key = key::slots();
    let mut guard = match view.get(Space::Index, &guard_key)? {
        Some(bytes) => SlotsRecord::decode(&bytes)?,
        None => SlotsRecord::default(),
    };
    for slot in slots {
        let key = key::slot(*slot);
        let value = record.encode();
        match view.get(Space::Index, &key)? {
            Some(old) => guard.sum.remove(Space::Index, &key, &old),
            None => guard.count += 1,
        }
        guard.sum.add(Space::Index, &key, &value);
        view.put(Space::Index, key, value);
    }
    view.put(Space::Index, guard_key, guard.encode());
    Ok(())
}

/// How much one command or answer may touch: entries, and bytes of keys and values.
pub(crate) struct Budget {
    entries: usize,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new() -> Budget {
        Budget {
            entries: SLOT_ENTRIES_MAX,
            bytes: SLOT_BYTES_MAX,
        }
    }

    /// Whether an entry of so many bytes fits. The first one does in any case, so that every step gets on.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let first = self.entries == SLOT_ENTRIES_MAX && self.bytes == SLOT_BYTES_MAX;
        if !first && (self.entries == 0 || bytes > self.bytes) {
            return false;
        }
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

/// Reads a slot's entries from `start` on. Says whether `visit` has seen the last one.
pub(crate) fn entries(
    view: &dyn Read,
    slot: u16,
    start: &[u8],
    mut visit: impl FnMut(TableId, &[u8], TableRecord) -> ControlFlow<()>,
) -> Result<bool, KvError> {
    let prefix = key::slot_entries(slot);
    let mut complete = true;
    scan(
        view,
        Space::Index,
        start.max(prefix.as_slice()),
        &prefix_end(&prefix),
        |key, value| {
            let (_, table, entry) =
                parse_table_entry(key).ok_or(Damage("a table's key is cut short"))?;
            let next = visit(table, entry, TableRecord::decode(value)?);
            complete = next.is_continue();
            Ok(next)
        },
    )?;
    Ok(complete)
}

/// Removes a slot's entries, and what would have them expire. Says whether that was all.
pub(crate) fn remove_entries(
    view: &mut dyn Writable,
    slot: u16,
    budget: &mut Budget,
) -> Result<bool, KvError> {
    let mut found = Vec::new();
    let complete = entries(view.as_read(), slot, &[], |table, key, record| {
        if !budget.take(key.len() + record.value.len()) {
            return ControlFlow::Break(());
        }
        found.push((table, key.to_vec(), record.expires_ms));
        ControlFlow::Continue(())
    })?;
    for (table, key, expires_ms) in found {
        view.delete(Space::Index, key::table_entry(slot, table, &key));
        if let Some(at) = expires_ms {
            let what = Expiring::Entry(slot, table, key);
            view.delete(Space::Index, key::expiry(at, &what));
        }
    }
    Ok(complete)
}
