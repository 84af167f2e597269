//! [`Shared`]: the cluster-wide tables, spread over the shards by slot.

use std::{collections::BTreeMap, sync::Arc};

use futures::FutureExt;
use mailrook_mailbox::{
    Answer, Query, ShardCommand, ShardReply, TableCommand, TableId, TableOp, TableReply, table_slot,
};
use mailrook_meta::{MetaAnswer, MetaQuery, SlotMap};
use mailrook_store_api::{Call, Shared, StoreError};
use mailrook_types::ShardId;

use crate::{Client, client::misfit};

/// A change of one entry.
type Change = (TableId, Vec<u8>, TableOp);

impl Client {
    /// Which shard has which slot. Until slots can be moved it never changes.
    async fn slots(&self) -> Result<Arc<SlotMap>, StoreError> {
        let fetch = || async {
            match self.inner.calls.meta_query(&MetaQuery::SlotMap).await? {
                MetaAnswer::SlotMap(Some(map)) => Ok(Arc::new(*map)),
                MetaAnswer::SlotMap(None) => Err(StoreError::Unavailable(
                    "the cluster has no shards yet".to_owned(),
                )),
                other => Err(misfit(&other)),
            }
        };
        self.inner.slots.get_or_try_init(fetch).await.cloned()
    }

    async fn update_now(&self, changes: Vec<Change>) -> Result<Vec<TableReply>, StoreError> {
        let count = changes.len();
        let slots = self.slots().await?;
        let mut by_shard: BTreeMap<ShardId, Vec<(usize, Change)>> = BTreeMap::new();
        for (at, change) in changes.into_iter().enumerate() {
            by_shard
                .entry(slots.shard_of(table_slot(change.0, &change.1)))
                .or_default()
                .push((at, change));
        }
        let mut lane = self.borrow_lane().await?;
        let mut replies = vec![TableReply::Done(None); count];
        for (shard, changes) in by_shard {
            let (places, ops): (Vec<usize>, Vec<_>) = changes.into_iter().unzip();
            let op = lane.begin();
            let command = ShardCommand::Table(TableCommand { op, ops });
            match self.inner.calls.shard_command(shard, &command).await? {
                ShardReply::Table(Ok(answers)) if answers.len() == places.len() => {
                    lane.answered(op);
                    places
                        .into_iter()
                        .zip(answers)
                        .for_each(|(at, answer)| replies[at] = answer);
                }
                other => return Err(misfit(&other)),
            }
        }
        Ok(replies)
    }

    async fn get_now(&self, table: TableId, key: Vec<u8>) -> Result<Option<Vec<u8>>, StoreError> {
        let shard = self.slots().await?.shard_of(table_slot(table, &key));
        match self
            .inner
            .calls
            .shard_query(shard, &Query::TableGet { table, key })
            .await?
        {
            Answer::TableValue(value) => Ok(value),
            other => Err(misfit(&other)),
        }
    }

    async fn scan_now(
        &self,
        table: TableId,
        prefix: Vec<u8>,
        limit: u32,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let mut found = Vec::new();
        for shard in self.slots().await?.shards() {
            let left = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
            if left == 0 {
                break;
            }
            let query = Query::TableScan {
                table,
                prefix: prefix.clone(),
                after: None,
                limit: left,
            };
            match self.inner.calls.shard_query(shard, &query).await? {
                Answer::TableEntries(entries) => {
                    found.extend(entries.into_iter().map(|(_, key, value)| (key, value)))
                }
                other => return Err(misfit(&other)),
            }
        }
        Ok(found)
    }
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
