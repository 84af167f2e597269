//! CREATE (RFC 9051 §6.3.4, RFC 6154 §3).

use crate::{
    ChangeReply, NewMailbox, name,
    tx::{Account, Outcome},
};

pub(crate) fn apply(account: &mut Account<'_>, new: &NewMailbox) -> Outcome<ChangeReply> {
    name::require_free(account, &new.name)?;
    name::require_unused(account, new.special_use)?;
    let parents = name::missing_parents(account, &new.name)?;
    name::require_room(account, parents.len() + 1)?;
    if new.subscribed {
        name::require_subscriptions(account, 1)?;
    }
    for parent in &parents {
        name::create(account, parent, None);
    }
    let id = name::create(account, &new.name, new.special_use);
    if new.subscribed {
        name::subscribe(account, &new.name)?;
    }
    Ok(ChangeReply::Created(id))
}

#[cfg(test)]
mod tests {
    use mailrook_types::SpecialUse;

    use crate::{Change, NewMailbox, Refusal, testing::*};

    #[test]
    fn makes_the_levels_above() {
        let mut world = World::new();
        world.create("a/b/c").unwrap();
        assert_eq!(world.names(), ["INBOX", "a", "a/b", "a/b/c"]);
        assert_eq!(world.create("a/b"), Err(Refusal::MailboxExists));
        assert_eq!(world.create("inbox"), Err(Refusal::MailboxExists));
    }

    #[test]
    fn a_special_use_is_given_once() {
        let mut world = World::new();
        let new = |text| NewMailbox {
            name: name(text),
            special_use: Some(SpecialUse::Sent),
            subscribed: true,
        };
        world.change(Change::CreateMailbox(new("Sent"))).unwrap();
        assert_eq!(
            world.change(Change::CreateMailbox(new("Sent2"))),
            Err(Refusal::SpecialUseTaken)
        );
        world.change(Change::DeleteMailbox(name("Sent"))).unwrap();
        assert!(world.change(Change::CreateMailbox(new("Sent2"))).is_ok());
    }

    #[test]
    fn uidvalidity_never_comes_again() {
        let mut world = World::new();
        let mut last = 0;
        for _ in 0..5 {
            let id = world.create("again").unwrap();
            let uid_validity = world.status(id).uid_validity.get();
            assert!(uid_validity > last);
            last = uid_validity;
            world.change(Change::DeleteMailbox(name("again"))).unwrap();
        }
    }
}
