//! Carries out admin requests against the store's traits.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use mailrook_net::{BlockingPool, Overloaded};
use mailrook_sasl::{Password, Salt, Verifier};
use mailrook_store_api::{
    Directory, Mailstore, StoreError,
    meta::{
        AccountRecord, AliasRecord, Credential, CredentialScope, DomainRecord, MetaAnswer,
        MetaCommand, MetaQuery, MetaRefusal, MetaReply, NewAccount,
    },
};
use mailrook_types::{Address, Domain, SpecialUse, Timestamp};
use thiserror::Error;

use super::{
    protocol::{
        AccountInfo, AliasInfo, ClusterStatus, ClusterUnreached, DomainInfo, MailboxInfo,
        PasswordInfo, Reply, Request, Scope, Secret, Status, Usage, VerifiedShard, Where,
    },
    sessions::SessionHost,
    time::rfc3339,
};

/// Records in one reply; who wants more asks for those after the last.
pub(super) const PAGE: u32 = 1000;

/// The name of a password that was given none.
pub const FIRST_PASSWORD: &str = "main";

/// What an admin can ask of the process itself.
pub trait Host: Send + Sync + 'static {
    /// How it fares.
    fn status(&self) -> BoxFuture<'_, Status>;
    /// Who is connected, to this node and to others.
    fn sessions(&self) -> Arc<dyn SessionHost>;
    /// Reads certificates and settings again; says what changed and what needs a restart.
    fn reload(&self) -> Result<(Vec<String>, Vec<String>), String>;
    /// Asks it to stop.
    fn stop(&self);
    /// What concerns the cluster; none of a node that is alone.
    fn cluster(&self) -> Option<Arc<dyn ClusterHost>>;
}

/// What an admin can ask of the cluster.
pub trait ClusterHost: Send + Sync + 'static {
    /// How it fares; within seconds what this node knows by itself, if the directory cannot be reached.
    fn status(&self) -> BoxFuture<'_, Result<ClusterStatus, ClusterUnreached>>;
    /// Compares all copies.
    fn verify(&self) -> BoxFuture<'_, Result<Vec<VerifiedShard>, StoreError>>;
    /// A token that lets one node join, and until when it holds.
    fn token(&self, lifetime: Duration) -> BoxFuture<'_, Result<(Secret, Timestamp), Failure>>;
    /// Removes a node that is lost for good; `force` even if it can be reached.
    fn replace(&self, name: String, force: bool) -> BoxFuture<'_, Result<(), Failure>>;
    /// Begins to rotate the CA.
    fn rotate_ca(&self) -> BoxFuture<'_, Result<(), Failure>>;
    /// Raises the feature level to what all nodes know, and gives it.
    fn upgrade(&self) -> BoxFuture<'_, Result<u32, Failure>>;
}

/// What carries requests out. Clones share everything.
#[derive(Clone)]
pub struct Admin {
    /// Who has mail here.
    pub directory: Arc<dyn Directory>,
    /// Their mail.
    pub mailstore: Arc<dyn Mailstore>,
    /// Hashes passwords.
    pub hashing: BlockingPool,
    /// The process.
    pub host: Arc<dyn Host>,
}

/// Why a request was not carried out.
#[derive(Debug, Error)]
pub enum Failure {
    /// What is asked for cannot be.
    #[error("{0}")]
    Refused(String),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
    /// We are at fault.
    #[error("{0}")]
    Internal(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let text = error.to_string();
        match error {
            StoreError::Unavailable(_) | StoreError::Full(_) => Failure::Unavailable(text),
            StoreError::Unacceptable(_) => Failure::Invalid(text),
            StoreError::Internal(_) => Failure::Internal(text),
        }
    }
}

impl From<MetaRefusal> for Failure {
    fn from(refusal: MetaRefusal) -> Failure {
        Failure::Refused(refusal.to_string())
    }
}

impl From<Overloaded> for Failure {
    fn from(error: Overloaded) -> Failure {
        Failure::Unavailable(error.to_string())
    }
}

pub(super) type Outcome = Result<Reply, Failure>;

pub(super) const DONE: Reply = Reply::Done { done: true };

