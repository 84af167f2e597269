//! A copy of a group on openraft: what it is made of, how it starts, and what its upkeep does with it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use mailrook_kv::StateMachine;
use mailrook_transport::Network;
use mailrook_types::ShardId;
use openraft::{
    Config, ServerState, SnapshotPolicy, async_runtime::watch::WatchReceiver, error::Fatal,
    impls::EmptyNode,
};
use tokio::sync::{OnceCell, Semaphore, broadcast};

use super::{
    barrier::Barrier,
    clock::{Correction, LogClock, WallClock},
    heard::Heard,
    log::GroupLog,
    machine::Machine,
    network::Ways,
    send::SnapshotSender,
    standing::Standing,
    types::{LogId, Raft, Types, log_mark},
};
use crate::{
    GroupError, Plant, Touched, data_dir::LogMark, disk::Reserve, log::SharedLog, node::tell_gone,
    state::GroupState,
};

/// What may be in flight on a node: proposals that wait for the log or for apply, counted in KiB, each at least one.
const NODE_IN_FLIGHT_KIB: u32 = 128 << 10;

/// The same for one group, where there are few: two full writes of the log.
const IN_FLIGHT_KIB_MAX: u32 = (crate::log::APPEND_BYTES_MAX >> 10) as u32;

/// The same for one group, where there are many: room for two of the longest commands.
const IN_FLIGHT_KIB_MIN: u32 = 1 << 10;

/// What a command takes of the bound.
pub(super) fn in_flight_kib(command: &[u8]) -> u32 {
    // Bounded by `COMMAND_BYTES_MAX`.
    (command.len() as u32).div_ceil(1024).max(1)
}

/// How long a stopped copy's leadership may take to be handed over.
const LEAVE_MAX: std::time::Duration = std::time::Duration::from_secs(2);

/// Batches of touched keys that a watcher may lag behind before it is told that anything may have been touched.
const WATCH_BATCHES_MAX: usize = 1024;

/// How a copy came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The group's first: it begins alone.
    Founded,
    /// A further one: it waits for the group's leader. It leads nothing itself until its log holds what was committed when
    /// it was asked for. Before that it may replay memberships of long ago, by which this node alone, with an earlier
    /// copy, was a majority.
    Given(Option<LogMark>),
}

/// What a group is made of.
pub(crate) struct GroupParts {
    pub(crate) shard: ShardId,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) snapshots: SnapshotSender,
    pub(crate) origin: Origin,
    pub(crate) machine: Arc<dyn StateMachine>,
    pub(crate) state: Arc<GroupState>,
    pub(crate) log: Arc<SharedLog>,
    pub(crate) log_cache_bytes: usize,
    /// How many groups the node has.
    pub(crate) groups: usize,
    pub(crate) reserve: Arc<Reserve>,
    pub(crate) correction: Correction,
    pub(crate) wall: WallClock,
    pub(crate) heard: Heard,
    pub(crate) plant: Option<Plant>,
}

/// A copy of a group on this node.
pub(crate) struct RaftGroup {
    pub(super) shard: ShardId,
    pub(super) raft: Raft,
    pub(super) barrier: Arc<Barrier>,
    pub(crate) state: Arc<GroupState>,
    pub(super) log: GroupLog,
    pub(super) standing: Arc<Standing>,
    pub(super) network: Arc<dyn Network>,
    /// Held while a snapshot arrives.
    pub(super) receiving: tokio::sync::Mutex<()>,
    pub(super) reserve: Arc<Reserve>,
    pub(super) machine: Arc<dyn StateMachine>,
    pub(super) clock: LogClock,
    pub(super) in_flight: Arc<Semaphore>,
    pub(super) in_flight_kib_max: u32,
    pub(super) touched: broadcast::Sender<Touched>,
    /// The flushed entry that openraft was told of last.
    told_flushed: Arc<AtomicU64>,
    /// What the log must hold before the copy may lead.
    floor: Option<LogMark>,
    heard: Heard,
    /// The floor is reached, another node was heard of where none votes, and the consensus engine may hold elections.
    may_lead: AtomicBool,
    /// Held by who changes the voters.
    pub(super) changing: tokio::sync::Mutex<()>,
    runtime: tokio::runtime::Handle,
    pub(super) shut_down: OnceCell<()>,
}

pub(super) fn config(shard: ShardId, elects: bool) -> Result<Arc<Config>, GroupError> {
    let config = Config {
        enable_elect: elects,
        cluster_name: format!("group-{shard}"),
        // Rarely: what a heartbeat tells of a node its connection tells sooner, and for all its groups at once
        // (`node::takeover`). With 500 ms a node of 64 groups took 7 % of a core when idle.
        heartbeat_interval: 1500,
        election_timeout_min: 4000,
        election_timeout_max: 6000,
        enable_pre_vote: Some(true),
        // What was committed is not written down: a leader that comes back must be elected, which tells.
        enable_leader_restore: Some(false),
        // The upkeep says when the state is flushed, and then the log is cut.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        purge_batch_size: 1,
        ..Config::default()
    };
    let config = config.validate().map_err(|error| GroupError::Stopped {
        cause: error.to_string(),
    })?;
    Ok(Arc::new(config))
}

