//! How many connections there may be, in all and of one address, logged in or not.
//!
//! An IPv6 client has a whole /64, so addresses count by that (RFC 6177).

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{Network, network::mask};

/// The bounds of a set of listeners.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections in all. Each costs a file descriptor and some 10 to 25 KB.
    pub connections_max: usize,
    /// Connections of one address.
    pub connections_per_address_max: usize,
    /// Connections that have not logged in, in all.
    pub pending_max: usize,
    /// Connections that have not logged in, of one address.
    pub pending_per_address_max: usize,
    /// How long a connection may stay without logging in; `None` where nobody logs in (port 25). It bounds what a
    /// session does before login as a whole; the session itself may be stricter and more polite.
    pub login_deadline: Option<Duration>,
    /// Networks that the two limits for one address do not hold for: a webmail's, a monitor's.
    pub exempt: Vec<Network>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 20_000,
            // A company behind one address: 200 people with 10 connections each.
            connections_per_address_max: 2_000,
            pending_max: 4_096,
            pending_per_address_max: 100,
            // RFC 9051 §5.4 permits any time before login; three minutes let a person type a password into telnet.
            login_deadline: Some(Duration::from_secs(180)),
            exempt: Network::loopback().to_vec(),
        }
    }
}

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// [`Limits::connections_max`] or [`Limits::pending_max`] is reached.
    TooManyConnections,
    /// [`Limits::connections_per_address_max`] or [`Limits::pending_per_address_max`] is reached.
    TooManyFromAddress,
    /// The process has only just started, and does not serve yet: see [`turn_away`](crate::turn_away).
    NotYet,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// All of them.
    pub total: usize,
    /// Those that have not logged in.
    pub pending: usize,
}

/// How many there have been, since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionTotals {
    /// Let in.
    pub admitted: u64,
    /// Refused, for whatever reason.
    pub refused: u64,
    /// Ended because nobody logged in before the deadline.
    pub login_overdue: u64,
}

/// Counts connections. Listeners that share one share its bounds.
#[derive(Debug)]
pub struct Limiter {
    limits: Limits,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    totals: ConnectionTotals,
    all: ConnectionCounts,
    by_address: HashMap<IpAddr, ConnectionCounts>,
}

/// A connection's place among the counted. Dropping it gives the place back.
pub struct Admission {
    limiter: Arc<Limiter>,
    /// `None`: not counted by address.
    address: Option<IpAddr>,
    login: Arc<Login>,
}

/// Shared between the session, which reports the login, and the watch over its deadline.
#[derive(Debug, Default)]
pub(crate) struct Login {
    done: AtomicBool,
    changed: Notify,
}

impl Login {
    pub(crate) async fn done(&self) {
        while !self.done.load(Ordering::Acquire) {
            self.changed.notified().await;
        }
    }
}

impl Limiter {
    /// A counter with these bounds.
    pub fn new(limits: Limits) -> Arc<Limiter> {
        Arc::new(Limiter {
            limits,
            counted: Mutex::default(),
        })
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The address that a client counts under, for other bounds of the kind; `None` if it is exempt, or on a unix
    /// socket.
    pub fn site(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        let exempt = |address: &IpAddr| {
            let exempt = &self.limits.exempt;
            exempt.iter().any(|network| network.contains(*address))
        };
        address.filter(|address| !exempt(address)).map(site_of)
    }

    /// How many there are now.
    pub fn counts(&self) -> ConnectionCounts {
        self.counted.lock().all
    }

    /// How many there have been.
    pub fn totals(&self) -> ConnectionTotals {
        self.counted.lock().totals
    }

    pub(crate) fn note_login_overdue(&self) {
        self.counted.lock().totals.login_overdue += 1;
    }

    /// Takes a place, if there is one. `address` is `None` on a unix socket.
    pub fn admit(self: &Arc<Limiter>, address: Option<IpAddr>) -> Result<Admission, Refusal> {
        let mut counted = self.counted.lock();
        let admitted = self.count(&mut counted, address);
        match &admitted {
            Ok(_) => counted.totals.admitted += 1,
            Err(_) => counted.totals.refused += 1,
        }
        let address = admitted?;
        Ok(Admission {
            limiter: Arc::clone(self),
            address,
            login: Arc::default(),
        })
    }

    fn count(
        &self,
        counted: &mut Counted,
        address: Option<IpAddr>,
    ) -> Result<Option<IpAddr>, Refusal> {
        if counted.all.total >= self.limits.connections_max
            || counted.all.pending >= self.limits.pending_max
        {
            return Err(Refusal::TooManyConnections);
        }
        let address = self.count_address(counted, address)?;
        counted.all.add();
        Ok(address)
    }

    /// Takes a place among the connections of an address, unless it is exempt; under which address it counts.
    fn count_address(
        &self,
        counted: &mut Counted,
        address: Option<IpAddr>,
    ) -> Result<Option<IpAddr>, Refusal> {
        let limits = &self.limits;
        let Some(address) = self.site(address) else {
            return Ok(None);
        };
        let known = counted
            .by_address
            .get(&address)
            .copied()
            .unwrap_or_default();
        if known.total >= limits.connections_per_address_max
            || known.pending >= limits.pending_per_address_max
        {
            return Err(Refusal::TooManyFromAddress);
        }
        counted.by_address.entry(address).or_default().add();
        Ok(Some(address))
    }

    fn change(&self, address: Option<IpAddr>, change: impl Fn(&mut ConnectionCounts)) {
        let mut counted = self.counted.lock();
        change(&mut counted.all);
        if let Some(address) = address
            && let Some(of_address) = counted.by_address.get_mut(&address)
        {
            change(of_address);
            if of_address.total == 0 {
                counted.by_address.remove(&address);
            }
        }
    }
}

impl ConnectionCounts {
    fn add(&mut self) {
        self.total += 1;
        self.pending += 1;
    }
}

impl Admission {
    /// Reports that the client has logged in: its connection no longer counts as pending, and the deadline for the login is off. More than
    /// once is as good as once.
    pub fn logged_in(&self) {
        if !self.login.done.swap(true, Ordering::AcqRel) {
            self.limiter
                .change(self.address, |counts| counts.pending -= 1);
            self.login.changed.notify_waiters();
            self.login.changed.notify_one();
        }
    }

