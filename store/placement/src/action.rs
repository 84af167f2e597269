//! What a plan consists of.

use mailrook_types::{NodeId, ShardId};

/// One step. Each can be carried out again when it failed half-way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a group that was never there, with this node as its only voter: the first record of its placement.
    CreateGroup {
        /// Which group.
        shard: ShardId,
        /// Where.
        node: NodeId,
    },
    /// Name the node in the group's record, then have it follow without a vote until it has everything.
    AddLearner {
        /// Which group.
        shard: ShardId,
        /// Where.
        node: NodeId,
    },
    /// Change who votes, in one joint change. A voter that is no longer one stays as a learner.
    ChangeVoters {
        /// Which group.
        shard: ShardId,
        /// All voters, ascending.
        voters: Vec<NodeId>,
    },
    /// Have a node no longer follow.
    RemoveLearner {
        /// Which group.
        shard: ShardId,
        /// Where.
        node: NodeId,
    },
    /// Take a node that neither votes nor follows out of the group's record. It drops its copy, if need be when it comes
    /// back.
    DropCopy {
        /// Which group.
        shard: ShardId,
        /// Where.
        node: NodeId,
    },
    /// Hand the leadership over to another voter.
    TransferLeader {
        /// Which group.
        shard: ShardId,
        /// To whom.
        to: NodeId,
    },
}

impl Action {
    /// The group that changes.
    pub fn shard(&self) -> ShardId {
        match self {
            Action::CreateGroup { shard, .. }
            | Action::AddLearner { shard, .. }
            | Action::ChangeVoters { shard, .. }
            | Action::RemoveLearner { shard, .. }
            | Action::DropCopy { shard, .. }
            | Action::TransferLeader { shard, .. } => *shard,
        }
    }
}

/// A step with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What to do.
    pub action: Action,
    /// Why, for the operator.
    pub reason: String,
}
