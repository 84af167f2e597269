//! MTA-STS (RFC 8461): what a domain says of its mail hosts over HTTPS, where its zone is not signed.

mod fetch;
mod policies;
mod policy;
mod record;

pub use fetch::{FetchError, FetchPolicy, HttpsFetcher, POLICY_BYTES_MAX};
pub use policies::{DOMAINS_MAX, FETCH_PAUSE, StsFault, StsLookup, StsPolicies, sts_status};
pub use policy::{MAX_AGE_MAX, MX_PATTERNS_MAX, Mode, MxPattern, Policy, PolicyError};
pub use record::{StsRecord, TEXT_BYTES_MAX};
