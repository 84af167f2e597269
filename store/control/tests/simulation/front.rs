//! The clients: one that sets the cluster up, and those that put load on it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mailrook_cluster::Group;
use mailrook_mailbox::MailboxRef;
use mailrook_meta::{MetaCommand, MetaReply, NewAccount, NewNode};
use mailrook_store_api::{Append, Directory, Lane, Mailstore, PreparedMessage, StoreError};
use mailrook_store_client::{Client, ClientOptions, Reach};
use mailrook_types::{
    AccountId, Address, Domain, Flags, MailboxId, MailboxName, NodeId, ShardId, Timestamp, Uid,
    UidSet,
};
use parking_lot::Mutex;

use crate::{
    boot::{member, nonce},
    chance::Chance,
    ledger::Ledger,
    world::{FRONT, Shared},
};

/// Between two tries of what sets the cluster up.
const PAUSE: Duration = Duration::from_millis(100);

/// A call is given up so soon, that clients learn to live without an answer.
const DEADLINE: Duration = Duration::from_secs(4);

/// What a client does after an append that may or may not be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing: nobody knows.
    Never,
    /// A bug on purpose: it is sent again, as another operation.
    UnderANewId,
}

/// A client of its own, that knows these nodes.
pub fn client(shared: &Shared, peers: &[NodeId]) -> Client {
    let copies: BTreeMap<ShardId, Arc<dyn Group>> = BTreeMap::new();
    let reach = Reach {
        copies: Arc::new(copies),
        network: shared.net.network(FRONT),
        peers: Arc::new(peers.to_vec()),
    };
    let options = ClientOptions { deadline: DEADLINE };
    Client::new(reach, nonce(), options)
}

/// Carries out a change of the directory, whatever happens meanwhile. One that was carried out before may be refused.
pub async fn command(client: &Client, command: MetaCommand) -> MetaReply {
    loop {
        match client.command(command.clone()).await {
            Ok(reply) => return reply,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Takes the nodes in that `founder` does not know yet.
pub async fn join(client: &Client, founder: NodeId, nodes: &[NodeId], now_ms: i64) {
    for node in nodes.iter().filter(|node| **node != founder) {
        let secret_hash = [node.0 as u8; 32];
        let token = MetaCommand::AddJoinToken {
            secret_hash,
            expires: Timestamp(now_ms + 3_600_000),
        };
        let new = member(*node);
        let node = NewNode {
            id: *node,
            name: new.name,
            address: new.address,
            zone: new.zone,
            levels: new.levels,
        };
        loop {
            command(client, token.clone()).await;
            let join = MetaCommand::JoinNode {
                secret_hash,
                node: node.clone(),
            };
            // The founder is the first to say what it is.
            if let MetaReply::Node(_) = command(client, join).await {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Adds accounts.
pub async fn add_accounts(client: &Client, count: u64) -> Vec<AccountId> {
    let domain = Domain::parse("example.test").unwrap();
    command(client, MetaCommand::AddDomain(domain)).await;
    let mut accounts = Vec::new();
    while (accounts.len() as u64) < count {
        let name = format!("user{}@example.test", accounts.len());
        let new = NewAccount {
            address: Address::parse(&name).unwrap(),
            credential: None,
            quota_storage_bytes: None,
            quota_messages: None,
        };
        match command(client, MetaCommand::AddAccount(new)).await {
            MetaReply::Account(record) => accounts.push(record.id),
            // No shard takes accounts yet.
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
    accounts
}

/// One that appends and reads, in turn as it comes.
pub struct Load {
    pub client: Client,
    pub accounts: Vec<AccountId>,
    pub ledger: Arc<Mutex<Ledger>>,
    pub chance: Chance,
    pub retry: Retry,
    /// Appends so many times in a hundred.
    pub append_percent: u64,
    pub message: Arc<PreparedMessage>,
    /// Whether to go on.
    pub goes_on: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Load {
    /// Goes on until it is told to stop.
    pub async fn run(mut self) {
        let mut lane = None;
        let mut inboxes = BTreeMap::new();
        while (self.goes_on)() {
            let think = self.chance.range(5, 250);
            tokio::time::sleep(Duration::from_millis(think)).await;
            let Some(account) = self.chance.pick(&self.accounts).copied() else {
                return;
            };
            if self.chance.percent(self.append_percent) {
                self.append(&mut lane, account).await;
            } else {
                // What cannot be read now is read later.
                let _ = self.read(&mut inboxes, account).await;
            }
        }
    }

    async fn append(&self, lane: &mut Option<Lane>, account: AccountId) {
        let lane = match lane {
            Some(lane) => lane,
            None => match self.client.open_lane().await {
                Ok(new) => lane.insert(new),
                Err(_) => return,
            },
        };
        let number = self.ledger.lock().begin(account);
        let append = Append {
            mailbox: MailboxRef::Name(MailboxName::inbox()),
            messages: vec![(
                Arc::clone(&self.message),
                Flags::default(),
                Timestamp(number as i64),
            )],
        };
        loop {
            match self.client.append(lane, account, append.clone()).await {
                Ok(Ok(appended)) => {
                    let uid = appended.uids.ranges().next();
                    let uid = uid.map_or(0, |range| range.start().get());
                    return self.ledger.lock().acknowledged(number, uid);
                }
                Ok(Err(refusal)) => panic!("append {number} was refused: {refusal:?}"),
                Err(StoreError::Internal(cause)) => panic!("append {number} failed: {cause}"),
                // In its own lane it would be the same operation.
                Err(_) if self.retry == Retry::UnderANewId => match self.client.open_lane().await {
                    Ok(new) => *lane = new,
                    Err(_) => return,
                },
                Err(_) => return,
            }
        }
    }

    async fn read(
        &self,
        inboxes: &mut BTreeMap<AccountId, MailboxId>,
        account: AccountId,
    ) -> Result<(), StoreError> {
        let mailstore: &dyn Mailstore = &self.client;
        let inbox = match inboxes.get(&account) {
            Some(inbox) => *inbox,
            None => {
                let list = mailstore.mailboxes(account).await?;
                let list = list.map(|list| list.mailboxes).unwrap_or_default();
                let inbox = list.iter().find(|known| known.name == MailboxName::inbox());
                let Some(inbox) = inbox else { return Ok(()) };
                inboxes.insert(account, inbox.status.id);
                inbox.status.id
            }
        };
        let begun = self.ledger.lock().moment();
        let all = UidSet::from_range(Uid::MIN..=Uid::MAX);
        let seen = mailstore.index(account, inbox, all, u32::MAX).await?;
        let seen = seen.unwrap_or_default();
        let messages = seen
            .iter()
            .map(|entry| (entry.uid.get(), entry.internal_date.0 as usize));
        self.ledger.lock().saw(account, begun, messages.collect());
        Ok(())
    }
}

/// Reads each mailbox once more, until all have answered.
pub async fn read_all(load: Load) {
    let mut inboxes = BTreeMap::new();
    for account in &load.accounts {
        loop {
            let before = load.ledger.lock().reads.len();
            let read = load.read(&mut inboxes, *account).await;
            if read.is_ok() && load.ledger.lock().reads.len() > before {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
