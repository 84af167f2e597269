//! A cluster whose membership changes, elections and transfers simply happen.

use std::collections::{BTreeMap, BTreeSet};

use mailrook_placement::{Action, GroupView, LearnerView, NodeState, NodeView, Planned, View};
use mailrook_types::{NodeId, ShardId};

/// What one step of the model takes.
pub const STEP_MS: u64 = 5_000;
pub const HEAL_AFTER_MS: u64 = 30_000;
/// How many steps a copy takes to be filled.
const FILL_STEPS: u32 = 2;

pub struct Node {
    pub zone: u8,
    pub state: NodeState,
    pub down_since_ms: Option<u64>,
    pub full: bool,
}

#[derive(Default)]
pub struct Group {
    pub leader: Option<NodeId>,
    pub led_since_ms: u64,
    pub voters: BTreeSet<NodeId>,
    /// The voters of the change that is under way.
    pub next: Option<BTreeSet<NodeId>>,
    /// With the steps that are left until it has everything.
    pub learners: BTreeMap<NodeId, u32>,
    pub recorded: BTreeSet<NodeId>,
}

/// What happens to a cluster. Nodes are counted among those that were ever there.
#[derive(Clone, Debug)]
pub enum Event {
    Join(u8),
    Fail(usize),
    Return(usize),
    Drain(usize),
    Undrain(usize),
    Remove(usize),
    Full(usize),
    Room(usize),
    Copies(u8),
    AddShard,
}

pub struct Model {
    pub now_ms: u64,
    pub copies: u8,
    pub nodes: BTreeMap<NodeId, Node>,
    pub groups: BTreeMap<ShardId, Group>,
}

impl Model {
    /// One node with all groups.
    pub fn new(shards: u32) -> Model {
        let mut model = Model {
            now_ms: 0,
            copies: 3,
            nodes: BTreeMap::new(),
            groups: BTreeMap::new(),
        };
        model.happen(&Event::Join(0));
        for shard in 0..=shards {
            model.groups.insert(ShardId(shard), Group::made(NodeId(1)));
        }
        model
    }

    fn nth(&mut self, n: usize) -> (NodeId, &mut Node) {
        let at = n % self.nodes.len();
        let (id, node) = self.nodes.iter_mut().nth(at).unwrap();
        (*id, node)
    }

    pub fn happen(&mut self, event: &Event) {
        let now_ms = self.now_ms;
        match event {
            Event::Join(zone) if self.nodes.len() < 8 => {
                let id = NodeId(self.nodes.len() as u64 + 1);
                let node = Node {
                    zone: *zone,
                    state: NodeState::Active,
                    down_since_ms: None,
                    full: false,
                };
                self.nodes.insert(id, node);
            }
            Event::Join(_) => {}
            Event::Fail(n) => {
                let (id, node) = self.nth(*n);
                node.down_since_ms.get_or_insert(now_ms);
                self.fall(id);
            }
            Event::Return(n) => self.nth(*n).1.down_since_ms = None,
            Event::Drain(n) => self.set_state(*n, NodeState::Draining),
            Event::Undrain(n) => self.set_state(*n, NodeState::Active),
            Event::Remove(n) => {
                let (id, _) = self.nth(*n);
                // As the meta group does: not while a record names it.
                if !self
                    .groups
                    .values()
                    .any(|group| group.recorded.contains(&id))
                {
                    self.set_state(*n, NodeState::Removed);
                }
            }
            Event::Full(n) => self.nth(*n).1.full = true,
            Event::Room(n) => self.nth(*n).1.full = false,
            Event::Copies(copies) => self.copies = *copies,
            Event::AddShard => {
                let next = ShardId(self.groups.len() as u32);
                self.groups.insert(next, Group::default());
            }
        }
    }

    fn set_state(&mut self, n: usize, state: NodeState) {
        let (_, node) = self.nth(n);
        if node.state != NodeState::Removed {
            node.state = state;
        }
    }

    fn fall(&mut self, id: NodeId) {
        for group in self.groups.values_mut() {
            group.leader = group.leader.filter(|leader| *leader != id);
        }
    }

    pub fn up(&self, id: NodeId) -> bool {
        let node = &self.nodes[&id];
        node.down_since_ms.is_none() && node.state != NodeState::Removed
    }

    pub fn has_quorum(&self, voters: &BTreeSet<NodeId>) -> bool {
        let up = voters.iter().filter(|id| self.up(**id)).count();
        up > voters.len() / 2
    }

    pub fn leads(&self) -> BTreeMap<NodeId, usize> {
        let up = self.nodes.keys().filter(|id| self.up(**id));
        let mut leads: BTreeMap<_, _> = up.map(|id| (*id, 0)).collect();
        for leader in self.groups.values().filter_map(|group| group.leader) {
            *leads.entry(leader).or_default() += 1;
        }
        leads
    }

