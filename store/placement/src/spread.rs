//! Moves of copies that are well where they are and better elsewhere: to other zones, to emptier nodes.
//!
//! A move makes one of two numbers smaller and the first never larger: how many pairs of copies of one group share a zone,
//! and the sum of the squares of the nodes' copies. So moves come to an end.

use std::{cmp::Reverse, collections::BTreeMap};

use mailrook_types::{NodeId, ShardId};

use crate::{
    GroupView,
    cluster::{Cluster, Counts, count},
    target::Target,
};

/// The most copies that are moved at a time, while everything is well.
pub const MOVES_MAX: usize = 2;

/// How much better it gets: fewer pairs in a zone, then by how much `from` has more copies than `to`.
type Gain = (usize, u32);

/// Changes the targets of some groups, the ones that were begun first.
pub(crate) fn spread(
    cluster: &Cluster<'_>,
    targets: &mut BTreeMap<ShardId, Target>,
    counts: &mut Counts,
) {
    let mut under_way = go_on(cluster, targets, counts);
    while under_way < MOVES_MAX {
        let Some((shard, from, to)) = best(cluster, targets, counts) else {
            break;
        };
        carry(targets, counts, shard, from, to);
        under_way += 1;
    }
}

/// Takes up the moves that have a learner already, as far as they are still of use. How many there are.
fn go_on(
    cluster: &Cluster<'_>,
    targets: &mut BTreeMap<ShardId, Target>,
    counts: &mut Counts,
) -> usize {
    let mut under_way = 0;
    for (shard, group) in &cluster.groups {
        let Some(target) = targets.get(shard).filter(|target| is_whole(group, target)) else {
            continue;
        };
        let holders = places(cluster, &target.holders, counts);
        let mut extra = group.hosts();
        extra.retain(|id| {
            let full = cluster.node(*id).is_none_or(|node| node.disk_full);
            !target.keeps(*id) && cluster.stays(*id) && !full
        });
        let found = places(cluster, &extra, counts)
            .into_iter()
            .filter_map(|to| best_from(&holders, to))
            .min_by_key(|(gain, from, to)| (Reverse(*gain), *from, *to));
        if let Some((_, from, to)) = found {
            carry(targets, counts, *shard, from, to);
            under_way += 1;
        }
    }
    under_way
}

fn carry(
    targets: &mut BTreeMap<ShardId, Target>,
    counts: &mut Counts,
    shard: ShardId,
    from: NodeId,
    to: NodeId,
) {
    if let Some(target) = targets.remove(&shard) {
        targets.insert(shard, target.moved(from, to));
    }
    let left = count(counts, from).saturating_sub(1);
    counts.insert(from, left);
    *counts.entry(to).or_default() += 1;
}

/// Whether nothing is missing: those who are to hold and to vote do.
fn is_whole(group: &GroupView, target: &Target) -> bool {
    let same = |a: &[NodeId], b: &[NodeId]| a.len() == b.len() && a.iter().all(|id| b.contains(id));
    same(&group.voters, &target.voters) && same(&group.voters, &target.holders)
}

/// The best new move of all.
fn best(
    cluster: &Cluster<'_>,
    targets: &BTreeMap<ShardId, Target>,
    counts: &Counts,
) -> Option<(ShardId, NodeId, NodeId)> {
    let mut fit: Vec<NodeId> = cluster.nodes().map(|node| node.id).collect();
    fit.retain(|id| cluster.is_fit(*id) && cluster.has_room(*id, &Counts::new()));
    let mut fit = places(cluster, &fit, counts);
    fit.sort_by_key(|place| (place.zone, place.copies, place.node));
    // Of each zone the emptiest node that has no copy yet is as good as any other there.
    let zones: Vec<&[Place<'_>]> = fit.chunk_by(|a, b| a.zone == b.zone).collect();
    let mut best = None;
    for (shard, group) in &cluster.groups {
        let Some(target) = targets.get(shard) else {
            continue;
        };
        if !is_calm(cluster, group, target) {
            continue;
        }
        let holders = places(cluster, &target.holders, counts);
        let open = zones
            .iter()
            .filter_map(|zone| zone.iter().find(|to| !target.keeps(to.node)));
        for to in open {
            let found =
                best_from(&holders, *to).map(|(gain, from, to)| (Reverse(gain), *shard, from, to));
            best = match (best, found) {
                (Some(best), Some(found)) => Some(found.min(best)),
                (best, found) => best.or(found),
            };
        }
    }
    best.map(|(_, shard, from, to)| (shard, from, to))
}

/// Whether the group has just what it is to have, and everybody can be reached.
fn is_calm(cluster: &Cluster<'_>, group: &GroupView, target: &Target) -> bool {
    !target.is_move
        && cluster.can_change(group)
        && is_whole(group, target)
        && group.hosts().len() == group.voters.len()
        && group.voters.iter().all(|id| cluster.reachable(*id))
}

/// A node as a place for a copy. Looked up once: with 4,096 groups on hundreds of nodes the pairs are many.
#[derive(Clone, Copy)]
struct Place<'v> {
    node: NodeId,
    zone: &'v str,
    copies: u32,
}

fn places<'v>(cluster: &Cluster<'v>, nodes: &[NodeId], counts: &Counts) -> Vec<Place<'v>> {
    let place = |node: &NodeId| Place {
        node: *node,
        zone: cluster.zone(*node),
        copies: count(counts, *node),
    };
    nodes.iter().map(place).collect()
}

/// From where to move a copy to `to`, if that makes anything better.
fn best_from(holders: &[Place<'_>], to: Place<'_>) -> Option<(Gain, NodeId, NodeId)> {
    let moves = holders.iter().filter_map(|from| {
        let others = || holders.iter().filter(|other| other.node != from.node);
        let mates = |zone: &str| others().filter(|other| other.zone == zone).count();
        let fewer = mates(from.zone).checked_sub(mates(to.zone))?;
        let more = from.copies.saturating_sub(to.copies);
        (fewer > 0 || more >= 2).then_some(((fewer, more), from.node, to.node))
    });
    moves.min_by_key(|(gain, from, _)| (Reverse(*gain), *from))
}
