//! Asking the DNS: the trait that everything here asks through, and what an answer is.

mod cache;
mod hickory;
#[cfg(any(test, feature = "test-server"))]
mod twin;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use thiserror::Error;

pub use cache::{
    ENTRY_BYTES_MIN, FAILURE_TTL, NEGATIVE_TTL_MAX, NEGATIVE_TTL_MIN, POSITIVE_TTL_MAX,
};
pub use hickory::{Resolver, ResolverError, ResolverSettings, Servers};
#[cfg(any(test, feature = "test-server"))]
pub use twin::TwinResolver;

use crate::{DnsName, dane::TlsaRecord};

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Where mail goes.
    Mx,
    /// Texts.
    Txt,
    /// Certificates (RFC 6698).
    Tlsa,
    /// Names of an address.
    Ptr,
    /// What a name is another name of. Asked for itself, no alias is followed.
    Cname,
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Where mail goes.
    Mx(Mx),
    /// The strings of a text, put together (RFC 7208 §3.3).
    Txt(Box<[u8]>),
    /// What a certificate must be.
    Tlsa(TlsaRecord),
    /// A name of an address.
    Ptr(DnsName),
    /// What the name is another name of.
    Cname(DnsName),
}

/// An MX record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mx {
    /// Lower ones first.
    pub preference: u16,
    /// The host; the root if there is to be no mail (RFC 7505).
    pub exchange: DnsName,
}

/// What DNSSEC says of an answer (RFC 4035 §4.3). What is bogus is no answer: [`LookupError::Bogus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Security {
    /// It was not looked at, or there is no way to know.
    Indeterminate,
    /// Provably not signed.
    Insecure,
    /// Signed, up to a trust anchor; also all aliases on the way.
    Secure,
}

impl Security {
    /// Whether it is [`Security::Secure`].
    pub fn is_secure(self) -> bool {
        self == Security::Secure
    }
}

/// A name's records of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of the kind that was asked for. There are none if all were unusable, such as hosts whose names are none.
    pub records: Vec<Data>,
    /// The name that has them, after all aliases (CNAME).
    pub canonical: DnsName,
    /// The worst of all that led here.
    pub security: Security,
    /// How long it holds.
    pub ttl: Duration,
}

/// Why there is no answer. The first two say that there is nothing; the others that nobody knows now.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LookupError {
    /// NXDOMAIN.
    #[error("the name does not exist")]
    NoName {
        /// Whether that is proven.
        security: Security,
    },
    /// The name exists, without such records.
    #[error("the name has no such records")]
    NoRecords {
        /// Whether that is proven.
        security: Security,
    },
    /// Signed, and the signatures are not good.
    #[error("the answer fails DNSSEC validation")]
    Bogus,
    /// No server answered in time.
    #[error("the DNS does not answer in time")]
    Timeout,
    /// A server could not or would not answer.
    #[error("the DNS cannot be asked: {0}")]
    Unavailable(Arc<str>),
}

impl LookupError {
    /// Whether it is known that there is nothing.
    pub fn is_absent(&self) -> bool {
        matches!(
            self,
            LookupError::NoName { .. } | LookupError::NoRecords { .. }
        )
    }
}

/// An answer, or why there is none.
pub type Lookup = Result<Arc<Answer>, LookupError>;

/// Asks the DNS.
pub trait Resolve: Send + Sync {
    /// The records of that kind; aliases are followed.
    fn lookup<'a>(&'a self, name: &'a DnsName, kind: Kind) -> BoxFuture<'a, Lookup>;
}

impl Answer {
    /// Hosts that take mail, in no order.
    pub fn mx(&self) -> impl Iterator<Item = &Mx> {
        self.records.iter().filter_map(|data| match data {
            Data::Mx(mx) => Some(mx),
            _ => None,
        })
    }

    /// Addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.records.iter().filter_map(|data| match data {
            Data::A(ip) => Some(IpAddr::V4(*ip)),
            Data::Aaaa(ip) => Some(IpAddr::V6(*ip)),
            _ => None,
        })
    }

    /// Texts.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().filter_map(|data| match data {
            Data::Txt(text) => Some(&**text),
            _ => None,
        })
    }

    /// What certificates must be.
    pub fn tlsa(&self) -> impl Iterator<Item = &TlsaRecord> {
        self.records.iter().filter_map(|data| match data {
            Data::Tlsa(record) => Some(record),
            _ => None,
        })
    }

    /// Names, of addresses or aliases.
    pub fn names(&self) -> impl Iterator<Item = &DnsName> {
        self.records.iter().filter_map(|data| match data {
            Data::Ptr(name) | Data::Cname(name) => Some(name),
            _ => None,
        })
    }
}
