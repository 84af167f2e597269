//! [`Shared`]: the cluster-wide tables, spread over the shards by slot.

use std::collections::BTreeMap;

use futures::FutureExt;
use mailrook_mailbox::{
    Answer, Query, ShardCommand, ShardReply, TableCommand, TableId, TableOp, TableReply, table_slot,
};
use mailrook_store_api::{Call, Shared, StoreError};
use mailrook_types::ShardId;

use crate::{Client, client::misfit};

/// A change of one entry.
type Change = (TableId, Vec<u8>, TableOp);

impl Client {
    /// The shard that has the entry's slot. Until slots can be moved they are dealt out to the shards in turn.
    fn shard_of_entry(&self, table: TableId, key: &[u8]) -> Result<ShardId, StoreError> {
        let shards: Vec<ShardId> = self.inner.calls.shards().collect();
        if shards.is_empty() {
            return Err(StoreError::Unavailable(
                "no shard is served by this process".to_owned(),
            ));
        }
        Ok(shards[usize::from(table_slot(table, key)) % shards.len()])
    }

    async fn update_now(&self, changes: Vec<Change>) -> Result<Vec<TableReply>, StoreError> {
        let count = changes.len();
        let mut by_shard: BTreeMap<ShardId, Vec<(usize, Change)>> = BTreeMap::new();
        for (at, change) in changes.into_iter().enumerate() {
            by_shard
                .entry(self.shard_of_entry(change.0, &change.1)?)
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
        let shard = self.shard_of_entry(table, &key)?;
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
        for shard in self.inner.calls.shards() {
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
