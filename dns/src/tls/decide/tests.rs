//! The decision, as a table.

use super::*;
use crate::dane::{Matching, Selector, Usage};

use MessageTls::{NotRequired, Required, Unsaid};

const NO_POLICY: StsStatus = StsStatus::NoPolicy;
const ENFORCE: StsStatus = StsStatus::Enforce { matches: true };
const ENFORCE_OTHERS: StsStatus = StsStatus::Enforce { matches: false };
const TESTING: StsStatus = StsStatus::Testing { matches: true };
const TESTING_OTHERS: StsStatus = StsStatus::Testing { matches: false };

fn name(text: &str) -> DnsName {
    DnsName::parse(text).unwrap()
}

fn records() -> DaneStatus {
    DaneStatus::Records {
        records: vec![TlsaRecord {
            usage: Usage::DaneTa,
            selector: Selector::PublicKey,
            matching: Matching::Sha256,
            data: vec![7; 32].into(),
        }],
        base: name("base.test"),
    }
}

/// The decision in a word, with the names that go with it.
fn outcome(facts: &Facts<'_>) -> String {
    let join = |names: &[DnsName]| {
        let names: Vec<&str> = names.iter().map(DnsName::as_str).collect();
        names.join(" ")
    };
    match decide(facts) {
        Ok(Decision { tls, requiretls }) => {
            let tls = match tls {
                TlsNeed::Never => "never".to_owned(),
                TlsNeed::Opportunistic => "opportunistic".to_owned(),
                TlsNeed::Encrypted => "encrypted".to_owned(),
                TlsNeed::Pkix { names } => format!("pkix {}", join(&names)),
                TlsNeed::Dane { names, .. } => format!("dane {}", join(&names)),
            };
            format!("{tls}{}", if requiretls { " +requiretls" } else { "" })
        }
        Err(refusal) => {
            let when = if refusal.is_temporary {
                "defer"
            } else {
                "fail"
            };
            format!("{when} {:?} {}", refusal.reason, refusal.status())
        }
    }
}

fn check(table: &[(DaneStatus, StsStatus, MessageTls, RouteTls, Security, &str)]) {
    let (host, next_hop) = (name("mx.test"), name("example.test"));
    for (dane, sts, message, route, mx, expected) in table {
        let facts = Facts {
            host: Some(&host),
            next_hop: Some(&next_hop),
            mx: *mx,
            dane,
            sts: *sts,
            message: *message,
            route,
        };
        assert_eq!(outcome(&facts), *expected, "{facts:?}");
    }
}

#[test]
fn by_policy() {
    use DaneStatus::{Inapplicable, Unknown, Unusable};
    use RouteTls::ByPolicy;
    use Security::{Insecure, Secure};
    let bogus = || Unknown(LookupError::Bogus);
    let waits = "defer DaneUnknown(Bogus) 4.7.5";
    check(&[
        (
            Inapplicable,
            NO_POLICY,
            Unsaid,
            ByPolicy,
            Insecure,
            "opportunistic",
        ),
        (
            Inapplicable,
            TESTING,
            Unsaid,
            ByPolicy,
            Insecure,
            "opportunistic",
        ),
        (
            Inapplicable,
            TESTING_OTHERS,
            Unsaid,
            ByPolicy,
            Insecure,
            "opportunistic",
        ),
        (
            Inapplicable,
            ENFORCE,
            Unsaid,
            ByPolicy,
            Insecure,
            "pkix mx.test",
        ),
        (
            Inapplicable,
            ENFORCE_OTHERS,
            Unsaid,
            ByPolicy,
            Insecure,
            "defer NotInStsPolicy 4.7.5",
        ),
        // DANE goes before MTA-STS, also where it fails.
        (
            records(),
            NO_POLICY,
            Unsaid,
            ByPolicy,
            Secure,
            "dane base.test mx.test example.test",
        ),
        (
            records(),
            ENFORCE,
            Unsaid,
            ByPolicy,
            Secure,
            "dane base.test mx.test example.test",
        ),
        (
            records(),
            ENFORCE_OTHERS,
            Unsaid,
            ByPolicy,
            Secure,
            "dane base.test mx.test example.test",
        ),
        (bogus(), NO_POLICY, Unsaid, ByPolicy, Secure, waits),
        (bogus(), ENFORCE, Unsaid, ByPolicy, Secure, waits),
        (Unusable, NO_POLICY, Unsaid, ByPolicy, Secure, "encrypted"),
        (Unusable, TESTING, Unsaid, ByPolicy, Secure, "encrypted"),
        (Unusable, ENFORCE, Unsaid, ByPolicy, Secure, "pkix mx.test"),
        // RFC 8689 §3: the sender would rather have it sent.
        (
            records(),
            ENFORCE,
            NotRequired,
            ByPolicy,
            Secure,
            "opportunistic",
        ),
        (
            bogus(),
            ENFORCE_OTHERS,
            NotRequired,
            ByPolicy,
            Secure,
            "opportunistic",
        ),
    ]);
}

