//! Removing what has expired where nothing else goes on.

use mailrook_cluster::GroupRole;
use mailrook_mailbox::{ShardCommand, is_overdue};
use mailrook_meta::{MetaAnswer, MetaQuery};
use mailrook_store_api::StoreError;
use mailrook_types::ShardId;

use crate::{Client, Shards, calls::internal, client::misfit};

/// What one call does for a shard, at most: the next one goes on.
const TICKS_MAX: u32 = 100;

impl Client {
    /// Has the shards that this process leads remove what is overdue. Every command to a shard does some of that on the way; it
    /// is for those that none comes to, and for mail that was removed by the thousand. To be called now and then, by every
    /// process. Says how many commands it took.
    ///
    /// # Errors
    /// As any call.
    pub async fn sweep(&self) -> Result<u32, StoreError> {
        let shards = match self.inner.calls.meta_query(&MetaQuery::Shards).await? {
            MetaAnswer::Shards(shards) => shards,
            other => return Err(misfit(&other)),
        };
        let mut ticks = 0;
        for (shard, _accounts) in shards {
            ticks += self.sweep_shard(shard).await?;
        }
        Ok(ticks)
    }

    async fn sweep_shard(&self, shard: ShardId) -> Result<u32, StoreError> {
        for ticks in 0..TICKS_MAX {
            let led = (self.inner.calls.copy(shard))
                .filter(|group| group.status().role == GroupRole::Leader);
            let Some(group) = led else {
                return Ok(ticks);
            };
            // What this copy shows may be a moment old: then there is one command too many.
            let overdue = group
                .read_at(is_overdue)
                .map_err(|error| internal(&error))?;
            if !overdue.map_err(|error| internal(&error))? {
                return Ok(ticks);
            }
            self.shard_command(shard, ShardCommand::Tick).await?;
        }
        Ok(TICKS_MAX)
    }
}
