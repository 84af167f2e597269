//! Several nodes, connected in memory: copies, changes of members, fail-over, snapshots.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_transport::{Duplex, Handler, Handlers, MemoryHub};
use mailrook_types::{NodeId, ShardId};
use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc::{Receiver, Sender};

use super::{
    log::open_watched,
    machine::{command, count, machines, value},
    open, options, parts,
};
use crate::{
    DiskSpace, Group, GroupError, GroupRole, Node, NodeOptions, Parts, Reached,
    data_dir::{LogMark, WitnessFile},
    group::raft::wire::{self, Ask},
    log::{LogError, OnFatal},
};

pub(super) const ONE: ShardId = ShardId(1);
/// A busy machine gets as long.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

struct Nobody;

impl Handler for Nobody {
    fn call(&self, _from: NodeId, _request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        async { Err("nobody answers this".to_owned()) }.boxed()
    }

    fn open(&self, _from: NodeId, _request: Bytes, _stream: Duplex) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}

/// A node's disk, as a test wants it.
struct Disk {
    free_bytes: AtomicU64,
    stalls: Mutex<bool>,
    goes_on: Condvar,
    log_is_full: AtomicBool,
}

impl Default for Disk {
    fn default() -> Disk {
        Disk {
            free_bytes: AtomicU64::new(u64::MAX),
            stalls: Mutex::new(false),
            goes_on: Condvar::new(),
            log_is_full: AtomicBool::new(false),
        }
    }
}

impl Disk {
    fn stall(&self, stalls: bool) {
        *self.stalls.lock() = stalls;
        self.goes_on.notify_all();
    }

    /// What a write to the log waits for, and comes to.
    fn before_write(&self) -> Result<(), LogError> {
        let mut stalls = self.stalls.lock();
        while *stalls {
            self.goes_on.wait(&mut stalls);
        }
        match self.log_is_full.load(Ordering::SeqCst) {
            true => Err(LogError::no_room("writing", "a test's disk is full")),
            false => Ok(()),
        }
    }
}

struct Space(Arc<Disk>);

impl DiskSpace for Space {
    fn free_bytes(&self) -> std::io::Result<u64> {
        Ok(self.0.free_bytes.load(Ordering::Relaxed))
    }
}

/// Takes snapshots as `inner` does, over connections that break.
struct Breaking {
    inner: Arc<dyn Handler>,
    breaks: Arc<Breaks>,
}

/// When connections for snapshots break, and what they carried.
struct Breaks {
    /// Each breaks once it carried so many bytes.
    after_bytes: AtomicU64,
    opened: AtomicU64,
    carried_bytes: AtomicU64,
}

impl Default for Breaks {
    fn default() -> Breaks {
        Breaks {
            after_bytes: AtomicU64::new(u64::MAX),
            opened: AtomicU64::new(0),
            carried_bytes: AtomicU64::new(0),
        }
    }
}

impl Breaks {
    /// Passes on what the sender says, until the connection breaks.
    async fn carry(&self, from: &mut Receiver<Bytes>, to: Sender<Bytes>) {
        let mut carried = 0;
        while carried < self.after_bytes.load(Ordering::Relaxed)
            && let Some(item) = from.recv().await
        {
            carried += item.len() as u64;
            self.carried_bytes
                .fetch_add(item.len() as u64, Ordering::Relaxed);
            if to.send(item).await.is_err() {
                return;
            }
        }
    }
}

impl Handler for Breaking {
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        self.inner.call(from, request)
    }

    fn open(&self, from: NodeId, request: Bytes, mut stream: Duplex) -> BoxFuture<'static, ()> {
        let (to, incoming) = tokio::sync::mpsc::channel(1);
        let outgoing = stream.outgoing.clone();
        let inner = self
            .inner
            .open(from, request, Duplex { outgoing, incoming });
        let breaks = Arc::clone(&self.breaks);
        breaks.opened.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::join!(inner, breaks.carry(&mut stream.incoming, to));
        }
        .boxed()
    }
}

