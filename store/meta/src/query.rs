//! What can be asked of the meta group.

use mailrook_types::{AccountId, Address, Domain, MailboxName, NodeId, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    AccountMove, AccountRecord, AliasRecord, ClusterCa, ClusterSettings, ClusterTrust,
    DomainRecord, NodeRecord, Removal, ShardRecord, SlotMap, SlotMove,
};

/// A question about the directory.
///
/// Lists of accounts and of aliases end early where they are more than one answer holds
/// ([`ANSWER_BYTES_MAX`](mailrook_kv::ANSWER_BYTES_MAX)): who wants them all asks for those after the last, until there are
/// none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaQuery {
    /// Who gets mail for an address. Answered by [`MetaAnswer::Resolution`].
    Resolve(Address),
    /// The account that a login name means. Answered by [`MetaAnswer::Login`].
    Login(String),
    /// The account of an address. Answered by [`MetaAnswer::Account`].
    Account(Address),
    /// The account of an id. Answered by [`MetaAnswer::Account`].
    AccountById(AccountId),
    /// Domains, ascending, those after `after`. Answered by [`MetaAnswer::Domains`].
    Domains {
        /// The last one seen.
        after: Option<Domain>,
        /// The most to answer with.
        limit: u32,
    },
    /// Accounts of all domains or of one, ascending by domain and local part, those after `after`.
    /// Answered by [`MetaAnswer::Accounts`].
    Accounts {
        /// Of this domain only.
        domain: Option<Domain>,
        /// The last one seen.
        after: Option<Address>,
        /// The most to answer with.
        limit: u32,
    },
    /// Aliases, as accounts. Answered by [`MetaAnswer::Aliases`].
    Aliases {
        /// Of this domain only.
        domain: Option<Domain>,
        /// The last one seen.
        after: Option<Address>,
        /// The most to answer with.
        limit: u32,
    },
    /// The shards with their number of accounts. Answered by [`MetaAnswer::Shards`].
    Shards,
    /// A setting. Answered by [`MetaAnswer::Setting`].
    Setting(String),
    /// Accounts whose mail is still to be removed, ascending by id, those after `after`. Answered by
    /// [`MetaAnswer::Removals`].
    Removals {
        /// The last one seen.
        after: Option<AccountId>,
        /// The most to answer with.
        limit: u32,
    },
    /// Nodes, removed ones too, ascending by id, those after `after`. Answered by [`MetaAnswer::Nodes`].
    Nodes {
        /// The last one seen.
        after: Option<NodeId>,
        /// The most to answer with.
        limit: u32,
    },
    /// The member of a name, in any case. Answered by [`MetaAnswer::Node`].
    Node(String),
    /// The node of an id, even if it was removed. Answered by [`MetaAnswer::Node`].
    NodeById(NodeId),
    /// Where the copies of one group are, or of all, those that were never placed included. Answered by
    /// [`MetaAnswer::Placement`].
    Placement {
        /// Of this group only.
        shard: Option<ShardId>,
    },
    /// How the cluster is kept. Answered by [`MetaAnswer::ClusterSettings`].
    ClusterSettings,
    /// Which shard has which slot. Answered by [`MetaAnswer::SlotMap`].
    SlotMap,
    /// What nodes' certificates are signed with and checked against. Answered by [`MetaAnswer::ClusterCa`].
    ClusterCa,
    /// Until when the join tokens hold that nobody used. Answered by [`MetaAnswer::JoinTokens`].
    JoinTokens,
    /// What nodes trust, without any key. Answered by [`MetaAnswer::ClusterTrust`].
    ClusterTrust,
    /// The move of slots that is under way. Answered by [`MetaAnswer::SlotMove`]. From feature level 3 on.
    SlotMove,
    /// Whether a join token would let a node in now, or has. Answered by [`MetaAnswer::LetsIn`].
    LetsIn {
        /// The hash of the token's secret.
        secret_hash: [u8; 32],
        /// Which node.
        node: NodeId,
    },
    /// Moves of accounts, ascending by id, those after `after`. Answered by [`MetaAnswer::AccountMoves`]. From feature level 5 on.
    AccountMoves {
        /// Without those that are over.
        pending: bool,
        /// The last one seen; 0 to begin.
        after: u64,
        /// The most to answer with.
        limit: u32,
    },
    /// Whether an account ever moved, and how it goes. Answered by [`MetaAnswer::MoveOf`]. From feature level 5 on.
    MoveOf(AccountId),
}

/// The answer to a [`MetaQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaAnswer {
    /// Who gets the mail.
    Resolution(Resolution),
    /// The account to log in to, if there is one.
    Login(Option<Box<LoginAccount>>),
    /// The account, if there is one.
    Account(Option<Box<AccountRecord>>),
    /// Domains.
    Domains(Vec<DomainRecord>),
    /// Accounts.
    Accounts(Vec<AccountRecord>),
    /// Aliases.
    Aliases(Vec<AliasRecord>),
    /// Shards and how many accounts each has.
    Shards(Vec<(ShardId, u64)>),
    /// The setting's value.
    Setting(Option<Vec<u8>>),
    /// What is still to be removed.
    Removals(Vec<Removal>),
    /// Nodes.
    Nodes(Vec<NodeRecord>),
    /// The node, if there is one.
    Node(Option<Box<NodeRecord>>),
    /// Groups, ascending, with where their copies are.
    Placement(Vec<ShardRecord>),
    /// How the cluster is kept.
    ClusterSettings(ClusterSettings),
    /// Which shard has which slot; nothing while there are no shards.
    SlotMap(Option<Box<SlotMap>>),
    /// The CA, if one was put.
    ClusterCa(Option<Box<ClusterCa>>),
    /// The end of each, ascending. Some may be past: they are dropped when others are added.
    JoinTokens(Vec<Timestamp>),
    /// What nodes trust, if a CA was put.
    ClusterTrust(Option<Box<ClusterTrust>>),
    /// The move, if there is one.
    SlotMove(Option<Box<SlotMove>>),
    /// Whether the token does.
    LetsIn(bool),
    /// Moves.
    AccountMoves(Vec<AccountMove>),
    /// The account's last move.
    MoveOf {
        /// Whether it ever moved.
        moved: bool,
        /// How it goes, or went; `None` if that is forgotten.
        last: Option<Box<AccountMove>>,
    },
}

/// Who gets mail for an address, aliases followed to their ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolution {
    /// These, none twice; at least one of the two is not empty.
    Local {
        /// Accounts here.
        accounts: Vec<ResolvedTarget>,
        /// Addresses elsewhere, to which an alias forwards.
        elsewhere: Vec<Address>,
    },
    /// The domain is ours, the user is not known.
    NoSuchUser,
    /// The domain is not ours.
    NotLocal,
    /// Aliases and catch-alls lead to more addresses than one delivery can reach.
    TooMany,
}

/// An account that gets the mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedTarget {
    /// The account.
    pub account: AccountId,
    /// Its shard.
    pub shard: ShardId,
    /// Its address.
    pub address: Address,
    /// The mailbox that a subaddress (`user+mailbox@`) asks for.
    pub mailbox: Option<MailboxName>,
}

/// What a front end needs for a login. The login name is the account's address, in any case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginAccount {
    /// The account with its credentials.
    pub record: AccountRecord,
    /// The addresses that the user may send from: its own, and the aliases that lead to it alone.
    pub senders: Vec<Address>,
}
