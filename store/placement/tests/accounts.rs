//! Accounts that go to other shards: what is worth a move, and what must hold of every plan.
#![allow(clippy::unwrap_used, reason = "tests may")]

use std::collections::{BTreeMap, BTreeSet};

use mailrook_placement::{AccountView, Measure, Relocation, accounts_to_move, worst_crowding};
use mailrook_types::{AccountId, ShardId};
use proptest::{collection, prelude::*};

const MB: u64 = 1_000_000;

/// As many as are asked for at once.
const MOVES_MAX: usize = 1_000;

/// Shards from 1 on with their accounts, each of so many megabytes and requests an hour.
fn cluster(held: &[&[(u64, u64)]]) -> (BTreeSet<ShardId>, Vec<AccountView>) {
    let mut accounts = Vec::new();
    let shards = (1..).map(ShardId).zip(held);
    for (shard, held) in shards.clone() {
        for (mb, load) in *held {
            accounts.push(AccountView {
                account: AccountId(accounts.len() as u64 + 1),
                shard,
                bytes: mb * MB,
                load: *load,
            });
        }
    }
    (shards.map(|(shard, _)| shard).collect(), accounts)
}

fn plan(held: &[&[(u64, u64)]]) -> Vec<Relocation> {
    let (shards, accounts) = cluster(held);
    accounts_to_move(&shards, &accounts, MOVES_MAX)
}

fn apply(accounts: &mut [AccountView], planned: &[Relocation]) {
    for of in planned {
        let found = accounts.iter_mut().find(|one| one.account == of.account);
        let one = found.unwrap();
        assert_eq!(one.shard, of.from, "{of:?}");
        one.shard = of.to;
    }
}

/// What the shards hold after the plan, in megabytes and requests.
fn after(held: &[&[(u64, u64)]], planned: &[Relocation]) -> Vec<(u64, u64)> {
    let (shards, mut accounts) = cluster(held);
    apply(&mut accounts, planned);
    let of_shard = |shard| accounts.iter().filter(move |one| one.shard == shard);
    let sum = |shard| {
        let sums = of_shard(shard).map(|one| (one.bytes / MB, one.load));
        sums.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    shards.into_iter().map(sum).collect()
}

#[test]
fn what_is_even_stays() {
    let even: &[&[(u64, u64)]] = &[&[(50, 9_000), (50, 0)], &[(104, 10_000)]];
    for held in [even, &[&[], &[]], &[&[(100, 0)], &[]], &[]] {
        assert_eq!(plan(held), []);
    }
    // A shard that idles may be the one that does all there is to do.
    assert_eq!(plan(&[&[(0, 400), (0, 400)], &[], &[]]), []);
}

#[test]
fn a_full_shard_gives_to_empty_ones() {
    let many = [(10, 0); 40];
    let held: &[&[_]] = &[&many, &[], &[]];
    let planned = plan(held);
    assert!(planned.iter().all(|of| of.from == ShardId(1)));
    for (mb, _) in after(held, &planned) {
        assert!((120..=140).contains(&mb), "{planned:?}");
    }
    assert!(planned[0].reason.contains("3.0 times its share of mail"));
}

#[test]
fn a_busy_shard_gives_what_costs_least_to_move() {
    // Two that ask for much, of which one is small; they are as full otherwise.
    let busy = [(90, 40_000), (10, 40_000), (100, 0)];
    let calm = [(100, 1_000), (100, 1_000)];
    let planned = plan(&[&busy, &calm, &calm]);
    assert_eq!(planned.len(), 1, "{planned:?}");
    assert_eq!(planned[0].account, AccountId(2));
    assert_eq!(planned[0].measure, Measure::Load);
    let reason = &planned[0].reason;
    assert!(reason.contains("times its share of load, 50 %"), "{reason}");
}

#[test]
fn an_account_that_is_too_much_for_any_shard_stays() {
    let hot = [(10, 100_000)];
    let calm = [(10, 1_000)];
    assert_eq!(plan(&[&hot, &calm, &calm]), []);
    // Those beside it do not go for next to nothing.
    let beside = [(4, 100_000), (3, 10), (3, 10)];
    assert_eq!(plan(&[&beside, &calm, &calm]), []);
    // They go where that is a relief.
    let beside = [(10, 60_000), (10, 30_000), (10, 30_000)];
    let calm = [(15, 1_000), (15, 1_000)];
    let held: &[&[_]] = &[&beside, &calm, &calm, &calm];
    let planned = plan(held);
    assert!(planned.iter().all(|of| of.account != AccountId(1)));
    let worst = after(held, &planned).iter().map(|(_, load)| *load).max();
    assert_eq!(worst, Some(60_000), "{planned:?}");
}

#[test]
fn no_more_than_are_asked_for_at_once() {
    let (shards, accounts) = cluster(&[&[(10, 0); 40], &[], &[]]);
    assert_eq!(accounts_to_move(&shards, &accounts, 5).len(), 5);
}

#[test]
fn accounts_on_shards_that_are_no_more_are_left() {
    let (shards, mut accounts) = cluster(&[&[(10, 0); 4], &[(10, 0); 4]]);
    accounts.push(AccountView {
        account: AccountId(99),
        shard: ShardId(7),
        bytes: 900 * MB,
        load: 1_000_000,
    });
    assert_eq!(accounts_to_move(&shards, &accounts, MOVES_MAX), []);
}

/// Sizes and loads of which a few are much of the whole, as in life.
fn amount(of: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => Just(0),
        10 => 0..of,
        3 => 0..of * 20,
        1 => 0..of * 400,
    ]
}

