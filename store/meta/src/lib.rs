//! The meta group's deterministic state machine: the directory (domains, accounts, aliases, credentials), the nodes, the
//! placement of accounts on shards and of shards on nodes, the clients that were granted ids, and the settings.
//!
//! *Architecture Invariant:* this crate knows no Raft, no sockets, no clock and no randomness, and it hashes no
//! password: verifiers are opaque bytes to it.

mod answer;
mod cluster;
mod command;
mod key;
mod machine;
mod moving;
mod node;
mod placement;
mod query;
mod reply;
mod resolve;
mod tables;
mod wire;

pub use answer::{LIST_MAX, SENDERS_MAX, answer};
pub use cluster::{CaSigner, ClusterCa, ClusterSettings, ClusterTrust, PrivateKeyPem};
pub use command::{
    AccountRecord, AliasRecord, Credential, CredentialScope, DomainRecord, MetaCommand,
    MetaOperation, NewAccount, Removal,
};
pub use machine::{
    ALIAS_DEPTH_MAX, ALIAS_TARGETS_MAX, CA_TRUSTED_MAX, CREDENTIAL_NAME_BYTES_MAX, CREDENTIALS_MAX,
    EXPANSION_MAX, GRANTS_KEPT, HEAL_AFTER_MAX, HEAL_AFTER_MIN, JOIN_TOKEN_LIFE_MAX,
    JOIN_TOKENS_MAX, Meta, NODE_ADDRESS_BYTES_MAX, NODE_NAME_BYTES_MAX, NODES_MAX, PEM_BYTES_MAX,
    REPLICAS_MAX, REPLIES_KEPT, SETTING_BYTES_MAX, SETTING_NAME_BYTES_MAX, SHARDS_MAX,
    UNANSWERED_MAX, VERIFIER_BYTES_MAX, ZONE_BYTES_MAX,
};
pub use moving::{
    AccountMove, LEVEL_FORGOTTEN_MOVES, LEVEL_MOVES, MOVES_AT_ONCE_MAX, MOVES_KEPT, MOVES_MAX,
    MoveNote, MoveState, SETTING_MOVE_RATE, SETTING_MOVES_PAUSED,
};
pub use node::{FeatureLevels, FrontRoles, LEVEL_FRONT_NODES, NewNode, NodeRecord, NodeState};
pub use placement::{SLOTS_PER_MOVE_MAX, ShardRecord, SlotMap, SlotMove, TABLE_SLOTS};
pub use query::{LoginAccount, MetaAnswer, MetaQuery, Resolution, ResolvedTarget};
pub use reply::{MetaRefusal, MetaReply};
pub use resolve::{SETTING_ABUSE, SETTING_POSTMASTER};
