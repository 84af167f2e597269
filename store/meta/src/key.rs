//! The layout of the directory's store. All keys live in [`Space::Index`](mailrook_kv::Space::Index).
//!
//! | table | key | value |
//! |---|---|---|
//! | counters | `01` name | number |
//! | domains | `02` domain | `DomainRow` |
//! | addresses | `03` domain `00` local | account id |
//! | accounts | `04` id | `AccountRecord` |
//! | aliases | `05` domain `00` local | `AliasRecord` |
//! | accounts of a domain by age | `06` domain `00` id | nothing |
//! | shards | `07` shard | number of accounts |
//! | grants by nonce | `08` nonce | client id |
//! | grants by id | `09` client id | nonce |
//! | settings | `0a` name | bytes |
//! | referrers | `0b` target's domain `00` local `00` referrer | `Referrer` |
//! | removals | `0c` account | `Removal` |
//! | kept replies | `0d` client lane | `LaneRow` |
//! | lanes by when they may be forgotten | `0e` time client lane | `QueuedLane` |
//! | nodes | `0f` id | `NodeRow` |
//! | members by name | `10` name | node id |
//! | join tokens | `11` hash | `JoinToken` |
//! | placement | `12` shard | `ShardRecord` |
//! | of the whole cluster | `13` what | `ClusterSettings`, `SlotMap`, `SlotMove`, `ClusterCa`, `CaSigner` |
//! | moves of accounts | `14` id | `AccountMove` |
//! | of an account, the last move that was asked for | `15` account | `LastMove` |
//!
//! Local parts stand here in lower case, and only here: records keep the spelling. (Lower case may be longer, beyond
//! what an address may have, so a key is never read back as an address.) Neither domains nor local parts hold a NUL.
//! Numbers are big-endian, so that their order is that of their bytes.

use mailrook_types::{AccountId, Address, ClientId, Domain, NodeId, ShardId};

const COUNTER: u8 = 1;
const DOMAIN: u8 = 2;
const ADDRESS: u8 = 3;
const ACCOUNT: u8 = 4;
const ALIAS: u8 = 5;
const AGE: u8 = 6;
const SHARD: u8 = 7;
const GRANT_NONCE: u8 = 8;
const GRANT_ID: u8 = 9;
const SETTING: u8 = 10;
const REFERRER: u8 = 11;
const REMOVAL: u8 = 12;
const LANE: u8 = 13;
const LANE_EXPIRY: u8 = 14;
const NODE: u8 = 15;
const NODE_NAME: u8 = 16;
const JOIN_TOKEN: u8 = 17;
const PLACEMENT: u8 = 18;
const CLUSTER: u8 = 19;
const ACCOUNT_MOVE: u8 = 20;
const LAST_MOVE: u8 = 21;

/// How the cluster is kept.
pub(crate) const SETTINGS: &str = "settings";
/// Which shard has which slot.
pub(crate) const SLOTS: &str = "slots";
/// The move of slots that is under way.
pub(crate) const SLOT_MOVE: &str = "slot-move";
/// The CA.
pub(crate) const CA: &str = "ca";
/// The CA that will sign next.
pub(crate) const CA_SUCCESSOR: &str = "ca-successor";

/// What numbers the accounts.
pub(crate) const NEXT_ACCOUNT: &str = "account";
/// What numbers the clients.
pub(crate) const NEXT_CLIENT: &str = "client";
/// What numbers the moves of slots.
pub(crate) const NEXT_SLOT_MOVE: &str = "slot-move";
/// What numbers the moves of accounts.
pub(crate) const NEXT_ACCOUNT_MOVE: &str = "account-move";
/// How many moves of accounts are not over.
pub(crate) const MOVES_PENDING: &str = "account-moves-pending";
/// Up to which id it was looked for moves that are old.
pub(crate) const MOVES_LOOKED_AT: &str = "account-moves-looked-at";
/// Counts the changes.
pub(crate) const REVISION: &str = "revision";

fn tagged(tag: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(tag);
    key.extend_from_slice(rest);
    key
}

/// Two addresses that mean one user have one folded form: `domain 00 local`, the local part in lower case.
///
/// Unicode's stability policy keeps the lower case of a character, once it is assigned, the same for ever.
pub(crate) fn folded(address: &Address) -> Vec<u8> {
    let mut key = domain_prefix(&address.domain);
    key.extend_from_slice(address.local.to_lowercase().as_str().as_bytes());
    key
}

fn domain_prefix(domain: &Domain) -> Vec<u8> {
    let mut key = domain.as_str().as_bytes().to_vec();
    key.push(0);
    key
}

pub(crate) fn counter(name: &str) -> Vec<u8> {
    tagged(COUNTER, name.as_bytes())
}

pub(crate) fn domain(domain: &Domain) -> Vec<u8> {
    tagged(DOMAIN, domain.as_str().as_bytes())
}

pub(crate) fn all_domains() -> Vec<u8> {
    vec![DOMAIN]
}

pub(crate) fn address(address: &Address) -> Vec<u8> {
    tagged(ADDRESS, &folded(address))
}

