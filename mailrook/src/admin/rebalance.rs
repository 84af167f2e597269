//! Evening out what the shards hold.
//!
//! A plan is a list of moves, made of what every account holds now; carrying it out is asking for those moves, which then are
//! listed, throttled, paused and cancelled like any others. Which node leads a shard is evened out all the time by the placement.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use mailrook_store_api::meta::{AccountRecord, MOVES_AT_ONCE_MAX, MetaAnswer, MetaQuery};
use mailrook_types::{AccountId, ShardId};

use super::{
    handle::{Admin, Failure, Outcome, PAGE, misfit},
    protocol::{AskedMove, Reply, ShardLoad},
};

/// An account costs something however little it holds: its mailboxes, its logins, what is delivered to it. As much as ten
/// messages of ordinary size.
const ACCOUNT_BYTES: u64 = 100_000;

/// Shards that differ by less than a twentieth of what one holds on average are even enough: the next message would tip it.
const UNEVEN_PARTS: u64 = 20;

/// Questions to shards that are under way at a time.
const ASKED_AT_ONCE: usize = 16;

/// An account, for the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Weighed {
    weight: u64,
    account: AccountId,
}

/// An account that is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Planned {
    account: AccountId,
    from: ShardId,
    to: ShardId,
}

impl Admin {
    /// Evens out the shards, or says which moves that would be.
    pub(super) async fn rebalance(&self, plan_only: bool) -> Outcome {
        self.require_moves().await?;
        if self.moves_pending().await? && !plan_only {
            let text = "accounts are moving already: `mailrook mailbox move list` shows them; rebalance once they have arrived";
            return Err(Failure::Refused(text.to_owned()));
        }
        let mut loads: BTreeMap<ShardId, ShardLoad> = BTreeMap::new();
        let mut homes: BTreeMap<ShardId, BTreeSet<Weighed>> = BTreeMap::new();
        for (shard, _) in self.shards().await? {
            homes.insert(shard, BTreeSet::new());
            loads.insert(
                shard,
                ShardLoad {
                    shard: shard.0,
                    accounts: 0,
                    bytes: 0,
                    accounts_after: 0,
                    bytes_after: 0,
                },
            );
        }
        let mut known = BTreeMap::new();
        for (record, messages, bytes) in self.weigh_all().await? {
            let weighed = Weighed {
                weight: bytes + ACCOUNT_BYTES,
                account: record.id,
            };
            homes.entry(record.shard).or_default().insert(weighed);
            if let Some(load) = loads.get_mut(&record.shard) {
                load.accounts += 1;
                load.bytes += bytes;
            }
            known.insert(record.id, (record, messages, bytes));
        }
        for load in loads.values_mut() {
            (load.accounts_after, load.bytes_after) = (load.accounts, load.bytes);
        }
        let planned = plan(homes);
        let mut by_target: BTreeMap<ShardId, Vec<AccountRecord>> = BTreeMap::new();
        for of in &planned {
            let Some((record, _, bytes)) = known.get(&of.account) else {
                continue;
            };
            if let Some(load) = loads.get_mut(&of.from) {
                load.accounts_after -= 1;
                load.bytes_after -= bytes;
            }
            if let Some(load) = loads.get_mut(&of.to) {
                load.accounts_after += 1;
                load.bytes_after += bytes;
            }
            by_target.entry(of.to).or_default().push(record.clone());
        }
        let mut moves: Vec<AskedMove> = Vec::new();
        for (to, records) in by_target {
            moves.extend(match plan_only {
                true => self.would_move(records, to).await?,
                false => self.ask_for_moves(records, to).await?,
            });
        }
        Ok(Reply::Balance {
            shards: loads.into_values().collect(),
            moves,
        })
    }

    async fn moves_pending(&self) -> Result<bool, Failure> {
        let mut after = 0;
        loop {
            let query = MetaQuery::AccountMoves {
                pending: true,
                after,
                limit: PAGE,
            };
            let moves = match self.directory.query(query).await? {
                MetaAnswer::AccountMoves(moves) => moves,
                other => return Err(misfit(&other)),
            };
            let Some(last) = moves.last() else {
                return Ok(false);
            };
            if moves.iter().any(|of| !of.state.is_decided()) {
                return Ok(true);
            }
            after = last.id;
        }
    }

