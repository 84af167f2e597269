//! Where the groups' copies are, and where the slots of the cluster-wide tables are.

use mailrook_types::{NodeId, ShardId};
use serde::{Deserialize, Serialize};

/// How many slots the cluster-wide tables are hashed over (DESIGN "Sizes"), the same for ever.
pub const TABLE_SLOTS: usize = 4096;

/// Which nodes may have a copy of a group.
///
/// Who votes is in the group's own log. This record is for those without a copy: it is what they look through for the
/// leader, and how a node knows whether what is on its disk is its own. It names *at least* every voter and learner of the
/// group, which holds if whoever changes the membership keeps to this order:
///
/// 1. The first record (epoch 1) names one node. That node makes the group, and nobody makes it at a later epoch: no
///    group is made twice.
/// 2. A node is added here before it becomes a learner.
/// 3. It is taken out here after it is neither voter nor learner. From then on it drops its copy, or, if it was away
///    meanwhile, finds when it comes back that the copy is no longer its own.
///
/// Two who change it at the same time (an old controller and a new one) are told apart by the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// The group; [`ShardId::META`] is one of them.
    pub shard: ShardId,
    /// Grows by one with each change; 0 was never placed.
    pub epoch: u64,
    /// The nodes, ascending, none twice.
    pub replicas: Vec<NodeId>,
}

impl ShardRecord {
    /// That of a group which was never placed.
    pub(crate) fn unplaced(shard: ShardId) -> ShardRecord {
        ShardRecord {
            shard,
            epoch: 0,
            replicas: Vec::new(),
        }
    }
}

/// The most slots in one [`SlotMove`].
pub const SLOTS_PER_MOVE_MAX: usize = 64;

/// Which shard has which slot of the cluster-wide tables.
///
/// It is dealt out over the shards that a cluster starts with. When shards are added, slots move to them, a few at a time:
///
/// 1. [`BeginSlotMove`](crate::MetaCommand::BeginSlotMove) records a [`SlotMove`], one at a time, if the map is still at
///    the epoch that was read.
/// 2. The shard that gets the slots clears what it may have of them and waits for their entries. The shard that has them
///    fences them: from then on it refuses to read or change their entries, which thus stay as they are until they are
///    copied. Then the shard that gets them opens them.
/// 3. [`FinishSlotMove`](crate::MetaCommand::FinishSlotMove) gives the slots to the new shard.
/// 4. The old one drops their entries, and [`ForgetSlotMove`](crate::MetaCommand::ForgetSlotMove) ends the move.
///
/// All of it carries the move's id, and the shards keep for each slot the id of its last move: a step of a controller that
/// was deposed is answered as done, or refused. A move that has begun is always carried to its end, by whoever controls
/// the cluster then; it cannot be given up. A shard that is asked for a slot it fenced or gave away says so, and the asker
/// reads the map again: who holds an older map is mended and not misled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct SlotMap {
    epoch: u64,
    /// [`TABLE_SLOTS`] of them.
    shards: Vec<ShardId>,
}

/// The epoch from which on slots have moved: the map was dealt out at epoch 1, or never recorded.
const MOVED_EPOCH: u64 = 2;

/// Slots on their way from one shard to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotMove {
    /// Grows with each move.
    pub id: u64,
    /// Which slots, ascending.
    pub slots: Vec<u16>,
    /// The shard that had them.
    pub from: ShardId,
    /// The shard that gets them.
    pub to: ShardId,
    /// Whether the map has given them to the new shard; what is left then is to be dropped at the old one.
    pub finished: bool,
}

/// A [`SlotMap`] whose length is not checked.
#[derive(Deserialize)]
struct Parts {
    epoch: u64,
    shards: Vec<ShardId>,
}

impl TryFrom<Parts> for SlotMap {
    type Error = &'static str;

    fn try_from(parts: Parts) -> Result<SlotMap, &'static str> {
        let Parts { epoch, shards } = parts;
        if shards.len() == TABLE_SLOTS {
            Ok(SlotMap { epoch, shards })
        } else {
            Err("a slot map with another number of slots")
        }
    }
}

impl SlotMap {
    /// Deals the slots out to `shards` in turn, as it was done before there was a map. `None` without shards.
    pub(crate) fn deal(epoch: u64, shards: &[ShardId]) -> Option<SlotMap> {
        let shards: Vec<_> = shards.iter().copied().cycle().take(TABLE_SLOTS).collect();
        (!shards.is_empty()).then_some(SlotMap { epoch, shards })
    }

    /// Grows with each move that begins and with each that is finished; 0 while it is not yet recorded, as in a cluster
    /// that was there before the map and got no shards since.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether slots were ever moved, or are about to be. Then all nodes know what came with that.
    pub fn has_moved(&self) -> bool {
        self.epoch >= MOVED_EPOCH
    }

    /// The shard that has a slot. Slots count from 0 to [`TABLE_SLOTS`]; beyond that they start again.
    pub fn shard_of(&self, slot: u16) -> ShardId {
        self.shards[usize::from(slot) % TABLE_SLOTS]
    }

    /// The map as it is when a move has begun.
    pub(crate) fn begun(mut self) -> SlotMap {
        self.epoch = self.epoch.saturating_add(1).max(MOVED_EPOCH);
        self
    }

    /// The map as it is when a move is finished.
    pub(crate) fn finished(mut self, moved: &SlotMove) -> SlotMap {
        self.epoch = self.epoch.saturating_add(1);
        for slot in &moved.slots {
            self.shards[usize::from(*slot) % TABLE_SLOTS] = moved.to;
        }
        self
    }

    /// All slots in turn, with their shards.
    pub fn slots(&self) -> impl Iterator<Item = (u16, ShardId)> {
        (0..).zip(self.shards.iter().copied())
    }

    /// The shards that have slots, ascending.
    pub fn shards(&self) -> Vec<ShardId> {
        let shards: std::collections::BTreeSet<_> = self.shards.iter().copied().collect();
        shards.into_iter().collect()
    }
}
