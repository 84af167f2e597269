//! Measures commits of a single voter with the tables in the path, and what many groups cost.
//!
//! ```text
//! cargo run --release -p mailrook-cluster --example commit_bench -- [SHARDS [WRITERS [BYTES [SECONDS [DIR]]]]]
//! ```

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::{
    env, fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use mailrook_cluster::{Group, Machines, Node, NodeOptions};
use mailrook_kv::{Applied, ApplyError, Space, StateMachine, View};
use mailrook_types::ShardId;

/// Does about what a delivery does: a body, a record beside it, and a few small ones.
struct Mailbox;

impl StateMachine for Mailbox {
    fn apply(
        &self,
        view: &mut View<'_>,
        _time_ms: i64,
        command: &[u8],
    ) -> Result<Applied, ApplyError> {
        let (key, body) = command.split_at(16.min(command.len()));
        view.put(Space::Body, key.to_vec(), body.to_vec());
        view.put(Space::Detail, key.to_vec(), vec![7; 300]);
        view.put(Space::Index, key.to_vec(), vec![7; 40]);
        view.put(Space::Index, b"counter".to_vec(), key.to_vec());
        Ok(Applied {
            reply: vec![0; 8],
            touched: vec![(1, 1)],
        })
    }

    fn makes_room(&self, _command: &[u8]) -> bool {
        false
    }
}

fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    // Behind the name: user and system time are the 14th and 15th field, in hundredths of a second.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
    Duration::from_millis(10 * (ticks(12) + ticks(13)))
}

fn kib_of(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).expect("Linux");
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn memory_mb() -> u64 {
    kib_of("/proc/self/status", "VmRSS") >> 10
}

fn written_bytes() -> u64 {
    kib_of("/proc/self/io", "write_bytes")
}

struct Load {
    writers: u64,
    bytes: usize,
    time: Duration,
}

async fn write(
    node: Arc<Node>,
    shards: u64,
    writer: u64,
    bytes: usize,
    stop: Arc<AtomicBool>,
) -> Vec<u64> {
    let mut latencies_us = Vec::new();
    let mut random = writer.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let groups: Vec<Arc<dyn Group>> = (1..=shards)
        .filter_map(|shard| node.group(ShardId(shard as u32)))
        .collect();
    while !stop.load(Ordering::Relaxed) {
        let mut command = vec![0; bytes + 16];
        command
            .chunks_mut(8)
            .for_each(|chunk| chunk.copy_from_slice(&next().to_le_bytes()[..chunk.len()]));
        let group = &groups[next() as usize % groups.len()];
        let started = Instant::now();
        group
            .propose(Bytes::from(command))
            .await
            .expect("the disk has room");
        latencies_us.push(started.elapsed().as_micros() as u64);
    }
    latencies_us
}

async fn run(node: &Arc<Node>, shards: u64, load: &Load) {
    let stop = Arc::new(AtomicBool::new(false));
    let (cpu_before, written_before, started) = (cpu(), written_bytes(), Instant::now());
    let writers: Vec<_> = (0..load.writers)
        .map(|writer| {
            tokio::spawn(write(
                Arc::clone(node),
                shards,
                writer + 1,
                load.bytes,
                Arc::clone(&stop),
            ))
        })
        .collect();
    tokio::time::sleep(load.time).await;
    stop.store(true, Ordering::Relaxed);
    let mut latencies_us = Vec::new();
    for writer in writers {
        latencies_us.extend(writer.await.expect("it writes"));
    }
    let elapsed = started.elapsed().as_secs_f64();
    let count = latencies_us.len();
    latencies_us.sort_unstable();
    let at =
        |per_mille: usize| latencies_us[(count * per_mille / 1000).min(count - 1)] as f64 / 1000.0;
    println!(
        "{:>3} writers: {:>7.0} commits/s, {:>5.1} µs CPU each, p50 {:.2} ms, p99 {:.2} ms, max {:.0} ms, \
         {:.2} bytes to disk per byte; {} MB resident",
        load.writers,
        count as f64 / elapsed,
        (cpu() - cpu_before).as_secs_f64() * 1e6 / count as f64,
        at(500),
        at(990),
        at(1000),
        (written_bytes() - written_before) as f64 / (count * load.bytes) as f64,
        memory_mb(),
    );
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize, usual: u64| {
        args.get(at)
            .map_or(usual, |text| text.parse().expect("a number"))
    };
    let (shards, writers, bytes, seconds) =
        (number(0, 8), number(1, 64), number(2, 4096), number(3, 10));
    let dir = args.get(4).map_or_else(
        || env::temp_dir().join("mailrook-commit-bench"),
        PathBuf::from,
    );
    // Made by an earlier run.
    let _ = fs::remove_dir_all(&dir);
    let machines: Machines = Arc::new(|_| Arc::new(Mailbox));
    let mut options = NodeOptions::new(&dir);
    options.first_shards = shards as u32;
    let before_mb = memory_mb();
    let started = Instant::now();
    let node = Arc::new(
        Node::open(options.clone(), Arc::clone(&machines))
            .await
            .expect("it opens"),
    );
    println!(
        "{shards} shards: made in {:?}, {} MB resident ({before_mb} before)",
        started.elapsed(),
        memory_mb()
    );
    let idle = cpu();
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!(
        "idle: {:.2} % of a core",
        (cpu() - idle).as_secs_f64() / 3.0 * 100.0
    );
    for writers in [1, writers] {
        let load = Load {
            writers,
            bytes: bytes as usize,
            time: Duration::from_secs(seconds),
        };
        run(&node, shards, &load).await;
    }
    println!("log: {} MB", node.status().log_bytes >> 20);
    let reads = Instant::now();
    let group = node.group(ShardId(1)).expect("it is there");
    for _ in 0..100_000 {
        group.read_barrier().await.expect("it leads");
    }
    println!(
        "read barrier: {:.2} µs",
        reads.elapsed().as_secs_f64() * 10.0
    );
    drop(group);
    let node = Arc::into_inner(node).expect("nobody writes any more");
    // As after a crash: nothing but what was flushed on the way.
    drop(node);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let started = Instant::now();
    let node = Node::open(options, machines).await.expect("it opens again");
    println!(
        "opened again in {:?}, {} MB resident",
        started.elapsed(),
        memory_mb()
    );
    let started = Instant::now();
    node.shutdown().await;
    println!("shut down in {:?}", started.elapsed());
    let _ = fs::remove_dir_all(&dir);
}
