//! Looks at the whole cluster: the directory's records, and what each node tells of itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use mailrook_cluster::{GroupRole, GroupStatus, Node, SHARDS_MAX};
use mailrook_meta::{ClusterSettings, MetaAnswer, MetaQuery, NodeRecord, NodeState, ShardRecord};
use mailrook_placement::{GroupView, LearnerView, NodeState as PlanState, NodeView, View};
use mailrook_store_api::{Directory, StoreError};
use mailrook_transport::{Class, Network};
use mailrook_types::{NodeId, ShardId};
use tokio::time::Instant;

use crate::{
    report::NodeReport,
    wire::{self, Ask},
};

/// A node that lives answers sooner.
const REPORT_MAX: Duration = Duration::from_secs(2);

/// Nodes in one answer of the directory.
const PAGE: u32 = 1000;

/// A learner within so many entries of the leader has everything, but for what is being written.
const CAUGHT_UP_ENTRIES: u64 = 1000;

/// The cluster at one moment.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// How it is kept.
    pub settings: ClusterSettings,
    /// Its nodes, removed ones too.
    pub nodes: Vec<NodeRecord>,
    /// What each node told that could be reached.
    pub reports: BTreeMap<NodeId, NodeReport>,
    /// Where the copies of groups are to be.
    pub records: Vec<ShardRecord>,
    /// The shards that accounts are put on.
    pub announced: BTreeSet<ShardId>,
    /// The groups, as their leaders tell, or the copy that knows most.
    pub groups: Vec<GroupState>,
}

/// A group.
#[derive(Clone, Debug)]
pub struct GroupState {
    /// Which.
    pub shard: ShardId,
    /// The node that leads it, as it says itself.
    pub leader: Option<NodeId>,
    /// As the leader tells, or else the copy of the highest term.
    pub status: Option<GroupStatus>,
    /// The meta group's record.
    pub record: Option<ShardRecord>,
}

impl GroupState {
    /// The learners that have everything.
    pub fn caught_up(&self) -> BTreeSet<NodeId> {
        let Some(status) = self.status.as_ref().filter(|_| self.leader.is_some()) else {
            return BTreeSet::new();
        };
        let near = |matched: u64| matched + CAUGHT_UP_ENTRIES >= status.last_index;
        let near = status
            .progress
            .iter()
            .filter(|progress| progress.matched_index > 0 && near(progress.matched_index));
        near.map(|progress| NodeId(progress.node)).collect()
    }
}

impl ClusterView {
    /// Whether a node has a copy of a group that the record does not name it for.
    pub fn has_stray_copy(&self, shard: ShardId, node: NodeId) -> bool {
        let report = self.reports.get(&node);
        let copies = report.map_or(&[][..], |report| &report.groups);
        copies.iter().any(|copy| copy.shard == shard) && !is_named(&self.records, shard, node)
    }

    /// What the planner is given. `absent` says how long the nodes have been out of reach that did not report.
    /// Nodes without a store are no part of it: no copy is theirs, and nobody counts on them.
    pub fn for_plan(&self, absent: impl Fn(NodeId) -> Duration) -> View {
        let node = |record: &NodeRecord| {
            let state = match record.state {
                NodeState::Active => PlanState::Active,
                NodeState::Draining => PlanState::Draining,
                NodeState::Removed { .. } => PlanState::Removed,
                NodeState::Storeless(_) => return None,
            };
            let report = self.reports.get(&record.id);
            let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            Some(NodeView {
                id: record.id,
                name: record.name.clone(),
                zone: record.zone.clone(),
                state,
                unreachable_for_ms: report.is_none().then(|| ms(absent(record.id))),
                disk_full: report.is_some_and(|report| report.disk_full),
            })
        };
        View {
            copies: self.settings.copies,
            heal_after_ms: self.settings.heal_after_ms,
            groups_per_node_max: SHARDS_MAX + 1,
            nodes: self.nodes.iter().filter_map(node).collect(),
            groups: self
                .groups
                .iter()
                .filter_map(|group| self.group(group))
                .collect(),
        }
    }

