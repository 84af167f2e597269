//! P1 and P2 on one node: what was acknowledged is there after kill -9, exactly once.
//!
//! `MAILROOK_KILL9_ROUNDS=500` for the long run, `MAILROOK_KILL9_SEED=n` to repeat one. The planted fault: with
//! `MAILROOK_PLANT=ack-before-fsync` the server acknowledges before its log is synced, and what was not synced is gone
//! after the kill, as after a power cut. The same loop must find that, or it finds nothing.

#![allow(clippy::unwrap_used, reason = "a test")]

use mailrook_tests::harness::{Node, NodeOptions};
use mailrook_tests::kill9::{Plan, run};

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|v| {
        v.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {v}"))
    })
}

fn plan() -> Plan {
    Plan {
        seed: number_from_environment("MAILROOK_KILL9_SEED")
            .unwrap_or_else(|| u64::from(rand::random::<u32>())),
        rounds: u32::try_from(number_from_environment("MAILROOK_KILL9_ROUNDS").unwrap_or(20))
            .unwrap(),
        ..Plan::default()
    }
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled() {
    let plan = plan();
    let mut node = Node::start(30).unwrap();
    let report = run(&mut node, &plan)
        .unwrap_or_else(|e| panic!("seed {}: {e}\n{}", plan.seed, node.log_tail()));
    println!("seed {}: {report}", plan.seed);
    assert!(
        report.kept > 0 && report.unanswered > 0,
        "the loop did not bite; seed {}: {report}",
        plan.seed
    );
    assert!(
        report.work.values().all(|count| *count > 0),
        "some work never got done: {report}"
    );
    assert!(
        report.violations.is_empty(),
        "repeat with MAILROOK_KILL9_SEED={}: {report}",
        plan.seed
    );
}

#[test]
fn a_planted_acknowledgement_before_fsync_is_caught() {
    let mut options = NodeOptions {
        accounts: 30,
        ..NodeOptions::default()
    };
    options
        .environment
        .insert("MAILROOK_PLANT".to_owned(), "ack-before-fsync".to_owned());
    let mut node = Node::start_with(options).unwrap();
    let plan = plan();
    match run(&mut node, &plan) {
        Ok(report) => assert!(
            report.violations.iter().any(|v| v.what.contains("lost")),
            "the server was told to acknowledge before fsync, and the ledger saw no loss (seed {}): {report}",
            plan.seed
        ),
        // The node may see it before the ledger does: its log ends before what it was known to hold.
        Err(error) => assert!(
            node.log_tail().contains("but was known to reach entry"),
            "seed {}: {error}\n{}",
            plan.seed,
            node.log_tail()
        ),
    }
}
