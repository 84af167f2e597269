//! The report as JSON (RFC 8460 §4.4), compressed, with what its transport needs.

use std::{io::Write as _, net::IpAddr};

use flate2::{Compression, write::GzEncoder};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::date::rfc3339;
use crate::DnsName;

/// The largest report before compression. What is collected is bounded so that one is never larger.
pub const REPORT_BYTES_MAX: usize = 8 << 20;

/// What went wrong (RFC 8460 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultType {
    /// STARTTLS is not offered.
    StarttlsNotSupported,
    /// The certificate has none of the names.
    CertificateHostMismatch,
    /// Its time is over, or has not come.
    CertificateExpired,
    /// No CA that is trusted vouches for it.
    CertificateNotTrusted,
    /// Anything else that failed.
    ValidationFailure,
    /// The TLSA records are not good.
    TlsaInvalid,
    /// The records, or their absence, are bogus.
    DnssecInvalid,
    /// DANE is demanded, and there is none.
    DaneRequired,
    /// The MTA-STS policy cannot be fetched.
    StsPolicyFetchError,
    /// It is not valid.
    StsPolicyInvalid,
    /// The certificate of its web server is not.
    StsWebpkiInvalid,
}

/// By which policy a host was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyType {
    /// DANE.
    Tlsa,
    /// MTA-STS.
    Sts,
    /// There was none.
    NoPolicyFound,
}

/// A policy as it was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Policy {
    /// Its kind.
    pub policy_type: PolicyType,
    /// Its records or lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_string: Vec<String>,
    /// Whose it is.
    pub policy_domain: DnsName,
    /// The host (TLSA), or the patterns (MTA-STS).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mx_host: Vec<String>,
}

/// Sessions under one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyResults {
    /// The policy.
    pub policy: Policy,
    /// How many there were.
    pub summary: Summary,
    /// What failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failure_details: Vec<FailureDetails>,
}

/// How many sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    /// Good ones.
    pub total_successful_session_count: u64,
    /// Failed ones.
    pub total_failure_session_count: u64,
}

/// Sessions that failed in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FailureDetails {
    /// How.
    pub result_type: ResultType,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending_mta_ip: Option<IpAddr>,
    /// To which host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving_mx_hostname: Option<DnsName>,
    /// At which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving_ip: Option<IpAddr>,
    /// How many.
    pub failed_session_count: u64,
    /// The software's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason_code: Option<String>,
}

/// From when until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DateRange {
    /// RFC 3339.
    pub start_datetime: String,
    /// RFC 3339.
    pub end_datetime: String,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Who sends it.
    pub organization_name: String,
    /// Of which time it speaks.
    pub date_range: DateRange,
    /// Whom to ask.
    pub contact_info: String,
    /// No other one has it.
    pub report_id: String,
    /// What happened.
    pub policies: Vec<PolicyResults>,
}

/// Who sends a report of which time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportMeta {
    /// The site's name.
    pub organization: String,
    /// An address, or a URL.
    pub contact: String,
    /// The sending domain, which also makes the report's id one of its own.
    pub submitter: DnsName,
    /// Something that no other report of this domain has.
    pub unique: String,
    /// Seconds since 1970.
    pub start: u64,
    /// Seconds since 1970.
    pub end: u64,
}

/// A report, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFile {
    /// For the part of the mail (RFC 8460 §5.1).
    pub name: String,
    /// For the header field (RFC 8460 §5.3).
    pub subject: String,
    /// What is posted, and what the mail's part holds, unencoded.
    pub bytes: Vec<u8>,
}

impl ReportFile {
    /// RFC 8460 §6.4: the type of the part, and of what is posted.
    pub const CONTENT_TYPE: &str = "application/tlsrpt+gzip";
}

/// Why there is no file.
#[derive(Debug, Error)]
pub enum ReportError {
    /// It is larger than [`REPORT_BYTES_MAX`].
    #[error("the report would have {0} bytes")]
    TooLarge(usize),
    /// Our own fault.
    #[error("the report cannot be written: {0}")]
    Write(#[from] std::io::Error),
}

impl Report {
    /// One about these results.
    pub fn new(meta: &ReportMeta, policies: Vec<PolicyResults>) -> Report {
        Report {
            organization_name: meta.organization.clone(),
            date_range: DateRange {
                start_datetime: rfc3339(meta.start),
                end_datetime: rfc3339(meta.end),
            },
            contact_info: meta.contact.clone(),
            report_id: format!("{}@{}", meta.unique, meta.submitter),
            policies,
        }
    }

    /// As it is sent: `domain` is whom it speaks of.
    pub fn file(&self, meta: &ReportMeta, domain: &DnsName) -> Result<ReportFile, ReportError> {
        let json = serde_json::to_vec(self).map_err(std::io::Error::other)?;
        if json.len() > REPORT_BYTES_MAX {
            return Err(ReportError::TooLarge(json.len()));
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&json)?;
        let (submitter, unique) = (&meta.submitter, &meta.unique);
        Ok(ReportFile {
            name: format!(
                "{submitter}!{domain}!{}!{}!{unique}.json.gz",
                meta.start, meta.end
            ),
            subject: format!(
                "Report Domain: {domain} Submitter: {submitter} Report-ID: <{unique}@{submitter}>"
            ),
            bytes: encoder.finish()?,
        })
    }
}
