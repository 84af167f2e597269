//! Names of mailboxes, subscriptions, and making and removing what they name.

use std::ops::ControlFlow;

use mailrook_kv::{KvError, Read, Space, prefix_end};
use mailrook_types::{AccountId, MailboxId, MailboxName, ModSeq, SpecialUse, UidValidity};

use crate::{
    MailboxRef, Refusal,
    index::scan,
    key::{self, part},
    limits::{MAILBOXES_MAX, SUBSCRIPTIONS_MAX},
    mailbox::Mailbox,
    record::{MailboxRecord, PRESENT, decode_name, encode_name},
    tx::{Account, Outcome},
};

/// The id of the mailbox of this name.
pub(crate) fn find(
    view: &dyn Read,
    account: AccountId,
    name: &MailboxName,
) -> Result<Option<MailboxId>, KvError> {
    match view.get(Space::Index, &key::name(account, name))? {
        Some(bytes) => decode_name(&bytes).map(Some),
        None => Ok(None),
    }
}

/// The id of the mailbox of this name, which must exist.
pub(crate) fn require(account: &Account<'_>, name: &MailboxName) -> Outcome<MailboxId> {
    let found = find(account.view.as_read(), account.id, name)?;
    Ok(found.ok_or(Refusal::NoSuchMailbox)?)
}

/// Insists that there is no mailbox of this name.
pub(crate) fn require_free(account: &Account<'_>, name: &MailboxName) -> Outcome<()> {
    match find(account.view.as_read(), account.id, name)? {
        None => Ok(()),
        Some(_) => Err(Refusal::MailboxExists.into()),
    }
}

/// The mailbox that is meant, opened.
pub(crate) fn open(account: &Account<'_>, mailbox: &MailboxRef) -> Outcome<Mailbox> {
    let id = match mailbox {
        MailboxRef::Id(id) => *id,
        MailboxRef::Name(name) => require(account, name)?,
    };
    Mailbox::open(account, id)
}

/// The mailboxes anywhere below `ancestor`, ascending by name.
pub(crate) fn below(
    account: &Account<'_>,
    ancestor: &MailboxName,
) -> Result<Vec<(MailboxName, MailboxId)>, KvError> {
    list(
        account.view.as_read(),
        account.id,
        &key::names_below(account.id, ancestor),
    )
}

/// All mailboxes, ascending by name.
pub(crate) fn all(
    view: &dyn Read,
    account: AccountId,
) -> Result<Vec<(MailboxName, MailboxId)>, KvError> {
    list(view, account, &key::part_prefix(account, part::NAME))
}

