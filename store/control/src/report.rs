//! What a node tells of itself to those who look after the cluster.

use mailrook_cluster::{GroupStatus, Node};
use serde::{Deserialize, Serialize};

/// A node at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// It refuses writes for want of space.
    pub disk_full: bool,
    /// What is free on its data directory's file system.
    pub disk_free_bytes: u64,
    /// Its copies.
    pub groups: Vec<GroupStatus>,
}

impl NodeReport {
    pub(crate) fn of(node: &Node) -> NodeReport {
        let status = node.status();
        NodeReport {
            disk_full: status.disk_full,
            disk_free_bytes: status.disk_free_bytes,
            groups: status.groups,
        }
    }
}
