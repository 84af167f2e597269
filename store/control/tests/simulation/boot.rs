//! What runs on a node: its back end, its front end's client, its controller and its desk.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use mailrook_cluster::{DiskSpace, GroupRole, Node, NodeOptions, Parts, simulation};
use mailrook_control::{
    Addresses, Book, Controller, Desk, DeskParts, FEATURE_LEVELS, Introductions, Keeper, Member,
    Papers, Presents, Recovered,
};
use mailrook_store_client::{Client, ClientOptions, Reach, machines};
use mailrook_transport::{CertificateError, Credentials, Handlers, Network};
use mailrook_types::NodeId;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::{disk::SimDisk, tables::SimEngine, world::Shared};

/// Small, so that within a simulation tables are flushed, logs are cut and snapshots are sent.
const WRITE_BUFFER_BYTES: usize = 24 << 10;
const LOG_BYTES_MAX: u64 = 64 << 10;

/// What a process is started with.
pub struct Boot {
    pub id: NodeId,
    pub dir: PathBuf,
    pub disk: SimDisk,
    pub clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    pub peers: Vec<NodeId>,
    pub shared: Arc<Shared>,
    /// Takes the node once it is open.
    pub slot: Arc<Mutex<Option<Arc<Node>>>>,
}

struct Room;

impl DiskSpace for Room {
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(1 << 40)
    }
}

/// The simulated network knows where everybody is.
struct Known;

impl Addresses for Known {
    fn set(&self, _node: NodeId, _address: &str) {}

    fn forget(&self, _node: NodeId) {}
}

/// The simulated network believes everybody.
struct Believed;

impl Presents for Believed {
    fn present(&self, _credentials: &Credentials) -> Result<(), CertificateError> {
        Ok(())
    }
}

/// Papers that nobody asks for, as no CA is handed over: keys are random.
fn keeper(folder: &Path, id: NodeId) -> Keeper {
    let papers = Papers::at(folder);
    if !papers.exist() {
        papers.found(1, id).unwrap();
        std::fs::remove_file(folder.join("ca.pem")).unwrap();
    }
    Keeper::new(papers, Arc::new(Believed)).unwrap()
}

/// What a node is called.
pub fn member(id: NodeId) -> Member {
    Member {
        name: format!("node-{}", id.0),
        address: format!("node-{}:2300", id.0),
        zone: String::new(),
        levels: FEATURE_LEVELS,
        front: None,
    }
}

/// A mark that no other process has.
pub fn nonce() -> [u8; 16] {
    let mut nonce = [0; 16];
    simulation::fill_random(&mut nonce).unwrap();
    nonce
}

/// Runs the process, as far as it is not in tasks of its own.
pub async fn boot(boot: Boot) {
    let network: Arc<dyn Network> = boot.shared.net.network(boot.id);
    let cluster = boot.dir.join("cluster");
    std::fs::create_dir_all(&cluster).unwrap();
    let book = Arc::new(Book::open(cluster.join("nodes"), boot.id).unwrap());
    let options = NodeOptions {
        others: book.members(),
        ..options(&boot, &network)
    };
    let opened = Node::open_with(options, machines(), parts(&boot)).await;
    let node = match opened {
        Ok(node) => Arc::new(node),
        Err(error) => {
            let id = boot.id;
            return boot.shared.incident(format!("{id} does not open: {error}"));
        }
    };
    // Damage of one copy does not keep the others from being opened.
    for status in node.status().groups {
        if let GroupRole::Stopped { cause } = status.role {
            let (id, shard) = (boot.id, status.shard);
            let what = format!("{id} does not open its copy of group {shard}: {cause}");
            boot.shared.incident(what);
        }
    }
    let reach = Reach {
        copies: Arc::clone(&node) as _,
        network: Arc::clone(&network),
        peers: Arc::new(boot.peers.clone()),
    };
    let client = Client::new(reach, nonce(), ClientOptions::default());
    let keeper = Arc::new(keeper(&cluster, boot.id));
    let recovered = Arc::new(Recovered::open(&cluster).unwrap());
    let desk = Arc::new(Desk::default());
    desk.open(DeskParts {
        node: Arc::downgrade(&node),
        directory: Arc::new(client.clone()),
        keeper: Arc::clone(&keeper),
        recovered: Arc::clone(&recovered),
        has_store: true,
    });
    let controller = Controller {
        node: Arc::downgrade(&node),
        directory: Arc::new(client.clone()),
        shards: Arc::new(client.clone()),
        network,
        addresses: Arc::new(Known),
        book: Arc::clone(&book),
        keeper,
        recovered,
        desk: Arc::clone(&desk),
        member: member(boot.id),
        moves: Arc::default(),
    };
    controller.start();
    let handlers = Handlers {
        consensus: node.consensus_handler(),
        store: client.handler(),
        control: desk.handler(),
        bulk: node.bulk_handler(),
    };
    let introductions = Arc::new(Introductions::new(book));
    introductions.opened(&node);
    let net = &boot.shared.net;
    net.start(boot.id, handlers, Some(introductions), Handle::current());
    *boot.slot.lock() = Some(node);
}

fn options(boot: &Boot, network: &Arc<dyn Network>) -> NodeOptions {
    NodeOptions {
        write_buffer_bytes: WRITE_BUFFER_BYTES,
        log_bytes_max: LOG_BYTES_MAX,
        log_cache_bytes: 32 << 10,
        disk_reserve_bytes: 0,
        runtime: Some(Handle::current()),
        network: Some(Arc::clone(network)),
        plant: boot.shared.plant,
        ..NodeOptions::new(&boot.dir)
    }
}

fn parts(boot: &Boot) -> Parts {
    let (shared, id, clock) = (Arc::clone(&boot.shared), boot.id, Arc::clone(&boot.clock));
    Parts::default()
        .log(Arc::new(boot.disk.clone()))
        .tables(Arc::new(SimEngine))
        .space(Room)
        .wall_clock(move || clock())
        .on_fatal(move |_| shared.failed.lock().push(id))
}

/// Answers nothing.
pub struct Nobody;

impl mailrook_transport::Handler for Nobody {
    fn call(
        &self,
        _from: NodeId,
        _request: Bytes,
    ) -> futures::future::BoxFuture<'static, Result<Bytes, String>> {
        Box::pin(async { Err("nobody answers this".to_owned()) })
    }

    fn open(
        &self,
        _from: NodeId,
        _request: Bytes,
        _stream: mailrook_transport::Duplex,
    ) -> futures::future::BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}
