//! Moves slots of the cluster-wide tables to shards that have too few of them.
//!
//! The steps are described at `SlotMap` in `mailrook-meta`. What is under way is in the meta group alone, and every step
//! can be taken again: whoever comes to a recorded move takes all of its steps from the first one, and those that are done
//! cost a command each. Two who do so at the same time do the same, as the entries that they copy are fenced.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use mailrook_mailbox::{
    Answer, Query, Refusal, ShardCommand, ShardReply, SlotCommand, SlotEntry, SlotReply, SlotStep,
    table_slot,
};
use mailrook_meta::{
    MetaAnswer, MetaCommand, MetaQuery, MetaRefusal, MetaReply, SlotMap, SlotMove,
};
use mailrook_placement::{slots_misplaced, slots_to_move};
use mailrook_store_api::{Directory, StoreError};
use mailrook_store_client::Shards;
use mailrook_types::ShardId;
use tokio::time::Instant;

use crate::gather::misfit;

/// The most slots that move at once: with a few entries each they are fenced for about as long as one is.
pub const SLOTS_AT_ONCE: usize = 16;

/// Between two moves, so that front ends that waited for one get on.
const PAUSE: Duration = Duration::from_millis(20);

/// How long moves go on before the cluster is looked at again.
const RUN_MAX: Duration = Duration::from_secs(10);

/// What slots are moved with.
pub struct SlotMover {
    /// The cluster's directory.
    pub directory: Arc<dyn Directory>,
    /// The shards.
    pub shards: Arc<dyn Shards>,
    /// The most slots that move at once: [`SLOTS_AT_ONCE`].
    pub slots_at_once: usize,
}

/// Why a move did not come to its end.
enum Stopped {
    /// Somebody else took it further meanwhile.
    Overtaken(Refusal),
    Failed(StoreError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Stopped {
        Stopped::Failed(error)
    }
}

impl SlotMover {
    /// Moves slots for a while, as long as it `goes_on` and there is something to do.
    pub(crate) async fn run(
        &self,
        all: &BTreeSet<ShardId>,
        able: &BTreeSet<ShardId>,
        goes_on: impl Fn() -> bool,
    ) {
        let end = Instant::now() + RUN_MAX;
        let mut moves = 0;
        while goes_on() && Instant::now() < end {
            match self.step(all, able).await {
                Ok(true) => {
                    moves += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "a move of slots of the shared tables failed; it is carried on");
                    break;
                }
            }
        }
        if moves > 0 {
            tracing::info!(moves, "slots of the shared tables have moved");
        }
    }

    /// Carries the move to its end that is under way, or the next one, if `all` shards do not have their fair shares: only
    /// between those that are `able`. Says whether there was one.
    ///
    /// # Errors
    /// A group cannot be reached, or one refuses: the move stays recorded, to be carried on.
    pub async fn step(
        &self,
        all: &BTreeSet<ShardId>,
        able: &BTreeSet<ShardId>,
    ) -> Result<bool, StoreError> {
        let under_way = match slot_move(&*self.directory).await? {
            Some(under_way) => under_way,
            None => match self.begin(all, able).await? {
                Some(begun) => begun,
                None => return Ok(false),
            },
        };
        match self.carry_out(&under_way).await {
            Ok(()) => Ok(true),
            Err(Stopped::Failed(error)) => Err(error),
            Err(Stopped::Overtaken(refusal)) => {
                let now = slot_move(&*self.directory).await?;
                if now.as_ref() != Some(&under_way) {
                    return Ok(true);
                }
                let id = under_way.id;
                Err(StoreError::Internal(format!("move {id}: {refusal}")))
            }
        }
    }

    /// Records the next move. `None` if all is as it should be.
    async fn begin(
        &self,
        all: &BTreeSet<ShardId>,
        able: &BTreeSet<ShardId>,
    ) -> Result<Option<SlotMove>, StoreError> {
        let Some(map) = slot_map(&*self.directory).await? else {
            return Ok(None);
        };
        let Some(next) = slots_to_move(&owners(&map), all, able, self.slots_at_once) else {
            return Ok(None);
        };
        let command = MetaCommand::BeginSlotMove {
            epoch_before: map.epoch(),
            slots: self.fitting(next.from, next.slots).await?,
            from: next.from,
            to: next.to,
        };
        match self.directory.command(command).await? {
            MetaReply::SlotMove(begun) => Ok(Some(*begun)),
            // Somebody else was faster.
            MetaReply::Refused(MetaRefusal::EpochChanged { .. } | MetaRefusal::SlotsMoving(_)) => {
                slot_move(&*self.directory).await
            }
            MetaReply::Refused(refusal) => Err(StoreError::Internal(refusal.to_string())),
            other => Err(misfit(&other)),
        }
    }

    /// The first of `slots` whose entries fit one answer together, as whoever asks for them waits until all are copied.
    async fn fitting(&self, from: ShardId, slots: Vec<u16>) -> Result<Vec<u16>, StoreError> {
        let query = Query::SlotEntries {
            fenced_by: None,
            slots: slots.clone(),
            after: None,
        };
        match self.shards.shard_query(from, query).await? {
            Answer::SlotEntries { complete: true, .. } => Ok(slots),
            Answer::SlotEntries { entries, .. } => {
                let cut = entries.last().map_or(0, slot_of);
                let whole = slots.iter().filter(|slot| **slot < cut).count();
                Ok(slots.into_iter().take(whole.max(1)).collect())
            }
            other => Err(misfit(&other)),
        }
    }

