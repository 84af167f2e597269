//! Where accounts are, as far as this process has heard.

use std::collections::HashMap;

use mailrook_mailbox::{
    AccountChange, AccountCommand, Change, ChangeReply, QuotaLimit, Refusal, ShardCommand,
    ShardReply,
};
use mailrook_meta::{AccountRecord, MetaAnswer, MetaQuery};
use mailrook_store_api::{StoreError, default_mailboxes};
use mailrook_types::{AccountId, ShardId};
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::{Client, client::misfit};

/// A cache of the meta group's placement. An entry may be old: the shard that no longer has the account says so, and the
/// entry is dropped.
#[derive(Default)]
pub(crate) struct Placement {
    shards: RwLock<HashMap<AccountId, ShardId>>,
    /// Told when an account was removed from the directory and could not be removed from its shard.
    pub(crate) removal_left: Notify,
}

/// A million entries are about 30 MB; beyond that the cache starts anew.
const CACHED_MAX: usize = 1 << 20;

impl Placement {
    pub(crate) fn get(&self, account: AccountId) -> Option<ShardId> {
        self.shards.read().get(&account).copied()
    }

    pub(crate) fn put(&self, account: AccountId, shard: ShardId) {
        if self.get(account) == Some(shard) {
            return;
        }
        let mut shards = self.shards.write();
        if shards.len() >= CACHED_MAX {
            shards.clear();
        }
        shards.insert(account, shard);
    }

    pub(crate) fn forget(&self, account: AccountId) {
        self.shards.write().remove(&account);
    }
}

impl Client {
    /// The shard that holds the account; `None` if the directory has no such account.
    pub(crate) async fn shard_of(&self, account: AccountId) -> Result<Option<ShardId>, StoreError> {
        if let Some(shard) = self.inner.placement.get(account) {
            return Ok(Some(shard));
        }
        let Some(record) = self.account_record(account).await? else {
            return Ok(None);
        };
        self.inner.placement.put(account, record.shard);
        Ok(Some(record.shard))
    }

    async fn account_record(
        &self,
        account: AccountId,
    ) -> Result<Option<Box<AccountRecord>>, StoreError> {
        match self
            .inner
            .calls
            .meta_query(&MetaQuery::AccountById(account))
            .await?
        {
            MetaAnswer::Account(record) => Ok(record),
            other => Err(misfit(&other)),
        }
    }

    /// Makes the account on its shard. Adding an account is two steps, directory and shard; whoever finds the second one
    /// missing, because the process died between them, makes it up. An account that is there is left as it is. Says
    /// whether it is there now: not, if it was removed since `record` was read, as the shard knows.
    pub(crate) async fn create_on_shard(&self, record: &AccountRecord) -> Result<bool, StoreError> {
        let change = AccountChange::Create {
            mailboxes: default_mailboxes(),
            quota: quota_of(record),
        };
        match self.change_whole(record.id, record.shard, change).await? {
            Ok(_) => {
                self.inner.placement.put(record.id, record.shard);
                Ok(true)
            }
            Err(Refusal::NoSuchAccount) => Ok(false),
            Err(other) => Err(misfit(&other)),
        }
    }

    /// Sets the quota that the account's record has on its shard, making the account there if it is missing. Another
    /// change may come between: whoever comes last sees that the record is another by now, and sets it again.
    pub(crate) async fn set_quota_on_shard(
        &self,
        record: &AccountRecord,
    ) -> Result<(), StoreError> {
        let mut record = record.clone();
        loop {
            self.set_quota_once(&record).await?;
            match self.account_record(record.id).await? {
                Some(now) if quota_of(&now) != quota_of(&record) => record = *now,
                _ => return Ok(()),
            }
        }
    }

    async fn set_quota_once(&self, record: &AccountRecord) -> Result<(), StoreError> {
        let set = || AccountChange::SetQuota(quota_of(record));
        for _ in 0..QUOTA_TRIES {
            match self.change_whole(record.id, record.shard, set()).await? {
                Ok(_) => return Ok(()),
                Err(Refusal::NoSuchAccount) => {}
                Err(other) => return Err(misfit(&other)),
            }
            // Somebody who read an older record may make it at the same time, with the older quota: once it is there, the quota
            // is set once more.
            if !self.create_on_shard(record).await? {
                break;
            }
        }
        // It was removed meanwhile.
        Ok(())
    }

    /// Removes the account with all its mail from its shard, which never takes it again.
    pub(crate) async fn delete_on_shard(
        &self,
        account: AccountId,
        shard: ShardId,
    ) -> Result<(), StoreError> {
        let change = AccountChange::Delete;
        match self.change_whole(account, shard, change).await? {
            Ok(_) => {
                self.inner.placement.forget(account);
                Ok(())
            }
            Err(other) => Err(misfit(&other)),
        }
    }

    /// Changes an account as a whole on its shard.
    async fn change_whole(
        &self,
        account: AccountId,
        shard: ShardId,
        change: AccountChange,
    ) -> Result<Result<ChangeReply, Refusal>, StoreError> {
        let op = self.new_lane().await?.begin();
        let command = ShardCommand::Account(AccountCommand {
            account,
            op,
            change: Change::Account(change),
        });
        match self.inner.calls.shard_command(shard, &command).await? {
            ShardReply::Account(result) => Ok(result),
            other => Err(misfit(&other)),
        }
    }

    /// What to do when a shard does not know an account: look the placement up anew, and make up for an account whose
    /// second step is missing. Says whether the call is worth repeating.
    pub(crate) async fn recover_account(&self, account: AccountId) -> Result<bool, StoreError> {
        self.inner.placement.forget(account);
        match self.account_record(account).await? {
            Some(record) => self.create_on_shard(&record).await,
            None => Ok(false),
        }
    }
}

/// Once, and once more after the account was found missing and made.
const QUOTA_TRIES: usize = 2;

fn quota_of(record: &AccountRecord) -> QuotaLimit {
    QuotaLimit {
        storage_bytes: record.quota_storage_bytes,
        messages: record.quota_messages,
    }
}
