//! A real node for tests of the client, and what to put on it.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use futures::future::BoxFuture;
use mailrook_cluster::{Group, GroupError, GroupStatus, Node, NodeOptions, Watch};
use mailrook_kv::Read;
use mailrook_mailbox::{AccountChange, AccountCommand, Change, ShardCommand};
use mailrook_meta::{FeatureLevels, MetaCommand, MetaReply, NewAccount, NewNode};
use mailrook_store_api::{Directory, PreparedMessage};
use mailrook_store_client::{Client, ClientOptions, Reach, machines};
use mailrook_transport::Alone;
use mailrook_types::{AccountId, Address, Domain, NodeId, ShardId};
use tokio::sync::Notify;

pub async fn open(dir: &Path) -> Node {
    let mut options = NodeOptions::new(dir);
    options.first_shards = 2;
    options.disk_reserve_bytes = 0;
    Node::open(options, machines()).await.unwrap()
}

pub async fn add_account(client: &Client, name: &str) -> AccountId {
    let domain = Domain::parse("example.test").unwrap();
    assert_eq!(
        client
            .command(MetaCommand::AddDomain(domain))
            .await
            .unwrap(),
        MetaReply::Done
    );
    let address = Address::parse(&format!("{name}@example.test")).unwrap();
    let new = NewAccount {
        address,
        credential: None,
        quota_storage_bytes: None,
        quota_messages: None,
    };
    match client.command(MetaCommand::AddAccount(new)).await.unwrap() {
        MetaReply::Account(record) => record.id,
        other => panic!("the account was not added: {other:?}"),
    }
}

/// All nodes know this feature level, by what the directory says.
pub async fn raise_level(client: &Client, to: u32) {
    let node = NewNode {
        id: NodeId(1),
        name: "mail1".to_owned(),
        address: "mail1.example.test:7700".to_owned(),
        zone: String::new(),
        levels: FeatureLevels {
            lowest: 1,
            highest: to,
        },
    };
    let announced = client.command(MetaCommand::AnnounceNode(node)).await;
    assert!(
        !matches!(announced, Err(_) | Ok(MetaReply::Refused(_))),
        "{announced:?}"
    );
    let raised = client.command(MetaCommand::RaiseFeatureLevel { to }).await;
    assert_eq!(raised.unwrap(), MetaReply::Done);
}

pub fn message(text: &str) -> Arc<PreparedMessage> {
    Arc::new(PreparedMessage::new(format!("Subject: {text}\r\n\r\n{text}\r\n").as_bytes()).unwrap())
}

/// What a test does to the calls of a group: nothing, where it does not say otherwise.
pub trait Meddler: Send + Sync + 'static {
    fn propose<'a>(
        &'a self,
        group: &'a dyn Group,
        command: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, GroupError>> {
        group.propose(command)
    }

    fn visit_state(
        &self,
        group: &dyn Group,
        visit: &mut dyn FnMut(&dyn Read, i64),
    ) -> Result<(), GroupError> {
        group.visit_state(visit)
    }
}

struct Meddled<M> {
    group: Arc<dyn Group>,
    meddler: M,
}

impl<M: Meddler> Group for Meddled<M> {
    fn shard(&self) -> ShardId {
        self.group.shard()
    }

    fn propose(&self, command: Bytes) -> BoxFuture<'_, Result<Bytes, GroupError>> {
        self.meddler.propose(&*self.group, command)
    }

    fn read_barrier(&self) -> BoxFuture<'_, Result<(), GroupError>> {
        self.group.read_barrier()
    }

    fn visit_state(&self, visit: &mut dyn FnMut(&dyn Read, i64)) -> Result<(), GroupError> {
        self.meddler.visit_state(&*self.group, visit)
    }

    fn visit_state_at(
        &self,
        index: u64,
        visit: &mut dyn FnMut(&dyn Read, u64),
    ) -> Result<(), GroupError> {
        self.group.visit_state_at(index, visit)
    }

    fn watch(&self) -> Watch {
        self.group.watch()
    }

    fn status(&self) -> GroupStatus {
        self.group.status()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.group.shutdown()
    }
}

/// A client of the node's groups, each with a meddler of its own.
pub async fn meddled_client<M: Meddler>(
    node: &Node,
    options: ClientOptions,
    meddler: impl Fn() -> M,
) -> Client {
    let meddled = |group: Arc<dyn Group>| -> (ShardId, Arc<dyn Group>) {
        let meddler = meddler();
        (group.shard(), Arc::new(Meddled { group, meddler }))
    };
    let groups = node.groups().map(meddled).collect();
    client_of(groups, options).await
}

/// A client of these groups, and of no other node.
pub async fn client_of(
    groups: BTreeMap<ShardId, Arc<dyn Group>>,
    options: ClientOptions,
) -> Client {
    let shards = groups
        .keys()
        .copied()
        .filter(|shard| *shard != ShardId::META);
    let shards = shards.collect();
    let reach = Reach {
        copies: Arc::new(groups),
        network: Arc::new(Alone(NodeId(1))),
        peers: Arc::new(Vec::new()),
    };
    let client = Client::new(reach, rand::random(), options);
    client.announce_shards(shards).await.unwrap();
    client
}

/// Holds up commands: as many as it is told, one at a time.
#[derive(Default)]
pub struct Hold {
    /// So many of the next commands wait for `release`.
    pub next: AtomicU32,
    pub held: Notify,
    pub release: Notify,
}

impl Hold {
    /// Returns once the command may go on.
    pub async fn pass(&self) {
        let (order, less_one) = (Ordering::SeqCst, |left: u32| left.checked_sub(1));
        if self.next.fetch_update(order, order, less_one).is_ok() {
            self.held.notify_one();
            self.release.notified().await;
        }
    }
}

/// The change of an account as a whole that a shard's command is, if it is one.
pub fn account_change(command: &[u8]) -> Option<AccountChange> {
    match ShardCommand::decode(command) {
        Ok(ShardCommand::Account(AccountCommand {
            change: Change::Account(change),
            ..
        })) => Some(change),
        _ => None,
    }
}
