//! Checks every invariant of a whole shard: counters, indexes, reference counts, queues, nothing left over.
//!
//! It reads everything and changes nothing. Tests run it after every command; an administrator may run it on a snapshot.

mod account;
mod mailbox;
mod queue;
mod shared;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use mailrook_kv::{KvError, Read, Space, prefix_end};
use mailrook_types::{AccountId, BlobHash};

use crate::{
    MoveStage,
    index::{Pair, scan},
    key::{self, Expiring},
    record::{AccountRecord, ShardRecord},
};

/// Enough to see what is wrong, and never a flood.
const VIOLATIONS_MAX: usize = 100;

/// What of a shard's state breaks an invariant: nothing if all is well, else at most 100 sentences.
pub fn check(view: &dyn Read) -> Result<Vec<String>, KvError> {
    let mut check = Check {
        view,
        found: Vec::new(),
        body_refs: BTreeMap::new(),
        queued: BTreeMap::new(),
        waiting: BTreeSet::new(),
        moved: BTreeSet::new(),
        pending: BTreeSet::new(),
        swept_to_ms: ShardRecord::read(view)?.swept_to_ms,
        on_their_way: BTreeSet::new(),
    };
    check.read_queues()?;
    let mut next = vec![key::ACCOUNT];
    while let Some(account) = check.next_account(&next)? {
        account::check(&mut check, account)?;
        next = prefix_end(&key::account_prefix(account));
    }
    check_notes(&mut check)?;
    queue::check(&mut check)?;
    shared::check(&mut check)?;
    for (entry, account) in std::mem::take(&mut check.queued) {
        // What was put off may have gone before it is looked at again.
        if account.is_some_and(|account| check.moved.contains(&account)) {
            continue;
        }
        check.say(|| format!("the expiry queue has {entry:?}, which is not there"));
    }
    Ok(check.found)
}

fn account_of(what: &Expiring) -> Option<AccountId> {
    match what {
        Expiring::Lane(account, ..)
        | Expiring::Delivery(account, ..)
        | Expiring::Maildrop(account) => Some(*account),
        _ => None,
    }
}

/// A check under way.
struct Check<'a> {
    view: &'a dyn Read,
    found: Vec<String>,
    /// How many messages of all accounts have a body.
    body_refs: BTreeMap<BlobHash, u64>,
    /// The expiry queue, with the accounts that it concerns; what is accounted for is taken out.
    queued: BTreeMap<(i64, String), Option<AccountId>>,
    /// All that is in it, at whatever time.
    waiting: BTreeSet<String>,
    /// Accounts that have moved: what fell due on the way was put off.
    moved: BTreeSet<AccountId>,
    pending: BTreeSet<(u64, u64)>,
    swept_to_ms: i64,
    /// Accounts that are on their way: of those no remains are removed.
    on_their_way: BTreeSet<AccountId>,
}

impl Check<'_> {
    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.found.len() < VIOLATIONS_MAX {
            self.found.push(what());
        }
    }

    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.say(what);
        }
    }

    /// Insists that something is in the expiry queue at its time, once.
    fn expect_queued(&mut self, time_ms: i64, what: &Expiring) {
        let name = format!("{what:?}");
        let put_off = time_ms <= self.swept_to_ms
            && account_of(what).is_some_and(|account| self.moved.contains(&account))
            && self.waiting.contains(&name);
        let there = self.queued.remove(&(time_ms, name)).is_some();
        self.expect(there || put_off, || {
            format!("{what:?} is not in the expiry queue at {time_ms}")
        });
    }

    fn read_queues(&mut self) -> Result<(), KvError> {
        let shard = ShardRecord::read(self.view)?;
        for (key, _) in pairs(self.view, Space::Index, &[key::EXPIRY])? {
            let (time_ms, what) = key::parse_expiry(&key)?;
            self.expect(time_ms >= shard.swept_to_ms, || {
                format!("{what:?} was passed over by the sweep")
            });
            let name = format!("{what:?}");
            self.waiting.insert(name.clone());
            self.queued.insert((time_ms, name), account_of(&what));
        }
        for (key, _) in pairs(self.view, Space::Index, &[key::PENDING])? {
            let (account, mailbox) = key::parse_pending(&key)?;
            self.pending.insert((account.0, mailbox.0));
        }
        let count = self.pending.len() as u64;
        self.expect(count == shard.pending, || {
            format!(
                "{count} mailboxes have remains, {} are counted",
                shard.pending
            )
        });
        Ok(())
    }

    /// The first account at or after a key, in either space.
    fn next_account(&self, from: &[u8]) -> Result<Option<AccountId>, KvError> {
        let end = prefix_end(&[key::ACCOUNT]);
        let mut first = None;
        for space in [Space::Index, Space::Detail] {
            scan(self.view, space, from, &end, |key, _| {
                if let Some(id) = key.get(1..9).and_then(<[u8]>::first_chunk) {
                    let id = u64::from_be_bytes(*id);
                    first = Some(first.map_or(id, |known: u64| known.min(id)));
                }
                Ok(ControlFlow::Break(()))
            })?;
        }
        Ok(first.map(AccountId))
    }
}

