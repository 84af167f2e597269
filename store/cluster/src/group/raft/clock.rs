//! The log's time, as a leader stamps it.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Tells what the machine takes for the time, in milliseconds since 1970.
pub(crate) type WallClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Stamps that never go back, and from the first one on advance at most as fast as the monotonic clock: setting the
/// machine's clock forward expires nothing early.
pub(super) struct LogClock {
    wall: WallClock,
    started: Instant,
    first_ms: i64,
    last_ms: Mutex<i64>,
}

impl LogClock {
    /// Starts at the machine's clock, or at `reached_ms`, what the log had reached.
    pub(super) fn new(wall: WallClock, reached_ms: i64) -> LogClock {
        let first_ms = wall().max(reached_ms);
        LogClock::starting_at(wall, first_ms)
    }

    fn starting_at(wall: WallClock, first_ms: i64) -> LogClock {
        LogClock {
            wall,
            started: Instant::now(),
            first_ms,
            last_ms: Mutex::new(first_ms),
        }
    }

    /// The time to stamp a proposal with, in milliseconds since 1970.
    pub(super) fn stamp(&self) -> i64 {
        self.stamp_at((self.wall)())
    }

    fn stamp_at(&self, wall_ms: i64) -> i64 {
        let elapsed_ms = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        let mut last_ms = self.last_ms.lock();
        *last_ms = wall_ms
            .min(self.first_ms.saturating_add(elapsed_ms))
            .max(*last_ms);
        *last_ms
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

    use super::{LogClock, wall_ms};

    #[test]
    fn a_clock_that_jumps_moves_no_stamp() {
        let clock = LogClock::starting_at(Arc::new(wall_ms), 1_000_000);
        assert_eq!(clock.stamp_at(900_000), 1_000_000, "not back");
        let forward = clock.stamp_at(9_000_000);
        assert!(
            (1_000_000..1_010_000).contains(&forward),
            "not ahead of the monotonic clock"
        );
        assert!(clock.stamp_at(0) >= forward);
    }
}
