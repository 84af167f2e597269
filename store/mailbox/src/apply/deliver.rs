//! Delivery of one message to accounts of the shard (DESIGN, "Exactly once, from outside").

use std::collections::BTreeMap;

use mailrook_kv::{KvError, Space};
use mailrook_types::{AccountId, Flags, MailboxName, Uid};

use crate::{
    Deliver, Delivered, DeliveryKey, DeliveryOutcome, RecipientDelivery, Refusal,
    apply::append::{require_quota, size_of},
    body,
    fields::Damage,
    key::{self, Expiring},
    lane::{self, Begin},
    limits::{DUPLICATE_KEPT, millis},
    mailbox::Mailbox,
    message, name,
    record::{DeliveryRecord, IndexRecord, Kept, PRESENT, Standing},
    tx::{Account, Outcome, Tx, settle},
};

/// Delivers to each recipient on its own, and gives the outcomes in the recipients' order.
pub(crate) fn apply(tx: &mut Tx<'_>, command: &Deliver) -> Result<Vec<DeliveryOutcome>, KvError> {
    // An account may be named more than once, by several of its addresses: its parts are one operation.
    let mut parts: BTreeMap<AccountId, Vec<usize>> = BTreeMap::new();
    for (at, recipient) in command.recipients.iter().enumerate() {
        parts.entry(recipient.account).or_default().push(at);
    }
    let mut outcomes =
        vec![DeliveryOutcome::Refused(Refusal::NoSuchAccount); command.recipients.len()];
    for (account, places) in parts {
        let of_account = deliver_to(tx, command, account, &places)?;
        for (at, outcome) in places.into_iter().zip(of_account) {
            outcomes[at] = outcome;
        }
    }
    Ok(outcomes)
}

/// Delivers to one account, once.
fn deliver_to(
    tx: &mut Tx<'_>,
    command: &Deliver,
    id: AccountId,
    places: &[usize],
) -> Result<Vec<DeliveryOutcome>, KvError> {
    let refused = |refusal: Refusal| Ok(vec![DeliveryOutcome::Refused(refusal); places.len()]);
    let Some(mut account) = tx.account(id)? else {
        return refused(Refusal::NoSuchAccount);
    };
    let lane = match lane::begin(&account, &command.op)? {
        Begin::New(lane) => lane,
        Begin::Repeat(Kept::Delivery(outcomes)) if outcomes.len() == places.len() => {
            return Ok(outcomes);
        }
        // The client used a number twice for different things.
        Begin::Repeat(_) => return refused(Refusal::StaleOperation),
        Begin::Refused(refusal) => return refused(refusal),
    };
    if account.record.is_elsewhere() {
        return refused(Refusal::Elsewhere);
    }
    if account.record.standing != Standing::Live {
        return refused(Refusal::NoSuchAccount);
    }
    let mut outcomes = Vec::with_capacity(places.len());
    for at in places {
        let outcome = settle(deliver(&mut account, command, &command.recipients[*at]))?;
        outcomes.push(outcome.unwrap_or_else(DeliveryOutcome::Refused));
    }
    // A body that is missing is sent again, and then the same operation must run.
    if !outcomes.contains(&DeliveryOutcome::Refused(Refusal::BodyMissing)) {
        lane.keep(&mut account, &command.op, Kept::Delivery(outcomes.clone()));
    }
    account.close();
    Ok(outcomes)
}

fn deliver(
    account: &mut Account<'_>,
    command: &Deliver,
    recipient: &RecipientDelivery,
) -> Outcome<DeliveryOutcome> {
    let mut mailbox = final_mailbox(account, recipient)?;
    if let Some(delivered) = find_duplicate(account, &mailbox, command.key.as_ref())? {
        return Ok(DeliveryOutcome::Duplicate(delivered));
    }
    mailbox.require_room(1)?;
    let size = size_of(&command.body, &recipient.prefix)?;
    require_quota(account, 1, size.into())?;
    body::require(account.view, account.now, &command.body)?;
    let keywords = keywords_that_fit(account, &mut mailbox, &recipient.flags)?;
    let entry = IndexRecord {
        modseq: 0,
        system: recipient.flags.system,
        internal_date_ms: command.received.0,
        saved_ms: account.now,
        size,
        crlf_growth: command.body.crlf_growth,
        message: message::create(account, &command.body, &recipient.prefix)?,
        keywords,
    };
    let added = mailbox.add(account, vec![entry])?;
    let delivered = Delivered {
        mailbox: mailbox.id,
        uid: added
            .first()
            .ok_or(Damage("a delivered message got no UID"))?,
    };
    mailbox.close(account);
    if let Some(key) = &command.key {
        remember(account, key, delivered)?;
    }
    Ok(DeliveryOutcome::Delivered(delivered))
}

