//! Completing the removal of accounts.
//!
//! An account is removed in two steps, directory and shard. The first one leaves a note in the directory, which is taken
//! away when the shard has confirmed the second; what is noted is left to be done, whoever began it.

use std::collections::BTreeSet;

use mailrook_meta::{LIST_MAX, MetaAnswer, MetaCommand, MetaQuery, MetaReply, Removal};
use mailrook_store_api::StoreError;
use mailrook_types::{AccountId, ShardId};

use crate::{Client, client::misfit};

impl Client {
    /// Removes the mail of all accounts that were removed from the directory and not yet from their shards; says how many
    /// they were. To be called at the start, now and then, and after [`Client::removal_left`]; by several processes at
    /// once it does no harm.
    ///
    /// # Errors
    /// As any call. What can be done is done first: a shard that cannot be reached holds up its own accounts alone.
    pub async fn complete_removals(&self) -> Result<u64, StoreError> {
        let (mut completed, mut after) = (0, None);
        let mut unreachable = BTreeSet::new();
        let mut first_error = None;
        loop {
            let removals = self.removals(after).await?;
            let Some(last) = removals.last() else {
                return first_error.map_or(Ok(completed), Err);
            };
            after = Some(last.account);
            for removal in removals {
                if unreachable.contains(&removal.shard) {
                    continue;
                }
                match self.end_removal(removal.account, removal.shard).await {
                    Ok(()) => completed += 1,
                    Err(error) => {
                        unreachable.insert(removal.shard);
                        first_error.get_or_insert(error);
                    }
                }
            }
        }
    }

    /// Waits until a removal of this process was left half done. Cancel-safe; one that was left before is told at once.
    pub async fn removal_left(&self) {
        self.inner.placement.removal_left.notified().await;
    }

    /// The second step of a removal, and that it is done.
    pub(crate) async fn end_removal(
        &self,
        account: AccountId,
        shard: ShardId,
    ) -> Result<(), StoreError> {
        self.delete_on_shard(account, shard).await?;
        let command = MetaCommand::EndRemoval(account);
        match self.inner.calls.meta_command(&command).await? {
            MetaReply::Done => Ok(()),
            other => Err(misfit(&other)),
        }
    }

    async fn removals(&self, after: Option<AccountId>) -> Result<Vec<Removal>, StoreError> {
        let query = MetaQuery::Removals {
            after,
            limit: LIST_MAX,
        };
        match self.inner.calls.meta_query(&query).await? {
            MetaAnswer::Removals(removals) => Ok(removals),
            other => Err(misfit(&other)),
        }
    }
}
