//! The places for questions under way: so many in all, and so many for those who come from one address. Who comes too late
//! waits for a place of his own address first, so that no stranger holds, or stands in line for, more places than that.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

/// What an issuer takes from one client, and what one that does not answer may hold.
const PLACES_MAX: usize = 64;

/// Of them, for one address: enough for an office behind one address, few enough that others keep seven of eight.
const OF_ADDRESS_MAX: usize = PLACES_MAX / 8;

/// Places, free and taken.
pub(crate) struct Places {
    all: Semaphore,
    /// Of each address that somebody waits or asks from: no more than there are sessions.
    by_address: Mutex<HashMap<IpAddr, OfAddress>>,
}

struct OfAddress {
    places: Arc<Semaphore>,
    /// Who waits, and who asks.
    users: usize,
}

impl Places {
    pub(crate) fn new() -> Places {
        Places {
            all: Semaphore::new(PLACES_MAX),
            by_address: Mutex::default(),
        }
    }

    /// Does this in a place, as soon as there is one. `from` is `None` for clients on this machine, whom only the whole bounds.
    pub(crate) async fn hold<T>(&self, from: Option<IpAddr>, what: impl Future<Output = T>) -> T {
        let visit = from.map(|address| Visit::begin(self, address));
        let _own = match &visit {
            Some(visit) => take(&visit.places).await,
            None => None,
        };
        let _place = take(&self.all).await;
        what.await
    }
}

/// A semaphore here is never closed: there is always a permit in the end.
async fn take(places: &Semaphore) -> Option<SemaphorePermit<'_>> {
    places.acquire().await.ok()
}

/// From when somebody comes until he goes, whatever becomes of him.
struct Visit<'p> {
    of: &'p Places,
    address: IpAddr,
    places: Arc<Semaphore>,
}

impl Visit<'_> {
    fn begin(of: &Places, address: IpAddr) -> Visit<'_> {
        let mut by_address = of.by_address.lock();
        let of_address = by_address.entry(address).or_insert_with(|| OfAddress {
            places: Arc::new(Semaphore::new(OF_ADDRESS_MAX)),
            users: 0,
        });
        of_address.users += 1;
        Visit {
            of,
            address,
            places: Arc::clone(&of_address.places),
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut by_address = self.of.by_address.lock();
        if let Some(of_address) = by_address.get_mut(&self.address) {
            of_address.users -= 1;
            if of_address.users == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use tokio::time::timeout;

    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    /// Begins so many questions that are never answered.
    async fn occupy(places: &Arc<Places>, from: Option<IpAddr>, count: usize) -> Vec<Occupier> {
        let mut tasks = Vec::new();
        for _ in 0..count {
            let places = Arc::clone(places);
            let task = tokio::spawn(async move { places.hold(from, pending::<()>()).await });
            tasks.push(Occupier(task));
        }
        // Each runs until it waits.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        tasks
    }

    struct Occupier(tokio::task::JoinHandle<()>);

    impl Drop for Occupier {
        fn drop(&mut self) {
            self.0.abort();
        }
    }

    async fn gets_in(places: &Places, from: Option<IpAddr>) -> bool {
        let soon = Duration::from_millis(50);
        timeout(soon, places.hold(from, async {})).await.is_ok()
    }

    #[tokio::test]
    async fn one_address_keeps_nobody_else_out() {
        let places = Arc::new(Places::new());
        let stranger = occupy(&places, address(1), 10 * PLACES_MAX).await;
        assert!(!gets_in(&places, address(1)).await);
        assert!(gets_in(&places, address(2)).await);
        assert!(gets_in(&places, None).await);
        assert_eq!(places.all.available_permits(), PLACES_MAX - OF_ADDRESS_MAX);
        drop(stranger);
        // Whoever gave up is forgotten.
        while !places.by_address.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(gets_in(&places, address(1)).await);
    }

    #[tokio::test]
    async fn all_of_them_together_have_a_bound() {
        let places = Arc::new(Places::new());
        let mut strangers = Vec::new();
        for last in 0..8 {
            strangers.push(occupy(&places, address(last), OF_ADDRESS_MAX).await);
        }
        assert!(!gets_in(&places, address(9)).await && !gets_in(&places, None).await);
        strangers.pop();
        assert!(gets_in(&places, address(9)).await);
    }
}
