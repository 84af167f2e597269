//! Mail under way to other systems: what the shard's log carries about it, and what can be asked.
//!
//! A message is queued in one shard, wherever its recipients are, with one *job* for each destination. A *runner*, the part of a
//! front end that sends, claims jobs under a lease, sends, and reports what came of it. Claims are numbered, which fences them:
//! what is reported under a claim that is over changes nothing, but for what was delivered, which is a fact whoever
//! says so.
//!
//! A claim whose lease is over may be taken by another runner, not at once: the first that finds it gives notice, as the log's time
//! may have jumped over the lease while nobody led, and a runner that lives renews within the notice.
//!
//! Runner, claim and job name themselves, so that all steps but [`Enqueue`] can be sent again without an operation id. A claim
//! whose answer was lost is renewed by nobody and comes free with its lease.
//!
//! A destination that could not be reached is left alone, with all its jobs, until a time that the runner chooses
//! ([`QueueReport::rest`]); among the destinations the shard gives out jobs in turns, so that one with many does not keep
//! the others waiting.

use mailrook_types::{
    AccountId, Address, BlobHash, ClientId, Domain, OpId, ReversePath, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{DeliveryKey, NewBody, TableId};

pub(crate) mod book;
pub(crate) mod key;
pub(crate) mod record;

/// The table of the transmissions that are not confirmed, by their keys.
pub(crate) const SEEN_TABLE: TableId = TableId(1);

/// The slot in which the transmissions of a key are remembered: its shard queues them.
pub fn transmission_slot(key: &DeliveryKey) -> u16 {
    crate::table_slot(SEEN_TABLE, &key.0)
}

/// What is kept of a recipient's address.
pub(crate) fn recipient_digest(address: &Address) -> [u8; 16] {
    let mut digest = [0; 16];
    let mut hasher = blake3::Hasher::new();
    hasher.update(address.to_string().as_bytes());
    hasher.finalize_xof().fill(&mut digest);
    digest
}

/// Mail is queued from this feature level on.
pub const LEVEL_QUEUE: u32 = 8;

/// A step with the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueCommand {
    /// Takes a message in. Answered by [`QueueReply::Enqueued`].
    Enqueue(Box<Enqueue>),
    /// Gives jobs that are due to a runner. Answered by [`QueueReply::Claimed`].
    Claim(ClaimJobs),
    /// Extends leases. Answered by [`QueueReply::Renewed`].
    Renew {
        /// Whose.
        runner: ClientId,
        /// Which; at most [`CLAIMS_MAX`](crate::limits::CLAIMS_MAX).
        claims: Vec<ClaimId>,
        /// For how long from now on.
        lease_ms: u32,
    },
    /// What came of jobs, each on its own. Answered by [`QueueReply::Reported`].
    Report(Vec<QueueReport>),
    /// Gives jobs back as they were, due at once: the runner stops. Done in any case.
    Release(Vec<ClaimId>),
    /// Says that the acknowledgement of messages arrived, as [`ShardCommand::Confirm`](crate::ShardCommand::Confirm) does. Answered by
    /// [`QueueReply::Elsewhere`] if slots of their keys are not here.
    Confirm(Vec<QueueConfirmation>),
    /// An administrator's change of jobs. Those that are not there are passed over. Answered by [`QueueReply::Changed`].
    Change {
        /// Which; at most [`JOBS_CHANGED_MAX`](crate::limits::JOBS_CHANGED_MAX).
        jobs: Vec<JobId>,
        /// What to do.
        change: JobChange,
    },
}

/// Names a queued message in its shard. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueuedId(pub u64);

/// Names a job in its shard: the message, and which of its destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId {
    /// The message.
    pub message: QueuedId,
    /// Counted from zero.
    pub number: u32,
}

/// Names a claim in its shard. Never given twice: it is the fencing token of the jobs under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClaimId(pub u64);

/// A message to be queued, once: repeated, the command answers as it did the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enqueue {
    /// Which operation, in a lane of the tables.
    pub op: OpId,
    /// What is queued.
    pub message: NewQueued,
    /// What makes a repeated transmission recognisable, kept for each recipient in the tables' slot of the key, so that it goes
    /// along when the slot moves; `None` for local generation. The command is refused where the slot is not
    /// ([`Refusal::SlotNotHere`](crate::Refusal::SlotNotHere)).
    pub key: Option<DeliveryKey>,
    /// Names this transmission among those of the key; chosen at random.
    pub mark: u128,
    /// Who sends it at once: its jobs that are due are claimed in the same step, unless their destination rests or has as many under
    /// way as it may have. Where the command is repeated, they are not given again.
    pub claim: Option<ClaimJobs>,
}

