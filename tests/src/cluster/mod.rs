//! Several nodes as processes in network namespaces that the test makes itself, and faults between and within them.

mod disk;
mod network;
mod shim;
mod space;

pub use disk::SmallDisk;
pub use network::Network;
pub use shim::{Control, Shim};
pub use space::Space;
