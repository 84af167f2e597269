//! Requests about accounts that move from shard to shard.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use mailrook_store_api::meta::{
    AccountMove, AccountRecord, LEVEL_MOVES, MOVES_AT_ONCE_MAX, MetaAnswer, MetaCommand, MetaQuery,
    MetaReply, MoveState, SETTING_MOVE_RATE, SETTING_MOVES_PAUSED,
};
use mailrook_types::{AccountId, Address, ShardId};

use super::{
    handle::{Admin, DONE, Failure, Outcome, PAGE, misfit},
    protocol::{AskedMove, AskedOutcome, ClusterStatus, MoveInfo, MoveTarget, Reply},
    time::rfc3339,
};

/// Accounts whose addresses are looked up at a time.
const NAMES_AT_ONCE: usize = 32;

impl Admin {
    /// Has accounts move, or says which would.
    pub(super) async fn move_accounts(
        &self,
        users: Vec<Address>,
        to: MoveTarget,
        dry_run: bool,
    ) -> Outcome {
        if users.is_empty() || users.len() > MOVES_AT_ONCE_MAX {
            let text = format!("1 to {MOVES_AT_ONCE_MAX} accounts move at once");
            return Err(Failure::Invalid(text));
        }
        let mut targets = self.targets(&to).await?;
        let mut wanted: BTreeMap<ShardId, Vec<AccountRecord>> = BTreeMap::new();
        // Nothing is asked for before all of it is known to make sense.
        for user in users {
            let record = *self.known_account(&user).await?;
            let to = targets.for_one(record.shard);
            wanted.entry(to).or_default().push(record);
        }
        let mut asked = Vec::new();
        for (to, records) in wanted {
            asked.extend(match dry_run {
                true => self.would_move(records, to).await?,
                false => self.ask_for_moves(records, to).await?,
            });
        }
        asked.sort_by(|a, b| a.user.cmp(&b.user));
        Ok(Reply::MovesAsked { asked })
    }

    /// The shards that accounts may go to, and how many accounts each has.
    async fn targets(&self, to: &MoveTarget) -> Result<Targets, Failure> {
        let status = self.require_moves().await?;
        let all = self.shards().await?;
        let counts: BTreeMap<ShardId, u64> = match to {
            MoveTarget::Shard(number) => {
                let one = all.into_iter().filter(|(shard, _)| shard.0 == *number);
                one.collect()
            }
            MoveTarget::Node(name) => {
                let is_it = |node: &str| node.eq_ignore_ascii_case(name);
                if !status.nodes.iter().any(|node| is_it(&node.name)) {
                    let text =
                        format!("there is no node {name:?}; `mailrook node list` shows them");
                    return Err(Failure::Refused(text));
                }
                let led = status.groups.iter().filter(|group| {
                    let leader = group.leader.as_deref();
                    leader.is_some_and(is_it)
                });
                let led: Vec<u32> = led.map(|group| group.shard).collect();
                let of_node = all.into_iter().filter(|(shard, _)| led.contains(&shard.0));
                of_node.collect()
            }
        };
        if counts.is_empty() {
            let text = match to {
                MoveTarget::Shard(number) => format!(
                    "there is no shard {number} that has accounts; `mailrook status` shows the shards"
                ),
                MoveTarget::Node(name) => {
                    format!("{name} leads no shard just now: name a shard, as in `--to shard:3`")
                }
            };
            return Err(Failure::Refused(text));
        }
        Ok(Targets(counts))
    }

    /// Insists that all nodes know what a move is.
    pub(super) async fn require_moves(&self) -> Result<ClusterStatus, Failure> {
        let status = self.cluster_status().await?;
        if status.feature_level < LEVEL_MOVES {
            let now = status.feature_level;
            let text = format!(
                "accounts move from feature level {LEVEL_MOVES} on, and the cluster is at {now}: once every node runs a version that knows it, say `mailrook cluster upgrade`"
            );
            return Err(Failure::Refused(text));
        }
        Ok(status)
    }

    /// The shards that accounts are put on, with how many each has.
    pub(super) async fn shards(&self) -> Result<Vec<(ShardId, u64)>, Failure> {
        match self.directory.query(MetaQuery::Shards).await? {
            MetaAnswer::Shards(shards) => Ok(shards),
            other => Err(misfit(&other)),
        }
    }

