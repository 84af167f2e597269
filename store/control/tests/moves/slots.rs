//! Slots of the tables move while they are used: nothing is lost, nothing is counted twice, whatever becomes of the
//! controllers that move them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mailrook_mailbox::{TableId, TableOp, TableReply, table_slot};
use mailrook_meta::{MetaCommand, MetaReply};
use mailrook_store_api::{Directory, Shared};
use mailrook_store_client::Client;
use mailrook_types::{NodeId, ShardId, Timestamp};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::rig::{self, AT_ONCE, Cluster, Mortal, PATIENCE, shards};

const TABLES: [TableId; 2] = [TableId(7), TableId(8)];
/// In each table. With two tables about a tenth of the slots have entries, so that most moves have some.
const KEYS: u64 = 200;

type Key = (TableId, Vec<u8>);

/// What was acknowledged of each counter.
#[derive(Default)]
struct Ledger {
    counted: Mutex<BTreeMap<Key, i64>>,
    stop: AtomicBool,
    slowest_ms: AtomicU64,
}

fn key(number: u64) -> Key {
    let table = TABLES[(number % 2) as usize];
    (table, format!("k{}", number / 2).into_bytes())
}

fn add((table, key): Key, delta: i64) -> (TableId, Vec<u8>, TableOp) {
    let add = TableOp::Add {
        delta,
        expires: None,
    };
    (table, key, add)
}

fn count(value: Option<Vec<u8>>) -> i64 {
    value.map_or(0, |value| i64::from_le_bytes(value.try_into().unwrap()))
}

impl Ledger {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Counts up a few counters in one call.
    async fn write(&self, client: &Client, keys: &[Key]) {
        let changes = keys.iter().map(|key| add(key.clone(), 1)).collect();
        let begun = Instant::now();
        let replies = client.update(changes).await.unwrap();
        let took = begun.elapsed().as_millis() as u64;
        self.slowest_ms.fetch_max(took, Ordering::SeqCst);
        assert!(
            replies
                .iter()
                .all(|reply| matches!(reply, TableReply::Done(Some(_))))
        );
        let mut counted = self.counted.lock();
        for key in keys {
            *counted.entry(key.clone()).or_default() += 1;
        }
    }

    async fn write_on(&self, client: Client, mut seed: u64) {
        while !self.is_over() {
            // Knuth's MMIX generator: any sequence will do.
            let mut next = || {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                key((seed >> 33) % (2 * KEYS))
            };
            let keys = [next(), next(), next()];
            self.write(&client, &keys).await;
        }
    }

    /// What was acknowledged before a counter is read is in it.
    async fn read_on(&self, client: Client) {
        for number in (0..2 * KEYS).cycle() {
            if self.is_over() {
                return;
            }
            let (table, key) = key(number);
            let before = self.counted.lock().get(&(table, key.clone())).copied();
            let found = count(client.get(table, key.clone()).await.unwrap());
            assert!(found >= before.unwrap_or(0), "{key:?} was lost");
        }
    }

    /// What is there all the time is seen once.
    async fn scan_on(&self, client: Client) {
        while !self.is_over() {
            let found = client.scan(TABLES[0], b"k".to_vec(), 10_000).await.unwrap();
            let mut keys: Vec<_> = found.into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys.len() as u64, KEYS, "not each once");
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len() as u64, KEYS, "some twice");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All counters are as acknowledged.
    async fn verify(&self, client: &Client) {
        let counted = self.counted.lock().clone();
        for ((table, key), expected) in counted {
            let found = count(client.get(table, key.clone()).await.unwrap());
            assert_eq!(
                found,
                expected,
                "{table:?} {}",
                String::from_utf8_lossy(&key)
            );
        }
    }
}

type Step = rig::Step<bool>;

