//! What the meta group's log can carry. As in every stored enum, variants are only ever appended.

use mailrook_types::{AccountId, Address, Domain, NodeId, OpId, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{CaSigner, FrontRoles, MoveNote, NewNode};

/// A command under an operation id: carried out once, it answers every repeat as it did the first time, refusals
/// included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaOperation {
    /// Which operation.
    pub op: OpId,
    /// What to do.
    pub command: MetaCommand,
}

/// One command of the meta group's log, by itself or as a [`MetaOperation`].
///
/// By itself it may be sent again only where it is as if it had been sent once, whatever came between:
/// [`GrantClient`](MetaCommand::GrantClient) by its nonce; [`SetShards`](MetaCommand::SetShards), as shards are only
/// ever added; [`EndRemoval`](MetaCommand::EndRemoval), as no account's id is granted twice. All others are to be sent as
/// operations. What adds or sets would undo what somebody else did between (a domain removed, a password replaced, an
/// account of that address added anew); what removes or renames would be refused the second time, or hit what took that
/// name since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaCommand {
    /// Grants an id to a process that will send commands. `nonce` is chosen at random by the asker: sent again, the
    /// same id is granted, as long as the nonce is one of the latest
    /// [`GRANTS_KEPT`](crate::GRANTS_KEPT); after that another one, and the first stays unused.
    GrantClient {
        /// The asker's mark.
        nonce: [u8; 16],
    },
    /// Names the shards that accounts are put on, once their groups are there. Only ever grows in this version. The first
    /// ones get the slots of the cluster-wide tables ([`SlotMap`](crate::SlotMap)).
    SetShards(Vec<ShardId>),
    /// Adds a domain.
    AddDomain(Domain),
    /// Removes a domain that has no accounts and no aliases left.
    RemoveDomain(Domain),
    /// Where mail for unknown users of a domain goes; `None` refuses it.
    SetCatchAll {
        /// Which domain.
        domain: Domain,
        /// To whom.
        target: Option<Address>,
    },
    /// Adds an account; the least filled shard gets it.
    AddAccount(NewAccount),
    /// Removes an account and every alias target and catch-all that names it. Its id is never granted again. That its
    /// mail is still to be removed from its shard is noted in the same step, as a [`Removal`].
    RemoveAccount(Address),
    /// Gives an account another address. Its id and its mail stay; aliases and catch-alls that name it follow.
    RenameAccount {
        /// The present address.
        from: Address,
        /// The new one.
        to: Address,
    },
    /// Lets an account in, or keeps it out. Mail is delivered all the same.
    SetEnabled {
        /// Whose.
        address: Address,
        /// `false` refuses its logins.
        enabled: bool,
    },
    /// Sets how much an account may hold.
    SetQuota {
        /// Whose.
        address: Address,
        /// In bytes.
        storage_bytes: Option<u64>,
        /// In messages.
        messages: Option<u64>,
    },
    /// Adds a password, or replaces the one of that name.
    PutCredential {
        /// Whose.
        address: Address,
        /// The password's verifier, its name and scopes.
        credential: Credential,
    },
    /// Removes the password of that name.
    RemoveCredential {
        /// Whose.
        address: Address,
        /// Which.
        name: String,
    },
    /// Adds targets to an alias, making it if need be.
    AddAlias {
        /// The address that is no account's.
        address: Address,
        /// Who gets its mail.
        targets: Vec<Address>,
    },
    /// Removes targets from an alias, or with none named the alias itself.
    RemoveAlias {
        /// Which.
        address: Address,
        /// Which targets.
        targets: Vec<Address>,
    },
    /// Sets or removes a cluster-wide setting.
    PutSetting {
        /// Its name.
        name: String,
        /// Its value; `None` removes it.
        value: Option<Vec<u8>>,
    },
    /// The shard has confirmed that it has removed the mail of a removed account.
    EndRemoval(AccountId),
    /// A node says what it is, at each of its starts. The first one of a cluster becomes a member by it; any other must have
    /// joined. Whether it is being drained stays as it is.
    AnnounceNode(NewNode),
    /// A node becomes a member with a join token, which is used up.
    JoinNode {
        /// The hash of the token's secret.
        secret_hash: [u8; 32],
        /// The node.
        node: NewNode,
    },
    /// Has a node hand over what it has, or take part again.
    SetNodeDraining {
        /// Which.
        node: NodeId,
        /// `false` lets it take part again.
        draining: bool,
    },
    /// Removes a node that has no copies left. Its id never comes back.
    RemoveNode(NodeId),
    /// Lets one node join.
    AddJoinToken {
        /// The hash of the token's secret. The secret itself is in no log.
        secret_hash: [u8; 32],
        /// Until when, by the log's time; at most [`JOIN_TOKEN_LIFE_MAX`](crate::JOIN_TOKEN_LIFE_MAX) from now.
        expires: Timestamp,
    },
    /// Says which nodes may have copies of a group, if nobody else did since. See [`ShardRecord`](crate::ShardRecord).
    PlaceShard {
        /// Which; the meta group is placed as all others are.
        shard: ShardId,
        /// The epoch of the record that was read; 0 before the first.
        epoch_before: u64,
        /// The nodes, in any order.
        replicas: Vec<NodeId>,
    },
    /// Makes room for more shards, so that there are `to` of them. The new ones have the next ids and are in the placement
    /// only: they get accounts when their groups are there and [`SetShards`](MetaCommand::SetShards) names them.
    AddShards {
        /// How many there are to be, the meta group not counted.
        to: u32,
    },
    /// Sets how many copies each group has: 1, 3 or 5.
    SetCopies(u8),
    /// Sets how long a node may be gone before its copies are made elsewhere.
    SetHealAfter {
        /// In milliseconds.
        ms: u64,
    },
    /// Raises the feature level, if the program of every node knows the new one. It never goes down.
    RaiseFeatureLevel {
        /// To which.
        to: u32,
    },
    /// Replaces what the nodes' certificates are signed with and checked against, if nobody else did since.
    PutClusterCa {
        /// The epoch of what was read; 0 before the first.
        epoch_before: u64,
        /// Certificates in PEM; the signer's is one of them.
        trusted: Vec<String>,
        /// Signs the certificates of nodes.
        signer: CaSigner,
    },
    /// Removes a node that is lost with what it had, though records still name it: its copies are made elsewhere. Its id
    /// never comes back. From feature level 2 on.
    RemoveLostNode(NodeId),
    /// Begins a rotation of the CA: what nodes trust grows by the successor's certificate, and nothing is signed with it
    /// yet. From feature level 2 on.
    BeginCaRotation {
        /// The epoch of what was read.
        epoch_before: u64,
        /// What will sign.
        successor: CaSigner,
    },
    /// The next step of a rotation, if nobody else took it since: the successor signs; or, if it does already, it alone is
    /// trusted. From feature level 2 on.
    AdvanceCaRotation {
        /// The epoch of what was read.
        epoch_before: u64,
    },
    /// Leaves numbers out, so that none is given twice that was given in entries which a recovered log lacks. Stands in the
    /// log of a meta group that was recovered, and is sent by nobody. From feature level 2 on.
    SkipIds {
        /// How many of accounts and of clients.
        by: u64,
    },
    /// Begins to move slots of the cluster-wide tables ([`SlotMap`](crate::SlotMap)), if nobody else changed the map since,
    /// and no move is under way. Answered by [`MetaReply::SlotMove`](crate::MetaReply::SlotMove). From feature level 3 on.
    BeginSlotMove {
        /// The epoch of the map that was read.
        epoch_before: u64,
        /// Which slots, ascending, all of `from`.
        slots: Vec<u16>,
        /// The shard that has them.
        from: ShardId,
        /// The shard that is to have them, which accounts are put on.
        to: ShardId,
    },
    /// The slots of a move are the new shard's: it has all entries. Said of a move that is over it changes nothing. From
    /// feature level 3 on.
    FinishSlotMove {
        /// Which move.
        id: u64,
    },
    /// Ends a move that is finished: the old shard has dropped the entries. From feature level 3 on.
    ForgetSlotMove {
        /// Which move.
        id: u64,
    },
    /// Asks for accounts to be moved to a shard. Answered by [`MetaReply::AccountMoves`](crate::MetaReply::AccountMoves): the new
    /// moves, and in place of a new one the move of an account that is under way already, perhaps to another shard; none for accounts
    /// that are there. From feature level 5 on, as are the next six.
    MoveAccounts {
        /// Which, at most [`MOVES_AT_ONCE_MAX`](crate::MOVES_AT_ONCE_MAX).
        accounts: Vec<AccountId>,
        /// Where to: a shard that accounts are put on.
        to: ShardId,
    },
    /// A mover takes a move, if nobody else did since. Answered by [`MetaReply::AccountMove`](crate::MetaReply::AccountMove), as are
    /// the next five.
    TakeMove {
        /// Which.
        id: u64,
        /// The turn that was read.
        turn_before: u32,
    },
    /// A mover says how far it is.
    NoteMove {
        /// Which.
        id: u64,
        /// The mover's turn.
        turn: u32,
        /// How far.
        note: MoveNote,
    },
    /// The account is on the other shard, which has all of it.
    FlipMove {
        /// Which.
        id: u64,
        /// The mover's turn.
        turn: u32,
        /// The account was found to be served there. Nothing but this command has it served, so that this group has said so before, and
        /// has forgotten it: it was recovered from a copy that lacked it. Whatever it has said since does not hold.
        found_open: bool,
    },
    /// The account stays where it is.
    AbandonMove {
        /// Which.
        id: u64,
        /// Why.
        cause: String,
    },
    /// Both shards have followed what was decided.
    EndMove {
        /// Which.
        id: u64,
        /// The mover's turn.
        turn: u32,
    },
    /// Has a move that is not decided rest, or go on.
    PauseMove {
        /// Which.
        id: u64,
        /// Whether it rests.
        paused: bool,
    },
    /// As [`AnnounceNode`](MetaCommand::AnnounceNode), of a node without a store. One that had a store has no copies left. From
    /// [`LEVEL_FRONT_NODES`](crate::LEVEL_FRONT_NODES) on, as is the next one.
    AnnounceFront {
        /// The node.
        node: NewNode,
        /// What it does.
        roles: FrontRoles,
    },
    /// As [`JoinNode`](MetaCommand::JoinNode), for a node without a store.
    JoinFront {
        /// The hash of the token's secret.
        secret_hash: [u8; 32],
        /// The node.
        node: NewNode,
        /// What it does.
        roles: FrontRoles,
    },
}

