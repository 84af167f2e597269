//! What the log says of one group, against the witness and the tables.

use std::path::Path;

use mailrook_types::ShardId;

use crate::{
    OpenError,
    data_dir::{LogMark, Marks, VoteMark, damaged},
    group::raft::{LogId, log_mark, vote_mark},
    log::{LogError, LogStore, RecordKey, decode_entry, decode_log_id, decode_vote},
};

/// How much of the log is read at a time.
const READ_BYTES: usize = 8 << 20;

/// What there is to compare the log with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupEvidence {
    pub(crate) shard: ShardId,
    /// What the witness says.
    pub(crate) marks: Marks,
    /// The last entry whose changes are in the tables.
    pub(crate) applied: Option<LogId>,
}

/// Compares. `dir` is the log's, for the message.
pub(crate) fn check_group(
    log: &dyn LogStore,
    dir: &Path,
    evidence: &GroupEvidence,
) -> Result<(), OpenError> {
    let shard = evidence.shard;
    let refuse = |what: String| damaged(dir, format!("group {shard}: {what}"));
    let unreadable = |error: LogError| refuse(error.to_string());
    let group = log_group(shard);
    check_vote(log, evidence).map_err(refuse)?;
    let record = |key| {
        log.record(group, key)
            .map(|bytes| decode_log_id(&bytes))
            .transpose()
            .map_err(unreadable)
    };
    let purged = record(RecordKey::Purged)?;
    let installing = record(RecordKey::Installing)?;
    let purged_index = purged.map_or(0, |id| id.index);
    let bounds = log.bounds(group);
    if let Some((first, _)) = bounds
        && first > purged_index + 1
    {
        return Err(refuse(format!(
            "the log begins at entry {first}, but was cut only up to {purged_index}"
        )));
    }
    let last = match bounds {
        Some((_, last)) if last > purged_index => {
            Some(read_id(log, group, last).map_err(unreadable)?)
        }
        _ => purged,
    };
    let last_mark = last.map(|id| log_mark(&id));
    if last_mark < evidence.marks.last {
        return Err(refuse(format!(
            "the log ends at {}, but was known to reach {}",
            show(last_mark),
            show(evidence.marks.last)
        )));
    }
    let applied_index = evidence.applied.map_or(0, |id| id.index);
    if applied_index < purged_index {
        return Err(refuse(format!(
            "the tables end at entry {applied_index}, but the log was cut up to {purged_index}"
        )));
    }
    // A snapshot was put in place, and the crash came before the log was told.
    let installed = installing.is_some() && installing == evidence.applied;
    if applied_index > last.map_or(0, |id| id.index) && !installed {
        return Err(refuse(format!(
            "the log ends at {}, but the tables hold entry {applied_index}",
            show(last_mark)
        )));
    }
    if let (Some(applied), Some((first, last))) = (evidence.applied, bounds)
        && (first..=last).contains(&applied.index)
        && !installed
        && read_id(log, group, applied.index).map_err(unreadable)? != applied
    {
        return Err(refuse(format!(
            "the log's entry {applied_index} is not the one that the tables hold"
        )));
    }
    Ok(())
}

fn check_vote(log: &dyn LogStore, evidence: &GroupEvidence) -> Result<(), String> {
    let bytes = log.record(log_group(evidence.shard), RecordKey::Vote);
    let vote = bytes
        .map(|bytes| decode_vote(&bytes))
        .transpose()
        .map_err(|error| error.to_string())?;
    let vote = vote.map(|vote| vote_mark(&vote));
    if vote < evidence.marks.vote {
        let term = |vote: Option<VoteMark>| {
            vote.map_or("none".into(), |vote| format!("one of term {}", vote.term))
        };
        return Err(format!(
            "the log's vote is {}, but {} was given",
            term(vote),
            term(evidence.marks.vote)
        ));
    }
    Ok(())
}

/// Reads every entry that is still needed.
pub(crate) fn check_entries(
    log: &dyn LogStore,
    dir: &Path,
    shard: ShardId,
) -> Result<(), OpenError> {
    let group = log_group(shard);
    let Some((mut next, last)) = log.bounds(group) else {
        return Ok(());
    };
    let refuse = |what: String| damaged(dir, format!("group {shard}: {what}"));
    while next <= last {
        let entries = log
            .read(group, next, last + 1, READ_BYTES)
            .map_err(|error| refuse(error.to_string()))?;
        if entries.is_empty() {
            return Err(refuse(format!("entry {next} is missing")));
        }
        next += entries.len() as u64;
        for entry in entries {
            decode_entry(entry).map_err(|error| refuse(error.to_string()))?;
        }
    }
    Ok(())
}

fn read_id(log: &dyn LogStore, group: u64, index: u64) -> Result<LogId, LogError> {
    let missing = || LogError::damage("reading entries", format!("entry {index} is missing"));
    let raw = log
        .read(group, index, index + 1, READ_BYTES)?
        .pop()
        .ok_or_else(missing)?;
    Ok(decode_entry(raw)?.log_id)
}

fn show(mark: Option<LogMark>) -> String {
    mark.map_or("nothing".into(), |mark| {
        format!("entry {} of term {}", mark.index, mark.term)
    })
}

/// The number that a group has in the log. Zero is left to raft-engine.
pub(crate) fn log_group(shard: ShardId) -> u64 {
    u64::from(shard.0) + 1
}
