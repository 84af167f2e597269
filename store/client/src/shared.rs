//! [`Shared`]: the cluster-wide tables, spread over the shards by slot.
//!
//! Slots may move while they are used. A shard that does not have a slot refuses the whole command, for good, and the
//! changes go by a new operation to where the slot is now.

use std::collections::BTreeMap;

use futures::FutureExt;
use mailrook_mailbox::{
    Answer, Query, Refusal, ShardCommand, ShardReply, TableCommand, TableId, TableOp, TableReply,
    limits::TABLE_ENTRY_BYTES_MAX, table_slot,
};
use mailrook_meta::SlotMap;
use mailrook_store_api::{Call, Lane, Shared, StoreError};
use mailrook_types::ShardId;

use crate::{Client, client::misfit};

/// A change of one entry.
type Change = (TableId, Vec<u8>, TableOp);

/// A key with its value.
type Found = (Vec<u8>, Vec<u8>);

impl Client {
    async fn update_now(&self, changes: Vec<Change>) -> Result<Vec<TableReply>, StoreError> {
        changes.iter().try_for_each(require_movable)?;
        let mut patience = self.patience();
        let mut replies = vec![TableReply::Done(None); changes.len()];
        let mut left: Vec<(usize, Change)> = changes.into_iter().enumerate().collect();
        let mut slots = self.slots().await?;
        let mut lane = self.borrow_lane().await?;
        loop {
            left = self
                .update_by(&slots, &mut lane, left, &mut replies)
                .await?;
            if left.is_empty() {
                return Ok(replies);
            }
            slots = self.newer_slots(&mut patience).await?;
        }
    }

    /// Has the shards of `slots` carry out changes. Gives those back whose slot is not there.
    async fn update_by(
        &self,
        slots: &SlotMap,
        lane: &mut Lane,
        changes: Vec<(usize, Change)>,
        replies: &mut [TableReply],
    ) -> Result<Vec<(usize, Change)>, StoreError> {
        let mut by_shard: BTreeMap<ShardId, Vec<(usize, Change)>> = BTreeMap::new();
        for (at, change) in changes {
            by_shard
                .entry(slots.shard_of(table_slot(change.0, &change.1)))
                .or_default()
                .push((at, change));
        }
        let mut left = Vec::new();
        for (shard, changes) in by_shard {
            let (places, ops): (Vec<usize>, Vec<_>) = changes.into_iter().unzip();
            let op = lane.begin();
            let command = ShardCommand::Table(TableCommand { op, ops });
            let reply = self.inner.calls.shard_command(shard, &command).await?;
            match (reply, command) {
                (ShardReply::Table(Ok(answers)), _) if answers.len() == places.len() => {
                    lane.answered(op);
                    for (at, answer) in places.into_iter().zip(answers) {
                        replies[at] = answer;
                    }
                }
                (
                    ShardReply::Table(Err(Refusal::SlotNotHere(_))),
                    ShardCommand::Table(TableCommand { ops, .. }),
                ) => {
                    lane.answered(op);
                    left.extend(places.into_iter().zip(ops));
                }
                (other, _) => return Err(misfit(&other)),
            }
        }
        Ok(left)
    }

    async fn get_now(&self, table: TableId, key: Vec<u8>) -> Result<Option<Vec<u8>>, StoreError> {
        let mut patience = self.patience();
        let mut slots = self.slots().await?;
        let slot = table_slot(table, &key);
        let query = Query::TableGet { table, key };
        loop {
            let shard = slots.shard_of(slot);
            match self.inner.calls.shard_query(shard, &query).await? {
                Answer::TableValue(value) => return Ok(value),
                Answer::SlotNotHere => slots = self.newer_slots(&mut patience).await?,
                other => return Err(misfit(&other)),
            }
        }
    }

