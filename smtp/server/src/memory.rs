//! The memory for messages under way, and how much of it one network may hold.
//!
//! A message holds its room for as long as its client takes to send it, up to an hour: a few slow clients could take
//! all of it and keep everybody else out. So those of one network also share a part of their own, and when that is
//! used up only they wait.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::body::{GROWTH_MAX, UNIT};

/// What one network may hold: the budget divided by this. Eight networks must act together to take all of it, and of
/// the default budget (1 GB) a company behind one address still has 125 MB, two messages of the largest size or 25,000
/// of the usual.
const SHARE_DIVISOR: u64 = 8;

/// Networks that are looked through for ones that hold nothing any more; fewer are not worth it.
const SITES_PRUNED_MIN: usize = 64;

/// The budget of all sessions.
#[derive(Debug)]
pub(crate) struct Memory {
    /// In octets; all else here counts in [`UNIT`]s.
    memory_max: u64,
    all: Arc<Semaphore>,
    sites: Mutex<Sites>,
}

/// What is left of the shares of networks that have messages under way.
#[derive(Debug)]
struct Sites {
    shares: HashMap<IpAddr, Weak<Semaphore>>,
    /// At so many, those without messages are forgotten: the map stays within twice what is under way.
    prune_at: usize,
}

/// What a message's room is taken from.
pub(crate) struct Share {
    all: Arc<Semaphore>,
    of_site: Option<Arc<Semaphore>>,
}

/// Room that is held until it is dropped.
pub(crate) struct Room {
    all: OwnedSemaphorePermit,
    of_site: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// `memory_max` octets in all.
    pub(crate) fn new(memory_max: u64) -> Memory {
        Memory {
            memory_max,
            all: Arc::new(Semaphore::new(units(memory_max))),
            sites: Mutex::new(Sites {
                shares: HashMap::new(),
                prune_at: SITES_PRUNED_MIN,
            }),
        }
    }

    /// For a message of up to `size_max` octets from `site` ([`mailrook_net::Limiter::site`]); without one, the budget
    /// is the only bound.
    pub(crate) fn share(&self, site: Option<IpAddr>, size_max: u64) -> Share {
        let units = self.share_units(size_max);
        Share {
            all: Arc::clone(&self.all),
            of_site: site.map(|site| self.sites.lock().share(site, units)),
        }
    }

    fn share_units(&self, size_max: u64) -> usize {
        let share = (self.memory_max / SHARE_DIVISOR).max(memory_min(size_max));
        units(share.min(self.memory_max))
    }

    /// How much nobody holds.
    #[cfg(test)]
    pub(crate) fn available_units(&self) -> usize {
        self.all.available_permits()
    }
}

/// The largest message must fit, with what its buffer may be too large by, or it would be put off for ever.
pub(crate) const fn memory_min(size_max: u64) -> u64 {
    size_max.saturating_add(GROWTH_MAX as u64 + UNIT)
}

fn units(octets: u64) -> usize {
    let units = usize::try_from(octets / UNIT).unwrap_or(usize::MAX);
    units.clamp(1, Semaphore::MAX_PERMITS)
}

impl Sites {
    /// A semaphore lives while a message holds it or a permit of it.
    fn share(&mut self, site: IpAddr, units: usize) -> Arc<Semaphore> {
        if let Some(known) = self.shares.get(&site).and_then(Weak::upgrade) {
            return known;
        }
        if self.shares.len() >= self.prune_at {
            self.shares.retain(|_, share| share.strong_count() > 0);
            self.prune_at = SITES_PRUNED_MIN.max(2 * self.shares.len());
        }
        let share = Arc::new(Semaphore::new(units));
        self.shares.insert(site, Arc::downgrade(&share));
        share
    }
}

impl Share {
    /// Takes room; waits for it, but no longer than `patience`.
    ///
    /// First of the network's share: who waits for that holds up nobody else.
    pub(crate) async fn room(&self, units: u32, patience: Duration) -> Option<Room> {
        let take = async {
            let of_site = match &self.of_site {
                Some(share) => Some(Arc::clone(share).acquire_many_owned(units).await.ok()?),
                None => None,
            };
            let all = Arc::clone(&self.all).acquire_many_owned(units).await.ok()?;
            Some(Room { all, of_site })
        };
        timeout(patience, take).await.ok().flatten()
    }
}

impl Room {
    /// How much it is.
    pub(crate) fn units(&self) -> u32 {
        u32::try_from(self.all.num_permits()).unwrap_or(u32::MAX)
    }

    /// Adds more of the same share.
    pub(crate) fn merge(&mut self, more: Room) {
        self.all.merge(more.all);
        if let (Some(held), Some(more)) = (&mut self.of_site, more.of_site) {
            held.merge(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const MIB: u64 = 1 << 20;

    fn site(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[tokio::test]
    async fn one_network_holds_an_eighth() {
        let memory = Memory::new(80 * MIB);
        let of = |address| memory.share(site(address), MIB);
        let exempt = memory.share(None, MIB);
        let share = u32::try_from(10 * MIB / UNIT).unwrap();

        let first = of("192.0.2.7");
        let mut held = first.room(share - 1, SOON).await.unwrap();
        held.merge(first.room(1, SOON).await.unwrap());
        drop(first);
        // Another message of that network waits and gives up; others have room.
        assert!(of("192.0.2.7").room(1, SOON).await.is_none());
        let other = of("192.0.2.8").room(share, SOON).await.unwrap();
        // Who is exempt is bounded by the whole: eight eighths less two.
        let rest = exempt.room(6 * share, SOON).await.unwrap();
        assert!(exempt.room(1, SOON).await.is_none());
        drop((held, other, rest));
        assert!(of("192.0.2.7").room(share, SOON).await.is_some());
        assert_eq!(memory.available_units(), 8 * share as usize);
    }

    #[test]
    fn the_largest_message_fits_a_share() {
        let (memory, size_max) = (Memory::new(64_000_000), 50_000_000);
        let octets = memory.share_units(size_max) as u64 * UNIT;
        assert!(octets >= size_max + GROWTH_MAX as u64, "{octets}");
        let small = Memory::new(10_000_000);
        assert_eq!(small.share_units(size_max), small.available_units());
    }

    /// What [`crate::Settings::memory_min`] says is enough is enough, octet by octet as sessions take it.
    #[tokio::test]
    async fn the_least_budget_takes_the_largest_message() {
        let size_max = 5_000_001;
        let take = async |memory_max: u64| {
            let memory = Memory::new(memory_max);
            let mut body = crate::body::Body::new(memory.share(site("192.0.2.7"), size_max), SOON);
            let mut left = usize::try_from(size_max).unwrap();
            while left > 0 {
                let some = left.min(16_000);
                body.push(&vec![b'x'; some]).await;
                left -= some;
            }
            !body.overflowed()
        };
        assert!(take(memory_min(size_max)).await);
        assert!(!take(size_max - UNIT).await);
    }

    #[tokio::test]
    async fn forgets_networks_without_messages() {
        let memory = Memory::new(1024 * MIB);
        let kept = memory.share(site("192.0.2.7"), MIB).room(3, SOON).await;
        for n in 0..10_000_u32 {
            drop(memory.share(Some(IpAddr::from(n.to_be_bytes())), MIB));
        }
        assert!(memory.sites.lock().shares.len() <= SITES_PRUNED_MIN);
        let known = memory.share(site("192.0.2.7"), MIB).of_site.unwrap();
        assert_eq!(known.available_permits(), memory.share_units(MIB) - 3);
        drop(kept);
    }
}
