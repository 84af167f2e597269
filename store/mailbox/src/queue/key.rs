//! The layout of the queue's keys, in the index; [`crate::key`] has all others.
//!
//! | key | value |
//! |---|---|
//! | `50` | what is counted over all |
//! | `51` message | a queued message |
//! | `52` message number | a job |
//! | `53` destination `00` due message number | a job that waits: neither claimed nor held |
//! | `54` destination | what is known of a destination that has jobs |
//! | `55` time destination | when the destination has something to give: its first job is due, or its rest ends |
//! | `56` claim | a claim |
//! | `57` time claim | when its lease ends, or the notice after that |
//! | `58` claim message number | a job under the claim |
//! | `59` received message | the messages by age |

use mailrook_types::Domain;

use crate::{ClaimId, JobId, QueuedId, fields::Damage};

pub(crate) const SUMMARY: u8 = 0x50;
pub(crate) const MESSAGE: u8 = 0x51;
pub(crate) const JOB: u8 = 0x52;
pub(crate) const WAITING: u8 = 0x53;
pub(crate) const DESTINATION: u8 = 0x54;
pub(crate) const READY: u8 = 0x55;
pub(crate) const CLAIM: u8 = 0x56;
pub(crate) const LAPSE: u8 = 0x57;
pub(crate) const CLAIMED: u8 = 0x58;
pub(crate) const AGE: u8 = 0x59;

/// Ends a destination's name, in which it cannot stand.
const END: u8 = 0;

fn start(tag: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(48);
    key.push(tag);
    key
}

