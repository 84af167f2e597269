//! One mailbox of an account, or the remains of one.

use std::collections::BTreeMap;

use mailrook_kv::{KvError, Space};
use mailrook_types::{AccountId, MailboxId};

use super::{Check, account::Totals, pairs};
use crate::{
    bits::{Bits, block_of},
    key::{self, part},
    record::{AccountRecord, BlockRecord, IndexRecord, KeywordTable, MailboxRecord, Skips},
};

/// A mailbox as its messages say it should be.
#[derive(Default)]
struct Found {
    blocks: BTreeMap<u32, BlockRecord>,
    changed: BTreeMap<(u64, u32), Bits>,
    /// Entries that are no longer in their block: remains of expunges.
    remains: BTreeMap<u32, Bits>,
}

pub(super) fn check(
    check: &mut Check<'_>,
    id: AccountId,
    mailbox: MailboxId,
    is_live: bool,
    account: &AccountRecord,
    totals: &mut Totals,
) -> Result<(), KvError> {
    let of = |table| key::of_mailbox(id, table, mailbox);
    let is_pending = check.pending.remove(&(id.0, mailbox.0));
    let entries = pairs(check.view, Space::Index, &of(part::INDEX))?;
    if !is_live {
        check.expect(is_pending != check.on_their_way.contains(&id), || {
            format!("the remains of {id} {mailbox} are not queued for removal")
        });
        for (_, value) in entries {
            *totals
                .refs
                .entry(IndexRecord::decode(&value)?.message)
                .or_default() += 1;
        }
        return Ok(());
    }
    let Some(stored) = check.view.get(Space::Index, &of(part::MAILBOX))? else {
        check.say(|| format!("{id} {mailbox} has a name but no record"));
        return Ok(());
    };
    let record = MailboxRecord::decode(&stored)?;
    let keywords = match check.view.get(Space::Index, &of(part::KEYWORDS))? {
        Some(bytes) => KeywordTable::decode(&bytes)?.0.len(),
        None => 0,
    };
    check.expect(keywords == usize::from(record.keywords), || {
        format!("{id} {mailbox} miscounts its keywords")
    });
    let mut blocks = BTreeMap::new();
    for (key, value) in pairs(check.view, Space::Index, &of(part::BLOCK))? {
        blocks.insert(key::last_u32(&key)?, BlockRecord::decode(&value)?);
    }
    let mut found = Found::default();
    for (key, value) in entries {
        let (uid, entry) = (key::last_u32(&key)?, IndexRecord::decode(&value)?);
        *totals.refs.entry(entry.message).or_default() += 1;
        let in_order = uid > 0
            && uid < record.uid_next
            && entry.modseq <= record.highest_modseq.0
            && entry.keywords.is_sorted_by(|a, b| a < b)
            && entry
                .keywords
                .iter()
                .all(|number| usize::from(*number) < keywords);
        check.expect(in_order, || {
            format!("{id} {mailbox} has a bad entry at {uid}: {entry:?}")
        });
        found.take(uid, &entry, &blocks);
    }
    check.expect(found.blocks == blocks, || {
        format!("{id} {mailbox} has blocks that are not as its messages")
    });
    check_counters(check, id, mailbox, &record, &blocks, totals);
    check.expect(record.highest_modseq <= account.modseq, || {
        format!("{id} {mailbox} is ahead of its account")
    });
    let changed = sets(check, &of(part::CHANGED))?;
    check.expect(changed == found.changed, || {
        format!("{id} {mailbox} has changes that are not as its messages")
    });
    check_history(check, id, mailbox, &record, &found, is_pending)
}

impl Found {
    fn take(&mut self, uid: u32, entry: &IndexRecord, blocks: &BTreeMap<u32, BlockRecord>) {
        let block = block_of(uid);
        self.changed
            .entry((entry.modseq, block))
            .or_insert(Bits::EMPTY)
            .insert(uid);
        if !blocks
            .get(&block)
            .is_some_and(|record| record.uids.contains(uid))
        {
            self.remains.entry(block).or_insert(Bits::EMPTY).insert(uid);
            return;
        }
        let record = self.blocks.entry(block).or_insert(BlockRecord::EMPTY);
        record.uids.insert(uid);
        record.size_bytes += u64::from(entry.size);
        record.set_flags(uid, entry);
    }
}

fn check_counters(
    check: &mut Check<'_>,
    id: AccountId,
    mailbox: MailboxId,
    record: &MailboxRecord,
    blocks: &BTreeMap<u32, BlockRecord>,
    totals: &mut Totals,
) {
    let sum = |of: fn(&BlockRecord) -> u64| blocks.values().map(of).sum::<u64>();
    let found = (
        sum(|block| block.uids.count().into()),
        sum(|block| block.unseen.count().into()),
        sum(|block| block.deleted.count().into()),
        sum(|block| block.size_bytes),
    );
    let counted = (
        record.messages,
        record.unseen,
        record.deleted,
        record.size_bytes,
    );
    check.expect(found == counted, || {
        format!("{id} {mailbox} counts {counted:?} but has {found:?}")
    });
    totals.messages += found.0;
    totals.size_bytes += found.3;
}

fn check_history(
    check: &mut Check<'_>,
    id: AccountId,
    mailbox: MailboxId,
    record: &MailboxRecord,
    found: &Found,
    is_pending: bool,
) -> Result<(), KvError> {
    let expunged = sets(check, &key::of_mailbox(id, part::EXPUNGED, mailbox))?;
    check.expect(expunged.len() == record.history_records as usize, || {
        format!("{id} {mailbox} miscounts its history")
    });
    for ((modseq, block), bits) in &expunged {
        // What was skipped raises the floor above what is kept, which then goes with the years.
        let above = *modseq > record.history_floor.0 || record.skips != Skips::default();
        let in_order = above && *modseq <= record.highest_modseq.0;
        let gone = found
            .blocks
            .get(block)
            .is_none_or(|there| there.uids.and(bits).is_empty());
        check.expect(in_order && gone, || {
            format!("{id} {mailbox} has a bad history at {modseq}")
        });
    }
    let mut remains = BTreeMap::new();
    for ((_, block), bits) in sets(check, &key::of_mailbox(id, part::REAP, mailbox))? {
        let all = remains.entry(block).or_insert(Bits::EMPTY);
        *all = all.or(&bits);
    }
    check.expect(remains == found.remains, || {
        format!("{id} {mailbox} has remains that nobody will remove")
    });
    let on_its_way = check.on_their_way.contains(&id);
    check.expect(remains.is_empty() || is_pending != on_its_way, || {
        format!("the remains in {id} {mailbox} are not queued")
    });
    Ok(())
}

/// A table of sets by MODSEQ and block.
fn sets(check: &Check<'_>, prefix: &[u8]) -> Result<BTreeMap<(u64, u32), Bits>, KvError> {
    let mut sets = BTreeMap::new();
    for (key, value) in pairs(check.view, Space::Index, prefix)? {
        sets.insert(key::modseq_and_block(&key)?, Bits::decode(&value)?);
    }
    Ok(sets)
}
