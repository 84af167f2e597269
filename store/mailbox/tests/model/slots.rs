//! The reference's slots: which are here, by the moves that they have seen.

use mailrook_mailbox::{Refusal, SlotCommand, SlotEntry, SlotReply, SlotStep, TableId, table_slot};

use crate::{account::Outcome, reference::Reference};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Incoming,
    Here,
    Fenced,
    Gone,
}

impl Reference {
    /// Whether an entry's slot is read and changed here.
    pub fn is_here(&self, table: u16, key: &[u8]) -> bool {
        let slot = table_slot(TableId(table), key);
        (self.slots.get(&slot)).is_none_or(|(_, state)| *state == State::Here)
    }

    pub fn step(&mut self, command: &SlotCommand) -> Outcome<SlotReply> {
        let id = command.move_id;
        let mut open = Vec::new();
        for slot in &command.slots {
            let known = self.slots.get(slot).copied();
            let (done, to_do) = match (&command.step, known) {
                (SlotStep::Begin, None) => (false, true),
                (SlotStep::Begin, Some((last, State::Incoming))) => (last == id, last < id),
                (SlotStep::Begin, Some((last, State::Here))) => (last == id, false),
                (SlotStep::Begin, Some((last, State::Gone))) => (false, last < id),
                (SlotStep::Fence, None) => (false, true),
                (SlotStep::Fence, Some((last, State::Here))) => (false, last < id),
                (SlotStep::Fence, Some((last, State::Fenced | State::Gone))) => (last == id, false),
                (SlotStep::Install(_) | SlotStep::Open, Some((last, State::Incoming))) => {
                    (false, last == id)
                }
                (SlotStep::Install(_) | SlotStep::Open, Some((last, State::Here))) => {
                    (last == id, false)
                }
                (SlotStep::Drop, Some((last, State::Fenced))) => (false, last == id),
                (SlotStep::Drop, Some((last, State::Gone))) => (last == id, false),
                _ => (false, false),
            };
            if to_do {
                open.push(*slot);
            } else if !done {
                return Err(Refusal::StaleMove(*slot));
            }
        }
        for slot in open {
            let state = match &command.step {
                SlotStep::Begin => State::Incoming,
                SlotStep::Fence => State::Fenced,
                SlotStep::Open => State::Here,
                SlotStep::Drop => State::Gone,
                SlotStep::Install(entries) => {
                    self.install(slot, entries);
                    continue;
                }
            };
            if [State::Incoming, State::Gone].contains(&state) {
                self.tables
                    .retain(|(table, key), _| table_slot(TableId(*table), key) != slot);
            }
            self.slots.insert(slot, (id, state));
        }
        Ok(SlotReply::Done)
    }

    fn install(&mut self, slot: u16, entries: &[SlotEntry]) {
        for entry in entries {
            if table_slot(entry.table, &entry.key) != slot {
                continue;
            }
            let at = (entry.table.0, entry.key.clone());
            match entry.expires.map(|at| at.0) {
                Some(expires) if expires <= self.now => self.tables.remove(&at),
                expires => self.tables.insert(at, (entry.value.clone(), expires)),
            };
        }
    }
}