impl Admin {
    /// Carries out one request.
    pub async fn handle(&self, request: Request) -> Outcome {
        match request {
            Request::DomainAdd { domain } => self.change(MetaCommand::AddDomain(domain)).await,
            Request::DomainList { after } => self.domains(after).await,
            Request::DomainRemove { domain } => {
                self.change(MetaCommand::RemoveDomain(domain)).await
            }
            Request::DomainCatchAll { domain, target } => {
                self.change(MetaCommand::SetCatchAll { domain, target })
                    .await
            }
            Request::AliasAdd { address, targets } => {
                self.change(MetaCommand::AddAlias { address, targets })
                    .await
            }
            Request::AliasRemove { address, targets } => {
                self.change(MetaCommand::RemoveAlias { address, targets })
                    .await
            }
            Request::AliasList { domain, after } => self.aliases(domain, after).await,
            Request::MailboxList { address } => self.mailboxes(address).await,
            Request::MailboxWhere { address } => self.find(address).await,
            Request::MailboxMove { users, to, dry_run } => {
                self.move_accounts(users, to, dry_run).await
            }
            Request::MoveList { pending, after } => self.moves(pending, after).await,
            Request::MoveShow { ids } => self.show_moves(ids).await,
            Request::MovePause { ids, paused } => self.pause_moves(ids, paused).await,
            Request::MoveCancel { ids } => self.cancel_moves(ids).await,
            Request::MoveRate { bytes_per_second } => self.set_move_rate(bytes_per_second).await,
            Request::Rebalance { plan } => self.rebalance(plan).await,
            Request::NodeToken { .. }
            | Request::NodeList
            | Request::NodeDrain { .. }
            | Request::NodeRemove { .. }
            | Request::NodeReplace { .. }
            | Request::ClusterRotateCa
            | Request::ClusterUpgrade
            | Request::ClusterSet { .. }
            | Request::ClusterVerify => self.handle_cluster(request).await,
            Request::Status => Ok(Reply::Status(Box::new(self.host.status().await))),
            Request::SessionList { .. }
            | Request::SessionShow { .. }
            | Request::SessionKill { .. } => self.handle_sessions(request).await,
            Request::Reload => match self.host.reload() {
                Ok((reloaded, needs_restart)) => Ok(Reply::Reloaded {
                    reloaded,
                    needs_restart,
                }),
                Err(why) => Err(Failure::Refused(why)),
            },
            Request::Stop => {
                self.host.stop();
                Ok(DONE)
            }
            account => self.handle_account(account).await,
        }
    }

    async fn handle_account(&self, request: Request) -> Outcome {
        match request {
            Request::AccountAdd {
                address,
                password,
                quota_bytes,
                quota_messages,
            } => {
                let credential = match password {
                    Some(password) => Some(
                        self.credential(FIRST_PASSWORD, Vec::new(), &password, None)
                            .await?,
                    ),
                    None => None,
                };
                self.change(MetaCommand::AddAccount(NewAccount {
                    address,
                    credential,
                    quota_storage_bytes: quota_bytes,
                    quota_messages,
                }))
                .await
            }
            Request::AccountList { domain, after } => self.accounts(domain, after).await,
            Request::AccountShow { address } => {
                let record = self.known_account(&address).await?;
                let usage = self.mailstore.quota(record.id).await?;
                let usage = usage.map(|usage| Usage {
                    bytes: usage.storage_bytes,
                    messages: usage.messages,
                });
                Ok(Reply::Account {
                    account: account_info(&record),
                    usage,
                })
            }
            Request::AccountRemove { address } => {
                self.change(MetaCommand::RemoveAccount(address)).await
            }
            Request::AccountRename { from, to } => {
                self.change(MetaCommand::RenameAccount { from, to }).await
            }
            Request::AccountEnable { address, enabled } => {
                self.change(MetaCommand::SetEnabled { address, enabled })
                    .await
            }
            Request::AccountQuota {
                address,
                quota_bytes,
                quota_messages,
            } => {
                let command = MetaCommand::SetQuota {
                    address,
                    storage_bytes: quota_bytes,
                    messages: quota_messages,
                };
                self.change(command).await
            }
            other => self.handle_password(other).await,
        }
    }

