//! Spreads the leaderships evenly.
//!
//! Where the node that leads most and the one that leads least share no group, a chain of transfers does it: each plan
//! makes its last link, after which the chain is shorter. A transfer that would only swap who leads more is no chain's
//! link, so that nothing goes back and forth.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mailrook_types::{NodeId, ShardId};

use crate::{
    Action, GroupView, Planned,
    cluster::{Cluster, Counts, count},
    step::could_lead,
};

/// How long a group is led before its leadership is moved for the balance alone, so that a fail-over settles first.
pub const LEADER_REST_MS: u64 = 10_000;

/// Who leads what, with the transfers that are planned already.
pub(crate) struct Leaders {
    by_group: BTreeMap<ShardId, NodeId>,
    pub(crate) counts: Counts,
    /// The groups that each node could be given.
    open: BTreeMap<NodeId, Vec<ShardId>>,
}

impl Leaders {
    pub(crate) fn of(cluster: &Cluster<'_>) -> Leaders {
        let led = cluster.groups.iter();
        let by_group: BTreeMap<_, _> = led
            .filter_map(|(shard, group)| Some((*shard, group.leader?)))
            .collect();
        let mut counts = Counts::new();
        for leader in by_group.values() {
            *counts.entry(*leader).or_default() += 1;
        }
        let mut open: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (shard, group) in cluster.groups.iter().filter(|(_, group)| is_movable(group)) {
            for id in group.voters.iter().filter(|id| takes(cluster, group, **id)) {
                open.entry(*id).or_default().push(*shard);
            }
        }
        Leaders {
            by_group,
            counts,
            open,
        }
    }

    pub(crate) fn transfer(&mut self, shard: ShardId, to: NodeId) {
        if let Some(from) = self.by_group.insert(shard, to) {
            let left = count(&self.counts, from).saturating_sub(1);
            self.counts.insert(from, left);
        }
        *self.counts.entry(to).or_default() += 1;
    }

    /// The next transfer that makes the spread more even. Groups of `busy` are left alone; those that are moved are added.
    pub(crate) fn even_out(
        &mut self,
        cluster: &Cluster<'_>,
        busy: &mut BTreeSet<ShardId>,
    ) -> Option<Planned> {
        let most = self.counts.values().max().copied().unwrap_or(0);
        let uneven = |id: &NodeId| count(&self.counts, *id) + 2 <= most;
        let mut least: Vec<NodeId> = self.open.keys().copied().filter(uneven).collect();
        least.sort_by_key(|id| (count(&self.counts, *id), *id));
        let (shard, to) = least
            .into_iter()
            .find_map(|to| Some((self.last_link(busy, to)?, to)))?;
        let from = self.by_group.get(&shard).copied()?;
        let reason = format!(
            "{} leads {} groups, {} leads {}",
            cluster.name(from),
            count(&self.counts, from),
            cluster.name(to),
            count(&self.counts, to),
        );
        self.transfer(shard, to);
        busy.insert(shard);
        let action = Action::TransferLeader { shard, to };
        Some(Planned { action, reason })
    }

    /// The group that `to` is to lead so that somebody, at the other end of a chain, leads one less of two or more too many.
    fn last_link(&self, busy: &BTreeSet<ShardId>, to: NodeId) -> Option<ShardId> {
        let enough = count(&self.counts, to) + 2;
        // Backwards from `to`: the node reached, and the last link of its chain.
        let mut waiting = VecDeque::from([(to, None)]);
        let mut seen = BTreeSet::from([to]);
        while let Some((reached, link)) = waiting.pop_front() {
            let open = self.open.get(&reached).into_iter().flatten();
            for shard in open.filter(|shard| !busy.contains(shard)) {
                let Some(leader) = self.by_group.get(shard).copied() else {
                    continue;
                };
                if !seen.insert(leader) {
                    continue;
                }
                let link = link.unwrap_or(*shard);
                if count(&self.counts, leader) >= enough {
                    return Some(link);
                }
                waiting.push_back((leader, Some(link)));
            }
        }
        None
    }
}

/// Whether the leadership may be moved for the balance. That of the meta group stays: the controller would move along.
fn is_movable(group: &GroupView) -> bool {
    let settled = group.learners.iter().all(|learner| learner.caught_up);
    group.shard != ShardId::META && !group.joint && settled && group.led_for_ms >= LEADER_REST_MS
}

fn takes(cluster: &Cluster<'_>, group: &GroupView, id: NodeId) -> bool {
    could_lead(cluster, group, id)
        && !group.lagging.contains(&id)
        && cluster.has_quorum(&group.voters)
}