    pub(super) async fn would_move(
        &self,
        records: Vec<AccountRecord>,
        to: ShardId,
    ) -> Result<Vec<AskedMove>, Failure> {
        let mut all = Vec::with_capacity(records.len());
        for record in records {
            let usage = self.mailstore.quota(record.id).await?.unwrap_or_default();
            let outcome = match record.shard == to {
                true => AskedOutcome::There,
                false => AskedOutcome::WouldMove,
            };
            all.push(AskedMove {
                user: record.address,
                from: record.shard.0,
                to: to.0,
                outcome,
                id: None,
                messages: usage.messages,
                bytes: usage.storage_bytes,
                why: None,
            });
        }
        Ok(all)
    }

    pub(super) async fn ask_for_moves(
        &self,
        records: Vec<AccountRecord>,
        to: ShardId,
    ) -> Result<Vec<AskedMove>, Failure> {
        let mut all = self.would_move(records.clone(), to).await?;
        let ids = records.iter().map(|record| record.id).collect();
        let ask = MetaCommand::MoveAccounts { accounts: ids, to };
        let moves = match self.directory.command(ask).await? {
            MetaReply::AccountMoves(moves) => moves,
            MetaReply::Refused(refusal) => return Err(refusal.into()),
            other => return Err(misfit(&other)),
        };
        let moves: HashMap<AccountId, AccountMove> =
            moves.into_iter().map(|of| (of.account, of)).collect();
        for (asked, record) in all.iter_mut().zip(&records) {
            let Some(of) = moves.get(&record.id) else {
                asked.outcome = AskedOutcome::There;
                continue;
            };
            asked.id = Some(of.id);
            asked.from = of.from.0;
            asked.outcome = match of.to == to {
                true => AskedOutcome::Asked,
                false => AskedOutcome::MovesElsewhere,
            };
        }
        Ok(all)
    }

    pub(super) async fn moves(&self, pending: bool, after: Option<u64>) -> Outcome {
        self.require_moves().await?;
        let query = MetaQuery::AccountMoves {
            pending,
            after: after.unwrap_or_default(),
            limit: PAGE,
        };
        let moves = match self.directory.query(query).await? {
            MetaAnswer::AccountMoves(moves) => moves,
            other => return Err(misfit(&other)),
        };
        self.moves_reply(moves).await
    }

    /// Those of them that are known.
    pub(super) async fn show_moves(&self, ids: Vec<u64>) -> Outcome {
        self.require_moves().await?;
        let mut left: BTreeSet<u64> = ids.into_iter().collect();
        let mut moves = Vec::with_capacity(left.len());
        // Those that were asked for together have ids beside each other: one look, as a rule.
        while let (Some(first), Some(last)) = (left.first(), left.last()) {
            let limit = u32::try_from((last - first).saturating_add(1)).unwrap_or(PAGE);
            let limit = limit.min(PAGE);
            let query = MetaQuery::AccountMoves {
                pending: false,
                after: first.saturating_sub(1),
                limit,
            };
            let page = match self.directory.query(query).await? {
                MetaAnswer::AccountMoves(page) => page,
                other => return Err(misfit(&other)),
            };
            let seen = match page.last() {
                Some(last) if page.len() >= limit as usize => last.id,
                _ => u64::MAX,
            };
            let wanted = page.into_iter().filter(|of| left.contains(&of.id));
            moves.extend(wanted);
            left.retain(|id| *id > seen);
        }
        self.moves_reply(moves).await
    }

    async fn moves_reply(&self, moves: Vec<AccountMove>) -> Outcome {
        let infos = moves.into_iter().map(|of| self.info_of(of).boxed());
        let infos = stream::iter(infos).buffered(NAMES_AT_ONCE);
        let infos: Vec<MoveInfo> = infos.try_collect().await?;
        Ok(Reply::Moves {
            moves: infos,
            paused: self.setting_number(SETTING_MOVES_PAUSED).await?.is_some(),
            rate_bytes_per_second: self.setting_number(SETTING_MOVE_RATE).await?,
        })
    }

