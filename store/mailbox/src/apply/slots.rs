//! Steps of a move of table slots. What each finds is decided for all slots before anything is written.

use mailrook_kv::KvError;

use super::table::install;
use crate::{
    Refusal, SlotCommand, SlotEntry, SlotReply, SlotStep,
    key::table_slot,
    limits::{SLOT_BYTES_MAX, SLOT_ENTRIES_MAX, SLOTS_PER_MOVE_MAX, TABLE_SLOTS},
    record::{SlotRecord, SlotState},
    slot::{self, Budget},
    tx::{Outcome, Tx},
};

/// What a step finds of one slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// It is to be done.
    ToDo,
    /// It was done before.
    Done,
    /// It is of a move that is over, or that was not begun here.
    Stale,
}

pub(crate) fn apply(tx: &mut Tx<'_>, command: &SlotCommand) -> Outcome<SlotReply> {
    let SlotCommand {
        move_id,
        slots,
        step,
    } = command;
    check_bounds(slots, step)?;
    let to_do = to_do(tx, *move_id, slots, step)?;
    let set = |state| SlotRecord {
        move_id: *move_id,
        state,
    };
    match step {
        SlotStep::Begin => {
            let mut budget = Budget::new();
            for slot in &to_do {
                if !slot::remove_entries(tx.view, *slot, &mut budget)? {
                    return Ok(SlotReply::More);
                }
            }
            put(tx, &to_do, set(SlotState::Incoming))?;
        }
        SlotStep::Fence => put(tx, &to_do, set(SlotState::Fenced))?,
        SlotStep::Install(entries) => {
            for entry in entries {
                // The slot was opened with all of its entries, and they may have changed since.
                if to_do.contains(&table_slot(entry.table, &entry.key)) {
                    install(tx.view, tx.now, entry)?;
                }
            }
        }
        SlotStep::Open => put(tx, &to_do, set(SlotState::Here))?,
        SlotStep::Drop => return Ok(drop_some(tx, &to_do, set(SlotState::Gone))?),
    }
    Ok(SlotReply::Done)
}

fn put(tx: &mut Tx<'_>, slots: &[u16], record: SlotRecord) -> Result<(), KvError> {
    if slots.is_empty() {
        return Ok(());
    }
    slot::put_all(tx.view, slots, record)
}

fn drop_some(tx: &mut Tx<'_>, slots: &[u16], gone: SlotRecord) -> Result<SlotReply, KvError> {
    let mut budget = Budget::new();
    for slot in slots {
        if !slot::remove_entries(tx.view, *slot, &mut budget)? {
            return Ok(SlotReply::More);
        }
        put(tx, &[*slot], gone)?;
    }
    Ok(SlotReply::Done)
}

/// The slots at which the step is still to be done.
fn to_do(tx: &Tx<'_>, move_id: u64, slots: &[u16], step: &SlotStep) -> Outcome<Vec<u16>> {
    let mut to_do = Vec::new();
    for slot in slots {
        match find(slot::record(tx.view.as_read(), *slot)?, move_id, step) {
            Found::ToDo => to_do.push(*slot),
            Found::Done => {}
            Found::Stale => return Err(Refusal::StaleMove(*slot).into()),
        }
    }
    Ok(to_do)
}

/// What a step of a move finds where the last one of the slot has left this.
fn find(record: Option<SlotRecord>, move_id: u64, step: &SlotStep) -> Found {
    use SlotState::{Fenced, Gone, Here, Incoming};
    let Some(record) = record else {
        return match step {
            SlotStep::Begin | SlotStep::Fence => Found::ToDo,
            SlotStep::Install(_) | SlotStep::Open | SlotStep::Drop => Found::Stale,
        };
    };
    let is_later = record.move_id < move_id;
    let is_same = record.move_id == move_id;
    match (step, record.state) {
        // What is fenced may be all that there is of the slot: it is dropped first, when the meta group says so.
        (SlotStep::Begin, Incoming | Gone) if is_later => Found::ToDo,
        (SlotStep::Fence, Here) if is_later => Found::ToDo,
        (SlotStep::Install(_) | SlotStep::Open, Incoming) if is_same => Found::ToDo,
        (SlotStep::Drop, Fenced) if is_same => Found::ToDo,
        (SlotStep::Begin, Incoming | Here)
        | (SlotStep::Fence, Fenced | Gone)
        | (SlotStep::Install(_) | SlotStep::Open, Here)
        | (SlotStep::Drop, Gone)
            if is_same =>
        {
            Found::Done
        }
        _ => Found::Stale,
    }
}

