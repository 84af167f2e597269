//! Bringing groups back that lost their quorum for good, from one copy, in a data directory that nobody has open.
//!
//! Nothing in the log is edited. Behind what the copy has comes an entry that names this node as the only voter, in a term
//! above any that others may have reached, and by which they are known for copies of before; started again, the copy
//! elects itself. What the others acknowledged after the
//! copy's last entry is not there, and nobody can say what that was. Entries of the copy that were never acknowledged
//! come to count.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use mailrook_types::{NodeId, ShardId};
use openraft::{EntryPayload, Membership, impls::EmptyNode, vote::leader_id_adv::LeaderId};

use super::{
    NodeOptions, OpenError, Parts,
    open::{Looked, look},
};
use crate::{
    data_dir::{DataDir, damaged},
    group::raft::{
        Command, Entry, LogId, StoredMembership, Vote, log_mark, recovery_term, vote_mark,
    },
    guard::log_group,
    log::{
        LogError, LogStore, LogWrite, RecordKey, decode_entry, decode_log_id, decode_vote,
        encode_entry, encode_vote, log_id,
    },
    state::GroupState,
};

/// How much of the log is read at a time.
const READ_BYTES: usize = 8 << 20;

/// What a copy has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyReport {
    /// Of which group.
    pub shard: ShardId,
    /// Its last entry; 0 if it has none.
    pub last_index: u64,
    /// The term of that.
    pub last_term: u64,
    /// The log's time as of then, in milliseconds since 1970; 0 if it has none.
    pub log_time_ms: i64,
    /// Who voted, as of its last entry.
    pub voters: BTreeSet<NodeId>,
    /// Who followed without a vote.
    pub learners: BTreeSet<NodeId>,
}

impl CopyReport {
    /// Whether there is anything to bring back.
    pub fn has_content(&self) -> bool {
        !self.voters.is_empty()
    }
}

/// What the log and the tables of a copy say.
struct Copy {
    last: LogId,
    time_ms: i64,
    members: StoredMembership,
    vote: Option<Vote>,
}

/// A data directory whose groups are looked at and brought back.
pub struct Recovery {
    looked: Looked,
}

impl Recovery {
    /// Opens the data directory at `data_dir`, which no other process may have open.
    ///
    /// # Errors
    /// As opening a node; and there may be no data directory.
    pub fn open(data_dir: &Path) -> Result<Recovery, OpenError> {
        if DataDir::identity_of(data_dir)?.is_none() {
            let text = format!("{} holds nothing to recover", data_dir.display());
            return Err(OpenError::Options(text));
        }
        let options = NodeOptions::new(data_dir);
        let looked = look(&options, Parts::default())?;
        Ok(Recovery { looked })
    }

