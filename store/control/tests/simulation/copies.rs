//! What the copies of each group hold.

use std::{collections::BTreeMap, ops::ControlFlow};

use mailrook_kv::{Direction, Space};
use mailrook_types::{NodeId, ShardId};

use crate::world::World;

/// What one holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub applied_index: u64,
    pub log_time_ms: i64,
    pub digest: String,
}

/// Beyond all keys.
const END: [u8; 64] = [0xff; 64];

/// Looks at all copies that run.
pub fn contents(world: &World) -> BTreeMap<ShardId, Vec<(NodeId, Content)>> {
    let mut found: BTreeMap<ShardId, Vec<(NodeId, Content)>> = BTreeMap::new();
    for id in world.ids() {
        let Some(node) = world.node(id) else { continue };
        for group in node.groups() {
            let status = group.status();
            let mut hasher = blake3::Hasher::new();
            let read = group.read(|state| {
                for space in Space::ALL {
                    state.scan(space, &[], &END, Direction::Forward, &mut |key, value| {
                        for bytes in [key, value] {
                            hasher.update(&(bytes.len() as u64).to_le_bytes());
                            hasher.update(bytes);
                        }
                        ControlFlow::Continue(())
                    })?;
                }
                Ok::<(), mailrook_kv::KvError>(())
            });
            let digest = match read {
                Ok(Ok(())) => hasher.finalize().to_hex().to_string(),
                other => format!("{id} cannot be read: {other:?}"),
            };
            let content = Content {
                applied_index: status.applied_index,
                log_time_ms: status.log_time_ms,
                digest,
            };
            found.entry(group.shard()).or_default().push((id, content));
        }
    }
    found
}
