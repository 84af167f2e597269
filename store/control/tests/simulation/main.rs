//! A whole cluster in one process, as a function of a seed: real nodes with their groups, controllers and clients, on a
//! network, disks and clocks that are simulated.
//!
//! A failure prints its seed: `MAILROOK_SIM_SEED=7` repeats that one alone, and `MAILROOK_SIM_SEEDS=1000` tries so many.
//! With `RUST_LOG=mailrook=debug,openraft=info` it says what happens.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "a test says how it went")]

mod boot;
mod chance;
mod copies;
mod disk;
mod faults;
mod front;
mod host;
mod invariants;
mod ledger;
mod network;
mod run;
mod tables;
mod watch;
mod world;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use front::Retry;
use mailrook_cluster::Plant;
use run::{Scenario, run};

/// How many seeds are tried where nothing else is asked for: within a minute on two cores.
const SEEDS: u64 = 50;

/// So many seeds show each planted bug.
const CAUGHT_WITHIN: u64 = 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn log() {
    // An earlier test may have set it up.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_timer(host::Moment)
        .with_test_writer()
        .try_init();
}

fn sound(seed: u64) -> Scenario {
    Scenario {
        seed,
        plant: None,
        retry: Retry::Never,
    }
}

/// Runs one seed, and says how it went.
fn try_seed(seed: u64) -> Result<(), String> {
    let begun = Instant::now();
    let evidence = run(sound(seed))
        .map_err(|broken| format!("repeat with MAILROOK_SIM_SEED={seed}: {broken}"))?;
    println!(
        "seed {seed}: {} s simulated in {:?}, {} messages, {} of {} appends acknowledged, {} reads",
        evidence.simulated_ms / 1000,
        begun.elapsed(),
        evidence.messages,
        evidence.ledger.acknowledged_count(),
        evidence.ledger.appends.len(),
        evidence.ledger.reads.len(),
    );
    Ok(())
}

#[test]
fn whatever_goes_wrong_the_invariants_hold() {
    log();
    if let Some(seed) = number("MAILROOK_SIM_SEED") {
        return try_seed(seed).unwrap();
    }
    let seeds = number("MAILROOK_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(1);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let broken = std::thread::scope(|scope| {
        let worker = || {
            let mut broken = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed > seeds {
                    return broken;
                }
                broken.extend(try_seed(seed).err());
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let ended = workers.into_iter().map(|worker| worker.join().unwrap());
        ended.flatten().collect::<Vec<String>>()
    });
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    for seed in [3, 4] {
        let trace = || run(sound(seed)).map(|evidence| (evidence.trace, evidence.messages));
        assert_eq!(trace(), trace(), "seed {seed}");
    }
}

/// Tries seeds until one breaks `invariant`, as the planted bug must.
fn caught(plant: Option<Plant>, retry: Retry, invariant: &str) {
    let broken = (1..=CAUGHT_WITHIN).find_map(|seed| {
        let scenario = Scenario { seed, plant, retry };
        let broken = run(scenario).err()?;
        println!("seed {seed}: {broken}");
        broken.contains(invariant).then_some(seed)
    });
    assert!(
        broken.is_some(),
        "{plant:?}, {retry:?}: {CAUGHT_WITHIN} seeds do not break {invariant}"
    );
}

#[test]
fn acknowledging_before_a_quorum_is_caught() {
    let plant = Some(Plant::AckBeforeQuorum);
    caught(plant, Retry::Never, "no_acknowledged_command_is_lost");
}

#[test]
fn forgetting_the_operation_id_is_caught() {
    caught(None, Retry::UnderANewId, "each_operation_once");
}

#[test]
fn reading_without_a_barrier_is_caught() {
    let plant = Some(Plant::ReadWithoutBarrier);
    caught(plant, Retry::Never, "reads_are_linearizable");
}

#[test]
fn forgetting_a_vote_is_caught() {
    caught(Some(Plant::ForgetVote), Retry::Never, "votes_never_go_back");
}

#[test]
fn cutting_the_log_too_early_is_caught() {
    // The node's own look at its log, before anything starts on it.
    caught(
        Some(Plant::CutUnflushed),
        Retry::Never,
        "the log was cut up to",
    );
}
