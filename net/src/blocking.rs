//! Costly computations beside the async threads: few at once, few waiting.
//!
//! An argon2 hash takes 19 MiB and tens of milliseconds. Tokio's own pool would run 512 of them at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use thiserror::Error;
use tokio::{sync::Semaphore, task};

/// Runs a bounded number of computations, with a bounded number waiting.
#[derive(Clone, Debug)]
pub struct BlockingPool {
    running: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
}

/// Too many wait already, or the process stops. The client may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too many computations are waiting")]
pub struct Overloaded;

/// One that waits, while it does.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl BlockingPool {
    /// `running_max` at once (the number of cores, as a rule) and `waiting_max` behind them.
    pub fn new(running_max: usize, waiting_max: usize) -> BlockingPool {
        let running = Arc::new(Semaphore::new(running_max.max(1)));
        BlockingPool {
            running,
            waiting: Arc::default(),
            waiting_max,
        }
    }

    /// Runs `work` when its turn comes. Once begun it runs to its end, even if the caller goes away, and keeps its
    /// place meanwhile.
    pub async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Overloaded> {
        let permit = {
            let before = self.waiting.fetch_add(1, Ordering::Relaxed);
            let _waiting = Waiting(&self.waiting);
            if before >= self.waiting_max && self.running.available_permits() == 0 {
                return Err(Overloaded);
            }
            Arc::clone(&self.running)
                .acquire_owned()
                .await
                .map_err(|_| Overloaded)?
        };
        let job = task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        job.await.map_err(|_| Overloaded)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test]
    async fn refuses_when_too_many_wait() {
        let pool = BlockingPool::new(1, 1);
        let (release, blocked) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(move || blocked.recv()).await }
        });
        while pool.running.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let second = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(|| 2).await }
        });
        while pool.waiting.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(pool.run(|| 3).await, Err(Overloaded));
        release.send(()).unwrap();
        assert!(first.await.unwrap().is_ok());
        assert_eq!(second.await.unwrap(), Ok(2));
        assert_eq!(pool.run(|| 4).await, Ok(4));
    }
}
