//! Accounts that are not where the directory says: it was recovered from a copy of before they moved.
//!
//! The shard that has given such an account away says by which move, and the directory does not know that one. A client that has waited in
//! vain looks where the account is served, and asks for a move to there. Its mover finds it there, and has the directory say so.

use mailrook_mailbox::{Answer, MoveStage, MoveStanding, Query};
use mailrook_meta::{
    AccountMove, LEVEL_FORGOTTEN_MOVES, MetaAnswer, MetaCommand, MetaQuery, MetaReply,
};
use mailrook_store_api::{Directory, StoreError};
use mailrook_types::{AccountId, ShardId};

use crate::{Client, client::misfit};

impl Client {
    /// Asks for a move that finds the account again, if the directory has forgotten the one that has taken it from `shard`.
    pub(crate) async fn look_for_forgotten(&self, account: AccountId, shard: ShardId) {
        match self.ask_for_forgotten(account, shard).await {
            Ok(None) => {}
            Ok(Some(to)) => tracing::error!(
                account = account.0,
                from = %shard,
                %to,
                "the directory does not know of the move that has taken this account from its shard; asking for one that finds it"
            ),
            Err(error) => {
                tracing::warn!(account = account.0, %error, "an account was waited for in vain");
            }
        }
    }

    async fn ask_for_forgotten(
        &self,
        account: AccountId,
        shard: ShardId,
    ) -> Result<Option<ShardId>, StoreError> {
        let calls = &self.inner.calls;
        match calls.meta_query(&MetaQuery::ClusterSettings).await? {
            MetaAnswer::ClusterSettings(settings)
                if settings.feature_level >= LEVEL_FORGOTTEN_MOVES => {}
            // It is raised again first.
            MetaAnswer::ClusterSettings(_) => return Ok(None),
            other => return Err(misfit(&other)),
        }
        // The same before and after the shard was asked: it does not stand so by a move that has just ended.
        let last = self.last_move(account).await?;
        let is_there = match calls.meta_query(&MetaQuery::AccountById(account)).await? {
            MetaAnswer::Account(record) => record.is_some_and(|record| record.shard == shard),
            other => return Err(misfit(&other)),
        };
        let standing = self.standing(account, shard).await?;
        let standing = standing.filter(|standing| !is_served(standing.stage));
        let (Some(standing), true) = (standing, is_there) else {
            return Ok(None);
        };
        if is_under_way(last.as_deref())
            || is_under_way(self.move_by_id(standing.by.move_id).await?.as_ref())
            || self.last_move(account).await? != last
        {
            return Ok(None);
        }
        let Some(to) = self.where_it_may_be(account, shard).await? else {
            return Ok(None);
        };
        let accounts = vec![account];
        let ask = MetaCommand::MoveAccounts { accounts, to };
        match Directory::command(self, ask).await? {
            MetaReply::AccountMoves(_) => Ok(Some(to)),
            MetaReply::Refused(refusal) => Err(StoreError::Unavailable(refusal.to_string())),
            other => Err(misfit(&other)),
        }
    }

    /// The shard that serves the account, if one does; else any but `shard`: its mover has it served again where it was then, wherever
    /// it was to go.
    async fn where_it_may_be(
        &self,
        account: AccountId,
        shard: ShardId,
    ) -> Result<Option<ShardId>, StoreError> {
        let shards = match self.inner.calls.meta_query(&MetaQuery::Shards).await? {
            MetaAnswer::Shards(shards) => shards,
            other => return Err(misfit(&other)),
        };
        let (mut any, mut serves) = (None, None);
        for (other, _) in shards {
            if other == shard {
                continue;
            }
            any = Some(other);
            // All are asked: what one that does not answer would say is not guessed.
            if let Some(standing) = self.standing(account, other).await?
                && is_served(standing.stage)
            {
                serves = serves.max(Some((standing.by.move_id, other)));
            }
        }
        Ok(serves.map(|(_, shard)| shard).or(any))
    }

    /// How the account's last move goes, as far as the directory knows.
    async fn last_move(&self, account: AccountId) -> Result<Option<Box<AccountMove>>, StoreError> {
        let query = MetaQuery::MoveOf(account);
        match self.inner.calls.meta_query(&query).await? {
            MetaAnswer::MoveOf { last, .. } => Ok(last),
            other => Err(misfit(&other)),
        }
    }

    async fn move_by_id(&self, id: u64) -> Result<Option<AccountMove>, StoreError> {
        let query = MetaQuery::AccountMoves {
            pending: false,
            after: id.saturating_sub(1),
            limit: 1,
        };
        match self.inner.calls.meta_query(&query).await? {
            MetaAnswer::AccountMoves(mut moves) => Ok(moves.pop().filter(|of| of.id == id)),
            other => Err(misfit(&other)),
        }
    }

    async fn standing(
        &self,
        account: AccountId,
        shard: ShardId,
    ) -> Result<Option<MoveStanding>, StoreError> {
        let query = Query::MoveStanding { account };
        match self.inner.calls.shard_query(shard, &query).await? {
            Answer::MoveStanding(standing) => Ok(standing),
            other => Err(misfit(&other)),
        }
    }
}

fn is_under_way(of: Option<&AccountMove>) -> bool {
    of.is_some_and(|of| !of.state.is_over())
}

fn is_served(stage: MoveStage) -> bool {
    matches!(stage, MoveStage::Here | MoveStage::Leaving(_))
}
