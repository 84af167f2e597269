//! How a node is opened: look first, then start.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use futures::future::join_all;
use mailrook_transport::{Alone, Network};
use mailrook_types::{NodeId, ShardId};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::{Builder, Runtime};

use super::{Inner, Machines, Node, NodeOptions, OpenError, Parts, SHARDS_MAX, takeover, upkeep};
use crate::{
    data_dir::{DataDir, Marks, WitnessFile, damaged, io},
    disk::{FileSystemSpace, Reserve},
    group::raft::{
        Correction, GroupParts, Heard, Origin, RaftGroup, SnapshotSender, WallClock, vote_mark,
    },
    guard::{FilesReport, GroupEvidence, check_entries, check_files, check_group, log_group},
    log::{EngineOptions, LogStore, RecordKey, SharedLog, WriterOptions, decode_vote},
    simulation::run_blocking,
    state::{GroupState, StateEngine, TableEngine},
};

/// Threads for the groups, at least: one that waits for a disk must not hold up all.
const WORKERS_MIN: usize = 2;

/// How many groups' tables are opened at a time.
const OPENERS_MAX: usize = 8;

/// The smallest log: two of its files.
const LOG_BYTES_MIN: u64 = 2 << 20;

/// The tables of groups.
type States = Vec<(ShardId, GroupState)>;

/// What came of opening the tables of one.
type OpenedState = (ShardId, Result<GroupState, OpenError>);

/// Everything that is looked at before the first group starts.
pub(super) struct Looked {
    pub(super) dir: DataDir,
    pub(super) witness: Arc<WitnessFile>,
    pub(super) log: Arc<SharedLog>,
    pub(super) reserve: Arc<Reserve>,
    pub(super) garbage: upkeep::GarbagePolicy,
    pub(super) state_engine: Arc<dyn TableEngine>,
    pub(super) wall: WallClock,
    pub(super) states: States,
    /// Copies whose tables are damaged, and what is wrong with them.
    pub(super) damaged: BTreeMap<ShardId, String>,
    pub(super) groups: BTreeMap<ShardId, Marks>,
}

pub(super) async fn open(
    options: NodeOptions,
    machines: Machines,
    parts: Parts,
) -> Result<Node, OpenError> {
    if options.first_shards > SHARDS_MAX {
        let text = format!(
            "a node has copies of at most {SHARDS_MAX} shards, {} are asked for",
            options.first_shards
        );
        return Err(OpenError::Options(text));
    }
    let (runtime, own) = match &options.runtime {
        Some(given) => (given.clone(), None),
        None => {
            let own = runtime()?;
            (own.handle().clone(), Some(own))
        }
    };
    let look_at = options.clone();
    let looked = runtime.spawn(run_blocking(move || look(&look_at, parts)));
    let looked = looked.await.map_err(std::io::Error::from).flatten();
    let looked =
        looked.map_err(|error| OpenError::Options(format!("opening panicked: {error}")))?;
    let started = match looked {
        Ok(looked) => runtime.spawn(start(options, machines, looked)).await,
        Err(error) => {
            end(own);
            return Err(error);
        }
    };
    match started.map_err(|error| OpenError::Options(format!("starting panicked: {error}"))) {
        Ok(Ok(inner)) => {
            let inner = Arc::new(inner);
            let upkeep = upkeep::start(&inner)
                .map_err(|source| io("starting the upkeep of", inner.dir.root(), source))?;
            Ok(Node {
                takeover: takeover::start(&inner),
                upkeep: Mutex::new(upkeep),
                inner,
                runtime: Mutex::new(own),
            })
        }
        Ok(Err(error)) | Err(error) => {
            end(own);
            Err(error)
        }
    }
}

fn end(own: Option<Runtime>) {
    if let Some(own) = own {
        own.shutdown_background();
    }
}

fn runtime() -> Result<Runtime, OpenError> {
    let cores = std::thread::available_parallelism().map_or(WORKERS_MIN, usize::from);
    Builder::new_multi_thread()
        .worker_threads(cores.max(WORKERS_MIN))
        .thread_name("store")
        .enable_all()
        .build()
        .map_err(|error| OpenError::Options(format!("no threads for the store: {error}")))
}

