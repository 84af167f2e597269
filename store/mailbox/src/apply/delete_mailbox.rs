//! DELETE (RFC 9051 §6.3.5). Children and the subscription stay.

use mailrook_types::MailboxName;

use crate::{
    ChangeReply, Refusal,
    mailbox::Mailbox,
    name,
    tx::{Account, Outcome},
};

pub(crate) fn apply(account: &mut Account<'_>, name: &MailboxName) -> Outcome<ChangeReply> {
    if name.is_inbox() {
        return Err(Refusal::InboxIsFixed.into());
    }
    let id = name::require(account, name)?;
    let mailbox = Mailbox::open(account, id)?;
    name::delete(account, name, mailbox)?;
    Ok(ChangeReply::Done)
}

#[cfg(test)]
mod tests {
    use crate::{Answer, Change, MailboxRef, Query, QuotaUsage, Refusal, ShardCommand, testing::*};

    #[test]
    fn takes_the_messages_but_not_the_children() {
        let mut world = World::new();
        world.create("a/b").unwrap();
        world
            .change(append(MailboxRef::Name(name("a")), 3))
            .unwrap();
        world.change(Change::DeleteMailbox(name("a"))).unwrap();
        assert_eq!(world.names(), ["INBOX", "a/b"]);
        assert_eq!(
            world.change(Change::DeleteMailbox(name("a"))),
            Err(Refusal::NoSuchMailbox)
        );
        assert_eq!(
            world.change(Change::DeleteMailbox(name("inbox"))),
            Err(Refusal::InboxIsFixed)
        );
        let usage = world.ask(&Query::Quota { account: ACCOUNT });
        assert_eq!(usage, Answer::Quota(QuotaUsage::default()));
    }

    #[test]
    fn a_large_one_is_removed_in_steps() {
        let mut world = World::new();
        let id = world.create("large").unwrap();
        let before = world.pairs();
        for _ in 0..10 {
            world.change(append(MailboxRef::Id(id), 20)).unwrap();
        }
        world.change(Change::DeleteMailbox(name("large"))).unwrap();
        for _ in 0..3 {
            world.apply(&ShardCommand::Tick);
        }
        world.now += 2 * 3_600_000;
        world.apply(&ShardCommand::Tick);
        assert!(world.pairs() < before);
    }
}
