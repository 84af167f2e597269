//! COPY and MOVE (RFC 9051 §6.4.7, §6.4.8; RFC 4315, RFC 6851): all messages or none.

use std::{collections::BTreeMap, ops::ControlFlow};

use mailrook_types::{MailboxId, UidSet};

use crate::{
    ChangeReply, Copied, MailboxRef,
    apply::append::require_quota,
    fields::Damage,
    index::{Selection, count, require_bulk, uid_set},
    mailbox::Mailbox,
    message, name,
    record::IndexRecord,
    tx::{Account, Outcome},
};

pub(crate) fn apply(
    account: &mut Account<'_>,
    from: MailboxId,
    uids: &UidSet,
    to: &MailboxRef,
    remove_originals: bool,
) -> Outcome<ChangeReply> {
    let source = Mailbox::open(account, from)?;
    let target = name::open(account, to)?;
    let wanted = source.source(account).existing(Some(uids))?;
    transfer(account, source, &wanted, target, remove_originals).map(ChangeReply::Copied)
}

/// Copies messages that exist, and expunges the originals if they are to move.
pub(crate) fn transfer(
    account: &mut Account<'_>,
    source: Mailbox,
    wanted: &Selection,
    mut target: Mailbox,
    remove_originals: bool,
) -> Outcome<Copied> {
    require_bulk(wanted)?;
    target.require_room(count(wanted))?;
    let mut entries = Vec::with_capacity(count(wanted) as usize);
    for (block, bits) in wanted {
        let _ = source
            .source(account)
            .entries(*block, bits, |_, _, entry| {
                entries.push(entry);
                ControlFlow::Continue(())
            })?;
    }
    if !remove_originals {
        let bytes = entries.iter().map(|entry| u64::from(entry.size)).sum();
        require_quota(account, entries.len() as u64, bytes)?;
    }
    let from = source.id;
    if from != target.id {
        renumber(account, source, &mut target, &mut entries)?;
    }
    for entry in &mut entries {
        entry.saved_ms = account.now;
        message::share(account, entry.message)?;
    }
    let (to, uid_validity) = (target.id, target.record.uid_validity);
    let copies = target.add(account, entries)?;
    let mut modseq = target.record.highest_modseq;
    target.close(account);
    if remove_originals && !wanted.is_empty() {
        // Opened only now: source and target may be one.
        let mut source = Mailbox::open(account, from)?;
        source.remove(account, wanted)?;
        modseq = source.record.highest_modseq;
        source.close(account);
    }
    Ok(Copied {
        mailbox: to,
        uid_validity,
        from: uid_set(wanted),
        to: copies,
        modseq,
    })
}

/// Turns the source's numbers of keywords into the target's.
fn renumber(
    account: &Account<'_>,
    mut source: Mailbox,
    target: &mut Mailbox,
    entries: &mut [IndexRecord],
) -> Outcome<()> {
    let mut numbers: BTreeMap<u16, u16> = BTreeMap::new();
    for entry in entries {
        for number in &mut entry.keywords {
            let known = match numbers.get(number) {
                Some(known) => *known,
                None => {
                    let table = &source.keywords(account)?.0;
                    let keyword = table
                        .get(usize::from(*number))
                        .ok_or(Damage("a message has a keyword that its mailbox has not"))?;
                    let interned = target.intern(account, std::slice::from_ref(keyword))?;
                    let known = interned
                        .first()
                        .copied()
                        .ok_or(Damage("a keyword got no number"))?;
                    numbers.insert(*number, known);
                    known
                }
            };
            *number = known;
        }
        entry.keywords.sort_unstable();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mailrook_types::{FlagUpdate, Flags, Keyword, MailboxId, ModSeq};

    use crate::{
        AccountChange, Change, ChangeReply, Copied, MailboxRef, QuotaLimit, Refusal, testing::*,
    };

    fn copy(uids: &str, to: MailboxId, remove_originals: bool) -> Change {
        Change::Copy {
            mailbox: INBOX,
            uids: set(uids),
            to: MailboxRef::Id(to),
            remove_originals,
        }
    }

    #[test]
    fn a_copy_is_the_same_message_with_its_flags() {
        let mut world = World::new();
        world.append(3);
        let other = world.create("other").unwrap();
        let flags = Flags {
            keywords: vec![Keyword::parse("Work").unwrap()],
            ..Flags::default()
        };
        let update = FlagUpdate::Add;
        world
            .change(Change::StoreFlags {
                mailbox: INBOX,
                uids: set("3"),
                unchanged_since: None,
                update,
                flags,
            })
            .unwrap();
        let copied = Copied {
            mailbox: other,
            uid_validity: world.status(other).uid_validity,
            from: set("2:3"),
            to: set("1:2"),
            modseq: ModSeq(5),
        };
        assert_eq!(
            world.change(copy("2:9", other, false)),
            Ok(ChangeReply::Copied(copied))
        );
        let (originals, copies) = (world.index(INBOX), world.index(other));
        assert_eq!(originals[2].message, copies[1].message);
        assert_eq!(originals[2].flags, copies[1].flags);
    }

    #[test]
    fn a_move_takes_the_originals_away_and_needs_no_room() {
        let mut world = World::new();
        world.append(3);
        let other = world.create("other").unwrap();
        let quota = QuotaLimit {
            storage_bytes: None,
            messages: Some(3),
        };
        world
            .change(Change::Account(AccountChange::SetQuota(quota)))
            .unwrap();
        assert_eq!(
            world.change(copy("1", other, false)),
            Err(Refusal::OverQuota)
        );
        assert!(world.change(copy("1:2", other, true)).is_ok());
        assert_eq!(
            (world.uids(INBOX), world.uids(other)),
            ("3".to_owned(), "1:2".to_owned())
        );
        assert_eq!(world.changes(3).vanished, Some(set("1:2")));
    }

    #[test]
    fn a_move_within_a_mailbox_gives_new_uids() {
        let mut world = World::new();
        world.append(3);
        world.change(copy("1", INBOX, true)).unwrap();
        assert_eq!(world.uids(INBOX), "2:4");
    }

    #[test]
    fn nothing_to_copy_is_no_change() {
        let mut world = World::new();
        let Ok(ChangeReply::Copied(copied)) = world.change(copy("1:9", INBOX, true)) else {
            panic!()
        };
        assert_eq!((copied.from.len(), copied.modseq), (0, ModSeq(1)));
    }
}