/// Accounts, or aliases, of one domain or of all.
pub(crate) fn addresses_of(domain: Option<&Domain>) -> Vec<u8> {
    tagged(ADDRESS, &domain.map(domain_prefix).unwrap_or_default())
}

pub(crate) fn account(id: AccountId) -> Vec<u8> {
    tagged(ACCOUNT, &id.0.to_be_bytes())
}

pub(crate) fn all_accounts() -> Vec<u8> {
    vec![ACCOUNT]
}

pub(crate) fn alias(address: &Address) -> Vec<u8> {
    tagged(ALIAS, &folded(address))
}

pub(crate) fn aliases_of(domain: Option<&Domain>) -> Vec<u8> {
    tagged(ALIAS, &domain.map(domain_prefix).unwrap_or_default())
}

pub(crate) fn age(domain: &Domain, id: AccountId) -> Vec<u8> {
    let mut key = ages_of(domain);
    key.extend_from_slice(&id.0.to_be_bytes());
    key
}

pub(crate) fn ages_of(domain: &Domain) -> Vec<u8> {
    tagged(AGE, &domain_prefix(domain))
}

pub(crate) fn shard(shard: ShardId) -> Vec<u8> {
    tagged(SHARD, &shard.0.to_be_bytes())
}

pub(crate) fn all_shards() -> Vec<u8> {
    vec![SHARD]
}

pub(crate) fn grant_by_nonce(nonce: &[u8; 16]) -> Vec<u8> {
    tagged(GRANT_NONCE, nonce)
}

pub(crate) fn grant_by_id(id: ClientId) -> Vec<u8> {
    tagged(GRANT_ID, &id.0.to_be_bytes())
}

pub(crate) fn setting(name: &str) -> Vec<u8> {
    tagged(SETTING, name.as_bytes())
}

pub(crate) fn removal(id: AccountId) -> Vec<u8> {
    tagged(REMOVAL, &id.0.to_be_bytes())
}

pub(crate) fn lane(client: ClientId, lane: u64) -> Vec<u8> {
    let mut key = tagged(LANE, &client.0.to_be_bytes());
    key.extend_from_slice(&lane.to_be_bytes());
    key
}

pub(crate) fn lane_expiry(time_ms: i64, client: ClientId, lane: u64) -> Vec<u8> {
    // The sign bit turned round makes negative times sort before positive ones.
    let time = time_ms.cast_unsigned() ^ (1 << 63);
    let mut key = tagged(LANE_EXPIRY, &time.to_be_bytes());
    key.extend_from_slice(&client.0.to_be_bytes());
    key.extend_from_slice(&lane.to_be_bytes());
    key
}

pub(crate) fn all_lane_expiries() -> Vec<u8> {
    vec![LANE_EXPIRY]
}

pub(crate) fn all_removals() -> Vec<u8> {
    vec![REMOVAL]
}

pub(crate) fn node(id: NodeId) -> Vec<u8> {
    tagged(NODE, &id.0.to_be_bytes())
}

pub(crate) fn all_nodes() -> Vec<u8> {
    vec![NODE]
}

/// `name` is in lower case.
pub(crate) fn node_name(name: &str) -> Vec<u8> {
    tagged(NODE_NAME, name.as_bytes())
}

pub(crate) fn join_token(secret_hash: &[u8; 32]) -> Vec<u8> {
    tagged(JOIN_TOKEN, secret_hash)
}

pub(crate) fn all_join_tokens() -> Vec<u8> {
    vec![JOIN_TOKEN]
}

pub(crate) fn placement(shard: ShardId) -> Vec<u8> {
    tagged(PLACEMENT, &shard.0.to_be_bytes())
}

pub(crate) fn all_placements() -> Vec<u8> {
    vec![PLACEMENT]
}

pub(crate) fn cluster(what: &str) -> Vec<u8> {
    tagged(CLUSTER, what.as_bytes())
}

pub(crate) fn account_move(id: u64) -> Vec<u8> {
    tagged(ACCOUNT_MOVE, &id.to_be_bytes())
}

pub(crate) fn all_account_moves() -> Vec<u8> {
    vec![ACCOUNT_MOVE]
}

pub(crate) fn last_move(account: AccountId) -> Vec<u8> {
    tagged(LAST_MOVE, &account.0.to_be_bytes())
}

/// `referrer` is the folded address of an alias, or a domain's prefix for its catch-all.
pub(crate) fn referrer(target: &Address, referrer: &[u8]) -> Vec<u8> {
    let mut key = referrers_of(target);
    key.extend_from_slice(referrer);
    key
}

/// Those that name `target` as it is.
pub(crate) fn referrers_of(target: &Address) -> Vec<u8> {
    let mut key = tagged(REFERRER, &folded(target));
    key.push(0);
    key
}

/// Those that name a subaddress of `target`.
pub(crate) fn referrers_below(target: &Address, separator: char) -> Vec<u8> {
    let mut key = tagged(REFERRER, &folded(target));
    key.extend_from_slice(separator.encode_utf8(&mut [0; 4]).as_bytes());
    key
}

/// What stands for a domain's catch-all among the referrers: no local part is empty.
pub(crate) fn catch_all_referrer(domain: &Domain) -> Vec<u8> {
    domain_prefix(domain)
}
