//! Several nodes as processes in network namespaces that the test makes itself, and faults between and within them.

mod disk;
mod member;
mod network;
mod rig;
mod shim;
mod space;
mod sweeper;
mod view;

pub use disk::SmallDisk;
pub use member::{DISK_RESERVE_MEBIBYTES, Member, PORTS};
pub use network::Network;
pub use rig::{Cluster, ClusterOptions};
pub use shim::{Control, Shim};
pub use space::Space;
pub use view::{GroupView, NodeView, View};
