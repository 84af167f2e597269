//! How a copy that is no good leaves its group.

use std::collections::BTreeSet;

use mailrook_cluster::GroupRole;
use mailrook_placement::Action;
use mailrook_types::{NodeId, ShardId};

use crate::gather::{ClusterView, GroupState};

/// Copies that have stopped, and why.
pub(crate) fn stopped(view: &ClusterView) -> impl Iterator<Item = (ShardId, NodeId, String)> {
    let copies = view.reports.iter();
    let copies = copies.flat_map(|(id, report)| report.groups.iter().map(|copy| (*id, copy)));
    copies.filter_map(|(id, copy)| match &copy.role {
        GroupRole::Stopped { cause } => Some((copy.shard, id, cause.clone())),
        _ => None,
    })
}

/// Copies that nodes do not have, though they are members of the group: they came to harm while they were made or dropped.
pub(crate) fn bare(view: &ClusterView) -> BTreeSet<(ShardId, NodeId)> {
    let led = view.groups.iter().filter(|group| group.leader.is_some());
    let members = led.filter_map(|group| Some((group.shard, group.status.as_ref()?)));
    let members = members.flat_map(|(shard, status)| {
        let members = status.voters.iter().chain(&status.learners);
        members.map(move |member| (shard, NodeId(*member)))
    });
    members
        .filter(|(shard, node)| lacks_copy(view, *shard, *node))
        .collect()
}

/// Groups whose first record was written, and that nobody has a copy of: who wrote it came to its end.
pub(crate) fn not_begun(view: &ClusterView) -> Vec<(ShardId, NodeId)> {
    let unknown = view.groups.iter().filter(|group| group.status.is_none());
    let placed = unknown.filter_map(|group| {
        let record = group.record.as_ref().filter(|record| record.epoch == 1)?;
        match record.replicas.as_slice() {
            [only] => Some((group.shard, *only)),
            _ => None,
        }
    });
    placed
        .filter(|(shard, node)| lacks_copy(view, *shard, *node))
        .collect()
}

/// Whether a node says what it has, and a copy of the group is not among it.
fn lacks_copy(view: &ClusterView, shard: ShardId, node: NodeId) -> bool {
    let report = view.reports.get(&node);
    report.is_some_and(|report| report.groups.iter().all(|copy| copy.shard != shard))
}

/// The next step of a copy out of its group, if the group can do without it. The last one has the node drop it: then the
/// copy is missing, and is made anew.
pub(crate) fn leaving(group: &GroupState, node: NodeId) -> Option<Action> {
    let shard = group.shard;
    let leader = group.leader.filter(|leader| *leader != node)?;
    let status = group.status.as_ref().filter(|status| !status.changing)?;
    if status.learners.contains(&node.0) {
        return Some(Action::RemoveLearner { shard, node });
    }
    let voters = status.voters.iter().copied().map(NodeId);
    let voters: Vec<NodeId> = voters.filter(|voter| *voter != node).collect();
    if !voters.contains(&leader) {
        return None;
    }
    // The one that is damaged counts among those that must agree until then: the leader, and so a quorum, does without.
    Some(match voters.len() < status.voters.len() {
        true => Action::ChangeVoters { shard, voters },
        false => Action::DropCopy { shard, node },
    })
}

#[cfg(test)]
mod tests {
    use mailrook_cluster::{GroupRole, GroupStatus};
    use mailrook_types::ShardId;

    use super::*;

    fn group(leader: Option<u64>, voters: &[u64], learners: &[u64]) -> GroupState {
        let status = GroupStatus {
            shard: ShardId(1),
            role: GroupRole::Leader,
            leader,
            term: 1,
            led_for_ms: None,
            voters: voters.to_vec(),
            learners: learners.to_vec(),
            changing: false,
            progress: Vec::new(),
            last_index: 1,
            committed_index: 1,
            applied_index: 1,
            flushed_index: 0,
            purged_index: 0,
            log_time_ms: 0,
            in_flight_bytes: 0,
        };
        GroupState {
            shard: ShardId(1),
            leader: leader.map(NodeId),
            status: Some(status),
            record: None,
        }
    }

    #[test]
    fn a_damaged_copy_leaves_step_by_step() {
        let three = group(Some(1), &[1, 2, 3], &[]);
        let (shard, node) = (ShardId(1), NodeId(3));
        let voters = vec![NodeId(1), NodeId(2)];
        let two = Action::ChangeVoters { shard, voters };
        assert_eq!(leaving(&three, node), Some(two));
        let follows = group(Some(1), &[1, 2], &[3]);
        let out = Action::RemoveLearner { shard, node };
        assert_eq!(leaving(&follows, node), Some(out));
        let has_left = group(Some(1), &[1, 2], &[]);
        let dropped = Action::DropCopy { shard, node };
        assert_eq!(leaving(&has_left, node), Some(dropped));
        assert_eq!(leaving(&group(None, &[1, 2], &[]), node), None);
        assert_eq!(leaving(&three, NodeId(1)), None, "another must lead first");
        assert_eq!(leaving(&group(None, &[1, 2, 3], &[]), NodeId(3)), None);
        let mut changing = three;
        changing.status.as_mut().unwrap().changing = true;
        assert_eq!(leaving(&changing, NodeId(3)), None);
    }
}
