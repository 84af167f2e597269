//! Several nodes as processes in network namespaces that the test makes itself, and faults between and within them.

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