#[test]
fn by_the_operator() {
    use DaneStatus::{Inapplicable, Unknown};
    use RouteTls::{Encrypted, Never};
    use Security::{Insecure, Secure};
    let verified = |names: &[&str]| RouteTls::Verified {
        names: names.iter().map(|text| name(text)).collect(),
    };
    let timeout = || Unknown(LookupError::Timeout);
    check(&[
        (records(), ENFORCE, Unsaid, Never, Secure, "never"),
        (
            Inapplicable,
            NO_POLICY,
            Unsaid,
            Encrypted,
            Insecure,
            "encrypted",
        ),
        (
            Inapplicable,
            NO_POLICY,
            NotRequired,
            Encrypted,
            Insecure,
            "encrypted",
        ),
        (
            Inapplicable,
            ENFORCE,
            Unsaid,
            Encrypted,
            Insecure,
            "pkix mx.test",
        ),
        (
            records(),
            NO_POLICY,
            Unsaid,
            Encrypted,
            Secure,
            "dane base.test mx.test example.test",
        ),
        (
            Inapplicable,
            NO_POLICY,
            Unsaid,
            verified(&[]),
            Insecure,
            "pkix mx.test",
        ),
        (
            Inapplicable,
            NO_POLICY,
            NotRequired,
            verified(&[]),
            Insecure,
            "pkix mx.test",
        ),
        (
            records(),
            NO_POLICY,
            Unsaid,
            verified(&[]),
            Secure,
            "dane base.test mx.test example.test",
        ),
        (
            records(),
            NO_POLICY,
            Unsaid,
            verified(&["x.test"]),
            Secure,
            "pkix x.test",
        ),
        (
            timeout(),
            NO_POLICY,
            Unsaid,
            verified(&[]),
            Secure,
            "defer DaneUnknown(Timeout) 4.7.5",
        ),
    ]);
}

#[test]
fn with_requiretls() {
    use DaneStatus::{Inapplicable, Unknown, Unusable};
    use RouteTls::{ByPolicy, Never};
    use Security::{Indeterminate, Insecure, Secure};
    let verified = RouteTls::Verified {
        names: vec![name("x.test")],
    };
    let dane = "dane base.test mx.test example.test +requiretls";
    let unproven = "fail HostUnproven 5.7.30";
    check(&[
        (records(), NO_POLICY, Required, ByPolicy, Secure, dane),
        (
            Inapplicable,
            NO_POLICY,
            Required,
            ByPolicy,
            Secure,
            "pkix mx.test +requiretls",
        ),
        (
            Unusable,
            NO_POLICY,
            Required,
            ByPolicy,
            Secure,
            "pkix mx.test +requiretls",
        ),
        (
            Inapplicable,
            ENFORCE,
            Required,
            ByPolicy,
            Insecure,
            "pkix mx.test +requiretls",
        ),
        (
            Inapplicable,
            TESTING,
            Required,
            ByPolicy,
            Insecure,
            "pkix mx.test +requiretls",
        ),
        (
            Inapplicable,
            TESTING_OTHERS,
            Required,
            ByPolicy,
            Insecure,
            unproven,
        ),
        (
            Inapplicable,
            NO_POLICY,
            Required,
            ByPolicy,
            Insecure,
            unproven,
        ),
        (
            Inapplicable,
            NO_POLICY,
            Required,
            ByPolicy,
            Indeterminate,
            unproven,
        ),
        (
            Unknown(LookupError::Bogus),
            ENFORCE,
            Required,
            ByPolicy,
            Secure,
            "defer DaneUnknown(Bogus) 4.7.5",
        ),
        (
            Inapplicable,
            NO_POLICY,
            Required,
            Never,
            Secure,
            "fail RouteWithoutTls 5.7.30",
        ),
        (
            Inapplicable,
            NO_POLICY,
            Required,
            verified,
            Insecure,
            "pkix x.test +requiretls",
        ),
    ]);
}

#[test]
fn a_host_without_a_name() {
    let verified = RouteTls::Verified { names: Vec::new() };
    for (message, route, expected) in [
        (Unsaid, RouteTls::ByPolicy, "opportunistic"),
        (Unsaid, verified.clone(), "fail NoName 5.3.5"),
        (Required, RouteTls::ByPolicy, "fail NothingToVerify 5.7.30"),
    ] {
        let facts = Facts {
            host: None,
            next_hop: None,
            mx: Security::Indeterminate,
            dane: &DaneStatus::Inapplicable,
            sts: NO_POLICY,
            message,
            route: &route,
        };
        assert_eq!(outcome(&facts), expected);
    }
}
