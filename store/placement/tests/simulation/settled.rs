//! When nothing more happens, plans end, and everything is as well as it can be.

use std::collections::{BTreeMap, BTreeSet};

use mailrook_placement::{plan, stuck, under_replicated};
use mailrook_types::{NodeId, ShardId};

use crate::{
    model::{Group, HEAL_AFTER_MS, Model, STEP_MS},
    rules::{self, is_fit, stays},
};

/// For so many steps nothing is planned: long enough for all that waits for a time to pass.
const QUIET_STEPS: u64 = HEAL_AFTER_MS / STEP_MS + 6;

/// Lets the cluster settle.
pub fn check(mut model: Model) -> Model {
    // A copy takes five steps to be made, moved to and dropped; each may be moved a few times, and leaders after that.
    let bound = 60 + 40 * model.groups.len();
    let mut quiet = 0;
    for steps in 0.. {
        let view = model.view();
        let planned = plan(&view);
        rules::check(&model, &view, &planned);
        quiet = if planned.is_empty() { quiet + 1 } else { 0 };
        if quiet > QUIET_STEPS {
            break;
        }
        assert!(
            steps < bound,
            "after {steps} steps there is still {planned:?}"
        );
        model.step(&planned, 0);
    }
    let counts = counts(&model);
    for (shard, group) in &model.groups {
        if group.leader.is_some() {
            check_copies(&model, *shard, group);
            check_spread(&model, *shard, group, &counts);
        } else {
            let next = group.next.as_ref();
            let lost = !model.has_quorum(&group.voters)
                || next.is_some_and(|next| !model.has_quorum(next));
            assert!(lost, "{shard} could have a leader");
        }
    }
    check_leaders(&model);
    check_status(&model);
    model
}

fn holders(group: &Group) -> BTreeSet<NodeId> {
    let learners = group.learners.keys().copied();
    group.voters.iter().copied().chain(learners).collect()
}

fn counts(model: &Model) -> BTreeMap<NodeId, usize> {
    let mut counts = BTreeMap::new();
    for id in model.groups.values().flat_map(|group| &group.recorded) {
        *counts.entry(*id).or_default() += 1;
    }
    counts
}

fn check_copies(model: &Model, shard: ShardId, group: &Group) {
    let holders = holders(group);
    assert_eq!(group.recorded, holders, "{shard}: nothing is left over");
    let copies = usize::from(model.copies);
    let good = holders.iter().filter(|id| stays(model, **id)).count();
    let others = model.nodes.keys().filter(|id| !holders.contains(id));
    let possible = good + others.filter(|id| is_fit(model, **id)).count();
    assert_eq!(good, copies.min(possible), "{shard}: {holders:?}");

    let fit = holders.iter().filter(|id| is_fit(model, **id)).count();
    if fit >= copies {
        assert_eq!(group.voters.len(), copies, "{shard}: all vote");
        assert_eq!(holders.len(), copies, "{shard}: there are no others");
    }
    let votes = group.voters.len();
    let gone = group.voters.iter().filter(|id| !stays(model, **id)).count();
    // A learner that waits for room on its disk takes the place when there is some.
    let waits = group.learners.keys().any(|id| model.nodes[id].full);
    assert!(
        gone == 0 || votes <= 3 || waits,
        "{shard}: {gone} votes are wasted"
    );
    assert!(votes % 2 == 1, "{shard}: {votes} votes");
}

/// No single move makes it better.
fn check_spread(model: &Model, shard: ShardId, group: &Group, counts: &BTreeMap<NodeId, usize>) {
    let well = |id: &NodeId| stays(model, *id) && model.up(*id);
    if group.voters.len() != usize::from(model.copies) || !group.voters.iter().all(well) {
        return;
    }
    let zone = |id: NodeId| model.nodes[&id].zone;
    let count = |id: NodeId| counts.get(&id).copied().unwrap_or(0);
    let others = model.nodes.keys().filter(|id| !group.voters.contains(id));
    for to in others.filter(|id| is_fit(model, **id)) {
        for from in &group.voters {
            let mates = |id: NodeId| {
                let rest = group.voters.iter().filter(|other| *other != from);
                rest.filter(|other| zone(**other) == zone(id)).count()
            };
            let (before, after) = (mates(*from), mates(*to));
            assert!(
                after >= before,
                "{shard}: {to} is in a better zone than {from}"
            );
            assert!(
                after > before || count(*from) < count(*to) + 2,
                "{shard}: {from} has {} copies, {to} has {}",
                count(*from),
                count(*to)
            );
        }
    }
}

fn check_leaders(model: &Model) {
    let leads = model.leads();
    for (shard, group) in &model.groups {
        let Some(leader) = group.leader else {
            continue;
        };
        for to in group.voters.iter().filter(|id| is_fit(model, **id)) {
            assert!(is_fit(model, leader), "{shard}: {to} could lead");
            assert!(
                *shard == ShardId::META || leads[&leader] < leads[to] + 2,
                "{shard}: {leader} leads {}, {to} {}",
                leads[&leader],
                leads[to]
            );
        }
    }
}

/// What is said of it is so.
fn check_status(model: &Model) {
    let view = model.view();
    for poor in under_replicated(&view) {
        assert!(poor.have < poor.want && !poor.why.is_empty(), "{poor:?}");
    }
    for stuck in stuck(&view) {
        assert!(!stays(model, stuck.node), "{stuck:?}");
    }
}
