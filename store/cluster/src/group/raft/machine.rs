//! Applies what is committed.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use mailrook_kv::{KvError, Overlay, Read, StateMachine};
use mailrook_types::ShardId;
use openraft::{
    EntryPayload, OptionalSend,
    storage::{EntryResponder, RaftStateMachine},
};
use tokio::sync::broadcast;

use super::{
    log::GroupLog,
    snapshot::{Builder, SnapshotSource, of_flushed},
    standing::Standing,
    types::{Entry, LogId, Reply, Snapshot, SnapshotMeta, StoredMembership, Types},
};
use crate::{
    Plant, Touched,
    disk::Reserve,
    simulation::run_blocking,
    state::{Applied, GroupState},
};

/// Commands that are applied into one write of the tables, at most: many, as each write costs the same; few enough
/// that the first one's proposer does not wait long.
const BATCH_COMMANDS_MAX: usize = 512;

/// The same in bytes of commands.
const BATCH_BYTES_MAX: usize = 4 << 20;

type Responder = EntryResponder<Types>;

/// One group's state machine with its state.
pub(crate) struct Machine {
    pub(super) machine: Arc<dyn StateMachine>,
    pub(super) state: Arc<GroupState>,
    pub(super) log: GroupLog,
    pub(super) standing: Arc<Standing>,
    pub(super) touched: broadcast::Sender<Touched>,
    pub(super) reserve: Arc<Reserve>,
    pub(super) plant: Option<Plant>,
}

/// What a batch gave.
#[derive(Default)]
struct Outcome {
    replies: Vec<Bytes>,
    touched: Vec<(u64, u64)>,
}

/// Why a batch was not applied.
enum Unapplied {
    /// There is no room for it. Nothing has changed: it is tried again.
    NoRoom(String),
    /// It cannot be.
    Failed(String),
}

impl Unapplied {
    fn panicked(panic: &(dyn Any + Send)) -> Unapplied {
        Unapplied::Failed(format!("it panicked: {}", crate::panic_text(panic)))
    }
}

impl From<KvError> for Unapplied {
    fn from(error: KvError) -> Unapplied {
        match error {
            KvError::Full(cause) => Unapplied::NoRoom(cause),
            other => Unapplied::Failed(other.to_string()),
        }
    }
}

impl Machine {
    /// Applies `batch` as a whole, then answers.
    ///
    /// Others may have made it durable sooner than this node. It is waited for: tables can be flushed at any time, and
    /// after a crash must not hold more than the log, or they are taken for those of another log.
    async fn apply_batch(&self, batch: &mut Vec<Responder>) -> Result<(), io::Error> {
        let Some(last) = batch.last().map(|(entry, _)| entry.log_id) else {
            return Ok(());
        };
        self.log.until_durable(&last).await;
        // A panic while applying is a bug in the state machine: this copy stops, the others of the node go on. The
        // half-made changes go with the overlay.
        let mut short = None;
        let outcome = loop {
            let outcome = catch_unwind(AssertUnwindSafe(|| self.carry_out(batch)));
            match outcome.unwrap_or_else(|panic| Err(Unapplied::panicked(&*panic))) {
                Err(Unapplied::NoRoom(cause)) if !self.reserve.has_given_up() => {
                    let what = || format!("the tables of group {}", self.shard());
                    let short = short.get_or_insert_with(|| self.reserve.short(what(), &cause));
                    tokio::time::sleep(short.pause()).await;
                }
                Ok(outcome) => break Ok(outcome),
                Err(Unapplied::NoRoom(cause) | Unapplied::Failed(cause)) => break Err(cause),
            }
        };
        let outcome = outcome.map_err(|cause| {
            let cause = format!("applying up to entry {} failed: {cause}", last.index);
            tracing::error!(cause, "the group stops on this node");
            self.standing.stop(&cause);
            io::Error::other(cause)
        })?;
        self.standing.applied(&last);
        self.tell(outcome.touched);
        for ((_, responder), reply) in batch.drain(..).zip(outcome.replies) {
            if let Some(responder) = responder {
                responder.send(Reply(reply));
            }
        }
        Ok(())
    }

