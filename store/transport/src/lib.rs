//! Requests and streams between the nodes of a cluster.
//!
//! A [`Network`] reaches other nodes by their ids; a [`Handler`] for each [`Class`] answers what they ask. Classes do not wait
//! for each other: a snapshot on its way holds up no heartbeat.
//!
//! [`TlsNetwork`] connects nodes over TCP, each proven by a certificate of the [`ClusterCa`]; a new node gets its own with a
//! [`JoinToken`] and [`ask_to_join`]. [`MemoryNetwork`] connects nodes within one process, and can be cut, for tests.
//!
//! *Architecture Invariant:* this crate knows no Raft and no mail. Requests are bytes to it.

mod ca;
mod certificate;
mod memory;
mod network;
mod rejection;
mod tls;
mod token;

pub use ca::{CA_VALIDITY, ClusterCa, NODE_VALIDITY, NodeKey};
pub use certificate::{Certificate, CertificateError, node_name};
pub use memory::{MemoryHub, MemoryNetwork};
pub use network::{
    Alone, CallError, Class, Duplex, Handler, Handlers, ITEM_BYTES_MAX, Link, Network,
    STREAM_ITEMS_MAX,
};
pub use rejection::{RejectCode, Rejection};
pub use tls::{
    Credentials, FEATURE_LEVEL_UNKNOWN, INTRODUCTION_BYTES_MAX, Introduce, JOIN_BYTES_MAX,
    JoinError, JoinHandler, PeerStatus, TlsNetwork, TlsNetworkOptions, WIRE_VERSIONS, WireVersions,
    ask_to_join,
};
pub use token::{JoinToken, TOKEN_ADDRESSES_MAX, TokenError};
