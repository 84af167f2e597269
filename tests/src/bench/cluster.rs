//! What else is promised of three nodes: nothing acknowledged is lost or doubled when one dies in a burst, and idle
//! nodes cost next to nothing.

use std::fmt::Write as _;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::{Burst, Cluster, ClusterOptions};
use crate::harness::{ProcessTree, wait_until};

/// In a burst.
const MESSAGES: usize = 2_000;
/// Who send them.
const SENDERS: usize = 8;
/// A burst takes seconds.
const BURST_TIMEOUT: Duration = Duration::from_secs(120);
/// Groups of an idle node: the meta group is one more.
const SHARDS: u32 = 63;
/// Until what making a cluster began has come to its end.
const SETTLES: Duration = Duration::from_secs(45);
/// How long an idle node is looked at.
const LOOKED_AT: Duration = Duration::from_secs(60);

/// What became of bursts in which the leader was killed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bursts {
    /// How many bursts.
    pub times: usize,
    /// Messages that were acknowledged.
    pub acknowledged: usize,
    /// Of these, missing afterwards.
    pub lost: usize,
    /// There more than once.
    pub doubled: usize,
}

/// Kills the leader of an account in each of so many bursts to it.
pub fn measure_bursts(times: usize) -> io::Result<Bursts> {
    let mut cluster = Cluster::start(ClusterOptions {
        accounts: 1,
        ..ClusterOptions::default()
    })?;
    let mut bursts = Bursts::default();
    for _ in 0..times {
        let leader = cluster.leader_of(0)?;
        let burst = Burst::new(&cluster.accounts()[0].user, MESSAGES);
        let spaces = cluster.spaces();
        thread::scope(|scope| {
            for sender in 0..SENDERS {
                let (burst, spaces) = (&burst, &spaces);
                scope.spawn(move || burst.send(sender, spaces));
            }
            wait_until(BURST_TIMEOUT, "a quarter of the burst", || {
                burst.acknowledged() > MESSAGES / 4
            })?;
            cluster.kill9(leader)
        })?;
        cluster.heal()?;
        cluster.wait_until_whole()?;
        let (lost, doubled) = burst.lost_and_doubled(&mut cluster.imap(leader, 0)?)?;
        bursts.times += 1;
        bursts.acknowledged += burst.acknowledged();
        bursts.lost += lost;
        bursts.doubled += doubled;
    }
    Ok(bursts)
}

/// The processor time of each of three idle nodes with 64 groups, in percent of a core.
pub fn measure_idle() -> io::Result<Vec<f64>> {
    let cluster = Cluster::start(ClusterOptions {
        accounts: 1,
        shards: SHARDS,
        ..ClusterOptions::default()
    })?;
    thread::sleep(SETTLES);
    let pids = cluster.numbers().into_iter();
    let pids: Vec<u32> = pids.filter_map(|n| cluster.member(n).pid()).collect();
    let used = || {
        let trees = pids.iter().map(|pid| ProcessTree::new(vec![*pid]));
        trees.map(|tree| tree.usage().cpu_ms).collect::<Vec<u64>>()
    };
    let (before, begun) = (used(), Instant::now());
    thread::sleep(LOOKED_AT);
    let (after, elapsed_ms) = (used(), begun.elapsed().as_secs_f64() * 1_000.0);
    let percent = |(before, after): (&u64, &u64)| (after - before) as f64 / elapsed_ms * 100.0;
    Ok(before.iter().zip(&after).map(percent).collect())
}

/// Both, for people.
pub fn cluster_table(bursts: &Bursts, idle_percent: &[f64]) -> String {
    let mut text = String::from("| load | figure | to reach |\n|---|---|---|\n");
    let _ = writeln!(
        text,
        "| leader killed in each of {} bursts of {MESSAGES}: of {} acknowledged, lost / doubled | {} / {} | 0 / 0 |",
        bursts.times, bursts.acknowledged, bursts.lost, bursts.doubled
    );
    let idle: Vec<String> = idle_percent.iter().map(|p| format!("{p:.1}")).collect();
    let _ = writeln!(
        text,
        "| processor time of idle nodes with {} groups, in % of a core | {} | ≤ 3 |",
        SHARDS + 1,
        idle.join(", ")
    );
    text
}
