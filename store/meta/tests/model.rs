//! Random commands against a simple model: what the directory answers is what a few maps would.

#![allow(clippy::unwrap_used, reason = "tests may")]

use std::collections::{BTreeMap, BTreeSet};

use mailrook_kv::{MemoryStore, Overlay, Read, StateMachine, Store};
use mailrook_meta::{
    Meta, MetaAnswer, MetaCommand, MetaOperation, MetaQuery, MetaReply, NewAccount, Resolution,
    answer,
};
use mailrook_types::{Address, ClientId, Domain, OpId, ShardId};
use proptest::prelude::*;

const DOMAINS: [&str; 3] = ["a.test", "b.test", "elsewhere.test"];
const LOCALS: [&str; 7] = ["u1", "u2", "u3", "u1+x", "u2+u3", "postmaster", "abuse"];

/// Domains, accounts and aliases, by address in lower case.
#[derive(Default)]
struct Model {
    domains: BTreeMap<String, Option<String>>,
    accounts: BTreeMap<String, u64>,
    aliases: BTreeMap<String, BTreeSet<String>>,
}

fn split(address: &str) -> (&str, &str) {
    address.split_once('@').unwrap()
}

impl Model {
    fn base(&self, address: &str) -> Option<String> {
        let (local, domain) = split(address);
        let exact = self.accounts.contains_key(address) || self.aliases.contains_key(address);
        local
            .split_once('+')
            .filter(|_| !exact)
            .map(|(user, _)| format!("{user}@{domain}"))
    }

    fn follow(&self, address: &str, seen: &mut BTreeSet<String>, found: &mut BTreeSet<String>) {
        if !seen.insert(address.to_owned()) {
            return;
        }
        let (_, domain) = split(address);
        let Some(catch_all) = self.domains.get(domain) else {
            found.insert(address.to_owned());
            return;
        };
        let user = self.base(address).unwrap_or_else(|| address.to_owned());
        for name in [address, &user] {
            if let Some(id) = self.accounts.get(name) {
                found.insert(format!("#{id}"));
                return;
            }
            if let Some(targets) = self.aliases.get(name) {
                targets
                    .iter()
                    .for_each(|target| self.follow(target, seen, found));
                return;
            }
        }
        match (split(&user).0, catch_all) {
            ("abuse", _) => self.follow(&format!("postmaster@{domain}"), seen, found),
            ("postmaster", _) => {
                let own = self
                    .accounts
                    .iter()
                    .filter(|(a, _)| split(a).1 == domain)
                    .map(|(_, id)| id)
                    .min();
                let oldest = own.or(self.accounts.values().min());
                found.extend(oldest.map(|id| format!("#{id}")));
            }
            (_, Some(target)) => self.follow(target, seen, found),
            _ => {}
        }
    }

    fn resolve(&self, address: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.follow(address, &mut BTreeSet::new(), &mut found);
        found
    }

    /// Replaces an account's address in aliases and catch-alls, or takes it out.
    fn replace(&mut self, from: &str, to: Option<&str>) {
        let successor = |model: &Model, target: &str| {
            if target == from {
                return Some(to.map(str::to_owned));
            }
            (model.base(target).as_deref() == Some(from)).then(|| {
                let detail = split(target).0.split_once('+').unwrap().1;
                to.map(|to| format!("{}+{detail}@{}", split(to).0, split(to).1))
            })
        };
        let mut aliases = self.aliases.clone();
        for targets in aliases.values_mut() {
            let replaced = targets
                .iter()
                .filter_map(|target| match successor(self, target) {
                    Some(successor) => successor,
                    None => Some(target.clone()),
                });
            *targets = replaced.collect();
        }
        aliases.retain(|_, targets| !targets.is_empty());
        let mut domains = self.domains.clone();
        for catch_all in domains.values_mut() {
            if let Some(successor) = catch_all
                .as_deref()
                .and_then(|target| successor(self, target))
            {
                *catch_all = successor;
            }
        }
        (self.aliases, self.domains) = (aliases, domains);
    }

