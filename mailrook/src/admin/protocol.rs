//! What the admin commands ask of a running server, and what it answers: JSON over HTTP.
//!
//! `POST /v1/command` with `{"command":"account-add","address":"user@example.test","password":"…"}` answers 200 with the
//! reply, 409 when it is refused, 400 when it is not understood, 503 when the store cannot be reached. Lists come in pages of
//! at most [`PAGE`](super::handle::PAGE) records, fewer where they are long; `after` is the last one seen, and nothing comes after the last.

use std::fmt;

use mailrook_types::{Address, Domain};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A password in clear, on its way to be hashed. It is wiped when dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

impl Secret {
    /// Takes a password.
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    /// The password itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a password opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// IMAP
    Imap,
    /// POP3
    Pop3,
    /// Sending mail
    Smtp,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Adds a domain.
    DomainAdd { domain: Domain },
    /// Lists domains.
    DomainList {
        #[serde(default)]
        after: Option<Domain>,
    },
    /// Removes an empty domain.
    DomainRemove { domain: Domain },
    /// Says who gets the mail of unknown users.
    DomainCatchAll {
        domain: Domain,
        target: Option<Address>,
    },
    /// Adds an account.
    AccountAdd {
        address: Address,
        password: Option<Secret>,
        #[serde(default)]
        quota_bytes: Option<u64>,
        #[serde(default)]
        quota_messages: Option<u64>,
    },
    /// Lists accounts.
    AccountList {
        #[serde(default)]
        domain: Option<Domain>,
        #[serde(default)]
        after: Option<Address>,
    },
    /// Shows one account.
    AccountShow { address: Address },
    /// Removes an account with its mail.
    AccountRemove { address: Address },
    /// Gives it another address.
    AccountRename { from: Address, to: Address },
    /// Lets it log in, or not.
    AccountEnable { address: Address, enabled: bool },
    /// Says how much it may hold.
    AccountQuota {
        address: Address,
        quota_bytes: Option<u64>,
        quota_messages: Option<u64>,
    },
    /// Adds a password.
    PasswordAdd {
        address: Address,
        name: String,
        scopes: Vec<Scope>,
        password: Secret,
    },
    /// Replaces a password that is there.
    PasswordSet {
        address: Address,
        name: String,
        password: Secret,
    },
    /// Lists the passwords' names.
    PasswordList { address: Address },
    /// Removes a password.
    PasswordRemove { address: Address, name: String },
    /// Adds targets to an alias.
    AliasAdd {
        address: Address,
        targets: Vec<Address>,
    },
    /// Lists aliases.
    AliasList {
        #[serde(default)]
        domain: Option<Domain>,
        #[serde(default)]
        after: Option<Address>,
    },
    /// Removes targets, or the alias.
    AliasRemove {
        address: Address,
        targets: Vec<Address>,
    },
    /// Lists an account's mailboxes.
    MailboxList { address: Address },
    /// Says which shard and node hold an account.
    MailboxWhere { address: Address },
    /// Has accounts move to another shard.
    MailboxMove {
        users: Vec<Address>,
        /// `shard:3`, or the name of a node: one of the shards that it leads.
        to: MoveTarget,
        /// Only says which would move.
        #[serde(default)]
        dry_run: bool,
    },
    /// Lists moves, ascending by id.
    MoveList {
        /// Those that are not over.
        #[serde(default)]
        pending: bool,
        #[serde(default)]
        after: Option<u64>,
    },
    /// Shows some moves, those that are known.
    MoveShow { ids: Vec<u64> },
    /// Has moves rest, or go on; without ids all of them, also those that are asked for later.
    MovePause {
        #[serde(default)]
        ids: Vec<u64>,
        paused: bool,
    },
    /// Has moves that are not decided come to nothing.
    MoveCancel { ids: Vec<u64> },
    /// Says how fast all moves together copy at most; none: as fast as they can.
    MoveRate { bytes_per_second: Option<u64> },
    /// Evens out the shards, or says which moves that would be.
    Rebalance {
        #[serde(default)]
        plan: bool,
    },
    /// Lets one node join.
    NodeToken {
        /// How long the token holds.
        lifetime_seconds: u64,
    },
    /// Lists the nodes.
    NodeList,
    /// Has a node hand over what it has, or take part again.
    NodeDrain { name: String, draining: bool },
    /// Removes a node that has nothing left.
    NodeRemove { name: String },
    /// Removes a node that is lost for good.
    NodeReplace {
        name: String,
        #[serde(default)]
        force: bool,
    },
    /// Begins to rotate the CA.
    ClusterRotateCa,
    /// Raises the feature level.
    ClusterUpgrade,
    /// Changes how the cluster is kept.
    ClusterSet {
        #[serde(default)]
        copies: Option<u8>,
        #[serde(default)]
        heal_after_ms: Option<u64>,
        #[serde(default)]
        shards: Option<u32>,
    },
    /// Compares all copies.
    ClusterVerify,
    /// Who is connected, to whichever node, in pages.
    SessionList {
        #[serde(default)]
        user: Option<Address>,
        #[serde(default)]
        domain: Option<Domain>,
        #[serde(default)]
        node: Option<String>,
        #[serde(default)]
        protocol: Option<SessionProtocol>,
        /// What the page before gave as `next`.
        #[serde(default)]
        after: Option<String>,
    },
    /// One session, and what it lived through.
    SessionShow { id: String },
    /// Ends a session, or all of a user's.
    SessionKill {
        #[serde(default)]
        id: Option<String>,
        #[serde(default)]
        user: Option<Address>,
        /// What the client is told.
        #[serde(default)]
        reason: Option<String>,
    },
    /// How the server fares.
    Status,
    /// Reads certificates and settings again.
    Reload,
    /// Stops the server gracefully.
    Stop,
}

