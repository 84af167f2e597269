//! What a node tells of itself to those who look after the cluster.

use std::{ops::ControlFlow, sync::Arc};

use mailrook_cluster::{GroupStatus, Node, simulation::run_blocking};
use mailrook_kv::{Direction, KvError, Read, Space};
use mailrook_types::ShardId;
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

/// The content of a copy, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// The last entry that is applied. Copies that are as far must be equal.
    pub applied_index: u64,
    /// BLAKE3 of all keys and values, each with its length before it.
    pub digest: [u8; 32],
}

/// How often a copy is read in the hope that nothing is applied meanwhile.
const TRIES_MAX: usize = 5;

/// Digests the copy of a group. Reads all of it, and blocks.
pub(crate) fn digest(node: &Node, shard: ShardId) -> Result<Digest, String> {
    let group = node
        .group(shard)
        .ok_or_else(|| format!("there is no copy of group {shard} here"))?;
    for _ in 0..TRIES_MAX {
        let before = group.status().applied_index;
        let digest = group
            .read(digest_of)
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        if group.status().applied_index == before {
            return Ok(Digest {
                applied_index: before,
                digest,
            });
        }
    }
    Err(format!("group {shard} is written to all the time"))
}

fn digest_of(state: &dyn Read) -> Result<[u8; 32], KvError> {
    // The first byte of every key is a table's tag, below this.
    const END: [u8; 1] = [0xff];
    let mut hasher = blake3::Hasher::new();
    for space in Space::ALL {
        state.scan(space, &[], &END, Direction::Forward, &mut |key, value| {
            for bytes in [key, value] {
                hasher.update(&(bytes.len() as u64).to_le_bytes());
                hasher.update(bytes);
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(*hasher.finalize().as_bytes())
}

/// [`digest`] on a thread where it holds nobody up.
pub(crate) async fn digest_beside(node: Arc<Node>, shard: ShardId) -> Result<Digest, String> {
    run_blocking(move || digest(&node, shard))
        .await
        .map_err(|error| error.to_string())?
}
