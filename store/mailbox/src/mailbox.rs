//! Changing a mailbox: its counters, keywords, blocks, and messages coming in and going out.
//!
//! What goes out is taken off the blocks at once, which is what makes a message exist; the rest of it is removed
//! later, a bounded amount with each command ([`crate::reap`]). So an expunge of 1,000,000 messages changes a thousand records.

use std::{collections::BTreeMap, ops::ControlFlow};

use mailrook_kv::{KvError, Space, prefix_end};
use mailrook_types::{Keyword, MailboxId, SystemFlags, Uid, UidSet};

use crate::{
    Refusal,
    bits::{Bits, block_of},
    fields::Damage,
    index::{Selection, Source, scan, uid_set},
    key::{self, part},
    limits::{HISTORY_RECORDS_MAX, KEYWORDS_MAX, MESSAGES_MAX},
    record::{BlockRecord, IndexRecord, KeywordTable, MailboxRecord},
    tx::{Account, Outcome},
};

/// Unit tests reach a small bound sooner.
const HISTORY_MAX: u32 = if cfg!(test) { 16 } else { HISTORY_RECORDS_MAX };

/// A mailbox that a command works on. Changes of its own record count when it is closed.
pub(crate) struct Mailbox {
    pub id: MailboxId,
    pub record: MailboxRecord,
    stored: Option<Vec<u8>>,
    keywords: Option<(KeywordTable, Option<Vec<u8>>)>,
}

impl Mailbox {
    pub(crate) fn open(account: &Account<'_>, id: MailboxId) -> Outcome<Mailbox> {
        let key = key::of_mailbox(account.id, part::MAILBOX, id);
        let stored = account.get(&key)?.ok_or(Refusal::NoSuchMailbox)?;
        let mut record = MailboxRecord::decode(&stored)?;
        record.skip_to(account.record.skips);
        Ok(Mailbox {
            id,
            record,
            stored: Some(stored),
            keywords: None,
        })
    }

    /// A mailbox that is not stored yet.
    pub(crate) fn new(id: MailboxId, record: MailboxRecord) -> Mailbox {
        Mailbox {
            id,
            record,
            stored: None,
            keywords: None,
        }
    }

    /// Writes what has changed of the mailbox's own record and keywords.
    pub(crate) fn close(mut self, account: &mut Account<'_>) {
        if let Some((table, stored)) = self.keywords.take() {
            self.record.keywords = table.0.len() as u16;
            if !table.0.is_empty() {
                let key = key::of_mailbox(account.id, part::KEYWORDS, self.id);
                account.put(key, stored.as_deref(), table.encode());
            }
        }
        let key = key::of_mailbox(account.id, part::MAILBOX, self.id);
        account.put(key, self.stored.as_deref(), self.record.encode());
    }

    /// The mailbox as a source to read from.
    pub(crate) fn source<'s>(&self, account: &'s Account<'_>) -> Source<'s> {
        Source {
            view: account.view.as_read(),
            account: account.id,
            mailbox: self.id,
        }
    }

    /// The mailbox's keywords; those that a command adds are written when the mailbox is closed.
    pub(crate) fn keywords(&mut self, account: &Account<'_>) -> Result<&mut KeywordTable, KvError> {
        if self.keywords.is_none() {
            let stored = account.get(&key::of_mailbox(account.id, part::KEYWORDS, self.id))?;
            let table = match &stored {
                Some(bytes) => KeywordTable::decode(bytes)?,
                None => KeywordTable::default(),
            };
            self.keywords = Some((table, stored));
        }
        let (table, _) = self
            .keywords
            .as_mut()
            .ok_or(Damage("a mailbox has no keywords"))?;
        Ok(table)
    }

