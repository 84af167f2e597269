//! A node's back end: its data directory, its log, and the groups it has copies of.

mod copies;
mod damaged;
mod error;
mod open;
mod options;
mod parts;
mod recover;
mod serve;
mod status;
mod takeover;
#[cfg(test)]
mod tests;
mod upkeep;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    thread::JoinHandle,
};

use mailrook_kv::StateMachine;
use mailrook_transport::Network;
use mailrook_types::{NodeId, ShardId};
use parking_lot::{Mutex, RwLock};
use tokio::{runtime::Runtime, task::JoinHandle as Task};

pub use copies::Reached;
pub use damaged::DamagedNode;
pub use error::OpenError;
pub use options::{NodeOptions, Plant, SHARDS_MAX};
pub use parts::Parts;
pub use recover::{CopyReport, Recovery};
pub use status::NodeStatus;
pub(crate) use takeover::tell_gone;

use crate::{
    Group, GroupStatus,
    data_dir::{DataDir, Identity, WitnessFile},
    disk::Reserve,
    group::raft::{Correction, Heard, RaftGroup, SnapshotSender, WallClock},
    log::SharedLog,
    simulation::run_blocking,
    state::TableEngine,
};

/// Gives the state machine of each group.
pub type Machines = Arc<dyn Fn(ShardId) -> Arc<dyn StateMachine> + Send + Sync>;

/// What the groups and the upkeep share.
struct Inner {
    dir: DataDir,
    witness: Arc<WitnessFile>,
    log: Arc<SharedLog>,
    reserve: Arc<Reserve>,
    write_buffer_bytes: u64,
    garbage: upkeep::GarbagePolicy,
    log_bytes_max: u64,
    log_cache_bytes: usize,
    machines: Machines,
    network: Arc<dyn Network>,
    snapshots: SnapshotSender,
    correction: Correction,
    state_engine: Arc<dyn TableEngine>,
    wall: WallClock,
    plant: Option<Plant>,
    groups: RwLock<BTreeMap<ShardId, Arc<RaftGroup>>>,
    /// Copies whose tables were damaged when the node was opened, with the cause; none of them is in `groups`.
    damaged: Mutex<BTreeMap<ShardId, String>>,
    /// Held while a copy is made or dropped.
    making: tokio::sync::Mutex<()>,
    reports: takeover::Reports,
    /// Leaderships are given away, and none is sought.
    leaving: AtomicBool,
    /// The other nodes, as far as they were known at the start.
    others: Vec<NodeId>,
    heard: Heard,
    /// Why this node serves no more.
    fenced: Mutex<Option<String>>,
    runtime: tokio::runtime::Handle,
}

impl Inner {
    fn group(&self, shard: ShardId) -> Option<Arc<RaftGroup>> {
        self.groups.read().get(&shard).cloned()
    }

    fn groups(&self) -> Vec<Arc<RaftGroup>> {
        self.groups.read().values().cloned().collect()
    }
}

/// A node's back end, open.
///
/// Dropping it without [`Node::shutdown`] is like a crash: nothing acknowledged is lost, and the next start replays
/// the log. On a runtime of the caller's ([`NodeOptions::runtime`]) its groups run on until that ends.
pub struct Node {
    inner: Arc<Inner>,
    /// Dropping a sender ends its upkeep thread.
    upkeep: Mutex<Vec<upkeep::Thread>>,
    /// Ends with the node.
    takeover: Task<()>,
    /// Its own, if it has one. Taken at the end. Declared last: what runs on it goes first.
    runtime: Mutex<Option<Runtime>>,
}

impl Node {
    /// Opens the data directory, or makes it; returns once this node's copies have replayed the log and serve, but for what
    /// waits for [`NodeOptions::others`].
    ///
    /// # Errors
    /// See [`OpenError`]: each says what to do. Nothing in the directory is then changed, but for what a crash left
    /// unfinished.
    pub async fn open(options: NodeOptions, machines: Machines) -> Result<Node, OpenError> {
        Node::open_with(options, machines, Parts::default()).await
    }

