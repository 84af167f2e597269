//! [`Directory`]: the meta group's part of the store.

use futures::FutureExt;
use mailrook_meta::{MetaAnswer, MetaCommand, MetaOperation, MetaQuery, MetaReply, Resolution};
use mailrook_store_api::{Call, Directory, StoreError};
use mailrook_types::ShardId;

use crate::{Client, client::misfit};

impl Client {
    /// Tells the directory of shards that are there, so that accounts are put on them.
    ///
    /// # Errors
    /// As any call; a refusal of the directory is [`StoreError::Internal`].
    pub async fn announce_shards(&self, shards: Vec<ShardId>) -> Result<(), StoreError> {
        match self
            .inner
            .calls
            .meta_command(&MetaCommand::SetShards(shards))
            .await?
        {
            MetaReply::Done => Ok(()),
            other => Err(misfit(&other)),
        }
    }

    /// Changes the directory, and then the shard where the change has a second half. If that fails, or the process dies
    /// before it, a change of the quota is completed by the same command sent again, a missing account by its first use, and a
    /// removal by [`Client::complete_removals`].
    async fn command_now(&self, command: MetaCommand) -> Result<MetaReply, StoreError> {
        let mut lane = self.borrow_lane().await?;
        let op = lane.begin();
        let operation = MetaOperation { op, command };
        let reply = self.inner.calls.meta_operation(&operation).await?;
        lane.answered(op);
        drop(lane);
        match (&operation.command, &reply) {
            (MetaCommand::AddAccount(_), MetaReply::Account(record)) => {
                self.create_on_shard(record).await?;
            }
            (MetaCommand::SetQuota { .. }, MetaReply::Account(record)) => {
                self.set_quota_on_shard(record).await?;
            }
            (_, MetaReply::Removed(record)) => {
                self.inner.placement.forget(record.id);
                // It is removed already: nobody can log in, no mail comes, and what is left to do is on record.
                if self.end_removal(record.id, record.shard).await.is_err() {
                    self.inner.placement.removal_left.notify_one();
                }
            }
            _ => {}
        }
        Ok(reply)
    }
}

impl Directory for Client {
    fn command(&self, command: MetaCommand) -> Call<'_, MetaReply> {
        self.command_now(command).boxed()
    }

    fn query(&self, query: MetaQuery) -> Call<'_, MetaAnswer> {
        async move {
            let answer = self.inner.calls.meta_query(&query).await?;
            // Mail follows to those who were just looked up: nobody need ask for them once more.
            if let MetaAnswer::Resolution(Resolution::Local { accounts, .. }) = &answer {
                for target in accounts {
                    self.note_home(target.account, target.shard);
                }
            }
            Ok(answer)
        }
        .boxed()
    }
}
