//! Keeps answers for as long as they hold, within a bound of bytes. That something does not exist is kept, too (RFC 2308),
//! and for a moment that it could not be asked (RFC 9520), so that a queue does not ask a dead server for every message.

use std::time::{Duration, Instant};

use moka::{Expiry, sync::Cache};

use super::{Data, Kind, Lookup, LookupError};
use crate::DnsName;

/// RFC 2308 §5 finds one to three hours sensible for what does not exist.
pub const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(3_600);

/// For what does not exist without saying for how long (no SOA): not kept longer than a burst lasts (RFC 2308 §5).
pub const NEGATIVE_TTL_MIN: Duration = Duration::from_secs(1);

/// For an answer: a day, after which a mistake in a zone is forgotten.
pub const POSITIVE_TTL_MAX: Duration = Duration::from_secs(86_400);

/// That nothing could be asked, or the answer was bogus (RFC 9520 §3.2: at least 1 second, at most 5 minutes).
pub const FAILURE_TTL: Duration = Duration::from_secs(5);

/// What an entry counts for at least: key, node and bookkeeping. The bound of bytes is thereby one of entries.
pub const ENTRY_BYTES_MIN: u32 = 512;

/// One record's share beyond its own data.
const RECORD_BYTES: usize = size_of::<Data>();

type Key = (DnsName, Kind);

#[derive(Clone)]
struct Entry {
    lookup: Lookup,
    holds: Duration,
}

/// Answers by name and kind.
pub(super) struct AnswerCache {
    entries: Cache<Key, Entry>,
}

struct AsItHolds;

impl Expiry<Key, Entry> for AsItHolds {
    fn expire_after_create(&self, _: &Key, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.holds)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        entry: &Entry,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.holds)
    }
}

impl AnswerCache {
    pub(super) fn new(bytes_max: u64) -> AnswerCache {
        let entries = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(weight)
            .expire_after(AsItHolds)
            .build();
        AnswerCache { entries }
    }

    pub(super) fn get(&self, name: &DnsName, kind: Kind) -> Option<Lookup> {
        let entry = self.entries.get(&(name.clone(), kind))?;
        Some(entry.lookup)
    }

    /// Keeps it for as long as it holds; `negative` is what the zone says for what does not exist.
    pub(super) fn put(
        &self,
        name: &DnsName,
        kind: Kind,
        lookup: &Lookup,
        negative: Option<Duration>,
    ) {
        let holds = match lookup {
            Ok(answer) => answer.ttl.min(POSITIVE_TTL_MAX),
            Err(error) if error.is_absent() => negative
                .unwrap_or_default()
                .clamp(NEGATIVE_TTL_MIN, NEGATIVE_TTL_MAX),
            Err(_) => FAILURE_TTL,
        };
        if !holds.is_zero() {
            let lookup = lookup.clone();
            self.entries
                .insert((name.clone(), kind), Entry { lookup, holds });
        }
    }

    #[cfg(test)]
    fn settle(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.entry_count(), self.entries.weighted_size())
    }
}

fn weight((name, _): &Key, entry: &Entry) -> u32 {
    let data = match &entry.lookup {
        Ok(answer) => answer.records.iter().map(record_bytes).sum(),
        Err(LookupError::Unavailable(why)) => why.len(),
        Err(_) => 0,
    };
    let bytes = u32::try_from(name.as_str().len() + data).unwrap_or(u32::MAX);
    bytes.saturating_add(ENTRY_BYTES_MIN)
}

fn record_bytes(data: &Data) -> usize {
    let own = match data {
        Data::A(_) | Data::Aaaa(_) => 0,
        Data::Mx(mx) => mx.exchange.as_str().len(),
        Data::Txt(text) => text.len(),
        Data::Tlsa(record) => record.data.len(),
        Data::Ptr(name) | Data::Cname(name) => name.as_str().len(),
    };
    RECORD_BYTES + own
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{
        super::{Answer, Security},
        *,
    };

    #[test]
    fn what_is_kept_is_bounded_by_bytes_and_so_by_entries() {
        let cache = AnswerCache::new(64 << 10);
        for i in 0..500 {
            let name = DnsName::parse(&format!("n{i}.test")).unwrap();
            let answer = Answer {
                records: vec![Data::Txt(vec![b'x'; 1_000].into())],
                canonical: name.clone(),
                security: Security::Insecure,
                ttl: Duration::from_secs(60),
            };
            cache.put(&name, Kind::Txt, &Ok(Arc::new(answer)), None);
        }
        let (entries, bytes) = cache.settle();
        assert!((1..=(64 << 10) / 1_500).contains(&entries), "{entries}");
        assert!(bytes <= 64 << 10);
    }

    #[test]
    fn an_answer_that_holds_for_no_time_is_not_kept() {
        let cache = AnswerCache::new(64 << 10);
        let name = DnsName::parse("a.test").unwrap();
        let answer = |ttl| {
            Ok(Arc::new(Answer {
                records: Vec::new(),
                canonical: name.clone(),
                security: Security::Insecure,
                ttl,
            }))
        };
        cache.put(&name, Kind::A, &answer(Duration::ZERO), None);
        assert!(cache.get(&name, Kind::A).is_none());
        cache.put(&name, Kind::A, &answer(Duration::from_secs(9)), None);
        assert!(cache.get(&name, Kind::A).is_some());
    }
}
