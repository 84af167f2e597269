//! What a node says of itself.

use mailrook_meta::{FeatureLevels, NewNode};
use mailrook_types::NodeId;

/// What this program knows: formats up to the highest level, and those of clusters from the lowest on.
pub const FEATURE_LEVELS: FeatureLevels = FeatureLevels {
    lowest: 1,
    highest: 1,
};

/// A node, as its configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Unlike any other's.
    pub name: String,
    /// Where other nodes reach it: `host:port`.
    pub address: String,
    /// What fails together with it. May be empty.
    pub zone: String,
}

impl Member {
    /// For the directory.
    pub(crate) fn with_id(&self, id: NodeId) -> NewNode {
        NewNode {
            id,
            name: self.name.clone(),
            address: self.address.clone(),
            zone: self.zone.clone(),
            levels: FEATURE_LEVELS,
        }
    }
}
