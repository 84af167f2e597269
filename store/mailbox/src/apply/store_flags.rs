//! STORE (RFC 9051 §6.4.6, RFC 7162 §3.1.3).

use std::{collections::BTreeMap, ops::ControlFlow};

use mailrook_types::{FlagUpdate, Flags, MailboxId, ModSeq, SystemFlags, Uid, UidSet};

use crate::{
    ChangeReply, FlagsStored,
    bits::Bits,
    index::require_bulk,
    key::{self, part},
    mailbox::{BlockEdit, Mailbox, forget_changes},
    record::IndexRecord,
    tx::{Account, Outcome},
};

/// What STORE asks for.
pub(crate) struct Wanted<'a> {
    pub unchanged_since: Option<ModSeq>,
    pub update: FlagUpdate,
    pub flags: &'a Flags,
}

/// The flags of a command in a mailbox's numbers.
struct Change {
    update: FlagUpdate,
    system: SystemFlags,
    keywords: Vec<u16>,
}

impl Change {
    /// Carries the change out on one message. Says whether its flags are other now.
    fn apply(&self, entry: &mut IndexRecord) -> bool {
        let system = match self.update {
            FlagUpdate::Replace => self.system,
            FlagUpdate::Add => entry.system | self.system,
            FlagUpdate::Remove => entry.system - self.system,
        };
        let mut changed = entry.system != system;
        entry.system = system;
        if self.update == FlagUpdate::Replace {
            if entry.keywords != self.keywords {
                entry.keywords.clone_from(&self.keywords);
                changed = true;
            }
            return changed;
        }
        for number in &self.keywords {
            match (entry.keywords.binary_search(number), self.update) {
                (Ok(at), FlagUpdate::Remove) => {
                    entry.keywords.remove(at);
                    changed = true;
                }
                (Err(at), FlagUpdate::Add) => {
                    entry.keywords.insert(at, *number);
                    changed = true;
                }
                _ => {}
            }
        }
        changed
    }
}

pub(crate) fn apply(
    account: &mut Account<'_>,
    id: MailboxId,
    uids: &UidSet,
    wanted: &Wanted<'_>,
) -> Outcome<ChangeReply> {
    let mut mailbox = Mailbox::open(account, id)?;
    let source = mailbox.source(account);
    let mut eligible = source.existing(Some(uids))?;
    let mut modified = UidSet::new();
    if let Some(since) = wanted.unchanged_since {
        // RFC 7162 §3.1.3: what changed after it is left alone.
        let changed: BTreeMap<_, _> = source
            .changed_since(&eligible, since.0)?
            .into_iter()
            .collect();
        for (block, bits) in &mut eligible {
            if let Some(changed) = changed.get(block) {
                changed.add_to(*block, &mut modified);
                *bits = bits.minus(changed);
            }
        }
        eligible.retain(|(_, bits)| !bits.is_empty());
    }
    require_bulk(&eligible)?;
    let change = numbered(account, &mut mailbox, wanted, !eligible.is_empty())?;
    let mut changed = UidSet::new();
    for (block, bits) in &eligible {
        store_block(account, &mut mailbox, *block, bits, &change, &mut changed)?;
    }
    let stored = FlagsStored {
        changed,
        modified,
        modseq: mailbox.record.highest_modseq,
    };
    mailbox.close(account);
    Ok(ChangeReply::FlagsStored(stored))
}

/// The change in the mailbox's numbers. Only a change that reaches a message brings new keywords into the mailbox, and taking a
/// keyword off never does.
fn numbered(
    account: &Account<'_>,
    mailbox: &mut Mailbox,
    wanted: &Wanted<'_>,
    reaches: bool,
) -> Outcome<Change> {
    let named = &wanted.flags.keywords;
    let keywords = if wanted.update == FlagUpdate::Remove || !reaches {
        let known = &mailbox.keywords(account)?.0;
        (0..)
            .zip(known)
            .filter(|(_, keyword)| named.contains(keyword))
            .map(|(number, _)| number)
            .collect()
    } else {
        mailbox.intern(account, named)?
    };
    Ok(Change {
        update: wanted.update,
        system: wanted.flags.system,
        keywords,
    })
}

