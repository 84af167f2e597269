//! Finds a destination's hosts and their addresses, in the order in which they are to be tried (RFC 5321 §5.1).

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures::future::join_all;
use rand::seq::SliceRandom;
use thiserror::Error;

use super::{Route, RouteTarget, table::SMTP_PORT};
use crate::{
    DnsName,
    resolve::{Kind, LookupError, Mx, Resolve, Security},
};

/// Hosts of a destination that are looked at; large sites have a handful.
pub const HOSTS_MAX: usize = 20;

/// Addresses of one host that are tried.
pub const ADDRESSES_MAX: usize = 16;

/// What a destination is found by.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// The names of this cluster's own MX hosts: mail for others that leads here would go round (RFC 5321 §5.1).
    pub own_names: HashSet<DnsName>,
    /// Their addresses.
    pub own_addresses: HashSet<IpAddr>,
    /// Whether this machine can send over IPv4.
    pub ipv4: bool,
    /// Whether it can over IPv6.
    pub ipv6: bool,
}

/// Where to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// In the order in which they are to be tried; at least one.
    pub hosts: Vec<Host>,
    /// The domain whose MX records they are, or the name that was asked for in place of it: MTA-STS goes by it, and it is the
    /// second name that a certificate may have under DANE (RFC 7672 §3.2.2). None of an address.
    pub next_hop: Option<DnsName>,
    /// How sure it is that these are the hosts: what DNSSEC says of the MX records, or the operator's word.
    pub security: Security,
    /// Whether the DNS chose the hosts; a route's host is the operator's word, which MTA-STS has no part in.
    pub is_from_dns: bool,
}

/// A host that takes the mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name, as the MX record or the route says; none of an address literal.
    pub name: Option<DnsName>,
    /// Of its MX record.
    pub preference: u16,
    /// The port.
    pub port: u16,
    /// Its addresses, or why they are not known now. Hosts that provably have none are left out.
    pub addresses: Result<HostAddresses, LookupError>,
}

/// A host's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAddresses {
    /// In the order in which they are to be tried; at least one.
    pub addresses: Vec<IpAddr>,
    /// The host's name after all aliases.
    pub canonical: DnsName,
    /// What DNSSEC says of them, aliases included.
    pub security: Security,
}

/// Why there is nowhere to send.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RouteError {
    /// It is no domain and no address literal.
    #[error("{0:?} is no domain that mail can be sent to")]
    BadDomain(String),
    /// There is no such domain.
    #[error("the domain does not exist")]
    NoDomain,
    /// It says that it takes no mail (RFC 7505).
    #[error("the domain takes no mail (null MX)")]
    NullMx,
    /// No host of it has an address that can be used.
    #[error("no mail server of the domain has an address")]
    NoHost,
    /// The best host is this cluster, which does not know the domain.
    #[error("mail for the domain leads back to this server")]
    Loop,
    /// It could not be found out.
    #[error("where its mail goes cannot be found out now: {0}")]
    Unknown(LookupError),
}

impl RouteError {
    /// Whether trying again will not help.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, RouteError::Unknown(_))
    }

    /// The enhanced status code for a report (RFC 3463, RFC 7505 §4.2).
    pub fn status(&self) -> &'static str {
        match self {
            RouteError::BadDomain(_) => "5.1.3",
            RouteError::NoDomain => "5.1.2",
            RouteError::NullMx => "5.1.10",
            RouteError::NoHost => "5.4.4",
            RouteError::Loop => "5.4.6",
            RouteError::Unknown(_) => "4.4.3",
        }
    }
}

impl Default for RouteSettings {
    fn default() -> RouteSettings {
        RouteSettings {
            own_names: HashSet::new(),
            own_addresses: HashSet::new(),
            ipv4: true,
            ipv6: true,
        }
    }
}

impl RouteSettings {
    fn is_own(&self, host: &Host) -> bool {
        let by_name = host
            .name
            .as_ref()
            .is_some_and(|name| self.own_names.contains(name));
        let addresses = host
            .addresses
            .as_ref()
            .map(|found| found.addresses.as_slice());
        let mut addresses = addresses.unwrap_or_default().iter();
        by_name || addresses.any(|address| self.own_addresses.contains(address))
    }

