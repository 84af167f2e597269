//! openraft's types, as this crate uses them.

use std::fmt;

use bytes::Bytes;
use openraft::{
    EntryPayload, RaftTypeConfig,
    impls::{BoxedErrorSource, EmptyNode, InlineBatch},
    raft::responder::Responder,
    type_config::alias,
    vote::{RaftLeaderId, leader_id_adv::LeaderId},
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::data_dir::{LogMark, VoteMark};

/// Which types openraft works with. A node is only a number to it: addresses are the directory's business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

impl RaftTypeConfig for Types {
    type D = Command;
    type R = Reply;
    type NodeId = u64;
    type Node = EmptyNode;
    type Term = u64;
    type LeaderId = LeaderId<u64, u64>;
    type Vote = openraft::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Command, u64, EmptyNode>;
    type Entry = openraft::Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = super::runtime::Runtime;
    type Responder<T>
        = Answer<T>
    where
        T: Send + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = BoxedErrorSource;
}

pub(crate) type Raft = openraft::Raft<Types, super::machine::Machine>;
pub(crate) type Entry = alias::EntryOf<Types>;
pub(crate) type LogId = alias::LogIdOf<Types>;
pub(crate) type Vote = alias::VoteOf<Types>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<Types>;
pub(crate) type Snapshot = alias::SnapshotOf<Types, super::snapshot::SnapshotSource>;

/// A command as it goes through the log.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// The log's time, as the leader stamped it.
    pub(crate) time_ms: i64,
    /// What the state machine is given.
    pub(crate) bytes: Bytes,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a command of {} bytes", self.bytes.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A state machine's reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply(pub(crate) Bytes);

/// Tells a proposer, and only then gives its part of what may be in flight back: also when nobody waits any more.
pub(crate) struct Answer<T> {
    pub(crate) told: oneshot::Sender<T>,
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl<T: Send + 'static> Responder<Types, T> for Answer<T> {
    fn on_complete(self, result: T) {
        // The proposer may have given up.
        let _ = self.told.send(result);
    }
}

/// A vote as the witness keeps it.
pub(crate) fn vote_mark(vote: &Vote) -> VoteMark {
    VoteMark {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

/// A place in the log as the witness keeps it.
pub(crate) fn log_mark(id: &LogId) -> LogMark {
    LogMark {
        term: id.leader_id.term,
        index: id.index,
    }
}
