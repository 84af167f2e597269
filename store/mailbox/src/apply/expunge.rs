//! EXPUNGE, UID EXPUNGE, CLOSE (RFC 9051 §6.4.3, RFC 4315 §2.1), and what POP3's QUIT removes (RFC 1939 §6).

use mailrook_types::{MailboxId, UidSet};

use crate::{
    ChangeReply,
    index::Selection,
    mailbox::Mailbox,
    tx::{Account, Outcome},
};

/// Removes messages marked `\Deleted`, among `uids` if they are given.
pub(crate) fn deleted(
    account: &mut Account<'_>,
    id: MailboxId,
    uids: Option<&UidSet>,
) -> Outcome<ChangeReply> {
    let mailbox = Mailbox::open(account, id)?;
    let gone = match mailbox.record.deleted {
        0 => Selection::new(),
        _ => mailbox
            .source(account)
            .select(uids, |block| block.deleted)?,
    };
    remove(account, mailbox, &gone)
}

/// Removes messages whatever their flags.
pub(crate) fn any(account: &mut Account<'_>, id: MailboxId, uids: &UidSet) -> Outcome<ChangeReply> {
    let mailbox = Mailbox::open(account, id)?;
    let gone = mailbox.source(account).existing(Some(uids))?;
    remove(account, mailbox, &gone)
}

fn remove(
    account: &mut Account<'_>,
    mut mailbox: Mailbox,
    gone: &Selection,
) -> Outcome<ChangeReply> {
    let uids = mailbox.remove(account, gone)?;
    let modseq = mailbox.record.highest_modseq;
    mailbox.close(account);
    Ok(ChangeReply::Expunged { uids, modseq })
}

#[cfg(test)]
mod tests {
    use mailrook_types::{ModSeq, SystemFlags};

    use crate::{Change, ChangeReply, ShardCommand, testing::*};

    #[test]
    fn removes_what_is_marked_and_tells_it() {
        let mut world = World::new();
        world.append(5);
        world.flag("2:4", SystemFlags::DELETED);
        let some = Change::Expunge {
            mailbox: INBOX,
            uids: Some(set("1:2")),
        };
        let gone = ChangeReply::Expunged {
            uids: set("2"),
            modseq: ModSeq(4),
        };
        assert_eq!(world.change(some), Ok(gone));
        let rest = Change::Expunge {
            mailbox: INBOX,
            uids: None,
        };
        let gone = ChangeReply::Expunged {
            uids: set("3:4"),
            modseq: ModSeq(5),
        };
        assert_eq!(world.change(rest.clone()), Ok(gone));
        let nothing = ChangeReply::Expunged {
            uids: set(""),
            modseq: ModSeq(5),
        };
        assert_eq!(world.change(rest), Ok(nothing));
        assert_eq!(world.changes(3).vanished, Some(set("2:4")));
        assert_eq!(world.changes(4).vanished, Some(set("3:4")));
    }

    #[test]
    fn pop3_removes_without_marks() {
        let mut world = World::new();
        world.append(2);
        world
            .change(Change::Remove {
                mailbox: INBOX,
                uids: set("1,9"),
            })
            .unwrap();
        assert_eq!(world.uids(INBOX), "2");
    }

    #[test]
    fn what_remains_of_many_is_removed_in_steps() {
        let mut world = World::new();
        for _ in 0..10 {
            world.append(20);
        }
        world
            .change(Change::Remove {
                mailbox: INBOX,
                uids: set("1:199"),
            })
            .unwrap();
        assert_eq!(
            (world.uids(INBOX), world.index(INBOX).len()),
            ("200".to_owned(), 1)
        );
        let before = world.pairs();
        world.apply(&ShardCommand::Tick);
        assert!(world.pairs() < before - 100);
        assert_eq!(world.changes(0).changed.len(), 1);
    }
}