    fn can_reach(&self, address: &IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.ipv4,
            IpAddr::V6(_) => self.ipv6,
        }
    }
}

/// Finds where mail for `domain` (a name, or a literal in brackets) goes: by its route, if it has one, or by the DNS.
pub async fn find_hosts(
    resolver: &dyn Resolve,
    domain: &str,
    route: Option<&Route>,
    settings: &RouteSettings,
) -> Result<Destination, RouteError> {
    let port = route.map_or(SMTP_PORT, |route| route.port);
    let finder = Finder {
        resolver,
        port,
        settings,
    };
    match route.map(|route| &route.to) {
        Some(RouteTarget::Address(address)) => finder.address(*address, Security::Secure),
        // The operator's word is no less than a signature's.
        Some(RouteTarget::Host(name)) => finder.host(name).await,
        Some(RouteTarget::Domain(name)) => finder.domain(name).await,
        Some(RouteTarget::AsDnsSays) | None => match domain.strip_prefix('[') {
            Some(rest) => {
                let literal = rest.strip_suffix(']').and_then(parse_literal);
                let literal = literal.ok_or_else(|| bad(domain))?;
                finder.address(literal, Security::Indeterminate)
            }
            None => {
                let name = DnsName::parse(domain).map_err(|_| bad(domain))?;
                finder.domain(&name).await
            }
        },
    }
}

fn bad(domain: &str) -> RouteError {
    RouteError::BadDomain(domain.chars().take(80).collect())
}

/// RFC 5321 §4.1.3
fn parse_literal(literal: &str) -> Option<IpAddr> {
    match literal
        .get(..5)
        .filter(|tag| tag.eq_ignore_ascii_case("ipv6:"))
    {
        Some(_) => Some(IpAddr::V6(literal[5..].parse::<Ipv6Addr>().ok()?)),
        None => Some(IpAddr::V4(literal.parse::<Ipv4Addr>().ok()?)),
    }
}

struct Finder<'a> {
    resolver: &'a dyn Resolve,
    port: u16,
    settings: &'a RouteSettings,
}

