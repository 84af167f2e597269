//! A removed account is gone, with its mail, whatever happens between the directory's half and the shard's: the process
//! dies, the shard cannot be reached, a session makes up for a missing half at the same time. On a real node, with
//! groups that can be cut off and commands that can be held up.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_cluster::{Group, GroupError, Node};
use mailrook_kv::Read;
use mailrook_mailbox::{
    AccountChange, AccountCommand, Answer, Change, Query, QuotaLimit, ShardCommand, answer,
};
use mailrook_meta::{AccountRecord, MetaCommand, MetaReply, NewAccount};
use mailrook_store_api::{Directory, Mailstore, default_mailboxes};
use mailrook_store_client::{Client, ClientOptions};
use mailrook_types::{AccountId, Address, ClientId, Domain, OpId, ShardId, Timestamp};

use crate::rig::{Hold, Meddler, account_change, meddled_client, open};

/// What the test does to the shards' commands.
#[derive(Default)]
struct Rules {
    /// No command gets through.
    cut: AtomicBool,
    /// For commands that make an account.
    creates: Hold,
}

/// The shards' groups under these rules.
struct Gate(Arc<Rules>);

impl Meddler for Gate {
    fn propose<'a>(
        &'a self,
        group: &'a dyn Group,
        command: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, GroupError>> {
        async move {
            let Gate(rules) = self;
            if group.shard() != ShardId::META {
                if rules.cut.load(Ordering::SeqCst) {
                    return Err(GroupError::NotLeader { leader: None });
                }
                if matches!(account_change(&command), Some(AccountChange::Create { .. })) {
                    rules.creates.pass().await;
                }
            }
            group.propose(command).await
        }
        .boxed()
    }
}

struct World {
    node: Node,
    client: Client,
    rules: Arc<Rules>,
}

impl World {
    async fn open(dir: &Path) -> World {
        let node = open(dir).await;
        let rules = Arc::new(Rules::default());
        let options = ClientOptions {
            deadline: Duration::from_secs(2),
        };
        let client = meddled_client(&node, options, || Gate(Arc::clone(&rules))).await;
        let domain = Domain::parse("example.test").unwrap();
        client
            .command(MetaCommand::AddDomain(domain))
            .await
            .unwrap();
        World {
            node,
            client,
            rules,
        }
    }

    fn group(&self, shard: ShardId) -> Arc<dyn Group> {
        self.node
            .groups()
            .find(|group| group.shard() == shard)
            .unwrap()
    }

    /// Both halves, or the directory's alone, as if the process had died after it.
    async fn add_account(&self, both: bool) -> AccountRecord {
        let command = MetaCommand::AddAccount(NewAccount {
            address: user(),
            credential: None,
            quota_storage_bytes: None,
            quota_messages: Some(1),
        });
        let reply = if both {
            self.client.command(command).await.unwrap()
        } else {
            let meta = self.group(ShardId::META);
            let reply = meta.propose(command.encode().into()).await.unwrap();
            MetaReply::decode(&reply).unwrap()
        };
        match reply {
            MetaReply::Account(record) => *record,
            other => panic!("the account was not added: {other:?}"),
        }
    }

    async fn remove_account(&self) {
        let removed = self.client.command(MetaCommand::RemoveAccount(user()));
        let removed = removed.await.unwrap();
        assert!(matches!(removed, MetaReply::Removed(_)), "{removed:?}");
    }

    /// The account's quota as the shard has it, if it has the account.
    async fn on_shard(&self, record: &AccountRecord) -> Option<QuotaLimit> {
        let group = self.group(record.shard);
        group.read_barrier().await.unwrap();
        let mut told = None;
        let account = record.id;
        let mut ask = |state: &dyn Read, _now: i64| {
            let now = Timestamp::now().0;
            told = Some(answer(state, now, &Query::Quota { account }).unwrap());
        };
        group.visit_state(&mut ask).unwrap();
        match told {
            Some(Answer::Quota(usage)) => Some(usage.limit),
            Some(Answer::NoSuchAccount) => None,
            other => panic!("not a quota: {other:?}"),
        }
    }

