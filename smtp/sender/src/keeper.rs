//! What a runner has to do with one shard: claim what is due, keep the claims alive, commit what came of them.
//!
//! The three go on side by side: a report that waits for an election must not keep leases from being renewed.

use std::{collections::HashMap, sync::Arc, time::Duration};

use mailrook_store_api::{
    JobReport, StoreError,
    shard::{ClaimId, Claimed, ReportOutcome, limits::CLAIMS_MAX},
};
use mailrook_types::{ShardId, Timestamp};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep},
};

use crate::{
    BodyReader, Errand, Lease,
    dispatch::{Dispatcher, Work},
    metrics::add,
    runner::Shared,
    settings::{POLL, RENEWAL, REPORTS_AT_ONCE, STORE_PAUSE},
};

/// Where the clocks of this node and of the log differ, a shard has nothing though its time has come: it is asked less and less often,
/// down to once in so long.
const FRUITLESS_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Jobs that the store gave to a wish.
pub(crate) struct Given {
    pub(crate) claimed: Claimed,
    /// Before the wish was sent.
    pub(crate) asked: Instant,
}

/// A job is off the hands of whoever had it.
pub(crate) struct Finished {
    pub(crate) claim: ClaimId,
    /// `None`: it is as it was, and goes back.
    pub(crate) report: Option<JobReport>,
}

struct Held {
    lease: Arc<Lease>,
    /// Jobs whose outcome the store does not have.
    left: usize,
    /// Whether some of them go back.
    unfinished: bool,
}

struct Keeper {
    shard: ShardId,
    shared: Arc<Shared>,
    dispatcher: Arc<Dispatcher>,
    claims: Mutex<HashMap<ClaimId, Held>>,
    claimed: Notify,
    finished: mpsc::UnboundedSender<Finished>,
}

/// Serves a shard until the task is ended.
pub(crate) async fn run(
    shard: ShardId,
    shared: Arc<Shared>,
    dispatcher: Arc<Dispatcher>,
    given: mpsc::UnboundedReceiver<Given>,
) {
    // Bounded by the jobs in hand.
    let (finished, receiver) = mpsc::unbounded_channel();
    let keeper = Keeper {
        shard,
        shared,
        dispatcher,
        claims: Mutex::default(),
        claimed: Notify::new(),
        finished,
    };
    tokio::join!(
        keeper.take(given),
        keeper.claim(),
        keeper.renew(),
        keeper.report(receiver)
    );
}

impl Keeper {
    /// Takes what was claimed where it was queued.
    async fn take(&self, mut given: mpsc::UnboundedReceiver<Given>) {
        while let Some(Given { claimed, asked }) = given.recv().await {
            self.begin(claimed, asked);
        }
    }

