//! The store of a running server: this node's back end, the way to other nodes, and what looks after the cluster.
//!
//! Opened in this order: who this node is, what it proves itself with, its groups; then it listens for other nodes and
//! dials them; then it waits until the directory answers, which may need others.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use mailrook_cluster::{DamagedNode, Group, Node, NodeOptions, OpenError, Plant};
use mailrook_control::{Addresses, DamagedDesk, Desk, Keeper, Member, MoveFigures};
use mailrook_store_api::{
    Directory as _, StoreError,
    meta::{FeatureLevels, FrontRoles, MetaAnswer, MetaQuery},
};
use mailrook_store_client::{Client, ClientOptions, Peers as _, Reach, machines};
use mailrook_transport::{Alone, Network, TlsNetwork};
use mailrook_types::ShardId;
use tokio::{task::JoinHandle, time::timeout};
use tracing::{info, warn};

use super::{
    neighbours::Neighbours,
    random,
    reached::Reached,
    starting::{OPENING, Starting},
    wires::Wires,
};
use crate::{
    config::{Config, Role, Size},
    privileges, process,
};

/// What a node that has nothing of its own gets in the place of each cache.
const STORELESS_CACHE_BYTES: usize = 1 << 20;
/// How long the store may take to flush when it is closed.
const STORE_STOP_MAX: Duration = Duration::from_secs(30);
/// How long leaderships may take to be handed over when the server stops.
const LEAVE_MAX: Duration = Duration::from_secs(10);
/// Between two looks whether the directory answers.
const REACH_EVERY: Duration = Duration::from_millis(200);
/// How often systemd is told that the wait goes on.
const STAND_BY_TOLD_EVERY: Duration = Duration::from_secs(20);
/// Between two words about the wait.
const WAIT_TOLD_EVERY: Duration = Duration::from_secs(10);
/// How long the directory is waited for by who only looks: longer than it takes to notice that a node is silent, and no
/// longer than a person bears.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// The store's parts.
pub struct Store {
    /// This node's back end.
    pub node: Arc<Node>,
    /// The store as front ends see it.
    pub client: Client,
    /// The same, with less patience: for who wants to know how the cluster fares.
    pub looking: Client,
    /// The way to other nodes.
    pub network: Arc<dyn Network>,
    /// The others, where there are some.
    pub others: Option<Others>,
}

/// What a node has that is not alone.
pub struct Others {
    tls: Arc<TlsNetwork>,
    /// What this node proves itself with.
    pub keeper: Arc<Keeper>,
    /// What is known of them.
    pub neighbours: Arc<Neighbours>,
    /// Whether the directory answers.
    pub reached: Arc<Reached>,
    /// Answers them.
    pub desk: Arc<Desk>,
    /// Counts the accounts that this node moves.
    pub moves: Arc<MoveFigures>,
    controller: JoinHandle<()>,
}

/// Where the back end keeps its data.
pub fn store_dir(config: &Config) -> PathBuf {
    config.data_dir.join("store")
}

/// Where the node keeps what it proves itself with, and what it knows of others.
pub fn cluster_dir(config: &Config) -> PathBuf {
    config.data_dir.join("cluster")
}

/// This node, as its configuration has it, with a program that knows `levels`.
pub fn member(config: &Config, levels: FeatureLevels) -> Member {
    let front = FrontRoles {
        front: config.has_role(Role::Front),
        proxy: config.has_role(Role::Proxy),
    };
    Member {
        name: config.cluster.name.clone(),
        address: config.cluster.advertise.clone(),
        zone: config.cluster.zone.clone(),
        levels,
        front: (!config.has_role(Role::Store)).then_some(front),
    }
}