pub(super) fn look(options: &NodeOptions, parts: Parts) -> Result<Looked, OpenError> {
    let first_groups: Vec<ShardId> = (0..=options.first_shards).map(ShardId).collect();
    let dir = DataDir::open(&options.data_dir, &first_groups)?;
    let witness = Arc::new(WitnessFile::open(dir.witness())?);
    let space = parts.space.unwrap_or_else(|| {
        Box::new(FileSystemSpace {
            path: dir.root().to_owned(),
        })
    });
    let reserve = Reserve::new(space, options.disk_reserve_bytes)
        .map_err(|source| io("asking for the free space of", dir.root(), source))?;
    let reserve = Arc::new(reserve);
    let groups = witness.content().groups;
    let state_engine: Arc<dyn TableEngine> = match parts.tables {
        Some(given) => given,
        None => state_engine(options, &dir, groups.len(), parts.table_bytes_per_second)?,
    };
    let opened = open_states(&state_engine, &dir, &groups)?;
    let (states, damaged) = part_damaged(opened, options.network.is_some())?;
    let store = open_log(
        options,
        &dir,
        parts.open_log,
        parts.log_file_bytes,
        &states,
        &groups,
    )?;
    note_votes(&dir, &*store, &witness)?;
    let writer = WriterOptions {
        on_fatal: parts.on_fatal,
        plant: options.plant,
    };
    let (noted, room) = (Arc::clone(&witness), Arc::clone(&reserve));
    let log = SharedLog::start(store, noted, room, writer, dir.lock())
        .map_err(|source| io("starting the writer of", &dir.log(), source))?;
    Ok(Looked {
        dir,
        witness,
        log: Arc::new(log),
        reserve,
        garbage: parts.garbage,
        state_engine,
        wall: parts.wall,
        states,
        damaged,
        groups,
    })
}

