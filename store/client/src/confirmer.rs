//! Confirmations on their way to their shards.
//!
//! A delivery confirms what its connection delivered before, and that usually lies in another shard. A command of its own
//! for each would double the work of the log, so they wait here for a delivery to their shard to take them along, whoever's
//! it is, and go by themselves only when none comes.
//!
//! Until a shard has answered, a confirmation counts as waiting, and a delivery that it concerns takes it along once more:
//! within this process the same bytes, sent again on purpose, never overtake it. For what comes in elsewhere, a session
//! settles its confirmations before it ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use mailrook_mailbox::{Confirmation, DeliveryKey};
use mailrook_types::{AccountId, ShardId};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How long a confirmation waits for a delivery to take it along: under load one comes within a few milliseconds.
pub(crate) const WAIT: Duration = Duration::from_millis(20);

/// As many go along with a delivery: 4 KiB beside a message.
const CARRIED_MAX: usize = 64;

/// As many go into one command of their own, which stays far below the log's limit for an entry.
const ALONE_MAX: usize = 1024;

/// As many wait for a shard that cannot be reached: a megabyte. Then sessions wait themselves.
const WAITING_MAX: usize = 10_000;

/// Confirmations that have not reached their shards.
#[derive(Default)]
pub(crate) struct Confirmer {
    shards: Mutex<BTreeMap<ShardId, Pending>>,
    next_trip: AtomicU64,
    /// A trip ended.
    ended: Notify,
}

#[derive(Default)]
struct Pending {
    waiting: Vec<Confirmation>,
    /// By the number of the trip that took them.
    under_way: BTreeMap<u64, Vec<Confirmation>>,
    /// A task sees to what waits.
    attended: bool,
}

impl Pending {
    fn all(&self) -> impl Iterator<Item = &Confirmation> {
        let under_way = self.under_way.values().flatten();
        self.waiting.iter().chain(under_way)
    }

    fn holds(&self, confirmation: &Confirmation) -> bool {
        self.all().any(|known| known == confirmation)
    }
}

/// Confirmations that a command takes to their shard. Dropped before [`Trip::arrived`], they wait again.
pub(crate) struct Trip<'a> {
    confirmer: &'a Confirmer,
    shard: ShardId,
    number: u64,
    /// What the command carries.
    pub(crate) carried: Vec<Confirmation>,
}

impl Confirmer {
    /// Takes confirmations over; no when too many wait already.
    pub(crate) fn add(&self, shard: ShardId, confirmations: &[Confirmation]) -> bool {
        let mut shards = self.shards.lock();
        let pending = shards.entry(shard).or_default();
        let room = pending.waiting.len() < WAITING_MAX;
        if room {
            pending.waiting.extend(confirmations);
        }
        room
    }

    /// The accounts of what waits for a shard.
    pub(crate) fn accounts_waiting(&self, shard: ShardId) -> BTreeSet<AccountId> {
        let shards = self.shards.lock();
        let waiting = shards.get(&shard).map(|pending| &pending.waiting);
        waiting.into_iter().flatten().map(|c| c.account).collect()
    }

