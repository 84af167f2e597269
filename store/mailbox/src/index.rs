//! Reading a mailbox's blocks and index.

use std::{collections::BTreeMap, ops::ControlFlow};

use mailrook_kv::{Direction, KvError, Read, Space, prefix_end};
use mailrook_types::{AccountId, MailboxId, ModSeq, Uid, UidSet};

use crate::{
    ChangePlace, Refusal,
    bits::{Bits, Blocks, block_of},
    fields::Damage,
    key::{self, part},
    limits::BULK_MAX,
    record::{BlockRecord, IndexRecord},
    tx::Outcome,
};

/// Up to so many messages of a block are read one by one; for more, a scan over the block is cheaper.
const SINGLE_READS_MAX: u32 = 4;

/// A mailbox of an account, for reading.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub view: &'a dyn Read,
    pub account: AccountId,
    pub mailbox: MailboxId,
}

/// UIDs of a mailbox by block, ascending; no block is empty.
pub(crate) type Selection = Vec<(u32, Bits)>;

/// A stored key with its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// Where to begin to read what changed.
#[derive(Clone, Copy)]
pub(crate) enum ChangesFrom {
    /// After this MODSEQ.
    Start(ModSeq),
    /// After this record.
    After(ChangePlace),
}

/// How many UIDs there are.
pub(crate) fn count(selection: &Selection) -> u64 {
    selection
        .iter()
        .map(|(_, bits)| u64::from(bits.count()))
        .sum()
}

/// Refuses what is too much for one command.
pub(crate) fn require_bulk(selection: &Selection) -> Outcome<()> {
    if count(selection) > BULK_MAX {
        let text = format!("{BULK_MAX} messages in one command; name fewer at a time");
        return Err(Refusal::Limit(text).into());
    }
    Ok(())
}

/// The selection as a set.
pub(crate) fn uid_set(selection: &Selection) -> UidSet {
    let mut uids = UidSet::new();
    for (block, bits) in selection {
        bits.add_to(*block, &mut uids);
    }
    uids
}