    async fn info_of(&self, of: AccountMove) -> Result<MoveInfo, Failure> {
        let query = MetaQuery::AccountById(of.account);
        match self.directory.query(query).await? {
            MetaAnswer::Account(record) => Ok(move_info(&of, record.map(|record| record.address))),
            other => Err(misfit(&other)),
        }
    }

    async fn setting_number(&self, name: &str) -> Result<Option<u64>, Failure> {
        match self
            .directory
            .query(MetaQuery::Setting(name.to_owned()))
            .await?
        {
            MetaAnswer::Setting(value) => {
                let text = value.and_then(|value| String::from_utf8(value).ok());
                Ok(text.and_then(|text| text.parse().ok()))
            }
            other => Err(misfit(&other)),
        }
    }

    pub(super) async fn pause_moves(&self, ids: Vec<u64>, paused: bool) -> Outcome {
        // Programs of before would stop at such a command.
        self.require_moves().await?;
        if ids.is_empty() {
            let name = SETTING_MOVES_PAUSED.to_owned();
            let value = paused.then(|| b"1".to_vec());
            return self.change(MetaCommand::PutSetting { name, value }).await;
        }
        for id in ids {
            self.change_move(MetaCommand::PauseMove { id, paused })
                .await?;
        }
        Ok(DONE)
    }

    pub(super) async fn cancel_moves(&self, ids: Vec<u64>) -> Outcome {
        self.require_moves().await?;
        for id in ids {
            let cause = "it was cancelled".to_owned();
            self.change_move(MetaCommand::AbandonMove { id, cause })
                .await?;
        }
        Ok(DONE)
    }

    async fn change_move(&self, command: MetaCommand) -> Result<(), Failure> {
        match self.directory.command(command).await? {
            MetaReply::AccountMove(_) => Ok(()),
            MetaReply::Refused(refusal) => Err(refusal.into()),
            other => Err(misfit(&other)),
        }
    }

    pub(super) async fn set_move_rate(&self, bytes_per_second: Option<u64>) -> Outcome {
        self.require_moves().await?;
        let name = SETTING_MOVE_RATE.to_owned();
        let value = bytes_per_second.map(|rate| rate.to_string().into_bytes());
        self.change(MetaCommand::PutSetting { name, value }).await
    }
}

/// Shards that accounts may go to, with how many accounts each has or is to have.
struct Targets(BTreeMap<ShardId, u64>);

impl Targets {
    /// Where one that is on `shard` goes: it stays if it may, else it goes to the emptiest.
    fn for_one(&mut self, shard: ShardId) -> ShardId {
        if self.0.contains_key(&shard) {
            return shard;
        }
        let emptiest = self.0.iter_mut().min_by_key(|(_, count)| **count);
        emptiest.map_or(shard, |(to, count)| {
            *count += 1;
            *to
        })
    }
}

fn move_info(of: &AccountMove, user: Option<Address>) -> MoveInfo {
    let (state, cause) = match &of.state {
        MoveState::Waiting => ("waiting", None),
        MoveState::Copying => ("copying", None),
        MoveState::Moved => ("moved", None),
        MoveState::Abandoned(cause) => ("abandoned", Some(cause)),
        MoveState::Done => ("done", None),
        MoveState::Failed(cause) => ("failed", Some(cause)),
    };
    MoveInfo {
        id: of.id,
        user: user.map_or_else(|| of.account.to_string(), |user| user.to_string()),
        from: of.from.0,
        to: of.to.0,
        state: state.to_owned(),
        cause: cause.cloned(),
        settled: match &of.state {
            MoveState::Moved => of.note.opened,
            decided => decided.is_over(),
        },
        messages: of.note.messages,
        bytes: of.note.bytes,
        pause_ms: of.note.pause_ms,
        paused: of.paused,
        asked: rfc3339(of.asked),
        changed: rfc3339(of.changed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_go_where_the_fewest_are() {
        let shard = ShardId;
        let mut targets = Targets(BTreeMap::from([(shard(1), 3), (shard(2), 1)]));
        let homes = [5, 5, 5, 1, 5].map(|from| targets.for_one(shard(from)).0);
        // The one that is on shard 1 stays.
        assert_eq!(homes, [2, 2, 1, 1, 2]);
    }
}
