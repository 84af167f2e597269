//! Clients on several nodes: every one serves every account, whoever leads its shard, and goes on when that one dies.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::rig::{add_account, message, raise_level};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_cluster::{Group, GroupRole, Node, NodeOptions, Reached};
use mailrook_mailbox::{
    LEVEL_POP3_LOCK, MailboxRef, MaildropCommand, MaildropHolder, MaildropStep,
};
use mailrook_meta::{MetaAnswer, MetaQuery};
use mailrook_store_api::{
    Append, Directory, MaildropLock, Mailstore, StallObserver, StoreError, observed,
};
use mailrook_store_client::{Client, ClientOptions, Peers, Reach, machines};
use mailrook_transport::{Duplex, Handler, Handlers, ITEM_BYTES_MAX, MemoryHub};
use mailrook_types::{
    AccountId, Flags, MailboxName, NodeId, ShardId, StallCause, Timestamp, Uid, UidSet,
};
use parking_lot::Mutex;

/// A busy machine gets as long.
const PATIENCE: Duration = Duration::from_secs(30);

struct Nobody;

impl Handler for Nobody {
    fn call(&self, _from: NodeId, _request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        async { Err("nobody answers this".to_owned()) }.boxed()
    }

    fn open(&self, _from: NodeId, _request: Bytes, _stream: Duplex) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}

struct Member {
    node: Arc<Node>,
    client: Client,
}

struct Cluster {
    hub: MemoryHub,
    dirs: BTreeMap<NodeId, tempfile::TempDir>,
    members: BTreeMap<NodeId, Member>,
}

fn options(dir: &std::path::Path) -> NodeOptions {
    let mut options = NodeOptions::new(dir);
    options.first_shards = 2;
    options.disk_reserve_bytes = 0;
    options
}

impl Cluster {
    /// `copies` nodes with a copy of everything, and `more` without.
    async fn new(copies: usize, more: usize) -> Cluster {
        let first = tempfile::tempdir().unwrap();
        let founder = Node::open(options(first.path()), machines()).await.unwrap();
        let (cluster_id, id) = (founder.cluster_id(), founder.node_id());
        founder.shutdown().await;
        drop(founder);
        let mut cluster = Cluster {
            hub: MemoryHub::default(),
            dirs: BTreeMap::from([(id, first)]),
            members: BTreeMap::new(),
        };
        for number in 1..(copies + more) as u64 {
            let dir = tempfile::tempdir().unwrap();
            Node::enrol(dir.path(), cluster_id, NodeId(number)).unwrap();
            cluster.dirs.insert(NodeId(number), dir);
        }
        for id in cluster.dirs.keys().copied().collect::<Vec<_>>() {
            cluster.start(id).await;
        }
        let shards = [ShardId(0), ShardId(1), ShardId(2)];
        let voters: BTreeSet<NodeId> = [id]
            .into_iter()
            .chain((1..copies as u64).map(NodeId))
            .collect();
        for shard in shards {
            let leader = &cluster.members[&id].node;
            for voter in voters.iter().filter(|voter| **voter != id) {
                cluster.members[voter]
                    .node
                    .add_copy(shard, Reached::default())
                    .await
                    .unwrap();
                leader.add_learner(shard, *voter).await.unwrap();
            }
            leader.change_voters(shard, voters.clone()).await.unwrap();
        }
        let client = &cluster.members[&id].client;
        client.announce_shards(shards[1..].to_vec()).await.unwrap();
        cluster
    }

