//! The directory's tables as values: what stands in each, read and written.

mod cluster;

use std::ops::ControlFlow;

use mailrook_kv::{Direction, KvError, Read, Room, Space, View, decode, encode, prefix_end};
use mailrook_types::{AccountId, Address, ClientId, Domain, ShardId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{AccountMove, AccountRecord, AliasRecord, DomainRecord, MetaReply, Removal, key};

/// What separates a user from a mailbox in `user+mailbox@`.
pub(crate) const SUBADDRESS_SEPARATOR: char = '+';

/// A stored value with its version, which postcard writes as the first byte.
#[derive(Serialize, Deserialize)]
enum Stored<T> {
    /// The first, in use since the first release.
    V1(T),
}

/// A domain with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DomainRow {
    pub(crate) record: DomainRecord,
    pub(crate) accounts: u64,
    pub(crate) aliases: u64,
}

pub(crate) use cluster::{JoinToken, NodeRow};

/// What is kept of a lane's operations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaneRow {
    /// Operations below this are refused.
    pub(crate) lowest: u64,
    pub(crate) last_used_ms: i64,
    /// Replies by number, ascending.
    pub(crate) kept: Vec<(u64, MetaReply)>,
}

/// A lane that may be forgotten at a time, unless it was used since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueuedLane {
    pub(crate) at_ms: i64,
    pub(crate) client: ClientId,
    pub(crate) lane: u64,
}

/// The last move that was asked for of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastMove {
    pub(crate) id: u64,
    /// Whether the account ever moved, by this move or an earlier one.
    pub(crate) flipped: bool,
}

/// What names an address as where mail goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Referrer {
    /// As it is spelt there, perhaps with a subaddress.
    pub(crate) target: Address,
    pub(crate) from: ReferrerKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ReferrerKind {
    Alias(Address),
    CatchAll(Domain),
}

/// The tables, for reading.
#[derive(Clone, Copy)]
pub(crate) struct Tables<'a>(pub(crate) &'a dyn Read);

