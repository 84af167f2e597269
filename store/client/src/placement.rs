//! Where accounts are, as far as this process has heard.

use std::collections::HashMap;

use mailrook_mailbox::{
    AccountChange, AccountCommand, Change, ChangeReply, QuotaLimit, Refusal, ShardCommand,
    ShardReply,
};
use mailrook_meta::{AccountRecord, LEVEL_MOVES, MetaAnswer, MetaQuery};
use mailrook_store_api::{StoreError, default_mailboxes};
use mailrook_types::{AccountId, ShardId};
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::{Client, client::misfit};

/// A cache of the meta group's placement. An entry may be old: the shard that no longer has the account says so, and the
/// entry is dropped.
#[derive(Default)]
pub(crate) struct Placement {
    shards: RwLock<HashMap<AccountId, Home>>,
    /// Told when an account was removed from the directory and could not be removed from its shard.
    pub(crate) removal_left: Notify,
}

/// A million entries are about 30 MB; beyond that the cache starts anew.
const CACHED_MAX: usize = 1 << 20;

/// Where an account is.
#[derive(Clone, Copy)]
struct Home {
    shard: ShardId,
    /// The shard said that the account is elsewhere: it is to be looked up.
    is_doubted: bool,
    /// The shard before, if it moved while this process looked: what is read of a message that is gone may only be there.
    before: Option<ShardId>,
}

impl Placement {
    pub(crate) fn get(&self, account: AccountId) -> Option<ShardId> {
        let home = self.shards.read().get(&account).copied()?;
        (!home.is_doubted).then_some(home.shard)
    }

    /// The shard that the account was on before it moved.
    pub(crate) fn before(&self, account: AccountId) -> Option<ShardId> {
        self.shards.read().get(&account)?.before
    }

    /// Says whether it was not known.
    fn put(&self, account: AccountId, shard: ShardId) -> bool {
        if self.get(account) == Some(shard) {
            return false;
        }
        let mut shards = self.shards.write();
        if shards.len() >= CACHED_MAX {
            shards.clear();
        }
        let known = shards.get(&account).copied();
        let before = known.and_then(|known| match known.shard == shard {
            true => known.before,
            false => Some(known.shard),
        });
        let home = Home {
            shard,
            is_doubted: false,
            before,
        };
        shards.insert(account, home);
        true
    }

    pub(crate) fn forget(&self, account: AccountId) {
        self.shards.write().remove(&account);
    }

    /// Has the account be looked up anew: its shard says that it is elsewhere.
    pub(crate) fn doubt(&self, account: AccountId) {
        if let Some(home) = self.shards.write().get_mut(&account) {
            home.is_doubted = true;
        }
    }
}

impl Client {
    /// The account is on this shard; who watches it hears of it from there.
    pub(crate) fn note_home(&self, account: AccountId, shard: ShardId) {
        if self.inner.placement.put(account, shard) {
            self.rehome_watch(account, shard);
        }
    }

    /// The shard that holds the account; `None` if the directory has no such account.
    pub(crate) async fn shard_of(&self, account: AccountId) -> Result<Option<ShardId>, StoreError> {
        if let Some(shard) = self.inner.placement.get(account) {
            return Ok(Some(shard));
        }
        let Some(record) = self.account_record(account).await? else {
            return Ok(None);
        };
        self.note_home(account, record.shard);
        Ok(Some(record.shard))
    }

    /// The shard that an account is on, as far as this process has heard.
    pub fn shard_heard_of(&self, account: AccountId) -> Option<ShardId> {
        self.inner.placement.get(account)
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
                self.note_home(record.id, record.shard);
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
            if !self.make_up_for(record).await? {
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
        let (mut shard, mut patience) = (shard, self.patience());
        loop {
            match self.inner.calls.shard_command(shard, &command).await? {
                ShardReply::Account(Err(Refusal::Elsewhere)) => {
                    self.look_elsewhere(account, &mut patience).await?;
                    // One that was removed is where it was then, once its move has come to its end.
                    shard = self.shard_of(account).await?.unwrap_or(shard);
                }
                ShardReply::Account(result) => return Ok(result),
                other => return Err(misfit(&other)),
            }
        }
    }

    /// What to do when a shard does not know an account: look the placement up anew, and make up for an account whose
    /// second step is missing. Says whether the call is worth repeating.
    pub(crate) async fn recover_account(&self, account: AccountId) -> Result<bool, StoreError> {
        self.inner.placement.forget(account);
        let Some(record) = self.account_record(account).await? else {
            return Ok(false);
        };
        self.make_up_for(&record).await
    }

    /// Makes an account that its shard does not know, unless that would be wrong. Says whether it is there now.
    async fn make_up_for(&self, record: &AccountRecord) -> Result<bool, StoreError> {
        // One that ever moved has been made, and its shard has lost it: an empty one in its place would be the loss of its mail.
        if self.has_moved(record.id).await? {
            let text = "the account has moved, and the shard that it moved to does not have it";
            tracing::error!(account = record.id.0, shard = %record.shard, text);
            return Err(StoreError::Unavailable(text.to_owned()));
        }
        self.create_on_shard(record).await
    }

    async fn has_moved(&self, account: AccountId) -> Result<bool, StoreError> {
        let calls = &self.inner.calls;
        match calls.meta_query(&MetaQuery::ClusterSettings).await? {
            MetaAnswer::ClusterSettings(settings) if settings.feature_level >= LEVEL_MOVES => {}
            MetaAnswer::ClusterSettings(_) => return Ok(false),
            other => return Err(misfit(&other)),
        }
        match calls.meta_query(&MetaQuery::MoveOf(account)).await? {
            MetaAnswer::MoveOf { moved, .. } => Ok(moved),
            other => Err(misfit(&other)),
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
