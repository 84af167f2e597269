//! The queue under change: records with their indexes and counters, kept in step.
//!
//! What changes of a destination is gathered and written once, at the end: a claim touches a hundred of its jobs.

use std::{collections::BTreeMap, ops::ControlFlow};

use mailrook_kv::{KvError, Read, Space, prefix_end};
use mailrook_types::Domain;

use super::{
    key,
    record::{ClaimRecord, DestinationRecord, JobRecord, MessageRecord, SummaryRecord},
};
use crate::{
    ClaimId, JobId, QueuedId, body,
    fields::Damage,
    index::scan,
    limits::{QUEUE_NOTICE, SKIPPED_IDS, millis},
    record::{PRESENT, Skips},
    tx::Writable,
};

/// The queue while a command changes it.
pub(crate) struct Book<'a> {
    pub(crate) view: &'a mut dyn Writable,
    pub(crate) now: i64,
    pub(crate) summary: SummaryRecord,
    before: SummaryRecord,
    /// Destinations that were touched, as they were and as they are.
    touched: BTreeMap<Domain, (Option<DestinationRecord>, DestinationRecord)>,
}

/// What is counted over all.
pub(crate) fn summary(view: &dyn Read) -> Result<SummaryRecord, KvError> {
    match view.get(Space::Index, &key::summary())? {
        Some(bytes) => Ok(SummaryRecord::decode(&bytes)?),
        None => Ok(SummaryRecord::default()),
    }
}

pub(crate) fn message(view: &dyn Read, id: QueuedId) -> Result<Option<MessageRecord>, KvError> {
    match view.get(Space::Index, &key::message(id))? {
        Some(bytes) => Ok(Some(MessageRecord::decode(&bytes)?)),
        None => Ok(None),
    }
}

pub(crate) fn job(view: &dyn Read, id: JobId) -> Result<Option<JobRecord>, KvError> {
    match view.get(Space::Index, &key::job(id))? {
        Some(bytes) => Ok(Some(JobRecord::decode(&bytes)?)),
        None => Ok(None),
    }
}

pub(crate) fn claim(view: &dyn Read, id: ClaimId) -> Result<Option<ClaimRecord>, KvError> {
    match view.get(Space::Index, &key::claim(id))? {
        Some(bytes) => Ok(Some(ClaimRecord::decode(&bytes)?)),
        None => Ok(None),
    }
}

fn destination(view: &dyn Read, name: &Domain) -> Result<Option<DestinationRecord>, KvError> {
    match view.get(Space::Index, &key::destination(name))? {
        Some(bytes) => Ok(Some(DestinationRecord::decode(&bytes)?)),
        None => Ok(None),
    }
}

/// Keys of a table, from `start`, until `limit`.
pub(crate) fn keys(
    view: &dyn Read,
    start: &[u8],
    end: &[u8],
    limit: usize,
) -> Result<Vec<Vec<u8>>, KvError> {
    let mut found = Vec::new();
    if limit == 0 || start >= end {
        return Ok(found);
    }
    scan(view, Space::Index, start, end, |key, _| {
        found.push(key.to_vec());
        Ok(if found.len() < limit {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        })
    })?;
    Ok(found)
}

/// When a shard has something to claim: a destination that is ready, or a claim that is over.
pub(crate) fn next(view: &dyn Read) -> Result<Option<i64>, KvError> {
    let mut first: Option<i64> = None;
    for tag in [key::READY, key::LAPSE] {
        for key in keys(view, &[tag], &prefix_end(&[tag]), 1)? {
            let (time_ms, _) = key::parse_time(&key)?;
            first = Some(first.map_or(time_ms, |first| first.min(time_ms)));
        }
    }
    Ok(first)
}

