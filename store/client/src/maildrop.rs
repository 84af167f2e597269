//! The lock of maildrops.

use std::sync::atomic::Ordering;

use mailrook_mailbox::{
    LEVEL_POP3_LOCK, MaildropCommand, MaildropReply, Refusal, ShardCommand, ShardReply,
};
use mailrook_meta::{MetaAnswer, MetaQuery};
use mailrook_store_api::{MaildropLock, StoreError};

use crate::{
    Client,
    client::misfit,
    mailstore::{MENDED_TRIES_MAX, unknown_to_shard},
};

impl Client {
    /// Has the account's shard take a step. It needs no operation id: who says it again names itself.
    pub(crate) async fn maildrop_now(
        &self,
        command: MaildropCommand,
    ) -> Result<Result<MaildropLock, Refusal>, StoreError> {
        if !self.locks_maildrops().await? {
            return Ok(Ok(MaildropLock::NotYet));
        }
        let account = command.account;
        let command = ShardCommand::Maildrop(command);
        let (mut mended, mut patience) = (0, self.patience());
        while mended < MENDED_TRIES_MAX {
            let Some(shard) = self.shard_of(account).await? else {
                return Ok(Err(Refusal::NoSuchAccount));
            };
            match self.inner.calls.shard_command(shard, &command).await? {
                // The lock moves along.
                ShardReply::Maildrop(Err(Refusal::Elsewhere)) => {
                    self.look_elsewhere(account, &mut patience).await?;
                }
                ShardReply::Maildrop(Err(Refusal::NoSuchAccount)) => {
                    mended += 1;
                    if !self.recover_account(account).await? {
                        return Ok(Err(Refusal::NoSuchAccount));
                    }
                }
                ShardReply::Maildrop(reply) => {
                    self.inner.loads.asked(account, shard, 0);
                    return Ok(reply.map(|reply| match reply {
                        MaildropReply::Done => MaildropLock::Done,
                        MaildropReply::InUse => MaildropLock::InUse,
                    }));
                }
                other => return Err(misfit(&other)),
            }
        }
        Err(unknown_to_shard())
    }

    /// Whether all nodes know this lock.
    async fn locks_maildrops(&self) -> Result<bool, StoreError> {
        let known = &self.inner.locks_maildrops;
        if known.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let calls = &self.inner.calls;
        match calls.meta_query(&MetaQuery::ClusterSettings).await? {
            MetaAnswer::ClusterSettings(settings) => {
                let locks = settings.feature_level >= LEVEL_POP3_LOCK;
                known.store(locks, Ordering::Relaxed);
                Ok(locks)
            }
            other => Err(misfit(&other)),
        }
    }
}
