//! What a node says of itself.

use mailrook_mailbox::LEVEL_QUEUE;
use mailrook_meta::{FeatureLevels, FrontRoles, NewNode};
use mailrook_types::NodeId;

/// What this program knows: formats up to the highest level, and those of clusters from the lowest on.
///
/// | level | since then |
/// |---|---|
/// | 1 | the first |
/// | 2 | lost nodes are removed at once, the CA is rotated |
/// | 3 | slots of the cluster-wide tables move to shards that were added |
/// | 4 | copies that a group does without are removed, and not put into quarantine |
/// | 5 | accounts move from shard to shard |
/// | 6 | a maildrop of POP3 is locked in the whole cluster |
/// | 7 | nodes without a store; accounts are found again whose moves a recovered directory has forgotten |
/// | 8 | outgoing mail is queued |
pub const FEATURE_LEVELS: FeatureLevels = FeatureLevels {
    lowest: 1,
    highest: LEVEL_QUEUE,
};

/// From this level on a lost node can be removed while records still name it.
pub const LEVEL_LOST_NODES: u32 = 2;

/// From this level on the CA can be rotated.
pub const LEVEL_CA_ROTATION: u32 = 2;

/// From this level on slots of the cluster-wide tables move.
pub const LEVEL_SLOT_MOVES: u32 = 3;

/// From this level on nodes are asked to remove copies.
pub(crate) const LEVEL_COPY_REMOVAL: u32 = 4;

/// [`FEATURE_LEVELS`] of a program that knows nothing above `max`, for tests of mixed clusters.
///
/// # Errors
/// There is no such level.
pub fn feature_levels_up_to(max: u32) -> Result<FeatureLevels, String> {
    let FeatureLevels { lowest, highest } = FEATURE_LEVELS;
    if (lowest..=highest).contains(&max) {
        Ok(FeatureLevels {
            lowest,
            highest: max,
        })
    } else {
        Err(format!(
            "this program knows the feature levels {lowest} to {highest}, and not {max}"
        ))
    }
}

/// A node, as its configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Unlike any other's.
    pub name: String,
    /// Where other nodes reach it: `host:port`.
    pub address: String,
    /// What fails together with it. May be empty.
    pub zone: String,
    /// What its program knows.
    pub levels: FeatureLevels,
    /// What it does, if it has no store.
    pub front: Option<FrontRoles>,
}

impl Member {
    /// For the directory.
    pub(crate) fn with_id(&self, id: NodeId) -> NewNode {
        NewNode {
            id,
            name: self.name.clone(),
            address: self.address.clone(),
            zone: self.zone.clone(),
            levels: self.levels,
        }
    }
}
