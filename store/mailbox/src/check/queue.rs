//! What belongs to the queue of outgoing mail.

use std::collections::{BTreeMap, BTreeSet};

use mailrook_kv::{KvError, Space};
use mailrook_types::Domain;

use super::{Check, pairs};
use crate::{
    ClaimId, JobId, QueuedId,
    queue::{
        book,
        key::{self, AGE, CLAIM, CLAIMED, DESTINATION, JOB, LAPSE, MESSAGE, READY, WAITING},
        record::{ClaimRecord, DestinationRecord, JobRecord, MessageRecord},
    },
};

/// What the jobs say of what is kept beside them.
#[derive(Default)]
struct Found {
    jobs_of: BTreeMap<QueuedId, u32>,
    jobs: u64,
    held: u64,
    waiting: BTreeSet<Vec<u8>>,
    claimed: BTreeSet<Vec<u8>>,
    claims: BTreeMap<ClaimId, u32>,
    destinations: BTreeMap<Domain, Destination>,
}

#[derive(Default)]
struct Destination {
    jobs: u64,
    claimed: u64,
    first_due_ms: Option<i64>,
}

pub(super) fn check(check: &mut Check<'_>) -> Result<(), KvError> {
    let found = read_jobs(check)?;
    check_messages(check, &found)?;
    check_claims(check, &found)?;
    check_destinations(check, &found)?;
    for (tag, expected) in [(WAITING, &found.waiting), (CLAIMED, &found.claimed)] {
        same(check, tag, expected)?;
    }
    let summary = book::summary(check.view)?;
    check.expect(
        (summary.jobs, summary.held) == (found.jobs, found.held),
        || {
            format!(
                "{} queued jobs, {} held; {} and {} are counted",
                found.jobs, found.held, summary.jobs, summary.held
            )
        },
    );
    Ok(())
}

fn read_jobs(check: &mut Check<'_>) -> Result<Found, KvError> {
    let mut found = Found::default();
    for (stored, value) in pairs(check.view, Space::Index, &[JOB])? {
        let id = key::parse_job(&stored)?;
        let record = JobRecord::decode(&value)?;
        check.expect(!record.is_done(), || format!("{id:?} is done, and there"));
        found.job(id, &record);
    }
    Ok(found)
}

impl Found {
    fn job(&mut self, id: JobId, record: &JobRecord) {
        self.jobs += 1;
        self.held += u64::from(record.held);
        *self.jobs_of.entry(id.message).or_default() += 1;
        let destination = self
            .destinations
            .entry(record.destination.clone())
            .or_default();
        destination.jobs += 1;
        if record.waits() {
            self.waiting
                .insert(key::waiting(&record.destination, record.due_ms, id));
            let first = destination.first_due_ms.unwrap_or(record.due_ms);
            destination.first_due_ms = Some(first.min(record.due_ms));
        }
        if let Some(claim) = record.claim {
            destination.claimed += 1;
            self.claimed.insert(key::claimed(claim, id));
            *self.claims.entry(claim).or_default() += 1;
        }
    }
}

fn check_messages(check: &mut Check<'_>, found: &Found) -> Result<(), KvError> {
    let summary = book::summary(check.view)?;
    let (mut messages, mut bytes, mut ages) = (0, 0, BTreeSet::new());
    for (stored, value) in pairs(check.view, Space::Index, &[MESSAGE])? {
        let id = QueuedId(key::parse_id(&stored)?);
        let record = MessageRecord::decode(&value)?;
        messages += 1;
        bytes += u64::from(record.size);
        ages.insert(key::age(record.envelope.received.0, id));
        *check.body_refs.entry(record.hash).or_default() += 1;
        let jobs = found.jobs_of.get(&id).copied().unwrap_or(0);
        check.expect(jobs == record.jobs && jobs > 0, || {
            format!("{id:?} has {jobs} jobs and counts {}", record.jobs)
        });
        check.expect(id.0 < summary.next_message, || {
            format!("{id:?} has a number that is still to be given")
        });
    }
    for id in found.jobs_of.keys() {
        let there = check.view.get(Space::Index, &key::message(*id))?;
        check.expect(there.is_some(), || {
            format!("jobs of {id:?}, which is not there")
        });
    }
    check.expect(
        (summary.messages, summary.bytes) == (messages, bytes),
        || {
            format!(
                "{messages} messages are queued, of {bytes} bytes; {} of {} are counted",
                summary.messages, summary.bytes
            )
        },
    );
    same(check, AGE, &ages)
}

fn check_claims(check: &mut Check<'_>, found: &Found) -> Result<(), KvError> {
    let next = book::summary(check.view)?.next_claim;
    let (mut lapses, mut known) = (BTreeSet::new(), BTreeSet::new());
    for (stored, value) in pairs(check.view, Space::Index, &[CLAIM])? {
        let id = ClaimId(key::parse_id(&stored)?);
        let record = ClaimRecord::decode(&value)?;
        lapses.insert(key::lapse(record.lapse_ms, id));
        known.insert(id);
        let jobs = found.claims.get(&id).copied().unwrap_or(0);
        check.expect(jobs == record.jobs && jobs > 0, || {
            format!("{id:?} has {jobs} jobs and counts {}", record.jobs)
        });
        check.expect(id.0 < next, || format!("{id:?} is still to be given"));
    }
    for id in found.claims.keys() {
        check.expect(known.contains(id), || {
            format!("jobs under {id:?}, which is not there")
        });
    }
    same(check, LAPSE, &lapses)
}

fn check_destinations(check: &mut Check<'_>, found: &Found) -> Result<(), KvError> {
    let (mut ready, mut known) = (BTreeSet::new(), BTreeSet::new());
    for (stored, value) in pairs(check.view, Space::Index, &[DESTINATION])? {
        let name = key::parse_destination(&stored)?;
        let record = DestinationRecord::decode(&value)?;
        let jobs = found.destinations.get(&name);
        let same = jobs.is_some_and(|of| {
            let due = of.first_due_ms.filter(|_| !record.is_full);
            let place = due.map(|due| due.max(record.rests_until_ms.unwrap_or(due)));
            (of.jobs, of.claimed, place) == (record.jobs, record.claimed, record.ready_ms)
        });
        check.expect(same, || format!("{name} is not as its jobs: {record:?}"));
        check.expect(!record.is_full || record.claimed > 0, || {
            format!("{name} waits for what is not under way")
        });
        ready.extend(record.ready_ms.map(|time_ms| key::ready(time_ms, &name)));
        known.insert(name);
    }
    for name in found.destinations.keys() {
        check.expect(known.contains(name), || {
            format!("jobs for {name}, which is not there")
        });
    }
    same(check, READY, &ready)
}

/// Insists that a table has these keys and no others.
fn same(check: &mut Check<'_>, tag: u8, expected: &BTreeSet<Vec<u8>>) -> Result<(), KvError> {
    let there = pairs(check.view, Space::Index, &[tag])?;
    let there: BTreeSet<Vec<u8>> = there.into_iter().map(|(key, _)| key).collect();
    check.expect(there == *expected, || {
        let differ = there.symmetric_difference(expected).count();
        format!("{differ} keys of the queue's table {tag:x} are missing or too many")
    });
    Ok(())
}
