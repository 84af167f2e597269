//! The runner as a whole: a keeper for each shard, one dispatcher for all.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mailrook_store_api::{
    Queue,
    shard::{ClaimJobs, Claimed, limits::JOBS_CLAIMED_MAX},
};
use mailrook_types::{ClientId, ShardId};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

use crate::{
    Courier, SenderMetrics, SenderSettings,
    dispatch::Dispatcher,
    keeper::{self, Given},
    settings::{JOBS_IN_HAND_MAX, LEASE},
};

/// How often it is looked whether there are shards that were not there before.
const SHARDS_LOOKED_AT: Duration = Duration::from_secs(5);

/// What all parts of a runner share.
pub(crate) struct Shared {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) courier: Arc<dyn Courier>,
    pub(crate) settings: SenderSettings,
    pub(crate) client: ClientId,
    pub(crate) metrics: SenderMetrics,
    /// Jobs that were claimed and whose outcome the store does not have yet.
    in_hand: AtomicUsize,
    /// Told whenever that becomes none.
    empty: Notify,
    /// Becomes `true` when the runner stops.
    pub(crate) stopping: watch::Sender<bool>,
    keepers: Mutex<HashMap<ShardId, mpsc::UnboundedSender<Given>>>,
}

impl Shared {
    /// A wish for as many jobs as there is room for; `None` if there is none.
    pub(crate) fn wish(&self) -> Option<ClaimJobs> {
        if *self.stopping.borrow() {
            return None;
        }
        let room = JOBS_IN_HAND_MAX.saturating_sub(self.in_hand.load(Ordering::Relaxed));
        let limit = u32::try_from(room)
            .unwrap_or(u32::MAX)
            .min(JOBS_CLAIMED_MAX);
        (limit > 0).then_some(ClaimJobs {
            runner: self.client,
            lease_ms: LEASE.as_millis() as u32,
            limit,
            per_destination: self.settings.jobs_per_destination,
        })
    }

    pub(crate) fn took(&self, jobs: usize) {
        self.in_hand.fetch_add(jobs, Ordering::Relaxed);
    }

    pub(crate) fn done(&self, jobs: usize) {
        if self.in_hand.fetch_sub(jobs, Ordering::Relaxed) == jobs {
            self.empty.notify_waiters();
        }
    }

    /// Ends once the runner stops.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as `self`.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}

/// A running runner. Dropped without [`Runner::stop`], it leaves what it has to whoever finds its leases over.
pub struct Runner {
    shared: Arc<Shared>,
    dispatcher: Arc<Dispatcher>,
    task: JoinHandle<()>,
}

/// What the parts of a front end that put mail into the queue have of its runner.
#[derive(Clone)]
pub struct RunnerHandle(Arc<Shared>);

impl Runner {
    /// Starts to claim and to send. `client` names this process to the store, and no other.
    pub fn start(
        queue: Arc<dyn Queue>,
        courier: Arc<dyn Courier>,
        client: ClientId,
        settings: SenderSettings,
    ) -> Runner {
        let shared = Arc::new(Shared {
            queue,
            courier,
            settings,
            client,
            metrics: SenderMetrics::default(),
            in_hand: AtomicUsize::new(0),
            empty: Notify::new(),
            stopping: watch::Sender::new(false),
            keepers: Mutex::default(),
        });
        let dispatcher = Arc::new(Dispatcher::new(Arc::clone(&shared)));
        let task = tokio::spawn(look_after(Arc::clone(&shared), Arc::clone(&dispatcher)));
        Runner {
            shared,
            dispatcher,
            task,
        }
    }

    /// For whoever puts mail into the queue.
    pub fn handle(&self) -> RunnerHandle {
        RunnerHandle(Arc::clone(&self.shared))
    }

    /// Claims nothing more, ends what is under way, for `grace` at most, and gives the rest back.
    pub async fn stop(self, grace: Duration) {
        self.shared.stopping.send_replace(true);
        self.dispatcher.give_back();
        let empty = async {
            loop {
                let told = self.shared.empty.notified();
                if self.shared.in_hand.load(Ordering::Relaxed) == 0 {
                    break;
                }
                told.await;
            }
        };
        if tokio::time::timeout(grace, empty).await.is_err() {
            let left = self.shared.in_hand.load(Ordering::Relaxed);
            tracing::warn!(left, "outgoing mail is left to the other front ends");
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RunnerHandle {
    /// A wish to send what is about to be queued, to go along with it; `None` while there is enough to do: then whoever has
    /// room takes it.
    pub fn wish(&self) -> Option<ClaimJobs> {
        self.0.wish()
    }

    /// Takes jobs that the store gave to a [wish](RunnerHandle::wish) of before `asked`. Says whether it did: of a shard that is not known
    /// yet, or when the runner stops, their lease runs out, and somebody finds them.
    pub fn take(&self, shard: ShardId, claimed: Claimed, asked: Instant) -> bool {
        let keepers = self.0.keepers.lock();
        let given = Given { claimed, asked };
        keepers
            .get(&shard)
            .is_some_and(|keeper| keeper.send(given).is_ok())
    }

    /// What was sent, and what came of it.
    pub fn metrics(&self) -> &SenderMetrics {
        &self.0.metrics
    }

    /// Jobs that were claimed and whose outcome the store does not have yet.
    pub fn in_hand(&self) -> usize {
        self.0.in_hand.load(Ordering::Relaxed)
    }
}

/// Has a keeper for each shard that there is.
async fn look_after(shared: Arc<Shared>, dispatcher: Arc<Dispatcher>) {
    let mut keepers = tokio::task::JoinSet::new();
    loop {
        match shared.queue.shards().await {
            Ok(shards) => {
                for shard in shards {
                    let mut known = shared.keepers.lock();
                    if known.contains_key(&shard) {
                        continue;
                    }
                    let (given, receiver) = mpsc::unbounded_channel();
                    known.insert(shard, given);
                    keepers.spawn(keeper::run(
                        shard,
                        Arc::clone(&shared),
                        Arc::clone(&dispatcher),
                        receiver,
                    ));
                }
            }
            Err(error) => tracing::debug!(%error, "the shards of the queue are not known"),
        }
        tokio::time::sleep(SHARDS_LOOKED_AT).await;
    }
}
