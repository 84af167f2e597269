//! How a node's back end fares, for `mailrook status`.

use serde::{Deserialize, Serialize};

use crate::GroupStatus;

/// A node at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Names the cluster, as 32 hexadecimal digits. Chosen at random when it was made.
    pub cluster_id: String,
    /// Names this node within it. Chosen at random, never used again for another.
    pub node_id: u64,
    /// What is free on the data directory's file system.
    pub disk_free_bytes: u64,
    /// Below this nothing new is accepted.
    pub disk_reserve_bytes: u64,
    /// Whether the node refuses what is new because the disk is nearly full.
    pub disk_full: bool,
    /// What the shared log occupies.
    pub log_bytes: u64,
    /// The groups, by id: the meta group first.
    pub groups: Vec<GroupStatus>,
}
