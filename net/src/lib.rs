//! What the protocol servers stand on: listeners, limits, TLS, and one stream type over all of it.
//!
//! A server binds a [`Listener`] and gives [`serve`] a function that runs one session. `serve` accepts, reads the
//! PROXY header where one is due, does TLS, counts and refuses, gives each session an id and a tracing span, ends
//! those that do not log in, and drains them when the process stops:
//!
//! ```text
//! let listener = Listener::bind(&Bind::Tcp("[::]:143".parse()?))?;
//! serve(listener, settings, shutdown, move |connection: Connection| session(connection, store.clone())).await;
//! ```
//!
//! A session that speaks STARTTLS calls [`Stream::start_tls`]; one that waits for its client calls
//! [`Stream::wait_readable`] and holds no buffer meanwhile.
//!
//! *Architecture Invariant:* this crate knows no mail protocol: what a refused client is told, its caller says. It
//! starts no task for a connection that it refuses.

mod blocking;
mod certificate;
mod limits;
mod listener;
mod network;
pub mod proxy_protocol;
mod registry;
mod serve;
mod session_id;
mod shutdown;
mod stream;
#[cfg(test)]
mod test_tls;
mod throttle;
mod tls;
mod turn_away;

pub use blocking::{BlockingPool, Overloaded};
pub use certificate::{CertificateError, CertificateFiles, CertificatePem, Certificates};
pub use limits::{
    Admission, ConnectionCounts, ConnectionTotals, Limiter, Limits, Refusal, site_of,
};
pub use listener::{Bind, InheritedSockets, Listener, remove_stale_socket};
pub use network::{Network, NetworkError};
pub use registry::{
    Farewell, LEAVE_WITHIN, Leave, RESUMED_KEPT, Reason, ReasonError, Registration, Resumed,
    SessionEntry, SessionRegistry, TellStory,
};
pub use serve::{Connection, Peer, ServeSettings, serve};
pub use session_id::SessionId;
pub use shutdown::{Shutdown, ShutdownTrigger};
pub use stream::{Stream, TlsBindings, TlsInfo};
pub use throttle::{LoginThrottle, ThrottleSettings};
pub use tls::{TlsAcceptor, TlsError, TlsSettings};
pub use turn_away::turn_away;
