//! Shards: which there are, where their copies are, and which slots of the tables they have.

use std::collections::BTreeSet;

use mailrook_kv::KvError;
use mailrook_types::{NodeId, ShardId};

use super::{Machine, Outcome, Stop, invalid, limit};
use crate::{MetaRefusal, MetaReply, ShardRecord, SlotMap, TABLE_SLOTS, key, tables::put};

/// As many as the slots of the cluster-wide tables: more could not share them.
pub const SHARDS_MAX: usize = TABLE_SLOTS;
/// The most nodes in a group's record: five copies, all of them on their way to other nodes.
pub const REPLICAS_MAX: usize = 10;

impl Machine<'_, '_> {
    pub(super) fn set_shards(&mut self, shards: &[ShardId]) -> Outcome {
        if shards.contains(&ShardId::META) {
            return Err(limit("the meta group holds no accounts".to_owned()));
        }
        let known = self.tables().shards()?;
        let known: BTreeSet<ShardId> = known.into_iter().map(|(shard, _)| shard).collect();
        let new: BTreeSet<ShardId> = shards.iter().copied().collect();
        let new: BTreeSet<ShardId> = new.difference(&known).copied().collect();
        if self.shard_ids()?.union(&new).count() > SHARDS_MAX {
            return Err(too_many_shards());
        }
        if !new.is_empty() {
            self.record_slots(if known.is_empty() { &new } else { &known })?;
        }
        for shard in new {
            put(self.view, key::shard(shard), &(shard, 0u64));
        }
        Ok(MetaReply::Done)
    }

    /// Deals the slots out, if that was not done before: with shards added it would come out in another way.
    fn record_slots(&mut self, shards: &BTreeSet<ShardId>) -> Result<(), KvError> {
        let shards: Vec<ShardId> = shards.iter().copied().collect();
        if self.tables().recorded_slot_map()?.is_none()
            && let Some(map) = SlotMap::deal(1, &shards)
        {
            put(self.view, key::cluster(key::SLOTS), &map);
        }
        Ok(())
    }

    pub(super) fn add_shards(&mut self, to: u32) -> Outcome {
        let known = self.shard_ids()?;
        let to = usize::try_from(to).unwrap_or(usize::MAX);
        if to > SHARDS_MAX {
            return Err(too_many_shards());
        }
        let highest = known.last().map_or(0, |shard| shard.0);
        let missing = to.saturating_sub(known.len());
        let new: Vec<ShardId> = (highest..=u32::MAX)
            .skip(1)
            .take(missing)
            .map(ShardId)
            .collect();
        if new.len() < missing {
            return Err(limit("there are no higher shard ids left".to_owned()));
        }
        for shard in new {
            put(
                self.view,
                key::placement(shard),
                &ShardRecord::unplaced(shard),
            );
        }
        Ok(MetaReply::Done)
    }

    /// Those that have accounts, and those that are to have some.
    fn shard_ids(&self) -> Result<BTreeSet<ShardId>, KvError> {
        let all = self.tables().placement()?.into_iter();
        let ids = all.map(|record| record.shard);
        Ok(ids.filter(|shard| *shard != ShardId::META).collect())
    }

    pub(super) fn place_shard(
        &mut self,
        shard: ShardId,
        epoch_before: u64,
        mut replicas: Vec<NodeId>,
    ) -> Outcome {
        replicas.sort();
        replicas.dedup();
        let record = self.tables().shard_record(shard)?;
        let record = record.ok_or(MetaRefusal::NoSuchShard(shard))?;
        if record.epoch.checked_sub(1) == Some(epoch_before) && record.replicas == replicas {
            // The same command again, or another controller that came to the same.
            return Ok(MetaReply::Shard(record));
        }
        if record.epoch != epoch_before {
            return Err(MetaRefusal::EpochChanged {
                before: epoch_before,
                now: record.epoch,
            }
            .into());
        }
        self.check_replicas(&record, &replicas)?;
        let record = ShardRecord {
            shard,
            epoch: epoch_before + 1,
            replicas,
        };
        put(self.view, key::placement(shard), &record);
        Ok(MetaReply::Shard(record))
    }

    fn check_replicas(&self, before: &ShardRecord, replicas: &[NodeId]) -> Result<(), Stop> {
        if replicas.is_empty() {
            return Err(invalid("a group has at least one copy"));
        }
        if before.epoch == 0 && replicas.len() > 1 {
            return Err(invalid(
                "the first record of a group names the one node that makes it",
            ));
        }
        if replicas.len() > REPLICAS_MAX {
            return Err(limit(format!(
                "the record of a group names at most {REPLICAS_MAX} nodes"
            )));
        }
        // One that was lost stays until its place is taken.
        for id in replicas.iter().filter(|id| !before.replicas.contains(id)) {
            self.member_with_store(*id)?;
        }
        Ok(())
    }
}

fn too_many_shards() -> Stop {
    limit(format!("a cluster has at most {SHARDS_MAX} shards"))
}
