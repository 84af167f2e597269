//! How fast accounts are copied.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How fast all moves together copy. What is copied while an account is fenced waits for nothing.
#[derive(Debug)]
pub struct Pace {
    paused: AtomicBool,
    /// 0: as fast as it goes.
    bytes_per_second: AtomicU64,
    /// Until when what was copied takes at that rate.
    taken_until: Mutex<Instant>,
    /// Whether movers are to stop for good.
    stopped: watch::Sender<bool>,
}

/// How often who waits looks whether the rate is another by now.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is copied in one go, some hundred messages, waits no longer than this, however low the rate is.
const TAKES_MAX: Duration = Duration::from_secs(3600);

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            paused: AtomicBool::new(false),
            bytes_per_second: AtomicU64::new(0),
            taken_until: Mutex::new(Instant::now()),
            stopped: watch::Sender::new(false),
        }
    }
}

impl Pace {
    /// Copies at most so many bytes a second from now on; none says as many as it can.
    pub fn set_rate(&self, bytes_per_second: Option<u64>) {
        let rate = bytes_per_second.map_or(0, |rate| rate.max(1));
        if self.bytes_per_second.swap(rate, Ordering::Relaxed) != rate {
            *self.taken_until.lock() = Instant::now();
        }
    }

    /// Has moves rest, or go on.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Whether moves rest.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Has movers stop for good: another controller goes on. One that has an account fenced brings that to its end, which is the
    /// shortest way for whoever waits; should the other one have taken it over, that comes to nothing.
    pub fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Whether movers are to stop for good.
    pub fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Waits until they are.
    pub(super) async fn stopped(&self) {
        // An error: the sender has gone, which `self` holds.
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// So many bytes were copied: waits until as many may be again.
    pub(super) async fn take(&self, bytes: u64) {
        let rate = self.bytes_per_second.load(Ordering::Relaxed);
        if rate == 0 {
            return;
        }
        let until = {
            let mut taken = self.taken_until.lock();
            let takes = Duration::from_millis(bytes.saturating_mul(1_000) / rate);
            *taken = (*taken).max(Instant::now()) + takes.min(TAKES_MAX);
            *taken
        };
        // Another rate is for what was copied already, too.
        while Instant::now() < until && self.bytes_per_second.load(Ordering::Relaxed) == rate {
            sleep_until(until.min(Instant::now() + LOOK_EVERY)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn copies_no_faster_than_it_may() {
        let pace = Pace::default();
        let begun = Instant::now();
        pace.take(1 << 30).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        pace.set_rate(Some(1_000_000));
        let both = async || {
            for _ in 0..10 {
                pace.take(100_000).await;
            }
        };
        tokio::join!(both(), both());
        let seconds = begun.elapsed().as_secs_f64();
        assert!((1.9..2.1).contains(&seconds), "{seconds} s");
        // Who waits for what was copied at the old rate goes on when there is none any more.
        let faster = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            pace.set_rate(None);
        };
        tokio::join!(pace.take(1 << 40), faster);
        pace.take(1 << 40).await;
        assert!(begun.elapsed() < Duration::from_secs(8));
    }
}
