//! Changes of the cluster-wide tables' slices.

use mailrook_kv::{KvError, Space};
use mailrook_types::Timestamp;

use crate::{
    TableCommand, TableId, TableOp, TableReply,
    key::{self, Expiring, table_slot},
    record::{PRESENT, TableRecord},
    tx::{Tx, Writable},
};

/// Carries the changes out in order, each on its own.
pub(crate) fn apply(tx: &mut Tx<'_>, command: &TableCommand) -> Result<Vec<TableReply>, KvError> {
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
    use mailrook_types::Timestamp;

    use crate::{
        ShardCommand, ShardReply, TableCommand, TableId, TableOp, TableReply, testing::World,
    };

    fn run(world: &mut World, op: TableOp) -> TableReply {
        let command = TableCommand {
            ops: vec![(TableId(1), b"key".to_vec(), op)],
        };
        match world.apply(&ShardCommand::Table(command)) {
            ShardReply::Table(mut replies) => replies.remove(0),
            other => panic!("not a table's reply: {other:?}"),
        }
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
