//! [`TlsNetwork`] and what it is made with.

use std::{collections::HashMap, fmt, net::IpAddr, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_types::NodeId;
use parking_lot::{Mutex, RwLock};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, broadcast, watch},
    task::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    accept::accept,
    connection::Connection,
    credentials::{Credentials, Tls, check_owner},
    hello::Hello,
    join::{JOINING_MAX, JoinHandler},
    link::keep,
    peer::{Peer, PeerStatus},
    stream,
};
use crate::{
    CallError, CertificateError, Class, Duplex, Handlers, ITEM_BYTES_MAX, Link, Network, Rejection,
    network::too_long,
};

/// What this release speaks.
pub const WIRE_VERSIONS: WireVersions = WireVersions {
    lowest: 1,
    highest: 1,
};

/// The feature level of a program that has none.
pub const FEATURE_LEVEL_UNKNOWN: u32 = 0;

/// What [`Introduce::introduce`] gives is at most this long.
pub const INTRODUCTION_BYTES_MAX: usize = 4 << 10;

/// The longest host name is 253 bytes.
const ADDRESS_BYTES_MAX: usize = 300;

/// Changes of links that a watcher may lag behind.
const LINK_EVENTS_MAX: usize = 256;

/// How long a stream waits for its connection before it breaks.
const OPEN_MAX: Duration = Duration::from_secs(5);

/// How long shutting down waits for the last words.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);

/// Versions of the frames between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireVersions {
    /// The oldest that is spoken.
    pub lowest: u16,
    /// The newest that is spoken.
    pub highest: u16,
}

impl fmt::Display for WireVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.lowest, self.highest)
    }
}

/// What nodes tell each other of themselves in each hello and each ping, beyond what their certificates say.
pub trait Introduce: Send + Sync + 'static {
    /// What this node says of itself: opaque here, at most [`INTRODUCTION_BYTES_MAX`].
    fn introduce(&self) -> Bytes;

    /// Judges what another node says of itself. An error closes the connection, and its text goes to the other node. It is
    /// called where frames are read, and must not block.
    fn admit(&self, from: NodeId, introduction: Bytes) -> Result<(), Rejection>;

    /// Another node, which has proven to be `by`, does not speak to this one. It must not block, either.
    fn rejected(&self, _by: NodeId, _rejection: &Rejection) {}

    /// Judges the feature level of another node's program, when a connection begins. An error refuses it, as with
    /// [`Introduce::admit`].
    fn admit_level(&self, _from: NodeId, _level: u32) -> Result<(), String> {
        Ok(())
    }

    /// A node is not dialled any more: what it said of itself does not count from now on. May be told more than once.
    fn forget(&self, _node: NodeId) {}
}

/// What a [`TlsNetwork`] is made with.
#[derive(Clone)]
pub struct TlsNetworkOptions {
    /// Only nodes of the same cluster are spoken to.
    pub cluster: u128,
    /// This node.
    pub node: NodeId,
    /// For this node of this cluster.
    pub credentials: Credentials,
    /// Where this node is dialled: `host:port`. The others are told.
    pub advertise: String,
    /// What is spoken: [`WIRE_VERSIONS`].
    pub wire: WireVersions,
    /// Of this program: told to the others, who judge it by [`Introduce::admit_level`].
    pub feature_level: u32,
    /// Introductions.
    pub introduce: Arc<dyn Introduce>,
    /// Answers those who ask to join; without it they are refused.
    pub join: Option<Arc<dyn JoinHandler>>,
}

/// What all tasks of a network share.
pub(crate) struct Shared {
    pub(crate) node: NodeId,
    pub(crate) cluster: u128,
    pub(crate) introduce: Arc<dyn Introduce>,
    pub(crate) join: Option<Arc<dyn JoinHandler>>,
    pub(crate) joining: Semaphore,
    advertise: String,
    wire: WireVersions,
    feature_level: u32,
    incarnation: u64,
    tls: RwLock<Arc<Tls>>,
    peers: RwLock<HashMap<NodeId, Arc<Peer>>>,
    /// Connections that others have dialled. A node has one for each class: a new one takes the place of the old one.
    pub(crate) incoming: Mutex<HashMap<(NodeId, Class), Arc<Connection>>>,
    events: broadcast::Sender<(NodeId, Link)>,
    stop: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn tls(&self) -> Arc<Tls> {
        Arc::clone(&self.tls.read())
    }

