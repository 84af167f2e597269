//! TLSRPT (RFC 8460): who wants to know how TLS went with their hosts, and the report. It is sent elsewhere.

mod collect;
mod date;
mod record;
mod report;

pub use collect::{
    DETAILS_MAX, DomainResults, POLICIES_MAX, SessionResult, dane_strings, sts_strings,
};
pub use record::{RUA_MAX, ReportUri, TEXT_BYTES_MAX, TlsrptRecord};
pub use report::{
    DateRange, FailureDetails, Policy, PolicyResults, PolicyType, REPORT_BYTES_MAX, Report,
    ReportError, ReportFile, ReportMeta, ResultType, Summary,
};
