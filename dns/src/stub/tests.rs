//! The resolver against the server: what is signed, what is not, and what goes wrong.

use std::time::{Duration, Instant};

use super::*;
use crate::{
    dane::{DaneStatus, dane_status},
    resolve::{LookupError, Resolve},
    route::{RouteSettings, find_hosts},
};

const TLSA: &str = "3 1 1 0707070707070707070707070707070707070707070707070707070707070707";

async fn server() -> StubDns {
    let dns = StubDns::start().await.unwrap();
    dns.add(
        "example.test MX 10 mx.example.test
         mx.example.test A 192.0.2.1
         mx.example.test AAAA 2001:db8::1
         alias.test CNAME example.test
         out.test CNAME plain.test
         plain.test MX 10 mx.plain.test
         mx.plain.test A 192.0.2.2",
    );
    dns.add(&format!("_25._tcp.mx.example.test TLSA {TLSA}"));
    dns.unsigned("plain.test");
    dns
}

/// An answer in a word.
async fn ask(resolver: &Resolver, name: &str, kind: Kind) -> String {
    match resolver.lookup(&DnsName::parse(name).unwrap(), kind).await {
        Ok(answer) => format!("{} {:?}", answer.records.len(), answer.security),
        Err(LookupError::NoName { security }) => format!("no name {security:?}"),
        Err(LookupError::NoRecords { security }) => format!("no records {security:?}"),
        Err(LookupError::Bogus) => "bogus".to_owned(),
        Err(LookupError::Timeout | LookupError::Unavailable(_)) => "unavailable".to_owned(),
    }
}

#[tokio::test]
async fn what_is_signed_and_what_is_not() {
    let dns = server().await;
    let resolver = dns.resolver();
    for (name, kind, expected) in [
        ("example.test", Kind::Mx, "1 Secure"),
        ("alias.test", Kind::Mx, "1 Secure"),
        ("_25._tcp.mx.example.test", Kind::Tlsa, "1 Secure"),
        ("mx.example.test", Kind::Aaaa, "1 Secure"),
        ("plain.test", Kind::Mx, "1 Insecure"),
        ("mx.plain.test", Kind::A, "1 Insecure"),
        // An alias is no more than where it leads.
        ("out.test", Kind::Mx, "1 Insecure"),
        ("example.test", Kind::Txt, "no records Secure"),
        ("nothing.test", Kind::A, "no name Secure"),
        ("_25._tcp.example.test", Kind::Tlsa, "no name Secure"),
        ("plain.test", Kind::Txt, "no records Insecure"),
        ("nothing.plain.test", Kind::A, "no name Insecure"),
    ] {
        assert_eq!(
            ask(&resolver, name, kind).await,
            expected,
            "{name} {kind:?}"
        );
    }
}

#[tokio::test]
async fn without_validation_nothing_is_known_of_signatures() {
    let dns = server().await;
    dns.fault("example.test", Some(Fault::Bogus));
    let settings = ResolverSettings {
        validate: false,
        ..dns.settings()
    };
    let resolver = Resolver::new(settings).unwrap();
    assert_eq!(
        ask(&resolver, "example.test", Kind::Mx).await,
        "1 Indeterminate"
    );
    let none = ask(&resolver, "nothing.test", Kind::A).await;
    assert_eq!(none, "no name Indeterminate");
}

#[tokio::test]
async fn another_root_key_makes_all_of_it_bogus() {
    let (dns, other) = (server().await, server().await);
    let folder = std::env::temp_dir().join(format!("mailrook-anchor-{}", dns.address().port()));
    for (anchor, expected) in [
        (dns.trust_anchor(), "1 Secure"),
        (other.trust_anchor(), "bogus"),
    ] {
        std::fs::write(&folder, anchor).unwrap();
        let settings = ResolverSettings {
            trust_anchor: Some(folder.clone()),
            ..dns.settings()
        };
        let resolver = Resolver::new(settings).unwrap();
        assert_eq!(ask(&resolver, "example.test", Kind::Mx).await, expected);
    }
    std::fs::remove_file(&folder).unwrap();
}

