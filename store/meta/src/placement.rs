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

/// Which shard has which slot of the cluster-wide tables.
///
/// It is dealt out once, over the shards that a cluster starts with, and stays when shards are added. Moving slots is a
/// step of its own, which needs: a record of the move in a table of its own (slots, from, to, a move id and this map's
/// epoch); commands that copy and that fence the slots at the shard they leave, each with (move id, epoch) and checked
/// in apply; the digests of both sides, equal at the fence; and one command here that, where the epoch is still that of
/// the move, gives the slots to the new shard and counts the epoch up. A shard that is asked for a slot it fenced says
/// so, and the asker reads the map again; so who holds an older map is mended and not misled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct SlotMap {
    epoch: u64,
    /// [`TABLE_SLOTS`] of them.
    shards: Vec<ShardId>,
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

    /// Grows with each change; 0 while it is not yet recorded, as in a cluster that was there before the map and got no
    /// shards since.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The shard that has a slot. Slots count from 0 to [`TABLE_SLOTS`]; beyond that they start again.
    pub fn shard_of(&self, slot: u16) -> ShardId {
        self.shards[usize::from(slot) % TABLE_SLOTS]
    }

    /// The shards that have slots, ascending.
    pub fn shards(&self) -> Vec<ShardId> {
        let shards: std::collections::BTreeSet<_> = self.shards.iter().copied().collect();
        shards.into_iter().collect()
    }
}
