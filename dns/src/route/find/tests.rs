//! Where mail goes, asked of a resolver that knows what it was told.

use super::*;
use crate::resolve::{Data, TwinResolver};

fn name(text: &str) -> DnsName {
    DnsName::parse(text).unwrap()
}

fn mx(preference: u16, exchange: &str) -> Data {
    Data::Mx(Mx {
        preference,
        exchange: match exchange {
            "." => DnsName::root(),
            exchange => name(exchange),
        },
    })
}

fn a(last: u8) -> Data {
    Data::A([192, 0, 2, last].into())
}

async fn find(dns: &TwinResolver, domain: &str) -> Result<Destination, RouteError> {
    find_hosts(dns, domain, None, &RouteSettings::default()).await
}

fn names(destination: &Destination) -> Vec<&str> {
    let names = destination.hosts.iter().map(|host| host.name.as_ref());
    names
        .map(|name| name.map_or("-", DnsName::as_str))
        .collect()
}

#[tokio::test]
async fn by_preference_and_at_random_among_equals() {
    let dns = TwinResolver::new();
    for (preference, host) in [
        (20, "c.test"),
        (10, "a.test"),
        (10, "b.test"),
        (30, "a.test"),
    ] {
        dns.add("example.test", mx(preference, host))
            .add(host, a(1));
    }
    let mut firsts = HashSet::new();
    // One side of a coin 64 times in a row is no chance.
    for _ in 0..64 {
        let found = find(&dns, "example.test").await.unwrap();
        let found = names(&found);
        assert_eq!((found.len(), found[2]), (3, "c.test"), "{found:?}");
        firsts.insert(found[0].to_owned());
    }
    assert_eq!(firsts.len(), 2);
}

#[tokio::test]
async fn without_mx_the_domain_is_its_own_host() {
    let dns = TwinResolver::new();
    dns.add("example.test", a(1));
    let found = find(&dns, "example.test").await.unwrap();
    assert_eq!(names(&found), ["example.test"]);
    dns.fail("example.test", Kind::Mx, LookupError::Timeout);
    // Unknown is not absent: its MX records may say that it goes elsewhere.
    let unknown = find(&dns, "example.test").await.unwrap_err();
    assert_eq!(unknown, RouteError::Unknown(LookupError::Timeout));
    assert!(!unknown.is_permanent());
}

#[tokio::test]
async fn who_takes_no_mail() {
    let dns = TwinResolver::new();
    dns.add("null.test", mx(0, "."));
    dns.add("bare.test", Data::Txt(b"no mail".as_slice().into()));
    dns.add("deaf.test", mx(10, "gone.test"));
    for (domain, expected, status) in [
        ("null.test", RouteError::NullMx, "5.1.10"),
        ("bare.test", RouteError::NoHost, "5.4.4"),
        ("deaf.test", RouteError::NoHost, "5.4.4"),
        ("nowhere.test", RouteError::NoDomain, "5.1.2"),
        ("a b", RouteError::BadDomain("a b".to_owned()), "5.1.3"),
        (
            "[192.0.2.300]",
            RouteError::BadDomain("[192.0.2.300]".to_owned()),
            "5.1.3",
        ),
    ] {
        let error = find(&dns, domain).await.unwrap_err();
        assert_eq!((&error, error.status()), (&expected, status));
        assert!(error.is_permanent());
    }
}

#[tokio::test]
async fn mx_records_that_name_nobody_are_not_no_mx_records() {
    let dns = TwinResolver::new();
    dns.add("example.test", mx(10, "gone.test"))
        .add("example.test", a(1));
    assert_eq!(find(&dns, "example.test").await, Err(RouteError::NoHost));
}

#[tokio::test]
async fn a_host_that_cannot_be_looked_up_now_stays_in_the_list() {
    let dns = TwinResolver::new();
    dns.add("example.test", mx(10, "a.test"))
        .add("example.test", mx(20, "b.test"))
        .add("b.test", a(2))
        .fail("a.test", Kind::A, LookupError::Timeout)
        .fail("a.test", Kind::Aaaa, LookupError::Timeout);
    let found = find(&dns, "example.test").await.unwrap();
    assert_eq!(names(&found), ["a.test", "b.test"]);
    assert_eq!(found.hosts[0].addresses, Err(LookupError::Timeout));
    dns.fail("b.test", Kind::A, LookupError::Bogus);
    assert!(matches!(
        find(&dns, "example.test").await,
        Err(RouteError::Unknown(_))
    ));
}