    fn shard(&self) -> ShardId {
        self.log.shard()
    }

    fn carry_out(&self, batch: &[Responder]) -> Result<Outcome, Unapplied> {
        let tables = self.state.tables()?;
        // Nobody else writes: the tables stand still while the overlay reads them.
        let mut view = Overlay::new(&*tables as &dyn Read);
        let mut applied = self.state.applied();
        let mut outcome = Outcome::default();
        for (entry, _) in batch {
            let reply = self.carry_out_one(&mut view, &mut applied, entry, &mut outcome.touched);
            let reply = reply.map_err(Unapplied::Failed)?;
            outcome.replies.push(reply);
            applied.log_id = Some(entry.log_id);
        }
        self.state.commit(view.into_batch(), applied)?;
        Ok(outcome)
    }

    fn carry_out_one(
        &self,
        view: &mut mailrook_kv::View<'_>,
        applied: &mut Applied,
        entry: &Entry,
        touched: &mut Vec<(u64, u64)>,
    ) -> Result<Bytes, String> {
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                applied.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
            }
            EntryPayload::Normal(command) => {
                // Two leaders' clocks may differ: the log's time does not go back for that.
                applied.time_ms = applied.time_ms.max(command.time_ms);
                let done = self.machine.apply(view, applied.time_ms, &command.bytes);
                let done = done.map_err(|error| error.to_string())?;
                touched.extend(done.touched);
                return Ok(done.reply.into());
            }
        }
        Ok(Bytes::new())
    }

    fn tell(&self, mut touched: Vec<(u64, u64)>) {
        if touched.is_empty() || self.touched.receiver_count() == 0 {
            return;
        }
        // The highest number of each key.
        touched.sort_unstable_by(|a, b| b.cmp(a));
        touched.dedup_by_key(|(key, _)| *key);
        // An error means that the last watcher has just gone.
        let _ = self.touched.send(Touched::Keys(touched.into()));
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotSource;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.state.applied();
        Ok((applied.log_id, applied.membership))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<Responder, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch: Vec<Responder> = Vec::new();
        let mut bytes = 0;
        loop {
            let next = entries
                .try_next()
                .await
                .inspect_err(|error| self.standing.stop(&error.to_string()))?;
            let Some((entry, responder)) = next else {
                return self.apply_batch(&mut batch).await;
            };
            if let EntryPayload::Normal(command) = &entry.payload {
                bytes += command.bytes.len();
            }
            let awaited = self.state.is_awaited(entry.log_id.index);
            batch.push((entry, responder));
            if batch.len() >= BATCH_COMMANDS_MAX || bytes >= BATCH_BYTES_MAX || awaited {
                self.apply_batch(&mut batch).await?;
                bytes = 0;
            }
        }
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            state: Arc::clone(&self.state),
            plant: self.plant,
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotSource,
    ) -> Result<(), io::Error> {
        let SnapshotSource::Folder(folder) = snapshot else {
            return Err(io::Error::other("this snapshot is the state itself"));
        };
        let Some(last) = &meta.last_log_id else {
            return Err(io::Error::other("an empty snapshot"));
        };
        self.log.announce_install(last).await?;
        let state = Arc::clone(&self.state);
        let installed = run_blocking(move || state.install(&folder))
            .await?
            .map_err(io::Error::other)?;
        if super::snapshot::meta(&installed) != *meta {
            let cause = "a snapshot is not as far as its sender said";
            self.standing.stop(cause);
            return Err(io::Error::other(cause));
        }
        // An error means that nobody watches.
        let _ = self.touched.send(Touched::Everything);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(of_flushed(&self.state, self.plant))
    }
}
