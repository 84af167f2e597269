//! Mail under way to other systems.

use std::sync::Arc;

use mailrook_mailbox::{
    BodySource, Chunk, ClaimId, ClaimJobs, Claimed, DeliveryKey, Enqueued, JobChange, JobId,
    ListedJob, NewBody, NewJob, NewQueued, QueueConfirmation, QueueReport, QueueSummary,
    QueuedEnvelope, QueuedId, ReportOutcome, ShownMessage,
};
use mailrook_types::{BlobHash, ClientId, Domain, ShardId, Timestamp};

use crate::{Call, PreparedMessage};

/// A message to be queued.
#[derive(Clone, Debug)]
pub struct NewMail {
    /// What of it is the same for all recipients.
    pub envelope: QueuedEnvelope,
    /// Its bytes.
    pub message: Arc<PreparedMessage>,
    /// Who gets it, by destination.
    pub jobs: Vec<NewJob>,
}

/// A message that is queued.
#[derive(Clone, Debug)]
pub struct QueuedMail {
    /// In which shard.
    pub shard: ShardId,
    /// Under which name; `None` if it was queued before, for all its recipients, by transmissions with the same key.
    pub message: Option<QueuedId>,
    /// What is to be [confirmed](Queue::confirm) once the sender knows.
    pub confirmations: Vec<QueueConfirmation>,
    /// The jobs that the runner has now that asked for them.
    pub claimed: Option<Claimed>,
}

/// What came of a job, with the report to its sender.
#[derive(Clone, Debug)]
pub struct JobReport {
    /// What came of it. Its `notice` is made of the next, and is `None` here.
    pub report: QueueReport,
    /// The report to the sender, queued in the same step, in the same shard.
    pub notice: Option<NewMail>,
}

/// The replicated queue of outgoing mail. Each shard has a part of it; a message stays where it was queued.
pub trait Queue: Send + Sync + 'static {
    /// Queues a message, committed when it answers; once, however often it is asked with the same key before
    /// it is confirmed. `claim` has its jobs claimed for a runner in the same step.
    fn enqueue(
        &self,
        mail: NewMail,
        key: Option<DeliveryKey>,
        claim: Option<ClaimJobs>,
    ) -> Call<'_, QueuedMail>;

    /// Says that the acknowledgements of messages have arrived.
    fn confirm(&self, confirmed: Vec<QueueConfirmation>) -> Call<'_, ()>;

    /// The shards that there are.
    fn shards(&self) -> Call<'_, Vec<ShardId>>;

    /// When a shard has something to claim: in the past if it has now.
    fn next(&self, shard: ShardId) -> Call<'_, Option<Timestamp>>;

    /// How much a shard's queue has.
    fn summary(&self, shard: ShardId) -> Call<'_, QueueSummary>;

    /// Claims jobs of a shard that are due.
    fn claim(&self, shard: ShardId, claim: ClaimJobs) -> Call<'_, Claimed>;

    /// Extends claims. Gives those that are lost.
    fn renew(
        &self,
        shard: ShardId,
        runner: ClientId,
        claims: Vec<ClaimId>,
        lease_ms: u32,
    ) -> Call<'_, Vec<ClaimId>>;

    /// Says what came of jobs, committed when it answers.
    fn report(&self, shard: ShardId, reports: Vec<JobReport>) -> Call<'_, Vec<ReportOutcome>>;

    /// Gives claims back.
    fn release(&self, shard: ShardId, claims: Vec<ClaimId>) -> Call<'_, ()>;

    /// Some chunks of a queued message's bytes, from `first`; fewer at its end. `None` if they are gone.
    fn chunks(
        &self,
        shard: ShardId,
        hash: BlobHash,
        first: u32,
        count: u32,
    ) -> Call<'_, Option<Vec<Chunk>>>;

    /// Jobs in the order of their ids, and where to read on.
    fn list(
        &self,
        shard: ShardId,
        after: Option<JobId>,
        destination: Option<Domain>,
        limit: u32,
    ) -> Call<'_, (Vec<ListedJob>, Option<JobId>)>;

    /// A message with its jobs.
    fn show(&self, shard: ShardId, message: QueuedId) -> Call<'_, Option<Box<ShownMessage>>>;

    /// An administrator's change. Gives how many jobs it changed.
    fn change(&self, shard: ShardId, jobs: Vec<JobId>, change: JobChange) -> Call<'_, u32>;
}

impl NewMail {
    /// What a command carries of it, the body being where `source` says.
    pub fn queued(&self, source: BodySource) -> NewQueued {
        NewQueued {
            envelope: self.envelope.clone(),
            // Nobody reads or searches what is queued.
            body: NewBody {
                detail: Vec::new(),
                signature: Vec::new(),
                ..self.message.body(source)
            },
            jobs: self.jobs.clone(),
        }
    }
}

impl JobReport {
    /// What a command carries of it, the body of its notice being where `source` says.
    pub fn carried(&self, source: Option<BodySource>) -> QueueReport {
        let notice = self.notice.as_ref().zip(source);
        QueueReport {
            notice: notice.map(|(notice, source)| Box::new(notice.queued(source))),
            ..self.report.clone()
        }
    }
}

impl QueuedMail {
    /// What the shard has answered.
    pub fn new(shard: ShardId, key: Option<DeliveryKey>, enqueued: Enqueued) -> QueuedMail {
        let marks = enqueued.marks.into_iter();
        let confirmation = |mark| key.map(|key| QueueConfirmation { key, mark });
        QueuedMail {
            shard,
            message: enqueued.message,
            confirmations: marks.filter_map(confirmation).collect(),
            claimed: enqueued.claimed,
        }
    }
}
