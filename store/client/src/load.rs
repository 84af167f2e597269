//! What the accounts ask for: counted where it is asked, by the node whose sessions and deliveries want it.
//!
//! A count belongs to the account, wherever that is served: another leader, or a move to another shard, leaves it as it is, and what
//! all nodes count together is what the account costs. It ends with the process. Nothing of it is replicated or written down.

use std::{collections::HashMap, f64::consts::LN_2, time::Duration};

use mailrook_mailbox::Answer;
use mailrook_types::{AccountId, ShardId};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Client;

/// What was asked so long ago counts half. Shorter, and a plan would follow each burst; longer, and it would show yesterday.
pub const LOAD_HALF_LIFE: Duration = Duration::from_secs(600);

/// So many bytes there or back count as another request: one that moves less costs as much by what stands around it.
const REQUEST_BYTES: usize = 64 << 10;

/// Of which a record that is walked over has so many: `examples/reads.rs` measures 17 µs for a read of one message, and 1.1 for
/// each further record.
const RECORD_BYTES: usize = REQUEST_BYTES / 16;

/// Accounts that are counted at a time: 2 MB. Who asks for least is forgotten first.
const ACCOUNTS_MAX: usize = 32_768;

/// The part that is forgotten where there are more, so that it is not looked for each time.
const FORGOTTEN_PARTS: usize = 4;

/// What an account asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountLoad {
    /// Whose.
    pub account: AccountId,
    /// Where it was asked for last.
    pub shard: ShardId,
    /// Requests an hour, of the last [`LOAD_HALF_LIFE`] above all. 64 KiB that are read or written count as another request.
    pub requests_per_hour: u64,
}

/// The counts of this process.
#[derive(Default)]
pub(crate) struct Loads(Mutex<HashMap<AccountId, Count>>);

/// Requests that fade, as of a moment.
struct Count {
    requests: f64,
    at: Instant,
    shard: ShardId,
}

impl Count {
    fn requests_at(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at);
        self.requests * (-age.as_secs_f64() / LOAD_HALF_LIFE.as_secs_f64()).exp2()
    }
}

impl Loads {
    /// A request of an account that was answered, with `bytes` there and back.
    pub(crate) fn asked(&self, account: AccountId, shard: ShardId, bytes: usize) {
        self.count(account, shard, 1.0 + bytes as f64 / REQUEST_BYTES as f64);
    }

    /// Bytes that went before their request.
    pub(crate) fn moved(&self, account: AccountId, shard: ShardId, bytes: usize) {
        self.count(account, shard, bytes as f64 / REQUEST_BYTES as f64);
    }

    fn count(&self, account: AccountId, shard: ShardId, requests: f64) {
        let now = Instant::now();
        let mut counts = self.0.lock();
        if counts.len() >= ACCOUNTS_MAX && !counts.contains_key(&account) {
            forget_least(&mut counts, now);
        }
        let count = counts.entry(account).or_insert(Count {
            requests: 0.0,
            at: now,
            shard,
        });
        *count = Count {
            requests: count.requests_at(now) + requests,
            at: now,
            shard,
        };
    }

    /// All of them, in no order; those that ask for next to nothing any more are left out.
    fn all(&self) -> Vec<AccountLoad> {
        let now = Instant::now();
        // A steady rate has a count of the rate times this.
        let mean_hours = LOAD_HALF_LIFE.as_secs_f64() / LN_2 / 3600.0;
        let counts = self.0.lock();
        let loads = counts.iter().map(|(account, count)| AccountLoad {
            account: *account,
            shard: count.shard,
            requests_per_hour: (count.requests_at(now) / mean_hours).round() as u64,
        });
        loads.filter(|load| load.requests_per_hour > 0).collect()
    }
}

fn forget_least(counts: &mut HashMap<AccountId, Count>, now: Instant) {
    let mut requests: Vec<f64> = counts.values().map(|of| of.requests_at(now)).collect();
    let mut to_forget = requests.len() / FORGOTTEN_PARTS;
    let (_, bar, _) = requests.select_nth_unstable_by(to_forget, f64::total_cmp);
    let bar = *bar;
    counts.retain(|_, count| {
        let goes = to_forget > 0 && count.requests_at(now) <= bar;
        to_forget -= usize::from(goes);
        !goes
    });
}

/// What an answer costs beside being one.
pub(crate) fn answer_bytes(answer: &Answer) -> usize {
    match answer {
        Answer::Chunks(chunks) => chunks.iter().map(|chunk| chunk.bytes.len()).sum(),
        Answer::Signatures(all) => {
            let lens = all.iter().map(|(_, signature)| signature.len());
            lens.map(|len| len + RECORD_BYTES).sum()
        }
        Answer::Details(all) => {
            let lens = all.iter().map(|one| one.prefix.len() + one.detail.len());
            lens.map(|len| len + RECORD_BYTES).sum()
        }
        Answer::Index(entries) => entries.len() * RECORD_BYTES,
        _ => 0,
    }
}

impl Client {
    /// What the accounts ask for through this process, in no order.
    pub fn account_loads(&self) -> Vec<AccountLoad> {
        self.inner.loads.all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: ShardId = ShardId(1);

    fn rate(loads: &Loads, account: u64) -> Option<u64> {
        let all = loads.all();
        let of = all.iter().find(|load| load.account == AccountId(account));
        of.map(|load| load.requests_per_hour)
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_rate_is_told_as_what_it_is_and_fades() {
        let loads = Loads::default();
        for _ in 0..3 * 3600 {
            loads.asked(AccountId(1), HERE, 0);
            loads.asked(AccountId(2), HERE, REQUEST_BYTES);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let (one, two) = (rate(&loads, 1).unwrap(), rate(&loads, 2).unwrap());
        assert!((3590..=3610).contains(&one), "{one}");
        assert!(two.abs_diff(2 * one) <= 1, "{one} {two}");
        tokio::time::advance(LOAD_HALF_LIFE).await;
        assert!(rate(&loads, 1).unwrap().abs_diff(one / 2) <= 1);
        tokio::time::advance(60 * LOAD_HALF_LIFE).await;
        assert_eq!(loads.all(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_the_accounts_own_on_whichever_shard() {
        let loads = Loads::default();
        loads.moved(AccountId(1), HERE, 100 * REQUEST_BYTES);
        let before = rate(&loads, 1).unwrap();
        loads.asked(AccountId(1), ShardId(2), 0);
        assert!(rate(&loads, 1).unwrap() > before);
        assert_eq!(loads.all()[0].shard, ShardId(2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_least_is_forgotten_first() {
        let loads = Loads::default();
        for account in 0..2 * ACCOUNTS_MAX as u64 {
            loads.asked(AccountId(account), HERE, 0);
            if account < 100 {
                loads.asked(AccountId(account), HERE, 0);
            }
        }
        let held = loads.0.lock().len();
        assert!((ACCOUNTS_MAX / 2..=ACCOUNTS_MAX).contains(&held), "{held}");
        assert!((0..100).all(|account| rate(&loads, account).is_some()));
    }
}