    /// The same on another machine than this one.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_with(
        options: NodeOptions,
        machines: Machines,
        parts: Parts,
    ) -> Result<Node, OpenError> {
        open::open(options, machines, parts).await
    }

    /// Makes the data directory at `data_dir`, which must be empty or missing, for the first node of a new cluster with
    /// `shards` shards; says who they are.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn found(data_dir: &Path, shards: u32) -> Result<(u128, NodeId), OpenError> {
        let identity = Identity::random()
            .map_err(|source| crate::data_dir::io("drawing an identity for", data_dir, source))?;
        let groups: Vec<ShardId> = (0..=shards).map(ShardId).collect();
        DataDir::enrol(data_dir, &groups, &identity)?;
        Ok((identity.cluster_id, NodeId(identity.node_id)))
    }

    /// Makes the data directory at `data_dir`, which must be empty or missing, for node `node` of a cluster that is
    /// there. It has no copies yet.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn enrol(data_dir: &Path, cluster_id: u128, node: NodeId) -> Result<(), OpenError> {
        let identity = Identity {
            cluster_id,
            node_id: node.0,
        };
        DataDir::enrol(data_dir, &[], &identity)
    }

    /// The cluster and the node that the directory at `data_dir` belongs to; none if it is empty or missing.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn identity(data_dir: &Path) -> Result<Option<(u128, NodeId)>, OpenError> {
        let identity = DataDir::identity_of(data_dir)?;
        Ok(identity.map(|known| (known.cluster_id, NodeId(known.node_id))))
    }

    /// The copy of a group, if this node has one.
    pub fn group(&self, shard: ShardId) -> Option<Arc<dyn Group>> {
        let group = self.inner.group(shard)?;
        Some(group as Arc<dyn Group>)
    }

    /// Every copy, the meta group's first.
    pub fn groups(&self) -> impl Iterator<Item = Arc<dyn Group>> {
        let groups = self.inner.groups();
        groups.into_iter().map(|group| group as Arc<dyn Group>)
    }

    /// Names this node within its cluster. Chosen at random when the directory was made.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.inner.dir.identity().node_id)
    }

    /// Names the cluster.
    pub fn cluster_id(&self) -> u128 {
        self.inner.dir.identity().cluster_id
    }

    /// This machine's clock, in milliseconds since 1970.
    pub fn wall_ms(&self) -> i64 {
        (self.inner.wall)()
    }

    /// What is to be added to this machine's clock to have that of the majority of nodes, in milliseconds.
    pub fn correct_clock(&self, ms: i64) {
        self.inner.correction.set(ms);
    }

    /// Counts up with what the node has promised to remember: lower than what others heard, the directory is an old copy.
    pub fn beat(&self) -> u64 {
        self.inner.witness.beat()
    }

    /// Stops every copy, for as long as the node is open: others know that what it holds is not to be served. Nothing of that
    /// is changed.
    pub fn fence(&self, cause: &str) {
        let first = self.inner.fenced.lock().replace(cause.to_owned()).is_none();
        if first {
            tracing::error!(
                cause,
                "this node must not serve what it holds, and stops its copies"
            );
        }
        for group in self
            .inner
            .groups()
            .iter()
            .filter(|group| group.is_running())
        {
            group.stop(cause);
        }
    }

    /// How the node fares.
    pub fn status(&self) -> NodeStatus {
        let inner = &self.inner;
        let running = inner.groups();
        let running = running.iter().map(|group| group.status());
        let damaged = inner.damaged.lock().clone().into_iter();
        let damaged = damaged.map(|(shard, cause)| GroupStatus::stopped(shard, cause));
        let mut groups: Vec<GroupStatus> = running.chain(damaged).collect();
        groups.sort_by_key(|group| group.shard);
        NodeStatus {
            cluster_id: inner.dir.identity().cluster(),
            node_id: self.node_id().0,
            disk_free_bytes: inner.reserve.free_bytes(),
            disk_reserve_bytes: inner.reserve.reserve_bytes(),
            disk_full: inner.reserve.is_full(),
            log_bytes: inner.log.store().map_or(0, |log| log.used_bytes()),
            groups,
        }
    }

    /// Ends proposals under way, flushes every group, and closes the directory. After it, opening replays nothing. A second
    /// call changes nothing.
    pub async fn shutdown(&self) {
        self.takeover.abort();
        let upkeep = self.end_upkeep();
        self.inner.reserve.give_up();
        // Closing a group ends its compactions, which the upkeep may be waiting for.
        let groups = self.inner.groups();
        futures::future::join_all(groups.iter().map(|group| group.shutdown())).await;
        let inner = Arc::clone(&self.inner);
        let closed = run_blocking(move || {
            for thread in upkeep {
                if thread.join().is_err() {
                    tracing::error!("an upkeep thread panicked");
                }
            }
            let first = inner.log.store().is_ok();
            inner.log.close();
            if first {
                // All that was written is durable now, and told.
                upkeep::raise_witness(&inner, &inner.groups());
            }
            inner.dir.release();
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "closing the log panicked");
        }
        self.end_runtime();
    }

    fn end_runtime(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }

    /// Tells the upkeep to begin nothing more; what it is at goes on until the threads have ended.
    fn end_upkeep(&self) -> Vec<JoinHandle<()>> {
        let tell = |(stop, thread): upkeep::Thread| {
            drop(stop);
            thread
        };
        self.upkeep.lock().drain(..).map(tell).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Not waited for, neither these nor the runtime: it may be dropped within another runtime. A thread keeps the
        // directory until it has ended.
        drop(self.end_upkeep());
        self.takeover.abort();
        self.end_runtime();
    }
}
