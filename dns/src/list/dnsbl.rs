//! Block and allow lists: the question, and what the answer means.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use thiserror::Error;

use super::reverse_query;
use crate::{
    DnsName,
    resolve::{Kind, LookupError, Resolve},
};

/// A list, as the operator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsList {
    /// Its zone.
    pub zone: DnsName,
    /// What its answers mean to the site, by address: a weight, below nothing for a list of the good. Any other address in
    /// `127.0.0.0/8` that is a listing counts `default`.
    pub codes: BTreeMap<Ipv4Addr, i32>,
    /// For answers that `codes` does not name; nothing if those are not listings to the site.
    pub default: Option<i32>,
}

/// What a list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// It lists it.
    Listed {
        /// The sum of what its answers count.
        weight: i32,
        /// The answers.
        codes: Vec<Ipv4Addr>,
    },
    /// It does not.
    NotListed,
}

/// Why nothing is known: neither that it is listed nor that it is not.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ListError {
    /// The list cannot be asked.
    #[error("the list cannot be asked: {0}")]
    Unknown(LookupError),
    /// The list says that it does not answer us (127.255.255.0/24: too many questions, a public resolver, a wrong name).
    #[error("the list refuses to answer ({0})")]
    Refused(Ipv4Addr),
    /// No list answers so (RFC 5782 §2.1): its zone is gone, and whoever has it now answers everything.
    #[error("the list answers {0}, which no list does")]
    NoList(Ipv4Addr),
    /// The domain and the zone are too long together.
    #[error("the name is too long for the list")]
    TooLong,
}

/// What a list says of an address.
pub async fn ask_address(
    resolver: &dyn Resolve,
    list: &DnsList,
    address: IpAddr,
) -> Result<Listing, ListError> {
    ask(resolver, list, &reverse_query(address, list.zone.as_str())).await
}

/// What a list says of a domain (RFC 5782 §3).
pub async fn ask_domain(
    resolver: &dyn Resolve,
    list: &DnsList,
    domain: &DnsName,
) -> Result<Listing, ListError> {
    ask(resolver, list, &format!("{domain}.{}", list.zone)).await
}

async fn ask(resolver: &dyn Resolve, list: &DnsList, query: &str) -> Result<Listing, ListError> {
    let query = DnsName::parse(query).map_err(|_| ListError::TooLong)?;
    match resolver.lookup(&query, Kind::A).await {
        Ok(answer) => list.read(answer.addresses()),
        Err(error) if error.is_absent() => Ok(Listing::NotListed),
        Err(error) => Err(ListError::Unknown(error)),
    }
}

impl DnsList {
    /// What an answer means.
    pub fn read(&self, answer: impl Iterator<Item = IpAddr>) -> Result<Listing, ListError> {
        let mut codes = Vec::new();
        for address in answer {
            let IpAddr::V4(code) = address else { continue };
            match code.octets() {
                // RFC 5782 §5: 127.0.0.1 must never be listed, and lists are tried by that; as an answer it is a resolver's or
                // a parked zone's. 127.255.255.x is how the lists say "not to you".
                [127, 0, 0, 1] | [127, 0, 0, 0] => return Err(ListError::NoList(code)),
                [127, 255, 255, _] => return Err(ListError::Refused(code)),
                [127, ..] => codes.push(code),
                _ => return Err(ListError::NoList(code)),
            }
        }
        let weight_of = |code: &Ipv4Addr| self.codes.get(code).copied().or(self.default);
        let weights: Vec<i32> = codes.iter().filter_map(weight_of).collect();
        codes.retain(|code| weight_of(code).is_some());
        match weights.is_empty() {
            true => Ok(Listing::NotListed),
            false => Ok(Listing::Listed {
                weight: weights.into_iter().fold(0, i32::saturating_add),
                codes,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::{Data, TwinResolver};

    fn list(default: Option<i32>) -> DnsList {
        DnsList {
            zone: DnsName::parse("bl.test").unwrap(),
            codes: [([127, 0, 0, 2].into(), 10), ([127, 0, 0, 4].into(), 3)].into(),
            default,
        }
    }

    #[test]
    fn what_answers_mean() {
        let listed = |weight, codes: &[[u8; 4]]| {
            let codes = codes.iter().map(|code| Ipv4Addr::from(*code)).collect();
            Ok(Listing::Listed { weight, codes })
        };
        let refused = Err(ListError::Refused([127, 255, 255, 254].into()));
        let no_list = |ip: [u8; 4]| Err(ListError::NoList(ip.into()));
        for (answers, default, expected) in [
            (vec![[127, 0, 0, 2]], None, listed(10, &[[127, 0, 0, 2]])),
            (
                vec![[127, 0, 0, 2], [127, 0, 0, 4]],
                None,
                listed(13, &[[127, 0, 0, 2], [127, 0, 0, 4]]),
            ),
            (vec![[127, 0, 0, 9]], None, Ok(Listing::NotListed)),
            (vec![[127, 0, 0, 9]], Some(1), listed(1, &[[127, 0, 0, 9]])),
            (
                vec![[127, 0, 1, 2]],
                Some(-5),
                listed(-5, &[[127, 0, 1, 2]]),
            ),
            (vec![[127, 0, 0, 2], [127, 255, 255, 254]], Some(1), refused),
            (vec![[127, 0, 0, 1]], Some(1), no_list([127, 0, 0, 1])),
            (vec![[203, 0, 113, 9]], Some(1), no_list([203, 0, 113, 9])),
        ] {
            let read = list(default).read(answers.iter().map(|ip| IpAddr::from(*ip)));
            assert_eq!(read, expected, "{answers:?}");
        }
    }

    #[tokio::test]
    async fn addresses_and_domains_are_asked_for() {
        let dns = TwinResolver::new();
        dns.add("2.0.0.127.bl.test", Data::A([127, 0, 0, 2].into()))
            .add("bad.example.bl.test", Data::A([127, 0, 0, 4].into()))
            .fail("3.0.0.127.bl.test", Kind::A, LookupError::Timeout);
        let list = list(None);
        let address = |text: &str| ask_address(&dns, &list, text.parse().unwrap());
        assert!(matches!(
            address("127.0.0.2").await,
            Ok(Listing::Listed { weight: 10, .. })
        ));
        assert_eq!(address("192.0.2.1").await, Ok(Listing::NotListed));
        // Not asked is not listed, and not "not listed".
        let unknown = Err(ListError::Unknown(LookupError::Timeout));
        assert_eq!(address("127.0.0.3").await, unknown);
        let domain = DnsName::parse("bad.example").unwrap();
        let listed = ask_domain(&dns, &list, &domain).await;
        assert!(matches!(listed, Ok(Listing::Listed { weight: 3, .. })));
        let long = DnsName::parse(&["a".repeat(61).as_str(); 4].join(".")).unwrap();
        assert_eq!(
            ask_domain(&dns, &list, &long).await,
            Err(ListError::TooLong)
        );
    }
}
