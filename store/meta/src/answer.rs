//! Reads: what is asked of a snapshot of the directory.

use std::collections::HashSet;

use mailrook_kv::{KvError, Read};
use mailrook_types::{Address, Timestamp};

use crate::{
    AccountRecord, LoginAccount, MetaAnswer, MetaQuery, NodeRecord, key,
    resolve::{Rules, WalkError, resolve, walk},
    tables::{NodeRow, ReferrerKind, Tables},
};

/// The most records in one answer: about 1 MB with a few passwords each, and fewer where they are long. Who wants more asks
/// for those after the last.
pub const LIST_MAX: u32 = 1000;

/// The most addresses that a login may send from, and the most aliases that are looked at to find them.
pub const SENDERS_MAX: usize = 200;

/// Answers `query` from `view`, as of the log's time `now_ms`.
pub fn answer(view: &dyn Read, now_ms: i64, query: &MetaQuery) -> Result<MetaAnswer, KvError> {
    let tables = Tables(view);
    Ok(match query {
        MetaQuery::Resolve(address) => MetaAnswer::Resolution(resolve(tables, address)?),
        MetaQuery::Login(name) => MetaAnswer::Login(login(tables, name)?),
        MetaQuery::Account(address) => {
            MetaAnswer::Account(tables.account_at(address)?.map(Box::new))
        }
        MetaQuery::AccountById(id) => MetaAnswer::Account(tables.account(*id)?.map(Box::new)),
        MetaQuery::Domains { after, limit } => {
            let rows = tables.domains(after.as_ref(), bounded(*limit))?;
            MetaAnswer::Domains(rows.into_iter().map(|row| row.record).collect())
        }
        MetaQuery::Accounts {
            domain,
            after,
            limit,
        } => MetaAnswer::Accounts(tables.accounts(
            domain.as_ref(),
            after.as_ref(),
            bounded(*limit),
        )?),
        MetaQuery::Aliases {
            domain,
            after,
            limit,
        } => {
            MetaAnswer::Aliases(tables.aliases(domain.as_ref(), after.as_ref(), bounded(*limit))?)
        }
        MetaQuery::Shards => MetaAnswer::Shards(tables.shards()?),
        MetaQuery::Setting(name) => MetaAnswer::Setting(tables.setting(name)?),
        MetaQuery::Removals { after, limit } => {
            MetaAnswer::Removals(tables.removals(*after, bounded(*limit))?)
        }
        MetaQuery::Nodes { after, limit } => {
            let rows = tables.nodes(*after, bounded(*limit))?;
            MetaAnswer::Nodes(rows.into_iter().map(|row| row.record).collect())
        }
        MetaQuery::Node(name) => MetaAnswer::Node(boxed(tables.node_called(name)?)),
        MetaQuery::NodeById(id) => MetaAnswer::Node(boxed(tables.node(*id)?)),
        MetaQuery::Placement { shard: None } => MetaAnswer::Placement(tables.placement()?),
        MetaQuery::Placement { shard: Some(shard) } => {
            MetaAnswer::Placement(tables.shard_record(*shard)?.into_iter().collect())
        }
        MetaQuery::ClusterSettings => MetaAnswer::ClusterSettings(tables.cluster_settings()?),
        MetaQuery::SlotMap => MetaAnswer::SlotMap(tables.slot_map()?.map(Box::new)),
        MetaQuery::SlotMove => MetaAnswer::SlotMove(tables.slot_move()?.map(Box::new)),
        MetaQuery::ClusterCa => MetaAnswer::ClusterCa(tables.cluster_ca()?.map(Box::new)),
        MetaQuery::ClusterTrust => MetaAnswer::ClusterTrust(tables.cluster_trust()?.map(Box::new)),
        MetaQuery::JoinTokens => {
            let tokens = tables.join_tokens()?.into_iter();
            let unused = tokens.filter(|token| !token.used);
            let mut expiries: Vec<_> = unused.map(|token| token.expires).collect();
            expiries.sort();
            MetaAnswer::JoinTokens(expiries)
        }
        MetaQuery::LetsIn { secret_hash, node } => {
            let token = tables.join_token(secret_hash)?;
            let is_good = token.is_some_and(|token| token.is_good(Timestamp(now_ms)));
            let row = tables.node(*node)?;
            let has = row.is_some_and(|row| row.joined_with == Some(*secret_hash));
            MetaAnswer::LetsIn(is_good || has)
        }
        MetaQuery::AccountMoves {
            pending: false,
            after,
            limit,
        } => MetaAnswer::AccountMoves(tables.account_moves(*after, bounded(*limit))?),
        MetaQuery::AccountMoves {
            pending: true,
            after,
            limit,
        } => MetaAnswer::AccountMoves(tables.pending_moves(*after, bounded(*limit))?),
        MetaQuery::MoveOf(account) => {
            let known = tables.last_move(*account)?;
            let last = known.map(|last| tables.account_move(last.id)).transpose()?;
            MetaAnswer::MoveOf {
                moved: known.is_some_and(|last| last.flipped),
                last: last.flatten().map(Box::new),
            }
        }
    })
}

fn boxed(row: Option<NodeRow>) -> Option<Box<NodeRecord>> {
    row.map(|row| Box::new(row.record))
}

fn bounded(limit: u32) -> usize {
    limit.min(LIST_MAX) as usize
}

fn login(tables: Tables<'_>, name: &str) -> Result<Option<Box<LoginAccount>>, KvError> {
    let Ok(address) = Address::parse(name) else {
        return Ok(None);
    };
    let Some(record) = tables.account_at(&address)? else {
        return Ok(None);
    };
    let senders = senders(tables, &record)?;
    Ok(Some(Box::new(LoginAccount { record, senders })))
}

/// The account's address, and the aliases whose mail it alone gets.
fn senders(tables: Tables<'_>, record: &AccountRecord) -> Result<Vec<Address>, KvError> {
    let mut senders = vec![record.address.clone()];
    let mut seen = HashSet::from([key::folded(&record.address)]);
    let mut next = 0;
    while let Some(target) = senders.get(next).cloned() {
        next += 1;
        for referrer in tables.referrers(&target, SENDERS_MAX)? {
            let ReferrerKind::Alias(alias) = referrer.from else {
                continue;
            };
            if seen.len() >= SENDERS_MAX || !seen.insert(key::folded(&alias)) {
                continue;
            }
            let rules = Rules {
                catch_all: true,
                settings: true,
            };
            match walk(tables, std::slice::from_ref(&alias), rules) {
                Ok(found) if found.is_only(record.id) => senders.push(alias),
                // Whoever else is among too many to count: not this account alone.
                Ok(_) | Err(WalkError::TooMany) => {}
                Err(WalkError::Failed(error)) => return Err(error),
            }
        }
    }
    Ok(senders)
}