/// Times sort as numbers: the sign bit turned round makes negative ones come first.
fn time(time_ms: i64) -> [u8; 8] {
    (time_ms.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

fn push_job(key: &mut Vec<u8>, job: JobId) {
    key.extend_from_slice(&job.message.0.to_be_bytes());
    key.extend_from_slice(&job.number.to_be_bytes());
}

pub(crate) fn summary() -> Vec<u8> {
    start(SUMMARY)
}

pub(crate) fn message(message: QueuedId) -> Vec<u8> {
    let mut key = start(MESSAGE);
    key.extend_from_slice(&message.0.to_be_bytes());
    key
}

pub(crate) fn job(job: JobId) -> Vec<u8> {
    let mut key = start(JOB);
    push_job(&mut key, job);
    key
}

/// Every job of a message.
pub(crate) fn jobs_of(message: QueuedId) -> Vec<u8> {
    let mut key = start(JOB);
    key.extend_from_slice(&message.0.to_be_bytes());
    key
}

/// Every job that waits for a destination.
pub(crate) fn waiting_for(destination: &Domain) -> Vec<u8> {
    let mut key = start(WAITING);
    key.extend_from_slice(destination.as_str().as_bytes());
    key.push(END);
    key
}

pub(crate) fn waiting(destination: &Domain, due_ms: i64, job: JobId) -> Vec<u8> {
    let mut key = waiting_for(destination);
    key.extend_from_slice(&time(due_ms));
    push_job(&mut key, job);
    key
}

/// Where the jobs start that are due after `due_ms`.
pub(crate) fn waiting_after(destination: &Domain, due_ms: i64) -> Vec<u8> {
    let mut key = waiting_for(destination);
    key.extend_from_slice(&time(due_ms.saturating_add(1)));
    key
}

pub(crate) fn destination(destination: &Domain) -> Vec<u8> {
    let mut key = start(DESTINATION);
    key.extend_from_slice(destination.as_str().as_bytes());
    key
}

pub(crate) fn ready(time_ms: i64, destination: &Domain) -> Vec<u8> {
    let mut key = start(READY);
    key.extend_from_slice(&time(time_ms));
    key.extend_from_slice(destination.as_str().as_bytes());
    key
}

pub(crate) fn claim(claim: ClaimId) -> Vec<u8> {
    let mut key = start(CLAIM);
    key.extend_from_slice(&claim.0.to_be_bytes());
    key
}

pub(crate) fn lapse(time_ms: i64, claim: ClaimId) -> Vec<u8> {
    let mut key = start(LAPSE);
    key.extend_from_slice(&time(time_ms));
    key.extend_from_slice(&claim.0.to_be_bytes());
    key
}

/// Every job under a claim.
pub(crate) fn claimed_by(claim: ClaimId) -> Vec<u8> {
    let mut key = start(CLAIMED);
    key.extend_from_slice(&claim.0.to_be_bytes());
    key
}

pub(crate) fn claimed(claim: ClaimId, job: JobId) -> Vec<u8> {
    let mut key = claimed_by(claim);
    push_job(&mut key, job);
    key
}

pub(crate) fn age(received_ms: i64, message: QueuedId) -> Vec<u8> {
    let mut key = start(AGE);
    key.extend_from_slice(&time(received_ms));
    key.extend_from_slice(&message.0.to_be_bytes());
    key
}

/// Where the times up to and with `time_ms` end in one of the tables by time.
pub(crate) fn until(tag: u8, time_ms: i64) -> Vec<u8> {
    let mut key = start(tag);
    key.extend_from_slice(&time(time_ms.saturating_add(1)));
    key
}

/// The job at the end of a key.
pub(crate) fn parse_job(key: &[u8]) -> Result<JobId, Damage> {
    let last: &[u8; 12] = key.last_chunk().ok_or(CUT_SHORT)?;
    let (message, number) = last.split_at(8);
    match (message.first_chunk(), number.first_chunk()) {
        (Some(message), Some(number)) => Ok(JobId {
            message: QueuedId(u64::from_be_bytes(*message)),
            number: u32::from_be_bytes(*number),
        }),
        _ => Err(CUT_SHORT),
    }
}

/// The message or claim at the end of a key.
pub(crate) fn parse_id(key: &[u8]) -> Result<u64, Damage> {
    let last = key.last_chunk().ok_or(CUT_SHORT)?;
    Ok(u64::from_be_bytes(*last))
}

/// The time in front, and what is behind it, in one of the tables by time.
pub(crate) fn parse_time(key: &[u8]) -> Result<(i64, &[u8]), Damage> {
    let (time, rest) = key
        .get(1..)
        .and_then(<[u8]>::split_first_chunk)
        .ok_or(CUT_SHORT)?;
    let time_ms = (u64::from_be_bytes(*time) ^ (1 << 63)).cast_signed();
    Ok((time_ms, rest))
}

/// The destination that a key of one of the tables by time ends with.
pub(crate) fn parse_ready(key: &[u8]) -> Result<(i64, Domain), Damage> {
    let (time_ms, name) = parse_time(key)?;
    Ok((time_ms, parse_domain(name)?))
}

/// The destination of a key of `54`.
pub(crate) fn parse_destination(key: &[u8]) -> Result<Domain, Damage> {
    parse_domain(key.get(1..).ok_or(CUT_SHORT)?)
}

fn parse_domain(name: &[u8]) -> Result<Domain, Damage> {
    let text = std::str::from_utf8(name).ok();
    text.and_then(|text| Domain::parse(text).ok())
        .ok_or(Damage("a destination's key is no domain"))
}

const CUT_SHORT: Damage = Damage("a key of the queue is cut short");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_read_back() {
        let (of, name) = (
            JobId {
                message: QueuedId(7),
                number: 3,
            },
            Domain::parse("a.example").unwrap(),
        );
        assert_eq!(parse_job(&job(of)), Ok(of));
        assert_eq!(parse_job(&waiting(&name, -5, of)), Ok(of));
        assert_eq!(parse_job(&claimed(ClaimId(1), of)), Ok(of));
        assert_eq!(parse_ready(&ready(-5, &name)), Ok((-5, name.clone())));
        assert_eq!(parse_destination(&destination(&name)), Ok(name));
        assert_eq!(parse_id(&lapse(9, ClaimId(4))), Ok(4));
    }

    #[test]
    fn one_destination_is_not_another_s_beginning() {
        let (short, long) = (
            Domain::parse("a.example").unwrap(),
            Domain::parse("a.example.test").unwrap(),
        );
        assert!(!waiting_for(&long).starts_with(&waiting_for(&short)));
    }

    proptest! {
        #[test]
        fn never_panics_on_garbage(key in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = (parse_job(&key), parse_id(&key), parse_ready(&key), parse_destination(&key));
        }
    }
}