    /// How many groups' records name a node; it counts from 0.
    pub fn hosts_of(&self, n: usize) -> usize {
        let id = *self.nodes.keys().nth(n).unwrap();
        let there = self.groups.values();
        there.filter(|group| group.recorded.contains(&id)).count()
    }

    pub fn view(&self) -> View {
        let nodes = self.nodes.iter().map(|(id, node)| NodeView {
            id: *id,
            name: format!("mail{}", id.0),
            zone: format!("zone-{}", node.zone),
            state: node.state,
            unreachable_for_ms: node.down_since_ms.map(|since| self.now_ms - since),
            disk_full: node.full,
        });
        let groups = self.groups.iter().map(|(shard, group)| GroupView {
            shard: *shard,
            leader: group.leader,
            led_for_ms: self.now_ms - group.led_since_ms,
            voters: group.voters.iter().copied().collect(),
            learners: group
                .learners
                .iter()
                .map(|(node, left)| LearnerView {
                    node: *node,
                    caught_up: *left == 0,
                })
                .collect(),
            lagging: Vec::new(),
            joint: group.next.is_some(),
            recorded: group.recorded.iter().copied().collect(),
        });
        View {
            copies: self.copies,
            heal_after_ms: HEAL_AFTER_MS,
            groups_per_node_max: 64,
            nodes: nodes.collect(),
            groups: groups.collect(),
        }
    }

    /// Carries out what was planned, but for the actions whose bit of `failing` is set, and lets time go by.
    pub fn step(&mut self, planned: &[Planned], failing: u16) {
        // A change is under way for a step at least, and seen by the next plan.
        let shards: Vec<ShardId> = self.groups.keys().copied().collect();
        for shard in &shards {
            if self.groups[shard].next.is_some() {
                self.elect(*shard);
                self.commit(*shard);
            }
        }
        for (at, planned) in planned.iter().enumerate() {
            let fails = failing & (1 << (at % 16)) != 0;
            self.carry_out(&planned.action, fails);
        }
        self.now_ms += STEP_MS;
        for shard in shards {
            self.elect(shard);
            self.replicate(shard);
        }
    }

    /// One that fails may have been begun.
    fn carry_out(&mut self, action: &Action, fails: bool) {
        let now_ms = self.now_ms;
        let group = self.groups.get_mut(&action.shard()).unwrap();
        match action {
            Action::AddLearner { node, .. } => {
                group.recorded.insert(*node);
                if !fails {
                    group.learners.insert(*node, FILL_STEPS);
                }
            }
            _ if fails => {}
            Action::CreateGroup { node, .. } => *group = Group::made(*node),
            Action::ChangeVoters { voters, .. } => {
                group.next = Some(voters.iter().copied().collect());
            }
            Action::RemoveLearner { node, .. } => {
                group.learners.remove(node);
            }
            Action::DropCopy { node, .. } => {
                group.recorded.remove(node);
            }
            Action::TransferLeader { to, .. } => {
                group.leader = Some(*to);
                group.led_since_ms = now_ms;
            }
        }
    }

    fn elect(&mut self, shard: ShardId) {
        let group = &self.groups[&shard];
        let quorum = self.has_quorum(&group.voters)
            && group.next.as_ref().is_none_or(|next| self.has_quorum(next));
        let leader = group.leader.filter(|_| quorum);
        let up: Vec<NodeId> = group
            .voters
            .iter()
            .copied()
            .filter(|id| self.up(*id))
            .collect();
        let elected = up.get(shard.0 as usize % up.len().max(1)).copied();
        let leader = leader.or(elected.filter(|_| quorum));
        let now_ms = self.now_ms;
        let group = self.groups.get_mut(&shard).unwrap();
        if group.leader != leader {
            group.led_since_ms = now_ms;
        }
        group.leader = leader;
    }

    /// A joint change comes to its end when both majorities have it.
    fn commit(&mut self, shard: ShardId) {
        let group = self.groups.get_mut(&shard).unwrap();
        if group.leader.is_none() {
            return;
        }
        let Some(next) = group.next.take() else {
            return;
        };
        for old in group.voters.difference(&next) {
            group.learners.insert(*old, 0);
        }
        group.learners.retain(|id, _| !next.contains(id));
        group.leader = group.leader.filter(|leader| next.contains(leader));
        group.voters = next;
        self.elect(shard);
    }

    fn replicate(&mut self, shard: ShardId) {
        let up: BTreeSet<NodeId> = self
            .nodes
            .keys()
            .copied()
            .filter(|id| self.up(*id))
            .collect();
        let group = self.groups.get_mut(&shard).unwrap();
        if group.leader.is_some() {
            for (id, left) in &mut group.learners {
                if up.contains(id) {
                    *left = left.saturating_sub(1);
                }
            }
        }
    }
}

impl Group {
    fn made(node: NodeId) -> Group {
        Group {
            leader: Some(node),
            voters: [node].into(),
            recorded: [node].into(),
            ..Group::default()
        }
    }
}