    /// Has what waits of an account wait for another shard, or for none. There was room for it.
    pub(crate) fn redirect(&self, account: AccountId, from: ShardId, to: Option<ShardId>) {
        let mut shards = self.shards.lock();
        let Some(pending) = shards.get_mut(&from) else {
            return;
        };
        let all = std::mem::take(&mut pending.waiting);
        let (redirected, stay): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|c| c.account == account);
        pending.waiting = stay;
        if let Some(to) = to {
            shards.entry(to).or_default().waiting.extend(redirected);
        }
    }

    /// The shards for which some of `confirmations` are on their way.
    pub(crate) fn holders(&self, confirmations: &[Confirmation]) -> Vec<ShardId> {
        let shards = self.shards.lock();
        let holds = |pending: &Pending| confirmations.iter().any(|c| pending.holds(c));
        let holders = shards.iter().filter(|(_, pending)| holds(pending));
        holders.map(|(shard, _)| *shard).collect()
    }

    /// Whether the caller must see to what waits for the shard, until [`Confirmer::attend`] says that nothing does.
    pub(crate) fn claim(&self, shard: ShardId) -> bool {
        let mut shards = self.shards.lock();
        let Some(pending) = shards.get_mut(&shard) else {
            return false;
        };
        !pending.waiting.is_empty() && !std::mem::replace(&mut pending.attended, true)
    }

    /// What a delivery to `shard` takes along: what waits, and what concerns it and has not arrived for certain.
    pub(crate) fn along(
        &self,
        shard: ShardId,
        accounts: &[AccountId],
        key: Option<DeliveryKey>,
    ) -> Trip<'_> {
        let concerns = |c: &Confirmation| Some(c.key) == key && accounts.contains(&c.account);
        self.depart(shard, CARRIED_MAX, concerns)
    }

    /// What a command of its own takes; empty when nothing waits.
    pub(crate) fn alone(&self, shard: ShardId) -> Trip<'_> {
        self.depart(shard, ALONE_MAX, |_| false)
    }

    fn depart(
        &self,
        shard: ShardId,
        max: usize,
        concerns: impl Fn(&Confirmation) -> bool,
    ) -> Trip<'_> {
        let number = self.next_trip.fetch_add(1, Ordering::Relaxed);
        let mut shards = self.shards.lock();
        let mut taken = Vec::new();
        if let Some(pending) = shards.get_mut(&shard) {
            // First what the delivery may not overtake.
            pending.waiting.sort_by_key(|c| !concerns(c));
            let must = pending.waiting.partition_point(&concerns);
            let take = pending.waiting.len().min(max.max(must));
            taken.extend(pending.waiting.drain(..take));
        }
        // What concerns it and has not arrived for certain: also on its way to where the account was before.
        let again = shards
            .values()
            .flat_map(Pending::all)
            .filter(|c| concerns(c));
        let carried: Vec<Confirmation> = taken.iter().chain(again).copied().collect();
        if !taken.is_empty() {
            let pending = shards.entry(shard).or_default();
            pending.under_way.insert(number, taken);
        }
        self.trip(shard, number, carried)
    }

    fn trip(&self, shard: ShardId, number: u64, carried: Vec<Confirmation>) -> Trip<'_> {
        Trip {
            confirmer: self,
            shard,
            number,
            carried,
        }
    }

    /// Whether anything has yet to arrive at the shard: what is under way may come back and wait again. If not, nobody
    /// sees to it from now on.
    pub(crate) fn attend(&self, shard: ShardId) -> bool {
        let mut shards = self.shards.lock();
        let Some(pending) = shards.get_mut(&shard) else {
            return false;
        };
        pending.attended = !pending.waiting.is_empty() || !pending.under_way.is_empty();
        pending.attended
    }

    /// Waits until none of `confirmations`, all of one shard, is on its way any more.
    pub(crate) async fn arrival(&self, shard: ShardId, confirmations: &[Confirmation]) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let on_its_way = {
                let shards = self.shards.lock();
                let pending = shards.get(&shard);
                pending.is_some_and(|p| confirmations.iter().any(|c| p.holds(c)))
            };
            if !on_its_way {
                return;
            }
            ended.await;
        }
    }

    /// Those of `confirmations` that have not arrived for certain.
    pub(crate) fn on_their_way(&self, confirmations: &[Confirmation]) -> Vec<Confirmation> {
        let shards = self.shards.lock();
        let held = |c: &&Confirmation| shards.values().any(|pending| pending.holds(c));
        confirmations.iter().filter(held).copied().collect()
    }
}

impl Trip<'_> {
    /// The shard has answered, and gives these back: they wait again.
    pub(crate) fn arrived_but_for(self, back: &[Confirmation]) {
        if let Some(pending) = self.confirmer.shards.lock().get_mut(&self.shard)
            && let Some(taken) = pending.under_way.remove(&self.number)
        {
            let back = taken.into_iter().filter(|c| back.contains(c));
            pending.waiting.extend(back);
        }
    }

    /// The shard has answered.
    pub(crate) fn arrived(self) {
        if let Some(pending) = self.confirmer.shards.lock().get_mut(&self.shard) {
            pending.under_way.remove(&self.number);
        }
    }
}