impl Request {
    /// The command's name, as it stands in the JSON; for logs, which must not show the rest.
    pub fn name(&self) -> &'static str {
        match self {
            Request::DomainAdd { .. } => "domain-add",
            Request::DomainList { .. } => "domain-list",
            Request::DomainRemove { .. } => "domain-remove",
            Request::DomainCatchAll { .. } => "domain-catch-all",
            Request::AccountAdd { .. } => "account-add",
            Request::AccountList { .. } => "account-list",
            Request::AccountShow { .. } => "account-show",
            Request::AccountRemove { .. } => "account-remove",
            Request::AccountRename { .. } => "account-rename",
            Request::AccountEnable { .. } => "account-enable",
            Request::AccountQuota { .. } => "account-quota",
            Request::PasswordAdd { .. } => "password-add",
            Request::PasswordSet { .. } => "password-set",
            Request::PasswordList { .. } => "password-list",
            Request::PasswordRemove { .. } => "password-remove",
            Request::AliasAdd { .. } => "alias-add",
            Request::AliasList { .. } => "alias-list",
            Request::AliasRemove { .. } => "alias-remove",
            Request::MailboxList { .. } => "mailbox-list",
            Request::MailboxWhere { .. } => "mailbox-where",
            Request::MailboxMove { .. } => "mailbox-move",
            Request::MoveList { .. } => "move-list",
            Request::MoveShow { .. } => "move-show",
            Request::MovePause { .. } => "move-pause",
            Request::MoveCancel { .. } => "move-cancel",
            Request::MoveRate { .. } => "move-rate",
            Request::Rebalance { .. } => "rebalance",
            Request::NodeToken { .. } => "node-token",
            Request::NodeList => "node-list",
            Request::NodeDrain { .. } => "node-drain",
            Request::NodeRemove { .. } => "node-remove",
            Request::NodeReplace { .. } => "node-replace",
            Request::ClusterRotateCa => "cluster-rotate-ca",
            Request::ClusterUpgrade => "cluster-upgrade",
            Request::ClusterSet { .. } => "cluster-set",
            Request::ClusterVerify => "cluster-verify",
            Request::SessionList { .. } => "session-list",
            Request::SessionShow { .. } => "session-show",
            Request::SessionKill { .. } => "session-kill",
            Request::Status => "status",
            Request::Reload => "reload",
            Request::Stop => "stop",
        }
    }
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reply {
    /// Accounts.
    Accounts { accounts: Vec<AccountInfo> },
    /// Domains.
    Domains { domains: Vec<DomainInfo> },
    /// Aliases.
    Aliases { aliases: Vec<AliasInfo> },
    /// Passwords.
    Passwords { passwords: Vec<PasswordInfo> },
    /// Mailboxes.
    Mailboxes {
        user: Address,
        mailboxes: Vec<MailboxInfo>,
    },
    /// Sessions.
    Sessions(SessionPage),
    /// One session.
    Session(Box<SessionDetail>),
    /// Sessions that were told to end.
    Ended(SessionsEnded),
    /// Where an account is.
    Where(Where),
    /// What was asked of which accounts.
    MovesAsked { asked: Vec<AskedMove> },
    /// Moves.
    Moves {
        moves: Vec<MoveInfo>,
        /// Whether all rest.
        paused: bool,
        rate_bytes_per_second: Option<u64>,
    },
    /// How even the shards are, and what would make or makes them more so.
    Balance {
        shards: Vec<ShardLoad>,
        moves: Vec<AskedMove>,
        /// Nodes that did not say what is asked for through them: load was left out of account for that.
        #[serde(default)]
        unreached: Vec<UnreachedNode>,
    },
    /// One account.
    Account {
        account: AccountInfo,
        #[serde(default)]
        usage: Option<Usage>,
    },
    /// A token that lets one node join. It is a secret.
    Token {
        token: Secret,
        /// RFC 3339.
        expires: String,
    },
    /// Nodes.
    Nodes { nodes: Vec<ClusterNode> },
    /// The copies' contents.
    Verified {
        /// Whether all copies of each shard could be read, and are equal.
        equal: bool,
        shards: Vec<VerifiedShard>,
    },
    /// What all nodes know.
    Level { feature_level: u32 },
    /// What a reload did.
    Reloaded {
        reloaded: Vec<String>,
        needs_restart: Vec<String>,
    },
    /// How the server fares.
    Status(Box<Status>),
    /// It is as asked, and there is something to be said.
    Noted { done: bool, note: String },
    /// It is as asked.
    Done { done: bool },
}