impl Store {
    /// Opens it, and returns once the directory answers. What it waits for meanwhile, `starting` is told.
    ///
    /// # Errors
    /// What is wrong and what to do about it.
    pub async fn open(
        config: &Config,
        plant: Option<Plant>,
        levels: FeatureLevels,
        starting: &Starting,
    ) -> Result<Store, String> {
        let dir = store_dir(config);
        let at_fault = |error| format!("cannot make the store's folder {}: {error}", dir.display());
        // Closed to others even where the data directory was made with another mode.
        privileges::make_data_dir(&dir, None).map_err(at_fault)?;
        let place = Place {
            config,
            dir: &dir,
            plant,
            levels,
            starting,
        };
        let (wires, node) = place.open().await?;
        if let Err(why) = check_copies(config, &node) {
            node.shutdown().await;
            return Err(why);
        }
        starting.opened(&node);
        let network: Arc<dyn Network> = match &wires {
            Some(wires) => Arc::clone(&wires.tls) as _,
            None => Arc::new(Alone(node.node_id())),
        };
        let reach = Reach {
            copies: Arc::clone(&node) as _,
            network: Arc::clone(&network),
            peers: match &wires {
                Some(wires) => Arc::clone(&wires.book) as _,
                None => Arc::new(Vec::new()),
            },
        };
        let client = Client::new(reach.clone(), random()?, ClientOptions::default());
        let deadline = LOOK_MAX;
        let looking = Client::new(reach, random()?, ClientOptions { deadline });
        let member = member(config, levels);
        let store = Store {
            others: wires.map(|wires| Others::join(wires, &node, &client, member)),
            node,
            client,
            looking,
            network,
        };
        store.wait_for_directory(starting).await?;
        store.announce_first_shards().await?;
        Ok(store)
    }

    /// A node of several may have to wait for another one.
    async fn wait_for_directory(&self, starting: &Starting) -> Result<(), String> {
        const WAITING: &str = "waiting for the cluster's directory";
        let Some(others) = &self.others else {
            let answer = self.client.query(MetaQuery::Shards).await;
            return answer.map(drop).map_err(|error| error.to_string());
        };
        let mut told = Instant::now();
        starting.waits_for(WAITING);
        loop {
            match self.looking.query(MetaQuery::Shards).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Unavailable(why)) => {
                    let troubles = others.neighbours.troubles();
                    if told.elapsed() >= WAIT_TOLD_EVERY {
                        told = Instant::now();
                        warn!(
                            why,
                            others = troubles,
                            "waiting for the cluster's directory: too few nodes can be reached"
                        );
                    }
                    starting.waits_for(match troubles.is_empty() {
                        true => format!("{WAITING}: {why}"),
                        false => format!("{WAITING}: {why}; {troubles}"),
                    });
                    process::notify_systemd("EXTEND_TIMEOUT_USEC=60000000");
                    tokio::time::sleep(REACH_EVERY).await;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Accounts are put on the shards that a new cluster begins with.
    async fn announce_first_shards(&self) -> Result<(), String> {
        let text = |error: StoreError| match error {
            StoreError::Full(_) => {
                format!("{error}: make room on the disk, or lower store.disk_reserve")
            }
            error => error.to_string(),
        };
        let query = self.client.query(MetaQuery::Shards).await;
        if !matches!(query.map_err(text)?, MetaAnswer::Shards(shards) if shards.is_empty()) {
            return Ok(());
        }
        let shards = self.node.groups().map(|group| group.shard());
        let shards = shards.filter(|shard| *shard != ShardId::META).collect();
        self.client.announce_shards(shards).await.map_err(text)
    }

    /// Hands over what this node leads, so that nobody waits for it.
    pub async fn leave(&self) {
        let Some(others) = &self.others else {
            return;
        };
        others.controller.abort();
        match timeout(LEAVE_MAX, self.node.leave()).await {
            Ok(left) if left.is_empty() => {}
            Ok(left) => info!(
                ?left,
                "no other node can lead these shards: they stand still until this one is back"
            ),
            Err(_) => warn!("handing over took too long"),
        }
    }

    /// Closes it.
    pub async fn close(&self) {
        if let Some(others) = &self.others {
            others.tls.shutdown().await;
        }
        if timeout(STORE_STOP_MAX, self.node.shutdown()).await.is_err() {
            warn!("the store did not close in time; the next start replays its log");
        }
    }
}

impl Others {
    /// Answers them and dials them.
    fn join(wires: Wires, node: &Arc<Node>, client: &Client, member: Member) -> Others {
        let reached = Reached::new(Arc::new(client.clone()));
        Others {
            tls: Arc::clone(&wires.tls),
            keeper: Arc::clone(&wires.keeper),
            neighbours: Arc::clone(&wires.neighbours),
            desk: Arc::clone(&wires.desk),
            moves: Arc::clone(&wires.moves),
            controller: wires.connect(node, client, Arc::clone(&reached) as _, member),
            reached,
        }
    }
}

/// What a node without the store role has of copies, it must be rid of first: others may count with them.
fn check_copies(config: &Config, node: &Node) -> Result<(), String> {
    let copies = node.status().groups.len();
    if config.has_role(Role::Store) || copies == 0 {
        return Ok(());
    }
    let name = &config.cluster.name;
    Err(format!(
        "roles leaves \"store\" out, and this node has copies of {copies} groups: add \"store\" to roles again, start it, say \
         `mailrook node drain {name}`, and take the role away once `mailrook node list` shows no copies here"
    ))
}

/// Where a node is opened, and how.
struct Place<'a> {
    config: &'a Config,
    dir: &'a Path,
    plant: Option<Plant>,
    levels: FeatureLevels,
    starting: &'a Starting,
}

impl Place<'_> {
    async fn open(&self) -> Result<(Option<Wires>, Arc<Node>), String> {
        let text = |error: OpenError| error.to_string();
        if self.config.cluster.listen.is_empty() {
            return Ok((None, self.open_node(None).await.map_err(text)?));
        }
        let wires = self.open_wires().await?;
        let error = match self.open_node(Some(&wires)).await {
            Ok(node) => return Ok((Some(wires), node)),
            Err(error) => error,
        };
        if wires.book.nodes().is_empty() {
            return Err(error.to_string());
        }
        let Some(damaged) = DamagedNode::open(self.dir, &error).map_err(text)? else {
            return Err(error.to_string());
        };
        self.starting.waits_for(format!(
            "{}; this node waits until the others do without its copies, and is then filled anew",
            damaged.cause()
        ));
        stand_by(wires, damaged).await?;
        self.starting.waits_for(OPENING);
        let wires = self.open_wires().await?;
        let node = self.open_node(Some(&wires)).await.map_err(text)?;
        Ok((Some(wires), node))
    }

