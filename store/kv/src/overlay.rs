//! Writes under way: readable at once by who makes them, visible to others only as a whole.

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
};

use crate::{Direction, KvError, Read, Space};

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The key has this value from now on.
    Put(Vec<u8>),
    /// The key is gone.
    Delete,
}

/// Changes that become visible together. Of several to one key the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    writes: BTreeMap<(Space, Vec<u8>), Write>,
    value_bytes: usize,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, space: Space, key: Vec<u8>, value: Vec<u8>) {
        self.value_bytes += value.len();
        self.writes.insert((space, key), Write::Put(value));
    }

    /// Removes a key; it need not exist.
    pub fn delete(&mut self, space: Space, key: Vec<u8>) {
        self.writes.insert((space, key), Write::Delete);
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// About how large the batch is, for deciding when to write it.
    pub fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    /// The changes in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (Space, &[u8], &Write)> {
        self.writes
            .iter()
            .map(|((space, key), write)| (*space, key.as_slice(), write))
    }

    /// The changes, given away.
    pub fn into_writes(self) -> impl Iterator<Item = (Space, Vec<u8>, Write)> {
        self.writes
            .into_iter()
            .map(|((space, key), write)| (space, key, write))
    }
}

/// A view with changes on top of it.
pub struct Overlay<'a, R: Read + ?Sized> {
    base: &'a R,
    batch: Batch,
}

impl<'a, R: Read + ?Sized> Overlay<'a, R> {
    /// Starts with no change.
    pub fn new(base: &'a R) -> Overlay<'a, R> {
        Overlay {
            base,
            batch: Batch::default(),
        }
    }

    /// Sets a key.
    pub fn put(&mut self, space: Space, key: Vec<u8>, value: Vec<u8>) {
        self.batch.put(space, key, value);
    }

    /// Removes a key; it need not exist.
    pub fn delete(&mut self, space: Space, key: Vec<u8>) {
        self.batch.delete(space, key);
    }

    /// About how large the changes are.
    pub fn value_bytes(&self) -> usize {
        self.batch.value_bytes()
    }

    /// The changes so far, and no longer the view.
    pub fn into_batch(self) -> Batch {
        self.batch
    }

    /// The changes to keys of `start..end`.
    fn pending(
        &self,
        space: Space,
        start: &[u8],
        end: &[u8],
    ) -> impl DoubleEndedIterator<Item = (&[u8], &Write)> {
        let range = (
            Bound::Included((space, start.to_vec())),
            Bound::Excluded((space, end.to_vec())),
        );
        self.batch
            .writes
            .range(range)
            .map(|((_, key), write)| (key.as_slice(), write))
    }
}

impl<R: Read + ?Sized> Read for Overlay<'_, R> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        if !self.batch.writes.is_empty()
            && let Some(write) = self.batch.writes.get(&(space, key.to_vec()))
        {
            return Ok(match write {
                Write::Put(value) => Some(value.clone()),
                Write::Delete => None,
            });
        }
        self.base.get(space, key)
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
        let forward = direction == Direction::Forward;
        let mut pending = self.pending(space, start, end);
        let mut next_pending = move || {
            if forward {
                pending.next()
            } else {
                pending.next_back()
            }
        };
        let mut waiting = next_pending();
        let mut stopped = false;
        self.base
            .scan(space, start, end, direction, &mut |key, value| {
                // Everything pending that comes before the base's key goes first; the same key replaces it.
                while let Some((pending_key, write)) = waiting {
                    let before = if forward {
                        pending_key < key
                    } else {
                        pending_key > key
                    };
                    if !before && pending_key != key {
                        break;
                    }
                    waiting = next_pending();
                    if let Write::Put(pending_value) = write
                        && visit(pending_key, pending_value).is_break()
                    {
                        stopped = true;
                        return ControlFlow::Break(());
                    }
                    if pending_key == key {
                        return ControlFlow::Continue(());
                    }
                }
                let flow = visit(key, value);
                stopped = flow.is_break();
                flow
            })?;
        while let (false, Some((key, write))) = (stopped, waiting) {
            if let Write::Put(value) = write {
                stopped = visit(key, value).is_break();
            }
            waiting = next_pending();
        }
        Ok(())
    }
}
