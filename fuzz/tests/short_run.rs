//! Each target for a short time, on inputs that are the same on every machine. A failure prints the input.
//!
//! - `MAILROOK_FUZZ_ROUNDS=1000000` runs each target on so many mutants instead;
//! - `MAILROOK_FUZZ_SEED=7` chooses other mutants;
//! - `MAILROOK_FUZZ_INPUT=6131…` runs a target on this input alone, as a failure printed it:
//!   `MAILROOK_FUZZ_INPUT=… cargo test -p mailrook-fuzz --test short_run imap_framing`.

use mailrook_fuzz::{TARGETS, driver};

/// Without optimisation a round takes ten times as long and more.
const UNOPTIMISED_SHARE: u32 = 20;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("a test has its target's name");
    if let Ok(input) = std::env::var("MAILROOK_FUZZ_INPUT") {
        (target.run)(&hex::decode(input.trim()).expect("hexadecimal digits"));
        return;
    }
    let short = if cfg!(debug_assertions) {
        target.rounds / UNOPTIMISED_SHARE
    } else {
        target.rounds
    };
    let rounds = number("MAILROOK_FUZZ_ROUNDS").map_or(short, |rounds| rounds as u32);
    driver::run(target, number("MAILROOK_FUZZ_SEED").unwrap_or(1), rounds);
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_target_has_a_test() {
            let tested = [$(stringify!($name)),*];
            assert!(TARGETS.iter().all(|target| tested.contains(&target.name)));
        }
    };
}

targets! {
    address mailbox_name uid_set mime_message imap_framing pop3_framing smtp_session smtp_client sasl_exchange sasl_token oauth_token stored_records
    shard_commands raw_commands meta_commands imap_session pop3_session proxy_header configuration dns_texts
}