fn check_bounds(slots: &[u16], step: &SlotStep) -> Result<(), Refusal> {
    let limit = |text: String| Err(Refusal::Limit(text));
    if slots.is_empty() || slots.len() > SLOTS_PER_MOVE_MAX {
        return limit(format!("1 to {SLOTS_PER_MOVE_MAX} slots in a move"));
    }
    let ascending = slots.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || slots.last().is_some_and(|last| *last >= TABLE_SLOTS) {
        return limit(format!("slots below {TABLE_SLOTS}, ascending"));
    }
    let SlotStep::Install(entries) = step else {
        return Ok(());
    };
    let bytes = |entry: &SlotEntry| entry.key.len() + entry.value.len();
    let is_large = entries.iter().map(bytes).sum::<usize>() > SLOT_BYTES_MAX;
    if entries.len() > SLOT_ENTRIES_MAX || (is_large && entries.len() > 1) {
        return limit(format!(
            "{SLOT_ENTRIES_MAX} entries and {SLOT_BYTES_MAX} bytes in a step"
        ));
    }
    let is_foreign = |entry: &&SlotEntry| {
        let slot = table_slot(entry.table, &entry.key);
        slots.binary_search(&slot).is_err()
    };
    match entries.iter().find(is_foreign) {
        Some(entry) => Err(Refusal::StaleMove(table_slot(entry.table, &entry.key))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use mailrook_types::{OpId, Timestamp};

    use super::*;
    use crate::{
        Answer, Query, ShardCommand, ShardReply, TableCommand, TableId, TableOp, TableReply,
        testing::World,
    };

    const TABLE: TableId = TableId(1);

    fn slot_of(key: &[u8]) -> u16 {
        table_slot(TABLE, key)
    }

    /// A counter's change, as a command that can be repeated.
    fn add(world: &mut World, key: &[u8], delta: i64) -> ShardCommand {
        let add = TableOp::Add {
            delta,
            expires: None,
        };
        let ops = vec![(TABLE, key.to_vec(), add)];
        ShardCommand::Table(TableCommand {
            op: world.op(),
            ops,
        })
    }

    fn counted(value: i64) -> ShardReply {
        ShardReply::Table(Ok(vec![TableReply::Done(Some(value))]))
    }

    fn not_here(key: &[u8]) -> ShardReply {
        ShardReply::Table(Err(Refusal::SlotNotHere(slot_of(key))))
    }

    fn get(world: &World, key: &[u8]) -> Answer {
        world.ask(&Query::TableGet {
            table: TABLE,
            key: key.to_vec(),
        })
    }

    fn entry(key: &[u8], value: i64) -> SlotEntry {
        SlotEntry {
            table: TABLE,
            key: key.to_vec(),
            value: value.to_le_bytes().to_vec(),
            expires: None,
        }
    }

    fn fenced(world: &World, move_id: u64, slots: &[u16]) -> Option<Vec<SlotEntry>> {
        let query = Query::SlotEntries {
            fenced_by: Some(move_id),
            slots: slots.to_vec(),
            after: None,
        };
        match world.ask(&query) {
            Answer::SlotEntries { entries, complete } => {
                assert!(complete);
                Some(entries)
            }
            Answer::SlotNotHere => None,
            other => panic!("not entries: {other:?}"),
        }
    }

    /// Carries a move out from one shard to the other.
    fn carry_out(move_id: u64, slots: &[u16], from: &mut World, to: &mut World) {
        let done = Ok(SlotReply::Done);
        assert_eq!(to.slots(move_id, slots, SlotStep::Begin), done);
        assert_eq!(from.slots(move_id, slots, SlotStep::Fence), done);
        let entries = fenced(from, move_id, slots).unwrap();
        assert_eq!(to.slots(move_id, slots, SlotStep::Install(entries)), done);
        assert_eq!(to.slots(move_id, slots, SlotStep::Open), done);
        assert_eq!(from.slots(move_id, slots, SlotStep::Drop), done);
    }

    #[test]
    fn a_fenced_slot_is_neither_read_nor_changed() {
        let mut world = World::new();
        let (a, b) = (b"a", b"b");
        let earlier = add(&mut world, a, 2);
        assert_eq!(world.apply(&earlier), counted(2));
        let slots = [slot_of(a)];
        for _ in 0..2 {
            let fenced = world.slots(1, &slots, SlotStep::Fence);
            assert_eq!(fenced, Ok(SlotReply::Done));
        }
        let refused = add(&mut world, a, 5);
        assert_eq!(world.apply(&refused), not_here(a));
        assert_eq!(get(&world, a), Answer::SlotNotHere);
        // What was carried out before is answered as it was; other slots go on.
        assert_eq!(
            get(&world, b),
            Answer::TableValue(None),
            "another slot is here"
        );
        let other = add(&mut world, b, 1);
        assert_eq!(world.apply(&other), counted(1));
        // Of a command that touches both nothing is done.
        let ShardCommand::Table(mut both) = add(&mut world, b, 1) else {
            panic!("a table's command");
        };
        both.ops.push((TABLE, a.to_vec(), TableOp::Delete));
        assert_eq!(world.apply(&ShardCommand::Table(both)), not_here(a));
        let one = Answer::TableValue(Some(1i64.to_le_bytes().to_vec()));
        assert_eq!(get(&world, b), one);
        assert_eq!(fenced(&world, 1, &slots), Some(vec![entry(a, 2)]));
        assert_eq!(fenced(&world, 2, &slots), None, "not by that move");
        let both = [slot_of(a).min(slot_of(b)), slot_of(a).max(slot_of(b))];
        assert_eq!(fenced(&world, 1, &both), None, "not all of them");
    }

    #[test]
    fn what_was_done_before_the_fence_is_answered_once() {
        let mut world = World::new();
        let op = |world: &mut World| OpId {
            lowest_unanswered: 1,
            ..world.op()
        };
        let mut command = |delta| {
            let ShardCommand::Table(mut command) = add(&mut world, b"a", delta) else {
                panic!("a table's command");
            };
            command.op = op(&mut world);
            let command = ShardCommand::Table(command);
            let reply = world.apply(&command);
            (command, reply)
        };
        let (first, said) = command(2);
        assert_eq!(said, counted(2));
        let slots = [slot_of(b"a")];
        world.slots(1, &slots, SlotStep::Fence).unwrap();
        assert_eq!(world.apply(&first), counted(2));
        let (refused, mut to) = (add(&mut world, b"a", 3), World::new());
        let ShardCommand::Table(mut refused) = refused else {
            panic!("a table's command");
        };
        refused.op.lowest_unanswered = 1;
        let refused = ShardCommand::Table(refused);
        assert_eq!(world.apply(&refused), not_here(b"a"));
        // There and back: neither is carried out again, though the slot is here.
        carry_out(1, &slots, &mut world, &mut to);
        carry_out(2, &slots, &mut to, &mut world);
        assert_eq!(world.apply(&first), counted(2));
        assert_eq!(world.apply(&refused), not_here(b"a"));
        let next = add(&mut world, b"a", 1);
        assert_eq!(world.apply(&next), counted(3));
    }

    #[test]
    fn a_late_step_of_an_older_move_does_nothing() {
        let (mut a, mut b) = (World::new(), World::new());
        let slots = [slot_of(b"k")];
        let first = add(&mut a, b"k", 1);
        assert_eq!(a.apply(&first), counted(1));
        carry_out(1, &slots, &mut a, &mut b);
        let there = add(&mut b, b"k", 1);
        assert_eq!(b.apply(&there), counted(2));
        // The move's own steps again change nothing at either side.
        let late = SlotStep::Install(vec![entry(b"k", 1)]);
        for step in [SlotStep::Begin, late.clone(), SlotStep::Open] {
            assert_eq!(b.slots(1, &slots, step), Ok(SlotReply::Done));
        }
        assert_eq!(a.slots(1, &slots, SlotStep::Fence), Ok(SlotReply::Done));
        assert_eq!(a.slots(1, &slots, SlotStep::Drop), Ok(SlotReply::Done));
        let two = Answer::TableValue(Some(2i64.to_le_bytes().to_vec()));
        assert_eq!(get(&b, b"k"), two);
        // Once the slot is back, those of the first move are refused, also while it comes.
        let stale = Err(Refusal::StaleMove(slots[0]));
        assert_eq!(a.slots(2, &slots, SlotStep::Begin), Ok(SlotReply::Done));
        assert_eq!(a.slots(1, &slots, SlotStep::Drop), stale);
        assert_eq!(a.slots(1, &slots, SlotStep::Fence), stale);
        carry_out(2, &slots, &mut b, &mut a);
        for step in [SlotStep::Fence, SlotStep::Drop, late.clone()] {
            assert_eq!(a.slots(1, &slots, step), stale);
        }
        for step in [SlotStep::Begin, late, SlotStep::Open] {
            assert_eq!(b.slots(1, &slots, step), stale);
        }
        assert_eq!(get(&a, b"k"), two);
        let back = add(&mut a, b"k", 1);
        assert_eq!(a.apply(&back), counted(3));
        assert_eq!(get(&b, b"k"), Answer::SlotNotHere);
    }

    #[test]
    fn steps_out_of_order_are_refused() {
        let mut world = World::new();
        let slots = [7];
        let stale = Err(Refusal::StaleMove(7));
        let install = || SlotStep::Install(Vec::new());
        for step in [install(), SlotStep::Open, SlotStep::Drop] {
            assert_eq!(world.slots(1, &slots, step), stale, "nothing was begun");
        }
        world.slots(1, &slots, SlotStep::Fence).unwrap();
        for step in [SlotStep::Begin, install(), SlotStep::Open] {
            assert_eq!(world.slots(1, &slots, step), stale, "it is leaving");
        }
        // What is fenced may be all that there is.
        assert_eq!(world.slots(2, &slots, SlotStep::Begin), stale);
        assert_eq!(world.slots(2, &slots, SlotStep::Drop), stale);
        world.slots(1, &slots, SlotStep::Drop).unwrap();
        world.slots(2, &slots, SlotStep::Begin).unwrap();
        assert_eq!(world.slots(3, &slots, SlotStep::Fence), stale, "incoming");
        // A move that was given up is no obstacle to a later one.
        assert_eq!(world.slots(4, &slots, SlotStep::Begin), Ok(SlotReply::Done));
        assert_eq!(world.slots(2, &slots, install()), stale);
        assert_eq!(world.slots(2, &slots, SlotStep::Open), stale);
    }

    #[test]
    fn one_slot_that_is_refused_stops_all() {
        let mut world = World::new();
        world.slots(1, &[5], SlotStep::Begin).unwrap();
        let pairs = world.pairs();
        let refused = world.slots(2, &[4, 5, 6], SlotStep::Fence);
        assert_eq!(refused, Err(Refusal::StaleMove(5)));
        assert_eq!(world.pairs(), pairs);
        let foreign = SlotStep::Install(vec![entry(b"k", 1)]);
        let refused = world.slots(1, &[5], foreign);
        assert_eq!(refused, Err(Refusal::StaleMove(slot_of(b"k"))));
    }

    #[test]
    fn what_is_too_much_for_one_step_is_refused() {
        let mut world = World::new();
        let many: Vec<u16> = (0..=SLOTS_PER_MOVE_MAX as u16).collect();
        for slots in [&[][..], &many, &[2, 1], &[1, 1], &[TABLE_SLOTS]] {
            let refused = world.slots(1, slots, SlotStep::Fence);
            assert!(matches!(refused, Err(Refusal::Limit(_))), "{slots:?}");
        }
        let slots = [slot_of(b"k")];
        world.slots(1, &slots, SlotStep::Begin).unwrap();
        let large = |bytes| SlotEntry {
            value: vec![0; bytes],
            ..entry(b"k", 0)
        };
        let step = |entries| SlotStep::Install(entries);
        for entries in [
            vec![large(1); SLOT_ENTRIES_MAX + 1],
            vec![large(SLOT_BYTES_MAX); 2],
        ] {
            let refused = world.slots(1, &slots, step(entries));
            assert!(matches!(refused, Err(Refusal::Limit(_))));
        }
        let one = step(vec![large(SLOT_BYTES_MAX + 1)]);
        assert_eq!(world.slots(1, &slots, one), Ok(SlotReply::Done));
    }

    #[test]
    fn large_slots_are_read_and_dropped_in_pieces() {
        let (mut from, mut to) = (World::new(), World::new());
        // All in one slot: of many keys those that are hashed there.
        let slot = slot_of(b"0");
        let keys = (0u32..).map(|n| n.to_string().into_bytes());
        let keys: Vec<Vec<u8>> = keys.filter(|key| slot_of(key) == slot).take(9).collect();
        let expires = Some(Timestamp(from.now + 1_000_000));
        for key in &keys {
            let value = vec![1; 60_000];
            let put = TableOp::Put { value, expires };
            let command = TableCommand {
                op: from.op(),
                ops: vec![(TABLE, key.clone(), put)],
            };
            from.apply(&ShardCommand::Table(command));
        }
        to.slots(1, &[slot], SlotStep::Begin).unwrap();
        from.slots(1, &[slot], SlotStep::Fence).unwrap();
        let (mut after, mut moved, mut pages) = (None, Vec::new(), 0);
        loop {
            let query = Query::SlotEntries {
                fenced_by: Some(1),
                slots: vec![slot],
                after: after.take(),
            };
            let Answer::SlotEntries { entries, complete } = from.ask(&query) else {
                panic!("it is fenced");
            };
            pages += 1;
            let last = entries.last().unwrap();
            after = Some((slot, last.table, last.key.clone()));
            moved.extend(entries.iter().map(|entry| entry.key.clone()));
            to.slots(1, &[slot], SlotStep::Install(entries)).unwrap();
            if complete {
                break;
            }
        }
        assert_eq!(pages, 3);
        let mut sorted = keys.clone();
        sorted.sort();
        assert_eq!(moved, sorted);
        to.slots(1, &[slot], SlotStep::Open).unwrap();
        let drop = |from: &mut World| from.slots(1, &[slot], SlotStep::Drop);
        assert_eq!(drop(&mut from), Ok(SlotReply::More));
        assert_eq!(drop(&mut from), Ok(SlotReply::More));
        assert_eq!(drop(&mut from), Ok(SlotReply::Done));
        assert_eq!(drop(&mut from), Ok(SlotReply::Done));
        for key in &keys {
            assert_eq!(get(&to, key), Answer::TableValue(Some(vec![1; 60_000])));
        }
        // They expire where they are now.
        to.now += 2_000_000;
        for _ in 0..3 {
            to.apply(&ShardCommand::Tick);
        }
        assert_eq!(to.pairs(), World::new().pairs() + 2, "the slot's record");
    }

    #[test]
    fn scans_say_which_slots_are_elsewhere() {
        let mut world = World::new();
        for key in [b"a", b"b", b"c"] {
            let command = add(&mut world, key, 1);
            world.apply(&command);
        }
        let scan = |slots: &[u16], limit| Query::TableScanSlots {
            table: TABLE,
            prefix: Vec::new(),
            slots: slots.to_vec(),
            after: None,
            limit,
        };
        let whole = |world: &World| {
            let query = Query::TableScan {
                table: TABLE,
                prefix: Vec::new(),
                after: None,
                limit: 10,
            };
            world.ask(&query)
        };
        assert!(matches!(whole(&world), Answer::TableEntries(all) if all.len() == 3));
        let (a, b, c) = (slot_of(b"a"), slot_of(b"b"), slot_of(b"c"));
        world.slots(1, &[b], SlotStep::Fence).unwrap();
        assert_eq!(whole(&world), Answer::SlotNotHere);
        let mut slots = [a, b, c];
        slots.sort_unstable();
        let Answer::SlotsScanned { entries, elsewhere } = world.ask(&scan(&slots, 10)) else {
            panic!("not a scan");
        };
        assert_eq!(elsewhere, [b]);
        let mut keys: Vec<_> = entries.into_iter().map(|(_, key, _)| key).collect();
        keys.sort();
        assert_eq!(keys, [b"a", b"c"]);
        let Answer::SlotsScanned { entries, .. } = world.ask(&scan(&[c], 10)) else {
            panic!("not a scan");
        };
        assert_eq!(entries.len(), 1, "others are not asked for");
        let Answer::SlotsScanned { entries, .. } = world.ask(&scan(&slots, 1)) else {
            panic!("not a scan");
        };
        assert_eq!(entries.len(), 1);
    }
}
