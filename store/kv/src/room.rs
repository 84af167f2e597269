//! How much one answer of a state machine may hold.
//!
//! An answer goes to other nodes as one piece, which has a bound. What lists records counts their bytes, too, and ends its
//! page early: who asked goes on after the last, until nothing comes.

/// 4 MiB: half of what goes between nodes at once (`mailrook_transport::ITEM_BYTES_MAX`), which leaves a record as much
/// again for what it takes beside the bytes that are counted.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Numbers, lengths and the like of one record, at most.
const RECORD_OVERHEAD_BYTES: usize = 128;

/// What is left of [`ANSWER_BYTES_MAX`] while an answer is made.
#[derive(Debug)]
pub struct Room {
    left: usize,
    is_untouched: bool,
}

impl Default for Room {
    fn default() -> Room {
        Room {
            left: ANSWER_BYTES_MAX,
            is_untouched: true,
        }
    }
}

impl Room {
    /// For what cannot be told in pieces.
    pub fn unbounded() -> Room {
        Room {
            left: usize::MAX,
            ..Room::default()
        }
    }

    /// Takes room for a record with `bytes` of variable length; no when the answer ends before it. The first one always
    /// has room: whoever asks on comes to the end.
    pub fn take(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes + RECORD_OVERHEAD_BYTES);
        let fits = left.is_some() || self.is_untouched;
        // What does not fit ends the answer, whatever would come after it.
        self.left = left.unwrap_or(0);
        self.is_untouched = false;
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_always_fits_and_nothing_beyond_the_bound() {
        let mut room = Room::default();
        assert!(room.take(2 * ANSWER_BYTES_MAX));
        assert!(!room.take(0));

        let mut room = Room::default();
        let half = ANSWER_BYTES_MAX / 2 - RECORD_OVERHEAD_BYTES;
        assert!(room.take(half) && room.take(half));
        assert!(!room.take(0));

        let mut room = Room::default();
        assert!(room.take(half) && !room.take(half + 1));
        assert!(!room.take(0), "nothing after what was left out");
    }
}
