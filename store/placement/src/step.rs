//! What a group needs next on its way to its target.

use mailrook_types::{NodeId, ShardId};

use crate::{
    Action, GroupView, Planned,
    cluster::{Cluster, Counts, Standing, count},
    target::{Target, irreplaceable, is_ready},
};

/// How urgent a step is; the lower ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// A leader is where none should be.
    Lead,
    /// What was prepared is made to count.
    Vote,
    /// A copy is missing.
    Copy,
    /// Something is left over.
    Tidy,
    /// It is well, and can be better.
    Spread,
}

/// A step with how urgent it is.
pub(crate) struct Step {
    pub(crate) urgency: Urgency,
    pub(crate) planned: Planned,
}

fn step(urgency: Urgency, action: Action, reason: String) -> Option<Step> {
    let planned = Planned { action, reason };
    Some(Step { urgency, planned })
}

/// The group's next step; `leads` has how many groups each node leads, and `fills` what may still be filled.
pub(crate) fn next(
    cluster: &Cluster<'_>,
    group: &GroupView,
    target: &Target,
    leads: &Counts,
    fills: &mut Fills,
) -> Option<Step> {
    if !cluster.can_hand_over(group) {
        return None;
    }
    let handed = hand_over(cluster, group, target, leads);
    if handed.is_some() || !cluster.can_change(group) {
        return handed;
    }
    vote(cluster, group, target, leads)
        .or_else(|| add(cluster, group, target, fills))
        .or_else(|| tidy(cluster, group, target))
}

/// Takes the leadership from a node that should have none.
fn hand_over(
    cluster: &Cluster<'_>,
    group: &GroupView,
    target: &Target,
    leads: &Counts,
) -> Option<Step> {
    let leader = group.leader?;
    let votes = group.voters.contains(&leader);
    if votes && cluster.is_fit(leader) {
        return None;
    }
    let to = successor(cluster, group, &target.voters, leads)
        .or_else(|| successor(cluster, group, &group.voters, leads))?;
    let name = cluster.name(leader);
    let why = match cluster.standing(leader) {
        // Elected while the voters changed: the consensus engine has it lead on as a learner.
        Standing::Staying if !votes => format!("{name} leads and has no vote"),
        Standing::Staying => format!("the disk of {name} is full"),
        _ => format!("{name} hands over what it has"),
    };
    let shard = group.shard;
    step(Urgency::Lead, Action::TransferLeader { shard, to }, why)
}

/// The voter among `candidates` that is best asked to lead.
fn successor(
    cluster: &Cluster<'_>,
    group: &GroupView,
    candidates: &[NodeId],
    leads: &Counts,
) -> Option<NodeId> {
    candidates
        .iter()
        .copied()
        .filter(|id| group.leader != Some(*id) && could_lead(cluster, group, *id))
        .filter(|id| !group.lagging.contains(id))
        .min_by_key(|id| (count(leads, *id), *id))
}

/// Whether the node may be given the group's leadership, once it has what was written last.
pub(crate) fn could_lead(cluster: &Cluster<'_>, group: &GroupView, id: NodeId) -> bool {
    group.voters.contains(&id) && cluster.is_fit(id)
}

/// Changes the voters as far towards the target as can be done now.
fn vote(cluster: &Cluster<'_>, group: &GroupView, target: &Target, leads: &Counts) -> Option<Step> {
    let voters = next_voters(cluster, group, target);
    let mut present = group.voters.clone();
    present.sort();
    if voters == present || !cluster.has_quorum(&voters) {
        return None;
    }
    let shard = group.shard;
    let leader = group.leader?;
    if !voters.contains(&leader) {
        // A leader that is no longer a voter is asked to hand over: better before.
        if let Some(to) = successor(cluster, group, &voters, leads) {
            let why = format!("{} is to vote no longer", cluster.name(leader));
            return step(Urgency::Lead, Action::TransferLeader { shard, to }, why);
        }
        if voters.iter().any(|id| could_lead(cluster, group, *id)) {
            return None;
        }
        // Nobody who stays can lead before it votes.
    }
    let reason = describe(cluster, &present, &voters);
    step(
        Urgency::Vote,
        Action::ChangeVoters { shard, voters },
        reason,
    )
}

