//! Changes of the cluster-wide tables' slices.

use std::collections::BTreeSet;

use mailrook_kv::{KvError, Space};
use mailrook_types::Timestamp;

use crate::{
    Refusal, ShardReply, SlotEntry, TableCommand, TableId, TableOp, TableReply,
    key::{self, Expiring, table_slot},
    lane::{self, Begin},
    record::{Kept, PRESENT, TableRecord},
    slot,
    tx::{Tx, Writable},
};

/// Carries the changes out, once.
pub(crate) fn apply(
    tx: &mut Tx<'_>,
    command: &TableCommand,
) -> Result<Result<Vec<TableReply>, Refusal>, KvError> {
    let lane = match lane::begin_on_tables(tx, &command.op)? {
        Begin::New(lane) => lane,
        Begin::Refused(refusal) => return Ok(Err(refusal)),
        Begin::Repeat(kept) => return repeated(kept),
    };
    // Kept as any reply: were the slot to come back, a repeat that was held up on its way would otherwise do here what its
    // sender has had done elsewhere since.
    let outcome = match slot_elsewhere(tx, command)? {
        Some(slot) => Err(Refusal::SlotNotHere(slot)),
        None => Ok(change_all(tx, command)?),
    };
    let reply = ShardReply::Table(outcome.clone()).encode();
    lane.keep_on_tables(tx, &command.op, Kept::Reply(reply));
    Ok(outcome)
}

/// A slot of the command that is not on this shard.
fn slot_elsewhere(tx: &Tx<'_>, command: &TableCommand) -> Result<Option<u16>, KvError> {
    let keys = command.ops.iter();
    let slots: BTreeSet<u16> = keys
        .map(|(table, key, _)| table_slot(*table, key))
        .collect();
    for slot in slots {
        if !slot::is_here(tx.view.as_read(), slot)? {
            return Ok(Some(slot));
        }
    }
    Ok(None)
}

/// Writes an entry that comes with its slot.
pub(super) fn install(
    view: &mut dyn Writable,
    now: i64,
    coming: &SlotEntry,
) -> Result<(), KvError> {
    let mut entry = Entry::open(view, now, coming.table, &coming.key)?;
    entry.set(coming.value.clone(), coming.expires);
    entry.close(view, now);
    Ok(())
}

/// The value of an entry of a slot that is here, unless it has expired.
pub(super) fn live_value(
    tx: &Tx<'_>,
    table: TableId,
    key: &[u8],
) -> Result<Option<Vec<u8>>, KvError> {
    let entry = Entry::open(tx.view, tx.now, table, key)?;
    Ok(entry.live.map(|record| record.value))
}

/// Sets an entry of a slot that is here.
pub(super) fn set(
    tx: &mut Tx<'_>,
    table: TableId,
    key: &[u8],
    value: Vec<u8>,
    expires: Timestamp,
) -> Result<(), KvError> {
    let mut entry = Entry::open(tx.view, tx.now, table, key)?;
    entry.set(value, Some(expires));
    entry.close(tx.view, tx.now);
    Ok(())
}

/// Removes an entry of a slot that is here.
pub(super) fn remove(tx: &mut Tx<'_>, table: TableId, key: &[u8]) -> Result<(), KvError> {
    let mut entry = Entry::open(tx.view, tx.now, table, key)?;
    entry.live = None;
    entry.close(tx.view, tx.now);
    Ok(())
}

/// The reply of the first time.
fn repeated(kept: Kept) -> Result<Result<Vec<TableReply>, Refusal>, KvError> {
    if let Kept::Reply(bytes) = kept
        && let ShardReply::Table(outcome) = ShardReply::decode(&bytes)?
    {
        return Ok(outcome);
    }
    let text = "a kept reply of the tables is of another kind";
    Err(KvError::Damaged(text.to_owned()))
}

/// Carries the changes out in order, each on its own.
fn change_all(tx: &mut Tx<'_>, command: &TableCommand) -> Result<Vec<TableReply>, KvError> {
    let mut replies = Vec::with_capacity(command.ops.len());
    for (table, key, op) in &command.ops {
        let mut entry = Entry::open(tx.view, tx.now, *table, key)?;
        replies.push(change(&mut entry, op));
        entry.close(tx.view, tx.now);
    }
    Ok(replies)
}

fn change(entry: &mut Entry, op: &TableOp) -> TableReply {
    match op {
        TableOp::Put { value, expires } => entry.set(value.clone(), *expires),
        TableOp::CompareAndPut {
            expected,
            value,
            expires,
        } => {
            let present = entry.live.as_ref().map(|record| &record.value);
            if present != expected.as_ref() {
                return TableReply::Mismatch(present.cloned());
            }
            entry.set(value.clone(), *expires);
        }
        TableOp::Add { delta, expires } => {
            let before = match &entry.live {
                None => 0,
                Some(record) => match record.value.as_slice().try_into() {
                    Ok(bytes) => i64::from_le_bytes(bytes),
                    Err(_) => return TableReply::NotACounter,
                },
            };
            let after = before.saturating_add(*delta);
            entry.set(after.to_le_bytes().to_vec(), *expires);
            return TableReply::Done(Some(after));
        }
        TableOp::Delete => entry.live = None,
    }
    TableReply::Done(None)
}

/// An entry under change.
struct Entry {
    slot: u16,
    table: TableId,
    key: Vec<u8>,
    stored: Option<TableRecord>,
    /// What counts: nothing once it has expired.
    live: Option<TableRecord>,
}

