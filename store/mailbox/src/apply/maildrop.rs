//! The lock of an account's maildrop: taking, renewing and giving it back, and what QUIT removes (RFC 1939 §4, §6).

use mailrook_kv::{KvError, Space};
use mailrook_types::{MailboxId, UidSet};

use crate::{
    ChangeReply, MaildropCommand, MaildropHolder, MaildropReply, MaildropStep, Refusal,
    apply::expunge,
    key::{self, Expiring},
    maildrop::Claim,
    record::{MaildropRecord, PRESENT},
    tx::{Account, Outcome, Tx},
};

pub(crate) fn apply(tx: &mut Tx<'_>, command: &MaildropCommand) -> Outcome<MaildropReply> {
    let account = tx.account(command.account)?;
    let mut account = account.ok_or(Refusal::NoSuchAccount)?;
    if account.record.is_elsewhere() {
        return Err(Refusal::Elsewhere.into());
    }
    if !account.record.lives() {
        return Err(Refusal::NoSuchAccount.into());
    }
    let lock = Lock::read(&account)?;
    let reply = match command.step {
        MaildropStep::Take { lease_ms } => lock.take(&mut account, command.holder, lease_ms),
        MaildropStep::Renew { lease_ms } => lock.renew(&mut account, command.holder, lease_ms)?,
        MaildropStep::Release => {
            if lock.is_held_by(command.holder) {
                lock.remove(&mut account);
            }
            MaildropReply::Done
        }
    };
    account.close();
    Ok(reply)
}

/// QUIT: removes messages whatever their flags, and gives the lock back; neither, if the lock is not the session's any more.
pub(crate) fn close(
    account: &mut Account<'_>,
    holder: MaildropHolder,
    mailbox: MailboxId,
    uids: &UidSet,
) -> Outcome<ChangeReply> {
    let lock = Lock::read(account)?;
    if !lock.is_held_by(holder) {
        return Err(Refusal::MaildropLost.into());
    }
    let reply = expunge::any(account, mailbox, uids)?;
    lock.remove(account);
    Ok(reply)
}

/// The lock as it is found.
struct Lock {
    /// As it is stored.
    stored: Option<(Vec<u8>, MaildropRecord)>,
    /// As it counts.
    known: Option<MaildropRecord>,
}

impl Lock {
    fn read(account: &Account<'_>) -> Result<Lock, KvError> {
        let stored = match account.get(&key::maildrop(account.id))? {
            Some(bytes) => {
                let record = MaildropRecord::decode(&bytes)?;
                Some((bytes, record))
            }
            None => None,
        };
        let record = stored.as_ref().map(|(_, record)| *record);
        let known = record.filter(|record| !record.is_forgotten(account.now));
        Ok(Lock { stored, known })
    }

    fn is_held_by(&self, holder: MaildropHolder) -> bool {
        self.known.is_some_and(|known| known.holder == holder)
    }

    fn take(
        self,
        account: &mut Account<'_>,
        holder: MaildropHolder,
        lease_ms: u32,
    ) -> MaildropReply {
        let now = account.now;
        match self.known {
            // Said again.
            Some(mut known) if known.holder == holder => {
                known.renew(now, lease_ms);
                self.put(account, known);
            }
            None => self.put(account, MaildropRecord::new(holder, now, lease_ms)),
            Some(mut known) => {
                let is_bounded = known.bound(now, lease_ms);
                match known.claim(holder, now) {
                    Claim::Granted => self.put(account, MaildropRecord::new(holder, now, lease_ms)),
                    Claim::InUse => {
                        // From here on it runs out.
                        if is_bounded {
                            self.put(account, known);
                        }
                        return MaildropReply::InUse;
                    }
                    Claim::Notice => {
                        known.notice_ms = Some(now);
                        self.put(account, known);
                        return MaildropReply::InUse;
                    }
                }
            }
        }
        MaildropReply::Done
    }

    fn renew(
        self,
        account: &mut Account<'_>,
        holder: MaildropHolder,
        lease_ms: u32,
    ) -> Result<MaildropReply, Refusal> {
        match self.known {
            Some(mut known) if known.holder == holder => {
                known.renew(account.now, lease_ms);
                self.put(account, known);
                Ok(MaildropReply::Done)
            }
            _ => Err(Refusal::MaildropLost),
        }
    }

    fn put(&self, account: &mut Account<'_>, mut record: MaildropRecord) {
        match &self.stored {
            // It keeps its place in the queue until its turn comes.
            Some((_, stored)) => record.queued_ms = stored.queued_ms,
            None => {
                let queue_key = key::expiry(record.queued_ms, &Expiring::Maildrop(account.id));
                account.view.put(Space::Index, queue_key, PRESENT.to_vec());
            }
        }
        let old = self.stored.as_ref().map(|(bytes, _)| &**bytes);
        account.put(key::maildrop(account.id), old, record.encode());
    }

