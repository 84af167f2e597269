//! RENAME (RFC 9051 §6.3.6). A tree's mailboxes keep ids, UIDs and UIDVALIDITY; only their names change.

use std::collections::BTreeSet;

use mailrook_types::{MailboxId, MailboxName};

use crate::{
    ChangeReply, Refusal,
    apply::copy,
    index::require_bulk,
    key,
    mailbox::Mailbox,
    name,
    record::encode_name,
    tx::{Account, Outcome},
};

pub(crate) fn apply(
    account: &mut Account<'_>,
    from: &MailboxName,
    to: &MailboxName,
) -> Outcome<ChangeReply> {
    if to.is_inbox() {
        return Err(Refusal::InboxIsFixed.into());
    }
    if from.is_inbox() {
        return empty_inbox(account, to);
    }
    let id = name::require(account, from)?;
    name::require_free(account, to)?;
    if to.is_below(from) {
        return Err(Refusal::BelowItself.into());
    }
    let mut moving = vec![(from.clone(), id)];
    moving.extend(name::below(account, from)?);
    let renamed = new_names(account, &moving, from, to)?;
    // None of the levels above is being renamed away: the new name is not below the old one.
    let parents = name::missing_parents(account, to)?;
    name::require_room(account, parents.len())?;
    for (name, id) in &moving {
        account.delete(key::name(account.id, name), &encode_name(*id));
    }
    for (name, id) in renamed {
        account.put(key::name(account.id, &name), None, encode_name(id));
    }
    for parent in &parents {
        name::create(account, parent, None);
    }
    account.modseq();
    Ok(ChangeReply::Done)
}

/// The names that the tree will have, none of which may be too long or in use.
fn new_names(
    account: &Account<'_>,
    moving: &[(MailboxName, MailboxId)],
    from: &MailboxName,
    to: &MailboxName,
) -> Outcome<Vec<(MailboxName, MailboxId)>> {
    let leaving: BTreeSet<&MailboxName> = moving.iter().map(|(name, _)| name).collect();
    let mut renamed = Vec::with_capacity(moving.len());
    for (name, id) in moving {
        let rest = &name.as_str()[from.as_str().len()..];
        let new_name = MailboxName::parse(&format!("{to}{rest}"))
            .map_err(|error| Refusal::Limit(error.to_string()))?;
        if !leaving.contains(&new_name) {
            name::require_free(account, &new_name)?;
        }
        renamed.push((new_name, *id));
    }
    Ok(renamed)
}

/// INBOX stays, with its children; its messages move.
fn empty_inbox(account: &mut Account<'_>, to: &MailboxName) -> Outcome<ChangeReply> {
    let inbox = name::require(account, &MailboxName::inbox())?;
    name::require_free(account, to)?;
    let parents = name::missing_parents(account, to)?;
    name::require_room(account, parents.len() + 1)?;
    let source = Mailbox::open(account, inbox)?;
    let all = source.source(account).existing(None)?;
    require_bulk(&all)?;
    // The new mailbox is as large as INBOX, so that nothing is refused from here on.
    for parent in &parents {
        name::create(account, parent, None);
    }
    let target = name::create(account, to, None);
    let target = Mailbox::open(account, target)?;
    copy::transfer(account, source, &all, target, true)?;
    Ok(ChangeReply::Done)
}

#[cfg(test)]
mod tests {
    use crate::{Change, ChangeReply, Refusal, testing::*};

    fn rename(world: &mut World, from: &str, to: &str) -> Result<ChangeReply, Refusal> {
        world.change(Change::RenameMailbox {
            from: name(from),
            to: name(to),
        })
    }

    #[test]
    fn takes_the_children_along() {
        let mut world = World::new();
        let child = world.create("a/b").unwrap();
        world.create("ab").unwrap();
        let before = world.status(child);
        assert_eq!(rename(&mut world, "a", "x/y"), Ok(ChangeReply::Done));
        assert_eq!(world.names(), ["INBOX", "ab", "x", "x/y", "x/y/b"]);
        assert_eq!(world.status(child), before);
        // A level up, onto a name that its own child had.
        assert_eq!(rename(&mut world, "x/y", "z"), Ok(ChangeReply::Done));
        assert_eq!(world.names(), ["INBOX", "ab", "x", "z", "z/b"]);
    }

    #[test]
    fn refuses_what_would_replace_or_swallow() {
        let mut world = World::new();
        world.create("a/b").unwrap();
        world.create("c/b").unwrap();
        assert_eq!(rename(&mut world, "a", "c"), Err(Refusal::MailboxExists));
        assert_eq!(rename(&mut world, "a", "a"), Err(Refusal::MailboxExists));
        assert_eq!(rename(&mut world, "a", "a/c"), Err(Refusal::BelowItself));
        assert_eq!(rename(&mut world, "a", "INBOX"), Err(Refusal::InboxIsFixed));
        assert_eq!(rename(&mut world, "q", "r"), Err(Refusal::NoSuchMailbox));
        let long = "x".repeat(999);
        assert!(matches!(
            rename(&mut world, "a", &long),
            Err(Refusal::Limit(_))
        ));
        world.change(Change::DeleteMailbox(name("c"))).unwrap();
        assert_eq!(rename(&mut world, "a", "c"), Err(Refusal::MailboxExists));
    }

    #[test]
    fn inbox_gives_its_messages_away_and_stays() {
        let mut world = World::new();
        world.append(3);
        world.create("INBOX/child").unwrap();
        assert_eq!(
            rename(&mut world, "INBOX", "old/mail"),
            Ok(ChangeReply::Done)
        );
        assert_eq!(world.names(), ["INBOX", "INBOX/child", "old", "old/mail"]);
        assert_eq!(world.uids(INBOX), "");
        assert_eq!(world.status(INBOX).uid_next.get(), 4);
    }
}