fn list(
    view: &dyn Read,
    account: AccountId,
    prefix: &[u8],
) -> Result<Vec<(MailboxName, MailboxId)>, KvError> {
    let name_at = key::part_prefix(account, part::NAME).len();
    let mut found = Vec::new();
    scan(
        view,
        Space::Index,
        prefix,
        &prefix_end(prefix),
        |key, value| {
            found.push((parse(&key[name_at..])?, decode_name(value)?));
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(found)
}

/// The names subscribed to, ascending.
pub(crate) fn subscriptions(
    view: &dyn Read,
    account: AccountId,
) -> Result<Vec<MailboxName>, KvError> {
    let prefix = key::part_prefix(account, part::SUBSCRIPTION);
    let mut found = Vec::new();
    scan(
        view,
        Space::Index,
        &prefix,
        &prefix_end(&prefix),
        |key, _| {
            found.push(parse(&key[prefix.len()..])?);
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(found)
}

fn parse(bytes: &[u8]) -> Result<MailboxName, KvError> {
    let name = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| MailboxName::parse(text).ok());
    name.ok_or_else(|| KvError::Damaged("a stored mailbox name is none".to_owned()))
}

/// The levels above `name` that do not exist, the topmost first.
pub(crate) fn missing_parents(
    account: &Account<'_>,
    name: &MailboxName,
) -> Result<Vec<MailboxName>, KvError> {
    let mut missing = Vec::new();
    let mut level = name.parent();
    while let Some(name) = level {
        level = name.parent();
        if find(account.view.as_read(), account.id, &name)?.is_none() {
            missing.push(name);
        }
    }
    missing.reverse();
    Ok(missing)
}

/// Insists that the account may have `count` more mailboxes.
pub(crate) fn require_room(account: &Account<'_>, count: usize) -> Outcome<()> {
    if account.record.mailboxes as usize + count > MAILBOXES_MAX as usize {
        return Err(Refusal::Limit(format!("{MAILBOXES_MAX} mailboxes in an account")).into());
    }
    // Each gets a UIDVALIDITY, and the clock stands above all earlier ones until the year 2106.
    if u64::from(account.record.last_uid_validity) + count as u64 >= u64::from(u32::MAX) {
        return Err(
            Refusal::Limit("the account has used up its UIDVALIDITY values".to_owned()).into(),
        );
    }
    Ok(())
}

/// Insists that no mailbox has this use.
pub(crate) fn require_unused(
    account: &Account<'_>,
    special_use: Option<SpecialUse>,
) -> Outcome<()> {
    let taken = account
        .record
        .special_uses
        .iter()
        .any(|(used, _)| Some(*used) == special_use);
    if taken {
        Err(Refusal::SpecialUseTaken.into())
    } else {
        Ok(())
    }
}

/// Makes an empty mailbox, for which there is room and whose name is free.
///
/// UIDVALIDITY is the log's time in seconds, or one more than the account's last: never twice in an account, so never twice for a
/// name.
pub(crate) fn create(
    account: &mut Account<'_>,
    name: &MailboxName,
    special_use: Option<SpecialUse>,
) -> MailboxId {
    let id = MailboxId(account.record.next_mailbox);
    account.record.next_mailbox += 1;
    let clock = u32::try_from(account.time().as_secs())
        .unwrap_or(0)
        .min(u32::MAX - MAILBOXES_MAX);
    account.record.last_uid_validity =
        clock.max(account.record.last_uid_validity.saturating_add(1));
    account.record.mailboxes += 1;
    let record = MailboxRecord {
        uid_validity: UidValidity::new(account.record.last_uid_validity)
            .unwrap_or(UidValidity::MIN),
        uid_next: 1,
        highest_modseq: account.modseq(),
        history_floor: ModSeq::ZERO,
        history_records: 0,
        messages: 0,
        unseen: 0,
        deleted: 0,
        size_bytes: 0,
        special_use,
        keywords: 0,
        skips: account.record.skips,
    };
    account
        .record
        .special_uses
        .extend(special_use.map(|used| (used, id)));
    account.put(key::name(account.id, name), None, encode_name(id));
    Mailbox::new(id, record).close(account);
    id
}

/// Removes a mailbox at once from sight; what remains of it is removed later.
pub(crate) fn delete(
    account: &mut Account<'_>,
    name: &MailboxName,
    mailbox: Mailbox,
) -> Result<(), KvError> {
    let (id, record) = (mailbox.id, mailbox.record);
    account.modseq();
    account.record.mailboxes -= 1;
    account.record.messages -= record.messages;
    account.record.storage_bytes -= record.size_bytes;
    account
        .record
        .special_uses
        .retain(|(_, used_by)| *used_by != id);
    let keys = [
        key::name(account.id, name),
        key::of_mailbox(account.id, part::MAILBOX, id),
        key::of_mailbox(account.id, part::KEYWORDS, id),
    ];
    for key in keys {
        if let Some(stored) = account.get(&key)? {
            account.delete(key, &stored);
        }
    }
    let dead = key::of_mailbox(account.id, part::DEAD, id);
    account.put(dead, None, PRESENT.to_vec());
    account.queue_reaping(id)
}

/// Subscribes to a name.
pub(crate) fn subscribe(account: &mut Account<'_>, name: &MailboxName) -> Outcome<()> {
    let key = key::subscription(account.id, name);
    if account.get(&key)?.is_some() {
        return Ok(());
    }
    require_subscriptions(account, 1)?;
    account.record.subscriptions += 1;
    account.modseq();
    account.put(key, None, PRESENT.to_vec());
    Ok(())
}

/// Insists that the account may have `count` more subscriptions.
pub(crate) fn require_subscriptions(account: &Account<'_>, count: u32) -> Outcome<()> {
    if account.record.subscriptions.saturating_add(count) > SUBSCRIPTIONS_MAX {
        return Err(
            Refusal::Limit(format!("{SUBSCRIPTIONS_MAX} subscriptions in an account")).into(),
        );
    }
    Ok(())
}

/// Takes a subscription back.
pub(crate) fn unsubscribe(account: &mut Account<'_>, name: &MailboxName) -> Result<(), KvError> {
    let key = key::subscription(account.id, name);
    if let Some(stored) = account.get(&key)? {
        account.record.subscriptions -= 1;
        account.modseq();
        account.delete(key, &stored);
    }
    Ok(())
}
