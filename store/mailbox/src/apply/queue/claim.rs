//! Giving jobs to runners, and taking them from those that are gone.

use mailrook_kv::KvError;
use mailrook_types::{ClientId, Domain, Timestamp};

use crate::{
    ClaimId, ClaimJobs, Claimed, ClaimedJob, JobId,
    fields::Damage,
    limits::{JOBS_CLAIMED_MAX, QUEUE_LEASE_MAX, QUEUE_NOTICE, millis},
    queue::{
        book::{self, Book},
        key,
        record::{ClaimRecord, JobRecord},
    },
    tx::{Outcome, Tx},
};

/// 64 destinations are looked at by one claim: each gets its turn, and those that were ready first come first.
const DESTINATIONS_AT_ONCE: usize = 64;

/// 4 claims are taken from runners by one command: up to a thousand jobs go back, some ten milliseconds.
const FREED_AT_ONCE: usize = 4;

/// 256 claims are given notice by one command: a record each.
const NOTICES_AT_ONCE: usize = 256;

/// 512 KiB of what is told of jobs in one answer: half of what nodes answer each other at ease.
const CLAIMED_BYTES_MAX: usize = 512 << 10;

/// Finds claims whose leases are over: gives notice, and what had notice goes back.
pub(super) fn free_lapsed(book: &mut Book<'_>) -> Outcome<()> {
    let end = key::until(key::LAPSE, book.now);
    let lapsed = book::keys(book.view.as_read(), &[key::LAPSE], &end, NOTICES_AT_ONCE)?;
    let mut freed = 0;
    for key in lapsed {
        let id = ClaimId(key::parse_id(&key)?);
        let record = book
            .claim(id)?
            .ok_or(Damage("a claim's time has no claim"))?;
        match record.notice_ms {
            Some(at) if book.now >= at.saturating_add(millis(QUEUE_NOTICE)) => {
                if freed < FREED_AT_ONCE {
                    freed += 1;
                    book.free_claim(id)?;
                }
            }
            Some(_) => {}
            None => {
                let notice_ms = Some(book.now);
                book.change_claim(
                    id,
                    ClaimRecord {
                        notice_ms,
                        ..record
                    },
                );
            }
        }
    }
    Ok(())
}

/// Claims what is due, in turns of destinations.
pub(super) fn due(book: &mut Book<'_>, wish: &ClaimJobs) -> Outcome<Claimed> {
    let end = key::until(key::READY, book.now);
    let ready = book::keys(
        book.view.as_read(),
        &[key::READY],
        &end,
        DESTINATIONS_AT_ONCE,
    )?;
    let mut destinations = Vec::with_capacity(ready.len());
    for key in ready {
        destinations.push(key::parse_ready(&key)?.1);
    }
    let mut taking = Taking::new(wish);
    let share = taking.room.div_ceil(destinations.len().max(1));
    // A share for each first; then what is left for those that have more.
    for most in [share, usize::MAX] {
        for destination in &destinations {
            taking.some(book, destination, most)?;
        }
    }
    Ok(taking.finish(book))
}

/// Claims those of `jobs`, just queued, that may be sent now.
pub(super) fn these(book: &mut Book<'_>, wish: &ClaimJobs, jobs: &[JobId]) -> Outcome<Claimed> {
    let mut taking = Taking::new(wish);
    for id in jobs {
        let record = book.job(*id)?.ok_or(Damage("a new job is not there"))?;
        let now = book.now;
        let destination = *book.destination(&record.destination)?;
        let rests = destination.rests_until_ms.is_some_and(|until| until > now);
        if record.due_ms <= now && !rests && taking.free(book, &record.destination)? > 0 {
            taking.take(book, *id, record)?;
        }
    }
    Ok(taking.finish(book))
}

/// Extends leases. Gives those that are not the runner's.
pub(super) fn renew(
    book: &mut Book<'_>,
    runner: ClientId,
    claims: &[ClaimId],
    lease_ms: u32,
) -> Outcome<Vec<ClaimId>> {
    let mut lost = Vec::new();
    for id in claims {
        match book.claim(*id)? {
            Some(record) if record.runner == runner => {
                let expires_ms = lease_end(book.now, lease_ms);
                let notice_ms = None;
                book.change_claim(
                    *id,
                    ClaimRecord {
                        expires_ms,
                        notice_ms,
                        ..record
                    },
                );
            }
            _ => lost.push(*id),
        }
    }
    Ok(lost)
}