impl Drop for Trip<'_> {
    fn drop(&mut self) {
        {
            let mut shards = self.confirmer.shards.lock();
            if let Some(pending) = shards.get_mut(&self.shard)
                && let Some(taken) = pending.under_way.remove(&self.number)
            {
                pending.waiting.extend(taken);
            }
        }
        self.confirmer.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use mailrook_types::{MailboxId, Uid};

    use super::*;

    const SHARD: ShardId = ShardId(3);

    fn confirmation(n: u8) -> Confirmation {
        Confirmation {
            account: AccountId(u64::from(n)),
            mailbox: MailboxId(1),
            key: DeliveryKey([n; 32]),
            uid: Uid::MIN,
        }
    }

    fn along(confirmer: &Confirmer, n: u8) -> Trip<'_> {
        let concerned = confirmation(n);
        confirmer.along(SHARD, &[concerned.account], Some(concerned.key))
    }

    #[test]
    fn a_delivery_takes_along_what_waits() {
        let confirmer = Confirmer::default();
        assert!(along(&confirmer, 9).carried.is_empty());
        assert!(confirmer.add(SHARD, &[confirmation(1), confirmation(2)]));
        let trip = along(&confirmer, 9);
        assert_eq!(trip.carried, [confirmation(1), confirmation(2)]);
        // They are under way: another delivery need not.
        assert!(along(&confirmer, 8).carried.is_empty());
        assert_eq!(
            confirmer.on_their_way(&[confirmation(1)]),
            [confirmation(1)]
        );
        trip.arrived();
        assert!(confirmer.on_their_way(&[confirmation(1)]).is_empty());
    }

    #[test]
    fn a_delivery_that_it_concerns_never_overtakes_it() {
        let confirmer = Confirmer::default();
        let many: Vec<Confirmation> = (1..=200).map(confirmation).collect();
        confirmer.add(SHARD, &many);
        let first = along(&confirmer, 200);
        assert_eq!(first.carried.len(), CARRIED_MAX);
        assert!(first.carried.contains(&confirmation(200)));
        // Its answer has not come: the command may be lost.
        let second = along(&confirmer, 200);
        assert!(second.carried.contains(&confirmation(200)));
    }

    #[test]
    fn what_did_not_arrive_waits_again() {
        let confirmer = Confirmer::default();
        confirmer.add(SHARD, &[confirmation(1)]);
        drop(along(&confirmer, 9));
        assert_eq!(confirmer.alone(SHARD).carried, [confirmation(1)]);
    }

    #[test]
    fn what_a_shard_gives_back_waits_again() {
        let confirmer = Confirmer::default();
        confirmer.add(SHARD, &[confirmation(1), confirmation(2)]);
        let trip = confirmer.alone(SHARD);
        trip.arrived_but_for(&[confirmation(2), confirmation(3)]);
        assert_eq!(confirmer.holders(&[confirmation(1)]), []);
        assert_eq!(confirmer.holders(&[confirmation(2)]), [SHARD]);
        assert_eq!(confirmer.alone(SHARD).carried, [confirmation(2)]);
    }

    #[test]
    fn what_is_on_its_way_to_where_the_account_was_is_not_overtaken() {
        const NEW: ShardId = ShardId(4);
        let confirmer = Confirmer::default();
        confirmer.add(SHARD, &[confirmation(1), confirmation(2)]);
        let concerned = confirmation(1);
        let to_new = || confirmer.along(NEW, &[concerned.account], Some(concerned.key));
        assert_eq!(to_new().carried, [concerned]);
        let under_way = confirmer.alone(SHARD);
        assert_eq!(to_new().carried, [concerned]);
        drop(under_way);
        // It goes on to where the account is, and what concerns nobody any more goes nowhere.
        confirmer.redirect(concerned.account, SHARD, Some(NEW));
        confirmer.redirect(AccountId(2), SHARD, None);
        assert!(confirmer.accounts_waiting(SHARD).is_empty());
        confirmer.alone(NEW).arrived();
        assert!(to_new().carried.is_empty());
    }

    #[test]
    fn one_sees_to_a_shard_at_a_time() {
        let confirmer = Confirmer::default();
        assert!(!confirmer.claim(SHARD));
        confirmer.add(SHARD, &[confirmation(1)]);
        assert!(confirmer.claim(SHARD));
        assert!(!confirmer.claim(SHARD));
        assert!(confirmer.attend(SHARD));
        // A trip whose session is gone comes back: it is seen to as well.
        let trip = confirmer.alone(SHARD);
        assert!(confirmer.attend(SHARD));
        drop(trip);
        assert!(confirmer.attend(SHARD));
        confirmer.alone(SHARD).arrived();
        assert!(!confirmer.attend(SHARD));
        confirmer.add(SHARD, &[confirmation(2)]);
        assert!(confirmer.claim(SHARD));
    }

    #[test]
    fn too_many_are_not_taken_over() {
        let confirmer = Confirmer::default();
        let many = vec![confirmation(1); WAITING_MAX];
        assert!(confirmer.add(SHARD, &many));
        assert!(!confirmer.add(SHARD, &[confirmation(2)]));
    }

    #[tokio::test]
    async fn an_arrival_is_told() {
        let confirmer = std::sync::Arc::new(Confirmer::default());
        confirmer.add(SHARD, &[confirmation(1)]);
        let trip = along(&confirmer, 9);
        let waiting = {
            let confirmer = std::sync::Arc::clone(&confirmer);
            tokio::spawn(async move { confirmer.arrival(SHARD, &[confirmation(1)]).await })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        trip.arrived();
        waiting.await.unwrap();
    }
}
