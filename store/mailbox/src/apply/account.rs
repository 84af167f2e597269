//! Making and removing accounts, and their quota (RFC 9208).

use std::collections::BTreeSet;

use mailrook_types::{MailboxName, SpecialUse};

use crate::{
    AccountChange, ChangeReply, NewMailbox, QuotaLimit, Refusal,
    limits::{MAILBOXES_MAX, SUBSCRIPTIONS_MAX},
    mailbox::Mailbox,
    name,
    record::Standing,
    tx::{Account, Outcome},
};

pub(crate) fn apply(account: &mut Account<'_>, change: &AccountChange) -> Outcome<ChangeReply> {
    match change {
        AccountChange::Create { .. } if account.record.standing == Standing::Live => {}
        AccountChange::Create { mailboxes, quota } => create(account, mailboxes, *quota)?,
        AccountChange::Delete => delete(account)?,
        AccountChange::SetQuota(limit) => account.record.limit = *limit,
    }
    Ok(ChangeReply::Done)
}

fn create(account: &mut Account<'_>, mailboxes: &[NewMailbox], quota: QuotaLimit) -> Outcome<()> {
    let plan = plan(mailboxes)?;
    name::require_room(account, plan.len())?;
    account.record.standing = Standing::Live;
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

/// The account's own record stays, as the mark that it was removed.
fn delete(account: &mut Account<'_>) -> Outcome<()> {
    for (name, id) in name::all(account.view.as_read(), account.id)? {
        let mailbox = Mailbox::open(account, id)?;
        name::delete(account, &name, mailbox)?;
    }
    for name in name::subscriptions(account.view.as_read(), account.id)? {
        name::unsubscribe(account, &name)?;
    }
    account.modseq();
    account.record.standing = Standing::Removed;
    account.record.limit = QuotaLimit::default();
    Ok(())
}

#[cfg(test)]
mod tests {
    use mailrook_types::AccountId;

    use crate::{
        AccountChange, AccountCommand, Answer, Change, ChangeReply, NewMailbox, Query, QuotaLimit,
        Refusal, ShardCommand, ShardReply, testing::*,
    };

    const DELETE: Change = Change::Account(AccountChange::Delete);

    fn create() -> Change {
        let mailboxes = vec![NewMailbox {
            name: name("a/b"),
            special_use: None,
            subscribed: true,
        }];
        Change::Account(AccountChange::Create {
            mailboxes,
            quota: QuotaLimit::default(),
        })
    }

    #[test]
    fn what_was_removed_does_not_return() {
        let mut world = World::new();
        world.append(3);
        let (op, create_op) = (world.op(), world.op());
        assert_eq!(world.change_as(op, DELETE), Ok(ChangeReply::Done));
        assert_eq!(world.change_as(op, DELETE), Ok(ChangeReply::Done));
        assert_eq!(world.change(DELETE), Ok(ChangeReply::Done), "as asked");
        let gone = Answer::NoSuchAccount;
        assert_eq!(world.ask(&Query::Quota { account: ACCOUNT }), gone);
        // Nor long afterwards, when all that expires has expired.
        for days in [0, 1, 400] {
            world.now += days * 86_400_000;
            for _ in 0..3 {
                world.apply(&ShardCommand::Tick);
            }
            assert_eq!(world.change(create()), Err(Refusal::NoSuchAccount));
            let said_before = world.change_as(create_op, create());
            assert!(said_before.is_err(), "{said_before:?}");
            assert_eq!(world.ask(&Query::Quota { account: ACCOUNT }), gone);
        }
        assert_eq!(world.pairs(), 2, "the mark, and how far the sweep has come");
    }

    /// Of an account whose second half is missing the removal may come first.
    #[test]
    fn a_removal_comes_before_the_creation() {
        let mut world = World::new();
        let account = AccountId(7);
        let mut to_account = |change: Change| {
            let op = world.op();
            match world.apply(&ShardCommand::Account(AccountCommand {
                account,
                op,
                change,
            })) {
                ShardReply::Account(reply) => reply,
                other => panic!("not an account's reply: {other:?}"),
            }
        };
        assert_eq!(to_account(DELETE), Ok(ChangeReply::Done));
        assert_eq!(to_account(create()), Err(Refusal::NoSuchAccount));
        assert_eq!(to_account(DELETE), Ok(ChangeReply::Done));
        let quota = Change::Account(AccountChange::SetQuota(QuotaLimit::default()));
        assert_eq!(to_account(quota), Err(Refusal::NoSuchAccount));
        assert_eq!(world.ask(&Query::Quota { account }), Answer::NoSuchAccount);
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
