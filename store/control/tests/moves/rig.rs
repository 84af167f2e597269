//! A cluster of nodes in one process, and controllers that die at a chosen step.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_cluster::{Group, GroupRole, Node, NodeOptions, Reached};
use mailrook_control::{AccountMover, SlotMover};
use mailrook_mailbox::{Answer, Query, ShardCommand, ShardReply, check, shard_digest};
use mailrook_meta::{MetaAnswer, MetaCommand, MetaQuery, MetaReply, SlotMap};
use mailrook_store_api::{Call, Directory, StoreError};
use mailrook_store_client::{Client, ClientOptions, Reach, Shards, machines};
use mailrook_transport::{Duplex, Handler, Handlers, MemoryHub};
use mailrook_types::{NodeId, ShardId, Timestamp};
use tokio::{sync::Notify, task::JoinHandle};

/// A busy machine gets as long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Fewer and larger moves than in a real cluster, so that the test is over sooner.
pub const AT_ONCE: usize = 50;

struct Nobody;

impl Handler for Nobody {
    fn call(&self, _from: NodeId, _request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        async { Err("nobody answers this".to_owned()) }.boxed()
    }

    fn open(&self, _from: NodeId, _request: Bytes, _stream: Duplex) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}

struct Member {
    node: Arc<Node>,
    client: Client,
}

/// Nodes, each with a copy of every group.
pub struct Cluster {
    hub: MemoryHub,
    dirs: BTreeMap<NodeId, tempfile::TempDir>,
    members: BTreeMap<NodeId, Member>,
    starts: u8,
}

pub fn shards(ids: impl IntoIterator<Item = u32>) -> BTreeSet<ShardId> {
    ids.into_iter().map(ShardId).collect()
}

fn options(dir: &std::path::Path) -> NodeOptions {
    let mut options = NodeOptions::new(dir);
    options.first_shards = 2;
    options.disk_reserve_bytes = 0;
    options
}

impl Cluster {
    /// With two shards.
    pub async fn new(nodes: u64) -> Cluster {
        let first = tempfile::tempdir().unwrap();
        let founder = Node::open(options(first.path()), machines()).await.unwrap();
        let (cluster_id, id) = (founder.cluster_id(), founder.node_id());
        founder.shutdown().await;
        drop(founder);
        let mut cluster = Cluster {
            hub: MemoryHub::default(),
            dirs: BTreeMap::from([(id, first)]),
            members: BTreeMap::new(),
            starts: 0,
        };
        let others = (1..).map(NodeId).filter(|other| *other != id);
        for other in others.take(nodes as usize - 1) {
            let dir = tempfile::tempdir().unwrap();
            Node::enrol(dir.path(), cluster_id, other).unwrap();
            cluster.dirs.insert(other, dir);
        }
        for id in cluster.ids() {
            cluster.start(id).await;
        }
        for shard in [ShardId(0), ShardId(1), ShardId(2)] {
            cluster.replicate(shard, id).await;
        }
        let announced = vec![ShardId(1), ShardId(2)];
        cluster.client(id).announce_shards(announced).await.unwrap();
        cluster
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.dirs.keys().copied().collect()
    }

    pub fn client(&self, id: NodeId) -> Client {
        self.members[&id].client.clone()
    }

    /// Of a process that has no copies, and outlives all that have.
    pub fn outside(&self) -> Client {
        self.outside_with(NodeId(99), ClientOptions::default())
    }

    /// As that, and waits for less long. One at a time: each has the same name as the one before.
    pub fn impatient(&self) -> Client {
        let deadline = Duration::from_secs(3);
        self.outside_with(NodeId(98), ClientOptions { deadline })
    }

    fn outside_with(&self, outside: NodeId, options: ClientOptions) -> Client {
        let copies: BTreeMap<ShardId, Arc<dyn Group>> = BTreeMap::new();
        let reach = Reach {
            copies: Arc::new(copies),
            network: Arc::new(self.hub.network(outside)),
            peers: Arc::new(self.ids()),
        };
        Client::new(reach, [outside.0 as u8; 16], options)
    }

