//! What must hold of every plan.

use std::collections::BTreeSet;

use mailrook_placement::{
    ACTIONS_MAX, Action, FILLS_MAX, FILLS_PER_NODE_MAX, NodeState, Planned, TRANSFERS_MAX, View,
    plan,
};
use mailrook_types::NodeId;

use crate::model::{Group, HEAL_AFTER_MS, Model};

pub fn check(model: &Model, view: &View, planned: &[Planned]) {
    assert_eq!(plan(view), planned, "the same view gives the same plan");
    assert!(planned.len() <= ACTIONS_MAX);
    let shards: BTreeSet<_> = planned
        .iter()
        .map(|planned| planned.action.shard())
        .collect();
    assert_eq!(
        shards.len(),
        planned.len(),
        "one thing at a time: {planned:?}"
    );
    for planned in planned {
        assert!(!planned.reason.is_empty());
        check_one(model, &planned.action);
    }
    let transfers = planned.iter();
    let transfers = transfers.filter(|p| matches!(p.action, Action::TransferLeader { .. }));
    assert!(transfers.count() <= TRANSFERS_MAX);
    check_fills(model, planned);
}

fn check_one(model: &Model, action: &Action) {
    let group = &model.groups[&action.shard()];
    if let Action::CreateGroup { node, .. } = action {
        assert!(group.recorded.is_empty(), "{action:?}: it was made before");
        assert!(is_fit(model, *node), "{action:?}");
        return;
    }
    let leader = group
        .leader
        .unwrap_or_else(|| panic!("{action:?} without a leader"));
    assert!(model.up(leader));
    assert!(group.next.is_none(), "{action:?}: a change is under way");
    assert!(
        model.has_quorum(&group.voters),
        "{action:?} without a quorum"
    );
    match action {
        Action::CreateGroup { .. } => {}
        Action::AddLearner { node, .. } => {
            assert!(is_fit(model, *node), "{action:?}");
            assert!(!is_member(group, *node), "{action:?}");
        }
        Action::ChangeVoters { voters, .. } => check_vote(model, group, voters),
        Action::RemoveLearner { node, .. } => assert!(group.learners.contains_key(node)),
        Action::DropCopy { node, .. } => {
            assert!(group.recorded.contains(node));
            assert!(!is_member(group, *node), "{action:?}: it takes part");
        }
        Action::TransferLeader { to, .. } => {
            assert!(group.voters.contains(to) && *to != leader);
            assert!(is_fit(model, *to), "{action:?}");
        }
    }
}

fn check_vote(model: &Model, group: &Group, voters: &[NodeId]) {
    let voters: BTreeSet<NodeId> = voters.iter().copied().collect();
    assert!(model.has_quorum(&voters), "{voters:?} have no quorum");
    assert_ne!(voters, group.voters);
    for new in voters.difference(&group.voters) {
        assert_eq!(
            group.learners.get(new),
            Some(&0),
            "{new} has not everything"
        );
        assert!(is_fit(model, *new));
    }
    let removed = |id: &&NodeId| model.nodes[*id].state == NodeState::Removed;
    let present = group.voters.iter().filter(|id| !removed(id)).count();
    let least = if model.copies == 1 { 1 } else { present.min(3) };
    assert!(voters.len() >= least, "{:?} to {voters:?}", group.voters);
    // Votes are taken only from those who should go, but when there are to be fewer.
    for old in group.voters.difference(&voters) {
        let moved = voters.len() >= group.voters.len() && !voters.is_subset(&group.voters);
        assert!(moved || !stays(model, *old) || voters.len() < group.voters.len());
    }
}

fn check_fills(model: &Model, planned: &[Planned]) {
    let under_way = model
        .groups
        .values()
        .filter(|group| group.leader.is_some())
        .flat_map(|group| &group.learners)
        .filter(|(id, left)| **left > 0 && model.up(**id))
        .map(|(id, _)| *id);
    let added: Vec<NodeId> = planned
        .iter()
        .filter_map(|planned| match planned.action {
            Action::AddLearner { node, .. } => Some(node),
            _ => None,
        })
        .collect();
    if added.is_empty() {
        return;
    }
    let all: Vec<NodeId> = under_way.chain(added.iter().copied()).collect();
    assert!(all.len() <= FILLS_MAX, "{all:?}");
    for node in added {
        let on_node = all.iter().filter(|id| **id == node).count();
        assert!(on_node <= FILLS_PER_NODE_MAX as usize, "{all:?}");
    }
}

pub fn is_member(group: &Group, id: NodeId) -> bool {
    group.voters.contains(&id) || group.learners.contains_key(&id)
}

/// There to stay, if perhaps out of reach for a while.
pub fn stays(model: &Model, id: NodeId) -> bool {
    let node = &model.nodes[&id];
    let gone = node
        .down_since_ms
        .is_some_and(|since| model.now_ms - since >= HEAL_AFTER_MS);
    node.state == NodeState::Active && !gone
}

/// Fit for something new.
pub fn is_fit(model: &Model, id: NodeId) -> bool {
    stays(model, id) && model.up(id) && !model.nodes[&id].full
}
