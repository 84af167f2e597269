//! Slots are dealt out evenly, and as few of them move as can be.

#![allow(clippy::unwrap_used, reason = "tests may")]

use std::collections::{BTreeMap, BTreeSet};

use mailrook_placement::{slots_misplaced, slots_to_move};
use mailrook_types::ShardId;
use proptest::prelude::*;

type Owners = BTreeMap<u16, ShardId>;

fn shards(ids: impl IntoIterator<Item = u32>) -> BTreeSet<ShardId> {
    ids.into_iter().map(ShardId).collect()
}

fn count(owners: &Owners, shard: ShardId) -> usize {
    owners.values().filter(|owner| **owner == shard).count()
}

/// Moves until nothing more is planned. Gives how many slots moved.
fn settle(owners: &mut Owners, all: &BTreeSet<ShardId>, max: usize) -> usize {
    let mut moved = 0;
    while let Some(next) = slots_to_move(owners, all, all, max) {
        assert!((1..=max).contains(&next.slots.len()));
        assert!(next.slots.is_sorted());
        assert_ne!(next.from, next.to);
        for slot in &next.slots {
            assert_eq!(owners.insert(*slot, next.to), Some(next.from));
        }
        moved += next.slots.len();
        assert!(moved <= owners.len(), "back and forth");
    }
    moved
}

/// The fewest moves to where any two have as many, or one more: over all choices of who has one more.
fn fewest(counts: &[usize]) -> usize {
    let total: usize = counts.iter().sum();
    let (share, more) = (total / counts.len(), total % counts.len());
    let choices = 0u32..1 << counts.len();
    let choices = choices.filter(|choice| choice.count_ones() as usize == more);
    let moves = choices.map(|choice| {
        let surplus = counts.iter().enumerate().map(|(at, count)| {
            let share = share + usize::from(choice & (1 << at) != 0);
            count.saturating_sub(share)
        });
        surplus.sum()
    });
    moves.min().unwrap()
}

#[test]
fn three_more_shards_get_their_share_of_two() {
    let mut owners: Owners = (0..4096)
        .map(|slot| (slot, ShardId(u32::from(slot) % 2 + 1)))
        .collect();
    let all = shards(1..=5);
    assert_eq!(slots_misplaced(&owners, &all), 4096 - 820 - 819);
    let moved = settle(&mut owners, &all, 16);
    assert_eq!(moved, 4096 - 820 - 819);
    let counts: Vec<usize> = all.iter().map(|shard| count(&owners, *shard)).collect();
    assert_eq!(counts.iter().sum::<usize>(), 4096);
    assert_eq!(counts, [820, 819, 819, 819, 819]);
    assert_eq!(slots_misplaced(&owners, &all), 0);
}

#[test]
fn who_is_not_able_neither_gives_nor_gets() {
    let owners: Owners = (0..12)
        .map(|slot| (slot, ShardId(u32::from(slot) % 2 + 1)))
        .collect();
    let all = shards(1..=4);
    let next = |able: &[u32]| slots_to_move(&owners, &all, &shards(able.iter().copied()), 10);
    assert_eq!(next(&[1, 2]), None, "those who lack cannot get");
    assert_eq!(next(&[3, 4]), None, "those who have cannot give");
    let moved = next(&[2, 3]).unwrap();
    assert_eq!((moved.from, moved.to), (ShardId(2), ShardId(3)));
    assert_eq!(moved.slots, [1, 3, 5]);
    assert_eq!(slots_to_move(&owners, &BTreeSet::new(), &all, 10), None);
}

proptest! {
    #[test]
    fn balanced_with_the_fewest_moves(
        owners in prop::collection::vec(1u32..7, 0..200),
        added in 0u32..4,
        max in 1usize..20,
    ) {
        let highest = owners.iter().copied().max().unwrap_or(1);
        let all = shards(1..=highest + added);
        let mut owners: Owners = (0..).zip(owners.into_iter().map(ShardId)).collect();
        let counts = |owners: &Owners| all.iter().map(|shard| count(owners, *shard)).collect::<Vec<_>>();
        let expected = fewest(&counts(&owners));
        prop_assert_eq!(slots_misplaced(&owners, &all), expected);
        prop_assert_eq!(settle(&mut owners, &all, max), expected);
        let after = counts(&owners);
        prop_assert!(after.iter().max().unwrap() - after.iter().min().unwrap() <= 1, "{:?}", after);
    }
}
