//! Which reads are done at once, and which beside the threads that serve sockets.
//!
//! Most reads are of one message or one mailbox: microseconds, for which a change of threads and back would be the
//! larger part. Others walk as much of an index as there is, for milliseconds in which everybody else on that thread
//! waits. What a read costs is often known only when it is done (what has changed since?), so that it is begun at
//! once, counted, and begun anew elsewhere when it passes [`COST_MAX`]. Nobody sees the first try: the answer is that
//! of one snapshot.

use std::{cell::Cell, ops::ControlFlow, sync::Arc};

use mailrook_cluster::{Group, GroupError, simulation};
use mailrook_kv::{Direction, KvError, Read, Space};
use mailrook_mailbox::Query;
use tokio::{sync::Semaphore, task};

/// What a read may cost on a thread that serves sockets, in records walked over. Measured by `examples/reads.rs`, not
/// optimised and on two busy cores: a read of one message takes 17 µs, each further record 1.1 µs, a change of threads
/// and back 40 to 100 µs. 512 records hold the others up for half a millisecond at most, and a longer read pays at most
/// a fifth for the change; that of a message would pay five times its price.
const COST_MAX: u32 = 512;

/// A record that is looked up costs as much as so many that are walked over.
const LOOK_UP_COST: u32 = 4;

/// What each message costs of which more than the index is read: its records of index and detail.
const DETAIL_COST: u64 = 8;

/// Reads beside at the same time, at least: some wait for the disk while others compute.
const BESIDE_MIN: usize = 4;

/// Reads that may take long, a bounded number at a time; the others wait.
#[derive(Clone)]
pub(crate) struct Beside(Arc<Semaphore>);

impl Default for Beside {
    fn default() -> Beside {
        let cores = std::thread::available_parallelism().map_or(BESIDE_MIN, usize::from);
        Beside(Arc::new(Semaphore::new(cores.max(BESIDE_MIN))))
    }
}

impl Beside {
    /// Has `group` show its state to `read`, which runs to its end even if nobody waits for it any more.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        group: &Arc<dyn Group>,
        read: impl FnOnce(&dyn Read, i64) -> T + Send + 'static,
    ) -> Result<T, GroupError> {
        let Ok(permit) = Arc::clone(&self.0).acquire_owned().await else {
            // It is never closed.
            return Err(GroupError::Timeout);
        };
        let group = Arc::clone(group);
        let reading = move || {
            let _permit = permit;
            group.read_at(read)
        };
        if simulation::is_on() {
            return reading();
        }
        match task::spawn_blocking(reading).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The process ends.
            Err(_) => Err(GroupError::Timeout),
        }
    }
}

/// Whether `query` is known to cost more than [`COST_MAX`], so that trying is in vain.
pub(crate) fn is_long(query: &Query) -> bool {
    let (uids, limit, cost) = match query {
        Query::Index { uids, limit, .. } => (uids, limit, 1),
        Query::Details { uids, limit, .. } | Query::Signatures { uids, limit, .. } => {
            (uids, limit, DETAIL_COST)
        }
        _ => return false,
    };
    uids.len().min(u64::from(*limit)) * cost > u64::from(COST_MAX)
}

/// What `read` makes of `state`; `None` if that costs too much for a thread that serves sockets.
pub(crate) fn short<T>(state: &dyn Read, read: impl FnOnce(&dyn Read) -> T) -> Option<T> {
    let counting = Counting {
        state,
        left: Cell::new(Some(COST_MAX)),
    };
    let result = read(&counting);
    counting.left.get().is_some().then_some(result)
}

/// Lets reads through until they have cost too much.
struct Counting<'a> {
    state: &'a dyn Read,
    /// `None` once it was too much.
    left: Cell<Option<u32>>,
}

impl Counting<'_> {
    fn pay(&self, cost: u32) -> Result<(), KvError> {
        let left = self.left.get().and_then(|left| left.checked_sub(cost));
        self.left.set(left);
        left.map(drop)
            .ok_or_else(|| KvError::Engine("a read that is done elsewhere".to_owned()))
    }
}

impl Read for Counting<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.pay(LOOK_UP_COST)?;
        self.state.get(space, key)
    }

    fn scan(
        &self,
        space: Space,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        self.pay(LOOK_UP_COST)?;
        let mut paid = Ok(());
        self.state
            .scan(space, start, end, direction, &mut |key, value| {
                paid = self.pay(1);
                match paid {
                    Ok(()) => visit(key, value),
                    Err(_) => ControlFlow::Break(()),
                }
            })?;
        paid
    }
}

#[cfg(test)]
mod tests {
    use mailrook_kv::{Batch, MemoryStore, Store};

    use super::*;

    #[test]
    fn what_costs_too_much_is_not_done_to_its_end() {
        let store = MemoryStore::new();
        let mut batch = Batch::default();
        for key in 0..1000u32 {
            batch.put(Space::Index, key.to_be_bytes().to_vec(), vec![7]);
        }
        store.write(batch).unwrap();
        let state = store.snapshot();
        let walk = |len: u32| {
            let mut seen = 0;
            let result = short(&state, |state| {
                let end = len.to_be_bytes();
                state.scan(Space::Index, &[], &end, Direction::Forward, &mut |_, _| {
                    seen += 1;
                    ControlFlow::Continue(())
                })
            });
            (seen, result.is_some())
        };
        let most = COST_MAX - LOOK_UP_COST;
        assert_eq!(walk(most), (most, true));
        assert_eq!(walk(most + 1), (most, false));
        assert_eq!(walk(1000), (most, false));
        let look_up = |times: u32| {
            short(&state, |state| {
                // An error that the reader makes light of counts nevertheless.
                (0..times).for_each(|_| drop(state.get(Space::Index, &[1])));
            })
        };
        assert!(look_up(COST_MAX / LOOK_UP_COST).is_some());
        assert!(look_up(COST_MAX / LOOK_UP_COST + 1).is_none());
    }
}
