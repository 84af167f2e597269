//! What lists in the DNS (RFC 5782) say of addresses and domains, and the confirmed name of an address.

mod dnsbl;
mod reverse;

pub use dnsbl::{DnsList, ListError, Listing, ask_address, ask_domain};
pub use reverse::{NAMES_MAX, ReverseName, confirmed_name, reverse_query};