    /// The numbers of `keywords`, ascending; new ones get a number.
    pub(crate) fn intern(
        &mut self,
        account: &Account<'_>,
        keywords: &[Keyword],
    ) -> Outcome<Vec<u16>> {
        let mut numbers = Vec::with_capacity(keywords.len());
        if keywords.is_empty() {
            return Ok(numbers);
        }
        let table = &mut self.keywords(account)?.0;
        for keyword in keywords {
            let number = match table.iter().position(|known| known == keyword) {
                Some(number) => number,
                None if table.len() >= KEYWORDS_MAX => {
                    let text = format!("{KEYWORDS_MAX} keywords in a mailbox");
                    return Err(Refusal::Limit(text).into());
                }
                None => {
                    table.push(keyword.clone());
                    table.len() - 1
                }
            };
            numbers.push(number as u16);
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }

    /// Insists that `count` more messages fit.
    pub(crate) fn require_room(&self, count: u64) -> Outcome<()> {
        if self.record.messages.saturating_add(count) > MESSAGES_MAX {
            let text = format!("{MESSAGES_MAX} messages in a mailbox");
            return Err(Refusal::Limit(text).into());
        }
        // UIDNEXT is a UID too, so that the largest number is never given to a message.
        if u64::from(self.record.uid_next).saturating_add(count) > u64::from(u32::MAX) {
            return Err(Refusal::Limit("the mailbox has used up its UIDs".to_owned()).into());
        }
        Ok(())
    }

    /// Adds messages in order, for which there must be room. Their MODSEQ is the command's.
    pub(crate) fn add(
        &mut self,
        account: &mut Account<'_>,
        entries: Vec<IndexRecord>,
    ) -> Result<UidSet, KvError> {
        let mut uids = UidSet::new();
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let modseq = account.modseq();
            let block = block_of(self.record.uid_next);
            let mut edit = BlockEdit::open(account, self.id, block)?;
            let mut changed = Bits::EMPTY;
            while block_of(self.record.uid_next) == block
                && let Some(mut entry) = entries.next()
            {
                let uid = self.record.uid_next;
                self.record.uid_next += 1;
                entry.modseq = modseq.0;
                changed.insert(uid);
                uids.extend(Uid::new(uid));
                edit.add(uid, &entry);
                self.count_in(account, &entry);
                account.put(key::index(account.id, self.id, uid), None, entry.encode());
            }
            edit.close(account, self.id);
            let changed_key = key::by_modseq(account.id, part::CHANGED, self.id, modseq.0, block);
            // A command may deliver to a mailbox twice: then its changes are there already.
            let stored = if self.record.highest_modseq == modseq {
                account.get(&changed_key)?
            } else {
                None
            };
            if let Some(stored) = &stored {
                changed = changed.or(&Bits::decode(stored)?);
            }
            account.put(changed_key, stored.as_deref(), changed.encode());
            self.record.highest_modseq = modseq;
        }
        Ok(uids)
    }

    fn count_in(&mut self, account: &mut Account<'_>, entry: &IndexRecord) {
        let size = u64::from(entry.size);
        self.record.messages += 1;
        self.record.size_bytes += size;
        self.record.unseen += u64::from(!entry.system.contains(SystemFlags::SEEN));
        self.record.deleted += u64::from(entry.system.contains(SystemFlags::DELETED));
        account.record.messages += 1;
        account.record.storage_bytes += size;
    }

    /// Expunges messages that exist.
    pub(crate) fn remove(
        &mut self,
        account: &mut Account<'_>,
        gone: &Selection,
    ) -> Result<UidSet, KvError> {
        if gone.is_empty() {
            return Ok(UidSet::new());
        }
        let modseq = account.modseq();
        for (block, bits) in gone {
            let mut edit = BlockEdit::open(account, self.id, *block)?;
            let size_bytes = self.size_of(account, *block, bits, &edit.record)?;
            let (unseen, deleted) = (edit.record.unseen.and(bits), edit.record.deleted.and(bits));
            edit.record.remove(bits);
            edit.record.size_bytes -= size_bytes;
            edit.close(account, self.id);
            for table in [part::EXPUNGED, part::REAP] {
                let key = key::by_modseq(account.id, table, self.id, modseq.0, *block);
                account.put(key, None, bits.encode());
            }
            self.record.messages -= u64::from(bits.count());
            self.record.unseen -= u64::from(unseen.count());
            self.record.deleted -= u64::from(deleted.count());
            self.record.size_bytes -= size_bytes;
            account.record.messages -= u64::from(bits.count());
            account.record.storage_bytes -= size_bytes;
        }
        self.record.highest_modseq = modseq;
        self.record.history_records += gone.len() as u32;
        self.prune_history(account, modseq.0)?;
        account.queue_reaping(self.id)?;
        Ok(uid_set(gone))
    }

    /// The bytes of some messages of a block; of all of them the block knows it itself.
    fn size_of(
        &self,
        account: &Account<'_>,
        block: u32,
        bits: &Bits,
        record: &BlockRecord,
    ) -> Result<u64, KvError> {
        if *bits == record.uids {
            return Ok(record.size_bytes);
        }
        let mut size_bytes = 0;
        let _ = self.source(account).entries(block, bits, |_, _, entry| {
            size_bytes += u64::from(entry.size);
            ControlFlow::Continue(())
        })?;
        Ok(size_bytes)
    }

