//! Nodes within one process, for tests: what is cut is silent, what is stopped refuses. What is too long between machines is
//! too long here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_types::NodeId;
use parking_lot::Mutex;
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::Instant,
};

use crate::{
    CallError, Class, Duplex, Handlers, ITEM_BYTES_MAX, Link, Network, STREAM_ITEMS_MAX,
    network::too_long,
};

/// Changes of links that a watcher may lag behind.
const LINK_EVENTS_MAX: usize = 64;

/// Connects [`MemoryNetwork`]s. Clones share everything.
#[derive(Clone)]
pub struct MemoryHub {
    hub: Arc<Hub>,
}

struct Hub {
    nodes: Mutex<BTreeMap<NodeId, Present>>,
    /// Ways that carry nothing, each in one direction.
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
    /// Counts the changes of both.
    changed: watch::Sender<u64>,
}

struct Present {
    /// None once it is stopped.
    handlers: Option<Handlers>,
    /// Differs for each time it is started.
    start: u64,
    links: broadcast::Sender<(NodeId, Link)>,
}

impl Default for MemoryHub {
    fn default() -> MemoryHub {
        MemoryHub {
            hub: Arc::new(Hub {
                nodes: Mutex::default(),
                cut: Mutex::default(),
                changed: watch::channel(0).0,
            }),
        }
    }
}

impl MemoryHub {
    /// The network as `node` sees it.
    pub fn network(&self, node: NodeId) -> MemoryNetwork {
        let links = broadcast::Sender::new(LINK_EVENTS_MAX);
        let present = Present {
            handlers: None,
            start: 0,
            links,
        };
        self.hub.nodes.lock().entry(node).or_insert(present);
        MemoryNetwork {
            node,
            hub: self.clone(),
        }
    }

    /// From now on `handlers` answer what is asked of `node`.
    pub fn start(&self, node: NodeId, handlers: Handlers) {
        if let Some(present) = self.hub.nodes.lock().get_mut(&node) {
            present.handlers = Some(handlers);
            present.start += 1;
        }
        self.tell(node, Link::Up);
    }

    /// As if the process of `node` had ended.
    pub fn stop(&self, node: NodeId) {
        if let Some(present) = self.hub.nodes.lock().get_mut(&node) {
            present.handlers = None;
        }
        self.tell(node, Link::Refused);
    }

