//! Policies of domains, kept for as long as they say (RFC 8461 §3.3, §5.1). One that was seen holds, though it cannot be seen
//! now: who can forge the DNS for a while must not be able to switch it off.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::Mutex as AsyncMutex;

use super::{FetchError, FetchPolicy, Mode, Policy, PolicyError, StsRecord};
use crate::{
    DnsName,
    resolve::{Kind, LookupError, Resolve},
    tls::StsStatus,
};

/// Domains whose policies are kept in memory; what is asked for least recently goes first.
pub const DOMAINS_MAX: usize = 10_000;

/// RFC 8461 §3.3: after a failure, five minutes.
pub const FETCH_PAUSE: Duration = Duration::from_secs(300);

/// Why the policy of now is not known. There may be an older one all the same.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StsFault {
    /// The record cannot be asked for.
    #[error("the MTA-STS record cannot be asked for: {0}")]
    Lookup(LookupError),
    /// RFC 8460 §4.3.2.2: `sts-policy-fetch-error`, or `sts-webpki-invalid`.
    #[error("the MTA-STS policy cannot be fetched: {0}")]
    Fetch(FetchError),
    /// RFC 8460 §4.3.2.2: `sts-policy-invalid`.
    #[error("the MTA-STS policy is not valid: {0}")]
    Invalid(PolicyError),
}

/// What is known of a domain's policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StsLookup {
    /// The policy to go by, if there is one.
    pub policy: Option<Arc<Policy>>,
    /// What is to be reported.
    pub fault: Option<StsFault>,
}

struct Kept {
    id: Box<str>,
    policy: Arc<Policy>,
    until: Instant,
}

#[derive(Default)]
struct Entry {
    kept: Option<Kept>,
    failed: Option<(Instant, Box<str>, StsFault)>,
}

struct Slot {
    used: Instant,
    entry: Arc<AsyncMutex<Entry>>,
}

/// Policies by domain.
pub struct StsPolicies {
    resolver: Arc<dyn Resolve>,
    fetcher: Arc<dyn FetchPolicy>,
    domains: Mutex<HashMap<DnsName, Slot>>,
}

/// What a domain's policy says of a host.
pub fn sts_status(policy: Option<&Policy>, host: &DnsName) -> StsStatus {
    match policy {
        Some(policy) if policy.mode == Mode::Enforce => StsStatus::Enforce {
            matches: policy.matches(host),
        },
        Some(policy) if policy.mode == Mode::Testing => StsStatus::Testing {
            matches: policy.matches(host),
        },
        _ => StsStatus::NoPolicy,
    }
}

impl StsPolicies {
    /// None yet.
    pub fn new(resolver: Arc<dyn Resolve>, fetcher: Arc<dyn FetchPolicy>) -> StsPolicies {
        StsPolicies {
            resolver,
            fetcher,
            domains: Mutex::default(),
        }
    }

    /// The domain's policy, fetched if its record names another one than is kept.
    pub async fn policy(&self, domain: &DnsName) -> StsLookup {
        self.policy_at(domain, Instant::now()).await
    }

    async fn policy_at(&self, domain: &DnsName, now: Instant) -> StsLookup {
        let announced = match domain.below("_mta-sts") {
            Ok(name) => match self.resolver.lookup(&name, Kind::Txt).await {
                Ok(answer) => Ok(StsRecord::of(answer.texts())),
                Err(error) if error.is_absent() => Ok(None),
                Err(error) => Err(StsFault::Lookup(error)),
            },
            Err(_) => return StsLookup::default(),
        };
        let id = match &announced {
            Ok(Some(record)) => Some(&*record.id),
            // Most domains have none: they take no place.
            Ok(None) | Err(_) if !self.domains.lock().contains_key(domain) => {
                return StsLookup {
                    policy: None,
                    fault: announced.err(),
                };
            }
            Ok(None) | Err(_) => None,
        };
        let entry = self.entry(domain, now);
        // Who else wants this domain's policy waits for the same fetch.
        let mut entry = entry.lock().await;
        entry.kept.take_if(|kept| kept.until <= now);
        let fault = match id {
            Some(id) => self.refresh(&mut entry, domain, id, now).await,
            None => announced.err(),
        };
        StsLookup {
            policy: entry.kept.as_ref().map(|kept| Arc::clone(&kept.policy)),
            fault,
        }
    }

    async fn refresh(
        &self,
        entry: &mut Entry,
        domain: &DnsName,
        id: &str,
        now: Instant,
    ) -> Option<StsFault> {
        if entry.kept.as_ref().is_some_and(|kept| *kept.id == *id) {
            return None;
        }
        if let Some((when, failed, fault)) = &entry.failed
            && **failed == *id
            && now.saturating_duration_since(*when) < FETCH_PAUSE
        {
            return Some(fault.clone());
        }
        let fetched = self.fetcher.fetch(domain).await.map_err(StsFault::Fetch);
        let policy = fetched.and_then(|body| Policy::parse(&body).map_err(StsFault::Invalid));
        match policy {
            Ok(policy) => {
                entry.failed = None;
                entry.kept = Some(Kept {
                    id: id.into(),
                    until: now + policy.max_age,
                    policy: Arc::new(policy),
                });
                None
            }
            Err(fault) => {
                tracing::info!(%domain, %fault, "no new MTA-STS policy");
                entry.failed = Some((now, id.into(), fault.clone()));
                Some(fault)
            }
        }
    }

    fn entry(&self, domain: &DnsName, now: Instant) -> Arc<AsyncMutex<Entry>> {
        let mut domains = self.domains.lock();
        if !domains.contains_key(domain) && domains.len() >= DOMAINS_MAX {
            // A sixteenth at once, so that the search for the oldest is rare.
            let mut ages: Vec<Instant> = domains.values().map(|slot| slot.used).collect();
            let (_, oldest, _) = ages.select_nth_unstable(DOMAINS_MAX / 16);
            let oldest = *oldest;
            domains.retain(|_, slot| slot.used > oldest);
        }
        let slot = domains.entry(domain.clone()).or_insert_with(|| Slot {
            used: now,
            entry: Arc::default(),
        });
        slot.used = now;
        Arc::clone(&slot.entry)
    }
}

#[cfg(test)]
mod tests;