    /// Forgets the oldest of the history of expunged messages, whole commands at a time and never the newest.
    fn prune_history(&mut self, account: &mut Account<'_>, newest: u64) -> Result<(), KvError> {
        let Some(surplus) = self.record.history_records.checked_sub(HISTORY_MAX) else {
            return Ok(());
        };
        let (mut forgotten, mut floor) = (Vec::new(), 0);
        let start = key::of_mailbox(account.id, part::EXPUNGED, self.id);
        let end = key::from_modseq(account.id, part::EXPUNGED, self.id, newest);
        scan(
            account.view.as_read(),
            Space::Index,
            &start,
            &end,
            |key, value| {
                let (modseq, _) = key::modseq_and_block(key)?;
                if forgotten.len() >= surplus as usize && modseq != floor {
                    return Ok(ControlFlow::Break(()));
                }
                floor = modseq;
                forgotten.push((key.to_vec(), value.to_vec()));
                Ok(ControlFlow::Continue(()))
            },
        )?;
        self.record.history_records -= forgotten.len() as u32;
        self.record.history_floor.0 = self.record.history_floor.0.max(floor);
        for (key, value) in forgotten {
            account.delete(key, &value);
        }
        Ok(())
    }
}

/// A block under change.
pub(crate) struct BlockEdit {
    pub record: BlockRecord,
    block: u32,
    stored: Option<Vec<u8>>,
}

impl BlockEdit {
    pub(crate) fn open(
        account: &Account<'_>,
        mailbox: MailboxId,
        block: u32,
    ) -> Result<BlockEdit, KvError> {
        let stored = account.get(&key::block(account.id, mailbox, block))?;
        let record = match &stored {
            Some(bytes) => BlockRecord::decode(bytes)?,
            None => BlockRecord::EMPTY,
        };
        Ok(BlockEdit {
            record,
            block,
            stored,
        })
    }

    fn add(&mut self, uid: u32, entry: &IndexRecord) {
        self.record.uids.insert(uid);
        self.record.size_bytes += u64::from(entry.size);
        self.record.set_flags(uid, entry);
    }

    /// Writes the block; an empty one is not kept.
    pub(crate) fn close(self, account: &mut Account<'_>, mailbox: MailboxId) {
        let key = key::block(account.id, mailbox, self.block);
        match self.stored {
            Some(stored) if self.record.uids.is_empty() => account.delete(key, &stored),
            None if self.record.uids.is_empty() => {}
            stored => account.put(key, stored.as_deref(), self.record.encode()),
        }
    }
}

/// Takes messages of a block out of the table of what changed when: `by_modseq` has the MODSEQs that they had.
pub(crate) fn forget_changes(
    account: &mut Account<'_>,
    mailbox: MailboxId,
    block: u32,
    by_modseq: &BTreeMap<u64, Bits>,
) -> Result<(), KvError> {
    for (modseq, bits) in by_modseq {
        let key = key::by_modseq(account.id, part::CHANGED, mailbox, *modseq, block);
        let stored = account.get(&key)?.ok_or(Damage(
            "a message's MODSEQ is not among the mailbox's changes",
        ))?;
        let rest = Bits::decode(&stored)?.minus(bits);
        if rest.is_empty() {
            account.delete(key, &stored);
        } else {
            account.put(key, Some(&stored), rest.encode());
        }
    }
    Ok(())
}

/// Everything of a mailbox in one of the account's tables, as the range of its keys.
pub(crate) fn range_of(account: &Account<'_>, table: u8, mailbox: MailboxId) -> (Vec<u8>, Vec<u8>) {
    let start = key::of_mailbox(account.id, table, mailbox);
    let end = prefix_end(&start);
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::HISTORY_MAX;
    use crate::{Change, testing::*};

    #[test]
    fn the_oldest_history_goes_and_its_floor_says_so() {
        let mut world = World::new();
        world.append(HISTORY_MAX + 4);
        for uid in 1..=HISTORY_MAX + 3 {
            world
                .change(Change::Remove {
                    mailbox: INBOX,
                    uids: set(&uid.to_string()),
                })
                .unwrap();
        }
        // UID n went at MODSEQ n + 2; those of 1 to 3 are forgotten.
        let floor = world.status(INBOX).history_floor.0;
        assert_eq!(floor, 5);
        assert_eq!(world.changes(floor - 1).vanished, None);
        let known = format!("4:{}", HISTORY_MAX + 3);
        assert_eq!(world.changes(floor).vanished, Some(set(&known)));
    }
}