impl Finder<'_> {
    fn address(&self, address: IpAddr, security: Security) -> Result<Destination, RouteError> {
        let host = Host {
            name: None,
            preference: 0,
            port: self.port,
            addresses: Ok(HostAddresses {
                addresses: vec![address],
                canonical: DnsName::root(),
                security,
            }),
        };
        // The operator may well route to another port of this machine, such as a filter's.
        if self.port == SMTP_PORT && self.settings.is_own(&host) {
            return Err(RouteError::Loop);
        }
        Ok(Destination {
            hosts: vec![host],
            next_hop: None,
            security,
            is_from_dns: false,
        })
    }

    async fn host(&self, name: &DnsName) -> Result<Destination, RouteError> {
        let mx = Mx {
            preference: 0,
            exchange: name.clone(),
        };
        Ok(Destination {
            hosts: self.hosts(vec![mx]).await?,
            next_hop: Some(name.clone()),
            security: Security::Secure,
            is_from_dns: false,
        })
    }

    async fn domain(&self, name: &DnsName) -> Result<Destination, RouteError> {
        let (list, security) = match self.resolver.lookup(name, Kind::Mx).await {
            Ok(answer) => (answer.mx().cloned().collect(), answer.security),
            // The implicit MX: the domain's own address (RFC 5321 §5.1). An alias was followed to get here.
            Err(LookupError::NoRecords { security }) => {
                let own = Mx {
                    preference: 0,
                    exchange: name.clone(),
                };
                (vec![own], security)
            }
            Err(LookupError::NoName { .. }) => return Err(RouteError::NoDomain),
            Err(unknown) => return Err(RouteError::Unknown(unknown)),
        };
        // RFC 7505 §3: the only record, and the root. Beside others, the root is no host.
        if let [only] = list.as_slice()
            && only.exchange.is_root()
        {
            return Err(RouteError::NullMx);
        }
        let hosts = list.into_iter().filter(|mx| !mx.exchange.is_root());
        Ok(Destination {
            hosts: self.hosts(in_order(hosts.collect())).await?,
            next_hop: Some(name.clone()),
            security,
            is_from_dns: true,
        })
    }

    /// With their addresses, without those that provably have none, and cut where this cluster itself is named.
    async fn hosts(&self, list: Vec<Mx>) -> Result<Vec<Host>, RouteError> {
        let found = join_all(list.into_iter().map(|mx| async move {
            let addresses = self.addresses(&mx.exchange).await;
            Host {
                name: Some(mx.exchange),
                preference: mx.preference,
                port: self.port,
                addresses,
            }
        }));
        let mut hosts = found.await;
        // RFC 5321 §5.1: this host and all that are not better are left out.
        let is_own = |host: &&Host| self.port == SMTP_PORT && self.settings.is_own(host);
        if let Some(own) = hosts
            .iter()
            .filter(is_own)
            .map(|host| host.preference)
            .min()
        {
            hosts.retain(|host| host.preference < own);
            if hosts.is_empty() {
                return Err(RouteError::Loop);
            }
        }
        hosts.retain(|host| !matches!(&host.addresses, Err(error) if error.is_absent()));
        if hosts.is_empty() {
            return Err(RouteError::NoHost);
        }
        // Nobody is known: the mail waits, and the DNS's words say why.
        let is_unknown = hosts.iter().all(|host| host.addresses.is_err());
        match hosts.iter().find_map(|host| host.addresses.as_ref().err()) {
            Some(error) if is_unknown => Err(RouteError::Unknown(error.clone())),
            _ => Ok(hosts),
        }
    }

    async fn addresses(&self, name: &DnsName) -> Result<HostAddresses, LookupError> {
        let (v4, v6) = tokio::join!(
            self.resolver.lookup(name, Kind::A),
            self.resolver.lookup(name, Kind::Aaaa)
        );
        let mut found: Option<HostAddresses> = None;
        let mut families = [Vec::new(), Vec::new()];
        // One family is enough to send by, but what the other would have said is missing from what is proven.
        let mut failed = None;
        for (lookup, family) in [v6, v4].into_iter().zip(&mut families) {
            match lookup {
                Ok(answer) => {
                    family.extend(answer.addresses().filter(|ip| self.settings.can_reach(ip)));
                    let security = found.as_ref().map_or(answer.security, |found| {
                        // RFC 7672 §2.2: both are signed, or neither is.
                        found.security.min(answer.security)
                    });
                    found = Some(HostAddresses {
                        addresses: Vec::new(),
                        canonical: answer.canonical.clone(),
                        security,
                    });
                }
                Err(error) if error.is_absent() => {}
                // A forged answer is worse than none (RFC 7672 §2.1).
                Err(LookupError::Bogus) => return Err(LookupError::Bogus),
                Err(error) => failed = Some(error),
            }
        }
        let addresses = interleaved(families);
        match (found, failed) {
            (Some(found), _) if !addresses.is_empty() => Ok(HostAddresses { addresses, ..found }),
            (_, Some(error)) => Err(error),
            (found, None) => Err(LookupError::NoRecords {
                security: found.map_or(Security::Indeterminate, |found| found.security),
            }),
        }
    }
}

/// By preference, equal ones in a random order, each host once, at its best.
fn in_order(mut list: Vec<Mx>) -> Vec<Mx> {
    list.shuffle(&mut rand::rng());
    list.sort_by_key(|mx| mx.preference);
    let mut seen = HashSet::new();
    list.retain(|mx| seen.insert(mx.exchange.clone()));
    list.truncate(HOSTS_MAX);
    list
}

/// Both families in turn, IPv6 first, each in a random order: one that does not work costs one attempt (RFC 8305 §4).
fn interleaved([mut v6, mut v4]: [Vec<IpAddr>; 2]) -> Vec<IpAddr> {
    v6.shuffle(&mut rand::rng());
    v4.shuffle(&mut rand::rng());
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut all = Vec::new();
    while all.len() < ADDRESSES_MAX {
        let before = all.len();
        all.extend(v6.next());
        all.extend(v4.next());
        if all.len() == before {
            break;
        }
    }
    all
}

#[cfg(test)]
mod tests;
