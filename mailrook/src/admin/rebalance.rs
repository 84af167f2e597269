//! Evening out what the shards hold, and what is asked of them.
//!
//! A plan is a list of moves, made of what every account holds now and what the nodes have counted that it asks for; carrying it out is
//! asking for those moves, which then are listed, throttled, paused and cancelled like any others. Which node leads a shard is evened
//! out all the time by the placement.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{StreamExt, TryStreamExt, stream};
use mailrook_placement::{AccountView, Relocation, accounts_to_move};
use mailrook_store_api::meta::{AccountRecord, MOVES_AT_ONCE_MAX, MetaAnswer, MetaQuery};
use mailrook_types::{AccountId, ShardId};

use super::{
    handle::{Admin, Failure, Outcome, PAGE, misfit},
    protocol::{AskedMove, Reply, ShardLoad},
    sessions::AccountLoads,
};

/// Questions to shards that are under way at a time.
const ASKED_AT_ONCE: usize = 16;

/// All accounts, and the shards that they may be on.
struct Weighed {
    shards: BTreeSet<ShardId>,
    accounts: Vec<AccountView>,
    records: HashMap<AccountId, AccountRecord>,
}

impl Admin {
    /// Evens out the shards, or says which moves that would be.
    pub(super) async fn rebalance(&self, plan_only: bool) -> Outcome {
        self.require_moves().await?;
        if self.moves_pending().await? && !plan_only {
            let text = "accounts are moving already: `mailrook mailbox move list` shows them; rebalance once they have arrived";
            return Err(Failure::Refused(text.to_owned()));
        }
        let counted = self.host.sessions().loads().await;
        // A part of the load is worse than none: shards would look idle whose clients are at a node that did not answer.
        let is_known = counted.unreached.is_empty();
        let known = is_known.then_some(&counted);
        let weighed = self.weigh_all(known).await?;
        let (shards, accounts) = (weighed.shards.clone(), weighed.accounts.clone());
        // Milliseconds, of a million accounts seconds.
        let planning = tokio::task::spawn_blocking(move || {
            accounts_to_move(&shards, &accounts, MOVES_AT_ONCE_MAX)
        });
        let planned = planning
            .await
            .map_err(|error| Failure::Internal(error.to_string()))?;
        let shards = loads(&weighed, &planned, is_known);
        let moves = self.carry_out(&weighed, planned, plan_only).await?;
        Ok(Reply::Balance {
            shards,
            moves,
            unreached: counted.unreached,
        })
    }

    /// Asks for the moves, or says what they would be.
    async fn carry_out(
        &self,
        weighed: &Weighed,
        planned: Vec<Relocation>,
        plan_only: bool,
    ) -> Result<Vec<AskedMove>, Failure> {
        let mut by_target: BTreeMap<ShardId, (Vec<AccountRecord>, Vec<String>)> = BTreeMap::new();
        for of in planned {
            let Some(record) = weighed.records.get(&of.account) else {
                continue;
            };
            let (records, whys) = by_target.entry(of.to).or_default();
            records.push(record.clone());
            whys.push(of.reason);
        }
        let mut moves: Vec<AskedMove> = Vec::new();
        for (to, (records, whys)) in by_target {
            let asked = match plan_only {
                true => self.would_move(records, to).await?,
                false => self.ask_for_moves(records, to).await?,
            };
            moves.extend(asked.into_iter().zip(whys).map(|(mut asked, why)| {
                asked.why = Some(why);
                asked
            }));
        }
        Ok(moves)
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

    /// All accounts, with what each holds and asks for.
    async fn weigh_all(&self, counted: Option<&AccountLoads>) -> Result<Weighed, Failure> {
        let shards = self.shards().await?;
        let mut all = Weighed {
            shards: shards.into_iter().map(|(shard, _)| shard).collect(),
            accounts: Vec::new(),
            records: HashMap::new(),
        };
        let mut after = None;
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
                Ok::<_, Failure>((record, usage.storage_bytes))
            });
            let weighed = weighed.buffered(ASKED_AT_ONCE);
            for (record, bytes) in weighed.try_collect::<Vec<_>>().await? {
                let load = counted.and_then(|of| of.by_account.get(&record.id));
                all.accounts.push(AccountView {
                    account: record.id,
                    shard: record.shard,
                    bytes,
                    load: load.copied().unwrap_or(0),
                });
                all.records.insert(record.id, record);
            }
        }
    }
}

/// What the shards have, and would have once all has moved that is planned.
fn loads(weighed: &Weighed, planned: &[Relocation], is_known: bool) -> Vec<ShardLoad> {
    let targets: HashMap<AccountId, ShardId> =
        planned.iter().map(|of| (of.account, of.to)).collect();
    let nothing = |shard: &ShardId| ShardLoad {
        shard: shard.0,
        accounts: 0,
        bytes: 0,
        accounts_after: 0,
        bytes_after: 0,
        load: is_known.then_some(0),
        load_after: is_known.then_some(0),
    };
    let shards = weighed.shards.iter();
    let mut loads: BTreeMap<ShardId, ShardLoad> =
        shards.map(|shard| (*shard, nothing(shard))).collect();
    for one in &weighed.accounts {
        if let Some(load) = loads.get_mut(&one.shard) {
            load.accounts += 1;
            load.bytes += one.bytes;
            load.load = load.load.map(|sum| sum + one.load);
        }
        let then = targets.get(&one.account).copied().unwrap_or(one.shard);
        if let Some(load) = loads.get_mut(&then) {
            load.accounts_after += 1;
            load.bytes_after += one.bytes;
            load.load_after = load.load_after.map(|sum| sum + one.load);
        }
    }
    loads.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_told_as_they_are_and_as_they_will_be() {
        let account = |id, shard, bytes, load| AccountView {
            account: AccountId(id),
            shard: ShardId(shard),
            bytes,
            load,
        };
        let weighed = Weighed {
            shards: [ShardId(1), ShardId(2)].into(),
            accounts: vec![account(1, 1, 10, 100), account(2, 1, 20, 200)],
            records: HashMap::new(),
        };
        let planned = [Relocation {
            account: AccountId(2),
            from: ShardId(1),
            to: ShardId(2),
            measure: mailrook_placement::Measure::Load,
            reason: String::new(),
        }];
        let told = loads(&weighed, &planned, true);
        let told: Vec<_> = (told.iter())
            .map(|of| {
                let before = (of.accounts, of.bytes, of.load);
                (before, (of.accounts_after, of.bytes_after, of.load_after))
            })
            .collect();
        let one = ((2, 30, Some(300)), (1, 10, Some(100)));
        let two = ((0, 0, Some(0)), (1, 20, Some(200)));
        assert_eq!(told, [one, two]);
        // Nobody takes what was not counted for nothing.
        let told = loads(&weighed, &[], false);
        assert!((told.iter()).all(|of| of.load.is_none() && of.load_after.is_none()));
    }
}