fn clusters() -> impl Strategy<Value = (BTreeSet<ShardId>, Vec<AccountView>)> {
    (1..12_u32).prop_flat_map(|shards| {
        let one = (1..=shards, amount(50 * MB), amount(500));
        collection::vec(one, 0..120).prop_map(move |all| {
            let accounts = (1..)
                .zip(all)
                .map(|(id, (shard, bytes, load))| AccountView {
                    account: AccountId(id),
                    shard: ShardId(shard),
                    bytes,
                    load,
                });
            ((1..=shards).map(ShardId).collect(), accounts.collect())
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_move_makes_the_worst_shard_worse((shards, mut accounts) in clusters()) {
        let planned = accounts_to_move(&shards, &accounts, MOVES_MAX);
        let mut moved = BTreeSet::new();
        let mut worst = worst_crowding(&shards, &accounts);
        for of in &planned {
            prop_assert!(moved.insert(of.account), "{of:?} moves twice");
            prop_assert!(of.from != of.to && shards.contains(&of.to));
            apply(&mut accounts, std::slice::from_ref(of));
            let then = worst_crowding(&shards, &accounts);
            prop_assert!(then <= worst, "{of:?}: {worst} to {then}");
            worst = then;
        }
    }

    #[test]
    fn a_plan_that_was_carried_out_leaves_little_to_do((shards, mut accounts) in clusters()) {
        let first = accounts_to_move(&shards, &accounts, MOVES_MAX);
        apply(&mut accounts, &first);
        let second = accounts_to_move(&shards, &accounts, MOVES_MAX);
        // But for what a look too many would have found.
        prop_assert!(second.len() <= 2, "{} and then {}", first.len(), second.len());
        let mut left = second;
        for _ in 0..5 {
            apply(&mut accounts, &left);
            left = accounts_to_move(&shards, &accounts, MOVES_MAX);
        }
        prop_assert_eq!(left, []);
    }

    #[test]
    fn the_same_cluster_has_the_same_plan((shards, accounts) in clusters()) {
        let planned = accounts_to_move(&shards, &accounts, MOVES_MAX);
        let mut backwards = accounts.clone();
        backwards.reverse();
        prop_assert_eq!(&planned, &accounts_to_move(&shards, &backwards, MOVES_MAX));
    }

    /// Many ordinary accounts can be evened out, wherever they are.
    #[test]
    fn what_can_be_even_becomes_even(at in collection::vec(0..4_u32, 400)) {
        let accounts = (1..).zip(at).map(|(id, at)| AccountView {
            account: AccountId(id),
            shard: ShardId(at * at / 3),
            bytes: (5 + id % 10) * MB,
            load: 100 + id % 7 * 30,
        });
        let mut accounts: Vec<_> = accounts.collect();
        let shards: BTreeSet<_> = (0..4).map(ShardId).collect();
        let planned = accounts_to_move(&shards, &accounts, MOVES_MAX);
        apply(&mut accounts, &planned);
        let worst = worst_crowding(&shards, &accounts);
        prop_assert!(worst <= 1.15, "{worst}");
        let mut counts = BTreeMap::new();
        for one in &accounts {
            *counts.entry(one.shard).or_insert(0_u32) += 1;
        }
        prop_assert_eq!(counts.len(), 4);
    }
}
