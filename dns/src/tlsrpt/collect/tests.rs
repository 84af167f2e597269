//! From sessions to a report's bytes.

use std::io::Read as _;

use serde_json::{Value, json};

use super::*;
use crate::tlsrpt::{REPORT_BYTES_MAX, Report, ReportMeta};

fn name(text: &str) -> DnsName {
    DnsName::parse(text).unwrap()
}

fn session(failure: Option<ResultType>, mx: &str) -> SessionResult {
    let text = b"version: STSv1\nmode: enforce\nmx: *.example.test\nmax_age: 86400\n";
    SessionResult {
        policy: Policy::sts(name("example.test"), &sts::Policy::parse(text).unwrap()),
        failure,
        sending_ip: Some([192, 0, 2, 1].into()),
        mx: Some(name(mx)),
        receiving_ip: Some([192, 0, 2, 2].into()),
        reason: None,
    }
}

fn meta() -> ReportMeta {
    ReportMeta {
        organization: "Sender Ltd.".to_owned(),
        contact: "postmaster@sender.test".to_owned(),
        submitter: name("sender.test"),
        unique: "1".to_owned(),
        start: 1_704_067_200,
        end: 1_704_153_599,
    }
}

/// A report's bytes, read as whom it is for reads them.
fn read(bytes: &[u8]) -> Value {
    let mut json = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .read_to_end(&mut json)
        .unwrap();
    assert!(json.len() <= REPORT_BYTES_MAX);
    serde_json::from_slice(&json).unwrap()
}

#[test]
fn sessions_of_two_front_ends_make_one_report() {
    let expired = Some(ResultType::CertificateExpired);
    let (mut one, mut two) = (DomainResults::default(), DomainResults::default());
    for failure in [None, None, expired] {
        one.add(session(failure, "mx1.example.test"));
        two.add(session(failure, "mx1.example.test"));
    }
    two.add(session(expired, "mx2.example.test"));
    let mut plain = session(Some(ResultType::StarttlsNotSupported), "mx1.example.test");
    plain.policy = Policy::none(name("example.test"));
    two.add(plain);
    one.merge(two);
    let report = Report::new(&meta(), one.into_policies());
    let file = report.file(&meta(), &name("example.test")).unwrap();
    assert_eq!(
        file.name,
        "sender.test!example.test!1704067200!1704153599!1.json.gz"
    );
    let subject = "Report Domain: example.test Submitter: sender.test Report-ID: <1@sender.test>";
    assert_eq!(file.subject, subject);
    let failure = |result: &str, mx: &str, count: u32| {
        json!({
            "result-type": result, "sending-mta-ip": "192.0.2.1", "receiving-mx-hostname": mx,
            "receiving-ip": "192.0.2.2", "failed-session-count": count,
        })
    };
    let expected = json!({
        "organization-name": "Sender Ltd.",
        "date-range": {"start-datetime": "2024-01-01T00:00:00Z", "end-datetime": "2024-01-01T23:59:59Z"},
        "contact-info": "postmaster@sender.test",
        "report-id": "1@sender.test",
        "policies": [{
            "policy": {
                "policy-type": "sts",
                "policy-string": ["version: STSv1", "mode: enforce", "mx: *.example.test", "max_age: 86400"],
                "policy-domain": "example.test",
                "mx-host": ["*.example.test"],
            },
            "summary": {"total-successful-session-count": 4, "total-failure-session-count": 3},
            "failure-details": [
                failure("certificate-expired", "mx1.example.test", 2),
                failure("certificate-expired", "mx2.example.test", 1),
            ],
        }, {
            "policy": {"policy-type": "no-policy-found", "policy-domain": "example.test"},
            "summary": {"total-successful-session-count": 0, "total-failure-session-count": 1},
            "failure-details": [failure("starttls-not-supported", "mx1.example.test", 1)],
        }],
    });
    assert_eq!(read(&file.bytes), expected);
    assert_eq!(serde_json::from_value::<Report>(expected).unwrap(), report);
}

#[test]
fn what_is_told_apart_is_bounded_and_nothing_goes_uncounted() {
    let mut results = DomainResults::default();
    let sessions = 2 * u64::try_from(DETAILS_MAX).unwrap();
    for i in 0..sessions {
        let mut session = session(
            Some(ResultType::ValidationFailure),
            &format!("m{i}.example.test"),
        );
        session.reason = Some("ß".repeat(REASON_BYTES_MAX));
        results.add(session);
    }
    for i in 0..2 * POLICIES_MAX {
        let mut session = session(None, "m.example.test");
        session.policy = Policy::none(name(&format!("d{i}.test")));
        results.add(session);
    }
    assert_eq!(results.policies.len(), POLICIES_MAX);
    let counted = &results.policies[0];
    assert_eq!(counted.summary.total_failure_session_count, sessions);
    assert_eq!(counted.failure_details.len(), DETAILS_MAX + 1);
    let counts = counted
        .failure_details
        .iter()
        .map(|details| details.failed_session_count);
    assert_eq!(counts.sum::<u64>(), sessions);
    let report = Report::new(&meta(), results.into_policies());
    read(&report.file(&meta(), &name("example.test")).unwrap().bytes);
}
