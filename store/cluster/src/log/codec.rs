//! How entries, votes and memberships are stored. None of it is the consensus engine's own format: that one may
//! change with its next version, what is stored may not.
//!
//! An entry is a head of fixed length and a body:
//!
//! ```text
//! 0   version   1
//! 1   kind      0 blank, 1 command, 2 membership
//! 2   index     u64, little-endian, as all below
//! 10  term      u64
//! 18  node      u64, the leader that made it
//! 26  time_ms   i64, the log's time that the leader stamped; 0 unless a command
//! 34  body      the command, or the membership as a versioned record
//! ```
//!
//! Everything else is a versioned record of [`mailrook_kv::encode`].

use std::collections::BTreeSet;

use bytes::Bytes;
use mailrook_kv::{decode, encode};
use openraft::{EntryPayload, Membership, impls::EmptyNode, vote::leader_id_adv::LeaderId};
use serde::{Deserialize, Serialize};

use super::{LogError, RawEntry};
use crate::group::raft::{Command, Entry, LogId, StoredMembership, Vote};

/// The length of an entry's head.
pub(crate) const HEAD_BYTES: usize = 34;

const VERSION: u8 = 1;
const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

#[derive(Serialize, Deserialize)]
enum StoredLogId {
    V1 { term: u64, node: u64, index: u64 },
}

#[derive(Serialize, Deserialize)]
enum StoredVote {
    V1 {
        term: u64,
        node: u64,
        committed: bool,
    },
}

/// Voters as joint configurations; everyone else is a learner. Addresses are not the log's business.
#[derive(Serialize, Deserialize)]
enum StoredMembers {
    V1 {
        /// The entry that it stands in; none for what no entry made.
        log_id: Option<StoredLogId>,
        configs: Vec<BTreeSet<u64>>,
        nodes: BTreeSet<u64>,
    },
}

fn damaged(what: &str, cause: impl ToString) -> LogError {
    LogError::damage(
        "reading what it holds",
        format!("{what}: {}", cause.to_string()),
    )
}

pub(crate) fn log_id(term: u64, node: u64, index: u64) -> LogId {
    LogId {
        leader_id: LeaderId {
            term,
            node_id: node,
        },
        index,
    }
}

fn to_stored(id: &LogId) -> StoredLogId {
    StoredLogId::V1 {
        term: id.leader_id.term,
        node: id.leader_id.node_id,
        index: id.index,
    }
}

fn from_stored(StoredLogId::V1 { term, node, index }: StoredLogId) -> LogId {
    log_id(term, node, index)
}

/// The bytes of a place in the log.
pub(crate) fn encode_log_id(id: &LogId) -> Vec<u8> {
    encode(&to_stored(id))
}

/// Reads [`encode_log_id`].
pub(crate) fn decode_log_id(bytes: &[u8]) -> Result<LogId, LogError> {
    decode(bytes)
        .map(from_stored)
        .map_err(|error| damaged("a log id", error))
}

/// The bytes of a vote.
pub(crate) fn encode_vote(vote: &Vote) -> Vec<u8> {
    encode(&StoredVote::V1 {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    })
}

/// Reads [`encode_vote`].
pub(crate) fn decode_vote(bytes: &[u8]) -> Result<Vote, LogError> {
    let StoredVote::V1 {
        term,
        node,
        committed,
    } = decode(bytes).map_err(|error| damaged("a vote", error))?;
    Ok(Vote {
        leader_id: LeaderId {
            term,
            node_id: node,
        },
        committed,
    })
}

/// The bytes of a membership with the entry that made it.
pub(crate) fn encode_membership(members: &StoredMembership) -> Vec<u8> {
    encode(&StoredMembers::V1 {
        log_id: members.log_id().as_ref().map(to_stored),
        configs: members.membership().get_joint_config().clone(),
        nodes: members.membership().nodes().map(|(id, _)| *id).collect(),
    })
}

/// Reads [`encode_membership`].
pub(crate) fn decode_membership(bytes: &[u8]) -> Result<StoredMembership, LogError> {
    let fail = |error: &dyn std::fmt::Display| damaged("a membership", error);
    let StoredMembers::V1 {
        log_id,
        configs,
        nodes,
    } = decode(bytes).map_err(|error| fail(&error))?;
    let log_id = log_id.map(from_stored);
    if configs.is_empty() && nodes.is_empty() {
        return Ok(StoredMembership::new(log_id, Membership::default()));
    }
    let nodes: std::collections::BTreeMap<u64, EmptyNode> =
        nodes.into_iter().map(|id| (id, EmptyNode {})).collect();
    let membership = Membership::new(configs, nodes).map_err(|error| fail(&error))?;
    Ok(StoredMembership::new(log_id, membership))
}

/// The index that stands in a head.
pub(super) fn entry_index(head: &[u8; HEAD_BYTES]) -> u64 {
    u64_at(head, 2)
}

