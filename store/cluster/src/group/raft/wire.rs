//! What copies of a group say to each other, as bytes. Own formats, as for the log: the consensus engine's may change.
//!
//! A request is
//!
//! ```text
//! 0   version   1
//! 1   shard     u32, little-endian, as all below
//! 5   body      a versioned record of `mailrook_kv::encode`, and for entries what follows
//! ```
//!
//! Entries follow their record: for each the head and the length of its body as u32, then that body. They are as the log
//! keeps them. Cutting them out of a received request copies nothing.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use mailrook_kv::{decode, encode};
use mailrook_types::ShardId;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::types::{LogId, Types, Vote};
use crate::log::{HEAD_BYTES, RawEntry, decode_entry, encode_entry, log_id};

const VERSION: u8 = 1;
/// Version and shard.
const PREFIX_BYTES: usize = 5;

/// A request or a reply that cannot be read.
#[derive(Debug, Error)]
#[error("what another node sent cannot be read: {0}")]
pub(crate) struct WireError(String);

fn unreadable(what: impl ToString) -> WireError {
    WireError(what.to_string())
}

/// A place in the log, ordered as the consensus engine orders them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct WireLogId {
    term: u64,
    node: u64,
    index: u64,
}

impl From<&LogId> for WireLogId {
    fn from(id: &LogId) -> WireLogId {
        WireLogId {
            term: id.leader_id.term,
            index: id.index,
            node: id.leader_id.node_id,
        }
    }
}

impl From<WireLogId> for LogId {
    fn from(id: WireLogId) -> LogId {
        log_id(id.term, id.node, id.index)
    }
}

/// A vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireVote {
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) committed: bool,
}

impl From<&Vote> for WireVote {
    fn from(vote: &Vote) -> WireVote {
        WireVote {
            term: vote.leader_id.term,
            node: vote.leader_id.node_id,
            committed: vote.committed,
        }
    }
}

impl From<WireVote> for Vote {
    fn from(vote: WireVote) -> Vote {
        Vote {
            leader_id: log_id(vote.term, vote.node, 0).leader_id,
            committed: vote.committed,
        }
    }
}

/// What is asked of one copy. In bytes only ever appended to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Entries follow.
    Append {
        vote: WireVote,
        before: Option<WireLogId>,
        committed: Option<WireLogId>,
        entries: u32,
    },
    Vote(WireVoteRequest),
    /// Whether it would grant that vote. Nothing is kept.
    PreVote(WireVoteRequest),
    /// The leader, or those who know it to be gone, choose another.
    Transfer {
        from: WireVote,
        to: u64,
        last: Option<WireLogId>,
    },
    /// Whether the node would take leadership.
    WouldLead,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireVoteRequest {
    pub(super) vote: WireVote,
    last: Option<WireLogId>,
    by_transfer: bool,
}

