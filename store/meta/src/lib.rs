//! The meta group's deterministic state machine: the directory (domains, accounts, aliases, credentials), the placement
//! of accounts on shards, the clients that were granted ids, and the settings.
//!
//! *Architecture Invariant:* this crate knows no Raft, no sockets, no clock and no randomness, and it hashes no
//! password: verifiers are opaque bytes to it.

mod answer;
mod command;
mod machine;
mod query;
mod wire;

pub use answer::answer;
pub use command::{
    AccountRecord, AliasRecord, Credential, CredentialScope, DomainRecord, MetaCommand,
    MetaRefusal, MetaReply, NewAccount,
};
pub use machine::Meta;
pub use query::{LoginAccount, MetaAnswer, MetaQuery, Resolution, ResolvedTarget};