    /// Which node this is.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.looked.dir.identity().node_id)
    }

    /// Which cluster.
    pub fn cluster_id(&self) -> u128 {
        self.looked.dir.identity().cluster_id
    }

    /// What this node has copies of.
    ///
    /// # Errors
    /// A copy is damaged.
    pub fn copies(&self) -> Result<Vec<CopyReport>, OpenError> {
        let states = self.looked.states.iter();
        states
            .map(|(shard, state)| Ok(self.copy(*shard, state)?.report(*shard)))
            .collect()
    }

    /// Makes this node the only voter of a group, from its next start on. `first_command` is then applied before any other.
    ///
    /// # Errors
    /// There is no copy, or none that can be used; then nothing has changed.
    pub fn recover(&self, shard: ShardId, first_command: Option<Bytes>) -> Result<(), OpenError> {
        let unusable = |cause: &str| OpenError::Group {
            shard,
            cause: cause.to_owned(),
        };
        let mut states = self.looked.states.iter();
        let state = states.find(|(known, _)| *known == shard);
        let (_, state) = state.ok_or_else(|| unusable("this node has no copy of it"))?;
        let copy = self.copy(shard, state)?;
        if !copy.report(shard).has_content() {
            return Err(unusable(
                "the copy was still to be filled: it holds nothing",
            ));
        }
        if state.applied().log_id > Some(copy.last) {
            let text = "a snapshot was put in place, and the log does not follow it yet: start the server once, and stop it";
            return Err(unusable(text));
        }
        self.append(shard, &copy, first_command)
    }

    fn append(
        &self,
        shard: ShardId,
        copy: &Copy,
        first_command: Option<Bytes>,
    ) -> Result<(), OpenError> {
        let own = self.node_id().0;
        let known = copy.vote.map_or(0, |vote| vote.leader_id.term);
        let term = recovery_term(known.max(copy.last.leader_id.term));
        let vote = Vote {
            leader_id: LeaderId { term, node_id: own },
            committed: true,
        };
        let alone = Membership::new(
            vec![BTreeSet::from([own])],
            BTreeMap::from([(own, EmptyNode {})]),
        )
        .map_err(|error| self.damaged(shard, error))?;
        let mut payloads = vec![EntryPayload::Membership(alone)];
        payloads.extend(first_command.map(|bytes| {
            EntryPayload::Normal(Command {
                time_ms: copy.time_ms,
                bytes,
            })
        }));
        let entries: Vec<Entry> = (copy.last.index + 1..)
            .zip(payloads)
            .map(|(index, payload)| Entry {
                log_id: log_id(term, own, index),
                payload,
            })
            .collect();
        let last = entries.last().map_or(copy.last, |entry| entry.log_id);
        let group = log_group(shard);
        // Both or neither: an entry above the vote would be damage.
        let writes = vec![
            LogWrite::Record {
                group,
                key: RecordKey::Vote,
                value: encode_vote(&vote),
            },
            LogWrite::Append {
                group,
                entries: entries.iter().map(encode_entry).collect(),
            },
        ];
        self.store(shard)?
            .write_synced(&writes)
            .map_err(|error| self.damaged(shard, error))?;
        let witness = &self.looked.witness;
        let noted = witness
            .raise_votes(&[(shard, vote_mark(&vote))])
            .and_then(|()| witness.raise_last(&[(shard, log_mark(&last))]));
        noted.map_err(|source| crate::data_dir::io("writing", &self.looked.dir.witness(), source))
    }

    /// Closes the directory.
    pub fn close(self) {
        let Looked {
            dir, log, states, ..
        } = self.looked;
        drop(states);
        log.close();
        dir.release();
    }

    fn copy(&self, shard: ShardId, state: &GroupState) -> Result<Copy, OpenError> {
        let store = self.store(shard)?;
        let at_fault = |error: LogError| self.damaged(shard, error);
        let group = log_group(shard);
        let read = |key, what: fn(&[u8]) -> Result<LogId, LogError>| {
            let bytes = store.record(group, key);
            bytes.map(|bytes| what(&bytes)).transpose()
        };
        let purged = read(RecordKey::Purged, decode_log_id).map_err(at_fault)?;
        let vote = store.record(group, RecordKey::Vote);
        let vote = vote.map(|bytes| decode_vote(&bytes)).transpose();
        let applied = state.applied();
        let mut copy = Copy {
            last: purged.unwrap_or_else(|| log_id(0, 0, 0)),
            time_ms: applied.time_ms,
            members: applied.membership,
            vote: vote.map_err(at_fault)?,
        };
        copy.follow(&*store, group).map_err(at_fault)?;
        Ok(copy)
    }

    fn store(&self, shard: ShardId) -> Result<Arc<dyn LogStore>, OpenError> {
        let store = self.looked.log.store();
        store.map_err(|error| self.damaged(shard, error))
    }

    fn damaged(&self, shard: ShardId, what: impl ToString) -> OpenError {
        damaged(
            &self.looked.dir.log(),
            format!("group {shard}: {}", what.to_string()),
        )
    }
}

impl Copy {
    /// Takes up what the log has, to its end.
    fn follow(&mut self, store: &dyn LogStore, group: u64) -> Result<(), LogError> {
        let Some((first, last)) = store.bounds(group) else {
            return Ok(());
        };
        // What was cut may lie in the files still.
        let mut next = first.max(self.last.index);
        while next <= last {
            let entries = store.read(group, next, last + 1, READ_BYTES)?;
            if entries.is_empty() {
                let cause = format!("entry {next} is missing");
                return Err(LogError::damage("reading entries", cause));
            }
            next += entries.len() as u64;
            for raw in entries {
                let entry = decode_entry(raw)?;
                self.last = self.last.max(entry.log_id);
                match entry.payload {
                    EntryPayload::Normal(command) => {
                        self.time_ms = self.time_ms.max(command.time_ms);
                    }
                    EntryPayload::Membership(members)
                        if Some(entry.log_id) > *self.members.log_id() =>
                    {
                        self.members = StoredMembership::new(Some(entry.log_id), members);
                    }
                    EntryPayload::Membership(_) | EntryPayload::Blank => {}
                }
            }
        }
        Ok(())
    }

    fn report(&self, shard: ShardId) -> CopyReport {
        let voters: BTreeSet<NodeId> = self.members.voter_ids().map(NodeId).collect();
        let nodes = self.members.membership().nodes();
        let learners = nodes.map(|(id, _)| NodeId(*id));
        CopyReport {
            shard,
            last_index: self.last.index,
            last_term: self.last.leader_id.term,
            log_time_ms: self.time_ms,
            learners: learners.filter(|id| !voters.contains(id)).collect(),
            voters,
        }
    }
}