#[tokio::test]
async fn one_address_that_is_forged_makes_the_host_unknown() {
    let dns = TwinResolver::new();
    dns.add("example.test", a(1))
        .fail("example.test", Kind::Aaaa, LookupError::Bogus);
    let unknown = Err(RouteError::Unknown(LookupError::Bogus));
    assert_eq!(find(&dns, "example.test").await, unknown);
}

#[tokio::test]
async fn the_list_is_cut_where_it_names_this_cluster() {
    let dns = TwinResolver::new();
    for (i, host) in (1..).zip(["a.test", "us.test", "c.test"]) {
        dns.add("example.test", mx(10 * u16::from(i), host))
            .add(host, a(i));
    }
    let by_name = RouteSettings {
        own_names: [name("us.test")].into(),
        ..RouteSettings::default()
    };
    let by_address = RouteSettings {
        own_addresses: [[192, 0, 2, 2].into()].into(),
        ..RouteSettings::default()
    };
    for settings in [by_name, by_address] {
        let found = find_hosts(&dns, "example.test", None, &settings)
            .await
            .unwrap();
        assert_eq!(names(&found), ["a.test"]);
        let only_us = find_hosts(&dns, "us.test", None, &settings).await;
        assert_eq!(only_us, Err(RouteError::Loop));
    }
}

#[tokio::test]
async fn aliases_are_followed_and_known() {
    let dns = TwinResolver::new();
    dns.add("alias.test", Data::Cname(name("real.test")))
        .add("real.test", mx(10, "mx.test"))
        .add("mx.test", Data::Cname(name("host.test")))
        .add("host.test", a(1));
    let found = find(&dns, "alias.test").await.unwrap();
    assert_eq!(names(&found), ["mx.test"]);
    assert_eq!(found.next_hop, Some(name("alias.test")));
    let addresses = found.hosts[0].addresses.as_ref().unwrap();
    assert_eq!(addresses.canonical, name("host.test"));
}

#[tokio::test]
async fn both_families_in_turn_and_not_too_many() {
    let dns = TwinResolver::new();
    for i in 0..40 {
        dns.add("example.test", a(i));
        dns.add(
            "example.test",
            Data::Aaaa(format!("2001:db8::{i:x}").parse().unwrap()),
        );
    }
    for i in 0..40 {
        dns.add("many.test", mx(i, &format!("m{i}.test")));
        dns.add(&format!("m{i}.test"), a(1));
    }
    let found = find(&dns, "example.test").await.unwrap();
    let addresses = &found.hosts[0].addresses.as_ref().unwrap().addresses;
    assert_eq!(addresses.len(), ADDRESSES_MAX);
    assert!(addresses.iter().step_by(2).all(IpAddr::is_ipv6));
    assert!(addresses.iter().skip(1).step_by(2).all(IpAddr::is_ipv4));
    assert_eq!(
        find(&dns, "many.test").await.unwrap().hosts.len(),
        HOSTS_MAX
    );

    let no_v6 = RouteSettings {
        ipv6: false,
        ..RouteSettings::default()
    };
    let found = find_hosts(&dns, "example.test", None, &no_v6)
        .await
        .unwrap();
    let addresses = &found.hosts[0].addresses.as_ref().unwrap().addresses;
    assert!(addresses.iter().all(IpAddr::is_ipv4));
}

#[tokio::test]
async fn literals_and_routes() {
    let dns = TwinResolver::new();
    dns.add("smart.test", a(9))
        .add("smart.test", mx(10, "mx.test"))
        .add("mx.test", a(8));
    let settings = RouteSettings::default();
    for (domain, ip) in [
        ("[192.0.2.1]", "192.0.2.1"),
        ("[IPv6:2001:db8::1]", "2001:db8::1"),
    ] {
        let found = find(&dns, domain).await.unwrap();
        assert_eq!((names(&found), &found.next_hop), (vec!["-"], &None));
        let addresses = &found.hosts[0].addresses.as_ref().unwrap().addresses;
        assert_eq!(addresses, &[ip.parse::<IpAddr>().unwrap()]);
    }
    for (to, host, is_from_dns) in [
        (RouteTarget::Host(name("smart.test")), "smart.test", false),
        (RouteTarget::Domain(name("smart.test")), "mx.test", true),
        (RouteTarget::Address([192, 0, 2, 7].into()), "-", false),
    ] {
        let route = Route {
            to,
            port: 587,
            tls: super::super::RouteTls::ByPolicy,
        };
        let found = find_hosts(&dns, "example.test", Some(&route), &settings)
            .await
            .unwrap();
        assert_eq!((names(&found), found.hosts[0].port), (vec![host], 587));
        assert_eq!(found.is_from_dns, is_from_dns);
    }
}
