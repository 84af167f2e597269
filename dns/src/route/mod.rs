//! Where a domain's mail goes (RFC 5321 §5): by the operator's routes, or by the DNS.

mod find;
mod table;

pub use find::{
    ADDRESSES_MAX, Destination, HOSTS_MAX, Host, HostAddresses, RouteError, RouteSettings,
    find_hosts,
};
pub use table::{Route, RouteTable, RouteTarget, RouteTls};