impl Tables<'_> {
    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, KvError> {
        let Some(bytes) = self.0.get(Space::Index, key)? else {
            return Ok(None);
        };
        let Stored::V1(value) = decode(&bytes)?;
        Ok(Some(value))
    }

    /// Values of keys in `start..` that start with `prefix`, at most `limit`.
    fn list<T: DeserializeOwned>(
        &self,
        prefix: &[u8],
        start: &[u8],
        limit: usize,
    ) -> Result<Vec<T>, KvError> {
        self.list_within(prefix, start, limit, Room::unbounded())
    }

    /// The same, and only as many as there is room for.
    fn list_within<T: DeserializeOwned>(
        &self,
        prefix: &[u8],
        start: &[u8],
        limit: usize,
        mut room: Room,
    ) -> Result<Vec<T>, KvError> {
        let mut found = Vec::new();
        let mut broken = None;
        if limit > 0 {
            let start = start.max(prefix);
            let end = prefix_end(prefix);
            self.0.scan(
                Space::Index,
                start,
                &end,
                Direction::Forward,
                &mut |_, value| {
                    if !room.take(value.len()) {
                        return ControlFlow::Break(());
                    }
                    match decode(value) {
                        Ok(Stored::V1(value)) => found.push(value),
                        Err(error) => broken = Some(error),
                    }
                    if broken.is_none() && found.len() < limit {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                },
            )?;
        }
        broken.map_or(Ok(found), |error| Err(error.into()))
    }

    pub(crate) fn counter(&self, name: &str) -> Result<u64, KvError> {
        Ok(self.get(&key::counter(name))?.unwrap_or(0))
    }

    pub(crate) fn domain(&self, domain: &Domain) -> Result<Option<DomainRow>, KvError> {
        self.get(&key::domain(domain))
    }

    pub(crate) fn domains(
        &self,
        after: Option<&Domain>,
        limit: usize,
    ) -> Result<Vec<DomainRow>, KvError> {
        let start = after
            .map(|domain| behind(key::domain(domain)))
            .unwrap_or_default();
        self.list(&key::all_domains(), &start, limit)
    }

    pub(crate) fn account(&self, id: AccountId) -> Result<Option<AccountRecord>, KvError> {
        self.get(&key::account(id))
    }

    /// The account with this very address, in any case.
    pub(crate) fn account_at(&self, address: &Address) -> Result<Option<AccountRecord>, KvError> {
        let Some(id) = self.get(&key::address(address))? else {
            return Ok(None);
        };
        self.known_account(id).map(Some)
    }

    fn known_account(&self, id: AccountId) -> Result<AccountRecord, KvError> {
        self.account(id)?
            .ok_or_else(|| KvError::Damaged(format!("account {id} has an address and no record")))
    }

    /// As many as one answer holds.
    pub(crate) fn accounts(
        &self,
        domain: Option<&Domain>,
        after: Option<&Address>,
        limit: usize,
    ) -> Result<Vec<AccountRecord>, KvError> {
        let start = after
            .map(|address| behind(key::address(address)))
            .unwrap_or_default();
        let ids: Vec<AccountId> = self.list(&key::addresses_of(domain), &start, limit)?;
        let mut room = Room::default();
        let mut accounts = Vec::new();
        for id in ids {
            let account = self.known_account(id)?;
            if !room.take(encode(&account).len()) {
                break;
            }
            accounts.push(account);
        }
        Ok(accounts)
    }

    /// The account of `domain` that was added first, or that of all domains.
    pub(crate) fn oldest_account(
        &self,
        domain: Option<&Domain>,
    ) -> Result<Option<AccountRecord>, KvError> {
        match domain {
            Some(domain) => {
                let ids: Vec<AccountId> = self.list(&key::ages_of(domain), &[], 1)?;
                ids.first().map(|id| self.known_account(*id)).transpose()
            }
            None => Ok(self.list(&key::all_accounts(), &[], 1)?.pop()),
        }
    }

    pub(crate) fn alias(&self, address: &Address) -> Result<Option<AliasRecord>, KvError> {
        self.get(&key::alias(address))
    }

    /// As many as one answer holds.
    pub(crate) fn aliases(
        &self,
        domain: Option<&Domain>,
        after: Option<&Address>,
        limit: usize,
    ) -> Result<Vec<AliasRecord>, KvError> {
        let start = after
            .map(|address| behind(key::alias(address)))
            .unwrap_or_default();
        self.list_within(&key::aliases_of(domain), &start, limit, Room::default())
    }

    /// The shards, ascending, with how many accounts each has.
    pub(crate) fn shards(&self) -> Result<Vec<(ShardId, u64)>, KvError> {
        self.list(&key::all_shards(), &[], usize::MAX)
    }

    pub(crate) fn grant(&self, nonce: &[u8; 16]) -> Result<Option<ClientId>, KvError> {
        self.get(&key::grant_by_nonce(nonce))
    }

    pub(crate) fn grant_nonce(&self, id: ClientId) -> Result<Option<[u8; 16]>, KvError> {
        self.get(&key::grant_by_id(id))
    }

    pub(crate) fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, KvError> {
        self.get(&key::setting(name))
    }

    pub(crate) fn lane(&self, client: ClientId, lane: u64) -> Result<Option<LaneRow>, KvError> {
        self.get(&key::lane(client, lane))
    }

    /// The lanes that may be forgotten first, at most `limit`.
    pub(crate) fn queued_lanes(&self, limit: usize) -> Result<Vec<QueuedLane>, KvError> {
        self.list(&key::all_lane_expiries(), &[], limit)
    }

    /// Removed accounts whose mail is still there, ascending.
    pub(crate) fn removals(
        &self,
        after: Option<AccountId>,
        limit: usize,
    ) -> Result<Vec<Removal>, KvError> {
        let start = after.map(|id| behind(key::removal(id))).unwrap_or_default();
        self.list(&key::all_removals(), &start, limit)
    }

    pub(crate) fn account_move(&self, id: u64) -> Result<Option<AccountMove>, KvError> {
        self.get(&key::account_move(id))
    }

    /// Moves with ids above `after`.
    pub(crate) fn account_moves(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AccountMove>, KvError> {
        let start = behind(key::account_move(after));
        self.list(&key::all_account_moves(), &start, limit)
    }

    /// Those that are not over.
    pub(crate) fn pending_moves(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AccountMove>, KvError> {
        let (mut found, mut after) = (Vec::new(), after);
        // Few moves at a time are under way, and none as a rule.
        while self.counter(key::MOVES_PENDING)? > 0 && found.len() < limit {
            let page = self.account_moves(after, limit)?;
            let Some(last) = page.last() else { break };
            after = last.id;
            found.extend(page.into_iter().filter(|of| !of.state.is_over()));
        }
        found.truncate(limit);
        Ok(found)
    }

    /// The account's last move.
    pub(crate) fn last_move(&self, account: AccountId) -> Result<Option<LastMove>, KvError> {
        self.get(&key::last_move(account))
    }

    /// The account's move, unless it is over.
    pub(crate) fn pending_move(&self, account: AccountId) -> Result<Option<AccountMove>, KvError> {
        let mut next = self.last_move(account)?.map(|last| last.id);
        // One that was cancelled before its turn came leaves the one that it waited for. Each follows one with a lower id.
        while let Some(id) = next {
            match self.account_move(id)? {
                Some(of) if !of.state.is_over() => return Ok(Some(of)),
                over => next = over.and_then(|of| of.follows),
            }
        }
        Ok(None)
    }

    /// What names `target`, or a subaddress of it that is no user of its own; at most `limit`.
    pub(crate) fn referrers(
        &self,
        target: &Address,
        limit: usize,
    ) -> Result<Vec<Referrer>, KvError> {
        let mut found = self.list(&key::referrers_of(target), &[], limit)?;
        let below = key::referrers_below(target, SUBADDRESS_SEPARATOR);
        let candidates: Vec<Referrer> = self.list(&below, &[], limit - found.len())?;
        for referrer in candidates {
            if self.account_at(&referrer.target)?.is_none()
                && self.alias(&referrer.target)?.is_none()
            {
                found.push(referrer);
            }
        }
        Ok(found)
    }
}

/// The key right after `key`.
fn behind(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// Sets the value of a key.
pub(crate) fn put<T: Serialize>(view: &mut View<'_>, key: Vec<u8>, value: &T) {
    view.put(Space::Index, key, encode(&Stored::V1(value)));
}

/// Removes a key.
pub(crate) fn delete(view: &mut View<'_>, key: Vec<u8>) {
    view.delete(Space::Index, key);
}
