//! The network between the hosts: messages take their time, connections break, ways are cut in one direction or both.
//!
//! Each pair of nodes has a connection. What goes over it in one stream keeps its order; everything else may overtake.
//! Where a way is cut, what is sent waits, as TCP has it wait, and after a while both sides find the link silent. A node
//! that has ended refuses. Every message that arrives goes into the trace, by which two runs are compared.

mod carry;
mod links;
mod streams;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_transport::{CallError, Class, Duplex, Handlers, Introduce, Link, Network};
use mailrook_types::NodeId;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{broadcast, oneshot},
    time::Instant,
};

use crate::chance::Chance;
use streams::Stream;

/// Changes of links that a watcher may lag behind.
const LINK_EVENTS_MAX: usize = 64;

/// Connects the hosts. Clones share everything.
#[derive(Clone)]
pub struct SimNet {
    inner: Arc<Mutex<Inner>>,
}

/// A node that has been started.
struct Present {
    handlers: Handlers,
    /// None where the clients are, which belong to no node.
    introduce: Option<Arc<dyn Introduce>>,
    handle: Handle,
}

/// A call that waits for its answer.
struct Waiting {
    from: NodeId,
    to: NodeId,
    told: oneshot::Sender<Result<Bytes, CallError>>,
}

struct Inner {
    now_ms: u64,
    /// No message is faster.
    latency_min_ms: u64,
    chance: Chance,
    nodes: BTreeMap<NodeId, Present>,
    /// As the node sees its links.
    events: BTreeMap<NodeId, broadcast::Sender<(NodeId, Link)>>,
    links: BTreeMap<(NodeId, NodeId), Link>,
    /// Since when nothing has come through, where that is so.
    blocked: BTreeMap<(NodeId, NodeId), u64>,
    next_ping_ms: u64,
    /// The last ping that came from one to the other.
    pinged: BTreeMap<(NodeId, NodeId), u64>,
    cut: BTreeSet<(NodeId, NodeId)>,
    paused: BTreeSet<NodeId>,
    /// Counts the connections of a pair: what was sent over an earlier one is lost.
    connections: BTreeMap<(NodeId, NodeId), u64>,
    /// By when it arrives, and the order in which it was sent.
    queue: BTreeMap<(u64, u64), Packet>,
    /// On ways that are cut, in order.
    held: Vec<Packet>,
    next: u64,
    calls: BTreeMap<u64, Waiting>,
    streams: BTreeMap<u64, Stream>,
    trace: blake3::Hasher,
    arrived: u64,
}

/// What goes over a connection.
struct Packet {
    from: NodeId,
    to: NodeId,
    connection: u64,
    what: What,
}

enum What {
    Request(u64, Class, Bytes),
    Reply(u64, Result<Bytes, String>),
    Open(u64, Class, Bytes),
    Item(u64, Bytes),
    /// The sender sends nothing more.
    End(u64),
    /// The sender takes nothing more.
    Stop(u64),
    /// What the sender says of itself, with a number that grows.
    Ping(u64, Bytes),
    /// Not sent by anyone: the receiver notices how its link to the sender fares.
    Notice(Link),
}

/// A pair, whoever comes first.
fn pair(one: NodeId, other: NodeId) -> (NodeId, NodeId) {
    (one.min(other), one.max(other))
}

impl SimNet {
    /// A network without nodes, whose messages take at least so long.
    pub fn new(latency_min_ms: u64, chance: Chance) -> SimNet {
        SimNet {
            inner: Arc::new(Mutex::new(Inner {
                now_ms: 0,
                latency_min_ms,
                chance,
                nodes: BTreeMap::new(),
                events: BTreeMap::new(),
                links: BTreeMap::new(),
                blocked: BTreeMap::new(),
                next_ping_ms: 0,
                pinged: BTreeMap::new(),
                cut: BTreeSet::new(),
                paused: BTreeSet::new(),
                connections: BTreeMap::new(),
                queue: BTreeMap::new(),
                held: Vec::new(),
                next: 0,
                calls: BTreeMap::new(),
                streams: BTreeMap::new(),
                trace: blake3::Hasher::new(),
                arrived: 0,
            })),
        }
    }

    /// The network as `node` sees it.
    pub fn network(&self, node: NodeId) -> Arc<SimNetwork> {
        let mut inner = self.inner.lock();
        let events = || broadcast::Sender::new(LINK_EVENTS_MAX);
        inner.events.entry(node).or_insert_with(events);
        Arc::new(SimNetwork {
            node,
            net: self.clone(),
        })
    }

    /// What has arrived until now: a digest, and how much that was.
    pub fn trace(&self) -> (String, u64) {
        let inner = self.inner.lock();
        (inner.trace.finalize().to_hex().to_string(), inner.arrived)
    }
}

/// See [`SimNet::network`].
pub struct SimNetwork {
    node: NodeId,
    net: SimNet,
}

impl SimNetwork {
    fn unreachable(&self, to: NodeId) -> Option<CallError> {
        let refused = self.link(to) != Link::Up && self.link(to) != Link::Silent;
        refused.then(|| CallError::Unreachable {
            to,
            cause: "nobody listens there".into(),
        })
    }
}

impl Network for SimNetwork {
    fn node(&self) -> NodeId {
        self.node
    }

    fn call(
        &self,
        to: NodeId,
        class: Class,
        request: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        if let Some(error) = self.unreachable(to) {
            return async move { Err(error) }.boxed();
        }
        let (told, answered) = oneshot::channel();
        {
            let mut inner = self.net.inner.lock();
            let call = inner.number();
            let from = self.node;
            inner.calls.insert(call, Waiting { from, to, told });
            inner.send(from, to, What::Request(call, class, request));
        }
        async move {
            let lost = |cause: &str| CallError::Lost {
                to,
                cause: cause.into(),
            };
            match tokio::time::timeout_at(deadline, answered).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(lost("the connection broke")),
                Err(_) => Err(lost("the time is over")),
            }
        }
        .boxed()
    }

    fn open(&self, to: NodeId, class: Class, request: Bytes) -> Result<Duplex, CallError> {
        match self.unreachable(to) {
            Some(error) => Err(error),
            None => Ok(self.net.open(self.node, to, class, request)),
        }
    }

    fn link(&self, to: NodeId) -> Link {
        let inner = self.net.inner.lock();
        let link = inner.links.get(&(self.node, to));
        link.copied().unwrap_or(Link::Down)
    }

    fn links(&self) -> broadcast::Receiver<(NodeId, Link)> {
        let inner = self.net.inner.lock();
        match inner.events.get(&self.node) {
            Some(events) => events.subscribe(),
            // It was added when this value was made.
            None => broadcast::channel(1).1,
        }
    }
}
