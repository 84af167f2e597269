//! Moves accounts from one shard to another while they are used.
//!
//! What each step does is described at `AccountMove` in `mailrook-meta` and in `moving.rs` of `mailrook-mailbox`. What is decided is
//! in the meta group alone, and what is copied in the shards: a mover remembers nothing that the next one needs.

mod copy;
mod forgotten;
mod pace;

use std::{collections::BTreeSet, pin::pin, sync::Arc, time::Duration};

use mailrook_mailbox::{
    Answer, MoveCommand, MoveReply, MoveStage, MoveStanding, MoveStep, Mover, Query, Refusal,
    ShardCommand, ShardReply,
};
use mailrook_meta::{
    AccountMove, MetaAnswer, MetaCommand, MetaQuery, MetaRefusal, MetaReply, MoveNote, MoveState,
};
use mailrook_store_api::{Directory, StoreError};
use mailrook_store_client::Shards;
use mailrook_types::{AccountId, ShardId, Timestamp};
use tokio::time::{Instant, timeout};

pub use self::pace::Pace;
use crate::gather::misfit;

/// Once so little has changed while the last round was copied, the account is fenced for the rest of it.
const LAST_ROUND_BYTES: u64 = 64 << 10;

/// Where an account changes faster than it is copied, it is fenced all the same after so many rounds.
const ROUNDS_MAX: u32 = 10;

/// An account is fenced for no longer: then it is served again where it was. Calls wait for longer than this.
const FENCE_MAX: Duration = Duration::from_secs(5);

/// Between two notes of how far a move is.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Moves that are looked at in one go.
const PAGE: u32 = 1_000;

/// How long what is left of an account is kept where it was: as long as bodies that nothing refers to.
pub const KEPT_FOR: Duration = Duration::from_secs(3600);

/// What accounts are moved with.
pub struct AccountMover {
    /// The cluster's directory.
    pub directory: Arc<dyn Directory>,
    /// The shards.
    pub shards: Arc<dyn Shards>,
    /// How long what is left is kept: [`KEPT_FOR`].
    pub kept_for: Duration,
    /// How fast they copy.
    pub pace: Arc<Pace>,
}

/// Why a move stopped.
enum Stopped {
    /// It comes to nothing, for this reason.
    GiveUp(String),
    /// Somebody else has taken it over, or has decided, or has it rest.
    Overtaken,
    /// The shard has taken steps of a later move.
    Later,
    /// The shard does not take the step, and cannot.
    Refused(String),
    /// It is carried on later.
    Failed(StoreError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Stopped {
        match error {
            // They would be the same the next time.
            StoreError::Unacceptable(cause) | StoreError::Internal(cause) => Stopped::GiveUp(cause),
            passing => Stopped::Failed(passing),
        }
    }
}

/// Whether the account may be served nowhere until somebody goes on with its move.
fn is_urgent(of: &AccountMove) -> bool {
    match of.state {
        MoveState::Copying => of.note.fencing,
        MoveState::Moved => !of.note.opened,
        MoveState::Abandoned(_) => true,
        _ => false,
    }
}

/// As many of those are gone on with at a time: as a rule there is none, and after a controller's death a handful.
const URGENT_MAX: usize = 32;

/// A move that this mover has taken.
struct Taken<'m> {
    mover: &'m AccountMover,
    of: AccountMove,
    by: Mover,
    note: MoveNote,
    begun: Instant,
    noted: Instant,
}

impl AccountMover {
    /// Moves for which there is something to do, but for those that are under way: all whose accounts may be served nowhere
    /// until somebody does it; and `limit` others, but for those that rest.
    ///
    /// # Errors
    /// The meta group cannot be reached.
    pub async fn due(
        &self,
        under_way: &BTreeSet<u64>,
        resting: &BTreeSet<u64>,
        limit: usize,
    ) -> Result<Vec<AccountMove>, StoreError> {
        let (mut urgent, mut due, mut after) = (Vec::new(), Vec::new(), 0);
        let (mut pending, mut now) = (BTreeSet::new(), None);
        // Many may wait until what is left of them is dropped.
        loop {
            let query = MetaQuery::AccountMoves {
                pending: true,
                after,
                limit: PAGE,
            };
            let page = match self.directory.query(query).await? {
                MetaAnswer::AccountMoves(moves) => moves,
                other => return Err(misfit(&other)),
            };
            let Some(last) = page.last() else { break };
            after = last.id;
            let now = match now {
                Some(now) => now,
                None => *now.insert(self.now().await?),
            };
            for of in page {
                pending.insert(of.id);
                let waits = of.follows.is_some_and(|before| pending.contains(&before));
                if waits || under_way.contains(&of.id) {
                    continue;
                }
                if is_urgent(&of) {
                    urgent.push(of);
                } else if due.len() < limit && !resting.contains(&of.id) && self.is_due(&of, now) {
                    due.push(of);
                }
            }
        }
        urgent.truncate(URGENT_MAX);
        urgent.extend(due);
        Ok(urgent)
    }

