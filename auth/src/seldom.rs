//! What is told now and then: the first time at once, and the number of those that were not told with the next one.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// At most one line in so long: often enough for who watches, six lines a minute for who does not.
const PAUSE: Duration = Duration::from_secs(10);

/// Says whose turn it is to be told.
pub(crate) struct Seldom(Mutex<State>);

struct State {
    told_at: Option<Instant>,
    untold: u64,
}

impl Seldom {
    pub(crate) const fn new() -> Seldom {
        Seldom(Mutex::new(State {
            told_at: None,
            untold: 0,
        }))
    }

    /// How many went untold since the last one, if this one is to be told.
    pub(crate) fn turn(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        let told_at = state.told_at;
        if told_at.is_some_and(|told_at| now.saturating_duration_since(told_at) < PAUSE) {
            state.untold += 1;
            return None;
        }
        state.told_at = Some(now);
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_one_is_told_now_and_then() {
        let (seldom, begin) = (Seldom::new(), Instant::now());
        assert_eq!(seldom.turn(begin), Some(0));
        for _ in 0..1_000 {
            assert_eq!(seldom.turn(begin + PAUSE / 2), None);
        }
        assert_eq!(seldom.turn(begin + PAUSE), Some(1_000));
        assert_eq!(seldom.turn(begin + PAUSE), None);
        assert_eq!(seldom.turn(begin + 3 * PAUSE), Some(1));
    }
}