/// What a copy answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    Appended(WireAppended),
    Vote {
        vote: WireVote,
        granted: bool,
        last: Option<WireLogId>,
    },
    Transferred,
    WouldLead(bool),
    /// Nothing: the sender's copy is of before the group was brought back for the so manieth time.
    Outdated {
        recoveries: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WireAppended {
    /// All of the request.
    All,
    /// Up to here.
    To(Option<WireLogId>),
    /// What should come before is not there; which, where that is known.
    Conflict(Option<WireLogId>),
    HigherVote(WireVote),
    /// As [`Told::Outdated`].
    Outdated {
        recoveries: u64,
    },
}

/// Which shard a request is for, and what follows.
pub(crate) fn split(mut request: Bytes) -> Result<(ShardId, Bytes), WireError> {
    if request.len() < PREFIX_BYTES {
        return Err(unreadable("a request is too short"));
    }
    let version = request.get_u8();
    if version != VERSION {
        return Err(unreadable(format!(
            "version {version} of a request is not known, it is from a newer Mailrook"
        )));
    }
    Ok((ShardId(request.get_u32_le()), request))
}

fn join(shard: ShardId, body: &[u8], more: usize) -> BytesMut {
    let mut request = BytesMut::with_capacity(PREFIX_BYTES + body.len() + more);
    request.put_u8(VERSION);
    request.put_u32_le(shard.0);
    request.put_slice(body);
    request
}

/// A request that says only which shard it is for: it opens a stream of entries.
pub(crate) fn opening(shard: ShardId) -> Bytes {
    join(shard, &[], 0).freeze()
}

pub(crate) fn ask(shard: ShardId, ask: &Ask) -> Bytes {
    with_body(shard, &encode(ask))
}

/// A request for `shard` whose body another module knows.
pub(crate) fn with_body(shard: ShardId, body: &[u8]) -> Bytes {
    join(shard, body, 0).freeze()
}

/// Entries for `shard`.
pub(crate) fn append(shard: ShardId, request: &AppendEntriesRequest<Types>) -> Bytes {
    let entries: Vec<RawEntry> = request.entries.iter().map(encode_entry).collect();
    let record = encode(&Ask::Append {
        vote: (&request.vote).into(),
        before: request.prev_log_id.as_ref().map(WireLogId::from),
        committed: request.leader_commit.as_ref().map(WireLogId::from),
        // A request holds at most a few hundred.
        entries: entries.len() as u32,
    });
    let bytes: usize = entries.iter().map(|entry| 4 + entry.len_bytes()).sum();
    let mut out = join(shard, &record, bytes);
    for entry in entries {
        out.put_slice(&entry.head);
        // Bounded by `COMMAND_BYTES_MAX`.
        out.put_u32_le(entry.body.len() as u32);
        out.put_slice(&entry.body);
    }
    out.freeze()
}

/// Reads the body of a request, and gives what follows it.
pub(crate) fn read_ask(body: &Bytes) -> Result<(Ask, Bytes), WireError> {
    let (ask, rest): (Ask, &[u8]) = postcard::take_from_bytes(body).map_err(unreadable)?;
    Ok((ask, body.slice(body.len() - rest.len()..)))
}

/// The entries of [`Ask::Append`].
pub(crate) fn read_append(ask: Ask, rest: Bytes) -> Result<AppendEntriesRequest<Types>, WireError> {
    let Ask::Append {
        vote,
        before,
        committed,
        entries,
    } = ask
    else {
        return Err(unreadable("entries were expected"));
    };
    let mut rest = rest;
    let mut read = Vec::new();
    for _ in 0..entries {
        read.push(read_entry(&mut rest)?);
    }
    if !rest.is_empty() {
        return Err(unreadable("bytes are left over behind the entries"));
    }
    Ok(AppendEntriesRequest {
        vote: vote.into(),
        prev_log_id: before.map(LogId::from),
        entries: read,
        leader_commit: committed.map(LogId::from),
    })
}

fn read_entry(rest: &mut Bytes) -> Result<super::Entry, WireError> {
    let short = || unreadable("an entry is cut short");
    if rest.len() < HEAD_BYTES + 4 {
        return Err(short());
    }
    let mut head = [0; HEAD_BYTES];
    rest.copy_to_slice(&mut head);
    let len = rest.get_u32_le() as usize;
    if rest.len() < len {
        return Err(short());
    }
    let body = rest.split_to(len);
    let raw = RawEntry::of_parts(head, body);
    decode_entry(raw).map_err(unreadable)
}

pub(crate) fn of_vote(request: &VoteRequest<Types>) -> WireVoteRequest {
    WireVoteRequest {
        vote: (&request.vote).into(),
        last: request.last_log_id.as_ref().map(WireLogId::from),
        by_transfer: request.leadership_transfer,
    }
}

pub(crate) fn to_vote(request: WireVoteRequest) -> VoteRequest<Types> {
    let mut read = VoteRequest::new(request.vote.into(), request.last.map(LogId::from));
    read.leadership_transfer = request.by_transfer;
    read
}

pub(crate) fn of_vote_response(response: &VoteResponse<Types>) -> Told {
    Told::Vote {
        vote: (&response.vote).into(),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(WireLogId::from),
    }
}

pub(crate) fn of_transfer(request: &TransferLeaderRequest<Types>) -> Ask {
    Ask::Transfer {
        from: request.from_leader().into(),
        to: *request.to_node_id(),
        last: request.last_log_id().map(WireLogId::from),
    }
}

pub(crate) fn of_appended(response: &AppendEntriesResponse<Types>) -> Told {
    Told::Appended(match response {
        AppendEntriesResponse::Success => WireAppended::All,
        AppendEntriesResponse::PartialSuccess(to) => {
            WireAppended::To(to.as_ref().map(WireLogId::from))
        }
        AppendEntriesResponse::Conflict => WireAppended::Conflict(None),
        AppendEntriesResponse::HigherVote(vote) => WireAppended::HigherVote(vote.into()),
    })
}

pub(crate) fn of_stream_result(
    result: &Result<Option<LogId>, StreamAppendError<Types>>,
) -> WireAppended {
    match result {
        Ok(to) => WireAppended::To(to.as_ref().map(WireLogId::from)),
        Err(StreamAppendError::Conflict(at)) => WireAppended::Conflict(Some(at.into())),
        Err(StreamAppendError::HigherVote(vote)) => WireAppended::HigherVote(vote.into()),
    }
}

pub(crate) fn to_stream_result(
    appended: WireAppended,
) -> Result<Result<Option<LogId>, StreamAppendError<Types>>, WireError> {
    Ok(match appended {
        WireAppended::To(to) => Ok(to.map(LogId::from)),
        WireAppended::Conflict(Some(at)) => Err(StreamAppendError::Conflict(at.into())),
        WireAppended::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote.into())),
        WireAppended::All | WireAppended::Conflict(None) | WireAppended::Outdated { .. } => {
            return Err(unreadable("an answer that streams do not give"));
        }
    })
}

