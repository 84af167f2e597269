//! Taking a message into the queue, once.

use std::collections::{BTreeMap, BTreeSet};

use mailrook_kv::KvError;
use mailrook_types::Timestamp;

use super::{claim, open};
use crate::{
    DeliveryKey, Enqueue, Enqueued, JobId, NewJob, NewQueued, QueueReply, QueuedId, Refusal,
    ShardReply,
    apply::table,
    body,
    key::table_slot,
    lane::{self, Begin},
    limits::{DUPLICATE_KEPT, JOBS_PER_MESSAGE_MAX, LAST_TEXT_MAX, RECIPIENTS_PER_JOB_MAX, millis},
    queue::{
        SEEN_TABLE,
        book::Book,
        recipient_digest,
        record::{JobRecord, MessageRecord, Seen, SeenRecord},
    },
    record::Kept,
    slot,
    tx::{Outcome, Stop, Tx, settle},
};

pub(super) fn apply(tx: &mut Tx<'_>, command: &Enqueue) -> Outcome<QueueReply> {
    let lane = match lane::begin_on_tables(tx, &command.op)? {
        Begin::New(lane) => lane,
        Begin::Refused(refusal) => return Err(refusal.into()),
        Begin::Repeat(kept) => return repeated(kept),
    };
    let outcome = settle(enqueue(tx, command))?;
    // A body that is missing is sent again, and then the same operation must run.
    if outcome != Err(Refusal::BodyMissing) {
        // Jobs are given once: whoever did not hear of them finds them when the lease is over.
        let kept = outcome.clone().map(|enqueued| {
            QueueReply::Enqueued(Enqueued {
                claimed: None,
                ..enqueued
            })
        });
        let reply = ShardReply::Queue(kept).encode();
        lane.keep_on_tables(tx, &command.op, Kept::Reply(reply));
    }
    outcome.map(QueueReply::Enqueued).map_err(Stop::Refused)
}

/// The reply of the first time.
fn repeated(kept: Kept) -> Outcome<QueueReply> {
    if let Kept::Reply(bytes) = kept
        && let ShardReply::Queue(outcome) = ShardReply::decode(&bytes)?
    {
        return outcome.map_err(Stop::Refused);
    }
    // The client used a number twice for different things.
    Err(Refusal::StaleOperation.into())
}

fn enqueue(tx: &mut Tx<'_>, command: &Enqueue) -> Outcome<Enqueued> {
    require_bounds(&command.message)?;
    let Some(key) = &command.key else {
        body::require(tx.view, tx.now, &command.message.body)?;
        let jobs = command.message.jobs.clone();
        return queue(tx, command, jobs, Vec::new());
    };
    let slot = table_slot(SEEN_TABLE, &key.0);
    if !slot::is_here(tx.view.as_read(), slot)? {
        return Err(Refusal::SlotNotHere(slot).into());
    }
    let mut seen = read_seen(tx, key)?;
    let (jobs, marks, new) = unseen(&command.message.jobs, &seen);
    if jobs.is_empty() {
        return Ok(Enqueued {
            message: None,
            marks,
            claimed: None,
        });
    }
    body::require(tx.view, tx.now, &command.message.body)?;
    seen.0.push(Seen {
        mark: command.mark,
        recipients: new,
    });
    let expires = Timestamp(tx.now.saturating_add(millis(DUPLICATE_KEPT)));
    table::set(tx, SEEN_TABLE, &key.0, seen.encode(), expires)?;
    let marks = [marks, vec![command.mark]].concat();
    queue(tx, command, jobs, marks)
}

/// What is known of the transmissions of a key.
pub(super) fn read_seen(tx: &Tx<'_>, key: &DeliveryKey) -> Result<SeenRecord, KvError> {
    match table::live_value(tx, SEEN_TABLE, &key.0)? {
        Some(bytes) => Ok(SeenRecord::decode(&bytes)?),
        None => Ok(SeenRecord::default()),
    }
}