    /// None for one that was there before there were records, and that nobody tells of: it is not new.
    fn group(&self, group: &GroupState) -> Option<GroupView> {
        let recorded = group
            .record
            .as_ref()
            .map_or(&[][..], |record| &record.replicas);
        let is_old = self.announced.contains(&group.shard) || group.shard == ShardId::META;
        if recorded.is_empty() && group.status.is_none() && is_old {
            return None;
        }
        let caught_up = group.caught_up();
        let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        let status = group.status.as_ref();
        let voters = status.map_or(Vec::new(), |status| ids(&status.voters));
        let learners = status.map_or(Vec::new(), |status| ids(&status.learners));
        let lagging = voters.iter().copied();
        let lagging =
            lagging.filter(|node| Some(*node) != group.leader && !caught_up.contains(node));
        Some(GroupView {
            shard: group.shard,
            leader: group.leader,
            led_for_ms: status.and_then(|status| status.led_for_ms).unwrap_or(0),
            lagging: lagging.collect(),
            learners: (learners.into_iter())
                .map(|node| LearnerView {
                    node,
                    caught_up: caught_up.contains(&node),
                })
                .collect(),
            voters,
            joint: status.is_some_and(|status| status.changing),
            recorded: recorded.to_vec(),
        })
    }
}

/// Looks at the cluster.
///
/// # Errors
/// The meta group cannot be reached.
pub async fn gather(
    directory: &dyn Directory,
    node: &Arc<Node>,
    network: &Arc<dyn Network>,
) -> Result<ClusterView, StoreError> {
    let nodes = nodes(directory).await?;
    let settings = settings(directory).await?;
    let query = MetaQuery::Placement { shard: None };
    let records = match directory.query(query).await? {
        MetaAnswer::Placement(records) => records,
        other => return Err(misfit(&other)),
    };
    let announced = match directory.query(MetaQuery::Shards).await? {
        MetaAnswer::Shards(shards) => shards.into_iter().map(|(shard, _)| shard).collect(),
        other => return Err(misfit(&other)),
    };
    let present = nodes.iter().filter(|record| record.is_member());
    let asked = present.map(|record| report(record.id, node, network));
    let reports: BTreeMap<NodeId, NodeReport> =
        join_all(asked).await.into_iter().flatten().collect();
    let groups = groups(&records, &reports);
    Ok(ClusterView {
        settings,
        nodes,
        reports,
        records,
        announced,
        groups,
    })
}

/// How the cluster is kept.
pub(crate) async fn settings(directory: &dyn Directory) -> Result<ClusterSettings, StoreError> {
    match directory.query(MetaQuery::ClusterSettings).await? {
        MetaAnswer::ClusterSettings(settings) => Ok(settings),
        other => Err(misfit(&other)),
    }
}

/// Whether the record of a group names a node. Of one that has no record yet nobody knows better.
fn is_named(records: &[ShardRecord], shard: ShardId, node: NodeId) -> bool {
    let record = records.iter().find(|record| record.shard == shard);
    record.is_none_or(|record| record.epoch == 0 || record.replicas.contains(&node))
}

/// All nodes, removed ones too.
pub(crate) async fn nodes(directory: &dyn Directory) -> Result<Vec<NodeRecord>, StoreError> {
    let query = MetaQuery::Nodes {
        after: None,
        limit: PAGE,
    };
    match directory.query(query).await? {
        MetaAnswer::Nodes(nodes) => Ok(nodes),
        other => Err(misfit(&other)),
    }
}

pub(crate) fn misfit(answer: &dyn std::fmt::Debug) -> StoreError {
    StoreError::Internal(format!("the answer does not fit the question: {answer:?}"))
}

async fn report(
    id: NodeId,
    node: &Arc<Node>,
    network: &Arc<dyn Network>,
) -> Option<(NodeId, NodeReport)> {
    if id == node.node_id() {
        return Some((id, NodeReport::of(node)));
    }
    let deadline = Instant::now() + REPORT_MAX;
    let call = network.call(id, Class::Control, wire::write(&Ask::Report), deadline);
    let reply = call.await.ok()?;
    wire::read(&reply).ok().map(|report| (id, report))
}

fn groups(records: &[ShardRecord], reports: &BTreeMap<NodeId, NodeReport>) -> Vec<GroupState> {
    let mut best: BTreeMap<ShardId, (bool, u64, NodeId, &GroupStatus)> = BTreeMap::new();
    for (node, report) in reports {
        let named = |status: &&GroupStatus| is_named(records, status.shard, *node);
        for status in report.groups.iter().filter(named) {
            // A leader that was deposed may not know it yet: the higher term counts, and within a term the higher node,
            // as votes do.
            let leads = status.role == GroupRole::Leader;
            let rank = (leads, status.term, *node, status);
            let known = best.entry(status.shard).or_insert(rank);
            if (known.0, known.1, known.2) < (rank.0, rank.1, rank.2) {
                *known = rank;
            }
        }
    }
    let shards: BTreeSet<ShardId> = (records.iter().map(|record| record.shard))
        .chain(best.keys().copied())
        .collect();
    let state = |shard: ShardId| {
        let known = best.get(&shard);
        GroupState {
            shard,
            leader: known.and_then(|(leads, _, node, _)| leads.then_some(*node)),
            status: known.map(|(_, _, _, status)| (*status).clone()),
            record: records.iter().find(|record| record.shard == shard).cloned(),
        }
    };
    shards.into_iter().map(state).collect()
}

