//! The nodes of the cluster, as the meta group knows them.

use mailrook_types::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};

/// From this feature level on there are nodes without a store.
pub const LEVEL_FRONT_NODES: u32 = 7;

/// A member of the cluster, or one that was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its id, that of its data directory. Never another node's, not even when this one is removed.
    pub id: NodeId,
    /// Its name, in lower case; no two members have the same.
    pub name: String,
    /// `host:port` for the other nodes.
    pub address: String,
    /// What fails together: a rack, a site. Copies are spread over zones. May be empty, which is a zone like any other.
    pub zone: String,
    /// What it takes part in.
    pub state: NodeState,
    /// When it became a member, by the log's time.
    pub joined: Timestamp,
    /// What its program knows.
    pub levels: FeatureLevels,
}

/// What a node takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// Everything.
    Active,
    /// It hands over what it has, and gets nothing new.
    Draining,
    /// Nothing, for ever.
    Removed {
        /// Since when, by the log's time.
        at: Timestamp,
    },
    /// Clients are served, and copies are neither had nor gotten: it has no store. From [`LEVEL_FRONT_NODES`] on.
    Storeless(FrontRoles),
}

/// What a node without a store does for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontRoles {
    /// Mail comes in: SMTP, submission, LMTP.
    pub front: bool,
    /// Mail is read: IMAP, POP3.
    pub proxy: bool,
}

impl NodeRecord {
    /// Whether it is a member, and not one that was.
    pub fn is_member(&self) -> bool {
        !matches!(self.state, NodeState::Removed { .. })
    }

    /// Whether it is a member that has copies, or may get some.
    pub fn has_store(&self) -> bool {
        matches!(self.state, NodeState::Active | NodeState::Draining)
    }
}

/// The feature levels that a program can work at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureLevels {
    /// The lowest; at least 1.
    pub lowest: u32,
    /// The highest.
    pub highest: u32,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewNode {
    /// Its id.
    pub id: NodeId,
    /// Its name: 1 to [`NODE_NAME_BYTES_MAX`](crate::NODE_NAME_BYTES_MAX) letters, digits, dots and hyphens, with a
    /// letter or digit at both ends. Upper case counts as lower.
    pub name: String,
    /// `host:port`; an IPv6 address stands in brackets.
    pub address: String,
    /// Up to [`ZONE_BYTES_MAX`](crate::ZONE_BYTES_MAX) letters, digits and `._/-`.
    pub zone: String,
    /// What its program knows.
    pub levels: FeatureLevels,
}