/// A message on its way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewQueued {
    /// What of it is the same for all recipients.
    pub envelope: QueuedEnvelope,
    /// Its bytes. Envelope, structure and signature stay empty: nobody reads or searches here.
    pub body: NewBody,
    /// Who gets it, by destination; at most [`JOBS_PER_MESSAGE_MAX`](crate::limits::JOBS_PER_MESSAGE_MAX) with
    /// [`RECIPIENTS_PER_JOB_MAX`](crate::limits::RECIPIENTS_PER_JOB_MAX) each.
    pub jobs: Vec<NewJob>,
}

/// What is known of a message beside its bytes and recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedEnvelope {
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// Header fields that stand before the body (Received and the like).
    #[serde(with = "serde_bytes")]
    pub prefix: Vec<u8>,
    /// ENVID, decoded (RFC 3461 §4.4).
    pub envid: Option<String>,
    /// How much of it a report returns (RFC 3461 §4.3); `None` leaves it to the reporter.
    pub return_full: Option<bool>,
    /// What it needs of the systems that it passes.
    pub needs: Needs,
    /// Who submitted it, if that was a user of ours.
    pub account: Option<AccountId>,
    /// How it came.
    pub origin: Origin,
    /// The log's name of its arrival, for the operator.
    pub log_id: String,
    /// When it was received.
    pub received: Timestamp,
    /// When it is given up.
    pub expires: Timestamp,
}

/// What a message needs of the systems that it passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Octets beyond ASCII in its text (RFC 6152).
    pub eight_bit: bool,
    /// Addresses or header fields beyond ASCII (RFC 6531).
    pub smtputf8: bool,
    /// TLS with a verified server all the way (RFC 8689).
    pub require_tls: bool,
}

/// How a message came into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A user submitted it.
    Submission,
    /// Another system sent it, for a recipient that could not be served at once.
    Inbound,
    /// A forward of one of our addresses.
    Forward,
    /// A report of ours about another message (RFC 3464).
    Notice,
    /// A report of ours about a domain (DMARC, TLS).
    Report,
}

/// The recipients of a message at one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewJob {
    /// The domain that decides where they go.
    pub destination: Domain,
    /// Who.
    pub recipients: Vec<QueuedRecipient>,
    /// When it is tried first; `None` is at once.
    pub due: Option<Timestamp>,
}

/// A recipient of a queued message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedRecipient {
    /// Who that is.
    pub address: Address,
    /// What the sender calls it (RFC 3461 §4.2): type and address.
    pub original: Option<(String, String)>,
    /// When the sender wants a report; `None` is its having said nothing.
    pub notify: Option<QueuedNotify>,
    /// What the last try ended with, as it is reported: bounded by [`LAST_TEXT_MAX`](crate::limits::LAST_TEXT_MAX).
    pub last: Option<String>,
}

/// When the sender wants a report (RFC 3461 §4.1). None of them: `NEVER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedNotify {
    /// On delivery.
    pub success: bool,
    /// On failure.
    pub failure: bool,
    /// On delay.
    pub delay: bool,
}

/// Says that a message's acknowledgement arrived: the same bytes sent again are a new message from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueConfirmation {
    /// Which transmission.
    pub key: DeliveryKey,
    /// Its [`Enqueue::mark`]: a later one is left alone.
    pub mark: u128,
}

/// A runner's wish for jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimJobs {
    /// Who claims.
    pub runner: ClientId,
    /// For how long, by the log's time; at most [`QUEUE_LEASE_MAX`](crate::limits::QUEUE_LEASE_MAX).
    pub lease_ms: u32,
    /// How many jobs at most; and at most [`JOBS_CLAIMED_MAX`](crate::limits::JOBS_CLAIMED_MAX).
    pub limit: u32,
    /// How many jobs of one destination may be under way from this shard, whoever runs them.
    pub per_destination: u32,
}

/// What came of a job that was claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueReport {
    /// Which job.
    pub job: JobId,
    /// Under which claim. If that is over, only [`QueueReport::delivered`] counts, and the notice is not sent.
    pub claim: ClaimId,
    /// Places of recipients that have it.
    pub delivered: Vec<u32>,
    /// Places that will not get it.
    pub failed: Vec<u32>,
    /// Places that are tried again, with what they are told.
    pub deferred: Vec<(u32, String)>,
    /// When those are tried again.
    pub due: Timestamp,
    /// Whether the sender was told of the delay, now or before.
    pub delay_told: bool,
    /// The report to the sender, queued in the same step.
    pub notice: Option<Box<NewQueued>>,
    /// Until when the destination is left alone, as it could not be reached.
    pub rest: Option<Timestamp>,
}

/// An administrator's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobChange {
    /// Not tried until released, and not given up meanwhile. What is under way is not stopped.
    Hold,
    /// Tried again, by its time.
    Unhold,
    /// Due now, its destination rested.
    Retry,
    /// Gone, without a report to anybody.
    Delete,
}