/// The mailbox asked for, or INBOX.
fn final_mailbox(account: &Account<'_>, recipient: &RecipientDelivery) -> Outcome<Mailbox> {
    let asked = match &recipient.mailbox {
        Some(name) => name::find(account.view.as_read(), account.id, name)?,
        None => None,
    };
    let id = match asked {
        Some(id) => id,
        None => name::require(account, &MailboxName::inbox())?,
    };
    Mailbox::open(account, id)
}

/// Where the same transmission is already.
fn find_duplicate(
    account: &Account<'_>,
    mailbox: &Mailbox,
    key: Option<&DeliveryKey>,
) -> Outcome<Option<Delivered>> {
    let Some(key) = key else { return Ok(None) };
    let Some(stored) = account.get(&key::delivery(account.id, mailbox.id, key))? else {
        return Ok(None);
    };
    let record = DeliveryRecord::decode(&stored)?;
    let uid = Uid::new(record.uid).filter(|_| record.expires_ms > account.now);
    Ok(uid.map(|uid| Delivered {
        mailbox: mailbox.id,
        uid,
    }))
}

/// Keeps a delivery until it is confirmed.
fn remember(
    account: &mut Account<'_>,
    key: &DeliveryKey,
    delivered: Delivered,
) -> Result<(), KvError> {
    let record = DeliveryRecord {
        uid: delivered.uid.get(),
        expires_ms: account.now.saturating_add(millis(DUPLICATE_KEPT)),
    };
    let what = Expiring::Delivery(account.id, delivered.mailbox, *key);
    let key = key::delivery(account.id, delivered.mailbox, key);
    // An earlier one that has expired may still be there.
    let old = account.get(&key)?;
    if let Some(old) = &old {
        let expired_ms = DeliveryRecord::decode(old)?.expires_ms;
        account
            .view
            .delete(Space::Index, key::expiry(expired_ms, &what));
    }
    account.view.put(
        Space::Index,
        key::expiry(record.expires_ms, &what),
        PRESENT.to_vec(),
    );
    account.put(key, old.as_deref(), record.encode());
    Ok(())
}

