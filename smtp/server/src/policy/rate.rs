//! How many messages one address may send to port 25 in a minute: a bucket that fills evenly.
//!
//! In memory, of this process: it is there to keep one peer from taking the whole front end, not to judge mail.

use std::{collections::HashMap, net::IpAddr, time::Instant};

use mailrook_net::{Network, site_of};
use mailrook_smtp_proto::{EnhancedCode, Reply, ReplyCode};
use parking_lot::Mutex;

/// Addresses remembered at once. When there are more, those whose bucket is full again are forgotten, and if there are
/// none, all are.
const ADDRESSES_MAX: usize = 65_536;

/// The bound for one address.
#[derive(Clone, Debug)]
pub struct MailRate {
    /// Messages a minute in the long run, and at once. `None` is no bound.
    pub per_minute: Option<u32>,
    /// Networks that it does not hold for.
    pub exempt: Vec<Network>,
}

/// No bound: a large provider sends thousands of messages a minute from one address, for good reason.
impl Default for MailRate {
    fn default() -> MailRate {
        MailRate {
            per_minute: None,
            exempt: Network::loopback().to_vec(),
        }
    }
}

/// The addresses' buckets.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    rate: MailRate,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In messages.
    left: f64,
    at: Instant,
}

impl RateLimiter {
    pub(crate) fn new(rate: MailRate) -> RateLimiter {
        RateLimiter {
            rate,
            buckets: Mutex::default(),
        }
    }

    /// Takes one message out of the address's bucket.
    pub(crate) fn check(&self, address: Option<IpAddr>) -> Result<(), Reply> {
        self.check_at(address, Instant::now())
    }

    fn check_at(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Reply> {
        let (Some(per_minute), Some(address)) = (self.rate.per_minute, address) else {
            return Ok(());
        };
        if self
            .rate
            .exempt
            .iter()
            .any(|network| network.contains(address))
        {
            return Ok(());
        }
        let max = f64::from(per_minute);
        let filled = |bucket: &Bucket| {
            (bucket.left + now.duration_since(bucket.at).as_secs_f64() * max / 60.0).min(max)
        };
        let mut buckets = self.buckets.lock();
        if buckets.len() >= ADDRESSES_MAX {
            buckets.retain(|_, bucket| filled(bucket) < max);
            if buckets.len() >= ADDRESSES_MAX {
                buckets.clear();
            }
        }
        let bucket = buckets
            .entry(site_of(address))
            .or_insert(Bucket { left: max, at: now });
        *bucket = Bucket {
            left: filled(bucket),
            at: now,
        };
        if bucket.left < 1.0 {
            let text = "too many messages from your address, try again later";
            return Err(Reply::new(
                ReplyCode::MailboxBusy450,
                EnhancedCode::NOT_AUTHORISED,
                text,
            ));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let limiter = RateLimiter::new(MailRate {
            per_minute: Some(60),
            ..MailRate::default()
        });
        let now = Instant::now();
        let address = |text: &str| Some(text.parse().unwrap());
        let sent = |text, now| {
            (0..100)
                .filter(|_| limiter.check_at(address(text), now).is_ok())
                .count()
        };
        assert_eq!(sent("2001:db8::1", now), 60);
        assert_eq!(sent("2001:db8::2", now), 0);
        assert_eq!(sent("2001:db8::1", now + Duration::from_secs(10)), 10);
        assert_eq!(sent("192.0.2.1", now), 60);
        assert_eq!(sent("127.0.0.1", now), 100);
        assert!(limiter.check(None).is_ok());
    }
}