    /// Who leads a group now.
    pub async fn leader(&self, group: ShardId) -> NodeId {
        let begun = Instant::now();
        loop {
            let leads = |member: &Member| {
                let group = member.node.group(group);
                group.is_some_and(|group| group.status().role == GroupRole::Leader)
            };
            let leader = self.members.iter().find(|(_, member)| leads(member));
            if let Some((id, _)) = leader {
                return *id;
            }
            assert!(begun.elapsed() < PATIENCE, "nobody leads {group}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Gives all others a copy of a group that one node has.
    async fn replicate(&self, shard: ShardId, leader: NodeId) {
        let begun = Instant::now();
        let node = &self.members[&leader].node;
        for other in self.ids().into_iter().filter(|other| *other != leader) {
            self.members[&other]
                .node
                .add_copy(shard, Reached::default())
                .await
                .unwrap();
            while let Err(error) = node.add_learner(shard, other).await {
                assert!(begun.elapsed() < PATIENCE, "{error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        let voters = self.ids().into_iter().collect();
        node.change_voters(shard, voters).await.unwrap();
    }

    /// A shard that was not there before, as the controller makes it.
    pub async fn add_shard(&self, shard: ShardId) {
        let founder = self.ids()[shard.0 as usize % self.dirs.len()];
        self.members[&founder]
            .node
            .found_group(shard)
            .await
            .unwrap();
        self.replicate(shard, founder).await;
        let client = self.client(founder);
        client.announce_shards(vec![shard]).await.unwrap();
    }

    pub async fn start(&mut self, id: NodeId) {
        let mut options = options(self.dirs[&id].path());
        let network = Arc::new(self.hub.network(id));
        options.network = Some(network.clone());
        let begun = Instant::now();
        let node = loop {
            match Node::open(options.clone(), machines()).await {
                Ok(node) => break Arc::new(node),
                // A node that was dropped closes its files a little later.
                Err(_) if begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        let reach = Reach {
            copies: Arc::clone(&node) as _,
            network,
            peers: Arc::new(self.ids()),
        };
        self.starts += 1;
        let client = Client::new(reach, [self.starts; 16], ClientOptions::default());
        let handlers = Handlers {
            consensus: node.consensus_handler(),
            bulk: node.bulk_handler(),
            store: client.handler(),
            control: Arc::new(Nobody),
        };
        self.hub.start(id, handlers);
        self.members.insert(id, Member { node, client });
    }

    /// As if its process were killed.
    pub fn crash(&mut self, id: NodeId) {
        self.hub.stop(id);
        drop(self.members.remove(&id));
    }

    /// The directories go once nothing is written any more.
    pub async fn end(self) {
        for (id, member) in &self.members {
            self.hub.stop(*id);
            member.node.shutdown().await;
        }
    }

    pub async fn slot_map(&self) -> SlotMap {
        let client = self.client(self.ids()[0]);
        match client.query(MetaQuery::SlotMap).await.unwrap() {
            MetaAnswer::SlotMap(Some(map)) => *map,
            other => panic!("not a map: {other:?}"),
        }
    }

    /// All copies of a shard are equal and whole, and have entries in those slots alone that are the shard's. Gives how many
    /// entries there are.
    pub async fn verify(&self, shard: ShardId) -> usize {
        let map = self.slot_map().await;
        let begun = Instant::now();
        loop {
            let copies = (self.members.values()).map(|member| member.node.group(shard).unwrap());
            let seen = copies.map(|copy| {
                copy.read(|state| {
                    assert_eq!(check(state).unwrap(), Vec::<String>::new());
                    (shard_digest(state).unwrap(), entries(state, &map, shard))
                })
                .unwrap()
            });
            let seen: Vec<_> = seen.collect();
            if seen.iter().all(|copy| *copy == seen[0]) {
                return seen[0].1;
            }
            // Followers hear a moment later how far the log is committed.
            assert!(begun.elapsed() < PATIENCE, "the copies differ");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// How many entries of tables a copy has.
fn entries(state: &dyn mailrook_kv::Read, map: &SlotMap, shard: ShardId) -> usize {
    use mailrook_kv::{Direction, Space};
    let mut count = 0;
    state
        .scan(
            Space::Index,
            &[0x30],
            &[0x31],
            Direction::Forward,
            &mut |key, _| {
                let slot = u16::from_be_bytes([key[1], key[2]]);
                assert_eq!(map.shard_of(slot), shard, "slot {slot} was left behind");
                count += 1;
                std::ops::ControlFlow::Continue(())
            },
        )
        .unwrap();
    count
}

/// What somebody does through a [`Mortal`].
pub type Step<T> = JoinHandle<Result<T, StoreError>>;

/// The groups as a controller sees them that dies at one of its commands.
pub struct Mortal {
    client: Client,
    /// So many commands come before that one.
    left: AtomicI64,
    /// Whether that one is carried out, and its answer lost.
    carried_out: bool,
    pub died: Notify,
    /// It was not dead, but held up.
    pub resume: Notify,
}

impl Mortal {
    pub fn new(client: Client, left: i64, carried_out: bool) -> Arc<Mortal> {
        Arc::new(Mortal {
            client,
            left: AtomicI64::new(left),
            carried_out,
            died: Notify::new(),
            resume: Notify::new(),
        })
    }

    pub fn account_mover(self: &Arc<Mortal>) -> AccountMover {
        AccountMover {
            directory: Arc::clone(self) as _,
            shards: Arc::clone(self) as _,
            kept_for: Duration::ZERO,
            pace: Arc::default(),
        }
    }

    pub fn mover(self: &Arc<Mortal>) -> SlotMover {
        SlotMover {
            directory: Arc::clone(self) as _,
            shards: Arc::clone(self) as _,
            slots_at_once: AT_ONCE,
        }
    }

    /// What a step comes to that is taken through this; none if it dies, or is `held` up: then it is given back.
    pub async fn until_end<T>(
        self: Arc<Mortal>,
        mut step: Step<T>,
        is_held: bool,
        held: &mut Vec<(Arc<Mortal>, Step<T>)>,
    ) -> Option<T> {
        tokio::select! {
            done = &mut step => Some(done.unwrap().unwrap()),
            () = self.died.notified() => {
                if is_held {
                    held.push((self, step));
                } else {
                    step.abort();
                }
                None
            }
        }
    }

    async fn pass<T>(&self, call: impl Future<Output = T>) -> T {
        let dies = self.left.fetch_sub(1, Ordering::SeqCst) == 0;
        if dies && !self.carried_out {
            self.die().await;
        }
        let answer = call.await;
        if dies && self.carried_out {
            self.die().await;
        }
        answer
    }

    async fn die(&self) {
        self.died.notify_one();
        self.resume.notified().await;
    }
}

impl Directory for Mortal {
    fn command(&self, command: MetaCommand) -> Call<'_, MetaReply> {
        self.pass(Directory::command(&self.client, command)).boxed()
    }

    fn query(&self, query: MetaQuery) -> Call<'_, MetaAnswer> {
        Directory::query(&self.client, query)
    }
}

impl Shards for Mortal {
    fn shard_command(&self, shard: ShardId, command: ShardCommand) -> Call<'_, ShardReply> {
        self.pass(Shards::shard_command(&self.client, shard, command))
            .boxed()
    }

    fn shard_query(&self, shard: ShardId, query: Query) -> Call<'_, Answer> {
        Shards::shard_query(&self.client, shard, query)
    }

    fn log_time(&self, group: ShardId) -> Call<'_, Timestamp> {
        Shards::log_time(&self.client, group)
    }
}
