//! Commands and questions to one shard, for those who look after the cluster.

use futures::FutureExt;
use mailrook_mailbox::{Answer, Query, ShardCommand, ShardReply};
use mailrook_store_api::Call;
use mailrook_types::{ShardId, Timestamp};

use crate::Client;

/// The shards one by one, whoever leads them.
pub trait Shards: Send + Sync + 'static {
    /// Has a shard carry out `command`, perhaps several times: it is as if it had been once, by its operation id or by its
    /// nature.
    fn shard_command(&self, shard: ShardId, command: ShardCommand) -> Call<'_, ShardReply>;

    /// Asks a shard.
    fn shard_query(&self, shard: ShardId, query: Query) -> Call<'_, Answer>;

    /// The time of a group's log.
    fn log_time(&self, group: ShardId) -> Call<'_, Timestamp>;
}

impl Shards for Client {
    fn shard_command(&self, shard: ShardId, command: ShardCommand) -> Call<'_, ShardReply> {
        async move { self.inner.calls.shard_command(shard, &command).await }.boxed()
    }

    fn shard_query(&self, shard: ShardId, query: Query) -> Call<'_, Answer> {
        async move { self.inner.calls.shard_query(shard, &query).await }.boxed()
    }

    fn log_time(&self, group: ShardId) -> Call<'_, Timestamp> {
        self.inner.calls.log_time(group).boxed()
    }
}