#[cfg(test)]
mod tests {
    use mailrook_meta::{FeatureLevels, FrontRoles, LEVEL_FRONT_NODES};
    use mailrook_placement::{Action, plan};
    use mailrook_types::Timestamp;

    use super::*;

    fn leads(term: u64) -> NodeReport {
        let status = GroupStatus {
            shard: ShardId(1),
            role: GroupRole::Leader,
            leader: None,
            term,
            led_for_ms: None,
            voters: Vec::new(),
            learners: Vec::new(),
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
        NodeReport {
            disk_full: false,
            disk_free_bytes: 0,
            groups: vec![status],
        }
    }

    /// Nodes 1 to 3 with a store, of which 1 leads shard 1 and votes alone, and two nodes without.
    fn with_fronts() -> ClusterView {
        let levels = FeatureLevels {
            lowest: 1,
            highest: LEVEL_FRONT_NODES,
        };
        let roles = FrontRoles {
            front: true,
            proxy: true,
        };
        let node = |id: u64| NodeRecord {
            id: NodeId(id),
            name: format!("node{id}"),
            address: String::new(),
            zone: format!("zone{id}"),
            state: match id {
                ..=3 => NodeState::Active,
                _ => NodeState::Storeless(roles),
            },
            joined: Timestamp(0),
            levels,
        };
        let idle = NodeReport {
            disk_full: false,
            disk_free_bytes: 1 << 40,
            groups: Vec::new(),
        };
        let mut leader = leads(1);
        leader.groups[0].voters = vec![1];
        let mut reports: BTreeMap<NodeId, NodeReport> =
            (1..=5).map(|id| (NodeId(id), idle.clone())).collect();
        reports.insert(NodeId(1), leader);
        let records = vec![ShardRecord {
            shard: ShardId(1),
            epoch: 1,
            replicas: vec![NodeId(1)],
        }];
        ClusterView {
            settings: ClusterSettings {
                copies: 5,
                ..ClusterSettings::default()
            },
            nodes: (1..=5).map(node).collect(),
            groups: groups(&records, &reports),
            reports,
            records,
            announced: [ShardId(1)].into(),
        }
    }

    #[test]
    fn no_copy_is_planned_for_a_node_without_a_store() {
        let mut view = with_fronts();
        let chosen = |view: &ClusterView| -> BTreeSet<u64> {
            let steps = plan(&view.for_plan(|_| Duration::ZERO)).into_iter();
            let nodes = steps.filter_map(|step| match step.action {
                Action::AddLearner { node, .. } | Action::CreateGroup { node, .. } => Some(node.0),
                _ => None,
            });
            nodes.collect()
        };
        assert!(chosen(&view).iter().all(|node| (2..=3).contains(node)));
        assert!(!chosen(&view).is_empty(), "two more copies are to be had");
        // Where they are the only ones left, no copy is made.
        for id in [2, 3] {
            view.nodes[id - 1].state = NodeState::Draining;
        }
        assert_eq!(chosen(&view), BTreeSet::new());
        // And a cluster with three stores lacks none for want of five.
        let mut whole = with_fronts();
        for report in whole.reports.values_mut() {
            for group in &mut report.groups {
                group.voters = vec![1, 2, 3];
            }
        }
        whole.records[0].replicas = [1, 2, 3].map(NodeId).to_vec();
        whole.groups = groups(&whole.records, &whole.reports);
        assert_eq!(chosen(&whole), BTreeSet::new());
    }

    #[test]
    fn of_two_leaders_the_one_with_the_higher_vote_counts() {
        for (terms, expected) in [([3, 2, 2], 1), ([2, 2, 1], 2)] {
            let reports = (1..).map(NodeId).zip(terms.map(leads)).collect();
            let groups = groups(&[], &reports);
            assert_eq!(groups[0].leader, Some(NodeId(expected)), "{terms:?}");
        }
    }
}