type Digests = Vec<[u8; 16]>;

/// The jobs with the recipients that have not got the message by an earlier transmission, the marks of those that have, and the
/// digests of those that have not.
fn unseen(jobs: &[NewJob], seen: &SeenRecord) -> (Vec<NewJob>, Vec<u128>, Digests) {
    let known: BTreeMap<[u8; 16], u128> = seen
        .0
        .iter()
        .flat_map(|seen| seen.recipients.iter().map(|digest| (*digest, seen.mark)))
        .collect();
    let (mut marks, mut digests) = (BTreeSet::new(), BTreeSet::new());
    let mut left = Vec::with_capacity(jobs.len());
    for job in jobs {
        let mut job = job.clone();
        job.recipients.retain(|recipient| {
            let digest = recipient_digest(&recipient.address);
            match known.get(&digest) {
                Some(mark) => {
                    marks.insert(*mark);
                    false
                }
                None => {
                    digests.insert(digest);
                    true
                }
            }
        });
        if !job.recipients.is_empty() {
            left.push(job);
        }
    }
    (
        left,
        marks.into_iter().collect(),
        digests.into_iter().collect(),
    )
}

/// Writes the message with these jobs, and claims for whoever sends at once.
fn queue(
    tx: &mut Tx<'_>,
    command: &Enqueue,
    jobs: Vec<NewJob>,
    marks: Vec<u128>,
) -> Outcome<Enqueued> {
    let mut book = open(tx)?;
    let (message, ids) = put(&mut book, &command.message, jobs)?;
    let claimed = match &command.claim {
        Some(wish) => Some(claim::these(&mut book, wish, &ids)?),
        None => None,
    };
    book.close()?;
    Ok(Enqueued {
        message: Some(message),
        marks,
        claimed: claimed.filter(|claimed| claimed.claim.is_some()),
    })
}

/// Writes a message whose body is here.
pub(super) fn put(
    book: &mut Book<'_>,
    new: &NewQueued,
    jobs: Vec<NewJob>,
) -> Result<(QueuedId, Vec<JobId>), KvError> {
    body::reference(book.view, &new.body, 1)?;
    let message = book.add_message(&MessageRecord {
        envelope: new.envelope.clone(),
        hash: new.body.hash,
        size: new.body.size,
        jobs: jobs.len() as u32,
    });
    let mut ids = Vec::with_capacity(jobs.len());
    for (number, job) in (0..).zip(jobs) {
        let id = JobId { message, number };
        let record = JobRecord {
            destination: job.destination,
            recipients: job.recipients.into_iter().map(|one| (one, false)).collect(),
            due_ms: job.due.map_or(book.now, |due| due.0.max(book.now)),
            tries: 0,
            delay_told: false,
            held: false,
            claim: None,
        };
        book.add_job(id, &record)?;
        ids.push(id);
    }
    Ok((message, ids))
}

/// Refuses what is more than a message may have.
pub(super) fn require_bounds(message: &NewQueued) -> Outcome<()> {
    let jobs = &message.jobs;
    let refused = |text: String| Err(Refusal::Limit(text).into());
    if jobs.is_empty() || jobs.len() > JOBS_PER_MESSAGE_MAX {
        return refused(format!(
            "1 to {JOBS_PER_MESSAGE_MAX} destinations of a queued message"
        ));
    }
    for job in jobs {
        if !(1..=RECIPIENTS_PER_JOB_MAX).contains(&job.recipients.len()) {
            return refused(format!(
                "1 to {RECIPIENTS_PER_JOB_MAX} recipients at a destination"
            ));
        }
        let texts = job.recipients.iter().filter_map(|one| one.last.as_ref());
        if texts.map(String::len).any(|len| len > LAST_TEXT_MAX) {
            return refused(format!(
                "{LAST_TEXT_MAX} bytes of what a recipient was told"
            ));
        }
    }
    Ok(())
}
