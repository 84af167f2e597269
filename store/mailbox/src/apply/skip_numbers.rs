//! A shard that was brought back leaves out the numbers that may have been given in what is lost (RFC 9051 §2.3.1.1: a UID
//! is never given twice while UIDVALIDITY stays; RFC 7162 §3.1.2.1: MODSEQs only grow).
//!
//! Counted here, and carried out for each account and mailbox when it is touched next: a shard may hold millions.

use crate::tx::Tx;

pub(super) fn apply(tx: &mut Tx<'_>) {
    tx.shard.skips.0 += 1;
}

#[cfg(test)]
mod tests {
    use mailrook_types::SystemFlags;

    use crate::{
        Change, ShardCommand,
        limits::{SKIPPED_MODSEQS, SKIPPED_UIDS},
        testing::*,
    };

    #[test]
    fn no_number_is_given_again() {
        let mut world = World::new();
        world.append(3);
        let (before, ids_before) = (world.status(INBOX), world.index(INBOX));
        let other = world.create("other").unwrap();
        for times in 1..=2 {
            world.apply(&ShardCommand::SkipNumbers);
            // Shown at once, so that what a client saw never grows smaller.
            let shown = world.status(INBOX);
            assert_eq!(shown.uid_next.get(), 4 + times * SKIPPED_UIDS);
            assert!(shown.highest_modseq.0 >= before.highest_modseq.0 + SKIPPED_MODSEQS);
        }
        world.append(1);
        let uid = 4 + 2 * SKIPPED_UIDS;
        assert_eq!(world.uids(INBOX), format!("1:3,{uid}"));
        let entries = world.index(INBOX);
        let (new, old) = entries.split_last().unwrap();
        assert_eq!(old, ids_before);
        assert!(new.modseq.0 > 2 * SKIPPED_MODSEQS);
        assert!(old.iter().all(|old| old.message.0 + 1 < new.message.0));
        let third = world.create("third").unwrap();
        assert!(third.0 > other.0 + 1);
    }

    #[test]
    fn what_vanished_is_told_in_full_afterwards() {
        let mut world = World::new();
        world.append(5);
        world.flag("2", SystemFlags::DELETED);
        let expunge = Change::Expunge {
            mailbox: INBOX,
            uids: None,
        };
        world.change(expunge.clone()).unwrap();
        let seen = world.status(INBOX).highest_modseq.0;
        world.apply(&ShardCommand::SkipNumbers);
        // A client may know more than the shard: it is told all that there is not.
        assert_eq!(world.changes(seen).vanished, None);
        assert_eq!(world.changes(seen).changed.len(), 4, "flags may be older");
        world.flag("3", SystemFlags::DELETED);
        let seen = world.status(INBOX).highest_modseq.0;
        world.change(expunge).unwrap();
        assert_eq!(world.changes(seen).vanished, Some(set("3")));
    }
}
