//! How often somebody may come with a join token that is not good.
//!
//! A secret of 128 bits is not guessed; what is bounded here is the work: each try has the meta group read.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use mailrook_net::site_of;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Tries that may fail from one address (of IPv6: one network): a person mistypes less often.
const FAILED_MAX: u32 = 10;

/// Within this time.
const WITHIN: Duration = Duration::from_secs(60);

/// Addresses that are remembered. When there are more, strangers who are many, all are let try again.
const ADDRESSES_MAX: usize = 4096;

/// See the module.
#[derive(Default)]
pub(crate) struct Tries {
    failed: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

impl Tries {
    /// An error, with words for it, if too many have failed from there.
    pub(crate) fn check(&self, from: IpAddr) -> Result<(), String> {
        let failed = self.failed.lock();
        let too_many = failed
            .get(&site_of(from))
            .is_some_and(|(count, since)| *count >= FAILED_MAX && since.elapsed() < WITHIN);
        match too_many {
            true => Err(format!(
                "too many join tokens from this address were not good; try again in {} s",
                WITHIN.as_secs()
            )),
            false => Ok(()),
        }
    }

    /// One has failed.
    pub(crate) fn failed(&self, from: IpAddr) {
        let mut failed = self.failed.lock();
        if failed.len() >= ADDRESSES_MAX {
            failed.retain(|_, (_, since)| since.elapsed() < WITHIN);
        }
        if failed.len() >= ADDRESSES_MAX {
            failed.clear();
        }
        let now = Instant::now();
        let (count, since) = failed.entry(site_of(from)).or_insert((0, now));
        if since.elapsed() >= WITHIN {
            (*count, *since) = (0, now);
        }
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tries_are_counted_by_address() {
        let tries = Tries::default();
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        for n in 0..FAILED_MAX {
            tries.check(at("2001:db8::1")).unwrap();
            tries.failed(at(&format!("2001:db8::{n:x}")));
        }
        assert!(
            tries
                .check(at("2001:db8::ffff"))
                .unwrap_err()
                .contains("60 s")
        );
        tries.check(at("2001:db8:0:1::1")).unwrap();
        tries.check(at("192.0.2.1")).unwrap();
        tokio::time::advance(WITHIN).await;
        tries.check(at("2001:db8::1")).unwrap();
        tries.failed(at("2001:db8::1"));
        tries.check(at("2001:db8::1")).unwrap();
        for n in 0..20_000u32 {
            tries.failed(IpAddr::from(n.to_be_bytes()));
        }
        assert!(tries.failed.lock().len() <= ADDRESSES_MAX);
    }
}