    async fn handle_password(&self, request: Request) -> Outcome {
        match request {
            Request::PasswordAdd {
                address,
                name,
                scopes,
                password,
            } => {
                let record = self.known_account(&address).await?;
                if record.credentials.iter().any(|known| known.name == name) {
                    let text = format!(
                        "{address} has a password named {name:?} already; `set` replaces it"
                    );
                    return Err(Failure::Refused(text));
                }
                self.put_password(
                    &record,
                    &name,
                    scopes.into_iter().map(meta_scope).collect(),
                    &password,
                )
                .await
            }
            Request::PasswordSet {
                address,
                name,
                password,
            } => {
                let record = self.known_account(&address).await?;
                let known = record.credentials.iter().find(|known| known.name == name);
                // The first password may be set before there is one.
                let scopes = match known {
                    Some(known) => known.scopes.clone(),
                    None if name == FIRST_PASSWORD => Vec::new(),
                    None => return Err(MetaRefusal::NoSuchCredential(name).into()),
                };
                self.put_password(&record, &name, scopes, &password).await
            }
            Request::PasswordList { address } => {
                let record = self.known_account(&address).await?;
                let info = |credential: &Credential| PasswordInfo {
                    name: credential.name.clone(),
                    scopes: credential.scopes.iter().copied().map(scope).collect(),
                    created: rfc3339(credential.created),
                };
                Ok(Reply::Passwords {
                    passwords: record.credentials.iter().map(info).collect(),
                })
            }
            Request::PasswordRemove { address, name } => {
                self.change(MetaCommand::RemoveCredential { address, name })
                    .await
            }
            other => Err(Failure::Internal(format!("nobody handles {other:?}"))),
        }
    }

    async fn put_password(
        &self,
        record: &AccountRecord,
        name: &str,
        scopes: Vec<CredentialScope>,
        password: &Secret,
    ) -> Outcome {
        let credential = self
            .credential(name, scopes, password, Some(record))
            .await?;
        self.change(MetaCommand::PutCredential {
            address: record.address.clone(),
            credential,
        })
        .await
    }

    /// Hashes a password, with the salt of the account's other ones: SCRAM tells a client one salt for all.
    async fn credential(
        &self,
        name: &str,
        scopes: Vec<CredentialScope>,
        password: &Secret,
        account: Option<&AccountRecord>,
    ) -> Result<Credential, Failure> {
        let prepared = Password::prepare(password.reveal().as_bytes())
            .map_err(|error| Failure::Invalid(error.to_string()))?;
        let known = account.into_iter().flat_map(|record| &record.credentials);
        // A password that is replaced needs its salt no more, but the others may have the same.
        let salt = known
            .filter_map(|credential| Verifier::from_bytes(&credential.verifier).ok()?.salt())
            .next();
        let salt = match salt {
            Some(salt) => salt,
            None => Salt::random().map_err(|error| Failure::Internal(error.to_string()))?,
        };
        let verifier = self
            .hashing
            .run(move || Verifier::new(&prepared, salt))
            .await?;
        Ok(Credential {
            name: name.to_owned(),
            scopes,
            verifier: verifier.to_bytes(),
            version: 0,
            created: Timestamp::default(),
        })
    }

    async fn mailboxes(&self, address: Address) -> Outcome {
        let record = self.known_account(&address).await?;
        let list = self
            .mailstore
            .mailboxes(record.id)
            .await?
            .unwrap_or_default();
        let info = |mailbox: &mailrook_store_api::shard::MailboxInfo| MailboxInfo {
            name: mailbox.name.to_string(),
            id: mailbox.status.id.to_string(),
            messages: mailbox.status.messages,
            unseen: mailbox.status.unseen,
            bytes: mailbox.status.size_bytes,
            special_use: mailbox
                .special_use
                .map(SpecialUse::attribute)
                .map(str::to_owned),
            subscribed: list.subscriptions.contains(&mailbox.name),
        };
        Ok(Reply::Mailboxes {
            user: record.address,
            mailboxes: list.mailboxes.iter().map(info).collect(),
        })
    }

    async fn find(&self, address: Address) -> Outcome {
        let record = self.known_account(&address).await?;
        let shard = record.shard.0;
        let (leader, replicas) = self.replicas(shard).await;
        Ok(Reply::Where(Where {
            user: record.address,
            shard,
            leader,
            replicas,
        }))
    }