    /// A session that asks for the account's mailboxes; says whether it got any.
    fn session(&self, account: AccountId) -> tokio::task::JoinHandle<bool> {
        let client = self.client.clone();
        tokio::spawn(async move {
            let store: &dyn Mailstore = &client;
            store.mailboxes(account).await.unwrap().is_some()
        })
    }
}

fn user() -> Address {
    Address::parse("user@example.test").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_halves_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let record = {
        let world = World::open(dir.path()).await;
        let record = world.add_account(true).await;
        world.rules.cut.store(true, Ordering::SeqCst);
        world.remove_account().await;
        assert!(world.on_shard(&record).await.is_some(), "the second half");
        world.client.complete_removals().await.unwrap_err();
        world.node.shutdown().await;
        record
    };
    let world = World::open(dir.path()).await;
    assert!(world.on_shard(&record).await.is_some(), "still left to do");
    assert_eq!(world.client.complete_removals().await.unwrap(), 1);
    assert_eq!(world.on_shard(&record).await, None);
    assert_eq!(world.client.complete_removals().await.unwrap(), 0);
    // The address can be given anew, and brings nothing back.
    let second = world.add_account(true).await;
    assert_ne!(second.id, record.id);
    assert_eq!(world.on_shard(&record).await, None);
    assert!(world.on_shard(&second).await.is_some());
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_failed_half_way_is_told_and_completed() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let record = world.add_account(true).await;
    world.rules.cut.store(true, Ordering::SeqCst);
    world.remove_account().await;
    tokio::time::timeout(Duration::from_secs(10), world.client.removal_left())
        .await
        .unwrap();
    world.rules.cut.store(false, Ordering::SeqCst);
    assert_eq!(world.client.complete_removals().await.unwrap(), 1);
    assert_eq!(world.on_shard(&record).await, None);
    world.node.shutdown().await;
}

/// The session reads the account's record, the account is removed, and then the session makes up for the shard's half.
#[tokio::test(flavor = "multi_thread")]
async fn who_makes_up_for_a_missing_half_does_not_bring_a_removed_account_back() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let record = world.add_account(false).await;
    assert_eq!(world.on_shard(&record).await, None);
    world.rules.creates.next.store(1, Ordering::SeqCst);
    let session = world.session(record.id);
    world.rules.creates.held.notified().await;
    world.remove_account().await;
    world.rules.creates.release.notify_one();
    assert!(!session.await.unwrap(), "there is no such account");
    assert_eq!(world.on_shard(&record).await, None);
    assert_eq!(world.client.complete_removals().await.unwrap(), 0);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_set_before_the_shard_has_the_account_stays() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let set = |messages| MetaCommand::SetQuota {
        address: user(),
        storage_bytes: None,
        messages: Some(messages),
    };
    let limit = |messages| {
        Some(QuotaLimit {
            storage_bytes: None,
            messages: Some(messages),
        })
    };

    // The shard's half is made with the quota that is set, before the session that read the older record makes it.
    let record = world.add_account(false).await;
    world.rules.creates.next.store(1, Ordering::SeqCst);
    let session = world.session(record.id);
    world.rules.creates.held.notified().await;
    world.client.command(set(2)).await.unwrap();
    assert_eq!(world.on_shard(&record).await, limit(2));
    world.rules.creates.release.notify_one();
    assert!(session.await.unwrap());
    assert_eq!(world.on_shard(&record).await, limit(2));
    world.remove_account().await;

    // The older quota's half is made between.
    let record = world.add_account(false).await;
    world.rules.creates.next.store(1, Ordering::SeqCst);
    let client = world.client.clone();
    let setting = tokio::spawn(async move { client.command(set(2)).await });
    world.rules.creates.held.notified().await;
    let create = ShardCommand::Account(AccountCommand {
        account: record.id,
        op: OpId {
            client: ClientId(99),
            lane: 1,
            n: 1,
            lowest_unanswered: 1,
        },
        change: Change::Account(AccountChange::Create {
            mailboxes: default_mailboxes(),
            quota: limit(1).unwrap(),
        }),
    });
    let group = world.group(record.shard);
    group.propose(create.encode().into()).await.unwrap();
    assert_eq!(world.on_shard(&record).await, limit(1));
    world.rules.creates.release.notify_one();
    setting.await.unwrap().unwrap();
    assert_eq!(world.on_shard(&record).await, limit(2));
    world.node.shutdown().await;
}
