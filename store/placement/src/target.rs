//! Where a group's copies are to be, and which of them vote.

use std::cmp::Reverse;

use mailrook_types::NodeId;

use crate::{
    GroupView,
    cluster::{Cluster, Counts, Standing, count},
};

/// What a group is to come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Who is to have a copy, all of them there to stay.
    pub(crate) holders: Vec<NodeId>,
    /// Who is to vote: holders, and those who would have to go but whom nobody can replace yet.
    pub(crate) voters: Vec<NodeId>,
    /// Whether it is better placed than it need be: others go first.
    pub(crate) is_move: bool,
}

impl Target {
    /// The target of a group that keeps as many of its members as it can. `counts` has the copies of all groups, and gets
    /// those that are to be added.
    pub(crate) fn of(cluster: &Cluster<'_>, group: &GroupView, counts: &mut Counts) -> Target {
        if !cluster.decides(group) {
            // Nothing can be done for it now, so nothing is kept free for it.
            let mut holders = group.hosts();
            holders.retain(|id| cluster.stays(*id));
            return Target {
                holders,
                voters: group.voters.clone(),
                is_move: false,
            };
        }
        let mut holders = staying_voters(cluster, group, counts);
        fill(cluster, group, &mut holders, counts);
        let voters = voters(cluster, group, &holders);
        Target {
            holders,
            voters,
            is_move: false,
        }
    }

    /// Whether the node keeps its copy.
    pub(crate) fn keeps(&self, id: NodeId) -> bool {
        self.holders.contains(&id) || self.voters.contains(&id)
    }

    /// With the copy of `from` on `to`.
    pub(crate) fn moved(mut self, from: NodeId, to: NodeId) -> Target {
        for list in [&mut self.holders, &mut self.voters] {
            for id in list.iter_mut().filter(|id| **id == from) {
                *id = to;
            }
        }
        self.is_move = true;
        self
    }
}

/// The copies that every group has to begin with: those of voters that stay. Where they cannot decide anything, all that are
/// there.
pub(crate) fn counts(cluster: &Cluster<'_>) -> Counts {
    let mut counts = Counts::new();
    for group in cluster.groups.values() {
        let holders = if cluster.decides(group) {
            group.voters.clone()
        } else {
            group.hosts()
        };
        for id in holders.into_iter().filter(|id| cluster.stays(*id)) {
            *counts.entry(id).or_default() += 1;
        }
    }
    counts
}

/// Voters that stay; of too many the best spread ones.
fn staying_voters(cluster: &Cluster<'_>, group: &GroupView, counts: &mut Counts) -> Vec<NodeId> {
    let mut holders = group.voters.clone();
    holders.retain(|id| cluster.stays(*id));
    holders.sort();
    while holders.len() > cluster.copies() {
        let worst = worst(cluster, group, &holders, counts);
        holders.retain(|id| Some(*id) != worst);
        if let Some(counted) = worst.and_then(|id| counts.get_mut(&id)) {
            *counted = counted.saturating_sub(1);
        }
    }
    holders
}

/// The one that is missed least. The leader is the last to go.
fn worst(
    cluster: &Cluster<'_>,
    group: &GroupView,
    holders: &[NodeId],
    counts: &Counts,
) -> Option<NodeId> {
    let least = |id: &NodeId| {
        let leads = group.leader == Some(*id);
        let mates = cluster.zone_mates(*id, holders);
        (
            !leads,
            !cluster.reachable(*id),
            mates,
            count(counts, *id),
            *id,
        )
    };
    holders.iter().copied().max_by_key(least)
}

/// Adds holders until there are enough, or no more nodes.
fn fill(cluster: &Cluster<'_>, group: &GroupView, holders: &mut Vec<NodeId>, counts: &mut Counts) {
    while holders.len() < cluster.copies() {
        let open = cluster.nodes().map(|node| node.id);
        let open = open.filter(|id| !holders.contains(id));
        let classed = open.filter_map(|id| Some((class(cluster, group, id)?, id)));
        let best = classed.min_by_key(|(class, id)| {
            let mates = cluster.zone_mates(*id, holders);
            let last_resort = *class == Class::FullLearner;
            (last_resort, mates, *class, count(counts, *id), *id)
        });
        let Some((_, id)) = best else {
            break;
        };
        holders.push(id);
        *counts.entry(id).or_default() += 1;
    }
}