/// Answers as `inner` does, and counts.
struct Listening {
    inner: Arc<dyn Handler>,
    heard: Arc<Heard>,
}

/// What nodes asked each other.
#[derive(Default)]
pub(super) struct Heard {
    /// Whether they would lead [`ONE`].
    pub(super) would_lead: AtomicU64,
    /// To take a leadership over is not answered.
    pub(super) no_transfer: AtomicBool,
}

impl Handler for Listening {
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let ask = wire::split(request.clone()).map(|(shard, body)| (shard, wire::read_ask(&body)));
        match ask {
            Ok((ONE, Ok((Ask::WouldLead, _)))) => {
                self.heard.would_lead.fetch_add(1, Ordering::Relaxed);
            }
            Ok((_, Ok((Ask::Transfer { .. }, _))))
                if self.heard.no_transfer.load(Ordering::Relaxed) =>
            {
                return futures::future::pending().boxed();
            }
            _ => {}
        }
        self.inner.call(from, request)
    }

    fn open(&self, from: NodeId, request: Bytes, stream: Duplex) -> BoxFuture<'static, ()> {
        self.inner.open(from, request, stream)
    }
}

/// Nodes that can be stopped, crashed and started again.
pub(super) struct Cluster {
    hub: MemoryHub,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    /// Go after the nodes.
    pub(super) dirs: BTreeMap<NodeId, tempfile::TempDir>,
    disks: BTreeMap<NodeId, Arc<Disk>>,
    snapshots: Arc<Breaks>,
    pub(super) heard: Arc<Heard>,
    change: fn(&mut NodeOptions),
}