fn store_block(
    account: &mut Account<'_>,
    mailbox: &mut Mailbox,
    block: u32,
    bits: &Bits,
    change: &Change,
    changed: &mut UidSet,
) -> Result<(), mailrook_kv::KvError> {
    let mut edits: Vec<(u32, Vec<u8>, IndexRecord)> = Vec::new();
    let _ = mailbox
        .source(account)
        .entries(block, bits, |uid, stored, mut entry| {
            if change.apply(&mut entry) {
                edits.push((uid, stored.to_vec(), entry));
            }
            ControlFlow::Continue(())
        })?;
    if edits.is_empty() {
        return Ok(());
    }
    let modseq = account.modseq();
    let mut edit = BlockEdit::open(account, mailbox.id, block)?;
    let before = (edit.record.unseen.count(), edit.record.deleted.count());
    let mut by_modseq: BTreeMap<u64, Bits> = BTreeMap::new();
    let mut now_changed = Bits::EMPTY;
    for (uid, stored, mut entry) in edits {
        by_modseq
            .entry(entry.modseq)
            .or_insert(Bits::EMPTY)
            .insert(uid);
        entry.modseq = modseq.0;
        now_changed.insert(uid);
        changed.extend(Uid::new(uid));
        edit.record.set_flags(uid, &entry);
        let key = key::index(account.id, mailbox.id, uid);
        account.put(key, Some(&stored), entry.encode());
    }
    let after = (edit.record.unseen.count(), edit.record.deleted.count());
    edit.close(account, mailbox.id);
    forget_changes(account, mailbox.id, block, &by_modseq)?;
    let key = key::by_modseq(account.id, part::CHANGED, mailbox.id, modseq.0, block);
    account.put(key, None, now_changed.encode());
    let record = &mut mailbox.record;
    record.unseen = record.unseen - u64::from(before.0) + u64::from(after.0);
    record.deleted = record.deleted - u64::from(before.1) + u64::from(after.1);
    record.highest_modseq = modseq;
    Ok(())
}

#[cfg(test)]
mod tests {
    use mailrook_types::{FlagUpdate, Flags, Keyword, ModSeq, SystemFlags};

    use crate::{Change, ChangeReply, FlagsStored, Refusal, limits::KEYWORDS_MAX, testing::*};

    fn store(update: FlagUpdate, uids: &str, words: &[String], since: Option<u64>) -> Change {
        let keywords = words
            .iter()
            .map(|word| Keyword::parse(word).unwrap())
            .collect();
        let flags = Flags {
            system: SystemFlags::NONE,
            keywords,
        };
        Change::StoreFlags {
            mailbox: INBOX,
            uids: set(uids),
            unchanged_since: since.map(ModSeq),
            update,
            flags,
        }
    }

    fn stored(changed: &str, modified: &str, modseq: u64) -> Result<ChangeReply, Refusal> {
        let stored = FlagsStored {
            changed: set(changed),
            modified: set(modified),
            modseq: ModSeq(modseq),
        };
        Ok(ChangeReply::FlagsStored(stored))
    }

    #[test]
    fn names_what_changed_and_leaves_the_rest_alone() {
        let mut world = World::new();
        world.append(5);
        let words = ["Work".to_owned()];
        assert_eq!(
            world.change(store(FlagUpdate::Add, "2:3,9", &words, None)),
            stored("2:3", "", 3)
        );
        assert_eq!(
            world.change(store(FlagUpdate::Add, "1:3", &words, None)),
            stored("1", "", 4)
        );
        assert_eq!(
            world.change(store(FlagUpdate::Add, "1:3", &words, None)),
            stored("", "", 4)
        );
        let shouted = ["WORK".to_owned()];
        assert_eq!(
            world.change(store(FlagUpdate::Remove, "1:5", &shouted, None)),
            stored("1:3", "", 5)
        );
    }

    #[test]
    fn unchangedsince_spares_what_changed_later() {
        let mut world = World::new();
        world.append(4);
        world.flag("2", SystemFlags::SEEN);
        let words = ["Work".to_owned()];
        assert_eq!(
            world.change(store(FlagUpdate::Add, "1:4", &words, Some(2))),
            stored("1,3:4", "2", 4)
        );
        assert_eq!(
            world.change(store(FlagUpdate::Remove, "1:4", &words, Some(0))),
            stored("", "1:4", 4)
        );
        assert_eq!(world.changes(3).changed.len(), 3);
    }

    #[test]
    fn counts_seen_and_deleted() {
        let mut world = World::new();
        world.append(3);
        world.flag("1:2", SystemFlags::SEEN | SystemFlags::DELETED);
        let status = world.status(INBOX);
        assert_eq!(
            (
                status.unseen,
                status.deleted,
                status.first_unseen.map(mailrook_types::Uid::get)
            ),
            (1, 2, Some(3))
        );
    }

    #[test]
    fn keywords_have_a_bound() {
        let mut world = World::new();
        world.append(1);
        let words: Vec<String> = (0..=KEYWORDS_MAX)
            .map(|number| format!("k{number}"))
            .collect();
        assert!(matches!(
            world.change(store(FlagUpdate::Add, "1", &words, None)),
            Err(Refusal::Limit(_))
        ));
        assert_eq!(world.status(INBOX).keywords, []);
        // Nothing is learnt where nothing changes.
        assert_eq!(
            world.change(store(FlagUpdate::Add, "7", &words, None)),
            stored("", "", 2)
        );
        assert_eq!(
            world.change(store(FlagUpdate::Add, "1", &words[1..], None)),
            stored("1", "", 3)
        );
        assert_eq!(world.index(INBOX)[0].flags.keywords.len(), KEYWORDS_MAX);
    }
}