/// `a and b vote, c no longer`
fn describe(cluster: &Cluster<'_>, before: &[NodeId], after: &[NodeId]) -> String {
    let names = |all: &[NodeId], without: &[NodeId]| {
        let left = all.iter().filter(|id| !without.contains(id));
        left.map(|id| cluster.name(*id))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (names(after, before), names(before, after)) {
        (new, old) if old.is_empty() => format!("{new} has everything and can vote"),
        (new, old) if new.is_empty() => format!("{old} is to vote no longer"),
        (new, old) => format!("{new} takes the place of {old}"),
    }
}

/// Who can vote next, ascending: of the target those who are ready, and for the others those whom they are to replace.
pub(crate) fn next_voters(
    cluster: &Cluster<'_>,
    group: &GroupView,
    target: &Target,
) -> Vec<NodeId> {
    let votes = |id: &NodeId| group.voters.contains(id);
    let mut next: Vec<NodeId> = target.voters.clone();
    next.retain(|id| votes(id) || is_ready(cluster, group, *id));
    let missing = target.voters.len() - next.len();
    let stand_ins = irreplaceable(cluster, group, &next);
    next.extend(stand_ins.into_iter().take(missing));
    if next.len().is_multiple_of(2)
        && next.len() != target.voters.len()
        && let Some(newcomer) = next.iter().rposition(|id| !votes(id))
    {
        // Two voters survive nothing: the next one is waited for.
        next.remove(newcomer);
    }
    next.sort();
    next
}

/// What may still be filled in this plan, so that mail goes on while copies are made.
pub(crate) struct Fills {
    pub(crate) left: usize,
    /// Learners being filled on each node, with those that this plan adds.
    pub(crate) on_node: Counts,
    pub(crate) on_node_max: u32,
    /// Copies that this plan adds.
    pub(crate) planned: Counts,
}

impl Fills {
    fn allow(&self, cluster: &Cluster<'_>, group: &GroupView, id: NodeId) -> bool {
        let room = group.recorded.contains(&id) || cluster.has_room(id, &self.planned);
        self.left > 0 && count(&self.on_node, id) < self.on_node_max && room
    }

    fn begin(&mut self, id: NodeId) {
        self.left -= 1;
        *self.on_node.entry(id).or_default() += 1;
        *self.planned.entry(id).or_default() += 1;
    }
}

/// Has a node that is to hold a copy follow.
fn add(
    cluster: &Cluster<'_>,
    group: &GroupView,
    target: &Target,
    fills: &mut Fills,
) -> Option<Step> {
    let missing = target.holders.iter().copied();
    let mut missing = missing.filter(|id| !group.is_member(*id) && cluster.is_fit(*id));
    let node = missing.find(|id| fills.allow(cluster, group, *id))?;
    fills.begin(node);
    let urgency = if target.is_move {
        Urgency::Spread
    } else {
        Urgency::Copy
    };
    let shard = group.shard;
    let reason = reason_to_add(cluster, group, target, node);
    step(urgency, Action::AddLearner { shard, node }, reason)
}

fn reason_to_add(
    cluster: &Cluster<'_>,
    group: &GroupView,
    target: &Target,
    node: NodeId,
) -> String {
    let name = cluster.name(node);
    let leaves = group.voters.iter().find(|id| !target.holders.contains(id));
    let Some(leaves) = leaves else {
        return format!("{name} gets a copy, of {} wanted", cluster.copies());
    };
    let old = cluster.name(*leaves);
    match cluster.standing(*leaves) {
        Standing::Removed => format!("{name} takes the place of {old}, which was removed"),
        Standing::Gone => format!("{name} takes the place of {old}, which is gone"),
        Standing::Leaving => format!("{name} takes the place of {old}, which is drained"),
        Standing::Staying if cluster.zone(node) != cluster.zone(*leaves) => {
            format!("{name} takes the place of {old}, for another zone")
        }
        Standing::Staying => format!("{name} takes the place of {old}, which has more copies"),
    }
}

/// Removes what is left over.
fn tidy(cluster: &Cluster<'_>, group: &GroupView, target: &Target) -> Option<Step> {
    let shard: ShardId = group.shard;
    let learners = group.learners.iter().map(|learner| learner.node);
    if let Some(node) = learners.filter(|id| !target.keeps(*id)).min() {
        let reason = format!("the copy of {} is not needed", cluster.name(node));
        return step(Urgency::Tidy, Action::RemoveLearner { shard, node }, reason);
    }
    let recorded = group.recorded.iter().copied();
    let left_over = recorded.filter(|id| !group.is_member(*id) && !target.keeps(*id));
    let node = left_over.min()?;
    let reason = format!("{} no longer takes part", cluster.name(node));
    step(Urgency::Tidy, Action::DropCopy { shard, node }, reason)
}