    fn remove(self, account: &mut Account<'_>) {
        let Some((bytes, record)) = self.stored else {
            return;
        };
        let queue_key = key::expiry(record.queued_ms, &Expiring::Maildrop(account.id));
        account.view.delete(Space::Index, queue_key);
        account.delete(key::maildrop(account.id), &bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, ShardCommand, limits::*, testing::*};

    const LEASE_MS: u32 = 30_000;
    const TAKE: MaildropStep = MaildropStep::Take { lease_ms: LEASE_MS };
    const RENEW: MaildropStep = MaildropStep::Renew { lease_ms: LEASE_MS };
    const DONE: Result<MaildropReply, Refusal> = Ok(MaildropReply::Done);
    const IN_USE: Result<MaildropReply, Refusal> = Ok(MaildropReply::InUse);
    const LOST: Result<MaildropReply, Refusal> = Err(Refusal::MaildropLost);

    fn quit(holder: MaildropHolder, uids: &str) -> Change {
        Change::CloseMaildrop {
            holder,
            mailbox: INBOX,
            uids: set(uids),
        }
    }

    #[test]
    fn one_session_at_a_time_and_the_next_at_once() {
        let mut world = World::new();
        let (one, two) = (holder(1, 1), holder(2, 1));
        assert_eq!(world.maildrop(one, TAKE), DONE);
        assert_eq!(world.maildrop(one, TAKE), DONE, "said again");
        assert_eq!(world.maildrop(two, TAKE), IN_USE);
        // What another one gives back is not given back.
        assert_eq!(world.maildrop(two, MaildropStep::Release), DONE);
        assert_eq!(world.maildrop(two, TAKE), IN_USE);
        assert_eq!(world.maildrop(one, MaildropStep::Release), DONE);
        assert_eq!(world.maildrop(two, TAKE), DONE);
        assert_eq!(world.maildrop(one, RENEW), LOST);
    }

    #[test]
    fn a_session_that_ended_without_a_word_is_taken_over_from() {
        let mut world = World::new();
        let (one, two) = (holder(1, 1), holder(2, 1));
        world.maildrop(one, TAKE).unwrap();
        world.now += i64::from(LEASE_MS) - 10;
        assert_eq!(world.maildrop(two, TAKE), IN_USE);
        world.now += 10;
        assert_eq!(world.maildrop(two, TAKE), IN_USE, "notice is given");
        world.now += millis(MAILDROP_NOTICE) - 10;
        assert_eq!(world.maildrop(two, TAKE), IN_USE, "the notice is not over");
        world.now += 10;
        assert_eq!(world.maildrop(two, TAKE), DONE);
        assert_eq!(world.maildrop(one, RENEW), LOST);
    }

    /// The log's time has gone on while nobody led the shard, and whoever asks first is not the holder.
    #[test]
    fn a_session_that_could_not_renew_keeps_what_nobody_took() {
        let mut world = World::new();
        let (one, two) = (holder(1, 1), holder(2, 1));
        world.maildrop(one, TAKE).unwrap();
        world.now += 10 * i64::from(LEASE_MS);
        assert_eq!(world.maildrop(two, TAKE), IN_USE);
        assert_eq!(world.maildrop(one, RENEW), DONE);
        world.now += millis(MAILDROP_NOTICE);
        assert_eq!(
            world.maildrop(two, TAKE),
            IN_USE,
            "the notice is taken back"
        );
        assert_eq!(world.maildrop(one, RENEW), DONE);
        // For as long as it may be worth it, whether the sweep comes by or not.
        world.now += i64::from(LEASE_MS) + millis(MAILDROP_KEPT) - 100;
        world.apply(&ShardCommand::Tick);
        assert_eq!(world.maildrop(one, RENEW), DONE);
        world.now += i64::from(LEASE_MS) + millis(MAILDROP_KEPT);
        assert_eq!(world.maildrop(one, RENEW), LOST);
        assert_eq!(world.maildrop(two, TAKE), DONE);
    }

    /// The time that the lease was written by was far ahead of that by which somebody else asks.
    #[test]
    fn a_lease_far_in_the_future_runs_out_like_another() {
        let mut world = World::new();
        let (one, two) = (holder(1, 1), holder(2, 1));
        let before = world.now;
        world.now += 24 * 3_600_000;
        world.maildrop(one, TAKE).unwrap();
        world.now += i64::from(LEASE_MS);
        assert_eq!(world.maildrop(two, TAKE), IN_USE, "notice, of then");
        world.now = before;
        assert_eq!(world.maildrop(two, TAKE), IN_USE);
        world.now += i64::from(LEASE_MS) - 10;
        assert_eq!(
            world.maildrop(two, TAKE),
            IN_USE,
            "a lease from the first question on"
        );
        world.now += 10;
        assert_eq!(world.maildrop(two, TAKE), IN_USE, "notice is given anew");
        // A holder that lives keeps it, as ever.
        assert_eq!(world.maildrop(one, RENEW), DONE);
        world.now += i64::from(LEASE_MS);
        assert_eq!(world.maildrop(two, TAKE), IN_USE);
        world.now += millis(MAILDROP_NOTICE);
        assert_eq!(world.maildrop(two, TAKE), DONE);
        assert_eq!(world.maildrop(one, RENEW), LOST);
    }

    /// Whenever the log's time jumps over a lease, whenever somebody else asks, and though a renewal finds its leader dead.
    #[test]
    fn a_holder_that_renews_keeps_its_lock_whenever_time_jumps() {
        const STEP_MS: i64 = 250;
        let every = millis(MAILDROP_RENEWAL);
        for jump_at in (0..2 * every).step_by(STEP_MS as usize) {
            for late in [0, 4_900] {
                let mut world = World::new();
                let (one, two) = (holder(1, 1), holder(2, 1));
                world.maildrop(one, TAKE).unwrap();
                let mut next = every;
                for at in (0..30_000).step_by(STEP_MS as usize) {
                    if at == jump_at {
                        world.now += i64::from(LEASE_MS) + 60_000;
                        // The one that is next arrives late.
                        next += late;
                    }
                    // Who waits asks first.
                    assert_eq!(world.maildrop(two, TAKE), IN_USE, "{jump_at} {late} {at}");
                    if at >= next {
                        assert_eq!(world.maildrop(one, RENEW), DONE, "{jump_at} {late} {at}");
                        next = at + every;
                    }
                    world.now += STEP_MS;
                }
            }
        }
    }

    #[test]
    fn quit_removes_and_gives_back_in_one_step_once() {
        let mut world = World::new();
        world.append(3);
        let (one, two) = (holder(1, 1), holder(2, 1));
        world.maildrop(one, TAKE).unwrap();
        let op = world.op();
        let first = world.change_as(op, quit(one, "1"));
        assert!(first.is_ok(), "{first:?}");
        assert_eq!(world.maildrop(two, TAKE), DONE, "it was given back");
        // What was lost is the answer.
        assert_eq!(world.change_as(op, quit(one, "1")), first);
        assert_eq!(world.change(quit(one, "2")), Err(Refusal::MaildropLost));
        assert_eq!(world.uids(INBOX), "2:3");
        assert_eq!(world.maildrop(two, RENEW), DONE);
    }

    #[test]
    fn who_was_taken_over_from_removes_nothing() {
        let mut world = World::new();
        world.append(3);
        let (one, two) = (holder(1, 1), holder(2, 1));
        world.maildrop(one, TAKE).unwrap();
        world.now += i64::from(LEASE_MS);
        world.maildrop(two, TAKE).unwrap();
        world.now += millis(MAILDROP_NOTICE);
        assert_eq!(world.maildrop(two, TAKE), DONE);
        assert_eq!(world.change(quit(one, "1:3")), Err(Refusal::MaildropLost));
        // Nor when the other one is gone, too.
        world.maildrop(two, MaildropStep::Release).unwrap();
        assert_eq!(world.change(quit(one, "1:3")), Err(Refusal::MaildropLost));
        assert_eq!(world.uids(INBOX), "1:3");
    }

    #[test]
    fn a_quit_that_is_refused_for_its_mailbox_leaves_the_lock() {
        let mut world = World::new();
        let (one, two) = (holder(1, 1), holder(2, 1));
        world.maildrop(one, TAKE).unwrap();
        let elsewhere = Change::CloseMaildrop {
            holder: one,
            mailbox: MailboxId(99),
            uids: set("1"),
        };
        assert_eq!(world.change(elsewhere), Err(Refusal::NoSuchMailbox));
        assert_eq!(world.maildrop(two, TAKE), IN_USE);
    }

    #[test]
    fn a_process_has_one_session_the_last() {
        let mut world = World::new();
        let (first, second) = (holder(1, 1), holder(1, 2));
        world.maildrop(first, TAKE).unwrap();
        assert_eq!(world.maildrop(second, TAKE), DONE);
        // What was on its way for long.
        assert_eq!(world.maildrop(first, TAKE), IN_USE);
        assert_eq!(world.maildrop(first, RENEW), LOST);
        assert_eq!(world.maildrop(first, MaildropStep::Release), DONE);
        assert_eq!(world.maildrop(second, RENEW), DONE);
    }

    #[test]
    fn a_lock_is_forgotten_and_leaves_nothing() {
        let mut world = World::new();
        let before = world.pairs();
        world.maildrop(holder(1, 1), TAKE).unwrap();
        world.maildrop(holder(1, 1), MaildropStep::Release).unwrap();
        assert_eq!(world.pairs(), before);
        let forever = MaildropStep::Take { lease_ms: u32::MAX };
        world.maildrop(holder(1, 1), forever).unwrap();
        world.now += millis(MAILDROP_LEASE_MAX) + millis(MAILDROP_KEPT);
        world.apply(&ShardCommand::Tick);
        assert_eq!(world.pairs(), before);
    }

    #[test]
    fn there_is_none_without_an_account() {
        let mut world = World::empty();
        let missing = Err(Refusal::NoSuchAccount);
        assert_eq!(world.maildrop(holder(1, 1), TAKE), missing);
        let mut world = World::new();
        world
            .change(Change::Account(crate::AccountChange::Delete))
            .unwrap();
        assert_eq!(world.maildrop(holder(1, 1), TAKE), missing);
    }
}
