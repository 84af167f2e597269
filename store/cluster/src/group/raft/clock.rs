//! The log's time, as a leader stamps it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Tells what the machine takes for the time, in milliseconds since 1970.
pub(crate) type WallClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What is to be added to this machine's clock to have that of the majority, in milliseconds: 0 where they agree.
#[derive(Clone, Debug, Default)]
pub(crate) struct Correction(Arc<AtomicI64>);

impl Correction {
    /// Sets it; from the next stamp on.
    pub(crate) fn set(&self, ms: i64) {
        if self.0.swap(ms, Ordering::Relaxed) != ms {
            tracing::warn!(
                ms,
                "this machine's clock is not that of the other nodes: theirs is taken"
            );
        }
    }
}

/// Stamps that never go back, and from the first one on advance at most as fast as the monotonic clock: setting the
/// machine's clock forward expires nothing early. The first is made when there is something to stamp, by the majority's
/// clock: a leader has heard of a majority by then.
pub(super) struct LogClock {
    wall: WallClock,
    correction: Correction,
    stamps: Mutex<Stamps>,
}

struct Stamps {
    /// When the first one was made, and what it was.
    first: Option<(Instant, i64)>,
    last_ms: i64,
}

impl LogClock {
    /// Stamps from `reached_ms` on, what the log had reached.
    pub(super) fn new(wall: WallClock, reached_ms: i64, correction: Correction) -> LogClock {
        let stamps = Stamps {
            first: None,
            last_ms: reached_ms,
        };
        LogClock {
            wall,
            correction,
            stamps: Mutex::new(stamps),
        }
    }

    /// The time to stamp a proposal with, in milliseconds since 1970.
    pub(super) fn stamp(&self) -> i64 {
        let correction_ms = self.correction.0.load(Ordering::Relaxed);
        self.stamp_at((self.wall)().saturating_add(correction_ms))
    }

    fn stamp_at(&self, wall_ms: i64) -> i64 {
        let mut stamps = self.stamps.lock();
        let (begun, first_ms) = *stamps.first.get_or_insert((Instant::now(), wall_ms));
        let elapsed_ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        stamps.last_ms = wall_ms
            .min(first_ms.saturating_add(elapsed_ms))
            .max(stamps.last_ms);
        stamps.last_ms
    }
}

/// The machine's clock.
pub(crate) fn wall_ms() -> i64 {
    // A clock before 1970 is as wrong as can be; the log's own time then holds the stamps.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Correction, LogClock, wall_ms};

    fn clock(reached_ms: i64, correction: Correction) -> LogClock {
        LogClock::new(Arc::new(wall_ms), reached_ms, correction)
    }

    #[test]
    fn a_clock_that_jumps_moves_no_stamp() {
        let clock = clock(0, Correction::default());
        assert_eq!(clock.stamp_at(1_000_000), 1_000_000);
        assert_eq!(clock.stamp_at(900_000), 1_000_000, "not back");
        let forward = clock.stamp_at(9_000_000);
        assert!(
            (1_000_000..1_010_000).contains(&forward),
            "not ahead of the monotonic clock"
        );
        assert!(clock.stamp_at(0) >= forward);
    }

    #[test]
    fn the_log_does_not_go_back_behind_what_it_reached() {
        let clock = clock(5_000_000, Correction::default());
        assert_eq!(clock.stamp_at(1_000_000), 5_000_000);
    }

    #[test]
    fn the_majority_s_clock_counts() {
        let correction = Correction::default();
        let clock = clock(0, correction.clone());
        let day_ms = 86_400_000;
        correction.set(-day_ms);
        let stamp = clock.stamp();
        let wall = wall_ms();
        assert!((wall - day_ms - 10_000..=wall - day_ms).contains(&stamp));
    }
}
