//! Which copy of a group to ask.
//!
//! Only the leader answers. Who that is, is remembered from the last answer; a copy of this process knows, too; else the
//! other nodes are asked in turn, each of which says whom it takes for the leader.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use mailrook_cluster::{Group, Node};
use mailrook_transport::{Link, Network};
use mailrook_types::{NodeId, ShardId};
use parking_lot::{Mutex, RwLock};

/// The copies of groups that this process has.
pub trait Copies: Send + Sync + 'static {
    /// The copy of a group, if there is one here.
    fn copy(&self, shard: ShardId) -> Option<Arc<dyn Group>>;
}

impl Copies for BTreeMap<ShardId, Arc<dyn Group>> {
    fn copy(&self, shard: ShardId) -> Option<Arc<dyn Group>> {
        self.get(&shard).cloned()
    }
}

impl Copies for Node {
    fn copy(&self, shard: ShardId) -> Option<Arc<dyn Group>> {
        self.group(shard)
    }
}

/// The other nodes that this process knows of.
pub trait Peers: Send + Sync + 'static {
    /// Their ids, in any order.
    fn nodes(&self) -> Vec<NodeId>;
}

impl Peers for Vec<NodeId> {
    fn nodes(&self) -> Vec<NodeId> {
        self.clone()
    }
}

/// How a client reaches groups.
#[derive(Clone)]
pub struct Reach {
    /// In this process.
    pub copies: Arc<dyn Copies>,
    /// On other nodes.
    pub network: Arc<dyn Network>,
    /// Which other nodes there are.
    pub peers: Arc<dyn Peers>,
}

/// Whom to ask.
pub(crate) enum Target {
    Here(Arc<dyn Group>),
    There(NodeId),
}

/// What is known of a group's leader.
#[derive(Clone, Copy, Default)]
struct Leader {
    now: Option<NodeId>,
    /// The last one that was known, for whom it is told that there is another one.
    last: Option<NodeId>,
    /// How often it was another one.
    changes: u64,
}

/// What is known of the groups' leaders.
pub(crate) struct Routes {
    pub(crate) reach: Reach,
    leaders: RwLock<HashMap<ShardId, Leader>>,
    /// Where this process's copy knows no leader that can be reached: it may have been dropped from its group while this
    /// node was away. Others are asked, too, each in turn with it.
    doubts: RwLock<HashSet<ShardId>>,
    /// Whose turn it is where nothing is known.
    turn: Mutex<usize>,
}

impl Routes {
    pub(crate) fn new(reach: Reach) -> Routes {
        Routes {
            reach,
            leaders: RwLock::default(),
            doubts: RwLock::default(),
            turn: Mutex::default(),
        }
    }

    /// This process's copy of a group, unless it is stopped: then it is as if there were none.
    pub(crate) fn copy(&self, shard: ShardId) -> Option<Arc<dyn Group>> {
        let copy = self.reach.copies.copy(shard)?;
        (!copy.is_stopped()).then_some(copy)
    }

    /// Whom to ask of `shard`, of which `leader` is known; nobody, if there is neither a copy here nor another node.
    pub(crate) fn target(&self, shard: ShardId, leader: Option<NodeId>) -> Option<Target> {
        let own = self.reach.network.node();
        if let Some(leader) = leader
            && leader != own
            && self.reach.network.link(leader) != Link::Silent
        {
            return Some(Target::There(leader));
        }
        match self.copy(shard) {
            Some(copy) if !self.settle_doubt(shard) => Some(Target::Here(copy)),
            // Where nobody else is, a stopped copy says why it is.
            _ => self
                .someone()
                .map(Target::There)
                .or_else(|| self.reach.copies.copy(shard).map(Target::Here)),
        }
    }

    /// Who led when somebody last said so.
    pub(crate) fn leader(&self, shard: ShardId) -> Option<NodeId> {
        self.leaders.read().get(&shard)?.now
    }

    /// The same, or else who led before that.
    pub(crate) fn last_leader(&self, shard: ShardId) -> Option<NodeId> {
        self.leaders.read().get(&shard)?.last
    }

    /// How often each group had another leader than before, as far as was heard of it here.
    pub(crate) fn leader_changes(&self) -> Vec<(ShardId, u64)> {
        let leaders = self.leaders.read();
        let mut changes: Vec<_> = (leaders.iter())
            .map(|(shard, leader)| (*shard, leader.changes))
            .collect();
        changes.sort_unstable();
        changes
    }

    /// What an answer said of the leader. Says whether that is news.
    pub(crate) fn note(&self, shard: ShardId, leader: Option<NodeId>) -> bool {
        if self.leader(shard) == leader {
            return false;
        }
        let mut leaders = self.leaders.write();
        let known = leaders.entry(shard).or_default();
        known.now = leader;
        if leader.is_some() {
            known.changes += u64::from(known.last.is_some() && known.last != leader);
            known.last = leader;
        }
        leader.is_some()
    }

    /// This process's copy does not lead, and takes `leader` for the one that does. Says whether that is of any use.
    pub(crate) fn hear_own_copy(&self, shard: ShardId, leader: Option<NodeId>) -> bool {
        if leader.is_some_and(|leader| self.reach.network.link(leader) == Link::Up) {
            return true;
        }
        if !self.reach.peers.nodes().is_empty() {
            self.doubts.write().insert(shard);
        }
        false
    }

    /// Whether somebody else is to be asked now, and this process's copy the next time.
    fn settle_doubt(&self, shard: ShardId) -> bool {
        self.doubts.read().contains(&shard) && self.doubts.write().remove(&shard)
    }

    /// A node that can be reached, each in turn; one that cannot, where there is no other.
    fn someone(&self) -> Option<NodeId> {
        let own = self.reach.network.node();
        let mut nodes = self.reach.peers.nodes();
        nodes.retain(|node| *node != own);
        let up = |node: &NodeId| self.reach.network.link(*node) == Link::Up;
        if nodes.iter().any(up) {
            nodes.retain(up);
        }
        let mut turn = self.turn.lock();
        *turn = turn.wrapping_add(1);
        let count = nodes.len();
        (count > 0).then(|| nodes[*turn % count])
    }
}