/// Whether a copy holds what it must. A longer log of an earlier term is not the one that was committed.
fn has_reached(log: &GroupLog, state: &GroupState, floor: Option<LogMark>) -> bool {
    let Some(floor) = floor else {
        return true;
    };
    let applied = state.applied().log_id;
    let ends = [log.last(), applied].into_iter().flatten();
    ends.map(|end| log_mark(&end)).any(|end| end >= floor)
}

impl RaftGroup {
    /// Starts the copy. One that is alone leads and has applied what was committed when this returns, or is stopped
    /// because it cannot; one of several may not know its leader yet.
    pub(crate) async fn start(parts: GroupParts) -> Result<Arc<RaftGroup>, GroupError> {
        let group = Arc::new(RaftGroup::make(&parts).await?);
        let standing = Arc::clone(&group.standing);
        group
            .runtime
            .spawn(RaftGroup::watch_engine(group.raft.clone(), standing));
        let standing = Arc::clone(&group.standing);
        group.runtime.spawn(RaftGroup::leave_when_stopped(
            Arc::downgrade(&group),
            standing,
        ));
        if let Err(error) = group.take_the_lead(parts.origin).await {
            // A command of the log that cannot be applied: this copy says so, the others of the node serve.
            group.stop(&error.to_string());
        }
        Ok(group)
    }

    async fn make(parts: &GroupParts) -> Result<RaftGroup, GroupError> {
        let stopped = |cause: String| GroupError::Stopped { cause };
        let shard = parts.shard;
        let node_id = parts.network.node().0;
        let standing = Arc::new(Standing::new(node_id));
        let floor = match parts.origin {
            Origin::Founded => None,
            Origin::Given(floor) => floor,
        };
        let state = Arc::clone(&parts.state);
        let shared = Arc::clone(&parts.log);
        let log = GroupLog::open(shard, shared, Arc::clone(&standing), parts.log_cache_bytes)
            .await
            .map_err(|error| stopped(error.to_string()))?;
        let touched = broadcast::Sender::new(WATCH_BATCHES_MAX);
        let machine = Machine {
            machine: Arc::clone(&parts.machine),
            state: Arc::clone(&state),
            log: log.clone(),
            standing: Arc::clone(&standing),
            touched: touched.clone(),
            reserve: Arc::clone(&parts.reserve),
            plant: parts.plant,
        };
        if let Some(floor) = floor {
            standing.heard_of_term(floor.term);
        }
        let ways = Ways {
            shard,
            network: Arc::clone(&parts.network),
            snapshots: parts.snapshots.clone(),
            standing: Arc::clone(&standing),
            plant: parts.plant,
        };
        // With the members, which are not known yet, in `may_lead`.
        let may_lead = parts.heard.is_over() && has_reached(&log, &state, floor);
        let config = config(shard, may_lead)?;
        let raft = Raft::new(node_id, config, ways, log.clone(), machine)
            .await
            .map_err(|fatal| stopped(fatal.to_string()))?;
        standing.membership_appended(Some(&raft.metrics().borrow_watched().membership_config));
        let groups = u32::try_from(parts.groups).unwrap_or(u32::MAX).max(1);
        let in_flight_kib_max =
            (NODE_IN_FLIGHT_KIB / groups).clamp(IN_FLIGHT_KIB_MIN, IN_FLIGHT_KIB_MAX);
        let runtime = tokio::runtime::Handle::current();
        let barrier = Barrier::new(
            raft.clone(),
            Arc::clone(&standing),
            runtime.clone(),
            parts.plant,
        );
        Ok(RaftGroup {
            shard,
            barrier: Arc::new(barrier),
            raft,
            clock: LogClock::new(
                Arc::clone(&parts.wall),
                state.applied().time_ms,
                parts.correction.clone(),
            ),
            state,
            log,
            standing,
            network: Arc::clone(&parts.network),
            receiving: tokio::sync::Mutex::default(),
            reserve: Arc::clone(&parts.reserve),
            machine: Arc::clone(&parts.machine),
            in_flight: Arc::new(Semaphore::new(in_flight_kib_max as usize)),
            in_flight_kib_max,
            touched,
            told_flushed: Arc::default(),
            floor,
            heard: parts.heard.clone(),
            may_lead: AtomicBool::new(may_lead),
            changing: tokio::sync::Mutex::default(),
            runtime,
            shut_down: OnceCell::new(),
        })
    }

