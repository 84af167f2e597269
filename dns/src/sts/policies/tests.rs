//! What becomes of a domain's policy as its record and its web server change.

use bytes::Bytes;
use futures::future::BoxFuture;

use super::*;
use crate::resolve::{Data, TwinResolver};

const DAY: Duration = Duration::from_secs(86_400);

/// A web server with one answer.
struct Web {
    says: Mutex<Result<Bytes, FetchError>>,
    asked: Mutex<u32>,
}

impl FetchPolicy for Web {
    fn fetch<'a>(&'a self, _: &'a DnsName) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        *self.asked.lock() += 1;
        let says = self.says.lock().clone();
        Box::pin(std::future::ready(says))
    }
}

struct Domain {
    dns: Arc<TwinResolver>,
    web: Arc<Web>,
    policies: StsPolicies,
    began: Instant,
}

impl Domain {
    fn new() -> Domain {
        let dns = Arc::new(TwinResolver::new());
        let web = Arc::new(Web {
            says: Mutex::new(Err(FetchError::Timeout)),
            asked: Mutex::default(),
        });
        Domain {
            policies: StsPolicies::new(dns.clone(), web.clone()),
            dns,
            web,
            began: Instant::now(),
        }
    }

    /// The record says this from now on; nothing means that it is gone.
    fn record(&self, id: Option<&str>) {
        let absent = LookupError::NoRecords {
            security: crate::resolve::Security::Insecure,
        };
        self.dns.fail("_mta-sts.example.test", Kind::Txt, absent);
        if let Some(id) = id {
            self.dns.clear("_mta-sts.example.test", Kind::Txt);
            let text = format!("v=STSv1; id={id};").into_bytes();
            self.dns
                .add("_mta-sts.example.test", Data::Txt(text.into()));
        }
    }

    fn page(&self, mode: &str) {
        let text = format!("version: STSv1\nmode: {mode}\nmx: mx.test\nmax_age: 172800\n");
        *self.web.says.lock() = Ok(text.into());
    }

    /// The mode, whether there is a fault, and how often the web server was asked, so long after the beginning.
    async fn at(&self, after: Duration) -> (Option<Mode>, bool, u32) {
        let name = DnsName::parse("example.test").unwrap();
        let found = self.policies.policy_at(&name, self.began + after).await;
        let mode = found.policy.map(|policy| policy.mode);
        (mode, found.fault.is_some(), *self.web.asked.lock())
    }
}

#[tokio::test]
async fn a_policy_is_fetched_once_for_each_id() {
    let domain = Domain::new();
    assert_eq!(domain.at(Duration::ZERO).await, (None, false, 0));
    assert!(domain.policies.domains.lock().is_empty());
    domain.record(Some("1"));
    domain.page("testing");
    assert_eq!(
        domain.at(Duration::ZERO).await,
        (Some(Mode::Testing), false, 1)
    );
    domain.page("enforce");
    assert_eq!(domain.at(DAY).await, (Some(Mode::Testing), false, 1));
    domain.record(Some("2"));
    assert_eq!(domain.at(DAY).await, (Some(Mode::Enforce), false, 2));
}

#[tokio::test]
async fn what_cannot_be_fetched_leaves_the_old_policy_until_its_end() {
    let domain = Domain::new();
    domain.record(Some("1"));
    domain.page("enforce");
    assert_eq!(
        domain.at(Duration::ZERO).await,
        (Some(Mode::Enforce), false, 1)
    );
    domain.record(Some("2"));
    *domain.web.says.lock() = Err(FetchError::Status(404));
    assert_eq!(domain.at(DAY).await, (Some(Mode::Enforce), true, 2));
    // Not again at once.
    assert_eq!(
        domain.at(DAY + FETCH_PAUSE / 2).await,
        (Some(Mode::Enforce), true, 2)
    );
    *domain.web.says.lock() = Ok("nonsense".into());
    assert_eq!(
        domain.at(DAY + FETCH_PAUSE).await,
        (Some(Mode::Enforce), true, 3)
    );
    assert_eq!(domain.at(2 * DAY).await, (None, true, 4));
}

#[tokio::test]
async fn a_record_that_is_gone_or_cannot_be_asked_for_leaves_it_too() {
    let domain = Domain::new();
    domain.record(Some("1"));
    domain.page("enforce");
    assert_eq!(
        domain.at(Duration::ZERO).await,
        (Some(Mode::Enforce), false, 1)
    );
    domain.record(None);
    assert_eq!(domain.at(DAY).await, (Some(Mode::Enforce), false, 1));
    domain
        .dns
        .fail("_mta-sts.example.test", Kind::Txt, LookupError::Bogus);
    assert_eq!(domain.at(DAY).await, (Some(Mode::Enforce), true, 1));
    assert_eq!(domain.at(2 * DAY).await, (None, true, 1));
}

#[tokio::test]
async fn a_domain_says_that_it_has_none_any_more() {
    let domain = Domain::new();
    domain.record(Some("1"));
    domain.page("enforce");
    domain.at(Duration::ZERO).await;
    domain.record(Some("2"));
    *domain.web.says.lock() = Ok("version: STSv1\nmode: none\nmax_age: 86400\n".into());
    assert_eq!(domain.at(DAY).await, (Some(Mode::None), false, 2));
    let host = DnsName::parse("other.test").unwrap();
    let name = DnsName::parse("example.test").unwrap();
    let policy = domain.policies.policy_at(&name, domain.began + DAY);
    assert_eq!(
        sts_status(policy.await.policy.as_deref(), &host),
        StsStatus::NoPolicy
    );
}

#[test]
fn the_domains_are_bounded() {
    let domain = Domain::new();
    for i in 0..u32::try_from(DOMAINS_MAX).unwrap() + 50 {
        let name = DnsName::parse(&format!("d{i}.test")).unwrap();
        domain
            .policies
            .entry(&name, domain.began + Duration::from_millis(i.into()));
        assert!(domain.policies.domains.lock().len() <= DOMAINS_MAX);
    }
    let newest = DnsName::parse(&format!("d{}.test", DOMAINS_MAX + 49)).unwrap();
    let domains = domain.policies.domains.lock();
    assert!(domains.contains_key(&newest));
    assert!(!domains.contains_key(&DnsName::parse("d0.test").unwrap()));
}
