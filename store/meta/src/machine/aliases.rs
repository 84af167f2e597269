//! Aliases, and what follows for them when an account goes or is renamed.

use std::collections::HashSet;

use mailrook_kv::KvError;
use mailrook_types::{Address, LocalPart};

use super::{Machine, Outcome, Stop, limit};
use crate::{
    AliasRecord, MetaRefusal, MetaReply, key,
    resolve::{Rules, Walk, leads_anywhere, reserved, walk},
    tables::{Referrer, ReferrerKind, SUBADDRESS_SEPARATOR, Tables, delete, put},
};

/// The most targets of an alias: a department's list. Larger ones nest.
pub const ALIAS_TARGETS_MAX: usize = 500;
/// The most aliases in a row.
pub const ALIAS_DEPTH_MAX: usize = 16;
/// The most addresses behind an alias, all levels together: one delivery has to reach them all before its `250`.
pub const EXPANSION_MAX: usize = 1000;
/// The most addresses looked at to check one command, so that none holds up the log (some 100 ms).
const CHECK_WORK_MAX: usize = 50_000;

const ALL: Rules = Rules {
    catch_all: true,
    settings: true,
};

impl Machine<'_, '_> {
    pub(super) fn add_alias(&mut self, address: Address, targets: Vec<Address>) -> Outcome {
        let mut row = self.known_domain(&address.domain)?;
        if self.tables().account_at(&address)?.is_some() {
            return Err(MetaRefusal::AddressTaken(address).into());
        }
        let present = self.tables().alias(&address)?;
        let is_new = present.is_none();
        let mut alias = present.unwrap_or(AliasRecord {
            address,
            targets: Vec::new(),
        });
        let mut known: HashSet<_> = alias.targets.iter().map(key::folded).collect();
        let new: Vec<Address> = targets
            .into_iter()
            .filter(|target| known.insert(key::folded(target)))
            .collect();
        if is_new && new.is_empty() {
            return Err(limit("an alias needs a target".to_owned()));
        }
        if known.len() > ALIAS_TARGETS_MAX {
            return Err(limit(format!(
                "an alias has at most {ALIAS_TARGETS_MAX} targets"
            )));
        }
        self.check_targets(&alias.address, &new)?;

        for target in &new {
            self.link_target(&alias.address, target);
        }
        alias.targets.extend(new);
        put(self.view, key::alias(&alias.address), &alias);
        if is_new {
            row.aliases += 1;
            self.put_domain(&row);
        }
        Ok(MetaReply::Done)
    }

    pub(super) fn remove_alias(&mut self, address: Address, targets: &[Address]) -> Outcome {
        self.known_domain(&address.domain)?;
        let Some(mut alias) = self.tables().alias(&address)? else {
            return Err(if reserved(&address.local).is_some() {
                MetaRefusal::Reserved(address.local).into()
            } else {
                MetaRefusal::NoSuchAlias(address).into()
            });
        };
        let named: HashSet<_> = targets.iter().map(key::folded).collect();
        let goes = |target: &Address| targets.is_empty() || named.contains(&key::folded(target));
        let (gone, kept) = alias.targets.into_iter().partition(goes);
        alias.targets = kept;
        self.keep_alias(&alias, gone)?;
        Ok(MetaReply::Done)
    }

    /// Puts `to` in the place of an account's address, wherever an alias or a catch-all names it or a subaddress of it;
    /// without `to`, takes it out.
    pub(super) fn replace_target(
        &mut self,
        from: &Address,
        to: Option<&Address>,
    ) -> Result<(), Stop> {
        for referrer in self.tables().referrers(from, usize::MAX)? {
            let successor = match to {
                Some(to) => Some(renamed(&referrer.target, from, to)),
                None => None,
            };
            match referrer.from {
                ReferrerKind::Alias(alias) => {
                    self.replace_in_alias(&alias, &referrer.target, successor)?
                }
                ReferrerKind::CatchAll(domain) => {
                    let mut row = self.known_domain(&domain)?;
                    let mark = key::catch_all_referrer(&domain);
                    delete(self.view, key::referrer(&referrer.target, &mark));
                    if let Some(target) = &successor {
                        let from = ReferrerKind::CatchAll(domain);
                        put(
                            self.view,
                            key::referrer(target, &mark),
                            &Referrer {
                                target: target.clone(),
                                from,
                            },
                        );
                    }
                    row.record.catch_all = successor;
                    self.put_domain(&row);
                }
            }
        }
        Ok(())
    }

    fn replace_in_alias(
        &mut self,
        address: &Address,
        from: &Address,
        to: Option<Address>,
    ) -> Result<(), Stop> {
        let Some(mut alias) = self.tables().alias(address)? else {
            return Err(
                KvError::Damaged(format!("{from} is named by an alias that is not there")).into(),
            );
        };
        let old = key::folded(from);
        alias.targets.retain(|target| key::folded(target) != old);
        if let Some(to) = to {
            let new = key::folded(&to);
            if !alias
                .targets
                .iter()
                .any(|target| key::folded(target) == new)
            {
                self.link_target(address, &to);
                alias.targets.push(to.clone());
            }
            // A new spelling alone leaves the link where it is.
            let gone = (new != old).then(|| from.clone());
            return self.keep_alias(&alias, gone.into_iter().collect());
        }
        self.keep_alias(&alias, vec![from.clone()])
    }

