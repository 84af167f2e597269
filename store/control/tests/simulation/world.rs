//! The hosts, the nodes on them and the time that passes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use mailrook_cluster::{Node, Plant, simulation};
use mailrook_types::NodeId;
use parking_lot::Mutex;

use crate::{
    boot::{Boot, boot},
    chance::Chance,
    disk::SimDisk,
    host::Host,
    network::SimNet,
};

/// Where the clients are. It never fails: what they heard is the measure of all else.
pub const FRONT: NodeId = NodeId(1 << 40);

/// When the simulation begins, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// What all parts of a simulation share.
pub struct Shared {
    pub net: SimNet,
    now_ms: AtomicU64,
    /// What happened that must not happen.
    pub incidents: Mutex<Vec<String>>,
    /// Nodes whose disks failed: their processes end.
    pub failed: Mutex<Vec<NodeId>>,
    pub plant: Option<Plant>,
}

impl Shared {
    /// The simulation's time.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// Notes what must not happen.
    pub fn incident(&self, what: String) {
        self.incidents.lock().push(what);
    }
}

/// A node, running or not.
pub struct Member {
    pub dir: PathBuf,
    pub disk: SimDisk,
    /// How far its clock is from the right time.
    pub skew_ms: Arc<AtomicI64>,
    pub host: Option<Host>,
    /// Once it is open.
    pub node: Arc<Mutex<Option<Arc<Node>>>>,
    pub paused_until_ms: Option<u64>,
    pub restart_at_ms: Option<u64>,
}

/// See the module.
pub struct World {
    pub shared: Arc<Shared>,
    pub members: BTreeMap<NodeId, Member>,
    pub front: Host,
    /// Beside the meta group.
    pub shards: u32,
    step_ms: u64,
    _dir: tempfile::TempDir,
    _simulating: simulation::Simulating,
}

/// In memory, where there is such a place: the simulation's own files are not what is tested.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

impl World {
    /// A node that has founded a cluster, and as many others that are enrolled; none of them runs yet.
    pub fn new(seed: u64, (nodes, shards): (u64, u32), plant: Option<Plant>) -> World {
        let simulating = simulation::begin(seed);
        let mut chance = Chance::of(seed, 1);
        // No message is faster: then no host hears from another's future.
        let step_ms = chance.range(2, 6);
        let dir = folder();
        let mut members = BTreeMap::new();
        let mut cluster = None;
        for number in 0..nodes {
            let path = dir.path().join(number.to_string());
            let id = match cluster {
                None => {
                    let (cluster_id, id) = Node::found(&path, shards).unwrap();
                    cluster = Some(cluster_id);
                    id
                }
                Some(cluster_id) => {
                    Node::enrol(&path, cluster_id, NodeId(number)).unwrap();
                    NodeId(number)
                }
            };
            let member = Member {
                dir: path,
                disk: SimDisk::new(Chance::of(seed, 100 + number)),
                skew_ms: Arc::default(),
                host: None,
                node: Arc::default(),
                paused_until_ms: None,
                restart_at_ms: None,
            };
            members.insert(id, member);
        }
        World {
            shared: Arc::new(Shared {
                net: SimNet::new(step_ms, Chance::of(seed, 2)),
                now_ms: AtomicU64::new(0),
                incidents: Mutex::default(),
                failed: Mutex::default(),
                plant,
            }),
            members,
            front: Host::start(FRONT, 0),
            shards,
            step_ms,
            _dir: dir,
            _simulating: simulating,
        }
    }

    /// All nodes, running or not.
    pub fn ids(&self) -> Vec<NodeId> {
        self.members.keys().copied().collect()
    }

    /// The one that began the cluster: the others have small numbers.
    pub fn founder(&self) -> Option<NodeId> {
        self.members.keys().next_back().copied()
    }

    /// A node that is open, on a process that runs.
    pub fn node(&self, id: NodeId) -> Option<Arc<Node>> {
        self.members.get(&id)?.node.lock().clone()
    }

    /// Starts a node's process.
    pub fn start(&mut self, id: NodeId) {
        let now_ms = self.shared.now_ms();
        let peers = self.ids();
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        member.restart_at_ms = None;
        let host = Host::start(id, now_ms);
        let (shared, skew_ms) = (Arc::clone(&self.shared), Arc::clone(&member.skew_ms));
        host.spawn(boot(Boot {
            id,
            dir: member.dir.clone(),
            disk: member.disk.clone(),
            clock: Arc::new(move || {
                EPOCH_MS + shared.now_ms() as i64 + skew_ms.load(Ordering::Relaxed)
            }),
            peers,
            shared: Arc::clone(&self.shared),
            slot: Arc::clone(&member.node),
        }));
        member.host = Some(host);
    }

    /// Ends a node's process, as kill -9 and a power cut do. It is started again after a while.
    pub fn crash(&mut self, id: NodeId, down_ms: u64) {
        let restart_at_ms = self.shared.now_ms() + down_ms;
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let Some(host) = member.host.take() else {
            return;
        };
        self.shared.net.stop(id);
        drop(member.node.lock().take());
        drop(host);
        member.disk.crash();
        member.paused_until_ms = None;
        member.restart_at_ms = Some(restart_at_ms);
    }

    /// Has a node's process stand still for a while.
    pub fn pause(&mut self, id: NodeId, for_ms: u64) {
        let until = self.shared.now_ms() + for_ms;
        if let Some(member) = self.members.get_mut(&id)
            && member.host.is_some()
        {
            member.paused_until_ms = Some(until);
            self.shared.net.set_paused(id, true);
        }
    }

    /// Lets a step of time pass.
    pub fn step(&mut self) {
        let now_ms = self.shared.now_ms();
        let failed = std::mem::take(&mut *self.shared.failed.lock());
        for id in failed {
            self.crash(id, 3000);
        }
        for id in self.ids() {
            self.wake(id, now_ms);
        }
        for refused in self.shared.net.deliver_until(now_ms) {
            self.shared.incident(refused);
        }
        let next_ms = now_ms + self.step_ms;
        self.front.run_until(next_ms);
        for member in self.members.values() {
            if let (Some(host), None) = (&member.host, member.paused_until_ms) {
                host.run_until(next_ms);
            }
        }
        self.shared.now_ms.store(next_ms, Ordering::Relaxed);
    }

    /// Starts what is to start again, and has go on what stood still.
    fn wake(&mut self, id: NodeId, now_ms: u64) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        if member.paused_until_ms.is_some_and(|until| until <= now_ms) {
            member.paused_until_ms = None;
            if let Some(host) = &member.host {
                host.resume_at(now_ms);
            }
            self.shared.net.set_paused(id, false);
        }
        if member.restart_at_ms.is_some_and(|at| at <= now_ms) {
            self.start(id);
        }
    }
}
