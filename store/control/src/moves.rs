//! Moves accounts from one shard to another while they are used.
//!
//! What each step does is described at `AccountMove` in `mailrook-meta` and in `moving.rs` of `mailrook-mailbox`. What is decided is
//! in the meta group alone, and what is copied in the shards: a mover remembers nothing that the next one needs.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use mailrook_mailbox::{
    Answer, BodySource, Chunk, MoveCommand, MoveReply, MoveStage, MoveStanding, MoveStep,
    MovedPair, Mover, Query, Refusal, ShardCommand, ShardReply, UploadChunk,
    limits::MOVED_BYTES_MAX,
};
use mailrook_meta::{
    AccountMove, MetaAnswer, MetaCommand, MetaQuery, MetaRefusal, MetaReply, MoveNote, MoveState,
};
use mailrook_store_api::{Directory, StoreError};
use mailrook_store_client::{Shards, new_upload};
use mailrook_types::{AccountId, BlobHash, ShardId, Timestamp};
use tokio::time::{Instant, timeout};

use crate::gather::misfit;

/// Commands of a move that are under way at a time: enough to keep a shard's log busy, and few enough that others are not held up.
const UNDER_WAY: usize = 4;

/// Bodies up to this length travel with their message, beside which there may be as much again: an entry of the log holds
/// both.
const INLINE_MAX: u32 = 128 << 10;

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
}

/// Why a move stopped.
enum Stopped {
    /// It comes to nothing, for this reason.
    GiveUp(String),
    /// Somebody else has taken it over, or has decided.
    Overtaken,
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
    /// Moves for which there is something to do by the time `now`, but for some: `limit` of them.
    ///
    /// # Errors
    /// The meta group cannot be reached.
    pub async fn due(
        &self,
        now: Timestamp,
        but_for: &BTreeSet<u64>,
        limit: usize,
    ) -> Result<Vec<AccountMove>, StoreError> {
        let (mut due, mut after) = (Vec::new(), 0);
        // Many may wait until what is left of them is dropped.
        while due.len() < limit {
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
            let is_due = |of: &AccountMove| self.is_due(of, now) && !but_for.contains(&of.id);
            due.extend(page.into_iter().filter(is_due));
        }
        due.truncate(limit);
        Ok(due)
    }

    /// Whether there is something to do for a move by the time `now`.
    fn is_due(&self, of: &AccountMove, now: Timestamp) -> bool {
        let kept_ms = i64::try_from(self.kept_for.as_millis()).unwrap_or(i64::MAX);
        of.state != MoveState::Moved
            || !of.note.opened
            || of.changed.0.saturating_add(kept_ms) <= now.0
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
                    _ => Ok(taken.of),
                }
            }
            Err(Stopped::Failed(error)) => Err(error),
        }
    }
}

