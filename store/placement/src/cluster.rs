//! The view with what follows from it: who can hold what.

use std::collections::BTreeMap;

use mailrook_types::{NodeId, ShardId};

use crate::{GroupView, NodeState, NodeView, View, view::quorum};

/// How many copies, or leaderships, each node has or is to have.
pub(crate) type Counts = BTreeMap<NodeId, u32>;

/// A node's count.
pub(crate) fn count(counts: &Counts, id: NodeId) -> u32 {
    counts.get(&id).copied().unwrap_or(0)
}

/// What a node's copies can count on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It is there to stay, if perhaps out of reach for a while.
    Staying,
    /// It is to give up its copies.
    Leaving,
    /// It has been out of reach for too long.
    Gone,
    /// It never comes back.
    Removed,
}

/// A view with its nodes by id.
pub(crate) struct Cluster<'v> {
    pub(crate) view: &'v View,
    nodes: BTreeMap<NodeId, &'v NodeView>,
    /// Ascending, so that the meta group comes first.
    pub(crate) groups: BTreeMap<ShardId, &'v GroupView>,
    /// On how many groups' records, or among whose members, each node is.
    hosted: Counts,
}

impl<'v> Cluster<'v> {
    pub(crate) fn new(view: &'v View) -> Cluster<'v> {
        let groups: BTreeMap<_, _> = view
            .groups
            .iter()
            .map(|group| (group.shard, group))
            .collect();
        let mut hosted = Counts::new();
        for id in groups.values().flat_map(|group| group.hosts()) {
            *hosted.entry(id).or_default() += 1;
        }
        Cluster {
            view,
            nodes: view.nodes.iter().map(|node| (node.id, node)).collect(),
            groups,
            hosted,
        }
    }

    pub(crate) fn copies(&self) -> usize {
        usize::from(self.view.copies)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &'v NodeView> {
        self.nodes.values().copied()
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&'v NodeView> {
        self.nodes.get(&id).copied()
    }

    /// The node's name; of one that nobody knows the id.
    pub(crate) fn name(&self, id: NodeId) -> String {
        self.node(id)
            .map_or_else(|| id.to_string(), |node| node.name.clone())
    }

    pub(crate) fn zone(&self, id: NodeId) -> &'v str {
        self.node(id).map_or("", |node| &node.zone)
    }

    /// A node that a group names and that the view does not show is left where it is.
    pub(crate) fn standing(&self, id: NodeId) -> Standing {
        let Some(node) = self.node(id) else {
            return Standing::Staying;
        };
        let gone = |ms: u64| ms >= self.view.heal_after_ms;
        match node.state {
            NodeState::Removed => Standing::Removed,
            _ if node.unreachable_for_ms.is_some_and(gone) => Standing::Gone,
            NodeState::Draining => Standing::Leaving,
            NodeState::Active => Standing::Staying,
        }
    }

    pub(crate) fn stays(&self, id: NodeId) -> bool {
        self.standing(id) == Standing::Staying
    }

    pub(crate) fn reachable(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(|node| {
            node.unreachable_for_ms.is_none() && node.state != NodeState::Removed
        })
    }

    /// Whether new things can be put on it: copies, votes, leaderships.
    pub(crate) fn is_fit(&self, id: NodeId) -> bool {
        let full = self.node(id).is_none_or(|node| node.disk_full);
        self.stays(id) && self.reachable(id) && !full
    }

    /// Whether it may get a copy of one more group.
    pub(crate) fn has_room(&self, id: NodeId, planned: &Counts) -> bool {
        count(&self.hosted, id) + count(planned, id) < self.view.groups_per_node_max
    }

    /// Whether enough of `voters` can be reached to agree.
    pub(crate) fn has_quorum(&self, voters: &[NodeId]) -> bool {
        let reachable = voters.iter().filter(|id| self.reachable(**id)).count();
        !voters.is_empty() && reachable >= quorum(voters.len())
    }

    /// Whether the group can decide anything, or will when it has elected a leader. Who is needed while a change is under way
    /// the view does not say: without a leader it may be somebody who is gone.
    pub(crate) fn decides(&self, group: &GroupView) -> bool {
        self.has_quorum(&group.voters) && (group.leader.is_some() || !group.joint)
    }

    /// Whether the group's membership can be changed now.
    pub(crate) fn can_change(&self, group: &GroupView) -> bool {
        let by_voter = |leader| group.voters.contains(&leader);
        group.leader.is_some_and(by_voter) && self.can_hand_over(group)
    }

    /// Whether its leadership can change: also of a leader that has no vote.
    pub(crate) fn can_hand_over(&self, group: &GroupView) -> bool {
        let led = group.leader.is_some_and(|leader| self.reachable(leader));
        led && !group.joint && self.has_quorum(&group.voters)
    }

    /// How many of `holders` are in the node's zone, itself not counted.
    pub(crate) fn zone_mates(&self, id: NodeId, holders: &[NodeId]) -> usize {
        let zone = self.zone(id);
        let mates = holders
            .iter()
            .filter(|other| **other != id && self.zone(**other) == zone);
        mates.count()
    }
}
