//! What a node is opened with.

use std::{fmt, path::PathBuf, sync::Arc};

use mailrook_transport::Network;
use mailrook_types::NodeId;
use tokio::runtime::Handle;

/// How to open a node.
#[derive(Clone)]
pub struct NodeOptions {
    /// Where everything is kept. Created at the first start.
    pub data_dir: PathBuf,
    /// How many shards a new cluster has, beside the meta group. Counts only at the first start: afterwards what is
    /// on the disk counts.
    pub first_shards: u32,
    /// One cache of table blocks for all groups.
    pub block_cache_bytes: usize,
    /// What all groups together hold in memory before it is written to tables.
    pub write_buffer_bytes: usize,
    /// The newest entries of the log, of all groups, kept in memory for replication and apply.
    pub log_cache_bytes: usize,
    /// Above this the log's old files are cut, and groups that pin them are flushed.
    pub log_bytes_max: u64,
    /// With less free space than this on the data directory's file system nothing new is accepted.
    pub disk_reserve_bytes: u64,
    /// Where the groups run. None for a runtime of their own, which ends with the node: then dropping the node is like a
    /// crash. On the sessions' own a command wakes fewer threads on its way: a fifth less CPU for a delivery, measured.
    pub runtime: Option<Handle>,
    /// The way to other nodes; none for a node that is alone.
    pub network: Option<Arc<dyn Network>>,
    /// The other nodes of the cluster that are known. Until one of them has taken this node's hello, or some seconds have
    /// gone by, it leads no group in which it alone votes: one of them may know that its directory is an old copy.
    pub others: Vec<NodeId>,
    /// A fault that tests plant, to see that they would catch it.
    pub plant: Option<Plant>,
}

impl fmt::Debug for NodeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeOptions")
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

/// The most shards a node has copies of (DESIGN "Sizes"): with the meta group 64 groups, which openraft's idle cost
/// sets.
pub const SHARDS_MAX: u32 = 63;

impl NodeOptions {
    /// The defaults, for a small server with 2 GB of memory.
    pub fn new(data_dir: impl Into<PathBuf>) -> NodeOptions {
        NodeOptions {
            data_dir: data_dir.into(),
            first_shards: 8,
            block_cache_bytes: 128 << 20,
            write_buffer_bytes: 256 << 20,
            log_cache_bytes: 64 << 20,
            log_bytes_max: 1 << 30,
            disk_reserve_bytes: 512 << 20,
            runtime: None,
            network: None,
            others: Vec::new(),
            plant: None,
        }
    }
}

/// A bug on purpose. Never on unless a test asks for it: a test that cannot fail proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Says "durable" 50 ms before the log is written, so that a kill in between loses what was acknowledged.
    AckBeforeFsync,
    /// A leader takes an entry for written by another copy as soon as it is sent there, so that one that dies takes what
    /// was acknowledged with it.
    AckBeforeQuorum,
    /// Reads ask no other copy whether this one still leads, so that one that was deposed shows old mail.
    ReadWithoutBarrier,
    /// Cuts the log up to what is applied, and not only to what is flushed, so that a crash leaves a gap.
    CutUnflushed,
    /// A copy that is given to a node anew has forgotten its earlier vote, so that it can vote twice in one term.
    ForgetVote,
}

impl Plant {
    /// The fault with this name, as `MAILROOK_PLANT` gives it.
    pub fn parse(name: &str) -> Option<Plant> {
        Some(match name {
            "ack-before-fsync" => Plant::AckBeforeFsync,
            "ack-before-quorum" => Plant::AckBeforeQuorum,
            "read-without-barrier" => Plant::ReadWithoutBarrier,
            "cut-unflushed" => Plant::CutUnflushed,
            "forget-vote" => Plant::ForgetVote,
            _ => return None,
        })
    }
}
