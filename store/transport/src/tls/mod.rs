//! Nodes in processes of their own: TCP, TLS 1.3 with certificates on both sides, and frames.
//!
//! One TCP connection goes from each node to each other node for each class. The dialer's requests go out on it and the
//! replies come back; what the other node asks travels on the connections that it dialled itself. [`frame`] says how the bytes
//! lie, [`hello`] how a connection begins.
//!
//! ```text
//! TlsNetwork ─▶ Peer ─▶ keepers, one a class ─▶ dial ──┐
//!                                                      ├─▶ Connection ─▶ Outbox, streams
//!               listener ─▶ accept ─▶ join │ welcome ──┘
//! ```

mod accept;
mod calls;
mod connection;
mod credentials;
mod dial;
mod frame;
mod hello;
mod join;
mod link;
mod outbox;
mod peer;
mod places;
mod served;
mod stream;
mod tcp;
mod tls_network;

pub use credentials::Credentials;
pub use join::{JOIN_BYTES_MAX, JoinError, JoinHandler, ask_to_join};
pub use peer::PeerStatus;
pub use tls_network::{
    FEATURE_LEVEL_UNKNOWN, INTRODUCTION_BYTES_MAX, Introduce, TlsNetwork, TlsNetworkOptions,
    WIRE_VERSIONS, WireVersions,
};
