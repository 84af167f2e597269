//! What is asked of the queue of outgoing mail.

use std::{cmp::Reverse, collections::BinaryHeap, ops::ControlFlow};

use mailrook_kv::{KvError, Read, Space, prefix_end};
use mailrook_types::{Domain, Timestamp};

use crate::{
    DestinationSummary, JobId, JobStanding, ListedJob, QueueAnswer, QueueQuery, QueueSummary,
    QueuedId, ShownMessage,
    fields::Damage,
    index::scan,
    limits::{DESTINATIONS_TOLD_MAX, JOBS_LISTED_MAX},
    queue::{
        book, key,
        record::{DestinationRecord, JobRecord, MessageRecord},
    },
};

/// 20,000 jobs are looked at for one page of a list, wherever they go: some ten milliseconds. The next page goes on from there.
const JOBS_LOOKED_AT_MAX: u32 = 20_000;

pub(super) fn answer(view: &dyn Read, query: &QueueQuery) -> Result<QueueAnswer, KvError> {
    Ok(match query {
        QueueQuery::Next => QueueAnswer::Next(book::next(view)?.map(Timestamp)),
        QueueQuery::Summary => QueueAnswer::Summary(summary(view)?),
        QueueQuery::List {
            after,
            destination,
            limit,
        } => {
            let limit = (*limit).min(JOBS_LISTED_MAX) as usize;
            let (jobs, next) = list(view, *after, destination.as_ref(), limit)?;
            QueueAnswer::List(jobs, next)
        }
        QueueQuery::Show(message) => QueueAnswer::Show(show(view, *message)?.map(Box::new)),
    })
}

fn summary(view: &dyn Read) -> Result<QueueSummary, KvError> {
    let record = book::summary(view)?;
    let oldest = book::keys(view, &[key::AGE], &prefix_end(&[key::AGE]), 1)?;
    let oldest = oldest.first().map(|key| key::parse_time(key)).transpose()?;
    Ok(QueueSummary {
        messages: record.messages,
        jobs: record.jobs,
        held: record.held,
        bytes: record.bytes,
        oldest: oldest.map(|(time_ms, _)| Timestamp(time_ms)),
        destinations: destinations(view)?,
    })
}

/// Those with the most jobs.
fn destinations(view: &dyn Read) -> Result<Vec<DestinationSummary>, KvError> {
    let mut most = BinaryHeap::new();
    let tag = [key::DESTINATION];
    scan(view, Space::Index, &tag, &prefix_end(&tag), |key, value| {
        let record = DestinationRecord::decode(value)?;
        most.push(Reverse((record.jobs, Reverse(key.to_vec()), Told(record))));
        if most.len() > DESTINATIONS_TOLD_MAX {
            most.pop();
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let told = most.into_sorted_vec().into_iter();
    told.map(|Reverse((jobs, Reverse(key), Told(record)))| {
        Ok(DestinationSummary {
            destination: key::parse_destination(&key)?,
            jobs,
            claimed: record.claimed,
            rests: record.rests_until_ms.map(Timestamp),
        })
    })
    .collect()
}

/// A record that goes along, and has no part in the order.
struct Told(DestinationRecord);

impl PartialEq for Told {
    fn eq(&self, _: &Told) -> bool {
        true
    }
}

impl Eq for Told {}

impl PartialOrd for Told {
    fn partial_cmp(&self, other: &Told) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Told {
    fn cmp(&self, _: &Told) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

fn list(
    view: &dyn Read,
    after: Option<JobId>,
    destination: Option<&Domain>,
    limit: usize,
) -> Result<(Vec<ListedJob>, Option<JobId>), KvError> {
    let mut start = after.map_or(vec![key::JOB], key::job);
    if after.is_some() {
        start.push(0);
    }
    let mut found: Vec<(JobId, JobRecord)> = Vec::new();
    let (mut looked_at, mut last) = (0, None);
    scan(
        view,
        Space::Index,
        &start,
        &prefix_end(&[key::JOB]),
        |key, value| {
            if found.len() >= limit || looked_at >= JOBS_LOOKED_AT_MAX {
                return Ok(ControlFlow::Break(()));
            }
            looked_at += 1;
            let id = key::parse_job(key)?;
            last = Some(id);
            let record = JobRecord::decode(value)?;
            if destination.is_none_or(|wanted| *wanted == record.destination) {
                found.push((id, record));
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    let more = found.len() >= limit || looked_at >= JOBS_LOOKED_AT_MAX;
    let next = last.filter(|_| more);
    let mut listed = Vec::with_capacity(found.len());
    let mut of: Option<(QueuedId, MessageRecord)> = None;
    for (id, record) in found {
        let message = match of.take() {
            Some((known, message)) if known == id.message => message,
            _ => require_message(view, id.message)?,
        };
        listed.push(listed_job(view, id, record, &message)?);
        of = Some((id.message, message));
    }
    Ok((listed, next))
}

fn require_message(view: &dyn Read, id: QueuedId) -> Result<MessageRecord, KvError> {
    let message = book::message(view, id)?;
    Ok(message.ok_or(Damage("a job's message is not in the queue"))?)
}

fn listed_job(
    view: &dyn Read,
    id: JobId,
    record: JobRecord,
    message: &MessageRecord,
) -> Result<ListedJob, KvError> {
    let standing = match record.claim {
        Some(claim) => {
            let claim = book::claim(view, claim)?;
            JobStanding::Claimed(claim.ok_or(Damage("a job's claim is not there"))?.runner)
        }
        None if record.held => JobStanding::Held,
        None => JobStanding::Waiting,
    };
    let left = record
        .recipients
        .into_iter()
        .filter(|(_, is_done)| !is_done);
    Ok(ListedJob {
        id,
        destination: record.destination,
        reverse_path: message.envelope.reverse_path.clone(),
        recipients: left.map(|(recipient, _)| recipient).collect(),
        size: message.size,
        received: message.envelope.received,
        expires: message.envelope.expires,
        due: Timestamp(record.due_ms),
        tries: record.tries,
        standing,
    })
}

fn show(view: &dyn Read, id: QueuedId) -> Result<Option<ShownMessage>, KvError> {
    let Some(message) = book::message(view, id)? else {
        return Ok(None);
    };
    let prefix = key::jobs_of(id);
    let mut records = Vec::new();
    scan(
        view,
        Space::Index,
        &prefix,
        &prefix_end(&prefix),
        |key, value| {
            records.push((key::parse_job(key)?, JobRecord::decode(value)?));
            Ok(ControlFlow::Continue(()))
        },
    )?;
    let listed = records.into_iter();
    let jobs = listed.map(|(id, record)| listed_job(view, id, record, &message));
    Ok(Some(ShownMessage {
        jobs: jobs.collect::<Result<_, _>>()?,
        envelope: message.envelope,
        hash: message.hash,
        size: message.size,
    }))
}