fn u64_at(head: &[u8; HEAD_BYTES], offset: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[offset..offset + 8]);
    u64::from_le_bytes(bytes)
}

/// An entry for the log. Copies no command.
pub(crate) fn encode_entry(entry: &Entry) -> RawEntry {
    let (kind, time_ms, body) = match &entry.payload {
        EntryPayload::Blank => (BLANK, 0, Bytes::new()),
        EntryPayload::Normal(command) => (COMMAND, command.time_ms, command.bytes.clone()),
        EntryPayload::Membership(membership) => {
            let members = StoredMembership::new(None, membership.clone());
            (MEMBERSHIP, 0, encode_membership(&members).into())
        }
    };
    let id = &entry.log_id;
    let mut head = [0; HEAD_BYTES];
    head[0] = VERSION;
    head[1] = kind;
    head[2..10].copy_from_slice(&id.index.to_le_bytes());
    head[10..18].copy_from_slice(&id.leader_id.term.to_le_bytes());
    head[18..26].copy_from_slice(&id.leader_id.node_id.to_le_bytes());
    head[26..34].copy_from_slice(&time_ms.to_le_bytes());
    RawEntry {
        index: id.index,
        head,
        body,
    }
}

/// Reads [`encode_entry`].
pub(crate) fn decode_entry(raw: RawEntry) -> Result<Entry, LogError> {
    let head = &raw.head;
    if head[0] != VERSION {
        let cause = format!(
            "version {} is not known, a newer Mailrook may have written it",
            head[0]
        );
        return Err(damaged("an entry", cause));
    }
    let payload = match head[1] {
        BLANK => EntryPayload::Blank,
        COMMAND => EntryPayload::Normal(Command {
            // Stored as the two's complement.
            time_ms: u64_at(head, 26).cast_signed(),
            bytes: raw.body,
        }),
        MEMBERSHIP => EntryPayload::Membership(decode_membership(&raw.body)?.membership().clone()),
        kind => return Err(damaged("an entry", format!("kind {kind} is not known"))),
    };
    Ok(Entry {
        log_id: log_id(u64_at(head, 10), u64_at(head, 18), raw.index),
        payload,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::{EntryPayload, Membership, impls::EmptyNode};

    use super::*;

    fn membership() -> Membership<u64, EmptyNode> {
        let nodes: BTreeMap<u64, EmptyNode> = [1, 2, 9].map(|id| (id, EmptyNode {})).into();
        Membership::new(vec![BTreeSet::from([1]), BTreeSet::from([1, 2])], nodes).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let command = Command {
            time_ms: -5,
            bytes: Bytes::from_static(b"APPEND"),
        };
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(command),
            EntryPayload::Membership(membership()),
        ];
        for (index, payload) in (1..).zip(payloads) {
            let entry = Entry {
                log_id: log_id(3, 4, index),
                payload,
            };
            let raw = encode_entry(&entry);
            assert_eq!(entry_index(&raw.head), index);
            let read = decode_entry(raw).unwrap();
            assert_eq!((read.log_id, read.payload), (entry.log_id, entry.payload));
        }
        let vote = Vote {
            leader_id: LeaderId {
                term: 9,
                node_id: 8,
            },
            committed: true,
        };
        assert_eq!(decode_vote(&encode_vote(&vote)).unwrap(), vote);
        for members in [
            StoredMembership::default(),
            StoredMembership::new(Some(log_id(1, 2, 3)), membership()),
        ] {
            assert_eq!(
                decode_membership(&encode_membership(&members)).unwrap(),
                members
            );
        }
    }

    /// These bytes lie on disks: a change of them needs a new version.
    #[test]
    fn the_format_is_what_it_was() {
        let entry = Entry {
            log_id: log_id(2, 3, 1),
            payload: EntryPayload::Normal(Command {
                time_ms: 4,
                bytes: Bytes::from_static(b"x"),
            }),
        };
        let mut expected = vec![1, 1];
        for number in [1u64, 2, 3, 4] {
            expected.extend_from_slice(&number.to_le_bytes());
        }
        assert_eq!(encode_entry(&entry).head.as_slice(), expected);
        assert_eq!(encode_log_id(&log_id(2, 3, 1)), [0, 2, 3, 1]);
        let members = StoredMembership::new(Some(log_id(2, 3, 1)), membership());
        assert_eq!(
            encode_membership(&members),
            [0, 1, 0, 2, 3, 1, 2, 1, 1, 2, 1, 2, 3, 1, 2, 9]
        );
    }

    #[test]
    fn an_entry_of_a_newer_version_is_an_error() {
        let mut raw = RawEntry::default();
        raw.head[0] = 2;
        assert!(decode_entry(raw).unwrap_err().to_string().contains("newer"));
    }
}