/// When there may be more.
pub(super) fn next(tx: &Tx<'_>) -> Outcome<Option<Timestamp>> {
    Ok(book::next(tx.view.as_read())?.map(Timestamp))
}

fn lease_end(now: i64, lease_ms: u32) -> i64 {
    now.saturating_add(i64::from(lease_ms).min(millis(QUEUE_LEASE_MAX)))
}

/// A claim in the making.
struct Taking<'w> {
    wish: &'w ClaimJobs,
    claim: Option<ClaimId>,
    jobs: Vec<ClaimedJob>,
    room: usize,
    bytes: usize,
}

impl<'w> Taking<'w> {
    fn new(wish: &'w ClaimJobs) -> Taking<'w> {
        Taking {
            wish,
            claim: None,
            jobs: Vec::new(),
            room: wish.limit.min(JOBS_CLAIMED_MAX) as usize,
            bytes: CLAIMED_BYTES_MAX,
        }
    }

    /// How many more of a destination's jobs may be under way; notes if there are none.
    fn free(&self, book: &mut Book<'_>, destination: &Domain) -> Result<usize, KvError> {
        let record = book.destination(destination)?;
        let free = u64::from(self.wish.per_destination).saturating_sub(record.claimed);
        // With nothing under way nothing would come back.
        record.is_full = free == 0 && record.claimed > 0;
        Ok(usize::try_from(free).unwrap_or(usize::MAX))
    }

    /// Takes up to `most` of a destination's jobs that are due.
    fn some(&mut self, book: &mut Book<'_>, destination: &Domain, most: usize) -> Outcome<()> {
        let most = most.min(self.room).min(self.free(book, destination)?);
        let (start, end) = (
            key::waiting_for(destination),
            key::waiting_after(destination, book.now),
        );
        for key in book::keys(book.view.as_read(), &start, &end, most)? {
            if self.bytes == 0 {
                break;
            }
            let id = key::parse_job(&key)?;
            let record = book.job(id)?.ok_or(Damage("a waiting job is not there"))?;
            self.take(book, id, record)?;
        }
        self.free(book, destination)?;
        Ok(())
    }

    fn take(&mut self, book: &mut Book<'_>, id: JobId, old: JobRecord) -> Outcome<()> {
        let message = book::message(book.view.as_read(), id.message)?
            .ok_or(Damage("a job's message is not in the queue"))?;
        let claim = *self.claim.get_or_insert_with(|| book.next_claim());
        let new = JobRecord {
            claim: Some(claim),
            ..old.clone()
        };
        book.change_job(id, &old, &new)?;
        let places = (0..).zip(new.recipients);
        let left = places.filter(|(_, (_, is_done))| !is_done);
        let recipients: Vec<_> = left
            .map(|(place, (recipient, _))| (place, recipient))
            .collect();
        let told = message.envelope.prefix.len() + 512 + 256 * recipients.len();
        self.bytes = self.bytes.saturating_sub(told);
        self.room = self.room.saturating_sub(1);
        self.jobs.push(ClaimedJob {
            id,
            destination: new.destination,
            envelope: message.envelope,
            hash: message.hash,
            size: message.size,
            recipients,
            tries: new.tries,
            delay_told: new.delay_told,
        });
        Ok(())
    }

    fn finish(self, book: &mut Book<'_>) -> Claimed {
        if let Some(claim) = self.claim {
            let expires_ms = lease_end(book.now, self.wish.lease_ms);
            let record = ClaimRecord {
                runner: self.wish.runner,
                expires_ms,
                notice_ms: None,
                lapse_ms: expires_ms,
                jobs: self.jobs.len() as u32,
            };
            book.add_claim(claim, &record);
        }
        let mut jobs = self.jobs;
        jobs.sort_by(|a, b| (&a.destination, a.id).cmp(&(&b.destination, b.id)));
        Claimed {
            claim: self.claim,
            jobs,
            next: None,
        }
    }
}