#[tokio::test]
async fn faults_are_no_answers() {
    for (fault, expected) in [
        (Fault::Silent, "unavailable"),
        (Fault::ServFail, "unavailable"),
        (Fault::Refused, "unavailable"),
        (Fault::WrongId, "unavailable"),
        (Fault::Bogus, "bogus"),
        (Fault::Truncated, "1 Secure"),
    ] {
        let dns = server().await;
        dns.fault("example.test", Some(fault));
        let began = Instant::now();
        let said = ask(&dns.resolver(), "example.test", Kind::Mx).await;
        assert_eq!(said, expected, "{fault:?}");
        assert!(began.elapsed() < Duration::from_secs(10));
        if fault == Fault::Truncated {
            assert_eq!(dns.times_asked("example.test", Kind::Mx), (1, 1));
        }
    }
}

#[tokio::test]
async fn a_long_answer_comes_over_tcp() {
    let dns = server().await;
    for i in 0..60 {
        dns.add(&format!("long.test TXT {i} {}", "x".repeat(200)));
    }
    assert_eq!(
        ask(&dns.resolver(), "long.test", Kind::Txt).await,
        "60 Secure"
    );
    assert!(dns.times_asked("long.test", Kind::Txt).1 > 0);
}

#[tokio::test]
async fn answers_and_their_absence_are_kept_and_forgotten() {
    let dns = server().await;
    let brief = DnsName::parse("brief.test").unwrap();
    dns.add_data(brief, Data::A([192, 0, 2, 9].into()), 1);
    let resolver = dns.resolver();
    for _ in 0..3 {
        assert_eq!(ask(&resolver, "example.test", Kind::Mx).await, "1 Secure");
        assert_eq!(
            ask(&resolver, "nothing.test", Kind::A).await,
            "no name Secure"
        );
        assert_eq!(ask(&resolver, "brief.test", Kind::A).await, "1 Secure");
    }
    for (name, kind) in [
        ("example.test", Kind::Mx),
        ("nothing.test", Kind::A),
        ("brief.test", Kind::A),
    ] {
        assert_eq!(dns.times_asked(name, kind), (1, 0), "{name}");
    }
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    dns.remove("brief.test");
    assert_eq!(
        ask(&resolver, "brief.test", Kind::A).await,
        "no name Secure"
    );
}

#[tokio::test]
async fn dane_from_the_domain_to_the_records() {
    let dns = server().await;
    let status = async |domain: &str| {
        // A fresh one each time, as answers are kept.
        let resolver = dns.resolver();
        let found = find_hosts(&resolver, domain, None, &RouteSettings::default())
            .await
            .unwrap();
        dane_status(&resolver, &found.hosts[0], found.security).await
    };
    let DaneStatus::Records { records, base } = status("example.test").await else {
        panic!("records");
    };
    assert_eq!((records.len(), base.as_str()), (1, "mx.example.test"));
    assert_eq!(status("plain.test").await, DaneStatus::Inapplicable);
    dns.fault("_25._tcp.mx.example.test", Some(Fault::Bogus));
    assert_eq!(
        status("example.test").await,
        DaneStatus::Unknown(LookupError::Bogus)
    );
    dns.fault("_25._tcp.mx.example.test", Some(Fault::ServFail));
    assert!(matches!(
        status("example.test").await,
        DaneStatus::Unknown(_)
    ));
    dns.fault("_25._tcp.mx.example.test", None)
        .remove("_25._tcp.mx.example.test");
    assert_eq!(status("example.test").await, DaneStatus::Inapplicable);
    // Also that there is none must be proven.
    dns.fault("_25._tcp.mx.example.test", Some(Fault::Bogus));
    assert_eq!(
        status("example.test").await,
        DaneStatus::Unknown(LookupError::Bogus)
    );
}
