//! The octets of the message under way, within the memory that all sessions share.

use std::time::Duration;

use crate::memory::{Room, Share};

/// Memory is counted in 4 KiB: the size of a page, and of most messages.
pub(crate) const UNIT: u64 = 4096;

/// A buffer grows by doubling up to this, then by this, so that at most so much of it is unused.
pub(crate) const GROWTH_MAX: usize = 1 << 20;

/// A message's octets.
pub(crate) struct Body {
    memory: Share,
    patience: Duration,
    octets: Vec<u8>,
    room: Option<Room>,
    /// There was no room: the message is put off, and what comes of it dropped.
    overflowed: bool,
}

impl Body {
    /// An empty one.
    pub(crate) fn new(memory: Share, patience: Duration) -> Body {
        Body {
            memory,
            patience,
            octets: Vec::new(),
            room: None,
            overflowed: false,
        }
    }

    /// Appends; waits for memory if there is none.
    pub(crate) async fn push(&mut self, text: &[u8]) {
        if self.overflowed {
            return;
        }
        let needed = self.octets.len() + text.len();
        if needed > self.octets.capacity() {
            let doubled =
                self.octets.capacity() + self.octets.capacity().clamp(UNIT as usize, GROWTH_MAX);
            self.grow(needed.max(doubled)).await;
        }
        if !self.overflowed {
            self.octets.extend_from_slice(text);
        }
    }

    async fn grow(&mut self, capacity: usize) {
        let units =
            |octets: usize| u32::try_from((octets as u64).div_ceil(UNIT)).unwrap_or(u32::MAX);
        let have = self.room.as_ref().map_or(0, Room::units);
        let more = units(capacity).saturating_sub(have);
        match self.memory.room(more, self.patience).await {
            Some(room) => {
                match &mut self.room {
                    Some(held) => held.merge(room),
                    None => self.room = Some(room),
                }
                self.octets.reserve_exact(capacity - self.octets.len());
            }
            None => {
                self.overflowed = true;
                self.octets = Vec::new();
                self.room = None;
            }
        }
    }

    /// Whether there was no room.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// What came.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Hands the octets over, with the memory that they hold.
    pub(crate) fn into_parts(self) -> (Vec<u8>, Option<Room>) {
        (self.octets, self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    #[tokio::test]
    async fn waits_for_memory_and_gives_up() {
        let memory = Memory::new(4 * UNIT);
        let mut first = Body::new(memory.share(None, 4 * UNIT), Duration::from_millis(50));
        first.push(&[b'x'; 12_000]).await;
        assert_eq!(memory.available_units(), 1);
        let mut second = Body::new(memory.share(None, 4 * UNIT), Duration::from_millis(50));
        second.push(&[b'y'; 5_000]).await;
        assert!(second.overflowed() && !first.overflowed());
        drop(first);
        assert_eq!(memory.available_units(), 4);
        let mut third = Body::new(memory.share(None, 4 * UNIT), Duration::from_millis(50));
        for _ in 0..16 {
            third.push(&[b'z'; 1024]).await;
        }
        assert_eq!((third.octets().len(), third.overflowed()), (16_384, false));
    }
}
