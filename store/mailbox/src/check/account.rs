//! One account: its digest, names, totals, messages and kept replies.

use std::collections::{BTreeMap, BTreeSet};

use mailrook_kv::{KvError, Space};
use mailrook_types::{AccountId, ClientId, MailboxId};

use super::{Check, mailbox, pairs};
use crate::{
    digest::Sum,
    fields::Damage,
    key::{self, Expiring, detail_part, part},
    limits::UNANSWERED_MAX,
    message::content_digest,
    name,
    record::{
        AccountRecord, DeliveryRecord, DetailRecord, LaneRecord, MaildropRecord, MessageRecord,
        Standing,
    },
    transit::Transit,
};

/// What the mailboxes of an account add up to.
#[derive(Default)]
pub(super) struct Totals {
    pub messages: u64,
    pub size_bytes: u64,
    /// Index entries by message.
    pub refs: BTreeMap<u64, u64>,
}

pub(super) fn check(check: &mut Check<'_>, id: AccountId) -> Result<(), KvError> {
    let Some(stored) = check.view.get(Space::Index, &key::account(id))? else {
        check.say(|| format!("{id} has records but none of its own"));
        return Ok(());
    };
    let record = AccountRecord::decode(&stored)?;
    check_digest(check, id, &record)?;
    if record.is_elsewhere() {
        check.on_their_way.insert(id);
    }
    if record.transit.is_some() {
        check.moved.insert(id);
    }
    if record.transit.is_some_and(Transit::is_partial) {
        return check_part(check, id, &record);
    }
    let live = check_names(check, id, &record)?;
    let known = known_mailboxes(check, id, &live)?;
    let mut totals = Totals::default();
    for mailbox in &known {
        mailbox::check(
            check,
            id,
            *mailbox,
            live.contains(mailbox),
            &record,
            &mut totals,
        )?;
    }
    let usage = (record.messages, record.storage_bytes);
    let sums = (totals.messages, totals.size_bytes);
    check.expect(usage == sums, || {
        format!("{id} counts {usage:?} messages and bytes, but has {sums:?}")
    });
    check_messages(check, id, &record, totals.refs)?;
    check_deliveries(check, id, &known)?;
    check_lanes(check, id)?;
    check_maildrop(check, id)
}

/// An account of which there may be a part: what there is of it belongs to it.
fn check_part(check: &mut Check<'_>, id: AccountId, record: &AccountRecord) -> Result<(), KvError> {
    check.expect(
        record.standing == Standing::Absent && record.messages == 0,
        || format!("{id} is on its way, and counts as if it were here"),
    );
    check_details(check, id, &mut |_, _, _| {})?;
    for (key, value) in pairs(check.view, Space::Index, &key::account_prefix(id))? {
        match key::expiring_of(id, &key)? {
            Some(what @ Expiring::Lane(..)) => {
                check_lane(check, &LaneRecord::decode(&value)?, &what)
            }
            Some(what @ Expiring::Maildrop(_)) => {
                check.expect_queued(MaildropRecord::decode(&value)?.queued_ms, &what);
            }
            Some(what) => check.expect_queued(DeliveryRecord::decode(&value)?.expires_ms, &what),
            None => {}
        }
    }
    Ok(())
}

fn check_digest(
    check: &mut Check<'_>,
    id: AccountId,
    record: &AccountRecord,
) -> Result<(), KvError> {
    let own = key::account(id);
    let mut sum = Sum::default();
    for (key, value) in pairs(check.view, Space::Index, &key::account_prefix(id))? {
        if key != own {
            sum.add(Space::Index, &key, &value);
        }
    }
    check.expect(sum == record.sum, || {
        format!("{id} has another digest than it keeps")
    });
    Ok(())
}

fn check_names(
    check: &mut Check<'_>,
    id: AccountId,
    record: &AccountRecord,
) -> Result<BTreeSet<MailboxId>, KvError> {
    let names = name::all(check.view, id)?;
    let mut live = BTreeSet::new();
    for (name, mailbox) in &names {
        check.expect(live.insert(*mailbox), || {
            format!("{id} {mailbox} has two names, one is {name}")
        });
        check.expect(mailbox.0 < record.next_mailbox, || {
            format!("{id} {mailbox} has an id not granted yet")
        });
    }
    let has_inbox = names.iter().any(|(name, _)| name.is_inbox());
    let fits = match record.standing {
        Standing::Live => has_inbox,
        Standing::Removed => !has_inbox,
        Standing::Absent => false,
    };
    check.expect(fits, || {
        format!(
            "{id} has an INBOX {has_inbox}, but is {:?}",
            record.standing
        )
    });
    check.expect(names.len() == record.mailboxes as usize, || {
        format!("{id} miscounts its mailboxes")
    });
    let subscriptions = name::subscriptions(check.view, id)?.len();
    check.expect(subscriptions == record.subscriptions as usize, || {
        format!("{id} miscounts its subscriptions")
    });
    let uses: BTreeSet<_> = record
        .special_uses
        .iter()
        .map(|(special_use, _)| special_use)
        .collect();
    check.expect(uses.len() == record.special_uses.len(), || {
        format!("{id} has a special use twice")
    });
    for (_, mailbox) in &record.special_uses {
        check.expect(live.contains(mailbox), || {
            format!("{id} {mailbox} has a special use but is gone")
        });
    }
    Ok(live)
}