impl Source<'_> {
    /// Calls `visit` for each block from `first` to `last`.
    pub(crate) fn blocks(
        &self,
        first: u32,
        last: u32,
        mut visit: impl FnMut(u32, BlockRecord) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        let start = key::block(self.account, self.mailbox, first);
        if first == last {
            // A look-up costs a fraction of a scan, and most questions are about one message.
            if let Some(stored) = self.view.get(Space::Index, &start)? {
                let _ = visit(first, BlockRecord::decode(&stored)?);
            }
            return Ok(());
        }
        let mut end = key::block(self.account, self.mailbox, last);
        end.push(0);
        self.scan(&start, &end, |key, value| {
            Ok(visit(key::last_u32(key)?, BlockRecord::decode(value)?))
        })
    }

    /// Those of `uids` (of all) that exist.
    pub(crate) fn existing(&self, uids: Option<&UidSet>) -> Result<Selection, KvError> {
        self.select(uids, |block| block.uids)
    }

    /// Those of `uids` (of all) in the set of each block that `of` names.
    pub(crate) fn select(
        &self,
        uids: Option<&UidSet>,
        of: impl Fn(&BlockRecord) -> Bits,
    ) -> Result<Selection, KvError> {
        let mut selection = Vec::new();
        let (first, last) = match uids {
            None => (0, u32::MAX),
            Some(uids) => match (uids.first(), uids.last()) {
                (Some(first), Some(last)) => (block_of(first.get()), block_of(last.get())),
                _ => return Ok(selection),
            },
        };
        let mut wanted = uids.map(Blocks::of);
        self.blocks(first, last, |block, record| {
            let mut bits = of(&record);
            if let Some(wanted) = &mut wanted {
                bits = bits.and(&wanted.block(block));
            }
            if !bits.is_empty() {
                selection.push((block, bits));
            }
            ControlFlow::Continue(())
        })?;
        Ok(selection)
    }

    /// Those of `among` that changed after `since`.
    pub(crate) fn changed_since(
        &self,
        among: &Selection,
        since: u64,
    ) -> Result<Selection, KvError> {
        let changed = self.sets_after(part::CHANGED, since)?;
        let both = among.iter().filter_map(|(block, bits)| {
            let both = bits.and(changed.get(block)?);
            (!both.is_empty()).then_some((*block, both))
        });
        Ok(both.collect())
    }

    /// Those of `uids` (of all) that exist and changed next, about `limit` of them, and where it goes on.
    pub(crate) fn changes(
        &self,
        uids: Option<&UidSet>,
        from: ChangesFrom,
        limit: u32,
    ) -> Result<(Selection, Option<ChangePlace>), KvError> {
        if limit == 0 {
            return Ok((Selection::new(), None));
        }
        let (table, mailbox) = (part::CHANGED, self.mailbox);
        // The last record that counts as read; the first key behind it is where to begin.
        let (modseq, block) = match from {
            ChangesFrom::Start(since) => (since.0, u32::MAX),
            ChangesFrom::After(place) => (place.modseq.0, place.block),
        };
        let mut start = key::by_modseq(self.account, table, mailbox, modseq, block);
        start.push(0);
        let end = prefix_end(&key::of_mailbox(self.account, table, mailbox));
        let mut sets = BTreeMap::new();
        let (mut left, mut last, mut next) = (limit, None, None);
        self.scan(&start, &end, |key, value| {
            let bits = Bits::decode(value)?;
            // A record that concerns nobody has been read, too.
            let cost = bits.count().max(1);
            if cost > left && last.is_some() {
                next = last;
                return Ok(ControlFlow::Break(()));
            }
            left = left.saturating_sub(cost);
            let (modseq, block) = key::modseq_and_block(key)?;
            let modseq = ModSeq(modseq);
            last = Some(ChangePlace { modseq, block });
            let set = sets.entry(block).or_insert(Bits::EMPTY);
            *set = set.or(&bits);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((self.existing_of(uids, sets)?, next))
    }

    /// Those of `uids` (of all) that exist, of `sets`.
    fn existing_of(
        &self,
        uids: Option<&UidSet>,
        sets: BTreeMap<u32, Bits>,
    ) -> Result<Selection, KvError> {
        let mut wanted = uids.map(Blocks::of);
        let mut selection = Selection::new();
        for (block, mut bits) in sets {
            if let Some(wanted) = &mut wanted {
                bits = bits.and(&wanted.block(block));
            }
            let key = key::block(self.account, self.mailbox, block);
            if !bits.is_empty()
                && let Some(stored) = self.view.get(Space::Index, &key)?
            {
                bits = bits.and(&BlockRecord::decode(&stored)?.uids);
                selection.push((block, bits));
            }
        }
        selection.retain(|(_, bits)| !bits.is_empty());
        Ok(selection)
    }

    /// What a table by MODSEQ holds after `since`.
    pub(crate) fn sets_after(&self, table: u8, since: u64) -> Result<BTreeMap<u32, Bits>, KvError> {
        let mut sets = BTreeMap::new();
        let Some(from) = since.checked_add(1) else {
            return Ok(sets);
        };
        let start = key::from_modseq(self.account, table, self.mailbox, from);
        let end = prefix_end(&key::of_mailbox(self.account, table, self.mailbox));
        self.scan(&start, &end, |key, value| {
            let set = sets.entry(key::last_u32(key)?).or_insert(Bits::EMPTY);
            *set = set.or(&Bits::decode(value)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(sets)
    }

    /// Calls `visit` with UID, stored bytes and meaning of the index's entries of `wanted`, which must exist.
    pub(crate) fn entries(
        &self,
        block: u32,
        wanted: &Bits,
        mut visit: impl FnMut(u32, &[u8], IndexRecord) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, KvError> {
        let missing = Damage("a mailbox's index lacks a message");
        let left = wanted.count();
        let (Some(first), Some(last)) = (wanted.first(block), wanted.last(block)) else {
            return Ok(ControlFlow::Continue(()));
        };
        if left <= SINGLE_READS_MAX {
            for uid in wanted.uids(block) {
                let key = key::index(self.account, self.mailbox, uid);
                let bytes = self.view.get(Space::Index, &key)?.ok_or(missing)?;
                if visit(uid, &bytes, IndexRecord::decode(&bytes)?).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            return Ok(ControlFlow::Continue(()));
        }
        let mut left = left;
        let mut flow = ControlFlow::Continue(());
        let start = key::index(self.account, self.mailbox, first);
        let mut end = key::index(self.account, self.mailbox, last);
        end.push(0);
        self.scan(&start, &end, |key, value| {
            let uid = key::last_u32(key)?;
            if wanted.contains(uid) {
                left -= 1;
                flow = visit(uid, value, IndexRecord::decode(value)?);
            }
            Ok(flow)
        })?;
        if left > 0 && flow.is_continue() {
            return Err(missing.into());
        }
        Ok(flow)
    }

    /// The smallest UID without `\Seen`.
    pub(crate) fn first_unseen(&self) -> Result<Option<Uid>, KvError> {
        let mut found = None;
        self.blocks(0, u32::MAX, |block, record| {
            found = record.unseen.first(block).and_then(Uid::new);
            if found.is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(found)
    }

    /// A scan of the index whose visitor may find damage.
    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, KvError>,
    ) -> Result<(), KvError> {
        scan(self.view, Space::Index, start, end, visit)
    }
}

/// A scan whose visitor may find damage, with which it ends.
pub(crate) fn scan(
    view: &dyn Read,
    space: Space,
    start: &[u8],
    end: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, KvError>,
) -> Result<(), KvError> {
    let mut failed = None;
    view.scan(space, start, end, Direction::Forward, &mut |key, value| {
        visit(key, value).unwrap_or_else(|error| {
            failed = Some(error);
            ControlFlow::Break(())
        })
    })?;
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::BLOCK_LEN;

    #[test]
    fn what_is_too_much_for_one_command_is_refused() {
        let mut full = Bits::EMPTY;
        (0..BLOCK_LEN).for_each(|uid| full.insert(uid));
        let blocks = |n: u64| -> Selection { (0..n as u32).map(|block| (block, full)).collect() };
        let fits = BULK_MAX / u64::from(BLOCK_LEN);
        assert!(require_bulk(&blocks(fits)).is_ok());
        assert!(require_bulk(&blocks(fits + 1)).is_err());
    }
}