impl Taken<'_> {
    async fn carry_on(&mut self) -> Result<(), Stopped> {
        if self.of.state == MoveState::Copying {
            self.copy_over().await?;
        }
        self.follow().await
    }

    fn account(&self) -> AccountId {
        self.of.account
    }

    /// Brings all of the account to the other shard, and has the directory say so.
    async fn copy_over(&mut self) -> Result<(), Stopped> {
        let query = Query::MoveStanding {
            account: self.account(),
        };
        let answer = self.mover.shards.shard_query(self.of.from, query);
        let first = match answer.await? {
            Answer::MoveStanding(Some(MoveStanding { by, stage }))
                if by.move_id == self.by.move_id =>
            {
                match stage {
                    MoveStage::Leaving(round) => round + 1,
                    // How much is left to be copied is not known, and clients wait.
                    _ => {
                        let text = "its mover was lost while the account was fenced";
                        return Err(Stopped::GiveUp(text.to_owned()));
                    }
                }
            }
            Answer::MoveStanding(_) => 1,
            other => return Err(misfit(&other).into()),
        };
        self.until_done(self.of.to, MoveStep::Begin).await?;
        self.leave(first, 1).await?;
        self.copy(None).await?;
        // Of one that was taken over, what changed before.
        for round in 1..first {
            self.copy(Some(round)).await?;
        }
        let mut round = first;
        loop {
            self.leave(round + 1, round).await?;
            let copied = self.copy(Some(round)).await?;
            round += 1;
            if copied <= LAST_ROUND_BYTES || round - first >= ROUNDS_MAX {
                break;
            }
        }
        self.finish(round).await
    }

    async fn leave(&self, round: u32, noted_from: u32) -> Result<(), Stopped> {
        let step = MoveStep::Leave { round, noted_from };
        self.until_done(self.of.from, step).await
    }

    /// The last of it, while nobody is served: `round` is under way.
    async fn finish(&mut self, round: u32) -> Result<(), Stopped> {
        // It may have been abandoned meanwhile.
        self.tell().await?;
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
        let flip = MetaCommand::FlipMove {
            id: self.of.id,
            turn: self.by.turn,
        };
        self.of = self.meta_step(flip).await?;
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

    async fn copy_the_rest(&mut self, round: u32) -> Result<(), Stopped> {
        let record = match self.shard_step(self.of.from, MoveStep::Fence).await? {
            MoveReply::Fenced { record } => record,
            other => return Err(misfit(&other).into()),
        };
        self.copy(Some(round)).await?;
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
        match &self.of.state {
            MoveState::Moved => {
                self.shard_step(self.of.to, MoveStep::Open).await?;
                if !self.note.opened {
                    self.note.opened = true;
                    self.note_now().await?;
                }
                if !self.mover.is_due(&self.of, Timestamp::now()) {
                    return Ok(());
                }
                self.until_done(self.of.from, MoveStep::Drop).await?;
            }
            MoveState::Abandoned(cause) => {
                tracing::warn!(
                    id = self.of.id,
                    account = self.account().0,
                    cause,
                    "an account stays"
                );
                // First: clients wait for it. One that was removed does not return.
                match self.until_done(self.of.from, MoveStep::Return).await {
                    Ok(()) | Err(Stopped::Overtaken) => {}
                    failed => return failed,
                }
                self.until_done(self.of.to, MoveStep::Discard).await?;
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
            Err(Stopped::Overtaken) => Ok(()),
            Err(Stopped::GiveUp(cause)) => Err(StoreError::Internal(cause)),
            Err(Stopped::Failed(error)) => Err(error),
        }
    }

    /// Copies all pairs, or those that changed in a round; several commands at a time. Says how many bytes.
    async fn copy(&mut self, round: Option<u32>) -> Result<u64, Stopped> {
        let (mut after, mut all) = (None, 0);
        loop {
            let query = Query::MovedPairs {
                account: self.account(),
                by: self.by,
                round,
                after: after.take(),
            };
            let (pairs, next) = match self.mover.shards.shard_query(self.of.from, query).await? {
                Answer::Moved { pairs, next } => (pairs, next),
                Answer::Elsewhere => return Err(Stopped::Overtaken),
                other => return Err(misfit(&other).into()),
            };
            let messages = pairs.iter().filter(|pair| pair.message.is_some()).count();
            let bytes = self.install(pairs).await?;
            all += bytes;
            self.note.messages += messages as u64;
            self.note.bytes += bytes;
            if self.noted.elapsed() >= NOTE_EVERY {
                self.tell().await?;
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Brings pairs to the other shard, with the bodies that it lacks.
    async fn install(&self, mut pairs: Vec<MovedPair>) -> Result<u64, Stopped> {
        self.add_bodies(&mut pairs).await?;
        let bytes = pairs.iter().map(|pair| pair.bytes() as u64).sum();
        let parts = in_parts(pairs);
        stream::iter(parts)
            .map(|part| self.install_part(part))
            .buffer_unordered(UNDER_WAY)
            .try_collect::<()>()
            .await?;
        Ok(bytes)
    }

    async fn install_part(&self, part: Vec<MovedPair>) -> Result<(), Stopped> {
        // What was here when it was asked for may have gone since.
        for _ in 0..BODIES_TRIES {
            let mut again = part.clone();
            match self
                .shard_step(self.of.to, MoveStep::Install(part.clone()))
                .await?
            {
                MoveReply::Done => return Ok(()),
                MoveReply::BodiesMissing(missing) => {
                    let missing: HashSet<_> = missing.into_iter().collect();
                    self.bring_bodies(&mut again, &missing).await?;
                    for some in in_parts(again) {
                        match self.shard_step(self.of.to, MoveStep::Install(some)).await? {
                            MoveReply::Done => {}
                            MoveReply::BodiesMissing(_) => break,
                            _ => return Err(differs()),
                        }
                    }
                }
                _ => return Err(differs()),
            }
        }
        Err(Stopped::GiveUp(
            "the shard does not keep its bodies".to_owned(),
        ))
    }

    /// Puts bodies beside their messages that the other shard does not have.
    async fn add_bodies(&self, pairs: &mut [MovedPair]) -> Result<(), Stopped> {
        let messages = pairs.iter().filter_map(|pair| pair.message.as_ref());
        let mut hashes: Vec<BlobHash> = messages.map(|message| message.hash).collect();
        hashes.sort_unstable_by_key(|hash| hash.0);
        hashes.dedup();
        if hashes.is_empty() {
            return Ok(());
        }
        let query = Query::BodiesMissing(hashes);
        let missing = match self.mover.shards.shard_query(self.of.to, query).await? {
            Answer::BodiesMissing(missing) => missing.into_iter().collect(),
            other => return Err(misfit(&other).into()),
        };
        self.bring_bodies(pairs, &missing).await
    }

    async fn bring_bodies(
        &self,
        pairs: &mut [MovedPair],
        missing: &HashSet<BlobHash>,
    ) -> Result<(), Stopped> {
        let mut brought = HashSet::new();
        let messages = pairs.iter_mut().filter_map(|pair| pair.message.as_mut());
        let mut wanted: Vec<_> = messages
            .filter(|message| missing.contains(&message.hash) && brought.insert(message.hash))
            .collect();
        let mut at = 0;
        while at < wanted.len() {
            if wanted[at].body_size > INLINE_MAX {
                let source = self.upload(wanted[at].hash, wanted[at].body_size).await?;
                wanted[at].source = Some(source);
                at += 1;
                continue;
            }
            let hashes = wanted[at..].iter().map(|message| message.hash).collect();
            let query = Query::Bodies(hashes);
            let bodies = match self.mover.shards.shard_query(self.of.from, query).await? {
                Answer::Bodies(bodies) => bodies,
                // It was removed meanwhile, which is noted and copied later: begin this part anew.
                Answer::NoSuchBody => return Err(gone()),
                other => return Err(misfit(&other).into()),
            };
            if bodies.is_empty() {
                return Err(StoreError::Internal("no bodies in an answer".to_owned()).into());
            }
            for chunks in bodies {
                wanted[at].source = Some(BodySource::Inline(chunks));
                at += 1;
            }
        }
        Ok(())
    }

    /// Brings a long body to the other shard, piece by piece.
    async fn upload(&self, hash: BlobHash, size: u32) -> Result<BodySource, Stopped> {
        let upload = new_upload()?;
        let count = size.div_ceil(Chunk::RAW_LEN as u32);
        let send = async |index: u32| -> Result<[u8; 32], Stopped> {
            let query = Query::Chunks {
                hash,
                first: index,
                count: 1,
            };
            let mut chunks = match self.mover.shards.shard_query(self.of.from, query).await? {
                Answer::Chunks(chunks) => chunks,
                Answer::NoSuchBody => return Err(gone()),
                other => return Err(misfit(&other).into()),
            };
            let chunk = chunks.pop().ok_or_else(gone)?;
            let digest = *blake3::hash(&chunk.bytes).as_bytes();
            let command = ShardCommand::Upload(UploadChunk {
                upload,
                index,
                // As long as an upload is kept.
                expires: Timestamp(i64::MAX),
                chunk,
            });
            match self.mover.shards.shard_command(self.of.to, command).await? {
                ShardReply::Uploaded(Ok(())) => Ok(digest),
                other => Err(misfit(&other).into()),
            }
        };
        let digests = stream::iter(0..count).map(send).buffered(UNDER_WAY);
        let digests = digests.try_collect().await?;
        Ok(BodySource::Uploaded { upload, digests })
    }

    /// Notes how far it is, and stops if it was decided meanwhile that the account stays.
    async fn tell(&mut self) -> Result<(), Stopped> {
        self.note_now().await?;
        match self.of.state {
            MoveState::Copying => Ok(()),
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

    /// Has a shard take a step, part by part.
    async fn until_done(&self, shard: ShardId, step: MoveStep) -> Result<(), Stopped> {
        // Each part removes something of what is there, and nothing is added meanwhile.
        while self.shard_step(shard, step.clone()).await? == MoveReply::More {}
        Ok(())
    }

    async fn shard_step(&self, shard: ShardId, step: MoveStep) -> Result<MoveReply, Stopped> {
        let command = ShardCommand::Move(MoveCommand {
            account: self.account(),
            by: self.by,
            step,
        });
        match self.mover.shards.shard_command(shard, command).await? {
            ShardReply::Move(Ok(reply)) => Ok(reply),
            ShardReply::Move(Err(Refusal::StaleAccountMove)) => Err(Stopped::Overtaken),
            ShardReply::Move(Err(refusal)) => Err(Stopped::GiveUp(refusal.to_string())),
            other => Err(misfit(&other).into()),
        }
    }

    async fn meta_step(&self, command: MetaCommand) -> Result<AccountMove, Stopped> {
        match self.mover.directory.command(command).await? {
            MetaReply::AccountMove(now) => Ok(*now),
            MetaReply::Refused(_) => Err(Stopped::Overtaken),
            other => Err(misfit(&other).into()),
        }
    }
}

/// How often bodies are brought again that were there, and are not any more.
const BODIES_TRIES: usize = 3;

fn differs() -> Stopped {
    Stopped::GiveUp("a message is not what its record says".to_owned())
}

/// A message was removed, long enough ago that its body has gone, between two looks.
fn gone() -> Stopped {
    StoreError::Unavailable("a body has gone while it was copied".to_owned()).into()
}

/// As many pairs in each part as a step takes.
fn in_parts(pairs: Vec<MovedPair>) -> Vec<Vec<MovedPair>> {
    let mut parts: Vec<Vec<MovedPair>> = Vec::new();
    let mut bytes = usize::MAX;
    for pair in pairs {
        let len = pair.bytes();
        if bytes.saturating_add(len) > MOVED_BYTES_MAX {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += len;
        if let Some(part) = parts.last_mut() {
            part.push(pair);
        }
    }
    parts
}
