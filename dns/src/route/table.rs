//! The operator's routes, as values.

use std::{collections::BTreeMap, net::IpAddr};

use crate::DnsName;

/// SMTP's port (RFC 5321 §4.5.4.2).
pub(super) const SMTP_PORT: u16 = 25;

/// Where mail of a domain is sent instead of where the DNS says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub to: RouteTarget,
    /// The port there.
    pub port: u16,
    /// What TLS must do.
    pub tls: RouteTls,
}

/// What a route names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// Where the DNS says, for the mail's own domain: a route for what it says about TLS.
    AsDnsSays,
    /// A host; its addresses are looked up.
    Host(DnsName),
    /// A domain; its MX records are looked up.
    Domain(DnsName),
    /// An address.
    Address(IpAddr),
}

/// What the operator wants of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RouteTls {
    /// As DANE and MTA-STS say; without them, if the host offers it.
    #[default]
    ByPolicy,
    /// None, ever: for a host that breaks at it.
    Never,
    /// It must be encrypted, by whatever certificate.
    Encrypted,
    /// It must be encrypted, and the certificate must be good by the system's CAs, or by DANE.
    Verified {
        /// A name that it must have one of; if there is none, the host's.
        names: Vec<DnsName>,
    },
}

/// Routes by domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTable {
    /// For exactly this domain.
    pub domains: BTreeMap<DnsName, Route>,
    /// For all that is below this domain, at whatever depth. The longest wins.
    pub below: BTreeMap<DnsName, Route>,
    /// For all others: a smart host.
    pub default: Option<Route>,
}

impl Route {
    /// To a host, on SMTP's port, with TLS by policy.
    pub fn host(name: DnsName) -> Route {
        Route {
            to: RouteTarget::Host(name),
            port: SMTP_PORT,
            tls: RouteTls::ByPolicy,
        }
    }
}

impl RouteTable {
    /// The route of a domain, if it has one.
    pub fn find(&self, domain: &DnsName) -> Option<&Route> {
        if let Some(route) = self.domains.get(domain) {
            return Some(route);
        }
        let mut above = domain.parent();
        while let Some(name) = above {
            if let Some(route) = self.below.get(&name) {
                return Some(route);
            }
            above = name.parent();
        }
        self.default.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_route_wins() {
        let name = |text: &str| DnsName::parse(text).unwrap();
        let to = |text: &str| Route::host(name(text));
        let table = RouteTable {
            domains: [(name("example.org"), to("exact.test"))].into(),
            below: [
                (name("example.org"), to("below.test")),
                (name("deep.example.org"), to("deeper.test")),
            ]
            .into(),
            default: Some(to("smart.test")),
        };
        for (domain, host) in [
            ("example.org", "exact.test"),
            ("a.example.org", "below.test"),
            ("a.b.example.org", "below.test"),
            ("deep.example.org", "below.test"),
            ("a.deep.example.org", "deeper.test"),
            ("notexample.org", "smart.test"),
        ] {
            assert_eq!(table.find(&name(domain)), Some(&to(host)), "{domain}");
        }
        assert_eq!(RouteTable::default().find(&name("example.org")), None);
    }
}
