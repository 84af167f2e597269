//! How a damaged copy leaves its group.

use mailrook_types::NodeId;

use crate::{gather::GroupState, wire::Ask};

/// The next step of a copy out of its group, if the group can do without it.
pub(crate) fn leaving(group: &GroupState, node: NodeId) -> Option<Ask> {
    let leader = group.leader.filter(|leader| *leader != node)?;
    let status = group.status.as_ref().filter(|status| !status.changing)?;
    if status.learners.contains(&node.0) {
        return Some(Ask::RemoveLearner(group.shard, node));
    }
    let left = status
        .voters
        .iter()
        .copied()
        .filter(|voter| *voter != node.0);
    let left: Vec<NodeId> = left.map(NodeId).collect();
    // The one that is damaged counts among those that must agree until then: the leader, and so a quorum, does without.
    let is_voter = left.len() < status.voters.len();
    (is_voter && left.contains(&leader)).then_some(Ask::ChangeVoters(group.shard, left))
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
        let two = Ask::ChangeVoters(ShardId(1), vec![NodeId(1), NodeId(2)]);
        assert_eq!(leaving(&three, NodeId(3)), Some(two));
        let follows = group(Some(1), &[1, 2], &[3]);
        let out = Ask::RemoveLearner(ShardId(1), NodeId(3));
        assert_eq!(leaving(&follows, NodeId(3)), Some(out));
        assert_eq!(
            leaving(&group(Some(1), &[1, 2], &[]), NodeId(3)),
            None,
            "it has left"
        );
        assert_eq!(leaving(&three, NodeId(1)), None, "another must lead first");
        assert_eq!(leaving(&group(None, &[1, 2, 3], &[]), NodeId(3)), None);
        let mut changing = three;
        changing.status.as_mut().unwrap().changing = true;
        assert_eq!(leaving(&changing, NodeId(3)), None);
    }
}
