//! The contract between those who ask other nodes, those who answer, and what carries it.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use mailrook_types::NodeId;
use thiserror::Error;
use tokio::{
    sync::{broadcast, mpsc},
    time::Instant,
};

/// A request, a reply or an item of a stream is at most this long: two reads of the log of 4 MiB each.
pub const ITEM_BYTES_MAX: usize = 8 << 20;

/// The words for a request, reply or item that cannot be sent.
pub(crate) fn too_long(what: &str, bytes: &Bytes) -> String {
    let len = bytes.len();
    format!("the {what} has {len} bytes, more than the {ITEM_BYTES_MAX} that can be sent at once")
}

/// Items of one stream and direction that wait to be sent, or to be taken. Then the sender waits.
pub const STREAM_ITEMS_MAX: usize = 32;

/// What a request is for. Each class has connections of its own, so that none waits behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Votes, log entries, heartbeats.
    Consensus,
    /// What front ends ask of the shards.
    Store,
    /// Membership, placement, status.
    Control,
    /// Snapshots and moves.
    Bulk,
}

impl Class {
    /// All of them, in the order of their numbers on the wire.
    pub const ALL: [Class; 4] = [Class::Consensus, Class::Store, Class::Control, Class::Bulk];
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Consensus => "consensus",
            Class::Store => "store",
            Class::Control => "control",
            Class::Bulk => "bulk",
        })
    }
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// The request was not sent: the node is not known, or there is no connection to it.
    #[error("{to} cannot be reached: {cause}")]
    Unreachable {
        /// Which node.
        to: NodeId,
        /// Why.
        cause: String,
    },
    /// The request was sent, and then the connection broke or the time was over. It may have been carried out.
    #[error("no answer from {to}: {cause}")]
    Lost {
        /// Which node.
        to: NodeId,
        /// Why.
        cause: String,
    },
    /// The other node's handler refused it, or it is too long to be sent. To ask again is of no use.
    #[error("{to} refused: {cause}")]
    Refused {
        /// Which node.
        to: NodeId,
        /// Its words.
        cause: String,
    },
}

/// How the way to a node fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Connected.
    Up,
    /// The connection broke, and a new one cannot be made yet; or there never was one.
    Down,
    /// The connection broke, and nobody listens there: the process has ended.
    Refused,
    /// Connected, and nothing is heard: the machine is paused or cut off.
    Silent,
}

/// A stream in both directions. Dropping `outgoing` ends it in that direction; `incoming` gives `None` once the other
/// side has ended it or the connection broke. Which of both is for the items themselves to say.
#[derive(Debug)]
pub struct Duplex {
    /// To the other side; waits while it does not take what was sent.
    pub outgoing: mpsc::Sender<Bytes>,
    /// From the other side.
    pub incoming: mpsc::Receiver<Bytes>,
}

/// Reaches other nodes.
pub trait Network: Send + Sync + 'static {
    /// This node.
    fn node(&self) -> NodeId;

    /// Sends a request, and waits for the reply until `deadline`. To itself is an error: callers know who they are.
    fn call(
        &self,
        to: NodeId,
        class: Class,
        request: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Bytes, CallError>>;

    /// Opens a stream. It is open at once, before the other side has heard of it; what is sent may be lost with the
    /// connection.
    fn open(&self, to: NodeId, class: Class, request: Bytes) -> Result<Duplex, CallError>;

    /// How the way to a node fares. For one that is not known: [`Link::Down`].
    fn link(&self, to: NodeId) -> Link;

    /// Changes of links from now on. Who lags behind asks [`Network::link`].
    fn links(&self) -> broadcast::Receiver<(NodeId, Link)>;
}

/// Answers the requests of one class.
pub trait Handler: Send + Sync + 'static {
    /// Answers a request; the error's text goes to who asked.
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>>;

    /// Serves a stream, for as long as the future runs.
    fn open(&self, from: NodeId, request: Bytes, stream: Duplex) -> BoxFuture<'static, ()>;
}

/// Who answers what.
#[derive(Clone)]
pub struct Handlers {
    /// [`Class::Consensus`]
    pub consensus: Arc<dyn Handler>,
    /// [`Class::Store`]
    pub store: Arc<dyn Handler>,
    /// [`Class::Control`]
    pub control: Arc<dyn Handler>,
    /// [`Class::Bulk`]
    pub bulk: Arc<dyn Handler>,
}

impl Handlers {
    /// That of a class.
    pub fn of(&self, class: Class) -> &Arc<dyn Handler> {
        match class {
            Class::Consensus => &self.consensus,
            Class::Store => &self.store,
            Class::Control => &self.control,
            Class::Bulk => &self.bulk,
        }
    }
}

/// The network of a node that is alone: it reaches nobody.
#[derive(Clone, Copy, Debug)]
pub struct Alone(
    /// The node.
    pub NodeId,
);

impl Alone {
    fn unreachable(to: NodeId) -> CallError {
        CallError::Unreachable {
            to,
            cause: "this node is not connected to others: [cluster] listen is not set".into(),
        }
    }
}

impl Network for Alone {
    fn node(&self) -> NodeId {
        self.0
    }

    fn call(
        &self,
        to: NodeId,
        _class: Class,
        _request: Bytes,
        _deadline: Instant,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        Box::pin(async move { Err(Alone::unreachable(to)) })
    }

    fn open(&self, to: NodeId, _class: Class, _request: Bytes) -> Result<Duplex, CallError> {
        Err(Alone::unreachable(to))
    }

    fn link(&self, _to: NodeId) -> Link {
        Link::Down
    }

    fn links(&self) -> broadcast::Receiver<(NodeId, Link)> {
        // Nothing ever changes: its sender is gone.
        broadcast::channel(1).1
    }
}
