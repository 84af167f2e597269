//! What an operator wants to know: what is missing, what is stuck, what the next failure would do.

use mailrook_types::{NodeId, ShardId};

use crate::{
    GroupView, NodeState, View,
    cluster::{Cluster, Standing},
    plan::targets,
    target::{self, Target, can_take},
    view::quorum,
};

/// What losing a node now would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consequence {
    /// Which node.
    pub node: NodeId,
    /// Groups that would stand still: too few voters would be left.
    pub without_quorum: Vec<ShardId>,
    /// Groups of which nobody else who can be reached has everything: what they hold would be out of reach, and if the node
    /// is lost for good, perhaps lost.
    pub without_copy: Vec<ShardId>,
    /// How many groups would elect another leader.
    pub elections: usize,
    /// How many groups would have a copy less.
    pub copies: usize,
}

/// What losing each node now would do, one at a time; nodes that cannot be reached are lost already.
pub fn consequences(view: &View) -> Vec<Consequence> {
    let cluster = Cluster::new(view);
    cluster
        .nodes()
        .filter(|node| cluster.reachable(node.id))
        .map(|node| consequence(&cluster, node.id))
        .collect()
}

fn consequence(cluster: &Cluster<'_>, node: NodeId) -> Consequence {
    let mut found = Consequence {
        node,
        without_quorum: Vec::new(),
        without_copy: Vec::new(),
        elections: 0,
        copies: 0,
    };
    for (shard, group) in &cluster.groups {
        let left = |id: &&NodeId| **id != node && cluster.reachable(**id);
        let voters_left = group.voters.iter().filter(left).count();
        let votes = group.voters.contains(&node);
        let leads = group.leader == Some(node);
        if votes && cluster.has_quorum(&group.voters) && voters_left < quorum(group.voters.len()) {
            found.without_quorum.push(*shard);
        } else {
            found.elections += usize::from(leads);
        }
        let has_copy = complete(group).any(|id| id == node);
        if has_copy && !complete(group).any(|id| id != node && cluster.reachable(id)) {
            found.without_copy.push(*shard);
        }
        found.copies += usize::from(has_copy);
    }
    found
}

/// Who has everything: voters, but for those far behind, and learners that have caught up.
fn complete(group: &GroupView) -> impl Iterator<Item = NodeId> {
    let voters = group.voters.iter().copied();
    let voters = voters.filter(|id| !group.lagging.contains(id));
    let learners = group.learners.iter().filter(|learner| learner.caught_up);
    voters.chain(learners.map(|learner| learner.node))
}

/// A group with fewer copies than it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderReplicated {
    /// Which.
    pub shard: ShardId,
    /// How many complete copies can be reached, on nodes that are there to stay.
    pub have: usize,
    /// How many there are to be.
    pub want: usize,
    /// Why, for the operator.
    pub why: String,
}

/// The groups that have fewer copies than the settings say.
pub fn under_replicated(view: &View) -> Vec<UnderReplicated> {
    let cluster = Cluster::new(view);
    let targets = targets(&cluster, &mut target::counts(&cluster));
    let want = cluster.copies();
    let mut found = Vec::new();
    for (shard, group) in &cluster.groups {
        let good = complete(group).filter(|id| cluster.stays(*id) && cluster.reachable(*id));
        let have = good.count();
        if have < want {
            let why = why(&cluster, group, targets.get(shard));
            found.push(UnderReplicated {
                shard: *shard,
                have,
                want,
                why,
            });
        }
    }
    found
}

fn why(cluster: &Cluster<'_>, group: &GroupView, target: Option<&Target>) -> String {
    let Some(target) = target else {
        return if group.is_new() {
            "it is new".to_owned()
        } else {
            "nobody who has it can be reached".to_owned()
        };
    };
    if !cluster.has_quorum(&group.voters) {
        return format!(
            "too few of its voters can be reached ({} are needed)",
            quorum(group.voters.len())
        );
    }
    if !cluster.decides(group) {
        return "too few can be reached of those who voted or are to vote".to_owned();
    }
    let mut reasons: Vec<String> = Vec::new();
    if group.leader.is_none() {
        reasons.push("it has no leader".to_owned());
    }
    for id in &target.holders {
        reasons.extend(missing(cluster, group, target, *id));
    }
    if target.holders.len() < cluster.copies() {
        reasons.push(format!(
            "only {} nodes can have a copy",
            target.holders.len()
        ));
    }
    reasons.join("; ")
}

/// What is missing for a copy to count.
fn missing(
    cluster: &Cluster<'_>,
    group: &GroupView,
    target: &Target,
    id: NodeId,
) -> Option<String> {
    let name = cluster.name(id);
    let away = cluster.node(id).and_then(|node| node.unreachable_for_ms);
    if away.is_some() {
        let mut others = cluster.nodes().map(|node| node.id);
        let has_other =
            others.any(|other| !target.holders.contains(&other) && can_take(cluster, group, other));
        // Not how long that still is: since when it is away only the controller knows, and this may be asked anywhere.
        return Some(match has_other {
            true => format!(
                "{name} cannot be reached, and is replaced when it has been away for {}",
                time(cluster.view.heal_after_ms)
            ),
            false => format!("{name} cannot be reached, and no other node can take its copy"),
        });
    }
    if group.lagging.contains(&id) {
        return Some(format!("{name} is behind"));
    }
    match group.learner(id) {
        Some(learner) if !learner.caught_up => Some(format!("{name} is being filled")),
        None if !group.voters.contains(&id) => Some(format!("{name} gets a copy next")),
        _ => None,
    }
}

/// In minutes, if that is as good as seconds.
fn time(ms: u64) -> String {
    match ms / 1000 {
        s if s > 0 && s.is_multiple_of(60) => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// A copy that should leave its node, and for which there is no other place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Of which group.
    pub shard: ShardId,
    /// Where it is.
    pub node: NodeId,
    /// Why it stays, for the operator.
    pub why: String,
}

/// The copies that cannot leave their nodes. A node that is drained waits for these.
pub fn stuck(view: &View) -> Vec<Stuck> {
    let cluster = Cluster::new(view);
    let targets = targets(&cluster, &mut target::counts(&cluster));
    let mut found = Vec::new();
    for (shard, target) in &targets {
        let group = cluster.groups.get(shard);
        if !group.is_some_and(|group| cluster.decides(group)) {
            continue;
        }
        let stay = |id: &&NodeId| !target.holders.contains(id);
        found.extend(target.voters.iter().filter(stay).map(|node| Stuck {
            shard: *shard,
            node: *node,
            why: why_stuck(&cluster, *node),
        }));
    }
    found
}

fn why_stuck(cluster: &Cluster<'_>, node: NodeId) -> String {
    let name = cluster.name(node);
    let state = match cluster.standing(node) {
        Standing::Gone => "is gone",
        _ if cluster
            .node(node)
            .is_some_and(|node| node.state == NodeState::Draining) =>
        {
            "is being drained"
        }
        _ => "is to give it up",
    };
    format!("{name} {state}, and no other node can take its copy: add a node, or make room on one")
}