/// An account to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAccount {
    /// Its address; the domain must be ours.
    pub address: Address,
    /// Its first password.
    pub credential: Option<Credential>,
    /// Quota in bytes.
    pub quota_storage_bytes: Option<u64>,
    /// Quota in messages.
    pub quota_messages: Option<u64>,
}

/// A password of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// What its owner calls it: `main`, `phone`.
    pub name: String,
    /// What it opens; none is everything.
    pub scopes: Vec<CredentialScope>,
    /// SCRAM verifier and password hash, with a version of their own. Opaque here.
    pub verifier: Vec<u8>,
    /// The account's [`AccountRecord::credentials_version`] when this one was set. Set in apply; what the proposer wrote
    /// is ignored.
    pub version: u64,
    /// When it was set, by the log's time. Set in apply.
    pub created: Timestamp,
}

/// What a password opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CredentialScope {
    /// IMAP.
    Imap,
    /// POP3.
    Pop3,
    /// Submission.
    Smtp,
}

/// A domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainRecord {
    /// Its name.
    pub domain: Domain,
    /// Where mail for unknown users goes.
    pub catch_all: Option<Address>,
    /// When it was added.
    pub created: Timestamp,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// Its id, the same for ever.
    pub id: AccountId,
    /// Its address.
    pub address: Address,
    /// The shard that holds its mail.
    pub shard: ShardId,
    /// Whether it may log in.
    pub enabled: bool,
    /// Quota in bytes.
    pub quota_storage_bytes: Option<u64>,
    /// Quota in messages.
    pub quota_messages: Option<u64>,
    /// Its passwords.
    pub credentials: Vec<Credential>,
    /// Grows with every change of a password, and when the account is let in or kept out: what was cached under an
    /// older number is not used.
    pub credentials_version: u64,
    /// When it was added.
    pub created: Timestamp,
}

/// An account that was removed here, and whose shard has not yet confirmed that it is gone there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Its id.
    pub account: AccountId,
    /// The shard that had it.
    pub shard: ShardId,
    /// When it was removed.
    pub removed: Timestamp,
}

/// An alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRecord {
    /// Its address.
    pub address: Address,
    /// Who gets its mail: accounts, aliases, addresses elsewhere.
    pub targets: Vec<Address>,
}
