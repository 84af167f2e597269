//! Accounts that are not where a recovered directory says, as they have moved by moves that it has forgotten altogether.
//!
//! Their shards know better: the one that such an account has left is not serving it, by a move of which the directory knows nothing. The
//! account's next move finds that, looks at all shards, and has the directory say where the account is. Nothing is copied for that.
//! Clients ask for such a move by themselves (`forgotten.rs` of `mailrook-store-client`).

use mailrook_mailbox::{MoveStage, MoveStanding, MoveStep};
use mailrook_meta::{LEVEL_FORGOTTEN_MOVES, MetaAnswer, MetaQuery};
use mailrook_types::ShardId;

use super::{Stopped, Taken};
use crate::gather::{self, misfit};

fn is_served(stage: MoveStage) -> bool {
    matches!(stage, MoveStage::Here | MoveStage::Leaving(_))
}

fn or_refused(result: Result<(), Stopped>) -> Result<(), Stopped> {
    match result {
        Ok(()) | Err(Stopped::Later | Stopped::Refused(_)) => Ok(()),
        Err(stopped) => Err(stopped),
    }
}

impl Taken<'_> {
    /// Whether an earlier move has left the account in the middle on the shard where the directory says it is. Of those that the directory
    /// knows none does: a move begins when the one before is over.
    pub(super) fn is_forgotten(&self, standing: &MoveStanding) -> bool {
        standing.by.move_id < self.by.move_id && standing.stage != MoveStage::Here
    }

    /// What this move finds where an earlier one that was forgotten has left the account in the middle: whether it is to be copied as
    /// any other.
    pub(super) async fn goes_on_after(&mut self, stage: MoveStage) -> Result<bool, Stopped> {
        if !self.has_level().await? {
            return Err(Stopped::GiveUp(format!(
                "a move that the directory has forgotten has begun at shard {}: that is made up for from feature level {LEVEL_FORGOTTEN_MOVES} on",
                self.of.from
            )));
        }
        match is_served(stage) {
            true => Ok(true),
            false => self.find_again().await.map(|()| false),
        }
    }

    /// Has the directory say that the account is on the other shard, if it is.
    async fn find_again(&mut self) -> Result<(), Stopped> {
        match self.served_elsewhere().await? {
            Some(shard) if shard == self.of.to => {
                tracing::error!(
                    id = self.of.id,
                    account = self.account().0,
                    %shard,
                    "the account was found where a move has brought it that the directory does not know"
                );
                self.flip(true).await?;
                // A move from there that was forgotten, too, does not go on, and is not noted for.
                self.until_done(self.of.to, MoveStep::Return).await
            }
            Some(shard) => Err(Stopped::GiveUp(format!(
                "a move that the directory has forgotten has brought it to shard {shard}: move it there"
            ))),
            None => Err(Stopped::GiveUp(
                "it was fenced by a move that the directory has forgotten, and is served again"
                    .to_owned(),
            )),
        }
    }

    /// Comes to nothing after a forgotten move: it has begun nothing itself.
    pub(super) async fn leave_forgotten(&self, stage: MoveStage) -> Result<(), Stopped> {
        if !self.has_level().await? {
            return Ok(());
        }
        if self.may_return(stage).await? {
            or_refused(self.until_done(self.of.from, MoveStep::Return).await)?;
        }
        // Refused: it is served there, or it is fenced there, and may be nowhere else.
        or_refused(self.until_done(self.of.to, MoveStep::Discard).await)
    }

    /// Before the account is served again where it was: whether it is served nowhere else, and will not be by a step that comes late.
    async fn may_return(&self, stage: MoveStage) -> Result<bool, Stopped> {
        match stage {
            MoveStage::Leaving(_) => return Ok(true),
            MoveStage::Fenced(_) => {}
            // Not all of it is there.
            _ => return Ok(false),
        }
        for shard in self.other_shards().await? {
            let standing = self.standing(shard).await?;
            if standing.is_some_and(|standing| standing.stage == MoveStage::Complete) {
                // Refused: it was opened between the two.
                or_refused(self.until_done(shard, MoveStep::Discard).await)?;
            }
        }
        Ok(self.served_elsewhere().await?.is_none())
    }

    /// The shard that serves the account, other than the one that is said to. By several moves that were forgotten the last one holds.
    async fn served_elsewhere(&self) -> Result<Option<ShardId>, Stopped> {
        let mut last: Option<(u64, ShardId)> = None;
        for shard in self.other_shards().await? {
            if let Some(standing) = self.standing(shard).await?
                && is_served(standing.stage)
            {
                last = last.max(Some((standing.by.move_id, shard)));
            }
        }
        Ok(last.map(|(_, shard)| shard))
    }

    /// Older programs would not take the steps, and their copies of the shards would differ.
    async fn has_level(&self) -> Result<bool, Stopped> {
        let settings = gather::settings(&*self.mover.directory).await?;
        Ok(settings.feature_level >= LEVEL_FORGOTTEN_MOVES)
    }

    async fn other_shards(&self) -> Result<Vec<ShardId>, Stopped> {
        match self.mover.directory.query(MetaQuery::Shards).await? {
            MetaAnswer::Shards(shards) => {
                let shards = shards.into_iter().map(|(shard, _)| shard);
                Ok(shards.filter(|shard| *shard != self.of.from).collect())
            }
            other => Err(misfit(&other).into()),
        }
    }
}