impl<'a> Book<'a> {
    pub(crate) fn open(
        view: &'a mut dyn Writable,
        now: i64,
        skips: Skips,
    ) -> Result<Book<'a>, KvError> {
        let before = summary(view.as_read())?;
        let mut summary = before;
        let behind = u64::from(skips.0.saturating_sub(summary.skips));
        let left_out = SKIPPED_IDS.saturating_mul(behind);
        summary.next_message = summary.next_message.saturating_add(left_out);
        summary.next_claim = summary.next_claim.saturating_add(left_out);
        summary.skips = summary.skips.max(skips.0);
        Ok(Book {
            view,
            now,
            summary,
            before,
            touched: BTreeMap::new(),
        })
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.view.put(Space::Index, key, value);
    }

    fn mark(&mut self, key: Vec<u8>) {
        self.put(key, PRESENT.to_vec());
    }

    fn delete(&mut self, key: Vec<u8>) {
        self.view.delete(Space::Index, key);
    }

    pub(crate) fn job(&self, id: JobId) -> Result<Option<JobRecord>, KvError> {
        job(self.view.as_read(), id)
    }

    pub(crate) fn claim(&self, id: ClaimId) -> Result<Option<ClaimRecord>, KvError> {
        claim(self.view.as_read(), id)
    }

    /// What is known of a destination, to be changed.
    pub(crate) fn destination(&mut self, name: &Domain) -> Result<&mut DestinationRecord, KvError> {
        if !self.touched.contains_key(name) {
            let stored = destination(self.view.as_read(), name)?;
            let record = stored.unwrap_or_default();
            self.touched.insert(name.clone(), (stored, record));
        }
        match self.touched.get_mut(name) {
            Some((_, record)) => Ok(record),
            None => Err(Damage("a destination is not where it was put").into()),
        }
    }

    /// Takes a message in; its jobs are [added](Book::add_job) next.
    pub(crate) fn add_message(&mut self, record: &MessageRecord) -> QueuedId {
        let id = QueuedId(self.summary.next_message);
        self.summary.next_message += 1;
        self.summary.messages += 1;
        self.summary.bytes += u64::from(record.size);
        self.mark(key::age(record.envelope.received.0, id));
        self.put(key::message(id), record.encode());
        id
    }

    pub(crate) fn add_job(&mut self, id: JobId, record: &JobRecord) -> Result<(), KvError> {
        self.summary.jobs += 1;
        self.destination(&record.destination)?.jobs += 1;
        self.mark(key::waiting(&record.destination, record.due_ms, id));
        self.put(key::job(id), record.encode());
        Ok(())
    }

    /// Writes a job that was `old`, with its places in the indexes.
    pub(crate) fn change_job(
        &mut self,
        id: JobId,
        old: &JobRecord,
        new: &JobRecord,
    ) -> Result<(), KvError> {
        if old.waits() {
            self.delete(key::waiting(&old.destination, old.due_ms, id));
        }
        if new.waits() {
            self.mark(key::waiting(&new.destination, new.due_ms, id));
        }
        if old.claim != new.claim {
            if let Some(claim) = old.claim {
                self.let_go(claim, id, &old.destination)?;
            }
            if let Some(claim) = new.claim {
                self.mark(key::claimed(claim, id));
                self.destination(&new.destination)?.claimed += 1;
            }
        } else {
            // Its due time may be another, and the destination ready earlier.
            self.destination(&new.destination)?;
        }
        self.summary.held = self.summary.held + u64::from(new.held) - u64::from(old.held);
        self.put(key::job(id), new.encode());
        Ok(())
    }

    /// Removes a job; with the last one its message.
    pub(crate) fn remove_job(&mut self, id: JobId, old: &JobRecord) -> Result<(), KvError> {
        if old.waits() {
            self.delete(key::waiting(&old.destination, old.due_ms, id));
        }
        if let Some(claim) = old.claim {
            self.let_go(claim, id, &old.destination)?;
        }
        self.summary.jobs -= 1;
        self.summary.held -= u64::from(old.held);
        self.destination(&old.destination)?.jobs -= 1;
        self.delete(key::job(id));
        let of = id.message;
        let mut message = message(self.view.as_read(), of)?
            .ok_or(Damage("a job's message is not in the queue"))?;
        message.jobs -= 1;
        if message.jobs > 0 {
            self.put(key::message(of), message.encode());
            return Ok(());
        }
        self.summary.messages -= 1;
        self.summary.bytes -= u64::from(message.size);
        self.delete(key::age(message.envelope.received.0, of));
        self.delete(key::message(of));
        body::release(self.view, self.now, &message.hash)
    }

    /// Takes a job off a claim; with the last one the claim goes.
    fn let_go(&mut self, id: ClaimId, job: JobId, destination: &Domain) -> Result<(), KvError> {
        self.delete(key::claimed(id, job));
        let destination = self.destination(destination)?;
        destination.claimed -= 1;
        destination.is_full = false;
        let mut claim = self
            .claim(id)?
            .ok_or(Damage("a job's claim is not there"))?;
        claim.jobs -= 1;
        if claim.jobs > 0 {
            self.put(key::claim(id), claim.encode());
        } else {
            self.delete(key::lapse(claim.lapse_ms, id));
            self.delete(key::claim(id));
        }
        Ok(())
    }

    /// A number for a claim that is about to be [written](Book::add_claim).
    pub(crate) fn next_claim(&mut self) -> ClaimId {
        let id = ClaimId(self.summary.next_claim);
        self.summary.next_claim += 1;
        id
    }

    pub(crate) fn add_claim(&mut self, id: ClaimId, record: &ClaimRecord) {
        self.mark(key::lapse(record.lapse_ms, id));
        self.put(key::claim(id), record.encode());
    }

    /// Extends a claim's lease, or notes when it was found to be over.
    pub(crate) fn change_claim(&mut self, id: ClaimId, mut record: ClaimRecord) {
        self.delete(key::lapse(record.lapse_ms, id));
        record.lapse_ms = match record.notice_ms {
            Some(notice_ms) => notice_ms.saturating_add(millis(QUEUE_NOTICE)),
            None => record.expires_ms,
        };
        self.add_claim(id, &record);
    }

    /// Gives all jobs of a claim back, due as they are; with them it goes.
    pub(crate) fn free_claim(&mut self, id: ClaimId) -> Result<(), KvError> {
        let prefix = key::claimed_by(id);
        for key in keys(
            self.view.as_read(),
            &prefix,
            &prefix_end(&prefix),
            usize::MAX,
        )? {
            let job_id = key::parse_job(&key)?;
            let old = self
                .job(job_id)?
                .ok_or(Damage("a claimed job is not there"))?;
            let new = JobRecord {
                claim: None,
                ..old.clone()
            };
            self.change_job(job_id, &old, &new)?;
        }
        Ok(())
    }

    /// When a destination's first waiting job is due.
    fn first_due(&self, name: &Domain) -> Result<Option<i64>, KvError> {
        let prefix = key::waiting_for(name);
        let first = keys(self.view.as_read(), &prefix, &prefix_end(&prefix), 1)?;
        let Some(due) = first.first().and_then(|key| key.get(prefix.len()..)) else {
            return Ok(None);
        };
        // As behind the tag in the tables by time.
        let (due_ms, _) = key::parse_time(&[&[0], due].concat())?;
        Ok(Some(due_ms))
    }

    /// Writes what was gathered.
    pub(crate) fn close(mut self) -> Result<(), KvError> {
        for (name, (before, mut record)) in std::mem::take(&mut self.touched) {
            record.rests_until_ms = record.rests_until_ms.filter(|until| *until > self.now);
            let due = self.first_due(&name)?;
            let was = record.ready_ms;
            record.ready_ms = due
                .filter(|_| !record.is_full)
                .map(|due| due.max(record.rests_until_ms.unwrap_or(due)));
            if was != record.ready_ms {
                if let Some(was) = was {
                    self.delete(key::ready(was, &name));
                }
                if let Some(ready) = record.ready_ms {
                    self.mark(key::ready(ready, &name));
                }
            }
            if record.jobs == 0 {
                // A rest ends with the last job: nobody asks for it any more.
                if before.is_some() {
                    self.delete(key::destination(&name));
                }
            } else if before != Some(record) {
                self.put(key::destination(&name), record.encode());
            }
        }
        if self.summary != self.before {
            let summary = self.summary;
            self.put(key::summary(), summary.encode());
        }
        Ok(())
    }
}
