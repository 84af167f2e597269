//! From an address to those who get its mail.
//!
//! In order, the first that fits: an account or an alias of this very address; `user` of `user+mailbox`; `postmaster`
//! and `abuse`, which exist in every domain (RFC 5321 §4.5.1, RFC 2142); the domain's catch-all. Who gets the mail of a
//! `postmaster` that is neither account nor alias: the address in the setting [`SETTING_POSTMASTER`], else the domain's
//! oldest account, else the oldest of all. `abuse` has a setting of its own, and is `postmaster` otherwise.
//!
//! Each address is looked at once, so that no circle of aliases and catch-alls can hold a reader; and after
//! [`VISITED_MAX`] of them the answer is that there are too many.

use std::collections::{HashSet, VecDeque};

use mailrook_kv::KvError;
use mailrook_types::{AccountId, Address, LocalPart, MailboxName};

use crate::{
    AccountRecord, Resolution, ResolvedTarget, key,
    tables::{SUBADDRESS_SEPARATOR, Tables},
};

/// The setting that holds the address behind every `postmaster` that is neither account nor alias.
pub const SETTING_POSTMASTER: &str = "postmaster";
/// The same for `abuse`.
pub const SETTING_ABUSE: &str = "abuse";

/// The most addresses behind one address. Writing an alias keeps to a tenth of it
/// ([`EXPANSION_MAX`](crate::EXPANSION_MAX)); the rest is for what catch-alls add later. They can add more than that:
/// who they serve is not known when they are set.
pub(crate) const VISITED_MAX: usize = 10_000;

/// What an address means by itself.
enum Step {
    Account(Box<AccountRecord>, Option<MailboxName>),
    Forward(Vec<Address>, Option<MailboxName>),
    Elsewhere,
    Unknown,
}

/// Which of the fallbacks count.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) catch_all: bool,
    pub(crate) settings: bool,
}

/// All that an address leads to.
#[derive(Default)]
pub(crate) struct Walk {
    pub(crate) accounts: Vec<ResolvedTarget>,
    pub(crate) elsewhere: Vec<Address>,
    /// Every address on the way, as it was spelt.
    pub(crate) visited: Vec<Address>,
    /// How many aliases stand in a row at most.
    pub(crate) depth: usize,
}

/// Why a walk did not come to its end.
#[derive(Debug)]
pub(crate) enum WalkError {
    /// Over [`VISITED_MAX`] addresses. What was written allows this, so it is an answer and no damage.
    TooMany,
    /// The engine failed.
    Failed(KvError),
}

impl From<KvError> for WalkError {
    fn from(error: KvError) -> WalkError {
        WalkError::Failed(error)
    }
}

/// Who gets mail for `address`.
pub(crate) fn resolve(tables: Tables<'_>, address: &Address) -> Result<Resolution, KvError> {
    match find(tables, address) {
        Ok(resolution) => Ok(resolution),
        Err(WalkError::TooMany) => Ok(Resolution::TooMany),
        Err(WalkError::Failed(error)) => Err(error),
    }
}

fn find(tables: Tables<'_>, address: &Address) -> Result<Resolution, WalkError> {
    if tables.domain(&address.domain)?.is_none() {
        return Ok(Resolution::NotLocal);
    }
    let all = Rules {
        catch_all: true,
        settings: true,
    };
    let mut found = walk(tables, std::slice::from_ref(address), all)?;
    if found.is_empty() && reserved(&address.local).is_some() {
        // The account that a setting names may be gone.
        found = walk(
            tables,
            std::slice::from_ref(address),
            Rules {
                settings: false,
                ..all
            },
        )?;
    }
    if found.is_empty() {
        return Ok(Resolution::NoSuchUser);
    }
    Ok(Resolution::Local {
        accounts: found.accounts,
        elsewhere: found.elsewhere,
    })
}

impl Walk {
    pub(crate) fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.elsewhere.is_empty()
    }

    /// Whether nobody but this account is reached.
    pub(crate) fn is_only(&self, id: AccountId) -> bool {
        self.elsewhere.is_empty()
            && matches!(self.accounts.as_slice(), [only] if only.account == id)
    }
}

/// Follows `from` to all ends.
pub(crate) fn walk(tables: Tables<'_>, from: &[Address], rules: Rules) -> Result<Walk, WalkError> {
    walk_until(tables, from, rules, |_| false)
}

/// Whether `from` leads to anybody, which is known at the first one.
pub(crate) fn leads_anywhere(
    tables: Tables<'_>,
    from: &Address,
    rules: Rules,
) -> Result<bool, WalkError> {
    let someone = |found: &Walk| !found.is_empty();
    let found = walk_until(tables, std::slice::from_ref(from), rules, someone)?;
    Ok(!found.is_empty())
}