    /// Nothing goes from `from` to `to` any more, and nobody is told.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.hub.cut.lock().insert((from, to));
        self.count();
    }

    /// It goes again.
    pub fn heal(&self, from: NodeId, to: NodeId) {
        self.hub.cut.lock().remove(&(from, to));
        self.count();
    }

    fn count(&self) {
        self.hub.changed.send_modify(|changes| *changes += 1);
    }

    fn tell(&self, node: NodeId, link: Link) {
        self.count();
        for (other, present) in &*self.hub.nodes.lock() {
            if *other != node {
                // An error means that nobody listens.
                let _ = present.links.send((node, link));
            }
        }
    }

    fn passes(&self, from: NodeId, to: NodeId) -> bool {
        !self.hub.cut.lock().contains(&(from, to))
    }

    /// The node's handlers with the number of its start.
    fn present(&self, node: NodeId) -> Option<(Handlers, u64)> {
        let nodes = self.hub.nodes.lock();
        let present = nodes.get(&node)?;
        Some((present.handlers.clone()?, present.start))
    }

    fn runs(&self, node: NodeId, start: u64) -> bool {
        self.present(node).is_some_and(|(_, now)| now == start)
    }

    /// Waits until the way is open; false if the node that serves is stopped first.
    async fn until_open(&self, from: NodeId, to: NodeId, serves: (NodeId, u64)) -> bool {
        let mut changed = self.hub.changed.subscribe();
        loop {
            if !self.runs(serves.0, serves.1) {
                return false;
            }
            if self.passes(from, to) {
                return true;
            }
            if changed.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Waits until `node` is stopped.
    async fn until_stopped(&self, node: NodeId, start: u64) {
        let mut changed = self.hub.changed.subscribe();
        while self.runs(node, start) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Carries items, as long as both run.
    async fn pump(
        self,
        way: (NodeId, NodeId),
        serves: (NodeId, u64),
        mut from: mpsc::Receiver<Bytes>,
        to: mpsc::Sender<Bytes>,
    ) {
        loop {
            let item = tokio::select! {
                item = from.recv() => item,
                () = to.closed() => None,
            };
            let Some(item) = item.filter(|item| item.len() <= ITEM_BYTES_MAX) else {
                return;
            };
            if !self.until_open(way.0, way.1, serves).await || to.send(item).await.is_err() {
                return;
            }
        }
    }
}

/// See [`MemoryHub::network`].
#[derive(Clone)]
pub struct MemoryNetwork {
    node: NodeId,
    hub: MemoryHub,
}

impl MemoryNetwork {
    fn find(&self, to: NodeId) -> Result<(Handlers, u64), CallError> {
        let unreachable = || CallError::Unreachable {
            to,
            cause: "it is stopped".into(),
        };
        self.hub.present(to).ok_or_else(unreachable)
    }
}

impl Network for MemoryNetwork {
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
        let (hub, node, found) = (self.hub.clone(), self.node, self.find(to));
        let refused = move |cause: String| CallError::Refused { to, cause };
        async move {
            let (handlers, start) = found?;
            if request.len() > ITEM_BYTES_MAX {
                return Err(refused(too_long("request", &request)));
            }
            let lost = |cause: &str| CallError::Lost {
                to,
                cause: cause.into(),
            };
            let there = hub.until_open(node, to, (to, start));
            match tokio::time::timeout_at(deadline, there).await {
                Ok(true) => {}
                Ok(false) => return Err(lost("it was stopped")),
                Err(_) => return Err(lost("the time is over")),
            }
            // The handler goes on when the caller gives up, as another process would, but not when it is stopped.
            let handling = handlers.of(class).call(node, request);
            let stopped = hub.clone();
            let answering = tokio::spawn(async move {
                tokio::select! {
                    answer = handling => answer,
                    () = stopped.until_stopped(to, start) => Err("it was stopped".to_owned()),
                }
            });
            drop(handlers);
            let answered = async {
                let answer = tokio::select! {
                    answer = answering => answer,
                    () = hub.until_stopped(to, start) => return Err(lost("it was stopped")),
                };
                if !hub.until_open(to, node, (to, start)).await {
                    return Err(lost("it was stopped"));
                }
                match answer {
                    Ok(Ok(reply)) if reply.len() > ITEM_BYTES_MAX => {
                        Err(refused(too_long("reply", &reply)))
                    }
                    Ok(Ok(reply)) => Ok(reply),
                    Ok(Err(cause)) => Err(refused(cause)),
                    Err(_) => Err(lost("its handler panicked")),
                }
            };
            tokio::time::timeout_at(deadline, answered)
                .await
                .unwrap_or_else(|_| Err(lost("the time is over")))
        }
        .boxed()
    }

    fn open(&self, to: NodeId, class: Class, request: Bytes) -> Result<Duplex, CallError> {
        let (handlers, start) = self.find(to)?;
        let (hub, node) = (self.hub.clone(), self.node);
        let (outgoing, from_here) = mpsc::channel(STREAM_ITEMS_MAX);
        let (to_there, incoming_there) = mpsc::channel(STREAM_ITEMS_MAX);
        let (outgoing_there, from_there) = mpsc::channel(STREAM_ITEMS_MAX);
        let (to_here, incoming) = mpsc::channel(STREAM_ITEMS_MAX);
        let there = Duplex {
            outgoing: outgoing_there,
            incoming: incoming_there,
        };
        tokio::spawn(async move {
            if !hub.until_open(node, to, (to, start)).await {
                return;
            }
            let serving = handlers.of(class).open(node, request, there);
            let forth = hub
                .clone()
                .pump((node, to), (to, start), from_here, to_there);
            let back = hub
                .clone()
                .pump((to, node), (to, start), from_there, to_here);
            let carried = async { tokio::join!(serving, forth, back) };
            tokio::select! {
                _ = carried => {}
                () = hub.until_stopped(to, start) => {}
            }
        });
        Ok(Duplex { outgoing, incoming })
    }

    fn link(&self, to: NodeId) -> Link {
        match self.hub.present(to) {
            Some(_) => Link::Up,
            None => Link::Refused,
        }
    }

    fn links(&self) -> broadcast::Receiver<(NodeId, Link)> {
        let nodes = self.hub.hub.nodes.lock();
        match nodes.get(&self.node) {
            Some(present) => present.links.subscribe(),
            // It was added when this value was made.
            None => broadcast::channel(1).1,
        }
    }
}
