//! The name of an address, confirmed by asking for its addresses (FCrDNS, RFC 8601 §2.7.3 "iprev").

use std::net::IpAddr;

use crate::{
    DnsName,
    resolve::{Kind, LookupError, Resolve},
};

/// Names of an address that are looked at.
pub const NAMES_MAX: usize = 5;

/// What an address is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReverseName {
    /// This name has the address.
    Confirmed(DnsName),
    /// It is called so, and the name has other addresses, or none.
    Unconfirmed(DnsName),
    /// It has no name.
    None,
    /// It could not be asked.
    Unknown(LookupError),
}

/// The name under which `address` is asked for: reversed, below `zone`. IPv4 by bytes, IPv6 by nibbles (RFC 5782 §2.1, §2.4).
pub fn reverse_query(address: IpAddr, zone: &str) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.{zone}")
        }
        IpAddr::V6(v6) => {
            let nibbles = v6.octets().into_iter().rev();
            let nibbles = nibbles.map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4));
            nibbles.collect::<String>() + zone
        }
    }
}

/// Asks for an address's name, and whether that has it.
pub async fn confirmed_name(resolver: &dyn Resolve, address: IpAddr) -> ReverseName {
    let address = address.to_canonical();
    let (zone, kind) = match address {
        IpAddr::V4(_) => ("in-addr.arpa", Kind::A),
        IpAddr::V6(_) => ("ip6.arpa", Kind::Aaaa),
    };
    let Ok(query) = DnsName::parse(&reverse_query(address, zone)) else {
        return ReverseName::None;
    };
    let answer = match resolver.lookup(&query, Kind::Ptr).await {
        Ok(answer) => answer,
        Err(error) if error.is_absent() => return ReverseName::None,
        Err(error) => return ReverseName::Unknown(error),
    };
    let mut unknown = None;
    for name in answer
        .names()
        .take(NAMES_MAX)
        .filter(|name| !name.is_root())
    {
        match resolver.lookup(name, kind).await {
            Ok(found) if found.addresses().any(|ip| ip == address) => {
                return ReverseName::Confirmed(name.clone());
            }
            Err(error) if !error.is_absent() => unknown = Some(error),
            _ => {}
        }
    }
    match (unknown, answer.names().find(|name| !name.is_root())) {
        (Some(error), _) => ReverseName::Unknown(error),
        (None, Some(name)) => ReverseName::Unconfirmed(name.clone()),
        (None, None) => ReverseName::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::{Data, TwinResolver};

    #[tokio::test]
    async fn a_name_counts_once_it_has_the_address() {
        let dns = TwinResolver::new();
        let ptr = |name: &str| Data::Ptr(DnsName::parse(name).unwrap());
        let reversed = "1.2.0.192.in-addr.arpa";
        let ask = || confirmed_name(&dns, "::ffff:192.0.2.1".parse().unwrap());
        assert_eq!(ask().await, ReverseName::None);
        dns.add(reversed, ptr("a.test"));
        let name = |text: &str| DnsName::parse(text).unwrap();
        assert_eq!(ask().await, ReverseName::Unconfirmed(name("a.test")));
        dns.fail("a.test", Kind::A, LookupError::Timeout);
        assert_eq!(ask().await, ReverseName::Unknown(LookupError::Timeout));
        dns.add(reversed, ptr("b.test"))
            .add("b.test", Data::A([192, 0, 2, 1].into()));
        assert_eq!(ask().await, ReverseName::Confirmed(name("b.test")));
        dns.fail(reversed, Kind::Ptr, LookupError::Bogus);
        assert_eq!(ask().await, ReverseName::Unknown(LookupError::Bogus));
    }

    #[test]
    fn addresses_reversed() {
        // RFC 5782 §2.4
        let query = reverse_query(
            "2001:db8:1:2:3:4:567:89ab".parse().unwrap(),
            "ugly.example.com",
        );
        let nibbles = "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2";
        assert_eq!(query, format!("{nibbles}.ugly.example.com"));
    }
}