    /// The names of the node that leads a shard and of those that have copies.
    async fn replicas(&self, shard: u32) -> (Option<String>, Vec<String>) {
        let status = self.host.status().await;
        if let Some(cluster) = status.cluster {
            let group = cluster
                .groups
                .into_iter()
                .find(|group| group.shard == shard);
            return group.map_or_else(Default::default, |group| {
                (group.leader, [group.voters, group.learners].concat())
            });
        }
        if let Some(own) = status.cluster_unreached {
            let copy = own.copies.into_iter().find(|copy| copy.shard == shard);
            return copy.map_or_else(Default::default, |copy| (copy.leader, copy.voters));
        }
        let alone = status.hostname.to_string();
        (Some(alone.clone()), vec![alone])
    }

    async fn domains(&self, after: Option<Domain>) -> Outcome {
        let info = |record: DomainRecord| DomainInfo {
            domain: record.domain,
            catch_all: record.catch_all,
            created: rfc3339(record.created),
        };
        match self
            .directory
            .query(MetaQuery::Domains { after, limit: PAGE })
            .await?
        {
            MetaAnswer::Domains(list) => Ok(Reply::Domains {
                domains: list.into_iter().map(info).collect(),
            }),
            other => Err(misfit(&other)),
        }
    }

    async fn aliases(&self, domain: Option<Domain>, after: Option<Address>) -> Outcome {
        let info = |record: AliasRecord| AliasInfo {
            alias: record.address,
            targets: record.targets,
        };
        match self
            .directory
            .query(MetaQuery::Aliases {
                domain,
                after,
                limit: PAGE,
            })
            .await?
        {
            MetaAnswer::Aliases(list) => Ok(Reply::Aliases {
                aliases: list.into_iter().map(info).collect(),
            }),
            other => Err(misfit(&other)),
        }
    }

    async fn accounts(&self, domain: Option<Domain>, after: Option<Address>) -> Outcome {
        match self
            .directory
            .query(MetaQuery::Accounts {
                domain,
                after,
                limit: PAGE,
            })
            .await?
        {
            MetaAnswer::Accounts(list) => Ok(Reply::Accounts {
                accounts: list.iter().map(account_info).collect(),
            }),
            other => Err(misfit(&other)),
        }
    }

    pub(super) async fn known_account(
        &self,
        address: &Address,
    ) -> Result<Box<AccountRecord>, Failure> {
        let record = self.directory.account(address).await?;
        record.ok_or_else(|| MetaRefusal::NoSuchAccount(address.clone()).into())
    }

    pub(super) async fn change(&self, command: MetaCommand) -> Outcome {
        match self.directory.command(command).await? {
            MetaReply::Done | MetaReply::Node(_) => Ok(DONE),
            MetaReply::Account(record) | MetaReply::Removed(record) => Ok(Reply::Account {
                account: account_info(&record),
                usage: None,
            }),
            MetaReply::Refused(refusal) => Err(refusal.into()),
            other => Err(misfit(&other)),
        }
    }
}

/// How long a request may take: the store's own patience and a password's hash. None for what reads everything, which
/// takes as long as it does, and ends when its asker goes.
pub fn deadline(request: &Request) -> Option<Duration> {
    match request {
        Request::ClusterVerify | Request::Rebalance { .. } => None,
        _ => Some(Duration::from_secs(60)),
    }
}

pub(super) fn misfit(answer: &dyn std::fmt::Debug) -> Failure {
    Failure::Internal(format!(
        "the directory's answer does not fit the question: {answer:?}"
    ))
}

fn account_info(record: &AccountRecord) -> AccountInfo {
    AccountInfo {
        user: record.address.clone(),
        id: record.id.to_string(),
        shard: record.shard.0,
        enabled: record.enabled,
        quota_bytes: record.quota_storage_bytes,
        quota_messages: record.quota_messages,
        passwords: record.credentials.len(),
        created: rfc3339(record.created),
    }
}

fn meta_scope(scope: Scope) -> CredentialScope {
    match scope {
        Scope::Imap => CredentialScope::Imap,
        Scope::Pop3 => CredentialScope::Pop3,
        Scope::Smtp => CredentialScope::Smtp,
    }
}

fn scope(scope: CredentialScope) -> Scope {
    match scope {
        CredentialScope::Imap => Scope::Imap,
        CredentialScope::Pop3 => Scope::Pop3,
        CredentialScope::Smtp => Scope::Smtp,
    }
}
