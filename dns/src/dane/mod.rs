//! DANE for SMTP (RFC 7672): what a host's certificate must be, by records that DNSSEC vouches for.

mod record;
mod status;

pub use record::{DATA_BYTES_MAX, Matching, Selector, TlsaRecord, Usage, matching_records};
pub use status::{DaneStatus, RECORDS_MAX, dane_status};
