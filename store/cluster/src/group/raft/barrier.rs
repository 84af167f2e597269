//! Read barriers: callers that wait at the same time share one round of read index.

use std::{future::Future, sync::Arc, time::Duration};

use openraft::{
    ReadPolicy,
    error::{LinearizableReadError, RaftError},
};
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

use super::{standing::Standing, types::Raft};
use crate::{GroupError, Plant};

/// How long a caller waits. After that a front end says "try again later" sooner than its client gives up.
const DEADLINE: Duration = Duration::from_secs(5);

/// One round. An answer can be lost (openraft drops some), so that a round that takes longer is asked again.
const ROUND: Duration = Duration::from_millis(500);

/// Between two rounds without a leader or a quorum.
const PAUSE: Duration = Duration::from_millis(20);

type Told = oneshot::Sender<Result<(), GroupError>>;

#[derive(Default)]
struct Queue {
    /// For the next round: one under way may have begun before they came.
    waiting: Vec<Told>,
    running: bool,
}

/// Has callers that come while a round is under way share the next one.
#[derive(Default)]
struct Turns {
    queue: Mutex<Queue>,
}

/// Rounds are run. Should that end before its time, those who wait are told, and who comes next begins anew.
struct Running<'a> {
    turns: &'a Turns,
    ended: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // Whose sender is gone takes that for a timeout.
            *self.turns.queue.lock() = Queue::default();
        }
    }
}

impl Turns {
    /// Waits for the next round; true if the caller is to have the rounds [`run`](Turns::run).
    fn join(&self, told: Told) -> bool {
        let mut queue = self.queue.lock();
        queue.waiting.push(told);
        !std::mem::replace(&mut queue.running, true)
    }

    /// Runs one round after the other, until nobody waits.
    async fn run<F>(&self, round: impl Fn() -> F)
    where
        F: Future<Output = Result<(), GroupError>>,
    {
        let mut running = Running {
            turns: self,
            ended: false,
        };
        loop {
            let waiting = {
                let mut queue = self.queue.lock();
                queue.running = !queue.waiting.is_empty();
                running.ended = !queue.running;
                std::mem::take(&mut queue.waiting)
            };
            if waiting.is_empty() {
                return;
            }
            let result = round().await;
            for told in waiting {
                // Who gave up is not told.
                let _ = told.send(result.clone());
            }
        }
    }
}

/// The barriers of one group.
pub(super) struct Barrier {
    raft: Raft,
    standing: Arc<Standing>,
    turns: Turns,
    runtime: tokio::runtime::Handle,
    plant: Option<Plant>,
}

impl Barrier {
    pub(super) fn new(
        raft: Raft,
        standing: Arc<Standing>,
        runtime: tokio::runtime::Handle,
        plant: Option<Plant>,
    ) -> Barrier {
        Barrier {
            raft,
            standing,
            turns: Turns::default(),
            runtime,
            plant,
        }
    }

    /// See [`Group::read_barrier`](crate::Group::read_barrier).
    pub(super) async fn pass(self: &Arc<Self>) -> Result<(), GroupError> {
        if self.standing.reads_at_once() {
            return Ok(());
        }
        self.standing.check_running()?;
        if self.plant == Some(Plant::ReadWithoutBarrier) && self.standing.led_for_ms().is_some() {
            return Ok(());
        }
        let (told, passed) = oneshot::channel();
        if self.turns.join(told) {
            let barrier = Arc::clone(self);
            // A task of its own: the caller may give up, the others still wait.
            self.runtime
                .spawn(async move { barrier.turns.run(|| barrier.rounds()).await });
        }
        passed.await.unwrap_or(Err(GroupError::Timeout))
    }

    async fn rounds(&self) -> Result<(), GroupError> {
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            self.standing.check_running()?;
            self.standing.check_not_superseded()?;
            let round = self.raft.ensure_linearizable(ReadPolicy::ReadIndex);
            let ended = tokio::select! {
                biased;
                ended = tokio::time::timeout(ROUND, round) => ended,
                () = self.standing.superseded() => continue,
            };
            match ended {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to)))) => {
                    return Err(GroupError::NotLeader {
                        leader: to.leader_id,
                    });
                }
                Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) => {
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(Err(RaftError::Fatal(fatal))) => {
                    return Err(GroupError::Stopped {
                        cause: fatal.to_string(),
                    });
                }
                Err(_) => {}
            }
        }
        Err(GroupError::Timeout)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use tokio::sync::oneshot;

    use super::Turns;

    #[tokio::test]
    async fn a_round_that_panics_is_not_the_last_one() {
        let turns = Arc::new(Turns::default());
        let panics = Arc::new(AtomicBool::new(true));
        let pass = || {
            let (told, passed) = oneshot::channel();
            if turns.join(told) {
                let (turns, panics) = (Arc::clone(&turns), Arc::clone(&panics));
                let round = move || {
                    let panics = panics.swap(false, Ordering::Relaxed);
                    async move {
                        tokio::task::yield_now().await;
                        assert!(!panics, "on purpose");
                        Ok(())
                    }
                };
                tokio::spawn(async move { turns.run(round).await });
            }
            passed
        };
        let first = pass();
        tokio::task::yield_now().await;
        // Waits for the round after the one that panics.
        let second = pass();
        assert!(first.await.is_err() && second.await.is_err());
        assert_eq!(pass().await, Ok(Ok(())));
    }
}