/// Notes of what changes while an account leaves are of accounts that leave, or left.
fn check_notes(check: &mut Check<'_>) -> Result<(), KvError> {
    for (note, _) in pairs(check.view, Space::Index, &[key::NOTED])? {
        let (account, round, _) = key::parse_note(&note)?;
        let stored = check.view.get(Space::Index, &key::account(account))?;
        let record = stored.map(|stored| AccountRecord::decode(&stored));
        let moved = record.transpose()?.and_then(|record| record.transit);
        let leaves = moved.is_some_and(|transit| match transit.stage() {
            MoveStage::Leaving(now) | MoveStage::Fenced(now) => round <= now,
            // They go little by little.
            MoveStage::Here | MoveStage::Going => true,
            _ => false,
        });
        check.expect(leaves, || {
            format!("{account} has notes of a move that it is not in")
        });
    }
    Ok(())
}

/// All pairs under a prefix.
fn pairs(view: &dyn Read, space: Space, prefix: &[u8]) -> Result<Vec<Pair>, KvError> {
    let mut pairs = Vec::new();
    scan(view, space, prefix, &prefix_end(prefix), |key, value| {
        pairs.push((key.to_vec(), value.to_vec()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use mailrook_kv::{Batch, MemoryStore, Space, Store};
    use mailrook_types::SystemFlags;

    use super::check;
    use crate::{MaildropStep, ShardCommand, SlotStep, testing::*};

    /// Whatever single pair is lost or changed, the check says so.
    #[test]
    fn finds_any_single_loss_and_any_flipped_bit() {
        let mut world = World::new();
        let delivery = world.delivery(3);
        world.apply(&ShardCommand::Deliver(delivery));
        world.append(2);
        world.flag("1", SystemFlags::SEEN);
        world.create("a/b").unwrap();
        world
            .maildrop(holder(1, 1), MaildropStep::Take { lease_ms: 1 })
            .unwrap();
        for (step, slots) in [(SlotStep::Fence, vec![3, 9]), (SlotStep::Begin, vec![10])] {
            world.slots(1, &slots, step).unwrap();
        }
        let whole = world.store.snapshot();
        for (space, lost, value) in whole.pairs() {
            // Without how far the sweep has come, the next one starts from the beginning: nothing is wrong.
            if lost == [0x01] {
                continue;
            }
            for flip in [None, Some(value.len() / 2)] {
                // The bytes of bodies and what the limits of an account are cannot be told from others.
                if flip.is_some() && space == Space::Body {
                    continue;
                }
                let mut batch = Batch::default();
                for (space, key, value) in whole.pairs() {
                    batch.put(space, key.to_vec(), value.to_vec());
                }
                match flip {
                    None => batch.delete(space, lost.to_vec()),
                    Some(at) => {
                        let mut value = value.to_vec();
                        value[at] ^= 0x10;
                        batch.put(space, lost.to_vec(), value);
                    }
                }
                let store = MemoryStore::new();
                store.write(batch).unwrap();
                let found = check(&store.snapshot());
                let is_work_queue = lost[0] == 0x40;
                let harmless =
                    flip.is_some() && (is_work_queue || lost.len() == 10 || lost[0] == 0x20);
                assert!(
                    harmless || found.is_err() || found.is_ok_and(|found| !found.is_empty()),
                    "{lost:02x?} {flip:?}"
                );
            }
        }
    }
}