    /// Stores an alias whose targets became fewer; one without targets is removed.
    fn keep_alias(&mut self, alias: &AliasRecord, gone: Vec<Address>) -> Result<(), Stop> {
        let referrer = key::folded(&alias.address);
        for target in &gone {
            delete(self.view, key::referrer(target, &referrer));
        }
        if !alias.targets.is_empty() {
            put(self.view, key::alias(&alias.address), alias);
            return Ok(());
        }
        delete(self.view, key::alias(&alias.address));
        let mut row = self.known_domain(&alias.address.domain)?;
        row.aliases -= 1;
        self.put_domain(&row);
        Ok(())
    }

    fn link_target(&mut self, alias: &Address, target: &Address) {
        let referrer = Referrer {
            target: target.clone(),
            from: ReferrerKind::Alias(alias.clone()),
        };
        put(
            self.view,
            key::referrer(target, &key::folded(alias)),
            &referrer,
        );
    }

    /// Refuses targets that lead nowhere, back to `alias`, too deep or to too many.
    fn check_targets(&self, alias: &Address, new: &[Address]) -> Result<(), Stop> {
        let tables = self.tables();
        for target in new {
            if tables.domain(&target.domain)?.is_some()
                && !leads_anywhere(tables, target, ALL)?
                && !leads_to(tables, std::slice::from_ref(target), alias)?
            {
                return Err(MetaRefusal::NoSuchAccount(target.clone()).into());
            }
        }
        let down = walk(tables, new, ALL)?;
        if leads_to(tables, &down.visited, alias)? {
            return Err(MetaRefusal::AliasLoop(alias.clone()).into());
        }
        self.check_sizes(alias, &down)
    }

    /// The bounds must hold for the alias and for all that lead to it.
    fn check_sizes(&self, alias: &Address, down: &Walk) -> Result<(), Stop> {
        let tables = self.tables();
        let too_many = || {
            limit(format!(
                "more than {EXPANSION_MAX} addresses stand behind one alias"
            ))
        };
        let (mut level, mut above) = (vec![alias.clone()], 0);
        let mut seen = HashSet::from([key::folded(alias)]);
        let mut work = 0;
        while !level.is_empty() {
            if above + 1 + down.depth > ALIAS_DEPTH_MAX {
                return Err(limit(format!(
                    "more than {ALIAS_DEPTH_MAX} aliases follow one another"
                )));
            }
            let mut next = Vec::new();
            for address in &level {
                let present = walk(tables, std::slice::from_ref(address), ALL)?
                    .visited
                    .len();
                if present + down.visited.len() > EXPANSION_MAX {
                    return Err(too_many());
                }
                for referrer in tables.referrers(address, CHECK_WORK_MAX)? {
                    work += 1;
                    if let ReferrerKind::Alias(from) = referrer.from
                        && seen.insert(key::folded(&from))
                    {
                        next.push(from);
                    }
                }
                work += present;
                if work > CHECK_WORK_MAX {
                    return Err(limit("too many aliases lead to this one".to_owned()));
                }
            }
            level = next;
            above += 1;
        }
        Ok(())
    }
}

/// Whether mail for one of `visited` would go to an alias `address`, once there is one.
fn leads_to(tables: Tables<'_>, visited: &[Address], address: &Address) -> Result<bool, KvError> {
    let wanted = key::folded(address);
    for other in visited {
        if key::folded(other) == wanted {
            return Ok(true);
        }
        let Some((local, _)) = other.local.split_subaddress(SUBADDRESS_SEPARATOR) else {
            continue;
        };
        let base = Address {
            local,
            domain: other.domain.clone(),
        };
        let own = tables.account_at(other)?.is_some() || tables.alias(other)?.is_some();
        if key::folded(&base) == wanted && !own {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `target`, which is `from` or a subaddress of it, with `to` in its place. A subaddress that would become too long
/// is left out.
fn renamed(target: &Address, from: &Address, to: &Address) -> Address {
    if key::folded(target) == key::folded(from) {
        return to.clone();
    }
    let detail = target
        .local
        .split_subaddress(SUBADDRESS_SEPARATOR)
        .map(|(_, detail)| detail);
    let local = detail
        .map(|detail| {
            LocalPart::try_from(format!(
                "{}{SUBADDRESS_SEPARATOR}{detail}",
                to.local.as_str()
            ))
        })
        .and_then(Result::ok);
    Address {
        local: local.unwrap_or_else(|| to.local.clone()),
        domain: to.domain.clone(),
    }
}