impl Entry {
    fn open(view: &dyn Writable, now: i64, table: TableId, key: &[u8]) -> Result<Entry, KvError> {
        let slot = table_slot(table, key);
        let stored = match view.get(Space::Index, &key::table_entry(slot, table, key))? {
            Some(bytes) => Some(TableRecord::decode(&bytes)?),
            None => None,
        };
        let live = stored.clone().filter(|record| !record.has_expired(now));
        Ok(Entry {
            slot,
            table,
            key: key.to_vec(),
            stored,
            live,
        })
    }

    fn set(&mut self, value: Vec<u8>, expires: Option<Timestamp>) {
        let expires_ms = expires.map(|at| at.0);
        self.live = Some(TableRecord { value, expires_ms });
    }

    /// Writes the entry. What has expired already is not written at all.
    fn close(self, view: &mut dyn Writable, now: i64) {
        let live = self.live.filter(|record| !record.has_expired(now));
        if live == self.stored {
            return;
        }
        let what = Expiring::Entry(self.slot, self.table, self.key);
        let old_expiry = self.stored.as_ref().and_then(|record| record.expires_ms);
        let new_expiry = live.as_ref().and_then(|record| record.expires_ms);
        if old_expiry != new_expiry {
            if let Some(at) = old_expiry {
                view.delete(Space::Index, key::expiry(at, &what));
            }
            if let Some(at) = new_expiry {
                view.put(Space::Index, key::expiry(at, &what), PRESENT.to_vec());
            }
        }
        let Expiring::Entry(slot, table, key) = what else {
            return;
        };
        let key = key::table_entry(slot, table, &key);
        match live {
            Some(record) => view.put(Space::Index, key, record.encode()),
            None => view.delete(Space::Index, key),
        }
    }
}

#[cfg(test)]
mod tests {
    use mailrook_types::{OpId, Timestamp};

    use crate::{
        Answer, Query, ShardCommand, ShardReply, TableCommand, TableId, TableOp, TableReply,
        testing::World,
    };

    fn run(world: &mut World, op: TableOp) -> TableReply {
        let command = command(world.op(), op);
        match world.apply(&command) {
            ShardReply::Table(Ok(mut replies)) => replies.remove(0),
            other => panic!("not a table's reply: {other:?}"),
        }
    }

    fn command(op: OpId, change: TableOp) -> ShardCommand {
        let ops = vec![(TableId(1), b"key".to_vec(), change)];
        ShardCommand::Table(TableCommand { op, ops })
    }

    fn value(world: &World) -> Answer {
        world.ask(&Query::TableGet {
            table: TableId(1),
            key: b"key".to_vec(),
        })
    }

    #[test]
    fn a_repeat_answers_as_before_and_changes_nothing() {
        let mut world = World::new();
        let add = command(
            world.op(),
            TableOp::Add {
                delta: 2,
                expires: None,
            },
        );
        let counted = ShardReply::Table(Ok(vec![TableReply::Done(Some(2))]));
        assert_eq!(world.apply(&add), counted);
        assert_eq!(world.apply(&add), counted);
        let put = |expected: Option<&[u8]>, value: &[u8]| TableOp::CompareAndPut {
            expected: expected.map(<[u8]>::to_vec),
            value: value.to_vec(),
            expires: None,
        };
        let two = 2i64.to_le_bytes();
        let take = command(world.op(), put(Some(&two), b"mine"));
        let taken = ShardReply::Table(Ok(vec![TableReply::Done(None)]));
        assert_eq!(world.apply(&take), taken);
        assert_eq!(world.apply(&take), taken, "it does not meet its own value");
        // Another's change stays, whatever is repeated.
        assert_eq!(
            run(&mut world, put(Some(b"mine"), b"theirs")),
            TableReply::Done(None)
        );
        world.apply(&take);
        assert_eq!(value(&world), Answer::TableValue(Some(b"theirs".to_vec())));
    }

    #[test]
    fn kept_replies_are_forgotten() {
        let mut world = World::new();
        let before = world.pairs();
        for lane in 0..10 {
            let op = OpId {
                lane: 100 + lane,
                ..world.op()
            };
            world.apply(&command(op, TableOp::Delete));
        }
        // A lane, and when it is forgotten.
        assert_eq!(world.pairs(), before + 20);
        world.now += 2 * 86_400_000;
        world.apply(&ShardCommand::Tick);
        // Those of the account's making are gone too.
        assert_eq!(world.pairs(), before - 2);
    }

    #[test]
    fn counts_until_it_expires() {
        let mut world = World::new();
        let expires = Some(Timestamp(world.now + 100));
        let add = TableOp::Add { delta: 2, expires };
        assert_eq!(run(&mut world, add.clone()), TableReply::Done(Some(2)));
        assert_eq!(run(&mut world, add), TableReply::Done(Some(4)));
        world.now += 100;
        let add = TableOp::Add {
            delta: -1,
            expires: None,
        };
        assert_eq!(run(&mut world, add), TableReply::Done(Some(-1)));
    }

    #[test]
    fn compares_before_it_puts() {
        let mut world = World::new();
        let put = |expected: Option<&[u8]>, value: &[u8]| TableOp::CompareAndPut {
            expected: expected.map(<[u8]>::to_vec),
            value: value.to_vec(),
            expires: None,
        };
        assert_eq!(run(&mut world, put(None, b"a")), TableReply::Done(None));
        assert_eq!(
            run(&mut world, put(None, b"b")),
            TableReply::Mismatch(Some(b"a".to_vec()))
        );
        assert_eq!(
            run(&mut world, put(Some(b"a"), b"b")),
            TableReply::Done(None)
        );
        assert_eq!(
            run(
                &mut world,
                TableOp::Add {
                    delta: 1,
                    expires: None
                }
            ),
            TableReply::NotACounter
        );
    }
}
