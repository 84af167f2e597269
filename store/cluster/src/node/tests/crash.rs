//! Kill -9 and power cuts, in a real process, at any point: nothing acknowledged is lost, doubled or changed.
//!
//! The process is this test binary again. It tells what was acknowledged over a pipe; the parent keeps the ledger,
//! opens what is left, and compares. `MAILROOK_CRASH_ROUNDS` asks for more rounds.

use std::{
    collections::HashMap,
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use mailrook_types::ShardId;

use super::{
    machine::{checksum, command, count, machines},
    open, options, parts,
    power::PowerFs,
    start,
};
use crate::{Plant, log::EngineLog};

const DIR: &str = "MAILROOK_CRASH_DIR";
const POWER_AFTER_MS: &str = "MAILROOK_CRASH_POWER_AFTER_MS";
const PLANTED: &str = "MAILROOK_CRASH_PLANTED";

const SHARDS: u32 = 2;
const WRITERS: u64 = 16;

/// Numbers that need not be good, from a seed.
struct Dice(u64);

impl Dice {
    fn seeded() -> Dice {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).unwrap();
        let seed = u64::from_le_bytes(seed) | 1;
        Dice(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Not a test: what the process does that is going to die.
#[test]
#[ignore = "run by the crash tests"]
fn writes_until_killed() {
    let Some(dir) = env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let power = PowerFs::default();
    let mut parts = parts();
    if let Some(after_ms) = number(POWER_AFTER_MS) {
        let on = power.clone();
        parts.open_log =
            Box::new(move |dir, options| Ok(Arc::new(EngineLog::open_on(dir, options, on)?)));
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(after_ms));
            let mut dice = Dice::seeded();
            let all = dice.below(3) == 0;
            power.cut(|| !all && dice.below(2) == 0)
        });
    }
    let mut options = options(&dir);
    options.plant = number(PLANTED).map(|_| Plant::AckBeforeFsync);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let node = Arc::new(open::open(options, machines(), parts).await.unwrap());
        let writers = (0..WRITERS).map(|writer| {
            let node = Arc::clone(&node);
            tokio::spawn(async move { write(&node, writer).await })
        });
        futures::future::join_all(writers.collect::<Vec<_>>()).await;
    });
}

async fn write(node: &super::Node, writer: u64) {
    let mut dice = Dice::seeded();
    loop {
        let shard = ShardId(1 + dice.below(SHARDS.into()) as u32);
        // A key of its own: a second application would be counted.
        let key = dice.0 >> 8 << 4 | writer;
        let length = match dice.below(20) {
            0 => dice.below(100_000),
            _ => dice.below(5000),
        };
        let value = vec![dice.0 as u8; length as usize];
        let acknowledged = node
            .group(shard)
            .unwrap()
            .propose(command(key, &value))
            .await
            .is_ok();
        if acknowledged {
            // One write to the pipe: a kill does not tear it.
            let line = format!("ack {} {key} {}\n", shard.0, crc32fast::hash(&value));
            std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
        }
    }
}

fn spawn(dir: &Path, extra: &[(&str, String)]) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "node::tests::crash::writes_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(DIR, dir)
        .envs(extra.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

type Ledger = HashMap<(u32, u64), u32>;

/// Notes what was acknowledged; gives how many were.
fn note(ledger: &mut Ledger, stdout: impl BufRead) -> usize {
    let lines = stdout.lines().map_while(Result::ok);
    lines
        .filter_map(|line| {
            // The test harness may print its own words before the first.
            let mut words = line
                .split("ack ")
                .nth(1)?
                .split(' ')
                .map(|word| word.parse::<u64>().ok());
            let (shard, key, crc) = (words.next()??, words.next()??, words.next()??);
            ledger.insert((shard as u32, key), crc as u32)
        })
        .count()
}

/// How much of the ledger is not there, or more is than may be.
async fn missing(dir: &Path, ledger: &Ledger) -> usize {
    let node = start(dir).await;
    let mut missing = 0;
    for shard in 1..=SHARDS {
        let group = node.group(ShardId(shard)).unwrap();
        group.read_barrier().await.unwrap();
        group
            .read(|state| {
                let known = ledger.iter().filter(|((of, _), _)| *of == shard);
                missing += known
                    .filter(|((_, key), crc)| checksum(state, *key) != Some(**crc))
                    .count();
                let mut keys = 0;
                let visit = &mut |_: &[u8], _: &[u8]| {
                    keys += 1;
                    std::ops::ControlFlow::Continue(())
                };
                let forward = mailrook_kv::Direction::Forward;
                state
                    .scan(mailrook_kv::Space::Body, &[], &[0xff; 9], forward, visit)
                    .unwrap();
                assert_eq!(keys, count(state).unwrap(), "each command is applied once");
            })
            .unwrap();
    }
    node.shutdown().await;
    missing
}

fn rounds(usual: usize) -> usize {
    env::var("MAILROOK_CRASH_ROUNDS")
        .ok()
        .map_or(usual, |text| text.parse().unwrap())
}

#[tokio::test]
async fn kill_9_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut dice = Dice::seeded();
    let mut ledger = Ledger::new();
    for round in 0..rounds(8) {
        let (mut child, stdout) = spawn(dir.path(), &[]);
        std::thread::scope(|scope| {
            let noted = scope.spawn(|| note(&mut ledger, stdout));
            std::thread::sleep(Duration::from_millis(300 + dice.below(900)));
            child.kill().unwrap();
            noted.join().unwrap();
        });
        child.wait().unwrap();
        assert_eq!(missing(dir.path(), &ledger).await, 0, "round {round}");
    }
    assert!(
        ledger.len() > 100,
        "only {} were acknowledged",
        ledger.len()
    );
}

#[tokio::test]
async fn a_power_cut_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut dice = Dice::seeded();
    let mut ledger = Ledger::new();
    for round in 0..rounds(8) {
        let after_ms = 100 + dice.below(900);
        let (mut child, stdout) = spawn(dir.path(), &[(POWER_AFTER_MS, after_ms.to_string())]);
        note(&mut ledger, stdout);
        assert!(!child.wait().unwrap().success());
        assert_eq!(missing(dir.path(), &ledger).await, 0, "round {round}");
    }
    assert!(
        ledger.len() > 100,
        "only {} were acknowledged",
        ledger.len()
    );
}

/// The tests above would see it.
#[tokio::test]
async fn an_acknowledgement_before_the_sync_is_caught() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::new();
    for _ in 0..10 {
        let (mut child, stdout) = spawn(dir.path(), &[(PLANTED, "1".into())]);
        std::thread::scope(|scope| {
            let noted = scope.spawn(|| note(&mut ledger, stdout));
            std::thread::sleep(Duration::from_millis(700));
            child.kill().unwrap();
            noted.join().unwrap();
        });
        child.wait().unwrap();
        if missing(dir.path(), &ledger).await > 0 {
            return;
        }
    }
    panic!("nothing was lost although entries were acknowledged before they were written");
}
