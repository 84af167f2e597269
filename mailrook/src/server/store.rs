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
use mailrook_control::{
    Addresses, Book, Controller, DamagedDesk, Desk, DeskParts, FEATURE_LEVELS, Introductions,
    Keeper, Member, Papers, Recovered, Renewal,
};
use mailrook_store_api::{
    Directory, StoreError,
    meta::{FeatureLevels, MetaAnswer, MetaQuery},
};
use mailrook_store_client::{Client, ClientOptions, Peers, Reach, machines};
use mailrook_transport::{
    Alone, Handlers, Link, Network, TlsNetwork, TlsNetworkOptions, WIRE_VERSIONS,
};
use mailrook_types::ShardId;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tracing::{info, warn};

use super::random;
use crate::{
    config::{Address, Config},
    privileges, process,
};

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

/// The store's parts.
pub struct Store {
    /// This node's back end.
    pub node: Arc<Node>,
    /// The store as front ends see it.
    pub client: Client,
    /// The way to other nodes.
    pub network: Arc<dyn Network>,
    /// The same, where there are others.
    tls: Option<Arc<TlsNetwork>>,
    /// What this node proves itself with, where there are others.
    pub keeper: Option<Arc<Keeper>>,
    controller: Option<JoinHandle<()>>,
}

/// Where the back end keeps its data.
pub fn store_dir(config: &Config) -> PathBuf {
    config.data_dir.join("store")
}

/// Where the node keeps what it proves itself with, and what it knows of others.
pub fn cluster_dir(config: &Config) -> PathBuf {
    config.data_dir.join("cluster")
}

/// This node, as its configuration has it.
pub fn member(config: &Config) -> Member {
    Member {
        name: config.cluster.name.clone(),
        address: config.cluster.advertise.clone(),
        zone: config.cluster.zone.clone(),
        levels: FEATURE_LEVELS,
    }
}

/// What connects a node with others, before its groups are there.
struct Wires {
    tls: Arc<TlsNetwork>,
    listeners: Vec<TcpListener>,
    book: Arc<Book>,
    keeper: Arc<Keeper>,
    recovered: Arc<Recovered>,
    introductions: Arc<Introductions>,
    desk: Arc<Desk>,
}

impl Store {
    /// Opens it, and returns once the directory answers.
    ///
    /// # Errors
    /// What is wrong and what to do about it.
    pub async fn open(
        config: &Config,
        plant: Option<Plant>,
        levels: FeatureLevels,
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
        };
        let (wires, node) = place.open().await?;
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
        let client = Client::new(reach, random()?, ClientOptions::default());
        let tls = wires.as_ref().map(|wires| Arc::clone(&wires.tls));
        let keeper = wires.as_ref().map(|wires| Arc::clone(&wires.keeper));
        let member = Member {
            levels,
            ..member(config)
        };
        let controller = wires.map(|wires| connect(wires, &node, &client, member));
        let store = Store {
            node,
            client,
            network,
            tls,
            keeper,
            controller,
        };
        store.wait_for_directory().await?;
        store.announce_first_shards().await?;
        Ok(store)
    }

    /// A node of several may have to wait for another one.
    async fn wait_for_directory(&self) -> Result<(), String> {
        let mut told = Instant::now();
        loop {
            match self.client.query(MetaQuery::Shards).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Unavailable(why)) if self.tls.is_some() => {
                    if told.elapsed() >= WAIT_TOLD_EVERY {
                        told = Instant::now();
                        warn!(
                            why,
                            others = self.troubles(),
                            "waiting for the cluster's directory: too few nodes can be reached"
                        );
                    }
                    process::notify_systemd("EXTEND_TIMEOUT_USEC=60000000");
                    tokio::time::sleep(REACH_EVERY).await;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Why other nodes are not reached, in their own words where they have said some.
    fn troubles(&self) -> String {
        let peers = self.tls.as_ref().map_or(Vec::new(), |tls| tls.peers());
        let away = peers.into_iter().filter(|peer| peer.link != Link::Up);
        let told = away.filter_map(|peer| Some(format!("{}: {}", peer.address, peer.trouble?)));
        told.collect::<Vec<_>>().join("; ")
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
        if self.tls.is_none() {
            return;
        }
        if let Some(controller) = &self.controller {
            controller.abort();
        }
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
        if let Some(tls) = &self.tls {
            tls.shutdown().await;
        }
        if timeout(STORE_STOP_MAX, self.node.shutdown()).await.is_err() {
            warn!("the store did not close in time; the next start replays its log");
        }
    }
}

/// Reads who this node is and opens the port for others, without answering there yet.
async fn wires(config: &Config, dir: &Path, levels: FeatureLevels) -> Result<Wires, String> {
    let identity = Node::identity(dir).map_err(|error| error.to_string())?;
    let Some((cluster, node)) = identity else {
        return Err(format!(
            "{} is empty, and with [cluster] listen nothing is made by itself: an empty disk must not pass for a new \
             cluster. Say `mailrook cluster init` on the first node, or `mailrook node join TOKEN` on a further one; \
             a member says `mailrook node token`",
            dir.display()
        ));
    };
    let folder = cluster_dir(config);
    let papers = Papers::at(&folder);
    let text = |error: mailrook_control::FileError| error.to_string();
    if !papers.exist() {
        // A node that was alone until now.
        info!("making the cluster's certificates");
        papers.found(cluster, node).map_err(text)?;
    }
    let book = Arc::new(Book::open(folder.join("nodes"), node).map_err(text)?);
    book.check_level(levels.highest)?;
    let recovered = Arc::new(Recovered::open(&folder).map_err(text)?);
    let introductions = Arc::new(Introductions::new(Arc::clone(&book)));
    let desk = Arc::new(Desk::default());
    let options = TlsNetworkOptions {
        cluster,
        node,
        credentials: papers.load().map_err(text)?,
        advertise: config.cluster.advertise.clone(),
        wire: WIRE_VERSIONS,
        feature_level: levels.highest,
        introduce: Arc::clone(&introductions) as _,
        join: Some(desk.join_handler()),
    };
    let tls = Arc::new(TlsNetwork::new(options).map_err(|error| error.to_string())?);
    let keeper = Keeper::new(papers, Arc::clone(&tls) as _).map_err(text)?;
    Ok(Wires {
        tls,
        listeners: listeners(&config.cluster.listen).await?,
        book,
        keeper: Arc::new(keeper),
        recovered,
        introductions,
        desk,
    })
}

async fn listeners(addresses: &[Address]) -> Result<Vec<TcpListener>, String> {
    let mut listeners = Vec::new();
    for address in addresses {
        let bound = match address {
            Address::Tcp(address) => TcpListener::bind(address).await,
            Address::Any(port) => TcpListener::bind(("::", *port)).await,
            // Refused by the configuration.
            Address::Unix(_) | Address::Systemd(_) => continue,
        };
        let at_fault = |error| format!("cluster.listen: cannot listen on {address}: {error}");
        listeners.push(bound.map_err(at_fault)?);
    }
    Ok(listeners)
}

/// Where a node is opened, and how.
struct Place<'a> {
    config: &'a Config,
    dir: &'a Path,
    plant: Option<Plant>,
    levels: FeatureLevels,
}

