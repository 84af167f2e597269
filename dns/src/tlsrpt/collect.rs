//! Counts a domain's sessions until its report is due. What is counted at several front ends is put together by `merge`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::report::{FailureDetails, Policy, PolicyResults, PolicyType, ResultType};
use crate::{
    DnsName,
    dane::{Matching, Selector, TlsaRecord, Usage},
    sts,
    tls::TlsFault,
};

/// Policies of a domain in one report: it may change them, and under DANE each host has its own.
pub const POLICIES_MAX: usize = 32;

/// Kinds of failures that are told apart under one policy; further ones are counted by their result alone.
pub const DETAILS_MAX: usize = 256;

/// The most of a failure's own words.
const REASON_BYTES_MAX: usize = 200;

/// A domain's sessions, by policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainResults {
    policies: Vec<PolicyResults>,
}

/// What came of one session.
#[derive(Clone, Debug)]
pub struct SessionResult {
    /// What it was judged by.
    pub policy: Policy,
    /// What failed, if anything did.
    pub failure: Option<ResultType>,
    /// From which address.
    pub sending_ip: Option<IpAddr>,
    /// To which host.
    pub mx: Option<DnsName>,
    /// At which address.
    pub receiving_ip: Option<IpAddr>,
    /// The failure in words.
    pub reason: Option<String>,
}

impl DomainResults {
    /// Counts a session.
    pub fn add(&mut self, session: SessionResult) {
        let Some(results) = self.policy(session.policy) else {
            return;
        };
        let Some(result_type) = session.failure else {
            results.summary.total_successful_session_count += 1;
            return;
        };
        results.summary.total_failure_session_count += 1;
        let reason = session.reason.map(|mut reason| {
            reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
            reason
        });
        let details = FailureDetails {
            result_type,
            sending_mta_ip: session.sending_ip,
            receiving_mx_hostname: session.mx,
            receiving_ip: session.receiving_ip,
            failed_session_count: 1,
            failure_reason_code: reason,
        };
        add_details(&mut results.failure_details, details);
    }

    /// Counts what was counted elsewhere, too.
    pub fn merge(&mut self, other: DomainResults) {
        for theirs in other.policies {
            let Some(ours) = self.policy(theirs.policy) else {
                continue;
            };
            let (sum, more) = (&mut ours.summary, theirs.summary);
            sum.total_successful_session_count += more.total_successful_session_count;
            sum.total_failure_session_count += more.total_failure_session_count;
            for details in theirs.failure_details {
                add_details(&mut ours.failure_details, details);
            }
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// For the report.
    pub fn into_policies(self) -> Vec<PolicyResults> {
        self.policies
    }

    /// None if there are too many already.
    fn policy(&mut self, policy: Policy) -> Option<&mut PolicyResults> {
        let known = self
            .policies
            .iter()
            .position(|results| results.policy == policy);
        let at = match known {
            Some(at) => at,
            None if self.policies.len() == POLICIES_MAX => return None,
            None => {
                self.policies.push(PolicyResults {
                    policy,
                    summary: super::Summary::default(),
                    failure_details: Vec::new(),
                });
                self.policies.len() - 1
            }
        };
        self.policies.get_mut(at)
    }
}

fn add_details(all: &mut Vec<FailureDetails>, details: FailureDetails) {
    let count = details.failed_session_count;
    let bare = FailureDetails {
        result_type: details.result_type,
        sending_mta_ip: None,
        receiving_mx_hostname: None,
        receiving_ip: None,
        failed_session_count: 0,
        failure_reason_code: None,
    };
    let is_same = |known: &FailureDetails, wanted: &FailureDetails| {
        let mut known = known.clone();
        known.failed_session_count = wanted.failed_session_count;
        known == *wanted
    };
    if let Some(known) = all.iter_mut().find(|known| is_same(known, &details)) {
        known.failed_session_count += count;
    } else if all.len() < DETAILS_MAX {
        all.push(details);
    } else if let Some(known) = all.iter_mut().find(|known| is_same(known, &bare)) {
        known.failed_session_count += count;
    } else {
        // One for each result: no more than there are of those.
        all.push(FailureDetails {
            failed_session_count: count,
            ..bare
        });
    }
}

/// A host's DANE records as a report writes them (RFC 8460 §4.4, `policy-string`).
pub fn dane_strings(records: &[TlsaRecord]) -> Vec<String> {
    let text = |record: &TlsaRecord| {
        let usage = match record.usage {
            Usage::DaneTa => 2,
            Usage::DaneEe => 3,
            Usage::Other(number) => number,
        };
        let selector = match record.selector {
            Selector::Certificate => 0,
            Selector::PublicKey => 1,
            Selector::Other(number) => number,
        };
        let matching = match record.matching {
            Matching::Exact => 0,
            Matching::Sha256 => 1,
            Matching::Sha512 => 2,
            Matching::Other(number) => number,
        };
        // A whole certificate would fill the report; its beginning tells it from others.
        let hex: String = record
            .data
            .iter()
            .take(64)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{usage} {selector} {matching} {hex}")
    };
    records.iter().map(text).collect()
}

/// An MTA-STS policy's lines and patterns as a report writes them.
pub fn sts_strings(policy: &sts::Policy) -> (Vec<String>, Vec<String>) {
    let lines = policy.to_string();
    let patterns = policy.mx.iter().map(ToString::to_string);
    (
        lines.lines().map(str::to_owned).collect(),
        patterns.collect(),
    )
}

impl Policy {
    /// That there was none.
    pub fn none(domain: DnsName) -> Policy {
        Policy {
            policy_type: PolicyType::NoPolicyFound,
            policy_string: Vec::new(),
            policy_domain: domain,
            mx_host: Vec::new(),
        }
    }

    /// A host's DANE records.
    pub fn dane(domain: DnsName, host: &DnsName, records: &[TlsaRecord]) -> Policy {
        Policy {
            policy_type: PolicyType::Tlsa,
            policy_string: dane_strings(records),
            policy_domain: domain,
            mx_host: vec![host.to_string()],
        }
    }

    /// A domain's MTA-STS policy.
    pub fn sts(domain: DnsName, policy: &sts::Policy) -> Policy {
        let (policy_string, mx_host) = sts_strings(policy);
        Policy {
            policy_type: PolicyType::Sts,
            policy_string,
            policy_domain: domain,
            mx_host,
        }
    }
}

impl From<TlsFault> for ResultType {
    fn from(fault: TlsFault) -> ResultType {
        match fault {
            TlsFault::DaneMismatch => ResultType::ValidationFailure,
            TlsFault::WrongName => ResultType::CertificateHostMismatch,
            TlsFault::Expired => ResultType::CertificateExpired,
            TlsFault::NotTrusted => ResultType::CertificateNotTrusted,
        }
    }
}

impl From<&sts::StsFault> for ResultType {
    fn from(fault: &sts::StsFault) -> ResultType {
        match fault {
            sts::StsFault::Fetch(sts::FetchError::Certificate(_)) => ResultType::StsWebpkiInvalid,
            sts::StsFault::Lookup(_) | sts::StsFault::Fetch(_) => ResultType::StsPolicyFetchError,
            sts::StsFault::Invalid(_) => ResultType::StsPolicyInvalid,
        }
    }
}

#[cfg(test)]
mod tests;