/// What makes a node fit for a copy; what is there already comes first, lest it be filled in vain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Learner,
    /// Named in the record: about to follow.
    Recorded,
    Other,
    /// Its disk is full: what it has may become of use.
    FullLearner,
}

fn class(cluster: &Cluster<'_>, group: &GroupView, id: NodeId) -> Option<Class> {
    if group.learner(id).is_some() && cluster.stays(id) {
        let full = cluster.node(id).is_some_and(|node| node.disk_full);
        return Some(if full {
            Class::FullLearner
        } else {
            Class::Learner
        });
    }
    if !cluster.is_fit(id) {
        return None;
    }
    if group.recorded.contains(&id) {
        return Some(Class::Recorded);
    }
    cluster.has_room(id, &Counts::new()).then_some(Class::Other)
}

/// Whether the node could get a copy of the group now, or has one that only waits for a vote.
pub(crate) fn can_take(cluster: &Cluster<'_>, group: &GroupView, id: NodeId) -> bool {
    class(cluster, group, id).is_some_and(|class| class != Class::FullLearner)
}

/// Whether a learner could vote now.
pub(crate) fn is_ready(cluster: &Cluster<'_>, group: &GroupView, id: NodeId) -> bool {
    let caught_up = group.learner(id).is_some_and(|learner| learner.caught_up);
    caught_up && cluster.is_fit(id)
}

fn voters(cluster: &Cluster<'_>, group: &GroupView, holders: &[NodeId]) -> Vec<NodeId> {
    let wanted = wanted_voters(cluster, group, holders.len());
    let (mut voters, mut others): (Vec<_>, Vec<_>) = holders
        .iter()
        .copied()
        .partition(|id| group.voters.contains(id));
    while voters.len() > wanted {
        let worst = worst(cluster, group, &voters, &Counts::new());
        voters.retain(|id| Some(*id) != worst);
    }
    while voters.len() < wanted {
        let best = others.iter().copied().min_by_key(|id| {
            let mates = cluster.zone_mates(*id, &voters);
            (!is_ready(cluster, group, *id), mates, *id)
        });
        let Some(best) = best else {
            break;
        };
        others.retain(|id| *id != best);
        voters.push(best);
    }
    let missing = wanted.saturating_sub(voters.len());
    voters.extend(
        irreplaceable(cluster, group, &voters)
            .into_iter()
            .take(missing),
    );
    voters.sort();
    voters
}

/// How many are to vote.
fn wanted_voters(cluster: &Cluster<'_>, group: &GroupView, holders: usize) -> usize {
    let possible = holders.min(cluster.copies());
    let odd = possible - usize::from(possible > 0 && possible.is_multiple_of(2));
    // Two of three that are left need both, as three do of which one is gone. One alone would lose what was acknowledged
    // when it fails. A removed node never votes again, so its vote is no loss.
    let least = if cluster.copies() >= 3 { 3 } else { 1 };
    let present = group.voters.iter();
    let present = present.filter(|id| cluster.standing(**id) != Standing::Removed);
    odd.max(present.count().min(least))
}

/// Voters that were to go, those of most use first.
pub(crate) fn irreplaceable(
    cluster: &Cluster<'_>,
    group: &GroupView,
    chosen: &[NodeId],
) -> Vec<NodeId> {
    let mut left: Vec<NodeId> = group.voters.clone();
    left.retain(|id| !chosen.contains(id) && cluster.standing(*id) != Standing::Removed);
    left.sort_by_key(|id| {
        let leads = group.leader == Some(*id);
        (Reverse((cluster.reachable(*id), leads)), *id)
    });
    left
}