    /// The time by which the meta group says when what happened.
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.shards.log_time(ShardId::META).await
    }

    /// Whether there is something to do for a move by the time `now`.
    fn is_due(&self, of: &AccountMove, now: Timestamp) -> bool {
        let kept_ms = i64::try_from(self.kept_for.as_millis()).unwrap_or(i64::MAX);
        let kept = !of.hurried && of.changed.0.saturating_add(kept_ms) > now.0;
        match of.state {
            MoveState::Moved => !of.note.opened || !kept,
            MoveState::Waiting | MoveState::Copying => !of.paused && !self.pace.is_paused(),
            _ => true,
        }
    }

    /// Carries a move as far as it goes now, and says how it stands.
    ///
    /// # Errors
    /// A group cannot be reached: it is carried on later.
    pub async fn carry_on(&self, of: &AccountMove) -> Result<AccountMove, StoreError> {
        let take = MetaCommand::TakeMove {
            id: of.id,
            turn_before: of.turn,
        };
        let taken = match self.directory.command(take).await? {
            MetaReply::AccountMove(taken) => *taken,
            // Somebody else has it.
            MetaReply::Refused(MetaRefusal::MoveTaken { .. } | MetaRefusal::NoSuchMove(_)) => {
                return Ok(of.clone());
            }
            MetaReply::Refused(refusal) => return Err(StoreError::Internal(refusal.to_string())),
            other => return Err(misfit(&other)),
        };
        let by = Mover {
            move_id: taken.id,
            turn: taken.turn,
        };
        let now = Instant::now();
        let mut taken = Taken {
            mover: self,
            note: taken.note,
            of: taken,
            by,
            begun: now,
            noted: now,
        };
        match taken.carry_on().await {
            Ok(()) | Err(Stopped::Overtaken) => Ok(taken.of),
            Err(Stopped::GiveUp(cause)) => {
                taken.abandon(&cause).await?;
                match taken.follow().await {
                    Err(Stopped::Failed(error)) => Err(error),
                    Err(Stopped::Refused(cause)) => Err(StoreError::Internal(cause)),
                    _ => Ok(taken.of),
                }
            }
            Err(Stopped::Later) => Ok(taken.of),
            Err(Stopped::Refused(cause)) => Err(StoreError::Internal(cause)),
            Err(Stopped::Failed(error)) => Err(error),
        }
    }
}

