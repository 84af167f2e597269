//! Read barriers: callers that wait at the same time share one round of read index.

use std::{sync::Arc, time::Duration};

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

type Waiting = Vec<oneshot::Sender<Result<(), GroupError>>>;

#[derive(Default)]
struct Queue {
    /// For the next round: one under way may have begun before they came.
    waiting: Waiting,
    running: bool,
}

/// The barriers of one group.
pub(super) struct Barrier {
    raft: Raft,
    standing: Arc<Standing>,
    queue: Mutex<Queue>,
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
            queue: Mutex::default(),
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
        let start = {
            let mut queue = self.queue.lock();
            queue.waiting.push(told);
            !std::mem::replace(&mut queue.running, true)
        };
        if start {
            // A task of its own: the caller may give up, the others still wait.
            self.runtime.spawn(Arc::clone(self).run());
        }
        passed.await.unwrap_or(Err(GroupError::Timeout))
    }

    async fn run(self: Arc<Self>) {
        loop {
            let waiting = {
                let mut queue = self.queue.lock();
                queue.running = !queue.waiting.is_empty();
                std::mem::take(&mut queue.waiting)
            };
            if waiting.is_empty() {
                return;
            }
            let result = self.rounds().await;
            for told in waiting {
                // Who gave up is not told.
                let _ = told.send(result.clone());
            }
        }
    }

    async fn rounds(&self) -> Result<(), GroupError> {
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            self.standing.check_running()?;
            match tokio::time::timeout(ROUND, self.raft.ensure_linearizable(ReadPolicy::ReadIndex))
                .await
            {
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