/// Follows `from` until all ends are reached, or enough is found.
fn walk_until(
    tables: Tables<'_>,
    from: &[Address],
    rules: Rules,
    enough: impl Fn(&Walk) -> bool,
) -> Result<Walk, WalkError> {
    let mut found = Walk::default();
    let mut seen: HashSet<Vec<u8>> = HashSet::new();
    let mut accounts = HashSet::new();
    let mut waiting: VecDeque<_> = from
        .iter()
        .filter(|address| seen.insert(key::folded(address)))
        .map(|address| (address.clone(), None, 0))
        .collect();
    while let Some((address, detail, depth)) = waiting.pop_front() {
        if enough(&found) {
            break;
        }
        if seen.len() > VISITED_MAX {
            return Err(WalkError::TooMany);
        }
        found.visited.push(address.clone());
        match step(tables, &address, rules)? {
            Step::Account(record, own_detail) => {
                if accounts.insert(record.id) {
                    found.accounts.push(ResolvedTarget {
                        account: record.id,
                        shard: record.shard,
                        address: record.address,
                        mailbox: own_detail.or(detail),
                    });
                }
            }
            Step::Forward(targets, own_detail) => {
                found.depth = found.depth.max(depth + 1);
                let detail = own_detail.or(detail);
                waiting.extend(
                    targets
                        .into_iter()
                        .filter(|target| seen.insert(key::folded(target)))
                        .map(|target| (target, detail.clone(), depth + 1)),
                );
            }
            Step::Elsewhere => found.elsewhere.push(address),
            Step::Unknown => {}
        }
    }
    Ok(found)
}

fn step(tables: Tables<'_>, address: &Address, rules: Rules) -> Result<Step, KvError> {
    let Some(domain) = tables.domain(&address.domain)? else {
        return Ok(Step::Elsewhere);
    };
    if let Some(step) = exact(tables, address, None)? {
        return Ok(step);
    }
    let mut user = address.clone();
    if let Some((local, detail)) = address.local.split_subaddress(SUBADDRESS_SEPARATOR) {
        // What is no name of a mailbox asks for INBOX.
        let mailbox = MailboxName::parse(detail).ok();
        user.local = local;
        if let Some(step) = exact(tables, &user, mailbox)? {
            return Ok(step);
        }
    }
    if let Some(setting) = reserved(&user.local) {
        return reserved_step(tables, &user, setting, rules);
    }
    Ok(match domain.record.catch_all {
        Some(target) if rules.catch_all => Step::Forward(vec![target], None),
        _ => Step::Unknown,
    })
}

fn exact(
    tables: Tables<'_>,
    address: &Address,
    mailbox: Option<MailboxName>,
) -> Result<Option<Step>, KvError> {
    if let Some(record) = tables.account_at(address)? {
        return Ok(Some(Step::Account(Box::new(record), mailbox)));
    }
    let alias = tables.alias(address)?;
    Ok(alias.map(|alias| Step::Forward(alias.targets, mailbox)))
}

/// The setting behind a local part that exists in every domain.
pub(crate) fn reserved(local: &LocalPart) -> Option<&'static str> {
    let local = local.as_str();
    [SETTING_POSTMASTER, SETTING_ABUSE]
        .into_iter()
        .find(|name| local.eq_ignore_ascii_case(name))
}

fn reserved_step(
    tables: Tables<'_>,
    address: &Address,
    setting: &str,
    rules: Rules,
) -> Result<Step, KvError> {
    if rules.settings
        && let Some(target) = tables
            .setting(setting)?
            .and_then(|value| setting_address(&value))
        && key::folded(&target) != key::folded(address)
    {
        return Ok(Step::Forward(vec![target], None));
    }
    if setting == SETTING_ABUSE {
        let local =
            LocalPart::parse(SETTING_POSTMASTER).map_err(|e| KvError::Engine(e.to_string()))?;
        return Ok(Step::Forward(
            vec![Address {
                local,
                domain: address.domain.clone(),
            }],
            None,
        ));
    }
    let oldest = match tables.oldest_account(Some(&address.domain))? {
        Some(record) => Some(record),
        None => tables.oldest_account(None)?,
    };
    Ok(oldest.map_or(Step::Unknown, |record| {
        Step::Account(Box::new(record), None)
    }))
}

/// The address in a setting.
pub(crate) fn setting_address(value: &[u8]) -> Option<Address> {
    Address::parse(std::str::from_utf8(value).ok()?).ok()
}
