//! Slots of the cluster-wide tables that move: see [`SlotMap`].

use mailrook_types::ShardId;

use super::{Machine, Outcome, Stop, invalid, limit};
use crate::{
    MetaRefusal, MetaReply, SLOTS_PER_MOVE_MAX, SlotMap, SlotMove, TABLE_SLOTS, key,
    tables::{delete, put},
};

impl Machine<'_, '_> {
    pub(super) fn begin_slot_move(
        &mut self,
        epoch_before: u64,
        slots: Vec<u16>,
        from: ShardId,
        to: ShardId,
    ) -> Outcome {
        if let Some(pending) = self.tables().slot_move()? {
            return Err(MetaRefusal::SlotsMoving(pending.id).into());
        }
        let map = self.tables().slot_map()?.ok_or(MetaRefusal::NoShards)?;
        if map.epoch() != epoch_before {
            return Err(MetaRefusal::EpochChanged {
                before: epoch_before,
                now: map.epoch(),
            }
            .into());
        }
        self.check_slot_move(&map, &slots, from, to)?;
        let begun = SlotMove {
            id: self.count_up(key::NEXT_SLOT_MOVE)?,
            slots,
            from,
            to,
            finished: false,
        };
        put(self.view, key::cluster(key::SLOTS), &map.begun());
        put(self.view, key::cluster(key::SLOT_MOVE), &begun);
        Ok(MetaReply::SlotMove(Box::new(begun)))
    }

    fn check_slot_move(
        &self,
        map: &SlotMap,
        slots: &[u16],
        from: ShardId,
        to: ShardId,
    ) -> Result<(), Stop> {
        if slots.is_empty() || slots.len() > SLOTS_PER_MOVE_MAX {
            return Err(limit(format!("1 to {SLOTS_PER_MOVE_MAX} slots in a move")));
        }
        let ascending = slots.windows(2).all(|pair| pair[0] < pair[1]);
        let in_range = |slot: &u16| usize::from(*slot) < TABLE_SLOTS;
        if !ascending || !slots.iter().all(in_range) {
            return Err(invalid(format!("slots are below {TABLE_SLOTS}, ascending")));
        }
        if from == to {
            return Err(invalid("slots move to another shard"));
        }
        let shards = self.tables().shards()?;
        if !shards.iter().any(|(shard, _)| *shard == to) {
            return Err(MetaRefusal::NoSuchShard(to).into());
        }
        match slots.iter().find(|slot| map.shard_of(**slot) != from) {
            Some(slot) => Err(invalid(format!("slot {slot} is not on shard {from}"))),
            None => Ok(()),
        }
    }

    pub(super) fn finish_slot_move(&mut self, id: u64) -> Outcome {
        let Some(mut pending) = self.pending_slot_move(id)? else {
            return Ok(MetaReply::Done);
        };
        if !pending.finished
            && let Some(map) = self.tables().slot_map()?
        {
            put(self.view, key::cluster(key::SLOTS), &map.finished(&pending));
            pending.finished = true;
            put(self.view, key::cluster(key::SLOT_MOVE), &pending);
        }
        Ok(MetaReply::Done)
    }

    pub(super) fn forget_slot_move(&mut self, id: u64) -> Outcome {
        let Some(pending) = self.pending_slot_move(id)? else {
            return Ok(MetaReply::Done);
        };
        if !pending.finished {
            return Err(invalid(format!("move {id} of slots is not finished")));
        }
        delete(self.view, key::cluster(key::SLOT_MOVE));
        Ok(MetaReply::Done)
    }

    /// The move of that id; `None` if it is over.
    fn pending_slot_move(&self, id: u64) -> Result<Option<SlotMove>, Stop> {
        if id == 0 || id > self.tables().counter(key::NEXT_SLOT_MOVE)? {
            return Err(invalid(format!("there was no move {id} of slots yet")));
        }
        let pending = self.tables().slot_move()?;
        Ok(pending.filter(|pending| pending.id == id))
    }
}