    /// Does what the directory said it did.
    fn carry_out(&mut self, command: &MetaCommand, reply: &MetaReply) {
        let text = |address: &Address| address.to_lowercase().to_string();
        match (command, reply) {
            (_, MetaReply::Refused(_)) => {}
            (MetaCommand::AddDomain(domain), _) => {
                self.domains.entry(domain.to_string()).or_default();
            }
            (MetaCommand::RemoveDomain(domain), _) => {
                self.domains.remove(domain.as_str());
            }
            (MetaCommand::SetCatchAll { domain, target }, _) => {
                self.domains
                    .insert(domain.to_string(), target.as_ref().map(text));
            }
            (MetaCommand::AddAccount(new), MetaReply::Account(record)) => {
                self.accounts.insert(text(&new.address), record.id.0);
            }
            (MetaCommand::RemoveAccount(address), _) => {
                self.replace(&text(address), None);
                self.accounts.remove(&text(address));
            }
            (MetaCommand::RenameAccount { from, to }, _) => {
                self.replace(&text(from), Some(&text(to)));
                let id = self.accounts.remove(&text(from)).unwrap();
                self.accounts.insert(text(to), id);
            }
            (MetaCommand::AddAlias { address, targets }, _) => {
                self.aliases
                    .entry(text(address))
                    .or_default()
                    .extend(targets.iter().map(text));
            }
            (MetaCommand::RemoveAlias { address, targets }, _) => {
                let left = self.aliases.get_mut(&text(address)).unwrap();
                left.retain(|target| {
                    !targets.is_empty() && !targets.iter().any(|gone| text(gone) == *target)
                });
                self.aliases.retain(|_, targets| !targets.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
}

fn any_domain() -> impl Strategy<Value = Domain> {
    (0usize..2).prop_map(|n| Domain::parse(DOMAINS[n]).unwrap())
}

fn any_address() -> impl Strategy<Value = Address> {
    (0..LOCALS.len(), 0..DOMAINS.len(), any::<bool>()).prop_map(|(local, domain, loud)| {
        let local = if loud {
            LOCALS[local].to_uppercase()
        } else {
            LOCALS[local].to_owned()
        };
        Address::parse(&format!("{local}@{}", DOMAINS[domain])).unwrap()
    })
}

fn any_command() -> impl Strategy<Value = MetaCommand> {
    let addresses = || prop::collection::vec(any_address(), 0..3);
    prop_oneof![
        2 => any_domain().prop_map(MetaCommand::AddDomain),
        1 => any_domain().prop_map(MetaCommand::RemoveDomain),
        2 => (any_domain(), prop::option::of(any_address()))
            .prop_map(|(domain, target)| MetaCommand::SetCatchAll { domain, target }),
        6 => any_address().prop_map(|address| MetaCommand::AddAccount(NewAccount {
            address, credential: None, quota_storage_bytes: None, quota_messages: None,
        })),
        2 => any_address().prop_map(MetaCommand::RemoveAccount),
        2 => (any_address(), any_address()).prop_map(|(from, to)| MetaCommand::RenameAccount { from, to }),
        6 => (any_address(), addresses()).prop_map(|(address, targets)| MetaCommand::AddAlias { address, targets }),
        2 => (any_address(), addresses()).prop_map(|(address, targets)| MetaCommand::RemoveAlias { address, targets }),
    ]
}

fn apply(store: &MemoryStore, command: &MetaCommand) -> MetaReply {
    let (reply, changed) = apply_entry(store, &command.encode());
    assert!(
        !changed || !matches!(reply, MetaReply::Refused(_)),
        "{command:?} was refused and wrote"
    );
    reply
}

/// The reply, and whether anything was written.
fn apply_entry(store: &MemoryStore, entry: &[u8]) -> (MetaReply, bool) {
    let base = store.snapshot();
    let base: &dyn Read = &base;
    let mut view = Overlay::new(base);
    let applied = Meta.apply(&mut view, 5, entry).unwrap();
    let reply = MetaReply::decode(&applied.reply).unwrap();
    let batch = view.into_batch();
    let changed = !batch.is_empty();
    store.write(batch).unwrap();
    (reply, changed)
}

/// The nth operation of one lane, none of which was seen answered.
fn operation(n: u64, command: &MetaCommand) -> Vec<u8> {
    let op = OpId {
        client: ClientId(1),
        lane: 1,
        n,
        lowest_unanswered: 1,
    };
    let command = command.clone();
    MetaOperation { op, command }.encode()
}

fn resolved(store: &MemoryStore, text: &str) -> Option<BTreeSet<String>> {
    let address = Address::parse(text).unwrap();
    match answer(&store.snapshot(), 0, &MetaQuery::Resolve(address)).unwrap() {
        MetaAnswer::Resolution(Resolution::Local {
            accounts,
            elsewhere,
        }) => {
            let accounts = accounts
                .iter()
                .map(|target| format!("#{}", target.account.0));
            Some(
                accounts
                    .chain(elsewhere.iter().map(|a| a.to_lowercase().to_string()))
                    .collect(),
            )
        }
        MetaAnswer::Resolution(Resolution::NoSuchUser) => Some(BTreeSet::new()),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_a_few_maps(commands in prop::collection::vec(any_command(), 1..40)) {
        let store = MemoryStore::new();
        apply(&store, &MetaCommand::SetShards(vec![ShardId(1), ShardId(2)]));
        let mut model = Model::default();
        let mut highest_id = 0;
        for command in &commands {
            let reply = apply(&store, command);
            if let (MetaCommand::AddAccount(new), MetaReply::Account(record)) = (command, &reply) {
                let known = model.accounts.get(&new.address.to_lowercase().to_string());
                prop_assert!(known == Some(&record.id.0) || record.id.0 > highest_id, "an id came back");
                highest_id = highest_id.max(record.id.0);
            }
            model.carry_out(command, &reply);
            // Sent again, what adds or sets is answered in the same way.
            let adds = matches!(command, MetaCommand::AddDomain(_) | MetaCommand::AddAccount(_)
                | MetaCommand::SetCatchAll { .. } | MetaCommand::AddAlias { .. });
            if adds {
                prop_assert_eq!(&apply(&store, command), &reply, "{:?} again", command);
            }
            for domain in DOMAINS {
                for local in LOCALS {
                    let address = format!("{local}@{domain}");
                    let expected = model.domains.contains_key(domain).then(|| model.resolve(&address));
                    prop_assert_eq!(resolved(&store, &address), expected, "{} after {:?}", address, command);
                }
            }
            let MetaAnswer::Shards(shards) = answer(&store.snapshot(), 0, &MetaQuery::Shards).unwrap() else { panic!() };
            prop_assert_eq!(shards.iter().map(|(_, n)| n).sum::<u64>(), model.accounts.len() as u64);
        }
        // The counts of the domains agree: with nothing left in them they can be removed, and nothing remains.
        let accounts: Vec<String> = model.accounts.keys().cloned().collect();
        for account in accounts {
            apply(&store, &MetaCommand::RemoveAccount(Address::parse(&account).unwrap()));
        }
        let snapshot = store.snapshot();
        let all = MetaQuery::Aliases { domain: None, after: None, limit: 100 };
        let MetaAnswer::Aliases(aliases) = answer(&snapshot, 0, &all).unwrap() else { panic!() };
        for alias in aliases {
            apply(&store, &MetaCommand::RemoveAlias { address: alias.address, targets: Vec::new() });
        }
        for domain in model.domains.keys() {
            let reply = apply(&store, &MetaCommand::RemoveDomain(Domain::parse(domain).unwrap()));
            prop_assert_eq!(reply, MetaReply::Done);
        }
        let all = MetaQuery::Removals { after: None, limit: 100 };
        let MetaAnswer::Removals(removals) = answer(&store.snapshot(), 0, &all).unwrap() else { panic!() };
        let ids: BTreeSet<u64> = removals.iter().map(|removal| removal.account.0).collect();
        prop_assert_eq!(ids, (1..=highest_id).collect::<BTreeSet<u64>>(), "all are gone, and their mail is not");
        for removal in removals {
            apply(&store, &MetaCommand::EndRemoval(removal.account));
        }
        // Counters, shards and the slot map are all that is left.
        let snapshot = store.snapshot();
        let left: Vec<_> = snapshot.pairs().filter(|(_, key, _)| !matches!(key[0], 1 | 7 | 19)).collect();
        prop_assert!(left.is_empty(), "{left:?}");
    }

    /// Whatever happens between, an operation sent again answers as before and changes nothing.
    #[test]
    fn an_operation_is_carried_out_once(
        commands in prop::collection::vec((any_command(), any::<prop::sample::Index>()), 1..40),
    ) {
        let (once, repeated) = (MemoryStore::new(), MemoryStore::new());
        for store in [&once, &repeated] {
            apply(store, &MetaCommand::SetShards(vec![ShardId(1), ShardId(2)]));
        }
        let mut told = Vec::new();
        for (n, (command, again)) in (1..).zip(&commands) {
            let (reply, _) = apply_entry(&once, &operation(n, command));
            prop_assert_eq!(&apply_entry(&repeated, &operation(n, command)).0, &reply);
            told.push((operation(n, command), reply));
            let (entry, reply) = again.get(&told);
            prop_assert_eq!(apply_entry(&repeated, entry), (reply.clone(), false), "{:?}", command);
        }
        prop_assert!(once.snapshot().pairs().eq(repeated.snapshot().pairs()));
    }

    #[test]
    fn garbage_is_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let store = MemoryStore::new();
        let base = store.snapshot();
        let base: &dyn Read = &base;
        let mut view = Overlay::new(base);
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first &= 1;
        }
        let _ = Meta.apply(&mut view, 5, &bytes);
    }
}