    /// What this node says first.
    pub(crate) fn hello(&self, class: Class) -> Hello {
        let mut introduction = self.introduce.introduce();
        debug_assert!(introduction.len() <= INTRODUCTION_BYTES_MAX);
        introduction.truncate(INTRODUCTION_BYTES_MAX);
        Hello {
            wire: self.wire,
            cluster: self.cluster,
            node: self.node,
            class,
            incarnation: self.incarnation,
            feature_level: self.feature_level,
            address: self.advertise.clone(),
            introduction,
        }
    }

    /// Ends a connection whose other side proved itself by a CA that is trusted no longer.
    pub(crate) fn check_trust(&self, connection: &Connection) {
        let tls = self.tls();
        let certificate = connection.certificate();
        if !certificate.is_some_and(|certificate| tls.believes(certificate)) {
            tracing::info!(peer = %connection.peer(), "a connection ends: its CA is trusted no longer");
            let words = "your certificate is of a CA that is trusted no longer".to_owned();
            connection.reject(&words.into());
        }
    }

    /// A node has proven that it is at this address.
    pub(crate) fn came_from(&self, node: NodeId, address: IpAddr) {
        if let Some(peer) = self.peers.read().get(&node) {
            peer.came_from(address);
        }
    }

    /// Whether a known node is at this address.
    pub(crate) fn is_node_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.peers.read().values().any(|peer| peer.is_at(address))
    }

    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // An error cannot be: the sender is part of `self`.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    pub(crate) fn add_incoming(&self, node: NodeId, class: Class, new: &Arc<Connection>) {
        let old = self.incoming.lock().insert((node, class), Arc::clone(new));
        if let Some(old) = old {
            old.close("there is a new connection");
        }
        if *self.stop.borrow() {
            new.close("this node stops");
        }
        self.check_trust(new);
        // It is there: no need to wait any longer before it is dialled.
        if let Some(peer) = self.peers.read().get(&node)
            && peer.link() != Link::Up
        {
            peer.nudge.notify_one();
        }
    }

    pub(crate) fn remove_incoming(&self, node: NodeId, class: Class, ended: &Arc<Connection>) {
        let mut incoming = self.incoming.lock();
        if incoming
            .get(&(node, class))
            .is_some_and(|now| Arc::ptr_eq(now, ended))
        {
            incoming.remove(&(node, class));
        }
    }
}

/// Reaches the other nodes of a cluster over TCP and TLS. Made and used within a Tokio runtime; dropping it ends all of its
/// connections.
pub struct TlsNetwork {
    shared: Arc<Shared>,
    listening: Mutex<Vec<JoinHandle<()>>>,
}

impl TlsNetwork {
    /// A network that knows nobody yet, and is not reached: see [`TlsNetwork::set_address`] and [`TlsNetwork::listen`].
    pub fn new(options: TlsNetworkOptions) -> Result<TlsNetwork, CertificateError> {
        check_owner(&options.credentials, options.cluster, options.node)?;
        let tls = options.credentials.tls()?;
        let mut advertise = options.advertise;
        if advertise.len() > ADDRESS_BYTES_MAX {
            advertise.clear();
        }
        let shared = Shared {
            node: options.node,
            cluster: options.cluster,
            introduce: options.introduce,
            join: options.join,
            joining: Semaphore::new(JOINING_MAX),
            advertise,
            wire: options.wire,
            feature_level: options.feature_level,
            incarnation: rand::random(),
            tls: RwLock::new(Arc::new(tls)),
            peers: RwLock::default(),
            incoming: Mutex::default(),
            events: broadcast::Sender::new(LINK_EVENTS_MAX),
            stop: watch::Sender::new(false),
        };
        Ok(TlsNetwork {
            shared: Arc::new(shared),
            listening: Mutex::default(),
        })
    }

    /// From now on `handlers` answer what other nodes ask at this listener.
    pub fn listen(&self, listener: TcpListener, handlers: Handlers) {
        let accepting = tokio::spawn(accept(Arc::clone(&self.shared), listener, handlers));
        self.listening.lock().push(accepting);
    }

    /// Where a node is dialled, as `host:port`; names are looked up each time. It is dialled from now on.
    pub fn set_address(&self, node: NodeId, address: &str) {
        if node == self.shared.node {
            return;
        }
        let mut peers = self.shared.peers.write();
        if let Some(peer) = peers.get(&node) {
            peer.address.send_if_modified(|now| {
                let changed = now != address;
                address.clone_into(now);
                changed
            });
            return;
        }
        let peer = Arc::new(Peer::new(node, address, self.shared.events.clone()));
        for class in Class::ALL {
            tokio::spawn(keep(Arc::clone(&self.shared), Arc::clone(&peer), class));
        }
        peers.insert(node, peer);
    }

