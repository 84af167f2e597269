//! What slots hold, for those who move them.

use std::ops::ControlFlow;

use mailrook_kv::{KvError, Read};
use mailrook_types::Timestamp;

use crate::{
    Answer, SlotEntry, TableId, key,
    limits::SLOTS_PER_MOVE_MAX,
    record::SlotState,
    slot::{self, Budget},
};

pub(super) fn entries(
    view: &dyn Read,
    now: i64,
    fenced_by: Option<u64>,
    slots: &[u16],
    after: Option<&(u16, TableId, Vec<u8>)>,
) -> Result<Answer, KvError> {
    let slots = slots.get(..SLOTS_PER_MOVE_MAX).unwrap_or(slots);
    if let Some(move_id) = fenced_by {
        for slot in slots {
            let record = slot::record(view, *slot)?;
            if record
                .is_none_or(|record| record.move_id != move_id || record.state != SlotState::Fenced)
            {
                return Ok(Answer::SlotNotHere);
            }
        }
    }
    let start = after.map_or_else(Vec::new, |(slot, table, key)| {
        let mut start = key::table_entry(*slot, *table, key);
        start.push(0);
        start
    });
    let (mut found, mut budget) = (Vec::new(), Budget::new());
    let first = after.map_or(0, |(slot, ..)| *slot);
    for slot in slots.iter().filter(|slot| **slot >= first) {
        let complete = slot::entries(view, *slot, &start, |table, key, record| {
            if record.has_expired(now) {
                return ControlFlow::Continue(());
            }
            if !budget.take(key.len() + record.value.len()) {
                return ControlFlow::Break(());
            }
            found.push(SlotEntry {
                table,
                key: key.to_vec(),
                value: record.value,
                expires: record.expires_ms.map(Timestamp),
            });
            ControlFlow::Continue(())
        })?;
        if !complete {
            return Ok(Answer::SlotEntries {
                entries: found,
                complete: false,
            });
        }
    }
    Ok(Answer::SlotEntries {
        entries: found,
        complete: true,
    })
}