    /// All accounts, and what each holds: messages and bytes.
    async fn weigh_all(&self) -> Result<Vec<(AccountRecord, u64, u64)>, Failure> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let query = MetaQuery::Accounts {
                domain: None,
                after: after.take(),
                limit: PAGE,
            };
            let page = match self.directory.query(query).await? {
                MetaAnswer::Accounts(page) => page,
                other => return Err(misfit(&other)),
            };
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = Some(last.address.clone());
            let weighed = stream::iter(page).map(async |record: AccountRecord| {
                let usage = self.mailstore.quota(record.id).await?.unwrap_or_default();
                Ok::<_, Failure>((record, usage.messages, usage.storage_bytes))
            });
            let weighed = weighed.buffered(ASKED_AT_ONCE);
            all.extend(weighed.try_collect::<Vec<_>>().await?);
        }
    }
}

/// Moves that even out the shards, the largest differences first; at most as many as are asked for at once. Each brings the
/// fullest shard and the emptiest one closer together.
fn plan(mut homes: BTreeMap<ShardId, BTreeSet<Weighed>>) -> Vec<Planned> {
    let weigh = |held: &BTreeSet<Weighed>| held.iter().map(|one| one.weight).sum::<u64>();
    let mut weights: BTreeMap<ShardId, u64> = homes
        .iter()
        .map(|(shard, held)| (*shard, weigh(held)))
        .collect();
    let all: u64 = weights.values().sum();
    let even_enough = all / (weights.len().max(1) as u64) / UNEVEN_PARTS;
    let mut planned: Vec<Planned> = Vec::new();
    while planned.len() < MOVES_AT_ONCE_MAX {
        let fullest = weights
            .iter()
            .max_by_key(|(shard, weight)| (**weight, std::cmp::Reverse(**shard)));
        let emptiest = weights
            .iter()
            .min_by_key(|(shard, weight)| (**weight, **shard));
        let (Some((&from, &most)), Some((&to, &least))) = (fullest, emptiest) else {
            break;
        };
        let difference = most - least;
        if difference <= even_enough {
            break;
        }
        let Some(held) = homes.get_mut(&from) else {
            break;
        };
        // The largest that brings them no further apart the other way round.
        let half = Weighed {
            weight: difference / 2 + 1,
            account: AccountId(0),
        };
        let Some(one) = held.range(..half).next_back().copied() else {
            break;
        };
        // It does not move on from there.
        held.remove(&one);
        weights.insert(from, most - one.weight);
        weights.insert(to, least + one.weight);
        planned.push(Planned {
            account: one.account,
            from,
            to,
        });
    }
    planned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(held: &[&[u64]]) -> BTreeMap<ShardId, BTreeSet<Weighed>> {
        let mut next = 0;
        let mut weighed = |weight: &u64| {
            next += 1;
            Weighed {
                weight: *weight,
                account: AccountId(next),
            }
        };
        let shards = (1..).map(ShardId);
        shards
            .zip(
                held.iter()
                    .map(|held| held.iter().map(&mut weighed).collect()),
            )
            .collect()
    }

    fn after(held: &[&[u64]], planned: &[Planned]) -> Vec<u64> {
        let mut homes = homes(held);
        for of in planned {
            let from = homes.get_mut(&of.from).unwrap();
            let one = *from.iter().find(|one| one.account == of.account).unwrap();
            from.remove(&one);
            homes.get_mut(&of.to).unwrap().insert(one);
        }
        homes
            .values()
            .map(|held| held.iter().map(|one| one.weight).sum())
            .collect()
    }

    #[test]
    fn what_is_even_stays() {
        for held in [
            &[&[5, 5][..], &[10][..]][..],
            &[&[], &[]],
            &[&[100][..], &[][..]],
            &[],
        ] {
            assert_eq!(plan(homes(held)), []);
        }
    }

    #[test]
    fn a_full_shard_gives_to_an_empty_one() {
        let many = [10; 40];
        let held = [&many[..], &[], &[]];
        let planned = plan(homes(&held));
        assert_eq!(after(&held, &planned), [140, 130, 130]);
        assert!(planned.iter().all(|of| of.from == ShardId(1)));
    }

    #[test]
    fn large_accounts_go_first_and_nothing_goes_twice() {
        let held = [&[500, 300, 100, 50, 30, 20][..], &[40][..], &[60][..]];
        let planned = plan(homes(&held));
        let accounts: BTreeSet<_> = planned.iter().map(|of| of.account).collect();
        assert_eq!(accounts.len(), planned.len(), "{planned:?}");
        let after = after(&held, &planned);
        assert!(
            after.iter().all(|weight| (240..=510).contains(weight)),
            "{after:?}"
        );
        assert_eq!(after.iter().sum::<u64>(), 1_100);
    }
}
