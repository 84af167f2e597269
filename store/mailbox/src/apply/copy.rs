//! COPY and MOVE (RFC 9051 §6.4.7, §6.4.8; RFC 4315, RFC 6851): all messages or none.

use std::{collections::BTreeMap, ops::ControlFlow};

use mailrook_types::{MailboxId, UidSet};

use crate::{
    ChangeReply, Copied, MailboxRef,
    apply::append::require_quota,
    fields::Damage,
    index::{Selection, count, uid_set},
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