impl Taken<'_> {
    async fn carry_on(&mut self) -> Result<(), Stopped> {
        if self.of.state == MoveState::Copying {
            let copied = self.copy_over().await;
            copied.map_err(|stopped| match stopped {
                Stopped::Later => Stopped::GiveUp("a later move has begun".to_owned()),
                Stopped::Refused(cause) => Stopped::GiveUp(cause),
                other => other,
            })?;
        }
        self.follow().await
    }

    fn account(&self) -> AccountId {
        self.of.account
    }

    /// Brings all of the account to the other shard, and has the directory say so.
    async fn copy_over(&mut self) -> Result<(), Stopped> {
        let pace = Arc::clone(&self.mover.pace);
        let copied = tokio::select! {
            biased;
            copied = self.copy_while_used() => copied?,
            // In the middle of whatever it is: the next mover begins anew.
            () = pace.stopped() => return Err(Stopped::Overtaken),
        };
        match copied {
            Some(round) => self.finish(round).await,
            None => Ok(()),
        }
    }

    /// Copies the account while it is used. Says which round is the last one; none if it is on the other shard already.
    async fn copy_while_used(&mut self) -> Result<Option<u32>, Stopped> {
        let first = match self.standing(self.of.from).await? {
            Some(MoveStanding { by, stage }) if by.move_id == self.by.move_id => {
                match stage {
                    MoveStage::Leaving(round) => round + 1,
                    _ if self.of.doubtful && self.is_open_there().await? => {
                        self.flip(true).await?;
                        return Ok(None);
                    }
                    // How much is left to be copied is not known, and clients wait.
                    _ => return Err(lost_in_the_fence()),
                }
            }
            Some(standing) if self.is_forgotten(&standing) => {
                match self.goes_on_after(standing.stage).await? {
                    true => 1,
                    false => return Ok(None),
                }
            }
            _ => 1,
        };
        self.until_done(self.of.to, MoveStep::Begin).await?;
        self.leave(first, 1).await?;
        // Its mover before may have gone on until it heard of this one.
        let first = match self.standing(self.of.from).await? {
            Some(MoveStanding { by, stage }) if by == self.by => match stage {
                MoveStage::Leaving(round) => round,
                _ => return Err(lost_in_the_fence()),
            },
            _ => return Err(Stopped::Overtaken),
        };
        if self.note.fencing {
            // The one before was about to fence it, and did not. It is served: it may rest.
            self.note.fencing = false;
            self.tell().await?;
        }
        self.copy(None, true).await?;
        // Of one that was taken over, what changed before.
        for round in 1..first {
            self.copy(Some(round), true).await?;
        }
        let mut round = first;
        loop {
            self.leave(round + 1, round).await?;
            let copied = self.copy(Some(round), true).await?;
            round += 1;
            if copied <= LAST_ROUND_BYTES || round - first >= ROUNDS_MAX {
                break;
            }
        }
        self.rest().await?;
        Ok(Some(round))
    }

    async fn leave(&self, round: u32, noted_from: u32) -> Result<(), Stopped> {
        let step = MoveStep::Leave { round, noted_from };
        self.until_done(self.of.from, step).await
    }

    /// The last of it, while nobody is served: `round` is under way.
    async fn finish(&mut self, round: u32) -> Result<(), Stopped> {
        // Whoever finds it so goes on at once, whatever is paused.
        self.note.fencing = true;
        // It may have been abandoned meanwhile, or is to rest.
        if let Err(stopped) = self.tell().await {
            self.does_not_fence().await?;
            return Err(stopped);
        }
        if self.mover.pace.is_stopped() {
            return Err(Stopped::Overtaken);
        }
        // From here on nothing stops it but the time: neither a pause nor another controller has clients wait longer.
        let fenced = Instant::now();
        let copied = timeout(FENCE_MAX, self.copy_the_rest(round)).await;
        let copied = copied.unwrap_or_else(|_elapsed| {
            let seconds = FENCE_MAX.as_secs();
            Err(Stopped::GiveUp(format!(
                "the rest of it was not copied within {seconds} s"
            )))
        });
        // Clients wait: it is served again where it was, and not once the cause has passed.
        copied.map_err(|stopped| match stopped {
            Stopped::Failed(error) => Stopped::GiveUp(error.to_string()),
            other => other,
        })?;
        self.flip(false).await?;
        self.shard_step(self.of.to, MoveStep::Open).await?;
        self.note.opened = true;
        self.note.pause_ms = u32::try_from(fenced.elapsed().as_millis()).unwrap_or(u32::MAX);
        tracing::info!(
            id = self.of.id,
            account = self.account().0,
            from = %self.of.from,
            to = %self.of.to,
            messages = self.note.messages,
            bytes = self.note.bytes,
            pause_ms = self.note.pause_ms,
            elapsed_ms = self.begun.elapsed().as_millis(),
            "an account has moved"
        );
        self.note_now().await
    }

    /// It rests, and is served: nobody needs to go on with it at once.
    async fn does_not_fence(&mut self) -> Result<(), Stopped> {
        self.note.fencing = false;
        self.note_now().await
    }

    /// The account is on the other shard from here on.
    async fn flip(&mut self, found_open: bool) -> Result<(), Stopped> {
        let flip = MetaCommand::FlipMove {
            id: self.of.id,
            turn: self.by.turn,
            found_open,
        };
        match self.mover.directory.command(flip).await? {
            MetaReply::AccountMove(now) => {
                self.of = *now;
                Ok(())
            }
            // Clients wait: it is served again at once where it was.
            MetaReply::Refused(MetaRefusal::MoveDecided { moved: false, .. }) => {
                Err(Stopped::GiveUp("it was decided that it stays".to_owned()))
            }
            MetaReply::Refused(_) => Err(Stopped::Overtaken),
            other => Err(misfit(&other).into()),
        }
    }

    /// Whether the account is served where it goes, by this move.
    async fn is_open_there(&self) -> Result<bool, Stopped> {
        let standing = self.standing(self.of.to).await?;
        Ok(standing.is_some_and(|standing| {
            standing.by.move_id == self.by.move_id && standing.stage == MoveStage::Here
        }))
    }

    /// Where the account stands at a shard.
    async fn standing(&self, shard: ShardId) -> Result<Option<MoveStanding>, Stopped> {
        let query = Query::MoveStanding {
            account: self.account(),
        };
        match self.mover.shards.shard_query(shard, query).await? {
            Answer::MoveStanding(standing) => Ok(standing),
            other => Err(misfit(&other).into()),
        }
    }

    async fn copy_the_rest(&mut self, round: u32) -> Result<(), Stopped> {
        let record = match self.shard_step(self.of.from, MoveStep::Fence).await? {
            MoveReply::Fenced { record } => record,
            other => return Err(misfit(&other).into()),
        };
        self.copy(Some(round), false).await?;
        let complete = MoveStep::Complete { record };
        match self.shard_step(self.of.to, complete).await? {
            MoveReply::Done => Ok(()),
            MoveReply::Differs => Err(Stopped::GiveUp(
                "what was copied is not what is there".to_owned(),
            )),
            other => Err(misfit(&other).into()),
        }
    }

    /// Has both shards do what was decided.
    async fn follow(&mut self) -> Result<(), Stopped> {
        let abandoned = matches!(self.of.state, MoveState::Abandoned(_));
        if abandoned && self.of.doubtful {
            self.settle_doubt().await?;
        }
        match &self.of.state {
            MoveState::Moved => {
                if !self.note.opened {
                    done_or_later(self.shard_step(self.of.to, MoveStep::Open).await)?;
                    self.note.opened = true;
                    self.note_now().await?;
                }
                if !self.mover.is_due(&self.of, self.mover.now().await?) {
                    return Ok(());
                }
                done_or_later(self.until_done(self.of.from, MoveStep::Drop).await)?;
            }
            MoveState::Abandoned(cause) => {
                tracing::warn!(
                    id = self.of.id,
                    account = self.account().0,
                    cause,
                    "an account stays"
                );
                self.stay().await?;
            }
            _ => return Ok(()),
        }
        let end = MetaCommand::EndMove {
            id: self.of.id,
            turn: self.by.turn,
        };
        self.of = self.meta_step(end).await?;
        Ok(())
    }

    /// Has the account served where it was, and nothing of it be left on the other shard.
    async fn stay(&self) -> Result<(), Stopped> {
        if let Some(standing) = self.standing(self.of.from).await?
            && self.is_forgotten(&standing)
        {
            return self.leave_forgotten(standing.stage).await;
        }
        // First: clients wait for it. One that was removed does not return.
        match self.until_done(self.of.from, MoveStep::Return).await {
            Ok(()) | Err(Stopped::Later | Stopped::Refused(_)) => {}
            failed => return failed,
        }
        done_or_later(self.until_done(self.of.to, MoveStep::Discard).await)
    }

    /// The directory may have forgotten that the account is on the other shard. `Open` comes late, perhaps, from a mover of the time
    /// before: unless the account is served there by now, the shard is told first that it never will be by this move. Were the account
    /// served where it was before that, it could be served on both.
    async fn settle_doubt(&mut self) -> Result<(), Stopped> {
        match self.shard_step(self.of.to, MoveStep::Discard).await {
            Ok(_) | Err(Stopped::Later) => Ok(()),
            Err(Stopped::Refused(_)) if self.is_open_there().await? => {
                tracing::error!(
                    id = self.of.id,
                    account = self.account().0,
                    "the account was found where a move has brought it that the directory had forgotten"
                );
                self.flip(true).await
            }
            Err(stopped) => Err(stopped),
        }
    }

    async fn abandon(&mut self, cause: &str) -> Result<(), StoreError> {
        let abandon = MetaCommand::AbandonMove {
            id: self.of.id,
            cause: cause.to_owned(),
        };
        match self.meta_step(abandon).await {
            Ok(now) => {
                self.of = now;
                Ok(())
            }
            // It was decided otherwise: whoever comes next follows that.
            Err(Stopped::Overtaken | Stopped::Later) => Ok(()),
            Err(Stopped::GiveUp(cause) | Stopped::Refused(cause)) => {
                Err(StoreError::Internal(cause))
            }
            Err(Stopped::Failed(error)) => Err(error),
        }
    }

    /// Notes how far it is, and stops if it was decided meanwhile that the account stays, or that the move rests.
    async fn tell(&mut self) -> Result<(), Stopped> {
        self.note_now().await?;
        match self.of.state {
            MoveState::Copying if !self.of.paused => Ok(()),
            _ => Err(Stopped::Overtaken),
        }
    }

    async fn note_now(&mut self) -> Result<(), Stopped> {
        self.noted = Instant::now();
        let note = MetaCommand::NoteMove {
            id: self.of.id,
            turn: self.by.turn,
            note: self.note,
        };
        self.of = self.meta_step(note).await?;
        Ok(())
    }

    /// Rests while all moves are to rest.
    async fn rest(&mut self) -> Result<(), Stopped> {
        while self.mover.pace.is_paused() {
            tokio::time::sleep(NOTE_EVERY).await;
            self.tell().await?;
        }
        Ok(())
    }

    /// Waits until more may be copied after so many bytes, and hears meanwhile what was decided.
    async fn keep_pace(&mut self, bytes: u64) -> Result<(), Stopped> {
        let pace = Arc::clone(&self.mover.pace);
        let mut taken = pin!(pace.take(bytes));
        while timeout(NOTE_EVERY, &mut taken).await.is_err() {
            self.tell().await?;
        }
        Ok(())
    }

    /// Has a shard take a step, part by part.
    async fn until_done(&self, shard: ShardId, step: MoveStep) -> Result<(), Stopped> {
        let mut cursor = Vec::new();
        // Each part removes something of what is there, and nothing is added meanwhile.
        while let MoveReply::More { cursor: then } =
            self.shard_step_from(shard, step.clone(), cursor).await?
        {
            if self.mover.pace.is_stopped() {
                return Err(Stopped::Overtaken);
            }
            cursor = then;
        }
        Ok(())
    }

    async fn shard_step(&self, shard: ShardId, step: MoveStep) -> Result<MoveReply, Stopped> {
        self.shard_step_from(shard, step, Vec::new()).await
    }

    async fn shard_step_from(
        &self,
        shard: ShardId,
        step: MoveStep,
        cursor: Vec<u8>,
    ) -> Result<MoveReply, Stopped> {
        let command = ShardCommand::Move(MoveCommand {
            account: self.account(),
            by: self.by,
            step,
            cursor,
        });
        match self.mover.shards.shard_command(shard, command).await? {
            ShardReply::Move(Ok(reply)) => Ok(reply),
            ShardReply::Move(Err(Refusal::StaleAccountMove)) => Err(self.stale(shard).await?),
            // An upload that a step has used, whose answer was lost, has gone.
            ShardReply::Move(Err(Refusal::BodyMissing)) => Ok(MoveReply::BodiesMissing(Vec::new())),
            ShardReply::Move(Err(refusal)) => Err(Stopped::GiveUp(refusal.to_string())),
            other => Err(misfit(&other).into()),
        }
    }

    /// Why a shard took a step for one that comes late.
    async fn stale(&self, shard: ShardId) -> Result<Stopped, Stopped> {
        let standing = self.standing(shard).await?;
        Ok(match standing {
            Some(MoveStanding { by, .. }) if by.move_id > self.by.move_id => Stopped::Later,
            Some(MoveStanding { by, .. }) if by > self.by => Stopped::Overtaken,
            Some(MoveStanding { stage, .. }) => Stopped::Refused(format!(
                "at shard {shard} the account is {stage:?}, from where this move cannot go on"
            )),
            None => Stopped::Refused(format!("shard {shard} does not know the account")),
        })
    }

    async fn meta_step(&self, command: MetaCommand) -> Result<AccountMove, Stopped> {
        match self.mover.directory.command(command).await? {
            MetaReply::AccountMove(now) => Ok(*now),
            MetaReply::Refused(_) => Err(Stopped::Overtaken),
            other => Err(misfit(&other).into()),
        }
    }
}

/// What the shard has gone on from is done.
fn done_or_later<T>(result: Result<T, Stopped>) -> Result<(), Stopped> {
    match result {
        Ok(_) | Err(Stopped::Later) => Ok(()),
        Err(stopped) => Err(stopped),
    }
}

fn lost_in_the_fence() -> Stopped {
    Stopped::GiveUp("its mover was lost while the account was fenced".to_owned())
}