impl Drop for Cluster {
    /// Nodes that are dropped close their files a little later, and may put new ones beside those that are being removed.
    fn drop(&mut self) {
        self.nodes.clear();
        let begun = Instant::now();
        for dir in self.dirs.values() {
            while fs::remove_dir_all(dir.path())
                .is_err_and(|error| error.kind() != ErrorKind::NotFound)
                && begun.elapsed() < PATIENCE
            {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Cluster {
    /// A node that has founded a cluster, and `more` that were enrolled.
    pub(super) async fn new(more: usize, change: fn(&mut NodeOptions)) -> Cluster {
        // RUST_LOG=mailrook=debug,openraft=info shows what happens. An earlier test may have set it up.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let first = tempfile::tempdir().unwrap();
        let founder = open::open(options(first.path()), machines(), parts()).await;
        let founder = founder.unwrap();
        let (cluster_id, id) = (founder.cluster_id(), founder.node_id());
        founder.shutdown().await;
        drop(founder);
        let mut cluster = Cluster {
            hub: MemoryHub::default(),
            dirs: BTreeMap::from([(id, first)]),
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
            snapshots: Arc::default(),
            heard: Arc::default(),
            change,
        };
        for number in 1..=more as u64 {
            let dir = tempfile::tempdir().unwrap();
            let id = NodeId(number);
            Node::enrol(dir.path(), cluster_id, id).unwrap();
            cluster.dirs.insert(id, dir);
        }
        for id in cluster.dirs.keys().copied().collect::<Vec<_>>() {
            cluster.start(id).await;
        }
        cluster
    }

    /// Three copies of everything.
    pub(super) async fn of_three(change: fn(&mut NodeOptions)) -> Cluster {
        let cluster = Cluster::new(2, change).await;
        for shard in [ShardId::META, ONE] {
            cluster.spread(shard).await;
        }
        cluster
    }

    pub(super) fn path(&self, id: NodeId) -> PathBuf {
        self.dirs[&id].path().to_owned()
    }

    pub(super) fn ids(&self) -> BTreeSet<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub(super) async fn start(&mut self, id: NodeId) {
        let mut options = options(&self.path(id));
        options.network = Some(Arc::new(self.hub.network(id)));
        (self.change)(&mut options);
        // A node that was dropped closes its files a little later.
        let begun = Instant::now();
        let disk = Arc::clone(self.disks.entry(id).or_default());
        let on_disk = || {
            let slow = Arc::clone(&disk);
            Parts {
                space: Some(Box::new(Space(Arc::clone(&disk)))),
                open_log: Box::new(move |dir, options| {
                    let disk = Arc::clone(&slow);
                    open_watched(dir, options, move || disk.before_write())
                }),
                // A test's end takes the directories away under the nodes.
                on_fatal: OnFatal::call(|error| tracing::warn!(%error, "the log failed")),
                ..parts()
            }
        };
        let node = loop {
            match open::open(options.clone(), machines(), on_disk()).await {
                Ok(node) => break node,
                Err(crate::OpenError::Locked { .. }) if begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        let handlers = Handlers {
            consensus: Arc::new(Listening {
                inner: node.consensus_handler(),
                heard: Arc::clone(&self.heard),
            }),
            bulk: Arc::new(Breaking {
                inner: node.bulk_handler(),
                breaks: Arc::clone(&self.snapshots),
            }),
            store: Arc::new(Nobody),
            control: Arc::new(Nobody),
        };
        self.hub.start(id, handlers);
        self.nodes.insert(id, node);
    }

    /// As if its process were killed.
    pub(super) fn crash(&mut self, id: NodeId) {
        self.hub.stop(id);
        drop(self.nodes.remove(&id));
    }

    pub(super) async fn stop(&mut self, id: NodeId) {
        let node = self.nodes.remove(&id).unwrap();
        node.leave().await;
        self.hub.stop(id);
        node.shutdown().await;
    }

    /// Gives every node a voting copy.
    pub(super) async fn spread(&self, shard: ShardId) {
        let leader = self.leader(shard).await;
        for (id, node) in &self.nodes {
            if *id != leader {
                node.add_copy(shard, self.reached(shard).await)
                    .await
                    .unwrap();
                self.nodes[&leader].add_learner(shard, *id).await.unwrap();
            }
        }
        self.nodes[&leader]
            .change_voters(shard, self.ids())
            .await
            .unwrap();
    }

    /// How far its leader is.
    pub(super) async fn reached(&self, shard: ShardId) -> Reached {
        let leader = self.leader(shard).await;
        Reached::from(&self.group(leader, shard).status())
    }

    /// The node that leads and knows it.
    pub(super) async fn leader(&self, shard: ShardId) -> NodeId {
        let begun = Instant::now();
        loop {
            for (id, node) in &self.nodes {
                let group = node.group(shard);
                if let Some(group) = group
                    && group.status().role == GroupRole::Leader
                    && matches!(
                        tokio::time::timeout(Duration::from_secs(1), group.read_barrier()).await,
                        Ok(Ok(()))
                    )
                {
                    return *id;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "nobody leads {shard}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(super) fn group(&self, id: NodeId, shard: ShardId) -> Arc<dyn Group> {
        self.nodes[&id].group(shard).unwrap()
    }

    /// Proposes until it is acknowledged, wherever that is.
    pub(super) async fn put(&self, shard: ShardId, key: u64, value: &[u8]) {
        let begun = Instant::now();
        loop {
            let leader = self.leader(shard).await;
            let group = self.group(leader, shard);
            let proposed = group.propose(command(key, value));
            match tokio::time::timeout(Duration::from_secs(5), proposed).await {
                Ok(Ok(_)) => return,
                other => assert!(begun.elapsed() < PATIENCE, "{other:?}"),
            }
        }
    }

    /// Waits until every node shows the value.
    pub(super) async fn shows(&self, shard: ShardId, key: u64, expected: &[u8]) {
        for id in self.ids() {
            let begun = Instant::now();
            while value(&*self.group(id, shard), key).as_deref() != Some(expected) {
                assert!(begun.elapsed() < PATIENCE, "{id} does not show {key}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    pub(super) fn set_free_bytes(&self, id: NodeId, bytes: u64) {
        self.disks[&id].free_bytes.store(bytes, Ordering::Relaxed);
    }

    fn other_than(&self, id: NodeId) -> NodeId {
        self.ids().into_iter().find(|other| *other != id).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_on_every_node() {
    let cluster = Cluster::of_three(|_| {}).await;
    for key in 1..=50 {
        cluster.put(ONE, key, b"letter").await;
    }
    cluster.shows(ONE, 50, b"letter").await;
    let leader = cluster.leader(ONE).await;
    let status = cluster.group(leader, ONE).status();
    assert_eq!(status.voters.len(), 3);
    let follower = cluster.other_than(leader);
    assert_eq!(
        cluster.group(follower, ONE).propose(command(51, b"")).await,
        Err(GroupError::NotLeader {
            leader: Some(leader.0)
        })
    );
    assert_eq!(
        cluster.group(follower, ONE).read_barrier().await,
        Err(GroupError::NotLeader {
            leader: Some(leader.0)
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_is_replaced_before_its_lease_ends() {
    let mut cluster = Cluster::of_three(|_| {}).await;
    let mut times = Vec::new();
    for round in 0..5 {
        cluster.put(ONE, round, b"before").await;
        let leader = cluster.leader(ONE).await;
        let begun = Instant::now();
        cluster.crash(leader);
        cluster.put(ONE, round, b"after").await;
        times.push(begun.elapsed());
        cluster.start(leader).await;
        cluster.shows(ONE, round, b"after").await;
    }
    times.sort();
    // The lease is two seconds, and an election comes one to two later. Not the slowest: the machine may be busy.
    assert!(times[2] < Duration::from_millis(1500), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_acknowledges_nothing_and_others_go_on() {
    let cluster = Cluster::of_three(|_| {}).await;
    cluster.put(ONE, 1, b"before").await;
    let old = cluster.leader(ONE).await;
    for other in cluster.ids().into_iter().filter(|id| *id != old) {
        cluster.hub.cut(old, other);
        cluster.hub.cut(other, old);
    }
    let cut_off = cluster.group(old, ONE);
    let proposal = tokio::spawn(async move { cut_off.propose(command(1, b"lost")).await });
    let begun = Instant::now();
    let survivors: Vec<NodeId> = cluster.ids().into_iter().filter(|id| *id != old).collect();
    // Whoever leads among them; one that has just been elected may not take commands for a moment.
    'led: loop {
        for id in &survivors {
            let group = cluster.group(*id, ONE);
            if group.propose(command(1, b"after")).await.is_ok() {
                break 'led;
            }
        }
        assert!(begun.elapsed() < PATIENCE, "nobody took over");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!proposal.is_finished());
    let cut_off = cluster.group(old, ONE);
    let barrier = tokio::time::timeout(Duration::from_secs(1), cut_off.read_barrier());
    assert!(!matches!(barrier.await, Ok(Ok(()))), "a stale read");
    for other in cluster.ids().into_iter().filter(|id| *id != old) {
        cluster.hub.heal(old, other);
        cluster.hub.heal(other, old);
    }
    assert!(proposal.await.unwrap().is_err());
    cluster.shows(ONE, 1, b"after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_for_long_gets_a_snapshot() {
    // What is flushed is cut at once, so that the log has nothing for who was away.
    let mut cluster = Cluster::of_three(|options| options.log_bytes_max = 2 << 20).await;
    let leader = cluster.leader(ONE).await;
    let away = cluster.other_than(leader);
    cluster.put(ONE, 1, b"before").await;
    cluster.crash(away);
    for key in 2..=60 {
        cluster.put(ONE, key, &vec![7; 256 << 10]).await;
    }
    let begun = Instant::now();
    while cluster.group(leader, ONE).status().purged_index < 30 {
        assert!(begun.elapsed() < PATIENCE, "the log is not cut");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.start(away).await;
    cluster.put(ONE, 61, b"after").await;
    cluster.shows(ONE, 61, b"after").await;
    cluster.shows(ONE, 40, &vec![7; 256 << 10]).await;
    let applied = cluster.group(away, ONE).read(|state| count(state).unwrap());
    assert_eq!(applied.unwrap(), 61);
    // And it is a copy like any other afterwards.
    cluster.crash(away);
    cluster.start(away).await;
    cluster.put(ONE, 62, b"again").await;
    cluster.shows(ONE, 62, b"again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_goes_on_where_its_connection_broke() {
    const VALUE_BYTES: usize = 256 << 10;
    const COMMANDS: u64 = 80;
    let mut cluster = Cluster::of_three(|options| options.log_bytes_max = 2 << 20).await;
    let leader = cluster.leader(ONE).await;
    let away = cluster.other_than(leader);
    cluster.crash(away);
    // Of a kind that is not made smaller.
    let value = |key: u64| {
        let mut reader = blake3::Hasher::new()
            .update(&key.to_le_bytes())
            .finalize_xof();
        let mut value = vec![0; VALUE_BYTES];
        reader.fill(&mut value);
        value
    };
    for key in 1..=COMMANDS {
        cluster.put(ONE, key, &value(key)).await;
    }
    let begun = Instant::now();
    while cluster.group(leader, ONE).status().purged_index < COMMANDS / 2 {
        assert!(begun.elapsed() < PATIENCE, "the log is not cut");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Less than a file, and a small part of all.
    cluster
        .snapshots
        .after_bytes
        .store(3 << 20, Ordering::Relaxed);
    cluster.start(away).await;
    for key in [1, COMMANDS] {
        cluster.shows(ONE, key, &value(key)).await;
    }
    let opened = cluster.snapshots.opened.load(Ordering::Relaxed);
    let carried = cluster.snapshots.carried_bytes.load(Ordering::Relaxed);
    assert!(opened > 2, "{opened} connections did not break");
    // Begun anew each time, it would not have come to an end.
    let content = COMMANDS * VALUE_BYTES as u64;
    assert!(carried < content * 3 / 2, "{carried} bytes of {content}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_hands_over_first() {
    let mut cluster = Cluster::of_three(|_| {}).await;
    for round in 0..3u64 {
        let leader = cluster.leader(ONE).await;
        cluster.put(ONE, round, b"before").await;
        let began = Instant::now();
        cluster.stop(leader).await;
        cluster.put(ONE, round, b"after").await;
        assert!(began.elapsed() < PATIENCE);
        cluster.start(leader).await;
    }
    cluster.shows(ONE, 2, b"after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_dropped_and_comes_back() {
    let cluster = Cluster::of_three(|_| {}).await;
    cluster.put(ONE, 1, b"before").await;
    let leader = cluster.leader(ONE).await;
    let gone = cluster.other_than(leader);
    let mut left = cluster.ids();
    left.remove(&gone);
    let node = &cluster.nodes[&leader];
    node.change_voters(ONE, left).await.unwrap();
    node.remove_learner(ONE, gone).await.unwrap();
    let reached = cluster.reached(ONE).await;
    cluster.nodes[&gone]
        .remove_copy(ONE, reached)
        .await
        .unwrap();
    assert!(cluster.nodes[&gone].group(ONE).is_none());
    let kept = fs::read_dir(cluster.path(gone).join("quarantine"));
    assert_eq!(kept.unwrap().count(), 0, "the group has all of it");
    cluster.put(ONE, 2, b"meanwhile").await;
    cluster.nodes[&gone]
        .add_copy(ONE, cluster.reached(ONE).await)
        .await
        .unwrap();
    let leader = cluster.leader(ONE).await;
    cluster.nodes[&leader].add_learner(ONE, gone).await.unwrap();
    cluster.nodes[&leader]
        .change_voters(ONE, cluster.ids())
        .await
        .unwrap();
    cluster.shows(ONE, 2, b"meanwhile").await;
    let begun = Instant::now();
    while cluster.group(gone, ONE).status().voters.len() != 3 {
        assert!(begun.elapsed() < PATIENCE, "it does not know that it votes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_voters_that_nobody_ends_is_ended() {
    let cluster = Cluster::of_three(|_| {}).await;
    let leader = cluster.leader(ONE).await;
    let group = cluster.group(leader, ONE);
    let mut left = cluster.ids();
    let gone = left.iter().copied().find(|id| *id != leader).unwrap();
    left.remove(&gone);
    let begun = async {
        while !group.status().changing {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = begun => {}
        ended = cluster.nodes[&leader].change_voters(ONE, left.clone()) => panic!("too soon: {ended:?}"),
    }
    let left: Vec<u64> = left.iter().map(|node| node.0).collect();
    let begun = Instant::now();
    while group.status().changing || group.status().voters != left {
        assert!(begun.elapsed() < PATIENCE, "it stays half done");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until another node than `old` leads.
async fn until_led_by_another(cluster: &Cluster, old: NodeId) {
    let begun = Instant::now();
    while cluster.leader(ONE).await == old {
        assert!(begun.elapsed() < PATIENCE, "{old} still leads");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_gives_the_lead_away_and_takes_part_again_when_there_is_room() {
    let cluster = Cluster::of_three(|options| options.disk_reserve_bytes = 1000).await;
    let old = cluster.leader(ONE).await;
    let free = |bytes| cluster.set_free_bytes(old, bytes);
    free(500);
    until_led_by_another(&cluster, old).await;
    cluster.put(ONE, 1, b"while one is full").await;
    assert!(cluster.nodes[&old].status().disk_full);
    // It follows, for as long as there is any room: what others acknowledge with it is on three disks.
    cluster.shows(ONE, 1, b"while one is full").await;
    // The last of it is for what frees some.
    free(200);
    let begun = Instant::now();
    while cluster.nodes[&old].status().disk_free_bytes != 200 {
        assert!(begun.elapsed() < PATIENCE, "nobody looks");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.put(ONE, 2, b"without the full one").await;
    let behind = cluster.group(old, ONE);
    assert_eq!(value(&*behind, 2), None);
    free(u64::MAX);
    let begun = Instant::now();
    while cluster.nodes[&old].status().disk_full {
        assert!(begun.elapsed() < PATIENCE, "still full");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.shows(ONE, 2, b"without the full one").await;
    let leader = cluster.leader(ONE).await;
    cluster.nodes[&leader]
        .transfer_leader(ONE, old)
        .await
        .unwrap();
    assert_eq!(cluster.leader(ONE).await, old);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_does_not_answer_gives_the_lead_away() {
    let cluster = Cluster::of_three(|_| {}).await;
    cluster.put(ONE, 1, b"before").await;
    let old = cluster.leader(ONE).await;
    cluster.disks[&old].stall(true);
    // A write that waits: without one nobody knows that the disk stalls.
    let group = cluster.group(old, ONE);
    let waiting = tokio::spawn(async move { group.propose(command(2, b"waits")).await });
    until_led_by_another(&cluster, old).await;
    cluster.put(ONE, 3, b"after").await;
    // Who asks the old leader does not wait for its disk: it has heard of the new one.
    let new = cluster.leader(ONE).await;
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert_eq!(waited.unwrap().unwrap(), Err(GroupError::OutcomeUnknown));
    let group = cluster.group(old, ONE);
    let there = GroupError::NotLeader {
        leader: Some(new.0),
    };
    assert_eq!(
        group.propose(command(4, b"refused")).await,
        Err(there.clone())
    );
    assert_eq!(group.read_barrier().await, Err(there));
    assert_eq!(group.status().role, GroupRole::Follower);
    // Nobody has it lead again meanwhile: that would stop the group until it does.
    let back = cluster.nodes[&new].transfer_leader(ONE, old).await;
    assert!(matches!(back, Err(GroupError::Refused { .. })), "{back:?}");
    cluster.put(ONE, 5, b"goes on").await;
    cluster.disks[&old].stall(false);
    cluster.shows(ONE, 3, b"after").await;
    assert_eq!(cluster.leader(ONE).await, new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_room_gives_the_lead_away_and_goes_on_when_there_is_some() {
    let cluster = Cluster::of_three(|_| {}).await;
    cluster.put(ONE, 1, b"before").await;
    let old = cluster.leader(ONE).await;
    let is_full = &cluster.disks[&old].log_is_full;
    is_full.store(true, Ordering::SeqCst);
    let group = cluster.group(old, ONE);
    let waiting = tokio::spawn(async move { group.propose(command(2, b"waits")).await });
    until_led_by_another(&cluster, old).await;
    cluster.put(ONE, 3, b"after").await;
    assert!(cluster.nodes[&old].status().disk_full);
    is_full.store(false, Ordering::SeqCst);
    cluster.shows(ONE, 3, b"after").await;
    let ended = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(ended.is_ok(), "a proposal without an end");
    let groups = cluster.nodes[&old].status().groups;
    let stopped = |role: &GroupRole| matches!(role, GroupRole::Stopped { .. });
    assert!(!groups.iter().any(|group| stopped(&group.role)));
}

#[tokio::test]
async fn a_copy_that_was_half_dropped_is_dropped_and_made_anew() {
    const TWO: ShardId = ShardId(2);
    let dir = tempfile::tempdir().unwrap();
    let node = super::start(dir.path()).await;
    // As one whose tables were found damaged at the start.
    let copy = node.inner.groups.write().remove(&TWO).unwrap();
    copy.shutdown().await;
    let note = "its tables are damaged".to_owned();
    node.inner.damaged.lock().insert(TWO, note);
    let quarantine = dir.path().join("quarantine");
    let aside = dir.path().join("quarantine-aside");
    fs::rename(&quarantine, &aside).unwrap();
    fs::write(&quarantine, b"").unwrap();
    node.drop_copy(TWO).await.unwrap_err();
    fs::remove_file(&quarantine).unwrap();
    fs::rename(&aside, &quarantine).unwrap();
    node.drop_copy(TWO).await.unwrap();
    assert!(quarantine.join("group-2-1").is_dir());
    let bounds = node
        .inner
        .log
        .store()
        .unwrap()
        .bounds(crate::guard::log_group(TWO));
    assert_eq!(bounds, None, "the log is not kept for it");
    node.add_copy(TWO, Reached::default()).await.unwrap();
    let groups = node.status().groups;
    assert_eq!(groups.len(), 3);
    let stopped = |role: &GroupRole| matches!(role, GroupRole::Stopped { .. });
    assert!(!groups.iter().any(|group| stopped(&group.role)));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_reads_of_old_times_does_not_lead() {
    let mut cluster = Cluster::new(0, |_| {}).await;
    cluster.put(ONE, 1, b"before").await;
    let own = cluster.leader(ONE).await;
    cluster.stop(own).await;
    // As one that was made anew and has read of the log so far only how this node began the group alone.
    let witness = WitnessFile::open(cluster.path(own).join("witness")).unwrap();
    let floor = |term| Some(LogMark { term, index: 1 });
    witness.add_copy(ONE, true, floor(99)).unwrap();
    drop(witness);
    cluster.start(own).await;
    let group = cluster.group(own, ONE);
    assert_ne!(group.status().role, GroupRole::Leader);
    assert!(!cluster.nodes[&own].inner.group(ONE).unwrap().may_lead());
    drop(group);
    // With what was committed it is a copy like any other.
    cluster.stop(own).await;
    let witness = WitnessFile::open(cluster.path(own).join("witness")).unwrap();
    witness.add_copy(ONE, true, floor(1)).unwrap();
    drop(witness);
    cluster.start(own).await;
    cluster.shows(ONE, 1, b"before").await;
    assert_eq!(cluster.leader(ONE).await, own);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_made_and_dropped_to_the_end() {
    let cluster = Cluster::of_three(|_| {}).await;
    cluster.put(ONE, 1, b"before").await;
    let leader = cluster.leader(ONE).await;
    let gone = cluster.other_than(leader);
    let mut left = cluster.ids();
    left.remove(&gone);
    let node = &cluster.nodes[&leader];
    node.change_voters(ONE, left).await.unwrap();
    node.remove_learner(ONE, gone).await.unwrap();
    let reached = cluster.reached(ONE).await;
    let vote = || {
        let known = cluster.nodes[&gone].inner.witness.content();
        let marks = known.groups.get(&ONE).and_then(|marks| marks.vote);
        marks.max(known.dropped.get(&ONE).copied().flatten())
    };
    let before = vote();
    assert!(before.is_some());
    // Who asks gives up at once.
    for _ in 0..3 {
        assert!(cluster.nodes[&gone].drop_copy(ONE).now_or_never().is_none());
        cluster.nodes[&gone].drop_copy(ONE).await.unwrap();
        assert!(cluster.nodes[&gone].group(ONE).is_none());
        let added = cluster.nodes[&gone].add_copy(ONE, reached);
        assert!(added.now_or_never().is_none());
        cluster.nodes[&gone].add_copy(ONE, reached).await.unwrap();
        assert!(vote() >= before, "a vote is forgotten");
    }
    node.add_learner(ONE, gone).await.unwrap();
    node.change_voters(ONE, cluster.ids()).await.unwrap();
    cluster.shows(ONE, 1, b"before").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_found_damaged_leads_no_more_and_is_made_anew() {
    let cluster = Cluster::of_three(|_| {}).await;
    cluster.put(ONE, 1, b"before").await;
    let damaged = cluster.leader(ONE).await;
    cluster.nodes[&damaged]
        .inner
        .group(ONE)
        .unwrap()
        .stop("as if a block were damaged");
    let group = cluster.group(damaged, ONE);
    assert!(matches!(
        group.read_barrier().await,
        Err(GroupError::Stopped { .. })
    ));
    drop(group);
    until_led_by_another(&cluster, damaged).await;
    cluster.put(ONE, 2, b"without it").await;
    let leader = cluster.leader(ONE).await;
    let node = &cluster.nodes[&leader];
    let mut others = cluster.ids();
    others.remove(&damaged);
    node.change_voters(ONE, others).await.unwrap();
    node.remove_learner(ONE, damaged).await.unwrap();
    let too_early = cluster.nodes[&damaged]
        .add_copy(ONE, cluster.reached(ONE).await)
        .await;
    assert!(matches!(too_early, Err(GroupError::Refused { .. })));
    let reached = cluster.reached(ONE).await;
    let dropped = cluster.nodes[&damaged].remove_copy(ONE, reached);
    dropped.await.unwrap();
    assert!(cluster.path(damaged).join("quarantine/group-1-1").is_dir());
    cluster.nodes[&damaged]
        .add_copy(ONE, cluster.reached(ONE).await)
        .await
        .unwrap();
    node.add_learner(ONE, damaged).await.unwrap();
    node.change_voters(ONE, cluster.ids()).await.unwrap();
    cluster.shows(ONE, 1, b"before").await;
    cluster.shows(ONE, 2, b"without it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_power_cut_of_all_the_cluster_is_back_at_once() {
    let mut cluster = Cluster::of_three(|_| {}).await;
    cluster.put(ONE, 1, b"before").await;
    let ids = cluster.ids();
    for id in &ids {
        cluster.crash(*id);
    }
    for id in &ids {
        cluster.start(*id).await;
    }
    let begun = Instant::now();
    cluster.put(ONE, 2, b"after").await;
    // The leases alone would be six seconds, and an election comes four to six later.
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    cluster.shows(ONE, 1, b"before").await;
    // And without the one that led.
    let led = cluster.leader(ONE).await;
    for id in &ids {
        cluster.crash(*id);
    }
    for id in ids.iter().filter(|id| **id != led) {
        cluster.start(*id).await;
    }
    let begun = Instant::now();
    cluster.put(ONE, 3, b"without it").await;
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
}
