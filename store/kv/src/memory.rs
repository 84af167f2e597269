//! The in-memory twin of the real store.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{Batch, Direction, KvError, Read, Space, Store, Write};

type Pairs = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

/// A store that forgets everything with its process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    pairs: Mutex<Arc<Pairs>>,
}

/// The pairs of a [`MemoryStore`] at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemorySnapshot(Arc<Pairs>);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }
}

impl MemorySnapshot {
    /// All pairs, for comparing two stores.
    pub fn pairs(&self) -> impl Iterator<Item = (Space, &[u8], &[u8])> {
        self.0
            .iter()
            .map(|((space, key), value)| (*space, key.as_slice(), value.as_slice()))
    }
}

impl Store for MemoryStore {
    type Snapshot<'a> = MemorySnapshot;

    fn snapshot(&self) -> MemorySnapshot {
        // A panic while the lock is held leaves the map whole: each write is one insert or remove.
        MemorySnapshot(Arc::clone(
            &self.pairs.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        // Copies the map only while a snapshot is still held.
        let pairs = Arc::make_mut(&mut pairs);
        for (space, key, write) in batch.into_writes() {
            match write {
                Write::Put(value) => pairs.insert((space, key), value),
                Write::Delete => pairs.remove(&(space, key)),
            };
        }
        Ok(())
    }
}

impl Read for MemorySnapshot {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.0.get(&(space, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        space: Space,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        if start >= end {
            return Ok(());
        }
        let mut range = self.0.range((space, start.to_vec())..(space, end.to_vec()));
        let mut next = || {
            if direction == Direction::Forward {
                range.next()
            } else {
                range.next_back()
            }
        };
        while let Some(((_, key), value)) = next() {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use proptest::prelude::*;

    use crate::{Direction, MemoryStore, Overlay, Read, Space, Store, prefix_end};

    fn pairs(
        view: &impl Read,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        view.scan(Space::Index, start, end, direction, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            if found.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
        .unwrap();
        found
    }

    #[test]
    fn a_prefix_ends_where_the_next_begins() {
        assert_eq!(prefix_end(b"ab"), b"ac");
        assert_eq!(prefix_end(&[1, 0xff]), [2]);
    }

    proptest! {
        /// An overlay shows exactly what the store shows after its batch was written.
        #[test]
        fn an_overlay_is_the_store_to_be(
            base in prop::collection::vec((0u8..20, any::<u8>()), 0..20),
            changes in prop::collection::vec((0u8..20, prop::option::of(any::<u8>())), 0..20),
            start in 0u8..20, end in 0u8..20, limit in 1usize..8,
        ) {
            let store = MemoryStore::new();
            let mut batch = crate::Batch::default();
            for (key, value) in base {
                batch.put(Space::Index, vec![key], vec![value]);
            }
            store.write(batch).unwrap();
            let before = store.snapshot();
            let mut overlay = Overlay::new(&before);
            for (key, value) in changes {
                match value {
                    Some(value) => overlay.put(Space::Index, vec![key], vec![value]),
                    None => overlay.delete(Space::Index, vec![key]),
                }
            }
            let seen = [Direction::Forward, Direction::Backward].map(|d| pairs(&overlay, &[start], &[end], d, limit));
            let gets: Vec<_> = (0..20).map(|key| overlay.get(Space::Index, &[key]).unwrap()).collect();
            store.write(overlay.into_batch()).unwrap();
            let after = store.snapshot();
            let expected = [Direction::Forward, Direction::Backward].map(|d| pairs(&after, &[start], &[end], d, limit));
            prop_assert_eq!(seen, expected);
            let expected: Vec<_> = (0..20).map(|key| after.get(Space::Index, &[key]).unwrap()).collect();
            prop_assert_eq!(gets, expected);
        }
    }
}
