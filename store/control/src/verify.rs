//! Compares the copies of groups: they are made by the same commands, so that they must be equal where they are equally
//! far.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use mailrook_cluster::Node;
use mailrook_transport::{Class, Network};
use mailrook_types::{NodeId, ShardId};
use tokio::time::Instant;

use crate::{
    gather::ClusterView,
    report::{Digest, digest_beside},
    wire::{self, Ask},
};

/// A copy of 100 GB is read in this time.
const DIGEST_MAX: Duration = Duration::from_secs(600);

/// How often copies are read that were not equally far.
const TRIES_MAX: usize = 10;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// The copies of one group, or why one could not be read.
pub type Copies = BTreeMap<NodeId, Result<Digest, String>>;

/// Reads all copies of a group that a member of it should have.
pub async fn verify(
    view: &ClusterView,
    shard: ShardId,
    node: &Arc<Node>,
    network: &Arc<dyn Network>,
) -> Copies {
    let group = view.groups.iter().find(|group| group.shard == shard);
    let status = group.and_then(|group| group.status.as_ref());
    let members: Vec<NodeId> = status.map_or(Vec::new(), |status| {
        let members = status.voters.iter().chain(&status.learners);
        members.copied().map(NodeId).collect()
    });
    let mut copies = Copies::new();
    for _ in 0..TRIES_MAX {
        let read = members.iter().map(|member| async {
            let digest = digest_of(*member, shard, node, network).await;
            (*member, digest)
        });
        copies = join_all(read).await.into_iter().collect();
        let mut indexes = copies.values().flatten().map(|copy| copy.applied_index);
        let first = indexes.next();
        if indexes.all(|index| Some(index) == first) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    copies
}

async fn digest_of(
    member: NodeId,
    shard: ShardId,
    node: &Arc<Node>,
    network: &Arc<dyn Network>,
) -> Result<Digest, String> {
    if member == node.node_id() {
        return digest_beside(Arc::clone(node), shard).await;
    }
    let ask = wire::write(&Ask::Digest(shard));
    let call = network.call(member, Class::Control, ask, Instant::now() + DIGEST_MAX);
    wire::read(&call.await.map_err(|error| error.to_string())?)
}