/// A domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainInfo {
    pub domain: Domain,
    pub catch_all: Option<Address>,
    /// RFC 3339.
    pub created: String,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountInfo {
    pub user: Address,
    pub id: String,
    pub shard: u32,
    pub enabled: bool,
    pub quota_bytes: Option<u64>,
    pub quota_messages: Option<u64>,
    pub passwords: usize,
    /// RFC 3339.
    pub created: String,
}

/// How much an account holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub bytes: u64,
    pub messages: u64,
}

/// A password, as far as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordInfo {
    pub name: String,
    /// None: everything.
    pub scopes: Vec<Scope>,
    /// RFC 3339.
    pub created: String,
}

/// An alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasInfo {
    pub alias: Address,
    pub targets: Vec<Address>,
}

/// A mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxInfo {
    pub name: String,
    pub id: String,
    pub messages: u64,
    pub unseen: u64,
    pub bytes: u64,
    pub special_use: Option<String>,
    pub subscribed: bool,
}

/// Where an account is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Where {
    pub user: Address,
    pub shard: u32,
    /// The name of the node that leads the shard, where known; of a node that is alone its host's.
    pub leader: Option<String>,
    /// The names of the nodes with a copy.
    pub replicas: Vec<String>,
}

/// What a session speaks, with or without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SessionProtocol {
    /// IMAP
    Imap,
    /// POP3
    Pop3,
    /// SMTP, of other servers and of those who send mail
    Smtp,
    /// LMTP
    Lmtp,
}

/// Sessions, node by node, each node's oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPage {
    pub sessions: Vec<SessionInfo>,
    /// Nodes whose sessions are missing.
    #[serde(default)]
    pub unreached: Vec<UnreachedNode>,
    /// What to ask for the next page with; none if nothing follows.
    #[serde(default)]
    pub next: Option<String>,
}

/// A node that did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreachedNode {
    pub node: String,
    pub why: String,
}

/// A session of a mail client, or of one that sends mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// The node's name, and what the session is called in its log: `mail1-5kx0c2m9rt`.
    pub id: String,
    pub node: String,
    /// `imaps`
    pub service: String,
    pub peer: String,
    pub tls: bool,
    /// Who has logged in.
    pub user: Option<String>,
    /// RFC 3339.
    pub since: String,
    /// The mailbox that is selected.
    pub mailbox: Option<String>,
    /// The command under way.
    pub command: Option<String>,
    /// How long that is under way, or nothing is.
    pub lasting_ms: u64,
    /// The shard that holds the account, as far as the node has heard.
    pub shard: Option<u32>,
    /// The name of the node that leads the shard, as far as the node has heard.
    pub leader: Option<String>,
    /// Without TLS's own.
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// How many of its commands were held up by a fail-over or a move, and went on.
    pub resumed: u32,
    /// How many of its calls to the store were sent again.
    pub replayed: u32,
    /// What it was told as it was ended; it is on its way out.
    pub ended: Option<String>,
}

/// A session, and what it lived through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDetail {
    pub session: SessionInfo,
    /// What held it up, the last few times, the oldest first.
    pub stalls: Vec<SessionStall>,
}

/// How a command was held up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStall {
    /// When it went on, or was given up, RFC 3339.
    pub at: String,
    pub command: Option<String>,
    /// `fail-over` or `move`
    pub cause: String,
    pub shard: u32,
    /// The names of nodes, where known.
    pub leader_before: Option<String>,
    pub leader_after: Option<String>,
    pub stalled_ms: u64,
    /// How often calls were sent again.
    pub replays: u32,
    /// `done` or `given up`
    pub outcome: String,
}