/// A controller that dies at its nth command, or is held up there: then it is given back. `None` if it died, else whether
/// there was anything to do.
async fn control(
    client: Client,
    all: &[u32],
    left: i64,
    carried_out: bool,
    held: &mut Vec<(Arc<Mortal>, Step)>,
) -> Option<bool> {
    let mortal = Mortal::new(client, left, carried_out);
    let (mover, all) = (mortal.mover(), shards(all.iter().copied()));
    let step = tokio::spawn(async move { mover.step(&all, &all).await });
    mortal.until_end(step, left % 2 == 0, held).await
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_stay_exact_while_shards_are_added() {
    let mut cluster = Cluster::new(3).await;
    let ids = cluster.ids();
    let all = [1, 2, 3, 4, 5];
    let ledger = Arc::new(Ledger::default());
    for number in 0..2 * KEYS {
        ledger.write(&cluster.client(ids[0]), &[key(number)]).await;
    }
    let mut users = JoinSet::new();
    for (at, id) in [ids[0], ids[1], ids[0], ids[1]].into_iter().enumerate() {
        let (ledger, client) = (Arc::clone(&ledger), cluster.client(id));
        users.spawn(async move { ledger.write_on(client, at as u64).await });
    }
    for id in [ids[0], ids[1]] {
        let (reads, client) = (Arc::clone(&ledger), cluster.client(id));
        users.spawn(async move { reads.read_on(client).await });
        let (scans, client) = (Arc::clone(&ledger), cluster.client(id));
        users.spawn(async move { scans.scan_on(client).await });
    }
    let mover = || cluster.client(ids[0]);
    assert_eq!(
        control(mover(), &[1, 2], i64::MAX, false, &mut Vec::new()).await,
        Some(false),
        "both have their share"
    );
    for shard in 3..=5 {
        cluster.add_shard(ShardId(shard)).await;
    }
    let mut held = Vec::new();
    // A move is ten commands or less: each is the last one of a controller that it reaches, and of one that it does not. The
    // next one finds the move where it was left, and dies a command later.
    for death in 0..40 {
        if death == 15 {
            cluster.crash(ids[2]);
        }
        if death == 30 {
            cluster.start(ids[2]).await;
        }
        let client = cluster.client(ids[0]);
        control(client, &all, death / 2 % 10, death % 2 == 1, &mut held).await;
        if held.len() > 3 {
            // What was held up for long goes on, whatever became of its move.
            let (mortal, step) = held.remove(0);
            mortal.resume.notify_one();
            step.await.unwrap().unwrap();
        }
    }
    let mut moves = 0;
    let mut calm = |begun: Instant| {
        moves += 1;
        assert!(begun.elapsed() < 10 * PATIENCE, "no end");
        moves
    };
    let slowest_of_all = ledger.slowest_ms.swap(0, Ordering::SeqCst);
    let begun = Instant::now();
    let client = cluster.client(ids[0]);
    let last = loop {
        match control(client.clone(), &all, i64::MAX, false, &mut held).await {
            Some(true) => calm(begun),
            _ => break calm(begun),
        };
    };
    for (mortal, step) in held {
        mortal.resume.notify_one();
        step.await.unwrap().unwrap();
    }
    ledger.stop.store(true, Ordering::SeqCst);
    while let Some(ended) = users.join_next().await {
        ended.unwrap();
    }
    let total: i64 = ledger.counted.lock().values().sum();
    eprintln!(
        "{last} moves, {total} counted, the slowest call took {} ms, {slowest_of_all} ms while controllers died",
        ledger.slowest_ms.load(Ordering::SeqCst)
    );
    for id in ids {
        ledger.verify(&cluster.client(id)).await;
    }
    let map = cluster.slot_map().await;
    let mut entries = 0;
    for shard in shards(all) {
        let has = map.slots().filter(|(_, owner)| *owner == shard).count();
        assert!([819, 820].contains(&has), "{shard} has {has} slots");
        entries += cluster.verify(shard).await;
    }
    assert_eq!(entries as u64, 2 * KEYS);
    cluster.end().await;
}

/// Moves one slot, by a controller that is not asked where slots should be. Others may be held up in the middle.
async fn move_slot(cluster: &Cluster, id: NodeId, slot: u16, from: u32, to: u32) {
    let client = cluster.client(id);
    let command = MetaCommand::BeginSlotMove {
        epoch_before: cluster.slot_map().await.epoch(),
        slots: vec![slot],
        from: ShardId(from),
        to: ShardId(to),
    };
    let begun = Directory::command(&client, command).await.unwrap();
    assert!(matches!(begun, MetaReply::SlotMove(_)), "{begun:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_goes_there_and_back_under_late_controllers() {
    let cluster = Cluster::new(1).await;
    let id = cluster.ids()[0];
    let key: Key = (TABLES[0], b"there and back".to_vec());
    let slot = table_slot(key.0, &key.1);
    let first = cluster.slot_map().await.shard_of(slot).0;
    let ledger = Arc::new(Ledger::default());
    ledger
        .write(&cluster.client(id), std::slice::from_ref(&key))
        .await;
    let mut users = JoinSet::new();
    for _ in 0..3 {
        let (ledger, client, key) = (Arc::clone(&ledger), cluster.client(id), key.clone());
        users.spawn(async move {
            while !ledger.is_over() {
                ledger.write(&client, std::slice::from_ref(&key)).await;
            }
        });
    }
    // An entry that expires goes along, and expires where it is.
    let client = cluster.client(id);
    let expires = Some(Timestamp(i64::MAX));
    let put = |value: &[u8]| TableOp::Put {
        value: value.to_vec(),
        expires,
    };
    let beside = (0u32..).map(|number| format!("beside {number}").into_bytes());
    let beside = beside.filter(|beside| table_slot(TABLES[1], beside) == slot);
    let beside = beside.take(1).next().unwrap();
    let changes = vec![(TABLES[1], beside.clone(), put(b"kept"))];
    client.update(changes).await.unwrap();

    let mut held = Vec::new();
    let (mut from, mut to) = (first, 3 - first);
    for round in 0..24 {
        move_slot(&cluster, id, slot, from, to).await;
        // One is held up somewhere in it, another one carries it out.
        control(
            client.clone(),
            &[1, 2],
            round % 8,
            round % 3 == 0,
            &mut held,
        )
        .await;
        control(client.clone(), &[], i64::MAX, false, &mut held).await;
        if held.len() > 2 {
            let (mortal, step): (Arc<Mortal>, Step) = held.remove(0);
            mortal.resume.notify_one();
            step.await.unwrap().unwrap();
        }
        let map = cluster.slot_map().await;
        assert_eq!(map.shard_of(slot), ShardId(to), "in round {round}");
        (from, to) = (to, from);
    }
    ledger.stop.store(true, Ordering::SeqCst);
    while let Some(ended) = users.join_next().await {
        ended.unwrap();
    }
    ledger.verify(&client).await;
    let kept = client.get(TABLES[1], beside).await.unwrap();
    assert_eq!(kept, Some(b"kept".to_vec()));
    let mut entries = 0;
    for shard in shards([1, 2]) {
        entries += cluster.verify(shard).await;
    }
    assert_eq!(entries, 2);
    cluster.end().await;
}

/// Slots with much in them go a few at a time, so that nobody waits long.
#[tokio::test(flavor = "multi_thread")]
async fn large_slots_move_one_by_one() {
    let cluster = Cluster::new(1).await;
    let client = cluster.client(cluster.ids()[0]);
    for number in 0..60u32 {
        let put = TableOp::Put {
            value: vec![number as u8; 400_000],
            expires: None,
        };
        // In slots of the first shard, which are those that move first.
        let keys = (0u32..).map(|at| format!("{number}.{at}").into_bytes());
        let low = |key: &Vec<u8>| {
            let slot = table_slot(TABLES[0], key);
            slot.is_multiple_of(2) && usize::from(slot) < 2 * AT_ONCE
        };
        let key = keys.into_iter().find(low).unwrap();
        client.update(vec![(TABLES[0], key, put)]).await.unwrap();
    }
    cluster.add_shard(ShardId(3)).await;
    let mut held = Vec::new();
    let mut before = cluster.slot_map().await;
    let mut sizes = Vec::new();
    for _ in 0..8 {
        control(client.clone(), &[1, 2, 3], i64::MAX, false, &mut held).await;
        let after = cluster.slot_map().await;
        let moved = before.slots().zip(after.slots());
        sizes.push(moved.filter(|(before, after)| before != after).count());
        before = after;
    }
    assert!(sizes.iter().all(|size| (1..=AT_ONCE).contains(size)));
    assert!(sizes.iter().any(|size| *size < AT_ONCE), "{sizes:?}");
    let found = client.scan(TABLES[0], Vec::new(), 100).await.unwrap();
    assert_eq!(found.len(), 60);
    for shard in shards([1, 2, 3]) {
        cluster.verify(shard).await;
    }
    cluster.end().await;
}
