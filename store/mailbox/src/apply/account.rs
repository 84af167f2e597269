//! Making and removing accounts, and their quota (RFC 9208).

use std::collections::BTreeSet;

use mailrook_types::{MailboxName, SpecialUse};

use crate::{
    AccountChange, ChangeReply, NewMailbox, QuotaLimit, Refusal,
    limits::{MAILBOXES_MAX, SUBSCRIPTIONS_MAX},
    mailbox::Mailbox,
    name,
    tx::{Account, Outcome},
};

pub(crate) fn apply(account: &mut Account<'_>, change: &AccountChange) -> Outcome<ChangeReply> {
    match change {
        AccountChange::Create { .. } if !account.record.deleted => {}
        AccountChange::Create { mailboxes, quota } => create(account, mailboxes, *quota)?,
        AccountChange::Delete => delete(account)?,
        AccountChange::SetQuota(limit) => account.record.limit = *limit,
    }
    Ok(ChangeReply::Done)
}

fn create(account: &mut Account<'_>, mailboxes: &[NewMailbox], quota: QuotaLimit) -> Outcome<()> {
    let plan = plan(mailboxes)?;
    name::require_room(account, plan.len())?;
    account.record.deleted = false;
    account.record.limit = quota;
    for new in &plan {
        name::create(account, &new.name, new.special_use);
        if new.subscribed {
            name::subscribe(account, &new.name)?;
        }
    }
    Ok(())
}

/// What is to be made, with INBOX and all levels above, or why it cannot be.
fn plan(mailboxes: &[NewMailbox]) -> Outcome<Vec<NewMailbox>> {
    let mut names: BTreeSet<&MailboxName> = BTreeSet::new();
    let mut uses: BTreeSet<SpecialUse> = BTreeSet::new();
    for new in mailboxes {
        if !names.insert(&new.name) {
            return Err(Refusal::MailboxExists.into());
        }
        if new
            .special_use
            .is_some_and(|special_use| !uses.insert(special_use))
        {
            return Err(Refusal::SpecialUseTaken.into());
        }
    }
    let mut missing: BTreeSet<MailboxName> = BTreeSet::new();
    for name in std::iter::once(&MailboxName::inbox()).chain(names.iter().copied()) {
        let mut level = Some(name.clone());
        while let Some(name) = level {
            level = name.parent();
            if !names.contains(&name) {
                missing.insert(name);
            }
        }
        if names.len() + missing.len() > MAILBOXES_MAX.min(SUBSCRIPTIONS_MAX) as usize {
            return Err(Refusal::Limit(format!("{MAILBOXES_MAX} mailboxes in an account")).into());
        }
    }
    let unnamed = missing.into_iter().map(|name| NewMailbox {
        name,
        special_use: None,
        subscribed: false,
    });
    let mut all: Vec<_> = mailboxes.iter().cloned().chain(unnamed).collect();
    // INBOX first, so that it has the account's first id.
    all.sort_by(|a, b| (!a.name.is_inbox(), &a.name).cmp(&(!b.name.is_inbox(), &b.name)));
    Ok(all)
}

/// The account's own record stays with its counters, so that no UIDVALIDITY, MODSEQ or id is granted again if it returns.
fn delete(account: &mut Account<'_>) -> Outcome<()> {
    for (name, id) in name::all(account.view.as_read(), account.id)? {
        let mailbox = Mailbox::open(account, id)?;
        name::delete(account, &name, mailbox)?;
    }
    for name in name::subscriptions(account.view.as_read(), account.id)? {
        name::unsubscribe(account, &name)?;
    }
    account.modseq();
    account.record.deleted = true;
    account.record.limit = QuotaLimit::default();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{
        AccountChange, Answer, Change, ChangeReply, NewMailbox, Query, QuotaLimit, Refusal,
        testing::*,
    };

    #[test]
    fn what_returns_after_a_deletion_counts_on() {
        let mut world = World::new();
        world.append(3);
        let before = world.status(INBOX);
        let op = world.op();
        let delete = Change::Account(AccountChange::Delete);
        assert_eq!(world.change_as(op, delete.clone()), Ok(ChangeReply::Done));
        assert_eq!(world.change_as(op, delete.clone()), Ok(ChangeReply::Done));
        assert_eq!(world.change(delete), Err(Refusal::NoSuchAccount));
        assert_eq!(
            world.ask(&Query::Quota { account: ACCOUNT }),
            Answer::NoSuchAccount
        );
        let mailboxes = vec![NewMailbox {
            name: name("a/b"),
            special_use: None,
            subscribed: true,
        }];
        let create = AccountChange::Create {
            mailboxes,
            quota: QuotaLimit::default(),
        };
        world.change(Change::Account(create)).unwrap();
        assert_eq!(world.names(), ["INBOX", "a", "a/b"]);
        let Answer::Mailboxes(list) = world.ask(&Query::Mailboxes { account: ACCOUNT }) else {
            panic!()
        };
        let inbox = &list.mailboxes[0].status;
        assert!(inbox.id > before.id && inbox.uid_validity > before.uid_validity);
        assert!(inbox.highest_modseq > before.highest_modseq);
    }

    #[test]
    fn one_that_is_there_is_left_as_it_is() {
        let mut world = World::new();
        world.append(1);
        let create = AccountChange::Create {
            mailboxes: Vec::new(),
            quota: QuotaLimit::default(),
        };
        assert_eq!(world.change(Change::Account(create)), Ok(ChangeReply::Done));
        assert_eq!(world.uids(INBOX), "1");
    }
}
