//! When what was deferred is tried again.

use std::time::Duration;

use mailrook_store_api::shard::JobId;

/// The waits between tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// After the first try, the second and so on; the last is repeated.
    waits: Vec<Duration>,
}

impl Schedule {
    /// 100 waits: more than any configuration needs before the last one repeats.
    pub const WAITS_MAX: usize = 100;

    /// After each try one of these, the last again and again. `None` if there are none, too many, or one of nothing.
    pub fn new(waits: Vec<Duration>) -> Option<Schedule> {
        let well = (1..=Schedule::WAITS_MAX).contains(&waits.len())
            && waits.iter().all(|wait| *wait >= Duration::from_secs(1));
        well.then_some(Schedule { waits })
    }

    /// How long to wait after a job's `tries`-th try (from one). Jobs that failed together do not come again together: up to a tenth
    /// is taken off, by the job's number.
    pub fn wait(&self, job: JobId, tries: u32) -> Duration {
        let at = (tries.max(1) - 1) as usize;
        let last = self
            .waits
            .last()
            .copied()
            .unwrap_or(Duration::from_secs(1800));
        let wait = self.waits.get(at).copied().unwrap_or(last);
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&job.message.0.to_le_bytes());
        seed[8..12].copy_from_slice(&job.number.to_le_bytes());
        seed[12..].copy_from_slice(&tries.to_le_bytes());
        let part = u32::from(blake3::hash(&seed).as_bytes()[0]);
        wait - wait * part / (10 * 256)
    }
}

impl Default for Schedule {
    /// Soon at first, as most failures are greylisting or a restart; then the half hour of RFC 5321 §4.5.4.1 and
    /// more.
    fn default() -> Schedule {
        const MINUTES: [u64; 8] = [1, 5, 10, 15, 30, 60, 120, 180];
        Schedule {
            waits: MINUTES
                .map(|minutes| Duration::from_secs(60 * minutes))
                .into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use mailrook_store_api::shard::QueuedId;

    use super::*;

    fn job(number: u64) -> JobId {
        JobId {
            message: QueuedId(number),
            number: 0,
        }
    }

    #[test]
    fn waits_grow_and_the_last_repeats() {
        let schedule = Schedule::default();
        let minutes = |tries| schedule.wait(job(1), tries).as_secs_f64() / 60.0;
        for (tries, wait) in [
            (0, 1.0),
            (1, 1.0),
            (2, 5.0),
            (8, 180.0),
            (9, 180.0),
            (u32::MAX, 180.0),
        ] {
            let minutes = minutes(tries);
            assert!(
                minutes <= wait && minutes >= 0.9 * wait,
                "{tries}: {minutes}"
            );
        }
    }

    #[test]
    fn jobs_that_failed_together_are_spread() {
        let schedule = Schedule::default();
        let mut waits: Vec<_> = (0..100).map(|n| schedule.wait(job(n), 5)).collect();
        waits.sort();
        waits.dedup();
        assert!(waits.len() > 50, "{}", waits.len());
    }

    #[test]
    fn a_schedule_has_waits() {
        let second = Duration::from_secs(1);
        assert!(Schedule::new(vec![]).is_none());
        assert!(Schedule::new(vec![Duration::ZERO]).is_none());
        assert!(Schedule::new(vec![second; Schedule::WAITS_MAX + 1]).is_none());
        assert_eq!(
            Schedule::new(vec![second])
                .unwrap()
                .wait(job(0), 7)
                .as_secs_f32()
                .ceil(),
            1.0
        );
    }
}
