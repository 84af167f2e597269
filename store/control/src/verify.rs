//! Compares the copies of groups: they are made by the same commands, so that they must be equal as of the same entry.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use mailrook_cluster::Node;
use mailrook_store_api::{Directory, StoreError};
use mailrook_transport::Network;
use mailrook_types::{NodeId, ShardId};

use crate::{
    digest::{Digest, Reading, read_here, read_there},
    gather::{ClusterView, gather},
};

/// How many entries ahead of the last one the copies are told to meet, in one try after the other. An idle group's copies
/// are all at the last one. A busy one's are to hear of it before they are there, whether it takes ten commands a second
/// or ten thousand.
const AHEAD: [u64; 6] = [0, 8, 64, 512, 4096, 16_384];

/// How long a copy may take to say where it is: longer than it waits for an entry.
const BEGIN_MAX: Duration = Duration::from_secs(10);

/// One copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The last entry that was applied when it was read.
    pub applied_index: u64,
    /// None if the copies were not at the same entry, and were not read for that.
    pub digest: Option<Digest>,
}

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All copies could be read, and are equal.
    Equal,
    /// Two of them differ, as of the same entry.
    Differ,
    /// Some could not be read; nothing differs in the others.
    Unreadable,
    /// They were not at the same entry, however often it was tried: they are being written, or filled.
    NotComparable,
}

/// The copies of one group, or why one could not be read.
pub type Copies = BTreeMap<NodeId, Result<Copy, String>>;

/// Reads all copies of a group that a member of it should have. There is no bound on how long that takes but what is
/// stored; dropped, it ends on all nodes.
///
/// # Errors
/// The meta group cannot be reached.
pub async fn verify(
    directory: &dyn Directory,
    shard: ShardId,
    node: &Arc<Node>,
    network: &Arc<dyn Network>,
) -> Result<(Verdict, Copies), StoreError> {
    let mut copies = Copies::new();
    for ahead in AHEAD {
        // Anew: before this group others were read, perhaps for hours.
        let view = gather(directory, node, network).await?;
        let readings = begin(&view, shard, ahead, node, network).await;
        if are_together(&readings) {
            copies = finish(readings).await;
            break;
        }
        copies = (readings.into_iter())
            .map(|(member, reading)| (member, reading.map(|reading| unread(&reading))))
            .collect();
    }
    Ok((judge(&copies), copies))
}

type Readings = Vec<(NodeId, Result<Reading, String>)>;

async fn begin(
    view: &ClusterView,
    shard: ShardId,
    ahead: u64,
    node: &Arc<Node>,
    network: &Arc<dyn Network>,
) -> Readings {
    let group = view.groups.iter().find(|group| group.shard == shard);
    let Some(status) = group.and_then(|group| group.status.as_ref()) else {
        return Readings::new();
    };
    let index = status.last_index + ahead;
    let members = status.voters.iter().chain(&status.learners);
    let begun = members.map(|member| async move {
        let member = NodeId(*member);
        let reading = async {
            match member == node.node_id() {
                true => read_here(Arc::clone(node), shard, index).await,
                false => read_there(member, shard, index, network).await,
            }
        };
        let begun = tokio::time::timeout(BEGIN_MAX, reading).await;
        (
            member,
            begun.unwrap_or_else(|_| Err("no answer".to_owned())),
        )
    });
    join_all(begun).await
}

fn are_together(readings: &Readings) -> bool {
    let mut indexes =
        (readings.iter()).filter_map(|(_, reading)| Some(reading.as_ref().ok()?.applied_index));
    let first = indexes.next();
    indexes.all(|index| Some(index) == first)
}

async fn finish(readings: Readings) -> Copies {
    let finished = readings.into_iter().map(|(member, reading)| async move {
        let copy = async {
            let reading = reading?;
            Ok(Copy {
                digest: Some(reading.digest.await?),
                applied_index: reading.applied_index,
            })
        };
        (member, copy.await)
    });
    join_all(finished).await.into_iter().collect()
}

fn unread(reading: &Reading) -> Copy {
    Copy {
        applied_index: reading.applied_index,
        digest: None,
    }
}

fn judge(copies: &Copies) -> Verdict {
    let mut digests = copies.values().flatten().map(|copy| copy.digest);
    let first = digests.next().flatten();
    match first {
        _ if digests.any(|digest| digest != first) => Verdict::Differ,
        _ if copies.is_empty() || copies.values().any(Result::is_err) => Verdict::Unreadable,
        None => Verdict::NotComparable,
        Some(_) => Verdict::Equal,
    }
}