    /// Begins the group, or leads it, if that takes nobody else.
    async fn take_the_lead(&self, origin: Origin) -> Result<(), GroupError> {
        let stopped = |fatal: Fatal<_>| self.stopped(&fatal);
        let node = self.network.node();
        if self.raft.is_initialized().await.map_err(stopped)? {
            if !self.lead_alone().await? {
                return Ok(());
            }
        } else if origin == Origin::Founded {
            let members = BTreeMap::from([(node.0, EmptyNode {})]);
            self.raft
                .initialize(members)
                .await
                .map_err(|error| GroupError::Stopped {
                    cause: error.to_string(),
                })?;
        } else {
            return Ok(());
        }
        self.standing.wait_until(Standing::caught_up).await
    }

    /// The only voter needs nobody's vote: at once, not after the time a silent leader is given. False if others vote, or
    /// this copy may not lead yet.
    pub(crate) async fn lead_alone(&self) -> Result<bool, GroupError> {
        let leads = self.may_lead() && self.is_sole_voter();
        if leads {
            let asked = self.raft.trigger().elect(false).await;
            asked.map_err(|fatal| self.stopped(&fatal))?;
        }
        Ok(leads)
    }

    fn is_sole_voter(&self) -> bool {
        self.raft.voter_ids().eq([self.network.node().0])
    }

    /// A copy that is stopped neither leads nor votes: others are to take over what it led.
    async fn leave_when_stopped(group: Weak<RaftGroup>, standing: Arc<Standing>) {
        // An error, once it is stopped.
        let _ = standing.wait_until(|_| false).await;
        let Some(group) = group.upgrade() else { return };
        if let Some(to) = group.successors().first() {
            let handed = tokio::time::timeout(LEAVE_MAX, group.transfer_leader(*to)).await;
            if !matches!(handed, Ok(Ok(()))) {
                tracing::warn!(shard = %group.shard, "leadership of the stopped copy was not handed over");
            }
        }
        if let Err(error) = group.raft.shutdown().await {
            tracing::warn!(shard = %group.shard, %error, "the consensus engine did not end well");
        }
        tell_gone(&group, &group.network);
    }

    /// Notes when the consensus engine stops, whatever made it.
    async fn watch_engine(raft: Raft, standing: Arc<Standing>) {
        let mut metrics = raft.metrics();
        loop {
            let cause = metrics
                .borrow_watched()
                .running_state
                .as_ref()
                .err()
                .map(Fatal::to_string);
            if let Some(cause) = cause {
                return standing.stop(&cause);
            }
            if metrics.changed().await.is_err() {
                return standing.stop("the consensus engine ended");
            }
        }
    }

    /// What a call is told that found the consensus engine stopped.
    pub(super) fn stopped(&self, fatal: &Fatal<Types>) -> GroupError {
        let cause = self
            .standing
            .stop_cause()
            .unwrap_or_else(|| fatal.to_string());
        GroupError::Stopped { cause }
    }

    /// Which group this is a copy of.
    pub(crate) fn shard(&self) -> ShardId {
        self.shard
    }

    /// The group's state, for its upkeep.
    pub(crate) fn state(&self) -> &GroupState {
        &self.state
    }

    /// The last entry of the group's log that is durable.
    pub(crate) fn durable_last(&self) -> Option<LogId> {
        self.log.durable_last()
    }

    /// Whether this copy leads, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        self.raft.metrics().borrow_watched().state == ServerState::Leader
            && self.standing.superseded_by().is_none()
    }

    /// Whether this copy may lead, ask for votes and speak of leaders: see [`Origin::Given`] and [`Heard`].
    pub(crate) fn may_lead(&self) -> bool {
        if self.may_lead.load(Ordering::Acquire) {
            return true;
        }
        if !has_reached(&self.log, &self.state, self.floor)
            || !self.heard.is_over() && self.is_sole_voter()
        {
            return false;
        }
        self.raft.runtime_config().elect(true);
        self.may_lead.store(true, Ordering::Release);
        true
    }

    /// Whether the group has no other copy.
    pub(crate) fn is_alone(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().nodes().count() <= 1
    }

    /// Whether the copy still runs.
    pub(crate) fn is_running(&self) -> bool {
        self.standing.check_running().is_ok()
    }

    /// Stops the copy: it cannot be trusted any more. Others of the node go on.
    pub(crate) fn stop(&self, cause: &str) {
        tracing::error!(shard = %self.shard, cause, "the group stops on this node");
        self.standing.stop(cause);
    }

    /// Tells openraft how far the state is flushed, so that it cuts the log.
    pub(crate) fn cut_log(&self) {
        let flushed = self.state.flushed().log_id.map_or(0, |id| id.index);
        if flushed > self.told_flushed.load(Ordering::Relaxed) && self.is_running() {
            let (raft, told_flushed) = (self.raft.clone(), Arc::clone(&self.told_flushed));
            self.runtime.spawn(async move {
                // Stopped meanwhile: then nothing is cut.
                if raft.trigger().snapshot().await.is_ok() {
                    told_flushed.fetch_max(flushed, Ordering::Relaxed);
                }
            });
        }
    }
}
