//! The state as it was after one entry, exactly.
//!
//! Copies are compared as of the same entry, and while a group is written to each copy is at another one at any moment. So
//! a reader says which entry it wants: whoever applies stops behind that entry until the reader has its snapshot, which
//! takes as long as RocksDB needs for one.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use mailrook_kv::{KvError, Read};
use parking_lot::Mutex;

use super::{GroupState, read_record};

/// Nobody is held up for longer: a reader that takes more time sees a later state, and knows it.
const STOP_MAX: Duration = Duration::from_millis(100);

/// Readers that wait for their entries.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Vec<Waiter>>);

struct Waiter {
    index: u64,
    arrived: Sender<()>,
    /// Ends when the reader has its snapshot, or is gone.
    left: Receiver<()>,
}

/// A reader's place among the waiting. Dropped, it lets the applying go on.
struct Place {
    arrived: Receiver<()>,
    _left: Sender<()>,
}

impl Waiting {
    fn add(&self, index: u64) -> Place {
        let (arrived, arriving) = channel();
        let (leaving, left) = channel();
        self.0.lock().push(Waiter {
            index,
            arrived,
            left,
        });
        Place {
            arrived: arriving,
            _left: leaving,
        }
    }

    /// Everything up to `index` is visible.
    pub(super) fn reached(&self, index: u64) {
        let mut waiting = self.0.lock();
        let reached: Vec<Waiter> = waiting
            .extract_if(.., |waiter| waiter.index <= index)
            .collect();
        drop(waiting);
        for waiter in reached {
            // Without a reader there is nobody to stop for.
            if waiter.arrived.send(()).is_ok() {
                let _ = waiter.left.recv_timeout(STOP_MAX);
            }
        }
    }
}

impl GroupState {
    /// Whether somebody wants to see the state as it is after entry `index`.
    pub(crate) fn is_awaited(&self, index: u64) -> bool {
        let waiting = self.waiting.0.lock();
        waiting.iter().any(|waiter| waiter.index == index)
    }

    /// Waits until entry `index` is applied, for at most `patience`, and calls `visit` with a snapshot and the entry that
    /// it is at: a later one if that was applied before, an earlier one if the time is over.
    pub(crate) fn visit_at(
        &self,
        index: u64,
        patience: Duration,
        visit: &mut dyn FnMut(&dyn Read, u64),
    ) -> Result<(), KvError> {
        let place = self.waiting.add(index);
        if self.applied_index() < index {
            // An error means that the time is over.
            let _ = place.arrived.recv_timeout(patience);
        }
        let mut place = Some(place);
        let mut damage = None;
        self.tables()?.visit_with_record(&mut |snapshot, record| {
            // The snapshot is there.
            drop(place.take());
            match read_record(record) {
                Ok(applied) => visit(snapshot, applied.index()),
                Err(error) => damage = Some(error),
            }
        })?;
        damage.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use mailrook_kv::{Batch, Space};

    use super::super::{Applied, tests::fresh};
    use crate::log::log_id;

    fn write(state: &super::GroupState, index: u64) {
        let mut batch = Batch::default();
        batch.put(Space::Index, b"k".to_vec(), index.to_string().into_bytes());
        let applied = Applied {
            log_id: Some(log_id(1, 1, index)),
            ..Applied::default()
        };
        state.commit(batch, applied).unwrap();
    }

    fn seen(state: &super::GroupState, index: u64, patience: Duration) -> (u64, String) {
        let mut seen = None;
        state
            .visit_at(index, patience, &mut |read, at| {
                let value = read.get(Space::Index, b"k").unwrap().unwrap();
                seen = Some((at, String::from_utf8(value).unwrap()));
            })
            .unwrap();
        seen.unwrap()
    }

    #[test]
    fn a_reader_sees_the_entry_that_it_asked_for_while_others_follow() {
        let dir = tempfile::tempdir().unwrap();
        let state = fresh(dir.path());
        write(&state, 1);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut index = 1;
                while !done.load(Ordering::Relaxed) {
                    index += 1;
                    write(&state, index);
                }
            });
            for _ in 0..20 {
                let wanted = state.applied_index() + 500;
                let found = seen(&state, wanted, Duration::from_secs(60));
                assert_eq!(found, (wanted, wanted.to_string()));
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_reader_is_told_what_it_sees_instead() {
        let dir = tempfile::tempdir().unwrap();
        let state = fresh(dir.path());
        write(&state, 7);
        let short = Duration::from_millis(10);
        assert_eq!(seen(&state, 7, short), (7, "7".to_owned()));
        assert_eq!(seen(&state, 5, short), (7, "7".to_owned()));
        assert_eq!(seen(&state, 9, short), (7, "7".to_owned()));
        // Who gave up holds nobody up, and is forgotten.
        assert!(state.is_awaited(9));
        write(&state, 9);
        assert!(!state.is_awaited(9));
    }
}
