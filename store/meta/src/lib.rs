//! The meta group's deterministic state machine: the directory (domains, accounts, aliases, credentials), the placement
//! of accounts on shards, the clients that were granted ids, and the settings.
//!
//! *Architecture Invariant:* this crate knows no Raft, no sockets, no clock and no randomness, and it hashes no
//! password: verifiers are opaque bytes to it.

mod answer;
mod command;
mod key;
mod machine;
mod query;
mod resolve;
mod tables;
mod wire;

pub use answer::{LIST_MAX, SENDERS_MAX, answer};
pub use command::{
    AccountRecord, AliasRecord, Credential, CredentialScope, DomainRecord, MetaCommand,
    MetaOperation, MetaRefusal, MetaReply, NewAccount, Removal,
};
pub use machine::{
    ALIAS_DEPTH_MAX, ALIAS_TARGETS_MAX, CREDENTIAL_NAME_BYTES_MAX, CREDENTIALS_MAX, EXPANSION_MAX,
    GRANTS_KEPT, Meta, REPLIES_KEPT, SETTING_BYTES_MAX, SETTING_NAME_BYTES_MAX, SHARDS_MAX,
    UNANSWERED_MAX, VERIFIER_BYTES_MAX,
};
pub use query::{LoginAccount, MetaAnswer, MetaQuery, Resolution, ResolvedTarget};
pub use resolve::{SETTING_ABUSE, SETTING_POSTMASTER};