    /// Claims what is due, as long as there is room for it.
    async fn claim(&self) {
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                () = self.shared.stopped() => return,
            }
            pause = match self.claim_once().await {
                Ok(Some(next)) => next.saturating_since(Timestamp::now()).min(POLL),
                Ok(None) => (pause * 2).clamp(POLL, FRUITLESS_PAUSE_MAX),
                Err(error) => {
                    tracing::debug!(shard = %self.shard, %error, "the queue cannot be asked");
                    STORE_PAUSE
                }
            };
        }
    }

    /// When to claim next; `None` if the shard says that there is something, and gave nothing.
    async fn claim_once(&self) -> Result<Option<Timestamp>, StoreError> {
        let later = Timestamp::now().saturating_add(POLL);
        let Some(wish) = self.shared.wish() else {
            return Ok(Some(later));
        };
        let next = self.shared.queue.next(self.shard).await?;
        match next {
            None => return Ok(Some(later)),
            Some(next) if next > Timestamp::now() => return Ok(Some(next)),
            Some(_) => {}
        }
        let asked = Instant::now();
        let claimed = self.shared.queue.claim(self.shard, wish).await?;
        let (fruitful, next) = (!claimed.jobs.is_empty(), claimed.next);
        self.begin(claimed, asked);
        let now = Timestamp::now();
        match next {
            None => Ok(Some(later)),
            Some(next) if fruitful || next > now => Ok(Some(next)),
            Some(_) => Ok(None),
        }
    }

    fn begin(&self, claimed: Claimed, asked: Instant) {
        let Some(claim) = claimed.claim else { return };
        if claimed.jobs.is_empty() {
            return;
        }
        let lease = Arc::new(Lease::new(asked));
        let held = Held {
            lease: Arc::clone(&lease),
            left: claimed.jobs.len(),
            unfinished: false,
        };
        self.claims.lock().insert(claim, held);
        self.shared.took(claimed.jobs.len());
        self.claimed.notify_one();
        for job in claimed.jobs {
            let body = BodyReader::new(Arc::clone(&self.shared.queue), self.shard, &job);
            let errand = Errand {
                shard: self.shard,
                job,
                lease: Arc::clone(&lease),
                body,
            };
            self.dispatcher
                .accept(Work::new(errand, claim, self.finished.clone()));
        }
    }

    /// Keeps the claims alive.
    async fn renew(&self) {
        loop {
            let mut claims: Vec<ClaimId> = self.claims.lock().keys().copied().collect();
            if claims.is_empty() {
                self.claimed.notified().await;
                continue;
            }
            let begun = Instant::now();
            claims.sort_unstable();
            for some in claims.chunks(CLAIMS_MAX) {
                self.renew_some(some.to_vec()).await;
            }
            tokio::time::sleep_until(begun + RENEWAL).await;
        }
    }

    async fn renew_some(&self, claims: Vec<ClaimId>) {
        let lease_ms = crate::settings::LEASE.as_millis() as u32;
        let (queue, client) = (&self.shared.queue, self.shared.client);
        let sent = Instant::now();
        let lost = match queue
            .renew(self.shard, client, claims.clone(), lease_ms)
            .await
        {
            Ok(lost) => lost,
            Err(error) => {
                tracing::debug!(shard = %self.shard, %error, "claims are not renewed");
                return;
            }
        };
        let held = self.claims.lock();
        for claim in claims {
            let Some(held) = held.get(&claim) else {
                continue;
            };
            if !lost.contains(&claim) {
                held.lease.renewed(sent);
            } else if held.left > 0 && !held.lease.is_lost() {
                add(&self.shared.metrics.claims_lost);
                held.lease.lose();
            }
        }
    }

    /// Commits what came of jobs, many at a time.
    async fn report(&self, mut finished: mpsc::UnboundedReceiver<Finished>) {
        let mut some = Vec::with_capacity(REPORTS_AT_ONCE);
        while finished.recv_many(&mut some, REPORTS_AT_ONCE).await > 0 {
            let mut claims = Vec::with_capacity(some.len());
            let mut reports = Vec::with_capacity(some.len());
            for Finished { claim, report } in some.drain(..) {
                claims.push((claim, report.is_none()));
                reports.extend(report);
            }
            self.commit(reports).await;
            let jobs = claims.len();
            self.let_go(claims).await;
            self.shared.done(jobs);
        }
    }

    /// Sends reports until the store has them: what a remote has accepted must not be sent again.
    async fn commit(&self, mut reports: Vec<JobReport>) {
        while !reports.is_empty() {
            match self.shared.queue.report(self.shard, reports.clone()).await {
                Ok(outcomes) => {
                    let mut outcomes = outcomes.into_iter();
                    reports.retain(|_| outcomes.next() == Some(ReportOutcome::BodyMissing));
                }
                Err(StoreError::Unacceptable(what)) => {
                    // The reports themselves are small; what they bring along may not be.
                    tracing::error!(what, "reports to senders are dropped");
                    let had_notice = reports
                        .iter_mut()
                        .any(|report| report.notice.take().is_some());
                    if !had_notice {
                        sleep(STORE_PAUSE).await;
                    }
                }
                Err(error) => {
                    tracing::debug!(shard = %self.shard, %error, "what came of outgoing mail is not committed yet");
                    sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    /// Forgets claims with nothing left, and gives back what was not finished.
    async fn let_go(&self, claims: Vec<(ClaimId, bool)>) {
        let mut back = Vec::new();
        {
            let mut held = self.claims.lock();
            for (claim, unfinished) in claims {
                let Some(one) = held.get_mut(&claim) else {
                    continue;
                };
                one.left -= 1;
                one.unfinished |= unfinished;
                if one.left > 0 {
                    continue;
                }
                if one.unfinished && !one.lease.is_lost() {
                    back.push(claim);
                }
                held.remove(&claim);
            }
        }
        if back.is_empty() {
            return;
        }
        if let Err(error) = self.shared.queue.release(self.shard, back).await {
            tracing::debug!(shard = %self.shard, %error, "claims are left to run out");
        }
    }
}
