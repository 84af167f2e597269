//! Slows down who guesses passwords: after failures, answers to one address come later and later.
//!
//! In memory, of this process. The delay is served by the session, before it answers a failed login, and before it
//! looks at the next one.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{Network, limits::site_of};

/// How fast the delay grows, and where it ends.
#[derive(Clone, Debug)]
pub struct ThrottleSettings {
    /// Failures without a delay: people mistype, and have several devices with an old password.
    pub free_failures: u32,
    /// The delay after the first failure beyond those; it doubles with each further one.
    pub delay_first: Duration,
    /// The longest delay. Clients give up after 30 s to 60 s.
    pub delay_max: Duration,
    /// A failure is forgotten after so long.
    pub forget_after: Duration,
    /// Addresses remembered at once; when there are more, those with the oldest failures go.
    pub addresses_max: usize,
    /// Networks that are never slowed down: a webmail speaks for all its users.
    pub exempt: Vec<Network>,
}

impl Default for ThrottleSettings {
    fn default() -> ThrottleSettings {
        ThrottleSettings {
            free_failures: 5,
            delay_first: Duration::from_secs(1),
            delay_max: Duration::from_secs(20),
            forget_after: Duration::from_secs(600),
            addresses_max: 65_536,
            exempt: Vec::new(),
        }
    }
}

/// Failed logins by address.
#[derive(Debug)]
pub struct LoginThrottle {
    settings: ThrottleSettings,
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last_at: Instant,
}

impl LoginThrottle {
    /// An empty one.
    pub fn new(settings: ThrottleSettings) -> LoginThrottle {
        LoginThrottle {
            settings,
            failures: Mutex::default(),
        }
    }

    /// Notes a failed login.
    pub fn failed(&self, address: IpAddr) {
        self.failed_at(address, Instant::now());
    }

    /// Notes a successful one. It takes one failure back, and no more: who owns one account here must not be able to
    /// guess at others' without ever being slowed down.
    pub fn succeeded(&self, address: IpAddr) {
        let mut failures = self.failures.lock();
        if let Some(of_address) = failures.get_mut(&site_of(address)) {
            of_address.count = of_address.count.saturating_sub(1);
        }
    }

    /// How long to wait before the address is answered.
    pub fn delay(&self, address: IpAddr) -> Duration {
        self.delay_at(address, Instant::now())
    }

    fn failed_at(&self, address: IpAddr, now: Instant) {
        if self
            .settings
            .exempt
            .iter()
            .any(|network| network.contains(address))
        {
            return;
        }
        let mut failures = self.failures.lock();
        let key = site_of(address);
        if failures.len() >= self.settings.addresses_max && !failures.contains_key(&key) {
            self.make_room(&mut failures, now);
        }
        let of_address = failures.entry(key).or_insert(Failures {
            count: 0,
            last_at: now,
        });
        if now.duration_since(of_address.last_at) >= self.settings.forget_after {
            of_address.count = 0;
        }
        *of_address = Failures {
            count: of_address.count.saturating_add(1),
            last_at: now,
        };
    }

    fn delay_at(&self, address: IpAddr, now: Instant) -> Duration {
        let settings = &self.settings;
        let failures = self.failures.lock();
        let Some(of_address) = failures.get(&site_of(address)) else {
            return Duration::ZERO;
        };
        if now.duration_since(of_address.last_at) >= settings.forget_after {
            return Duration::ZERO;
        }
        match of_address.count.checked_sub(settings.free_failures + 1) {
            None => Duration::ZERO,
            Some(doublings) => settings
                .delay_first
                .saturating_mul(2u32.saturating_pow(doublings))
                .min(settings.delay_max),
        }
    }

    /// Removes a quarter, the oldest first, so that a scan is paid for by many insertions.
    fn make_room(&self, failures: &mut HashMap<IpAddr, Failures>, now: Instant) {
        let mut ages: Vec<_> = failures
            .values()
            .map(|f| now.duration_since(f.last_at))
            .collect();
        let keep = ages.len() - ages.len().div_ceil(4);
        let (_, limit, _) =
            ages.select_nth_unstable(keep.min(self.settings.addresses_max.saturating_sub(1)));
        let limit = *limit;
        failures.retain(|_, f| now.duration_since(f.last_at) < limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn doubles_up_to_its_maximum_and_forgets() {
        let throttle = LoginThrottle::new(ThrottleSettings::default());
        let now = Instant::now();
        let mut delays = vec![];
        for _ in 0..12 {
            throttle.failed_at(ip(1), now);
            delays.push(throttle.delay_at(ip(1), now).as_secs());
        }
        assert_eq!(delays, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 20, 20]);
        assert_eq!(throttle.delay_at(ip(2), now), Duration::ZERO);
        throttle.succeeded(ip(1));
        assert_eq!(throttle.delay_at(ip(1), now).as_secs(), 20);
        assert_eq!(
            throttle.delay_at(ip(1), now + Duration::from_secs(600)),
            Duration::ZERO
        );
        throttle.failed_at(ip(1), now + Duration::from_secs(600));
        assert_eq!(
            throttle.delay_at(ip(1), now + Duration::from_secs(600)),
            Duration::ZERO
        );
    }

    #[test]
    fn stays_within_its_bounds() {
        let throttle = LoginThrottle::new(ThrottleSettings {
            addresses_max: 100,
            ..ThrottleSettings::default()
        });
        let start = Instant::now();
        for n in 0..10_000 {
            throttle.failed_at(ip(n), start + Duration::from_millis(n.into()));
            assert!(throttle.failures.lock().len() <= 100);
        }
        assert!(throttle.failures.lock().contains_key(&ip(9_999)));
        // All at one time: the bound holds though no failure is older than another.
        let throttle = LoginThrottle::new(ThrottleSettings {
            addresses_max: 100,
            ..ThrottleSettings::default()
        });
        for n in 0..1_000 {
            throttle.failed_at(ip(n), start);
            assert!(throttle.failures.lock().len() <= 100);
        }
    }
}