/// Parts the copies whose tables are damaged from the others. Where there are no other nodes to have them from, damage
/// is an error.
fn part_damaged(
    opened: Vec<OpenedState>,
    has_others: bool,
) -> Result<(States, BTreeMap<ShardId, String>), OpenError> {
    let mut states = Vec::new();
    let mut damaged = BTreeMap::new();
    for (shard, opened) in opened {
        match opened {
            Ok(state) => states.push((shard, state)),
            Err(OpenError::Damaged { path, what, .. }) if has_others => {
                let cause = format!("{} is damaged: {what}", path.display());
                tracing::error!(
                    %shard,
                    cause,
                    "this node's copy of the group cannot be used: once the others do without it, it is made anew"
                );
                damaged.insert(shard, cause);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((states, damaged))
}

/// Copies are made later, too: a node that has few now may have these soon.
const GROUPS_SOON: usize = 9;

fn state_engine(
    options: &NodeOptions,
    dir: &DataDir,
    groups: usize,
    table_bytes_per_second: Option<i64>,
) -> Result<Arc<StateEngine>, OpenError> {
    let mut engine = StateEngine::new(
        options.block_cache_bytes,
        options.write_buffer_bytes,
        groups.max(GROUPS_SOON),
        &dir.lock(),
    )
    .map_err(|error| OpenError::Options(format!("RocksDB did not start: {error}")))?;
    if let Some(bytes_per_second) = table_bytes_per_second {
        engine.write_at_most(bytes_per_second);
    }
    Ok(Arc::new(engine))
}

fn open_states(
    engine: &Arc<dyn TableEngine>,
    dir: &DataDir,
    groups: &BTreeMap<ShardId, Marks>,
) -> Result<Vec<OpenedState>, OpenError> {
    let groups: Vec<_> = groups.iter().collect();
    // A first start syncs a dozen files for each: several at a time share the disk's waits.
    let each = groups.len().div_ceil(OPENERS_MAX).max(1);
    let opened = std::thread::scope(|scope| {
        let openers: Vec<_> = groups
            .chunks(each)
            .map(|part| {
                scope.spawn(move || {
                    let open = |(shard, marks): &(&ShardId, &Marks)| {
                        (**shard, open_state(engine, dir, **shard, marks))
                    };
                    part.iter().map(open).collect::<Vec<_>>()
                })
            })
            .collect();
        openers
            .into_iter()
            .map(|opener| opener.join())
            .collect::<Vec<_>>()
    });
    let mut states = Vec::new();
    for part in opened {
        let panicked = |panic: Box<dyn std::any::Any + Send>| {
            OpenError::Options(format!(
                "opening a group panicked: {}",
                crate::panic_text(&*panic)
            ))
        };
        states.extend(part.map_err(panicked)?);
    }
    Ok(states)
}

fn open_state(
    engine: &Arc<dyn TableEngine>,
    dir: &DataDir,
    shard: ShardId,
    marks: &Marks,
) -> Result<GroupState, OpenError> {
    // A group votes for the first time after its state was made.
    let fresh = marks.vote.is_none();
    let path = dir.group(shard);
    let state = GroupState::open(engine, &path, shard, fresh)?;
    state
        .remove_leftovers()
        .map_err(|source| io("tidying", &path, source))?;
    Ok(state)
}

fn open_log(
    options: &NodeOptions,
    dir: &DataDir,
    open: super::parts::OpenLog,
    file_bytes: Option<u64>,
    states: &[(ShardId, GroupState)],
    groups: &BTreeMap<ShardId, Marks>,
) -> Result<Arc<dyn LogStore>, OpenError> {
    let path = dir.log();
    let FilesReport {
        damaged_entries,
        torn_bytes,
    } = check_files(&path)?;
    if torn_bytes > 0 {
        tracing::info!(
            torn_bytes,
            "the log ends in a write that a crash cut short; nobody was told of it"
        );
    }
    let engine = EngineOptions {
        bytes_max: options.log_bytes_max.max(LOG_BYTES_MIN),
        file_bytes,
    };
    let log = open(&path, &engine).map_err(|error| match error.is_damage() {
        true => damaged(&path, error.to_string()),
        false => io("opening", &path, std::io::Error::other(error)),
    })?;
    for (shard, state) in states {
        let marks = groups.get(shard).copied().unwrap_or_default();
        let evidence = GroupEvidence {
            shard: *shard,
            marks,
            applied: state.applied().log_id,
        };
        check_group(&*log, &path, &evidence)?;
        if damaged_entries.is_some() {
            check_entries(&*log, &path, *shard)?;
        }
    }
    Ok(log)
}

/// Has the witness know every vote that the log holds. A crash may have come between the two, and from now on such a vote
/// counts as given: it has to outlive its copy.
fn note_votes(dir: &DataDir, log: &dyn LogStore, witness: &WitnessFile) -> Result<(), OpenError> {
    let mut votes = Vec::new();
    for shard in witness.content().groups.into_keys() {
        if let Some(bytes) = log.record(log_group(shard), RecordKey::Vote) {
            let vote =
                decode_vote(&bytes).map_err(|error| damaged(&dir.log(), error.to_string()))?;
            votes.push((shard, vote_mark(&vote)));
        }
    }
    let noted = witness.raise_votes(&votes);
    noted.map_err(|source| io("writing", &dir.witness(), source))
}

async fn start(
    options: NodeOptions,
    machines: Machines,
    looked: Looked,
) -> Result<Inner, OpenError> {
    let Looked {
        dir,
        witness,
        log,
        reserve,
        garbage,
        state_engine,
        wall,
        states,
        mut damaged,
        groups: marks,
    } = looked;
    let network = network(&options, &dir)?;
    let count = states.len();
    let snapshots = SnapshotSender::default();
    let correction = Correction::default();
    let has_others = options.network.is_some();
    let own = network.node();
    let others: Vec<NodeId> = (options.others.iter().copied())
        .filter(|other| has_others && *other != own)
        .collect();
    let heard = Heard::of(!others.is_empty());
    let started = states.into_iter().map(|(shard, state)| {
        let known = marks.get(&shard).copied().unwrap_or_default();
        let parts = GroupParts {
            shard,
            network: Arc::clone(&network),
            snapshots: snapshots.clone(),
            origin: match known.given {
                true => Origin::Given(known.floor),
                false => Origin::Founded,
            },
            machine: machines(shard),
            state: Arc::new(state),
            log: Arc::clone(&log),
            log_cache_bytes: options.log_cache_bytes / count.max(1),
            groups: count,
            reserve: Arc::clone(&reserve),
            correction: correction.clone(),
            wall: Arc::clone(&wall),
            heard: heard.clone(),
            plant: options.plant,
        };
        async move { (shard, RaftGroup::start(parts).await) }
    });
    let mut groups = BTreeMap::new();
    for (shard, started) in join_all(started).await {
        match started.map_err(|error| error.to_string()) {
            Ok(group) => drop(groups.insert(shard, group)),
            Err(cause) if has_others => {
                tracing::error!(%shard, cause, "this node's copy of the group did not start");
                damaged.insert(shard, cause);
            }
            Err(cause) => return Err(OpenError::Group { shard, cause }),
        }
    }
    Ok(Inner {
        dir,
        witness,
        log,
        reserve,
        write_buffer_bytes: options.write_buffer_bytes as u64,
        garbage,
        log_bytes_max: options.log_bytes_max,
        log_cache_bytes: options.log_cache_bytes,
        machines,
        network,
        snapshots,
        correction,
        state_engine,
        wall,
        plant: options.plant,
        groups: RwLock::new(groups),
        damaged: Mutex::new(damaged),
        making: tokio::sync::Mutex::default(),
        reports: takeover::Reports::default(),
        leaving: AtomicBool::new(false),
        others,
        heard,
        fenced: Mutex::default(),
        runtime: tokio::runtime::Handle::current(),
    })
}

/// The way to other nodes, which must know who this one is.
fn network(options: &NodeOptions, dir: &DataDir) -> Result<Arc<dyn Network>, OpenError> {
    let node = NodeId(dir.identity().node_id);
    match &options.network {
        None => Ok(Arc::new(Alone(node))),
        Some(network) if network.node() == node => Ok(Arc::clone(network)),
        Some(network) => Err(OpenError::Options(format!(
            "the data directory is that of {node}, and not of {}",
            network.node()
        ))),
    }
}