/// Every mailbox id of which there is a record in any table; those that are neither live nor dead are reported.
fn known_mailboxes(
    check: &mut Check<'_>,
    id: AccountId,
    live: &BTreeSet<MailboxId>,
) -> Result<BTreeSet<MailboxId>, KvError> {
    let mut known = live.clone();
    for table in [
        part::DEAD,
        part::MAILBOX,
        part::KEYWORDS,
        part::BLOCK,
        part::INDEX,
        part::CHANGED,
        part::EXPUNGED,
        part::REAP,
        part::DELIVERY,
    ] {
        let prefix = key::part_prefix(id, table);
        for (key, _) in pairs(check.view, Space::Index, &prefix)? {
            let mailbox = key.get(prefix.len()..).and_then(<[u8]>::first_chunk);
            let mailbox = MailboxId(u64::from_be_bytes(
                *mailbox.ok_or(Damage("a key is cut short"))?,
            ));
            if known.insert(mailbox) && table != part::DEAD {
                check.say(|| format!("{id} {mailbox} is gone but has records in table {table:#x}"));
            }
        }
    }
    Ok(known)
}

fn check_messages(
    check: &mut Check<'_>,
    id: AccountId,
    record: &AccountRecord,
    mut refs: BTreeMap<u64, u64>,
) -> Result<(), KvError> {
    check_details(check, id, &mut |check, number, message| {
        check.expect(number < record.next_message, || {
            format!("{id} e{number} has an id not granted yet")
        });
        check.expect(refs.remove(&number) == Some(message.refs), || {
            format!("{id} e{number} is miscounted")
        });
    })?;
    check.expect(refs.is_empty(), || {
        format!("{id} has index entries of messages that are gone: {refs:?}")
    });
    Ok(())
}

/// Each message has its details, and nothing else has; what there is counts for the bodies. `visit` sees each.
fn check_details(
    check: &mut Check<'_>,
    id: AccountId,
    visit: &mut dyn FnMut(&mut Check<'_>, u64, &MessageRecord),
) -> Result<(), KvError> {
    let mut details = BTreeMap::new();
    for (key, value) in pairs(check.view, Space::Detail, &key::account_prefix(id))? {
        details.insert(key, value);
    }
    let prefix = key::part_prefix(id, part::MESSAGE);
    for (key, value) in pairs(check.view, Space::Index, &prefix)? {
        let number = key.last_chunk().ok_or(Damage("a key is cut short"))?;
        let number = u64::from_be_bytes(*number);
        let message = MessageRecord::decode(&value)?;
        visit(check, number, &message);
        *check.body_refs.entry(message.hash).or_default() += 1;
        let detail = details.remove(&key::of_message(id, detail_part::DETAIL, number));
        let signature = details.remove(&key::of_message(id, detail_part::SIGNATURE, number));
        let (Some(detail), Some(signature)) = (detail, signature) else {
            check.say(|| format!("{id} e{number} has no detail or signature"));
            continue;
        };
        let same = DetailRecord::decode(&detail)?.hash == message.hash
            && content_digest(&detail, &signature) == message.content;
        check.expect(same, || {
            format!("{id} e{number} has details of another message")
        });
    }
    check.expect(details.is_empty(), || {
        format!("{id} has {} details without a message", details.len())
    });
    Ok(())
}

fn check_deliveries(
    check: &mut Check<'_>,
    id: AccountId,
    known: &BTreeSet<MailboxId>,
) -> Result<(), KvError> {
    for mailbox in known {
        for (key, value) in pairs(
            check.view,
            Space::Index,
            &key::of_mailbox(id, part::DELIVERY, *mailbox),
        )? {
            let delivery = key.last_chunk().ok_or(Damage("a key is cut short"))?;
            let what = Expiring::Delivery(id, *mailbox, crate::DeliveryKey(*delivery));
            check.expect_queued(DeliveryRecord::decode(&value)?.expires_ms, &what);
        }
    }
    Ok(())
}

fn check_lanes(check: &mut Check<'_>, id: AccountId) -> Result<(), KvError> {
    let prefix = key::part_prefix(id, part::LANE);
    for (key, value) in pairs(check.view, Space::Index, &prefix)? {
        let (client, lane) = key::two_u64(&key[prefix.len()..])?;
        let what = Expiring::Lane(id, ClientId(client), lane);
        check_lane(check, &LaneRecord::decode(&value)?, &what);
    }
    Ok(())
}

fn check_maildrop(check: &mut Check<'_>, id: AccountId) -> Result<(), KvError> {
    let prefix = key::part_prefix(id, part::MAILDROP);
    for (key, value) in pairs(check.view, Space::Index, &prefix)? {
        check.expect(key == prefix, || {
            format!("{id} has a lock of no maildrop: {key:02x?}")
        });
        let record = MaildropRecord::decode(&value)?;
        check.expect_queued(record.queued_ms, &Expiring::Maildrop(id));
    }
    Ok(())
}

/// One lane, of an account or of the tables.
pub(super) fn check_lane(check: &mut Check<'_>, record: &LaneRecord, what: &Expiring) {
    check.expect_queued(record.queued_ms, what);
    let numbers: Vec<_> = record.kept.iter().map(|(n, _)| *n).collect();
    let well_kept = numbers.is_sorted_by(|a, b| a < b)
        && numbers.len() <= UNANSWERED_MAX
        && numbers.iter().all(|n| *n >= record.lowest);
    check.expect(well_kept, || {
        format!("{what:?} keeps {numbers:?} above {}", record.lowest)
    });
}