/// Sessions that were told to end. They are gone some seconds later at the latest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsEnded {
    /// How many.
    pub ended: u64,
    /// Which, but for those beyond the first thousand.
    pub ids: Vec<String>,
    /// Nodes that may have more of them.
    #[serde(default)]
    pub unreached: Vec<UnreachedNode>,
}

/// How the server fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub hostname: Domain,
    pub uptime_seconds: u64,
    /// Whether it takes what it is there for, and if not why.
    pub ready: bool,
    pub not_ready_because: Vec<String>,
    pub listeners: Vec<ListenerInfo>,
    /// The back end, as it tells of itself.
    pub node: serde_json::Value,
    /// The cluster, as far as this node can see; none for a node that is alone.
    #[serde(default)]
    pub cluster: Option<ClusterStatus>,
    /// What takes its place while the cluster's directory cannot be reached.
    #[serde(default)]
    pub cluster_unreached: Option<ClusterUnreached>,
}

/// What a node of a cluster knows by itself while the directory cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterUnreached {
    /// Why it cannot.
    pub error: String,
    /// The other nodes, as they were known last.
    pub nodes: Vec<KnownNode>,
    /// The copies of this node.
    pub copies: Vec<OwnCopy>,
}

/// Another node, as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownNode {
    pub id: u64,
    pub name: String,
    pub address: String,
    /// `up`, `down`, `refused` (nobody listens there) or `silent`
    pub link: String,
    /// Why it is not up, where known.
    pub trouble: Option<String>,
}

impl KnownNode {
    /// `n2 (10.0.0.2:7424): refused: …`
    pub fn in_words(&self) -> String {
        let KnownNode {
            name,
            address,
            link,
            trouble,
            ..
        } = self;
        match trouble {
            Some(trouble) => format!("{name} ({address}): {link}: {trouble}"),
            None => format!("{name} ({address}): {link}"),
        }
    }
}

/// This node's copy of a group, as it tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnCopy {
    pub shard: u32,
    /// `leader`, `follower`, `learner`, `candidate` or `stopped`
    pub role: String,
    pub stopped_because: Option<String>,
    /// The names of nodes, as below; as far as the copy knows.
    pub leader: Option<String>,
    pub term: u64,
    pub last_index: u64,
    pub voters: Vec<String>,
}

/// A cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// How many copies each shard is to have.
    pub copies: u8,
    /// How long a node may be gone before its copies are made elsewhere.
    pub heal_after_ms: u64,
    /// What all nodes know.
    pub feature_level: u32,
    /// A higher one that all nodes know.
    #[serde(default)]
    pub feature_level_possible: Option<u32>,
    /// Who signs the nodes' certificates; none in a cluster's first seconds.
    #[serde(default)]
    pub ca: Option<ClusterCaStatus>,
    pub nodes: Vec<ClusterNode>,
    pub groups: Vec<ClusterGroup>,
    /// Shards with fewer copies than they should have, in words.
    pub under_replicated: Vec<String>,
    /// What is being done about the placement and the tables' slots, in words.
    pub healing: Vec<String>,
    /// Copies that are to leave their nodes and cannot: their nodes wait for another.
    #[serde(default)]
    pub stuck: Vec<StuckCopies>,
    /// What losing each node now would do.
    pub losing: Vec<Losing>,
}

/// Copies that cannot leave a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckCopies {
    /// Which node.
    pub node: String,
    /// Of which groups.
    pub shards: Vec<u32>,
    /// Why, and what helps, in words.
    pub why: String,
}

/// Who signs the nodes' certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterCaStatus {
    /// The SHA-256 of its certificate, in hexadecimal digits.
    pub fingerprint: String,
    /// How far a rotation is, in words; none if there is none.
    pub rotation: Option<String>,
}

/// A node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterNode {
    pub id: u64,
    pub name: String,
    /// Where the other nodes reach it.
    pub address: String,
    pub zone: String,
    /// `active`, `draining` or `removed`
    pub state: String,
    /// What a node without a store does: `front`, `proxy`. None of one that has a store, whatever else it does.
    #[serde(default)]
    pub front: Option<Vec<String>>,
    pub reachable: bool,
    pub disk_full: bool,
    /// How many copies it has.
    pub copies: usize,
    /// How many groups it leads.
    pub leads: usize,
    /// How many entries its copies are behind, in all.
    pub lag: u64,
    /// When its certificate ceases to be valid, RFC 3339; none if it did not say.
    #[serde(default)]
    pub certificate_expires: Option<String>,
}