/// A message is worth more than its marks: keywords beyond the mailbox's bound are left off.
fn keywords_that_fit(
    account: &Account<'_>,
    mailbox: &mut Mailbox,
    flags: &Flags,
) -> Result<Vec<u16>, KvError> {
    let mut numbers = Vec::new();
    for keyword in &flags.keywords {
        if let Ok(number) = settle(mailbox.intern(account, std::slice::from_ref(keyword)))? {
            numbers.extend(number);
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use mailrook_types::Uid;

    use crate::{
        Change, Confirmation, Deliver, Delivered, DeliveryKey, DeliveryOutcome, RecipientDelivery,
        Refusal, ShardCommand, ShardReply, testing::*,
    };

    fn deliver(world: &mut World, deliver: &Deliver) -> Vec<DeliveryOutcome> {
        match world.apply(&ShardCommand::Deliver(deliver.clone())) {
            ShardReply::Deliver(outcomes) => outcomes,
            other => panic!("not a delivery's reply: {other:?}"),
        }
    }

    fn at(uid: u32) -> Delivered {
        Delivered {
            mailbox: INBOX,
            uid: Uid::new(uid).unwrap(),
        }
    }

    #[test]
    fn a_transmission_repeated_before_its_confirmation_is_one_message() {
        let mut world = World::new();
        let first = world.delivery(7);
        let again = world.delivery(7);
        assert_eq!(
            deliver(&mut world, &first),
            [DeliveryOutcome::Delivered(at(1))]
        );
        assert_eq!(
            deliver(&mut world, &again),
            [DeliveryOutcome::Duplicate(at(1))]
        );
        assert_eq!(world.uids(INBOX), "1");
    }

    #[test]
    fn after_its_confirmation_it_is_another_message() {
        let mut world = World::new();
        let first = world.delivery(7);
        deliver(&mut world, &first);
        let mut second = world.delivery(7);
        second.confirmed.push(Confirmation {
            account: ACCOUNT,
            mailbox: INBOX,
            uid: Uid::MIN,
            key: DeliveryKey([7; 32]),
        });
        assert_eq!(
            deliver(&mut world, &second),
            [DeliveryOutcome::Delivered(at(2))]
        );
        // The command repeated does not confirm what it delivered itself.
        assert_eq!(
            deliver(&mut world, &second),
            [DeliveryOutcome::Delivered(at(2))]
        );
        let third = world.delivery(7);
        assert_eq!(
            deliver(&mut world, &third),
            [DeliveryOutcome::Duplicate(at(2))]
        );
    }

    /// The confirmation was held up on its way while its repeat arrived and the same bytes were delivered again.
    #[test]
    fn a_late_confirmation_releases_no_later_delivery() {
        let mut world = World::new();
        let first = world.delivery(7);
        deliver(&mut world, &first);
        let confirmed = |number: u32| {
            ShardCommand::Confirm(vec![Confirmation {
                account: ACCOUNT,
                mailbox: INBOX,
                uid: Uid::new(number).unwrap(),
                key: DeliveryKey([7; 32]),
            }])
        };
        world.apply(&confirmed(1));
        let second = world.delivery(7);
        assert_eq!(
            deliver(&mut world, &second),
            [DeliveryOutcome::Delivered(at(2))]
        );
        world.apply(&confirmed(1));
        let again = world.delivery(7);
        assert_eq!(
            deliver(&mut world, &again),
            [DeliveryOutcome::Duplicate(at(2))]
        );
        world.apply(&confirmed(2));
        let third = world.delivery(7);
        assert_eq!(
            deliver(&mut world, &third),
            [DeliveryOutcome::Delivered(at(3))]
        );
    }

    #[test]
    fn suppression_ends_after_a_week() {
        let mut world = World::new();
        let first = world.delivery(7);
        deliver(&mut world, &first);
        world.now += 7 * 86_400_000;
        let late = world.delivery(7);
        assert_eq!(
            deliver(&mut world, &late),
            [DeliveryOutcome::Delivered(at(2))]
        );
    }

    #[test]
    fn each_recipient_has_an_outcome_of_its_own() {
        let mut world = World::new();
        let lists = world.create("lists").unwrap();
        let mut delivery = world.delivery(7);
        let to = |account: u64, mailbox: &str| RecipientDelivery {
            account: mailrook_types::AccountId(account),
            mailbox: Some(name(mailbox)),
            prefix: Vec::new(),
            flags: mailrook_types::Flags::default(),
        };
        delivery.recipients = vec![
            to(1, "lists"),
            to(5, "lists"),
            to(1, "gone"),
            to(1, "INBOX"),
        ];
        let in_lists = Delivered {
            mailbox: lists,
            uid: Uid::MIN,
        };
        let outcomes = [
            DeliveryOutcome::Delivered(in_lists),
            DeliveryOutcome::Refused(Refusal::NoSuchAccount),
            DeliveryOutcome::Delivered(at(1)),
            // What was asked for is not there: both came to INBOX.
            DeliveryOutcome::Duplicate(at(1)),
        ];
        assert_eq!(deliver(&mut world, &delivery), outcomes);
        assert_eq!(deliver(&mut world, &delivery), outcomes);
    }

    #[test]
    fn a_deleted_account_gets_nothing() {
        let mut world = World::new();
        world
            .change(Change::Account(crate::AccountChange::Delete))
            .unwrap();
        let delivery = world.delivery(7);
        assert_eq!(
            deliver(&mut world, &delivery),
            [DeliveryOutcome::Refused(Refusal::NoSuchAccount)]
        );
    }
}
