//! The log's time, as a leader stamps it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
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

/// How much faster than time passes stamps catch up with a clock that is ahead of them: by one part in so many. An hour is
/// made up for within eight. Should the clock be wrong nevertheless, what lasts a week expires less than a day early.
const CATCH_UP: u32 = 8;

/// Stamps that never go back, and advance at most a little faster than the monotonic clock: setting the machine's clock
/// forward expires nothing at once. They begin when there is something to stamp, with the majority's clock: a leader has
/// heard of a majority by then. What they begin with need not stay wrong for that: behind a clock that was set right since, or a
/// machine that stood still, they catch up.
pub(super) struct LogClock {
    wall: WallClock,
    correction: Correction,
    stamps: Mutex<Stamps>,
}

struct Stamps {
    /// The latest that may be stamped, since 1970, as of this moment; none before the first stamp.
    bound: Option<(Instant, Duration)>,
    last_ms: i64,
}

impl LogClock {
    /// Stamps from `reached_ms` on, what the log had reached.
    pub(super) fn new(wall: WallClock, reached_ms: i64, correction: Correction) -> LogClock {
        let stamps = Stamps {
            bound: None,
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
        let wall_ms = (self.wall)().saturating_add(correction_ms);
        let mut stamps = self.stamps.lock();
        stamps.next(Instant::now(), wall_ms)
    }
}

impl Stamps {
    fn next(&mut self, now: Instant, wall_ms: i64) -> i64 {
        let wall = Duration::from_millis(u64::try_from(wall_ms).unwrap_or(0));
        let bound = match self.bound {
            None => wall,
            Some((at, bound)) => {
                let elapsed = now.saturating_duration_since(at);
                let bound = bound.saturating_add(elapsed);
                bound.saturating_add(wall.saturating_sub(bound).min(elapsed / CATCH_UP))
            }
        };
        self.bound = Some((now, bound));
        let bound_ms = i64::try_from(bound.as_millis()).unwrap_or(i64::MAX);
        self.last_ms = wall_ms.min(bound_ms).max(self.last_ms);
        self.last_ms
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
    use std::{sync::Arc, time::Duration};

    use tokio::time::Instant;

    use super::{Correction, LogClock, Stamps, wall_ms};

    fn stamps(reached_ms: i64) -> Stamps {
        Stamps {
            bound: None,
            last_ms: reached_ms,
        }
    }

    #[test]
    fn a_clock_that_jumps_moves_no_stamp() {
        let (mut stamps, begun) = (stamps(0), Instant::now());
        assert_eq!(stamps.next(begun, 1_000_000), 1_000_000);
        assert_eq!(stamps.next(begun, 900_000), 1_000_000, "not back");
        let later = begun + Duration::from_secs(8);
        let forward = stamps.next(later, 9_000_000);
        assert_eq!(forward, 1_009_000, "hardly ahead of the monotonic clock");
        assert_eq!(stamps.next(later, 0), forward);
    }

    #[test]
    fn a_first_stamp_that_is_wrong_does_not_stay_so() {
        let (mut stamps, begun) = (stamps(0), Instant::now());
        let hour_ms = 3_600_000;
        // The clock was an hour behind, and is set right.
        let first = stamps.next(begun, hour_ms);
        let wall_ms = |passed: Duration| first + hour_ms + passed.as_millis() as i64;
        // However often it is looked at.
        let mut last = first;
        for micros in 0..=2_000_000 {
            let passed = Duration::from_micros(micros);
            last = stamps.next(begun + passed, wall_ms(passed));
        }
        // Two milliseconds less for what is lost in rounding.
        assert!((first + 2_248..=first + 2_250).contains(&last), "{last}");
        let passed = Duration::from_secs(9 * 3600);
        assert_eq!(
            stamps.next(begun + passed, wall_ms(passed)),
            wall_ms(passed)
        );
    }

    #[test]
    fn the_log_does_not_go_back_behind_what_it_reached() {
        let mut stamps = stamps(5_000_000);
        assert_eq!(stamps.next(Instant::now(), 1_000_000), 5_000_000);
    }

    #[test]
    fn the_majority_s_clock_counts() {
        let correction = Correction::default();
        let clock = LogClock::new(Arc::new(wall_ms), 0, correction.clone());
        let day_ms = 86_400_000;
        correction.set(-day_ms);
        let stamp = clock.stamp();
        let wall = wall_ms();
        assert!((wall - day_ms - 10_000..=wall - day_ms).contains(&stamp));
    }
}