    async fn carry_out(&self, moved: &SlotMove) -> Result<(), Stopped> {
        if !moved.finished {
            self.shard_step(moved.to, moved, SlotStep::Begin).await?;
            let fenced = Instant::now();
            self.shard_step(moved.from, moved, SlotStep::Fence).await?;
            self.copy(moved).await?;
            self.shard_step(moved.to, moved, SlotStep::Open).await?;
            let finish = MetaCommand::FinishSlotMove { id: moved.id };
            self.meta_step(finish).await?;
            tracing::debug!(
                id = moved.id,
                from = %moved.from,
                to = %moved.to,
                slots = moved.slots.len(),
                fenced_ms = fenced.elapsed().as_millis(),
                "the slots have moved"
            );
        }
        self.shard_step(moved.from, moved, SlotStep::Drop).await?;
        let forget = MetaCommand::ForgetSlotMove { id: moved.id };
        Ok(self.meta_step(forget).await?)
    }

    /// Copies all entries of fenced slots.
    async fn copy(&self, moved: &SlotMove) -> Result<(), Stopped> {
        let mut after = None;
        loop {
            let query = Query::SlotEntries {
                fenced_by: Some(moved.id),
                slots: moved.slots.clone(),
                after,
            };
            let (entries, complete) = match self.shards.shard_query(moved.from, query).await? {
                Answer::SlotEntries { entries, complete } => (entries, complete),
                Answer::SlotNotHere => {
                    let slot = moved.slots.first().copied().unwrap_or_default();
                    return Err(Stopped::Overtaken(Refusal::SlotNotHere(slot)));
                }
                other => return Err(misfit(&other).into()),
            };
            let last = entries.last();
            after = last.map(|last| (slot_of(last), last.table, last.key.clone()));
            if !entries.is_empty() {
                self.install(moved, entries).await?;
            }
            if complete {
                return Ok(());
            }
            if after.is_none() {
                let text = "a part of slots without entries";
                return Err(StoreError::Internal(text.to_owned()).into());
            }
        }
    }

    async fn install(&self, moved: &SlotMove, entries: Vec<SlotEntry>) -> Result<(), Stopped> {
        let slots: BTreeSet<u16> = entries.iter().map(slot_of).collect();
        let command = SlotCommand {
            move_id: moved.id,
            slots: slots.into_iter().collect(),
            step: SlotStep::Install(entries),
        };
        self.shard_command(moved.to, command).await.map(drop)
    }

    /// Has a shard take a step with all slots of the move, part by part.
    async fn shard_step(
        &self,
        shard: ShardId,
        moved: &SlotMove,
        step: SlotStep,
    ) -> Result<(), Stopped> {
        let command = SlotCommand {
            move_id: moved.id,
            slots: moved.slots.clone(),
            step,
        };
        // Each part removes something of what is there, and nothing is added meanwhile.
        while self.shard_command(shard, command.clone()).await? == SlotReply::More {}
        Ok(())
    }

    async fn shard_command(
        &self,
        shard: ShardId,
        command: SlotCommand,
    ) -> Result<SlotReply, Stopped> {
        let command = ShardCommand::Slots(command);
        match self.shards.shard_command(shard, command).await? {
            ShardReply::Slots(Ok(reply)) => Ok(reply),
            ShardReply::Slots(Err(refusal)) => Err(Stopped::Overtaken(refusal)),
            other => Err(misfit(&other).into()),
        }
    }

    async fn meta_step(&self, command: MetaCommand) -> Result<(), StoreError> {
        match self.directory.command(command).await? {
            MetaReply::Done => Ok(()),
            MetaReply::Refused(refusal) => Err(StoreError::Internal(refusal.to_string())),
            other => Err(misfit(&other)),
        }
    }
}

fn slot_of(entry: &SlotEntry) -> u16 {
    table_slot(entry.table, &entry.key)
}

fn owners(map: &SlotMap) -> BTreeMap<u16, ShardId> {
    map.slots().collect()
}

async fn slot_map(directory: &dyn Directory) -> Result<Option<SlotMap>, StoreError> {
    match directory.query(MetaQuery::SlotMap).await? {
        MetaAnswer::SlotMap(map) => Ok(map.map(|map| *map)),
        other => Err(misfit(&other)),
    }
}

async fn slot_move(directory: &dyn Directory) -> Result<Option<SlotMove>, StoreError> {
    match directory.query(MetaQuery::SlotMove).await? {
        MetaAnswer::SlotMove(under_way) => Ok(under_way.map(|under_way| *under_way)),
        other => Err(misfit(&other)),
    }
}

/// What is to be done about slots, for the operator; nothing if all shards have their share. `all` are the shards that
/// are to have some. From feature level 3 on, as nodes of before do not know the question.
///
/// # Errors
/// The meta group cannot be reached.
pub async fn slots_under_way(
    directory: &dyn Directory,
    all: &BTreeSet<ShardId>,
) -> Result<Option<String>, StoreError> {
    let Some(map) = slot_map(directory).await? else {
        return Ok(None);
    };
    let under_way = slot_move(directory).await?;
    let left = slots_misplaced(&owners(&map), all);
    Ok(match under_way {
        None if left == 0 => None,
        None => Some(format!(
            "{left} slots of the shared tables move to other shards"
        )),
        Some(moved) => Some(format!(
            "{left} slots of the shared tables move to other shards, now {} from shard {} to shard {}",
            moved.slots.len(),
            moved.from,
            moved.to
        )),
    })
}