#[derive(Serialize, Deserialize)]
enum Reply<T> {
    V1(T),
}

/// The bytes of an answer.
pub(crate) fn reply(told: &impl Serialize) -> Bytes {
    encode(&Reply::V1(told)).into()
}

/// Reads [`reply`].
pub(crate) fn read_reply<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let Reply::V1(told) = decode(bytes).map_err(unreadable)?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mailrook_types::ShardId;
    use openraft::{EntryPayload, raft::AppendEntriesRequest};
    use proptest::prelude::*;

    use super::*;
    use crate::group::raft::{Command, Entry};

    fn entries(bodies: &[Vec<u8>]) -> Vec<Entry> {
        let entry = |(index, body): (u64, &Vec<u8>)| Entry {
            log_id: log_id(3, 7, index),
            payload: EntryPayload::Normal(Command {
                time_ms: 5,
                bytes: Bytes::copy_from_slice(body),
            }),
        };
        (10..).zip(bodies).map(entry).collect()
    }

    proptest! {
        #[test]
        fn entries_arrive_as_they_were_sent(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..10)) {
            let request = AppendEntriesRequest {
                vote: Vote { leader_id: log_id(3, 7, 0).leader_id, committed: true },
                prev_log_id: Some(log_id(2, 1, 9)),
                entries: entries(&bodies),
                leader_commit: None,
            };
            let (shard, body) = split(append(ShardId(4), &request)).unwrap();
            let (ask, rest) = read_ask(&body).unwrap();
            let read = read_append(ask, rest).unwrap();
            prop_assert_eq!(shard, ShardId(4));
            prop_assert_eq!(read.vote, request.vote);
            prop_assert_eq!(read.prev_log_id, request.prev_log_id);
            prop_assert_eq!(read.entries, request.entries);
            prop_assert_eq!(read.leader_commit, request.leader_commit);
        }

        #[test]
        fn what_cannot_be_read_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((_, body)) = split(bytes.into())
                && let Ok((ask, rest)) = read_ask(&body)
            {
                // An error or a request, no panic.
                drop(read_append(ask, rest));
            }
        }
    }
}
