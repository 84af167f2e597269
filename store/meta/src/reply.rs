//! What the meta group answers to commands. Replies are kept with their operations, so variants are only ever appended.

use mailrook_types::{Address, ClientId, Domain, LocalPart, NodeId, ShardId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{AccountMove, AccountRecord, NodeRecord, ShardRecord, SlotMove};

/// The answer to a [`MetaCommand`](crate::MetaCommand).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaReply {
    /// It is as asked.
    Done,
    /// The granted id.
    Client(ClientId),
    /// The account as it is now.
    Account(Box<AccountRecord>),
    /// The removed account; its mail is to be removed from its shard.
    Removed(Box<AccountRecord>),
    /// Nothing changed, because of this.
    Refused(MetaRefusal),
    /// The node as it is now.
    Node(Box<NodeRecord>),
    /// Where the group's copies are now.
    Shard(ShardRecord),
    /// The epoch of what was put.
    Epoch(u64),
    /// The move as it is now.
    SlotMove(Box<SlotMove>),
    /// The moves that were asked for.
    AccountMoves(Vec<AccountMove>),
    /// The move as it is now.
    AccountMove(Box<AccountMove>),
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum MetaRefusal {
    /// The domain is not one of ours.
    #[error("{0} is not one of the domains here")]
    NoSuchDomain(Domain),
    /// The domain still has accounts or aliases.
    #[error("{domain} still has {accounts} accounts and {aliases} aliases")]
    DomainInUse {
        /// Which domain.
        domain: Domain,
        /// How many accounts.
        accounts: u64,
        /// How many aliases.
        aliases: u64,
    },
    /// There is no such account.
    #[error("there is no account {0}")]
    NoSuchAccount(Address),
    /// There is no such alias.
    #[error("there is no alias {0}")]
    NoSuchAlias(Address),
    /// An account or alias has that address.
    #[error("{0} is taken")]
    AddressTaken(Address),
    /// The alias would lead to itself.
    #[error("the alias {0} would lead back to itself")]
    AliasLoop(Address),
    /// There is no password of that name.
    #[error("there is no password named {0:?}")]
    NoSuchCredential(String),
    /// `postmaster` and `abuse` exist in every domain (RFC 5321 §4.5.1, RFC 2142) and cannot be removed.
    #[error("{0}@ exists in every domain")]
    Reserved(LocalPart),
    /// No shard is there to put an account on.
    #[error("the cluster has no shards yet")]
    NoShards,
    /// A bound that the message names.
    #[error("a limit is reached: {0}")]
    Limit(String),
    /// The operation is older than what its client says it has seen answered.
    #[error("the operation is too old to be recognised")]
    StaleOperation,
    /// A value that cannot be, and what it has to be.
    #[error("{0}")]
    Invalid(String),
    /// There is no node of that id.
    #[error("there is no node {0}")]
    NoSuchNode(NodeId),
    /// The node has not joined.
    #[error("node {0} is not a member of this cluster: it joins with a token first")]
    NotJoined(NodeId),
    /// A node of that id is a member already, and joined in another way.
    #[error("node {0} is a member of this cluster already")]
    NodeKnown(NodeId),
    /// The node was removed: what it holds may be older than what was acknowledged since.
    #[error(
        "node {0} was removed from this cluster and cannot come back: start it with an empty data directory and let it join"
    )]
    NodeRemoved(NodeId),
    /// Another node has that name.
    #[error("node {by} is called {name} already")]
    NodeNameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        by: NodeId,
    },
    /// The node still has copies, or is to have some.
    #[error("node {name} still has copies of {count} groups ({}): drain it first", listed(groups, *count))]
    NodeInUse {
        /// The node's name.
        name: String,
        /// How many groups.
        count: u32,
        /// The first of them.
        groups: Vec<ShardId>,
    },
    /// No other node has a store.
    #[error("node {0} is the last one of the cluster that has a store")]
    LastNode(String),
    /// The token was never given out, was used, or is too old.
    #[error("the join token is not known, was used already, or has expired: make a new one")]
    NoSuchJoinToken,
    /// There is no such shard.
    #[error("there is no shard {0}")]
    NoSuchShard(ShardId),
    /// Somebody else changed it since it was read.
    #[error("it was changed since: its epoch is {now} and no longer {before}")]
    EpochChanged {
        /// What the command went by.
        before: u64,
        /// What it is.
        now: u64,
    },
    /// The programs of some nodes do not know the feature level.
    #[error("feature level {level} is not known to the programs of {count} nodes ({}): upgrade them first", listed(nodes, *count))]
    LevelUnknown {
        /// Which level.
        level: u32,
        /// How many nodes.
        count: u32,
        /// The names of the first of them.
        nodes: Vec<String>,
    },
    /// The node's program is too old for the cluster.
    #[error(
        "the cluster is at feature level {level}, and the program of node {name} knows only levels up to {highest}: install a newer version"
    )]
    NodeTooOld {
        /// The node's name.
        name: String,
        /// What its program knows.
        highest: u32,
        /// What it would have to know.
        level: u32,
    },
    /// The node's program no longer knows how to work at the cluster's level.
    #[error(
        "the cluster is at feature level {level}, and the program of node {name} needs at least level {lowest}: raise the level first"
    )]
    NodeTooNew {
        /// The node's name.
        name: String,
        /// What its program needs.
        lowest: u32,
        /// What the cluster is at.
        level: u32,
    },
    /// Slots are being moved already.
    #[error("slots of the tables are being moved already, by move {0}")]
    SlotsMoving(u64),
    /// There is no such move, or it is forgotten.
    #[error("there is no move {0}")]
    NoSuchMove(u64),
    /// Another mover has the move, or it is over.
    #[error("move {id} is over, or was taken over: it was taken {turn} times")]
    MoveTaken {
        /// Which.
        id: u64,
        /// How often it was taken.
        turn: u32,
    },
    /// It is decided where the account is.
    #[error("move {id} is decided: the account {}", if *moved { "has moved" } else { "stays" })]
    MoveDecided {
        /// Which.
        id: u64,
        /// For the move.
        moved: bool,
    },
}

/// The most names that a refusal lists.
pub(crate) const NAMED_MAX: usize = 20;

/// `a, b, …`
fn listed<T: ToString>(names: &[T], count: u32) -> String {
    let mut text = names
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    if usize::try_from(count).is_ok_and(|count| count > names.len()) {
        text.push_str(", …");
    }
    text
}
