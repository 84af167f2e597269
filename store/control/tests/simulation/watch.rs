//! What is seen of the nodes while they run.

use std::collections::BTreeMap;

use mailrook_cluster::{GroupRole, GroupStatus};
use mailrook_types::{NodeId, ShardId};

use crate::world::World;

/// A look at one copy of a group.
#[derive(Clone, Debug)]
pub struct Look {
    pub at_ms: u64,
    pub node: NodeId,
    pub status: GroupStatus,
}

/// All looks, in order.
#[derive(Default)]
pub struct Watch {
    pub looks: Vec<Look>,
    last: BTreeMap<(NodeId, ShardId), (u64, u64, bool)>,
}

impl Watch {
    /// Looks at every copy that runs, and notes what is new.
    pub fn look(&mut self, world: &World) {
        let at_ms = world.shared.now_ms();
        for id in world.ids() {
            let Some(node) = world.node(id) else { continue };
            for group in node.groups() {
                let status = group.status();
                let leads = status.role == GroupRole::Leader;
                let news = (status.term, status.applied_index, leads);
                if self.last.insert((id, status.shard), news) != Some(news) {
                    self.looks.push(Look {
                        at_ms,
                        node: id,
                        status,
                    });
                }
            }
        }
    }
}
