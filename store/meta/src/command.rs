//! What the meta group's log can carry. As in every stored enum, variants are only ever appended.

use mailrook_types::{AccountId, Address, ClientId, Domain, LocalPart, OpId, ShardId, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

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
    /// Names the shards that accounts are put on. Only ever grows in this version.
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

/// The answer to a [`MetaCommand`].
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
}