    async fn start(&mut self, id: NodeId) {
        let mut options = options(self.dirs[&id].path());
        let network = Arc::new(self.hub.network(id));
        options.network = Some(network.clone());
        let begun = Instant::now();
        let node = loop {
            match Node::open(options.clone(), machines()).await {
                Ok(node) => break Arc::new(node),
                // A node that was dropped closes its files a little later.
                Err(_) if begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        let reach = Reach {
            copies: Arc::clone(&node) as _,
            network,
            peers: Arc::new(self.dirs.keys().copied().collect::<Vec<_>>()),
        };
        let client = Client::new(reach, rand::random(), ClientOptions::default());
        let handlers = Handlers {
            consensus: node.consensus_handler(),
            bulk: node.bulk_handler(),
            store: client.handler(),
            control: Arc::new(Nobody),
        };
        self.hub.start(id, handlers);
        self.members.insert(id, Member { node, client });
    }

    /// As if its process were killed.
    fn crash(&mut self, id: NodeId) {
        self.hub.stop(id);
        drop(self.members.remove(&id));
    }

    /// The directories go once nothing is written any more.
    async fn end(self) {
        for (id, member) in &self.members {
            self.hub.stop(*id);
            member.node.shutdown().await;
        }
    }

    async fn until_led(&self, shard: ShardId) -> NodeId {
        let begun = Instant::now();
        loop {
            if let Some(leader) = self.leader(shard) {
                return leader;
            }
            assert!(begun.elapsed() < PATIENCE, "nobody leads");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn leader(&self, shard: ShardId) -> Option<NodeId> {
        let leads = |member: &Member| {
            let group = member.node.group(shard);
            group.is_some_and(|group| group.status().role == GroupRole::Leader)
        };
        let found = self.members.iter().find(|(_, member)| leads(member));
        found.map(|(id, _)| *id)
    }
}

async fn append(client: &Client, account: AccountId, text: &str) -> Result<(), StoreError> {
    let mut lane = client.open_lane().await?;
    let append = Append {
        mailbox: MailboxRef::Name(MailboxName::inbox()),
        messages: vec![(message(text), Flags::default(), Timestamp(0))],
    };
    client
        .append(&mut lane, account, append)
        .await?
        .expect("nothing refuses it");
    Ok(())
}

async fn messages(client: &Client, account: AccountId) -> u64 {
    let client: &dyn Mailstore = client;
    let list = client.mailboxes(account).await.unwrap().unwrap();
    let inbox = (list.mailboxes.iter()).find(|mailbox| mailbox.name == MailboxName::inbox());
    inbox.unwrap().status.messages
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_serves_every_account() {
    let cluster = Cluster::new(3, 1).await;
    let ids: Vec<NodeId> = cluster.members.keys().copied().collect();
    let mut expected = 0;
    let mut account = None;
    for id in &ids {
        let client = &cluster.members[id].client;
        let account = match account {
            Some(account) => account,
            None => *account.insert(add_account(client, "user").await),
        };
        append(client, account, &format!("by {id}")).await.unwrap();
        expected += 1;
        // What one has acknowledged, all show at once.
        for other in &ids {
            let shown = messages(&cluster.members[other].client, account).await;
            assert_eq!(shown, expected, "{other} after {id}");
        }
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_when_a_leader_dies() {
    let mut cluster = Cluster::new(3, 0).await;
    let first = *cluster.members.keys().next().unwrap();
    let account = add_account(&cluster.members[&first].client, "user").await;
    let mut expected = 0;
    for round in 0..3 {
        // The same node may not lead both: whoever leads the first shard.
        let dead = cluster.until_led(ShardId(1)).await;
        let (_, survivor) = (cluster.members.iter())
            .find(|(id, _)| **id != dead)
            .unwrap();
        let client = survivor.client.clone();
        let appending = tokio::spawn(async move {
            for at in 0..20 {
                append(&client, account, &format!("{round}.{at}"))
                    .await
                    .unwrap();
            }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        cluster.crash(dead);
        appending.await.unwrap();
        expected += 20;
        cluster.start(dead).await;
        for (id, member) in &cluster.members {
            assert_eq!(messages(&member.client, account).await, expected, "at {id}");
        }
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maildrop_stays_locked_when_a_leader_dies() {
    let mut cluster = Cluster::new(3, 0).await;
    let first = *cluster.members.keys().next().unwrap();
    let account = add_account(&cluster.members[&first].client, "user").await;
    raise_level(&cluster.members[&first].client, LEVEL_POP3_LOCK).await;
    let dead = cluster.until_led(ShardId(1)).await;
    let survivors = cluster.members.iter().filter(|(id, _)| **id != dead);
    let clients: Vec<Client> = survivors.map(|(_, member)| member.client.clone()).collect();
    let step = async |client: &Client, holder: MaildropHolder, step| {
        let command = MaildropCommand {
            account,
            holder,
            step,
        };
        client.maildrop(command).await.unwrap()
    };
    let take = MaildropStep::Take { lease_ms: 60_000 };
    let mut holders = Vec::new();
    for client in &clients {
        holders.push(client.open_lane().await.unwrap().maildrop_holder());
    }
    let (one, two) = (holders[0], holders[1]);
    assert_eq!(step(&clients[0], one, take).await, Ok(MaildropLock::Done));
    cluster.crash(dead);
    assert_eq!(step(&clients[1], two, take).await, Ok(MaildropLock::InUse));
    let renew = MaildropStep::Renew { lease_ms: 60_000 };
    assert_eq!(step(&clients[0], one, renew).await, Ok(MaildropLock::Done));
    let release = MaildropStep::Release;
    assert_eq!(
        step(&clients[0], one, release).await,
        Ok(MaildropLock::Done)
    );
    assert_eq!(step(&clients[1], two, take).await, Ok(MaildropLock::Done));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_hears_who_held_its_calls_up() {
    let mut cluster = Cluster::new(3, 0).await;
    let first = *cluster.members.keys().next().unwrap();
    let account = add_account(&cluster.members[&first].client, "user").await;
    let shard = cluster.members[&first].client.shard_heard_of(account);
    let shard = shard.expect("it was just made there");
    let dead = cluster.until_led(shard).await;
    let mut others = cluster.members.iter().filter(|(id, _)| **id != dead);
    let client = others.next().unwrap().1.client.clone();
    let stalls = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let stalls = Arc::clone(&stalls);
        StallObserver::new(move |stall| stalls.lock().push(stall))
    };
    // Nobody is told of what goes well, nor of being sent to who leads.
    let quiet = observed(observer.clone(), append(&client, account, "before"));
    quiet.await.unwrap();
    assert_eq!(*stalls.lock(), []);
    cluster.crash(dead);
    observed(observer, append(&client, account, "after"))
        .await
        .unwrap();
    let told = stalls.lock().clone();
    let stall = told.iter().find(|stall| stall.shard == shard);
    let stall = stall.unwrap_or_else(|| panic!("nothing of {shard} in {told:?}"));
    let leader = client.leader_heard_of(shard);
    assert_eq!(stall.cause, StallCause::FailOver);
    assert_eq!(stall.leader_before, Some(dead));
    assert_eq!(stall.leader_after, leader);
    assert_ne!(stall.leader_after, Some(dead));
    assert!(stall.done && stall.replays > 0, "{stall:?}");
    assert!(stall.lasted < PATIENCE, "{stall:?}");
    let changes = client.leader_changes();
    assert!(
        changes.iter().any(|(of, count)| *of == shard && *count > 0),
        "{changes:?}"
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_hears_of_changes_made_elsewhere() {
    let cluster = Cluster::new(3, 1).await;
    let ids: Vec<NodeId> = cluster.members.keys().copied().collect();
    let account = add_account(&cluster.members[&ids[0]].client, "user").await;
    for watching in &ids {
        for changing in &ids {
            let mut watch = cluster.members[watching]
                .client
                .watch(account)
                .await
                .unwrap();
            let before = messages(&cluster.members[watching].client, account).await;
            append(&cluster.members[changing].client, account, "news")
                .await
                .unwrap();
            let heard = async {
                while messages(&cluster.members[watching].client, account).await == before {
                    watch.changed().await.unwrap();
                }
            };
            let heard = tokio::time::timeout(PATIENCE, heard).await;
            assert!(heard.is_ok(), "{watching} did not hear of {changing}");
        }
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_without_an_own_copy_goes_on_when_leaders_die() {
    let mut cluster = Cluster::new(3, 1).await;
    let front = NodeId(3);
    assert_eq!(cluster.members[&front].node.groups().count(), 0);
    let client = cluster.members[&front].client.clone();
    let account = add_account(&client, "user").await;
    let query = MetaQuery::AccountById(account);
    let MetaAnswer::Account(Some(record)) = Directory::query(&client, query).await.unwrap() else {
        panic!("there is no account");
    };
    let mut watch = client.watch(account).await.unwrap();
    assert_eq!(messages(&client, account).await, 0);
    for round in 1..=3 {
        let dead = cluster.until_led(record.shard).await;
        cluster.crash(dead);
        // Through another node: who only watches learns of no leader by writing.
        let mut others = cluster.members.iter().filter(|(id, _)| **id != front);
        let other = &others.next().unwrap().1.client;
        append(other, account, &format!("{round}")).await.unwrap();
        let heard = async {
            // Whoever is woken looks, and is woken again if it was for nothing.
            while messages(&client, account).await < round {
                watch.changed().await.unwrap();
            }
        };
        let heard = tokio::time::timeout(PATIENCE, heard).await;
        assert!(heard.is_ok(), "nothing is heard of message {round}");
        cluster.start(dead).await;
    }
    cluster.end().await;
}

/// Other nodes as they become known.
#[derive(Default)]
struct Learnt(Mutex<Vec<NodeId>>);

impl Peers for Learnt {
    fn nodes(&self) -> Vec<NodeId> {
        self.0.lock().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_client_knew_at_first_may_be_gone() {
    let mut cluster = Cluster::new(3, 1).await;
    let known = Arc::new(Learnt::default());
    let copies: BTreeMap<ShardId, Arc<dyn Group>> = BTreeMap::new();
    let reach = Reach {
        copies: Arc::new(copies),
        network: Arc::new(cluster.hub.network(NodeId(3))),
        peers: Arc::clone(&known) as _,
    };
    let client = Client::new(reach, rand::random(), ClientOptions::default());
    let first = cluster.until_led(ShardId::META).await;
    known.0.lock().push(first);
    let account = add_account(&client, "user").await;
    append(&client, account, "one").await.unwrap();
    // The directory names the others meanwhile, as it does for every node.
    let others = cluster.members.keys().copied();
    *known.0.lock() = others.filter(|id| *id != NodeId(3)).collect();
    cluster.crash(first);
    append(&client, account, "two").await.unwrap();
    assert_eq!(messages(&client, account).await, 2);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_own_copies_are_stopped_asks_the_others() {
    let cluster = Cluster::new(3, 0).await;
    let damaged = cluster.until_led(ShardId::META).await;
    let Member { node, client } = &cluster.members[&damaged];
    let account = add_account(client, "before").await;
    for shard in [ShardId(0), ShardId(1), ShardId(2)] {
        // As when damage is found: the copy is there, and does nothing any more.
        let copy = node.group(shard).unwrap();
        copy.shutdown().await;
        assert!(copy.is_stopped());
    }
    let query = MetaQuery::AccountById(account);
    let found = Directory::query(client, query).await.unwrap();
    assert!(matches!(found, MetaAnswer::Account(Some(record)) if record.id == account));
    append(client, account, "to the others").await.unwrap();
    assert_eq!(messages(client, account).await, 1);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_when_the_own_copy_is_stopped() {
    let cluster = Cluster::new(3, 0).await;
    let ids: Vec<NodeId> = cluster.members.keys().copied().collect();
    let (watching, changing) = (&cluster.members[&ids[0]], &cluster.members[&ids[1]]);
    let account = add_account(&changing.client, "user").await;
    let mut watch = watching.client.watch(account).await.unwrap();
    for shard in [ShardId(1), ShardId(2)] {
        watching.node.group(shard).unwrap().shutdown().await;
    }
    for text in ["one", "two"] {
        append(&changing.client, account, text).await.unwrap();
        let heard = tokio::time::timeout(PATIENCE, watch.changed()).await;
        assert!(heard.is_ok(), "nothing is heard of message {text}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn giant_headers_can_be_read_through_every_node() {
    const MESSAGES: usize = 50;
    let cluster = Cluster::new(3, 1).await;
    let client = &cluster.members[&cluster.until_led(ShardId::META).await].client;
    let account = add_account(client, "user").await;
    let giant = message(&"x".repeat(200 << 10));
    let mut lane = client.open_lane().await.unwrap();
    for _ in 0..MESSAGES / 10 {
        let one = (Arc::clone(&giant), Flags::default(), Timestamp(0));
        let append = Append {
            mailbox: MailboxRef::Name(MailboxName::inbox()),
            messages: vec![one; 10],
        };
        let appended = client.append(&mut lane, account, append).await.unwrap();
        assert_eq!(appended.unwrap().uids.len(), 10);
    }
    for (id, member) in &cluster.members {
        let store: &dyn Mailstore = &member.client;
        let inbox = MailboxRef::Name(MailboxName::inbox());
        let inbox = store.status(account, inbox).await.unwrap().unwrap().id;
        let (mut count, mut bytes) = (0, 0);
        let mut from = Some(Uid::MIN);
        while let Some(first) = from {
            let rest = UidSet::from_range(first..=Uid::MAX);
            let page = store.details(account, inbox, rest, 1000).await;
            let page = page.unwrap().unwrap();
            count += page.len();
            bytes += page.iter().map(|one| one.detail.len()).sum::<usize>();
            from = page.last().and_then(|last| last.uid.next());
        }
        assert_eq!(count, MESSAGES, "at {id}");
        assert!(bytes > ITEM_BYTES_MAX, "one answer could hold it");
    }
    cluster.end().await;
}