/// A group of a cluster: a shard, or the meta group, which has number 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterGroup {
    pub shard: u32,
    /// The names of nodes, as all below.
    pub leader: Option<String>,
    pub term: u64,
    pub voters: Vec<String>,
    pub learners: Vec<String>,
    /// Whether its members are being changed.
    pub changing: bool,
    pub last_index: u64,
}

/// What losing a node would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losing {
    /// Which.
    pub node: String,
    /// Shards that would stand still.
    pub without_quorum: Vec<u32>,
    /// Shards of which it has the only copy that can be reached.
    pub without_copy: Vec<u32>,
    /// Groups that would elect another leader.
    pub elections: usize,
}

/// The copies of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedShard {
    pub shard: u32,
    pub verdict: VerifiedAs,
    pub copies: Vec<VerifiedCopy>,
}

/// What the comparison of a group's copies came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifiedAs {
    /// All could be read, and are equal.
    Equal,
    /// Some differ, as of the same entry.
    Differ,
    /// Some could not be read; the others are equal.
    Unreadable,
    /// They could not be read as of the same entry: they are being written, or filled.
    NotComparable,
}

/// One copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedCopy {
    pub node: String,
    pub applied_index: Option<u64>,
    /// BLAKE3 of the content, in hexadecimal digits.
    pub digest: Option<String>,
    /// Why it could not be read.
    pub error: Option<String>,
}

/// Where accounts are to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MoveTarget {
    /// To a shard.
    Shard(u32),
    /// To one of the shards that a node leads.
    Node(String),
}

impl MoveTarget {
    /// Reads `shard:3`, or a node's name.
    pub fn parse(text: &str) -> Result<MoveTarget, String> {
        match text.strip_prefix("shard:") {
            Some(number) => match number.parse() {
                Ok(number) if number > 0 => Ok(MoveTarget::Shard(number)),
                _ => Err(format!(
                    "{number:?} is no shard's number; `shard:3` would be"
                )),
            },
            None if text.is_empty() => {
                Err("a shard is named, as in `shard:3`, or a node".to_owned())
            }
            None => Ok(MoveTarget::Node(text.to_owned())),
        }
    }
}

impl TryFrom<String> for MoveTarget {
    type Error = String;

    fn try_from(text: String) -> Result<MoveTarget, String> {
        MoveTarget::parse(&text)
    }
}

impl From<MoveTarget> for String {
    fn from(target: MoveTarget) -> String {
        match target {
            MoveTarget::Shard(number) => format!("shard:{number}"),
            MoveTarget::Node(name) => name,
        }
    }
}

/// What was asked of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedMove {
    pub user: Address,
    pub from: u32,
    pub to: u32,
    pub outcome: AskedOutcome,
    /// The move, if there is one.
    pub id: Option<u64>,
    /// What the account holds.
    pub messages: u64,
    pub bytes: u64,
    /// Why it is moved, if nobody asked for this very account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AskedOutcome {
    /// It moves there, or did already.
    Asked,
    /// It is there.
    There,
    /// It is moving to another shard already.
    MovesElsewhere,
    /// It would move.
    WouldMove,
}

/// A move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveInfo {
    pub id: u64,
    /// The account's address; its id if the account was removed.
    pub user: String,
    pub from: u32,
    pub to: u32,
    /// `waiting`, `copying`, `moved` (what is left where it was is still kept), `abandoned` (what was copied is still to be
    /// removed), `done` or `failed`
    pub state: String,
    /// Why it failed.
    pub cause: Option<String>,
    /// Whether it is decided, and the account is served where it is.
    pub settled: bool,
    /// What was copied.
    pub messages: u64,
    pub bytes: u64,
    /// For how long the account was not served.
    pub pause_ms: u32,
    pub paused: bool,
    /// RFC 3339.
    pub asked: String,
    /// RFC 3339.
    pub changed: String,
}

/// What a shard holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardLoad {
    pub shard: u32,
    pub accounts: u64,
    pub bytes: u64,
    /// What it would hold, or will.
    pub accounts_after: u64,
    pub bytes_after: u64,
    /// What is asked of it, in requests an hour; none where that is not known.
    #[serde(default)]
    pub load: Option<u64>,
    #[serde(default)]
    pub load_after: Option<u64>,
}

/// A service that listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerInfo {
    pub service: String,
    pub address: String,
    pub connections: u64,
}

/// The body of an answer that is no reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: String,
}
