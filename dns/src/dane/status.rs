//! Whether DANE applies to a host, and by which records.

use super::{TlsaRecord, matching_records};
use crate::{
    DnsName,
    resolve::{Kind, LookupError, Resolve, Security},
    route::Host,
};

/// Records that are taken of a host. Sites publish a handful.
pub const RECORDS_MAX: usize = 32;

/// What DANE says of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaneStatus {
    /// The way there is not signed, or there are no records: DANE says nothing (RFC 7672 §2.1).
    Inapplicable,
    /// There are records, and none that SMTP can go by: TLS is a must, and whose certificate it is cannot be known
    /// (RFC 7672 §2.2).
    Unusable,
    /// The host's certificate must match one of these.
    Records {
        /// All usable, at least one.
        records: Vec<TlsaRecord>,
        /// Where they are, without port and protocol: the first name that a certificate under a CA of theirs may have.
        base: DnsName,
    },
    /// It could not be asked, or the answer is bogus: the host must not be used now (RFC 7672 §2.1).
    Unknown(LookupError),
}

/// Asks for a host's records. `mx` is what is known of how the host was found: of the MX records, or of the operator's word,
/// which is [`Security::Secure`].
pub async fn dane_status(resolver: &dyn Resolve, host: &Host, mx: Security) -> DaneStatus {
    if !mx.is_secure() {
        return DaneStatus::Inapplicable;
    }
    let (Some(name), Ok(addresses)) = (&host.name, &host.addresses) else {
        return DaneStatus::Inapplicable;
    };
    // Where addresses are not signed, no TLSA record is asked for: servers of unsigned zones that choke on it would hold the
    // mail up (RFC 7672 §2.2).
    if !addresses.security.is_secure() {
        return DaneStatus::Inapplicable;
    }
    // RFC 7672 §2.2.2: first where the alias leads, then the name itself.
    let mut bases = vec![&addresses.canonical];
    if addresses.canonical != *name {
        bases.push(name);
    }
    for base in bases {
        match records_at(resolver, base, host.port).await {
            DaneStatus::Inapplicable => {}
            found => return found,
        }
    }
    DaneStatus::Inapplicable
}

async fn records_at(resolver: &dyn Resolve, base: &DnsName, port: u16) -> DaneStatus {
    let Ok(name) = base.below(&format!("_{port}._tcp")) else {
        return DaneStatus::Inapplicable;
    };
    match resolver.lookup(&name, Kind::Tlsa).await {
        Ok(answer) if answer.security.is_secure() => {
            let all: Vec<TlsaRecord> = answer.tlsa().take(RECORDS_MAX).cloned().collect();
            let records = matching_records(&all);
            match records.is_empty() {
                true => DaneStatus::Unusable,
                false => DaneStatus::Records {
                    records,
                    base: base.clone(),
                },
            }
        }
        Ok(_) => DaneStatus::Inapplicable,
        Err(error) if error.is_absent() => DaneStatus::Inapplicable,
        Err(error) => DaneStatus::Unknown(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dane::{Matching, Selector, Usage},
        resolve::{Data, TwinResolver},
        route::{Route, RouteSettings, find_hosts},
    };

    fn record(length: usize) -> TlsaRecord {
        TlsaRecord {
            usage: Usage::DaneEe,
            selector: Selector::PublicKey,
            matching: Matching::Sha256,
            data: vec![7; length].into(),
        }
    }

    fn zone() -> TwinResolver {
        let dns = TwinResolver::new();
        dns.add("mx.test", Data::A([192, 0, 2, 1].into()))
            .secure("mx.test", Security::Secure)
            .secure("_25._tcp.mx.test", Security::Secure);
        dns
    }

    async fn status(dns: &TwinResolver, host: &str, mx: Security) -> DaneStatus {
        let route = Route::host(DnsName::parse(host).unwrap());
        let settings = RouteSettings::default();
        let found = find_hosts(dns, "example.test", Some(&route), &settings);
        dane_status(dns, &found.await.unwrap().hosts[0], mx).await
    }

    #[tokio::test]
    async fn it_applies_where_all_is_signed() {
        let dns = zone();
        dns.add("_25._tcp.mx.test", Data::Tlsa(record(32)));
        let DaneStatus::Records { records, base } = status(&dns, "mx.test", Security::Secure).await
        else {
            panic!("records");
        };
        assert_eq!((records, base.as_str()), (vec![record(32)], "mx.test"));
        for mx in [Security::Insecure, Security::Indeterminate] {
            assert_eq!(status(&dns, "mx.test", mx).await, DaneStatus::Inapplicable);
        }
        dns.secure("_25._tcp.mx.test", Security::Insecure);
        let insecure = status(&dns, "mx.test", Security::Secure).await;
        assert_eq!(insecure, DaneStatus::Inapplicable);
    }

    #[tokio::test]
    async fn addresses_that_are_not_signed_are_not_asked_about() {
        let dns = zone();
        dns.add("_25._tcp.mx.test", Data::Tlsa(record(32)))
            .secure("mx.test", Security::Insecure);
        let insecure = status(&dns, "mx.test", Security::Secure).await;
        assert_eq!(insecure, DaneStatus::Inapplicable);
        assert!(dns.asked().iter().all(|(_, kind)| *kind != Kind::Tlsa));
    }

    #[tokio::test]
    async fn nothing_usable_is_not_nothing() {
        let dns = zone();
        dns.add("_25._tcp.mx.test", Data::Tlsa(record(31)));
        assert_eq!(
            status(&dns, "mx.test", Security::Secure).await,
            DaneStatus::Unusable
        );
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_not_absent() {
        for error in [LookupError::Bogus, LookupError::Timeout] {
            let dns = zone();
            dns.fail("_25._tcp.mx.test", Kind::Tlsa, error.clone());
            let unknown = status(&dns, "mx.test", Security::Secure).await;
            assert_eq!(unknown, DaneStatus::Unknown(error));
        }
    }

    #[tokio::test]
    async fn an_alias_is_asked_where_it_leads_and_then_itself() {
        let dns = zone();
        dns.add(
            "alias.test",
            Data::Cname(DnsName::parse("mx.test").unwrap()),
        )
        .secure("alias.test", Security::Secure)
        .add("_25._tcp.alias.test", Data::Tlsa(record(32)))
        .secure("_25._tcp.alias.test", Security::Secure);
        let base = |status| match status {
            DaneStatus::Records { base, .. } => base.as_str().to_owned(),
            other => panic!("{other:?}"),
        };
        let secure = Security::Secure;
        assert_eq!(base(status(&dns, "alias.test", secure).await), "alias.test");
        dns.add("_25._tcp.mx.test", Data::Tlsa(record(32)));
        assert_eq!(base(status(&dns, "alias.test", secure).await), "mx.test");
        dns.secure("alias.test", Security::Insecure);
        assert_eq!(
            status(&dns, "alias.test", secure).await,
            DaneStatus::Inapplicable
        );
    }
}
