//! What became of the accounts that this node has moved, in figures.

use std::sync::atomic::{AtomicU64, Ordering};

use mailrook_meta::{AccountMove, MoveState};

/// Bounds of the pauses, in milliseconds. An account is fenced for five seconds at the most.
pub const PAUSE_BOUNDS_MS: [u32; 9] = [5, 10, 25, 50, 100, 250, 500, 1_000, 5_000];

/// Moves since the start of the process, of those that this node carried out.
#[derive(Debug, Default)]
pub struct MoveFigures {
    under_way: AtomicU64,
    moved: AtomicU64,
    abandoned: AtomicU64,
    pause_sum_ms: AtomicU64,
    /// How many pauses were as long as each bound or shorter, and longer than the one before.
    pauses: [AtomicU64; PAUSE_BOUNDS_MS.len() + 1],
}

/// A move that is carried on, until this is dropped.
pub(crate) struct UnderWay<'f>(&'f MoveFigures);

impl MoveFigures {
    /// Moves that are being carried on.
    pub fn under_way(&self) -> u64 {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Accounts that have moved.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Accounts that stayed where they were.
    pub fn abandoned(&self) -> u64 {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// For how long accounts were not served, all moves together.
    pub fn pause_sum_ms(&self) -> u64 {
        self.pause_sum_ms.load(Ordering::Relaxed)
    }

    /// How many pauses were within each of [`PAUSE_BOUNDS_MS`] and above the one before; the last number is of those that were
    /// longer than all.
    pub fn pauses(&self) -> Vec<u64> {
        let counts = self.pauses.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// A move is carried on.
    pub(crate) fn carry_on(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    /// How a move stood before it was carried on, and how it stands now.
    pub(crate) fn note(&self, before: &AccountMove, now: &AccountMove) {
        if now.note.opened && !before.note.opened {
            self.moved.fetch_add(1, Ordering::Relaxed);
            let pause_ms = now.note.pause_ms;
            // Not known of one whose mover was lost in between.
            if pause_ms > 0 {
                let at = PAUSE_BOUNDS_MS.partition_point(|bound| *bound < pause_ms);
                self.pauses[at].fetch_add(1, Ordering::Relaxed);
                let pause_ms = u64::from(pause_ms);
                self.pause_sum_ms.fetch_add(pause_ms, Ordering::Relaxed);
            }
        }
        let failed = |of: &AccountMove| matches!(of.state, MoveState::Failed(_));
        if failed(now) && !failed(before) {
            self.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use mailrook_meta::MoveNote;
    use mailrook_types::{AccountId, ShardId, Timestamp};

    use super::*;

    fn at(state: MoveState, opened: bool, pause_ms: u32) -> AccountMove {
        AccountMove {
            id: 1,
            account: AccountId(1),
            from: ShardId(1),
            to: ShardId(2),
            turn: 1,
            state,
            asked: Timestamp::default(),
            changed: Timestamp::default(),
            note: MoveNote {
                opened,
                pause_ms,
                ..MoveNote::default()
            },
            follows: None,
            hurried: false,
            paused: false,
            doubtful: false,
        }
    }

    #[test]
    fn each_move_counts_once() {
        let figures = MoveFigures::default();
        let waiting = at(MoveState::Waiting, false, 0);
        let moved = at(MoveState::Moved, true, 25);
        figures.note(&waiting, &moved);
        // An hour later what is left is dropped.
        figures.note(&moved, &at(MoveState::Done, true, 25));
        let abandoned = at(MoveState::Abandoned("full".to_owned()), false, 0);
        let failed = at(MoveState::Failed("full".to_owned()), false, 0);
        figures.note(&waiting, &abandoned);
        figures.note(&abandoned, &failed);
        figures.note(&waiting, &at(MoveState::Moved, true, 9_000));
        assert_eq!((figures.moved(), figures.abandoned()), (2, 1));
        assert_eq!(figures.pauses(), [0, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(figures.pause_sum_ms(), 9_025);
        let under_way = figures.carry_on();
        assert_eq!(figures.under_way(), 1);
        drop(under_way);
        assert_eq!(figures.under_way(), 0);
    }
}