impl Place<'_> {
    async fn open(&self) -> Result<(Option<Wires>, Arc<Node>), String> {
        let text = |error: OpenError| error.to_string();
        if self.config.cluster.listen.is_empty() {
            return Ok((None, self.open_node(None).await.map_err(text)?));
        }
        let wires = wires(self.config, self.dir, self.levels).await?;
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
        stand_by(wires, damaged).await?;
        let wires = self::wires(self.config, self.dir, self.levels).await?;
        let node = self.open_node(Some(&wires)).await.map_err(text)?;
        Ok((Some(wires), node))
    }

    async fn open_node(&self, wires: Option<&Wires>) -> Result<Arc<Node>, OpenError> {
        let store = &self.config.store;
        let options = NodeOptions {
            first_shards: u32::try_from(store.shards).unwrap_or(u32::MAX),
            block_cache_bytes: store.block_cache.as_usize(),
            write_buffer_bytes: store.write_buffer.as_usize(),
            log_cache_bytes: store.log_cache.as_usize(),
            log_bytes_max: store.log_max.0,
            disk_reserve_bytes: store.disk_reserve.0,
            plant: self.plant,
            runtime: Some(tokio::runtime::Handle::current()),
            network: wires.map(|wires| Arc::clone(&wires.tls) as _),
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

/// Answers other nodes and dials them.
fn connect(wires: Wires, node: &Arc<Node>, client: &Client, member: Member) -> JoinHandle<()> {
    let directory: Arc<dyn Directory> = Arc::new(client.clone());
    wires.introductions.opened(node);
    wires.desk.open(DeskParts {
        node: Arc::downgrade(node),
        directory: Arc::clone(&directory),
        keeper: Arc::clone(&wires.keeper),
        recovered: Arc::clone(&wires.recovered),
    });
    let handlers = Handlers {
        consensus: node.consensus_handler(),
        store: client.handler(),
        control: wires.desk.handler(),
        bulk: node.bulk_handler(),
    };
    for listener in wires.listeners {
        if let Ok(address) = listener.local_addr() {
            info!(%address, "other nodes are answered");
        }
        wires.tls.listen(listener, handlers.clone());
    }
    let renewal = Renewal {
        node: Arc::downgrade(node),
        directory: Arc::clone(&directory),
        network: Arc::clone(&wires.tls) as _,
        book: Arc::clone(&wires.book),
        desk: wires.desk,
        keeper: Arc::clone(&wires.keeper),
    };
    // It ends with the node.
    drop(renewal.start());
    let controller = Controller {
        node: Arc::downgrade(node),
        directory,
        shards: Arc::new(client.clone()),
        network: Arc::clone(&wires.tls) as _,
        addresses: Arc::clone(&wires.tls) as _,
        book: wires.book,
        keeper: wires.keeper,
        recovered: wires.recovered,
        member,
    };
    controller.start()
}
