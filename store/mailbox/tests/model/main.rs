//! The shard against a plain reference: random commands, repeats of them, replays of the log from older states.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod account;
mod compare;
mod generate;
mod moving;
mod reference;
mod slots;

use mailrook_kv::{Batch, MemorySnapshot, MemoryStore, Overlay, Read, StateMachine, Store};
use mailrook_mailbox::{Shard, ShardCommand, ShardReply, account_digest, check, shard_digest};
use mailrook_types::AccountId;
use proptest::prelude::*;

use generate::{ACCOUNTS, Clients};
use reference::Reference;

/// One entry of a log.
#[derive(Clone)]
struct Entry {
    time_ms: i64,
    bytes: Vec<u8>,
}

/// 2023-11-14: where the tests' time starts.
const START_MS: i64 = 1_700_000_000_000;

/// How far the time goes on between two entries: mostly little, at times past each of the expiries.
fn step_ms(dice: u8) -> i64 {
    match dice {
        0..=150 => i64::from(dice % 7),
        151..=230 => 1_100,
        231..=244 => 3_700_000,
        245..=251 => 90_000_000,
        _ => 8 * 86_400_000,
    }
}

/// Applies entries as one batch.
fn apply(store: &MemoryStore, entries: &[Entry]) -> Vec<Vec<u8>> {
    let snapshot = store.snapshot();
    let mut view = Overlay::new(&snapshot as &dyn Read);
    let mut replies = Vec::new();
    for entry in entries {
        replies.push(
            Shard
                .apply(&mut view, entry.time_ms, &entry.bytes)
                .unwrap()
                .reply,
        );
    }
    let batch = view.into_batch();
    drop(snapshot);
    store.write(batch).unwrap();
    replies
}

fn store_of(snapshot: &MemorySnapshot) -> MemoryStore {
    let mut batch = Batch::default();
    for (space, key, value) in snapshot.pairs() {
        batch.put(space, key.to_vec(), value.to_vec());
    }
    let store = MemoryStore::new();
    store.write(batch).unwrap();
    store
}

/// Applies the log in batches of the given lengths.
fn replay(store: &MemoryStore, mut log: &[Entry], splits: &[u8]) -> Vec<Vec<u8>> {
    let mut replies = Vec::new();
    for split in splits.iter().cycle() {
        if log.is_empty() {
            break;
        }
        let (batch, rest) = log.split_at((usize::from(*split) % 7 + 1).min(log.len()));
        replies.extend(apply(store, batch));
        log = rest;
    }
    replies
}

fn run(steps: &[[u8; 40]], splits: &[u8], cut: usize) {
    let (store, mut reference, mut clients) =
        (MemoryStore::new(), Reference::default(), Clients::default());
    let (mut now, mut log, mut replies, mut middle) = (START_MS, Vec::new(), Vec::new(), None);
    for (at, step) in steps.iter().enumerate() {
        // Most runs start with accounts that have some mailboxes already.
        let at_start = at < 2 && splits.len() > 1;
        if at == cut {
            middle = Some(store.snapshot());
        }
        now += step_ms(step[0]);
        let command = if at_start {
            clients.create(at as u64 + 1)
        } else {
            clients.next(now, &step[1..])
        };
        let entry = Entry {
            time_ms: now,
            bytes: command.encode(),
        };
        let reply = apply(&store, std::slice::from_ref(&entry)).remove(0);
        let real = ShardReply::decode(&reply).unwrap();
        let expected = reference.apply(now, &command, &real);
        assert_eq!(real, expected, "to step {at}, {command:?}");
        clients.hear(&command, &real);
        log.push(entry);
        replies.push(reply);
        let snapshot = store.snapshot();
        let violations = check(&snapshot).unwrap();
        assert!(
            violations.is_empty(),
            "after step {at}, {command:?}: {violations:#?}"
        );
        compare::all(&snapshot, now, &reference);
    }
    // The same log in other batches, and from the middle on, gives the same bytes.
    let finished = store.snapshot();
    let second = MemoryStore::new();
    assert_eq!(replay(&second, &log, splits), replies);
    assert_eq!(second.snapshot(), finished);
    if let Some(middle) = middle {
        let third = store_of(&middle);
        assert_eq!(replay(&third, &log[cut..], splits), replies[cut..]);
        assert_eq!(third.snapshot(), finished);
        assert_eq!(
            shard_digest(&third.snapshot()).unwrap(),
            shard_digest(&finished).unwrap()
        );
        for id in 1..=ACCOUNTS {
            let digest =
                |store: &MemoryStore| account_digest(&store.snapshot(), AccountId(id)).unwrap();
            assert_eq!(digest(&third), digest(&store));
        }
    }
    drain(&store, now);
}

/// Time alone removes everything that nothing refers to.
fn drain(store: &MemoryStore, now: i64) {
    for days in 1..=30 {
        let tick = Entry {
            time_ms: now + days * 86_400_000,
            bytes: ShardCommand::Tick.encode(),
        };
        apply(store, &[tick]);
    }
    let snapshot = store.snapshot();
    assert_eq!(check(&snapshot).unwrap(), Vec::<String>::new());
    compare::nothing_expires(&snapshot);
}

/// 64 runs take about as long as the crate takes to build; PROPTEST_CASES asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_reference(
        steps in prop::collection::vec(any::<[u8; 40]>(), 1..120),
        splits in prop::collection::vec(any::<u8>(), 1..8),
        cut in 0usize..60,
    ) {
        run(&steps, &splits, cut);
    }
}
