//! What reads of an index cost, and what it costs to do one on another thread: figures for the line that
//! `src/reads.rs` draws. `cargo run --release -p mailrook-store-client --example reads`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement prints and may panic"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mailrook_cluster::{Group, Node, NodeOptions};
use mailrook_kv::Read;
use mailrook_mailbox::{Answer, MailboxRef, Query};
use mailrook_meta::{MetaCommand, MetaReply, NewAccount};
use mailrook_store_api::{Append, Directory, Mailstore, PreparedMessage};
use mailrook_store_client::{Client, ClientOptions, Reach, machines};
use mailrook_transport::Alone;
use mailrook_types::{
    AccountId, Address, Domain, Flags, MailboxName, ShardId, Timestamp, Uid, UidSet,
};

const MESSAGES: usize = 5_000;
const ROUNDS: u32 = 300;

async fn fill(client: &Client) -> AccountId {
    let domain = MetaCommand::AddDomain(Domain::parse("example.test").unwrap());
    client.command(domain).await.unwrap();
    let account = MetaCommand::AddAccount(NewAccount {
        address: Address::parse("a@example.test").unwrap(),
        credential: None,
        quota_storage_bytes: None,
        quota_messages: None,
    });
    let MetaReply::Account(record) = client.command(account).await.unwrap() else {
        panic!("no account");
    };
    let mut lane = client.open_lane().await.unwrap();
    for n in 0..MESSAGES / 50 {
        let text = format!("Subject: {n}\r\n\r\ntext\r\n");
        let message = Arc::new(PreparedMessage::new(text.as_bytes()).unwrap());
        let append = Append {
            mailbox: MailboxRef::Name(MailboxName::inbox()),
            messages: vec![(message, Flags::default(), Timestamp::now()); 50],
        };
        client
            .append(&mut lane, record.id, append)
            .await
            .unwrap()
            .unwrap();
    }
    record.id
}

fn index(group: &dyn Group, query: &Query) -> usize {
    let read = |state: &dyn Read, time_ms| mailrook_mailbox::answer(state, time_ms, query);
    match group.read_at(read).unwrap().unwrap() {
        Answer::Index(entries) => entries.len(),
        other => panic!("not the index: {other:?}"),
    }
}

fn each(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * 1e6 / f64::from(ROUNDS)
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = NodeOptions::new(dir.path());
    options.first_shards = 1;
    options.disk_reserve_bytes = 0;
    let node = Node::open(options, machines()).await.unwrap();
    let node = Arc::new(node);
    let reach = Reach {
        copies: Arc::clone(&node) as _,
        network: Arc::new(Alone(node.node_id())),
        peers: Arc::new(Vec::new()),
    };
    let client = Client::new(reach, rand::random(), ClientOptions::default());
    let shards = node.groups().map(|group| group.shard());
    let shards = shards.filter(|shard| *shard != ShardId::META).collect();
    client.announce_shards(shards).await.unwrap();
    let account = fill(&client).await;
    let store: &dyn Mailstore = &client;
    let inbox = MailboxRef::Name(MailboxName::inbox());
    let mailbox = store.status(account, inbox).await.unwrap().unwrap().id;
    let group = node.groups().last().unwrap();
    println!("messages   here, us   beside, us");
    for count in [1, 16, 64, 128, 256, 512, 1024, 4096] {
        let query = Query::Index {
            account,
            mailbox,
            uids: UidSet::from_range(Uid::MIN..=Uid::new(count).unwrap()),
            limit: count,
        };
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            assert_eq!(index(&*group, &query), count as usize);
        }
        let here = each(begin.elapsed());
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            let (group, query) = (Arc::clone(&group), query.clone());
            let reading = tokio::task::spawn_blocking(move || index(&*group, &query));
            assert_eq!(reading.await.unwrap(), count as usize);
        }
        println!("{count:8} {here:10.1} {:12.1}", each(begin.elapsed()));
    }
    node.shutdown().await;
}