    async fn scan_now(
        &self,
        table: TableId,
        prefix: Vec<u8>,
        limit: u32,
    ) -> Result<Vec<Found>, StoreError> {
        let mut patience = self.patience();
        let mut slots = self.slots().await?;
        while !slots.has_moved() {
            match self.scan_whole(&slots, table, &prefix, limit).await? {
                Some(found) => return Ok(found),
                None => slots = self.newer_slots(&mut patience).await?,
            }
        }
        let mut found = Vec::new();
        let mut left: Vec<u16> = slots.slots().map(|(slot, _)| slot).collect();
        loop {
            left = self
                .scan_by(&slots, left, table, &prefix, limit, &mut found)
                .await?;
            if left.is_empty() {
                return Ok(found);
            }
            slots = self.newer_slots(&mut patience).await?;
        }
    }

    /// Asks shards of which no slot ever moved; nodes of before that know no other question. `None` if one did.
    async fn scan_whole(
        &self,
        slots: &SlotMap,
        table: TableId,
        prefix: &[u8],
        limit: u32,
    ) -> Result<Option<Vec<Found>>, StoreError> {
        let mut found = Vec::new();
        for shard in slots.shards() {
            let room = room(limit, &found);
            if room == 0 {
                break;
            }
            let query = Query::TableScan {
                table,
                prefix: prefix.to_vec(),
                after: None,
                limit: room,
            };
            match self.inner.calls.shard_query(shard, &query).await? {
                Answer::TableEntries(entries) => {
                    found.extend(entries.into_iter().map(|(_, key, value)| (key, value)));
                }
                Answer::SlotNotHere => return Ok(None),
                other => return Err(misfit(&other)),
            }
        }
        Ok(Some(found))
    }

    /// Asks the shards of `slots` for entries in the slots `wanted`. Gives those back that are not there; none once there are
    /// enough entries. Each slot is thus answered for by one shard, and no entry comes twice.
    async fn scan_by(
        &self,
        slots: &SlotMap,
        wanted: Vec<u16>,
        table: TableId,
        prefix: &[u8],
        limit: u32,
        found: &mut Vec<Found>,
    ) -> Result<Vec<u16>, StoreError> {
        let mut by_shard: BTreeMap<ShardId, Vec<u16>> = BTreeMap::new();
        for slot in wanted {
            by_shard.entry(slots.shard_of(slot)).or_default().push(slot);
        }
        let mut left = Vec::new();
        for (shard, slots) in by_shard {
            let room = room(limit, found);
            if room == 0 {
                return Ok(Vec::new());
            }
            let query = Query::TableScanSlots {
                table,
                prefix: prefix.to_vec(),
                slots,
                after: None,
                limit: room,
            };
            match self.inner.calls.shard_query(shard, &query).await? {
                Answer::SlotsScanned { entries, elsewhere } => {
                    found.extend(entries.into_iter().map(|(_, key, value)| (key, value)));
                    left.extend(elsewhere);
                }
                other => return Err(misfit(&other)),
            }
        }
        Ok(left)
    }
}

/// Refuses an entry that could not move with its slot.
fn require_movable((_, key, op): &Change) -> Result<(), StoreError> {
    let value = match op {
        TableOp::Put { value, .. } | TableOp::CompareAndPut { value, .. } => value.len(),
        TableOp::Add { .. } | TableOp::Delete => 0,
    };
    let bytes = key.len() + value;
    if bytes > TABLE_ENTRY_BYTES_MAX {
        return Err(StoreError::Unacceptable(format!(
            "a table's entry of {bytes} bytes, and {TABLE_ENTRY_BYTES_MAX} are the most"
        )));
    }
    Ok(())
}

/// How many more entries may be found.
fn room(limit: u32, found: &[Found]) -> u32 {
    limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX))
}

impl Shared for Client {
    fn update(&self, changes: Vec<Change>) -> Call<'_, Vec<TableReply>> {
        self.update_now(changes).boxed()
    }

    fn get(&self, table: TableId, key: Vec<u8>) -> Call<'_, Option<Vec<u8>>> {
        self.get_now(table, key).boxed()
    }

    fn scan(
        &self,
        table: TableId,
        prefix: Vec<u8>,
        limit: u32,
    ) -> Call<'_, Vec<(Vec<u8>, Vec<u8>)>> {
        self.scan_now(table, prefix, limit).boxed()
    }
}