    async fn open_wires(&self) -> Result<Wires, String> {
        let wires = Wires::open(self.config, self.dir, self.levels).await?;
        self.starting.wired(Arc::clone(&wires.neighbours));
        Ok(wires)
    }

    async fn open_node(&self, wires: Option<&Wires>) -> Result<Arc<Node>, OpenError> {
        let store = &self.config.store;
        let memory = |size: Size| match self.config.has_role(Role::Store) {
            true => size.as_usize(),
            false => STORELESS_CACHE_BYTES,
        };
        let options = NodeOptions {
            first_shards: u32::try_from(store.shards).unwrap_or(u32::MAX),
            block_cache_bytes: memory(store.block_cache),
            write_buffer_bytes: memory(store.write_buffer),
            log_cache_bytes: memory(store.log_cache),
            log_bytes_max: store.log_max.0,
            disk_reserve_bytes: store.disk_reserve.0,
            plant: self.plant,
            runtime: Some(tokio::runtime::Handle::current()),
            network: wires.map(|wires| Arc::clone(&wires.tls) as _),
            others: wires.map_or_else(Vec::new, |wires| wires.book.members()),
            ..NodeOptions::new(self.dir)
        };
        Node::open(options, machines()).await.map(Arc::new)
    }
}

/// Waits until the other nodes do without the copies here, whose log is damaged, and puts those aside.
async fn stand_by(wires: Wires, damaged: DamagedNode) -> Result<(), String> {
    let damaged = Arc::new(damaged);
    wires.introductions.damaged(&damaged);
    let no_copies: BTreeMap<ShardId, Arc<dyn Group>> = BTreeMap::new();
    let reach = Reach {
        copies: Arc::new(no_copies),
        network: Arc::clone(&wires.tls) as _,
        peers: Arc::clone(&wires.book) as _,
    };
    let client = Client::new(reach, random()?, ClientOptions::default());
    let desk = DamagedDesk::new(Arc::clone(&damaged), Arc::new(client));
    for listener in wires.listeners {
        wires.tls.listen(listener, desk.handlers());
    }
    for (id, known) in wires.book.others() {
        if !known.removed {
            wires.tls.set(id, &known.address);
        }
    }
    let released = desk.released();
    tokio::pin!(released);
    while timeout(STAND_BY_TOLD_EVERY, &mut released).await.is_err() {
        process::notify_systemd("EXTEND_TIMEOUT_USEC=60000000");
    }
    wires.tls.shutdown().await;
    let text = |error: OpenError| error.to_string();
    damaged.set_aside().map_err(text)
}
