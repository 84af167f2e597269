//! Puts a plan together.

use std::collections::{BTreeMap, BTreeSet};

use mailrook_types::{NodeId, ShardId};

use crate::{
    Action, GroupView, Planned, View,
    cluster::{Cluster, Counts, count},
    leaders::Leaders,
    spread::spread,
    step::{self, Fills, Step, Urgency},
    target::{self, Target},
};

/// The most actions in a plan: what follows is better decided when these have been carried out.
pub const ACTIONS_MAX: usize = 8;
/// The most leaderships handed over in a plan. Each makes the calls to its group wait for a moment.
pub const TRANSFERS_MAX: usize = 4;
/// The most learners that are being filled at a time.
pub const FILLS_MAX: usize = 6;
/// The most learners that are being filled on one node, which serves mail meanwhile.
pub const FILLS_PER_NODE_MAX: u32 = 2;

/// What to do next, the most urgent first, at most one thing for each group. Nothing if all is as it should be, or as well
/// as it can be.
pub fn plan(view: &View) -> Vec<Planned> {
    let cluster = Cluster::new(view);
    let mut counts = target::counts(&cluster);
    let targets = targets(&cluster, &mut counts);
    let mut leaders = Leaders::of(&cluster);
    let mut steps = steps(&cluster, &targets, &mut counts, &mut leaders);
    // Steps of the meta group before all others: without it nothing else can be decided.
    steps.sort_by_key(|step| {
        let shard = step.planned.action.shard();
        (shard != ShardId::META, step.urgency, shard)
    });
    let transfers = steps
        .iter()
        .filter(|step| step.urgency == Urgency::Lead)
        .count();
    let mut busy: BTreeSet<_> = steps
        .iter()
        .map(|step| step.planned.action.shard())
        .collect();
    let mut actions: Vec<Planned> = steps.into_iter().map(|step| step.planned).collect();
    for _ in transfers..TRANSFERS_MAX {
        if actions.len() >= ACTIONS_MAX {
            break;
        }
        match leaders.even_out(&cluster, &mut busy) {
            Some(planned) => actions.push(planned),
            None => break,
        }
    }
    actions.truncate(ACTIONS_MAX);
    actions
}

/// Where every group is to be that is there.
pub(crate) fn targets(cluster: &Cluster<'_>, counts: &mut Counts) -> BTreeMap<ShardId, Target> {
    let there = cluster
        .groups
        .iter()
        .filter(|(_, group)| !group.voters.is_empty());
    let mut targets: BTreeMap<_, _> = there
        .map(|(shard, group)| (*shard, Target::of(cluster, group, counts)))
        .collect();
    spread(cluster, &mut targets, counts);
    targets
}

fn steps(
    cluster: &Cluster<'_>,
    targets: &BTreeMap<ShardId, Target>,
    counts: &mut Counts,
    leaders: &mut Leaders,
) -> Vec<Step> {
    let mut fills = fills(cluster);
    let mut steps = Vec::new();
    let mut transfers = 0;
    // What is missing is filled before what is moved.
    for moves in [false, true] {
        for (shard, target) in targets.iter().filter(|(_, target)| target.is_move == moves) {
            let Some(group) = cluster.groups.get(shard) else {
                continue;
            };
            let Some(step) = step::next(cluster, group, target, &leaders.counts, &mut fills) else {
                continue;
            };
            if let Action::TransferLeader { shard, to } = step.planned.action {
                if transfers >= TRANSFERS_MAX {
                    continue;
                }
                transfers += 1;
                leaders.transfer(shard, to);
            }
            steps.push(step);
        }
    }
    let new = cluster.groups.values().filter(|group| group.is_new());
    steps.extend(new.filter_map(|group| create(cluster, group, counts, &mut fills.planned)));
    steps
}

/// What is being filled: only what can be, lest those that are stuck hold up all others.
fn fills(cluster: &Cluster<'_>) -> Fills {
    let led = cluster
        .groups
        .values()
        .filter(|group| group.leader.is_some());
    let learners = led.flat_map(|group| &group.learners);
    let filling = learners.filter(|learner| !learner.caught_up && cluster.reachable(learner.node));
    let mut on_node = Counts::new();
    for learner in filling {
        *on_node.entry(learner.node).or_default() += 1;
    }
    let under_way: u32 = on_node.values().sum();
    Fills {
        left: FILLS_MAX.saturating_sub(usize::try_from(under_way).unwrap_or(FILLS_MAX)),
        on_node,
        on_node_max: FILLS_PER_NODE_MAX,
        planned: Counts::new(),
    }
}

/// Has a group made that was never there, on the node with the fewest copies.
fn create(
    cluster: &Cluster<'_>,
    group: &GroupView,
    counts: &mut Counts,
    planned: &mut Counts,
) -> Option<Step> {
    let fit = cluster.nodes().map(|node| node.id);
    let fit = fit.filter(|id| cluster.is_fit(*id) && cluster.has_room(*id, planned));
    let node: NodeId = fit.min_by_key(|id| (count(counts, *id), *id))?;
    *counts.entry(node).or_default() += 1;
    *planned.entry(node).or_default() += 1;
    let shard = group.shard;
    Some(Step {
        urgency: Urgency::Copy,
        planned: Planned {
            action: Action::CreateGroup { shard, node },
            reason: format!("shard {shard} is new"),
        },
    })
}
