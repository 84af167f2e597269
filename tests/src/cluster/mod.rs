//! Several nodes as processes in network namespaces that the test makes itself, and faults between and within them.
//!
//! [`Cluster`] is the whole: it founds a cluster, lets nodes join, and has every node's process, disk, clock and network
//! in hand. [`Fault`] names what can be done to them; [`Cluster::heal`] ends all of it. [`Clients`] are the load and the
//! ledgers, [`Probe`] one client whose interruptions are measured, [`run_rounds`] the loop of random faults.
//!
//! Needs root, for namespaces, rules and mounts; it has no effect outside them, and leaves nothing behind, however it ends.

mod burst;
mod certificate;
mod clients;
mod disk;
mod excuse;
mod fault;
mod member;
mod network;
mod probe;
mod rig;
mod rounds;
mod shim;
mod space;
mod sweeper;
mod view;

pub use burst::Burst;
pub use certificate::ServerCertificate;
pub use clients::{Begun, Client, Clients};
pub use disk::SmallDisk;
pub use excuse::is_excused;
pub use fault::Fault;
pub use member::{DISK_RESERVE_MEBIBYTES, Member, PORTS};
pub use network::Network;
pub use probe::{Probe, Seen, Service};
pub use rig::{Cluster, ClusterOptions};
pub use rounds::{Rounds, RoundsReport, run_rounds};
pub use shim::{Control, Shim};
pub use space::Space;
pub use view::{GroupView, NodeView, View};