    /// Counts a connection of a balancer under the address that it speaks for. Before the login.
    pub(crate) fn count_address(&mut self, address: Option<IpAddr>) -> Result<(), Refusal> {
        debug_assert!(
            self.address.is_none(),
            "a connection counts under one address"
        );
        let mut counted = self.limiter.counted.lock();
        match self.limiter.count_address(&mut counted, address) {
            Ok(address) => {
                self.address = address;
                Ok(())
            }
            Err(refusal) => {
                counted.totals.admitted -= 1;
                counted.totals.refused += 1;
                Err(refusal)
            }
        }
    }

    pub(crate) fn login(&self) -> Arc<Login> {
        Arc::clone(&self.login)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.logged_in();
        self.limiter
            .change(self.address, |counts| counts.total -= 1);
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What stands for all addresses that one client can have: an IPv4 address, or the /64 of an IPv6 address (RFC 6177 §2).
pub fn site_of(address: IpAddr) -> IpAddr {
    let address = address.to_canonical();
    let prefix_len = if address.is_ipv4() { 32 } else { 64 };
    mask(address, prefix_len).unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn counts_by_address_and_in_all() {
        let limits = Limits {
            connections_max: 4,
            connections_per_address_max: 2,
            pending_max: 3,
            pending_per_address_max: 1,
            ..Limits::default()
        };
        let limiter = Limiter::new(limits);
        let a = limiter.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(
            limiter.admit(ip("192.0.2.1")).err(),
            Some(Refusal::TooManyFromAddress)
        );
        a.logged_in();
        a.logged_in();
        let b = limiter.admit(ip("::ffff:192.0.2.1")).unwrap();
        b.logged_in();
        assert_eq!(
            limiter.admit(ip("192.0.2.1")).err(),
            Some(Refusal::TooManyFromAddress)
        );
        let c = limiter.admit(ip("2001:db8::1")).unwrap();
        assert_eq!(
            limiter.admit(ip("2001:db8::ffff")).err(),
            Some(Refusal::TooManyFromAddress)
        );
        assert_eq!(
            limiter.counts(),
            ConnectionCounts {
                total: 3,
                pending: 1
            }
        );
        let d = limiter.admit(None).unwrap();
        assert_eq!(
            limiter.admit(ip("127.0.0.1")).err(),
            Some(Refusal::TooManyConnections)
        );
        drop((a, b, c, d));
        assert_eq!(limiter.counts(), ConnectionCounts::default());
        assert!(limiter.counted.lock().by_address.is_empty());
    }

    #[test]
    fn exempts_who_is_exempt() {
        let limiter = Limiter::new(Limits {
            connections_per_address_max: 0,
            ..Limits::default()
        });
        assert!(limiter.admit(ip("127.0.0.1")).is_ok());
        assert!(limiter.admit(ip("192.0.2.1")).is_err());
        assert_eq!(limiter.site(ip("127.0.0.1")), None);
        assert_eq!(limiter.site(None), None);
        assert_eq!(limiter.site(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
        assert_eq!(limiter.site(ip("2001:db8::1:2:3:4")), ip("2001:db8::"));
        assert!(limiter.counted.lock().by_address.is_empty());
    }
}
