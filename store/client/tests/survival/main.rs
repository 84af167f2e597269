//! Sessions survive the death of back ends (DESIGN, P3): the same clients do the same things twice, once while nothing
//! happens and once while the nodes behind them die, hand over, stall and lose answers, as a seed says. What the clients
//! are told must be the same, apart from news that RFC 9051 §5.2 allows at either place, and so must be what is in their
//! mailboxes after each step, to the last UID and MODSEQ.
//!
//! Everything between the client's bytes and the state machines is the real code: the sessions of `imap/server`, this
//! crate's client on the front end, its handler on the back ends, and `store/mailbox`. The groups' logs are one map each,
//! which is what Raft makes of them; Raft itself is simulated in `store/control`. Time is virtual.
//!
//! A failure prints its seed: `MAILROOK_SURVIVAL_SEED=7` repeats that one alone, `MAILROOK_SURVIVAL_SEEDS=5000` tries so many.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "a test says how it went")]

mod acts;
mod cluster;
mod compare;
#[path = "../../../control/tests/simulation/chance.rs"]
mod dice;
mod front;
mod generate;
mod play;
mod pop3;
mod session;
mod view;
mod weather;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use crate::{
    compare::compare,
    dice::Chance,
    generate::Generator,
    play::{Played, Script, play},
    weather::{Plant, Weather},
};

/// How many seeds are tried where nothing else is asked for: within some seconds on two cores, optimised.
const SEEDS: u64 = 200;

/// So many seeds show each planted bug.
const CAUGHT_WITHIN: u64 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays one seed twice, on a runtime of its own each time, and compares.
fn try_seed(seed: u64, weather: Weather) -> Result<(), String> {
    let said =
        |what: String| format!("repeat with MAILROOK_SURVIVAL_SEED={seed} ({weather:?}): {what}");
    let generator = Generator::new(Chance::of(seed, 1), weather.is_long());
    let quiet = on_its_own(seed, Weather::Quiet, Script::Made(generator)).map_err(said)?;
    assert_eq!(quiet.faults, 0);
    let acts = quiet.acts.clone();
    let stormy = on_its_own(seed, weather, Script::Given(acts)).map_err(said)?;
    compare(&quiet, &stormy).map_err(said)
}

fn on_its_own(seed: u64, weather: Weather, script: Script) -> Result<Played, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(play(seed, weather, script))
}

/// Tries seeds on all cores. All that broke, in no order.
fn try_seeds(weather: Weather) -> Vec<String> {
    if let Some(seed) = number("MAILROOK_SURVIVAL_SEED") {
        return try_seed(seed, weather).err().into_iter().collect();
    }
    let seeds = number("MAILROOK_SURVIVAL_SEEDS").unwrap_or(SEEDS);
    let (next, begun) = (AtomicU64::new(1), Instant::now());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let broken: Vec<String> = thread::scope(|scope| {
        let worker = || {
            let mut broken = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed > seeds {
                    return broken;
                }
                broken.extend(try_seed(seed, weather).err());
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let ended = workers.into_iter().map(|worker| worker.join().unwrap());
        ended.flatten().collect()
    });
    println!("{seeds} seeds of {weather:?} in {:?}", begun.elapsed());
    broken
}

#[test]
fn a_session_does_not_notice_that_back_ends_die() {
    let broken = try_seeds(Weather::Storm(None));
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

/// Nobody leads for longer than a call is repeated: the session says NO [UNAVAILABLE], and its client asks again.
#[test]
fn who_asks_again_gets_the_same() {
    let broken = try_seeds(Weather::Outages);
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

fn caught(plant: Plant) {
    let weather = Weather::Storm(Some(plant));
    let broken = (1..=CAUGHT_WITHIN).find_map(|seed| try_seed(seed, weather).err());
    println!("{broken:?}");
    assert!(
        broken.is_some(),
        "{plant:?}: {CAUGHT_WITHIN} seeds do not show it"
    );
}

#[test]
fn repeating_under_a_new_operation_id_is_caught() {
    caught(Plant::NewOperationForARepeat);
}

#[test]
fn reading_from_a_leader_that_lags_is_caught() {
    caught(Plant::StaleAfterAnElection);
}