/// The answer to a [`QueueCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueReply {
    /// Nothing more to say.
    Done,
    /// The message is queued.
    Enqueued(Enqueued),
    /// The confirmations whose slots are not here.
    Elsewhere(Vec<QueueConfirmation>),
    /// The jobs that the runner has now.
    Claimed(Claimed),
    /// The claims that the runner no longer has; all others are extended.
    Renewed {
        /// Another's, or over.
        lost: Vec<ClaimId>,
    },
    /// For each report in order, whether it counted.
    Reported(Vec<ReportOutcome>),
    /// How many jobs were changed.
    Changed(u32),
}

/// How a message was queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enqueued {
    /// Its name; `None` if nothing was queued, as all recipients have a transmission with the same key.
    pub message: Option<QueuedId>,
    /// What confirms it, and such earlier ones of the key as it repeats.
    pub marks: Vec<u128>,
    /// The jobs that go to the runner that asked for them.
    pub claimed: Option<Claimed>,
}

/// Jobs given to a runner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// Under which claim; `None` if there are no jobs.
    pub claim: Option<ClaimId>,
    /// The jobs, those of a destination together.
    pub jobs: Vec<ClaimedJob>,
    /// When there may be more: a job falls due, a destination has rested, a lease or a notice ends. `None` if nothing waits.
    pub next: Option<Timestamp>,
}

/// A job with what a runner needs to know to carry it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedJob {
    /// Which.
    pub id: JobId,
    /// Where to.
    pub destination: Domain,
    /// The message.
    pub envelope: QueuedEnvelope,
    /// The name of the message's bytes.
    pub hash: BlobHash,
    /// How many there are, without the prefix.
    pub size: u32,
    /// Who has still to get it, each with its place in the job, which is what a report names and never changes.
    pub recipients: Vec<(u32, QueuedRecipient)>,
    /// How often it was tried.
    pub tries: u32,
    /// Whether the sender was told of the delay.
    pub delay_told: bool,
}

/// What a report did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportOutcome {
    /// It counted.
    Counted,
    /// The claim is over: what was delivered counted, nothing else.
    ClaimLost,
    /// The job is gone.
    Gone,
    /// The notice's body is not here: all of the report is to be sent again with it.
    BodyMissing,
}

/// A question about the shard's queue. Answered by the [`QueueAnswer`] of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueQuery {
    /// When there is something to claim.
    Next,
    /// How much there is.
    Summary,
    /// Jobs in the order of their ids.
    List {
        /// Those after this one.
        after: Option<JobId>,
        /// Only of this destination.
        destination: Option<Domain>,
        /// At most so many, and at most [`JOBS_LISTED_MAX`](crate::limits::JOBS_LISTED_MAX).
        limit: u32,
    },
    /// One message with its jobs.
    Show(QueuedId),
}

/// The answer to a [`QueueQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueAnswer {
    /// As in [`Claimed::next`]: in the past if there is something to claim.
    Next(Option<Timestamp>),
    /// How much there is.
    Summary(QueueSummary),
    /// Some of the jobs, and where to read on, if there may be more.
    List(Vec<ListedJob>, Option<JobId>),
    /// The message; `None` if it is not there.
    Show(Option<Box<ShownMessage>>),
}

/// How much is queued in a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSummary {
    /// Messages.
    pub messages: u64,
    /// Jobs.
    pub jobs: u64,
    /// Jobs that are held.
    pub held: u64,
    /// Bytes of the messages, without their prefixes.
    pub bytes: u64,
    /// When the oldest message was received.
    pub oldest: Option<Timestamp>,
    /// The destinations with the most jobs, at most [`DESTINATIONS_TOLD_MAX`](crate::limits::DESTINATIONS_TOLD_MAX).
    pub destinations: Vec<DestinationSummary>,
}

/// How much is queued for a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationSummary {
    /// Which.
    pub destination: Domain,
    /// Jobs, those under way and held included.
    pub jobs: u64,
    /// Jobs under way.
    pub claimed: u64,
    /// Until when it is left alone.
    pub rests: Option<Timestamp>,
}

/// A job as an administrator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedJob {
    /// Which.
    pub id: JobId,
    /// Where to.
    pub destination: Domain,
    /// Who sent it.
    pub reverse_path: ReversePath,
    /// Who gets it.
    pub recipients: Vec<QueuedRecipient>,
    /// How many bytes the message has, without the prefix.
    pub size: u32,
    /// When it was received.
    pub received: Timestamp,
    /// When it is given up.
    pub expires: Timestamp,
    /// When it is tried next.
    pub due: Timestamp,
    /// How often it was tried.
    pub tries: u32,
    /// What it waits for.
    pub standing: JobStanding,
}

/// What a job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobStanding {
    /// Its time, or a runner.
    Waiting,
    /// A runner's report.
    Claimed(ClientId),
    /// An administrator.
    Held,
}

/// A queued message as an administrator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownMessage {
    /// What is known of it.
    pub envelope: QueuedEnvelope,
    /// The name of its bytes, which can be read as any body's.
    pub hash: BlobHash,
    /// How many there are, without the prefix.
    pub size: u32,
    /// Its jobs that are not done.
    pub jobs: Vec<ListedJob>,
}
