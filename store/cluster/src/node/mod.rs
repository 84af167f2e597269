//! A node's back end: its data directory, its log, and the groups it has copies of.

mod error;
mod options;
mod status;

pub use error::OpenError;
pub use options::{NodeOptions, Plant, SHARDS_MAX};
pub use status::NodeStatus;
