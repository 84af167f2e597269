//! Which slots of the cluster-wide tables move next, so that every shard has its fair share.

use std::collections::{BTreeMap, BTreeSet};

use mailrook_types::ShardId;

/// Slots that are better on another shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotsToMove {
    /// The shard that has too many.
    pub from: ShardId,
    /// The shard that has too few.
    pub to: ShardId,
    /// Some of them, ascending.
    pub slots: Vec<u16>,
}

/// The next slots to move, at most `max`, where `owners` says which shard has each slot and `shards` are all that are to
/// have some. Only those that are `able` give or get any now. Nothing if no two of them have a share to even out.
pub fn slots_to_move(
    owners: &BTreeMap<u16, ShardId>,
    shards: &BTreeSet<ShardId>,
    able: &BTreeSet<ShardId>,
    max: usize,
) -> Option<SlotsToMove> {
    let counts = counts(owners, shards);
    let shares = shares(&counts);
    let is_able = |(shard, _): &(ShardId, usize)| able.contains(shard);
    // Of several with as much the lowest, so that two controllers come to the same.
    let largest = |gaps: Vec<(ShardId, usize)>| {
        let gaps = gaps.into_iter().filter(is_able).rev();
        gaps.max_by_key(|(_, gap)| *gap)
    };
    let gap = |more: &BTreeMap<ShardId, usize>, less: &BTreeMap<ShardId, usize>| {
        let gaps = more.iter().map(|(shard, count)| {
            let other = less.get(shard).copied().unwrap_or(0);
            (*shard, count.saturating_sub(other))
        });
        gaps.filter(|(_, gap)| *gap > 0).collect::<Vec<_>>()
    };
    let (from, surplus) = largest(gap(&counts, &shares))?;
    let (to, lack) = largest(gap(&shares, &counts))?;
    let slots = owners.iter().filter(|(_, shard)| **shard == from);
    let slots: Vec<u16> = slots
        .map(|(slot, _)| *slot)
        .take(surplus.min(lack).min(max))
        .collect();
    (!slots.is_empty()).then_some(SlotsToMove { from, to, slots })
}

/// How many slots are not yet where they are to be.
pub fn slots_misplaced(owners: &BTreeMap<u16, ShardId>, shards: &BTreeSet<ShardId>) -> usize {
    let counts = counts(owners, shards);
    let shares = shares(&counts);
    let surplus = counts.iter().map(|(shard, count)| {
        let share = shares.get(shard).copied().unwrap_or(0);
        count.saturating_sub(share)
    });
    surplus.sum()
}

/// How many slots each of `shards` has. What others have is left where it is.
fn counts(owners: &BTreeMap<u16, ShardId>, shards: &BTreeSet<ShardId>) -> BTreeMap<ShardId, usize> {
    let mut counts: BTreeMap<_, _> = shards.iter().map(|shard| (*shard, 0)).collect();
    for shard in owners.values() {
        if let Some(count) = counts.get_mut(shard) {
            *count += 1;
        }
    }
    counts
}

/// How many slots each is to have: as many as any other, or one more. One more is for those that have most, so that as few
/// as possible move.
fn shares(counts: &BTreeMap<ShardId, usize>) -> BTreeMap<ShardId, usize> {
    let total: usize = counts.values().sum();
    let (share, more) = match counts.len() {
        0 => return BTreeMap::new(),
        shards => (total / shards, total % shards),
    };
    let mut by_count: Vec<_> = counts
        .iter()
        .map(|(shard, count)| (*shard, *count))
        .collect();
    by_count.sort_by_key(|(shard, count)| (std::cmp::Reverse(*count), *shard));
    let with_one_more = by_count.into_iter().enumerate();
    with_one_more
        .map(|(at, (shard, _))| (shard, share + usize::from(at < more)))
        .collect()
}
