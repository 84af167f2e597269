//! What a plan is made from.

use mailrook_types::{NodeId, ShardId};

/// The cluster, as the controller sees it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// How many copies each group is to have: 1, 3 or 5.
    pub copies: u8,
    /// How long a node may be out of reach before its copies are made elsewhere, in milliseconds.
    pub heal_after_ms: u64,
    /// The most groups on a node (DESIGN "Sizes": 64).
    pub groups_per_node_max: u32,
    /// All nodes, removed ones as long as a group names them. Of two with one id the last counts.
    pub nodes: Vec<NodeView>,
    /// All groups, the meta group and those that were never placed included.
    pub groups: Vec<GroupView>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its id.
    pub id: NodeId,
    /// Its name, for reasons.
    pub name: String,
    /// What fails together with it. An empty one is a zone like any other.
    pub zone: String,
    /// What it takes part in.
    pub state: NodeState,
    /// Since when it cannot be reached, in milliseconds; `None` if it can.
    pub unreachable_for_ms: Option<u64>,
    /// Whether it refuses writes for want of space.
    pub disk_full: bool,
}

/// What a node takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Everything.
    Active,
    /// It hands over what it has.
    Draining,
    /// Nothing, for ever.
    Removed,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Which.
    pub shard: ShardId,
    /// Who leads it; `None` if nobody does, or nobody who could be asked.
    pub leader: Option<NodeId>,
    /// How long it has been led by this one, in milliseconds.
    pub led_for_ms: u64,
    /// Who votes, as last committed; none while nobody told.
    pub voters: Vec<NodeId>,
    /// Who follows without a vote.
    pub learners: Vec<LearnerView>,
    /// Voters whose log is too far behind to lead soon.
    pub lagging: Vec<NodeId>,
    /// Whether a change of the membership is under way.
    pub joint: bool,
    /// The nodes of the meta group's record: those that may have a copy. None were ever named if and only if the group was
    /// never placed.
    pub recorded: Vec<NodeId>,
}

/// A node that follows a group without a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerView {
    /// Which.
    pub node: NodeId,
    /// Whether it has all, but for what is being written now.
    pub caught_up: bool,
}

impl GroupView {
    /// Whether it was never placed: nobody has made it yet.
    pub fn is_new(&self) -> bool {
        self.recorded.is_empty() && self.voters.is_empty() && self.learners.is_empty()
    }

    pub(crate) fn learner(&self, id: NodeId) -> Option<&LearnerView> {
        self.learners.iter().find(|learner| learner.node == id)
    }

    /// Whether the node votes or follows.
    pub(crate) fn is_member(&self, id: NodeId) -> bool {
        self.voters.contains(&id) || self.learner(id).is_some()
    }

    /// Every node that may have a copy, none twice.
    pub(crate) fn hosts(&self) -> Vec<NodeId> {
        let learners = self.learners.iter().map(|learner| learner.node);
        let all = self.voters.iter().chain(&self.recorded).copied();
        let mut hosts: Vec<_> = all.chain(learners).collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }
}

/// How many of `voters` must agree.
pub(crate) fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}
