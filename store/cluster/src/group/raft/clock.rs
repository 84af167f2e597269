//! The log's time, as a leader stamps it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// Stamps that never go back, and from the first one on advance at most as fast as the monotonic clock: setting the
/// machine's clock forward expires nothing early.
pub(super) struct LogClock {
    started: Instant,
    first_ms: i64,
    last_ms: Mutex<i64>,
}

impl LogClock {
    /// Starts at the machine's clock, or at `reached_ms`, what the log had reached.
    pub(super) fn new(reached_ms: i64) -> LogClock {
        LogClock::starting_at(wall_ms().max(reached_ms))
    }

    fn starting_at(first_ms: i64) -> LogClock {
        LogClock {
            started: Instant::now(),
            first_ms,
            last_ms: Mutex::new(first_ms),
        }
    }

    /// The time to stamp a proposal with, in milliseconds since 1970.
    pub(super) fn stamp(&self) -> i64 {
        self.stamp_at(wall_ms())
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

fn wall_ms() -> i64 {
    // A clock before 1970 is as wrong as can be; the log's own time then holds the stamps.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::LogClock;

    #[test]
    fn a_clock_that_jumps_moves_no_stamp() {
        let clock = LogClock::starting_at(1_000_000);
        assert_eq!(clock.stamp_at(900_000), 1_000_000, "not back");
        let forward = clock.stamp_at(9_000_000);
        assert!(
            (1_000_000..1_010_000).contains(&forward),
            "not ahead of the monotonic clock"
        );
        assert!(clock.stamp_at(0) >= forward);
    }
}