    /// Ends the connections with a node, and does not dial it any more.
    pub fn forget(&self, node: NodeId) {
        let peer = self.shared.peers.write().remove(&node);
        if let Some(peer) = peer {
            peer.forget("it was removed");
        }
        for ((from, _), connection) in &*self.shared.incoming.lock() {
            if *from == node {
                connection.close("it was removed");
            }
        }
        self.shared.introduce.forget(node);
    }

    /// Uses other credentials for new connections. Of those that exist, the ones end whose other side proved itself by a CA
    /// that is trusted no longer; they are made anew at once, if it has proof that is.
    pub fn replace_credentials(&self, credentials: &Credentials) -> Result<(), CertificateError> {
        check_owner(credentials, self.shared.cluster, self.shared.node)?;
        *self.shared.tls.write() = Arc::new(credentials.tls()?);
        // What is just being made is looked at once it counts as connected.
        let mut all: Vec<_> = self.shared.incoming.lock().values().cloned().collect();
        let peers = self.shared.peers.read();
        all.extend(peers.values().flat_map(|peer| peer.connections()));
        drop(peers);
        for connection in all {
            self.shared.check_trust(&connection);
        }
        Ok(())
    }

    /// How the known nodes fare.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let peers = self.shared.peers.read();
        let mut all: Vec<_> = peers.values().map(|peer| peer.status()).collect();
        all.sort_by_key(|status| status.node);
        all
    }

    /// Differs for each [`TlsNetwork`]: others see it as [`PeerStatus::incarnation`].
    pub fn incarnation(&self) -> u64 {
        self.shared.incarnation
    }

    /// Ends all connections, and waits until the listeners are closed.
    pub async fn shutdown(&self) {
        self.stop();
        let listening = std::mem::take(&mut *self.listening.lock());
        let closed = futures::future::join_all(listening);
        // An error means that one of them panicked.
        let _ = tokio::time::timeout(SHUTDOWN_MAX, closed).await;
    }

    fn stop(&self) {
        self.shared.stop.send_replace(true);
        for connection in self.shared.incoming.lock().values() {
            connection.close("this node stops");
        }
        for peer in self.shared.peers.read().values() {
            peer.forget("this node stops");
        }
    }

    fn peer(&self, node: NodeId) -> Result<Arc<Peer>, CallError> {
        let unreachable = |cause: &str| CallError::Unreachable {
            to: node,
            cause: cause.into(),
        };
        if node == self.shared.node {
            return Err(unreachable("that is this node itself"));
        }
        let peer = self.shared.peers.read().get(&node).cloned();
        peer.ok_or_else(|| unreachable("its address is not known"))
    }
}

impl Drop for TlsNetwork {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for TlsNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsNetwork")
            .field("node", &self.shared.node)
            .finish_non_exhaustive()
    }
}

impl Network for TlsNetwork {
    fn node(&self) -> NodeId {
        self.shared.node
    }

    fn call(
        &self,
        to: NodeId,
        class: Class,
        request: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let peer = self.peer(to);
        async move {
            let connection = peer?.connection(class, deadline).await?;
            connection.call(request, deadline).await
        }
        .boxed()
    }

    fn open(&self, to: NodeId, class: Class, request: Bytes) -> Result<Duplex, CallError> {
        let peer = self.peer(to)?;
        if request.len() > ITEM_BYTES_MAX {
            let cause = too_long("request", &request);
            return Err(CallError::Refused { to, cause });
        }
        peer.trouble(class)?;
        let (duplex, inner) = stream::channels();
        tokio::spawn(async move {
            match peer.connection(class, Instant::now() + OPEN_MAX).await {
                Ok(connection) => connection.open(request, inner).await,
                // The stream breaks, as it would a moment later.
                Err(error) => tracing::debug!(%error, "a stream cannot be opened"),
            }
        });
        Ok(duplex)
    }

    fn link(&self, to: NodeId) -> Link {
        let peers = self.shared.peers.read();
        peers.get(&to).map_or(Link::Down, |peer| peer.link())
    }

    fn links(&self) -> broadcast::Receiver<(NodeId, Link)> {
        self.shared.events.subscribe()
    }
}
