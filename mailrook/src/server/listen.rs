//! Opens the ports, all of them before anything else starts.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use mailrook_net::{Bind, InheritedSockets, Listener};

use crate::{
    config::{Address, Config},
    privileges::Identity,
};

/// The services, in the order of [`crate::config::Listen::services`].
pub const SERVICES: [&str; 9] = [
    "smtp",
    "submission",
    "submissions",
    "lmtp",
    "imap",
    "imaps",
    "pop3",
    "pop3s",
    "http",
];

/// Who may use a unix socket: the user and the group of the server.
const SOCKET_MODE: u32 = 0o660;

/// An open port.
#[derive(Debug)]
pub struct Socket {
    /// `imaps`
    pub service: &'static str,
    /// As it is configured.
    pub configured: String,
    /// The port.
    pub listener: Listener,
}

/// Opens everything that is configured. Unix sockets belong to whom the process becomes: those who deliver over them are
/// in its group.
///
/// # Errors
/// The first that cannot be opened.
pub fn bind_all(config: &Config, owner: Option<&Identity>) -> Result<Vec<Socket>, String> {
    let mut inherited = InheritedSockets::from_env();
    let mut sockets = Vec::new();
    for (service, addresses) in config.listen.services() {
        for address in addresses {
            let opened = bind(address, owner, &mut inherited)
                .map_err(|error| explain(service, address, &error))?;
            sockets.extend(opened.into_iter().map(|listener| Socket {
                service,
                configured: address.to_string(),
                listener,
            }));
        }
    }
    Ok(sockets)
}

fn bind(
    address: &Address,
    owner: Option<&Identity>,
    inherited: &mut InheritedSockets,
) -> io::Result<Vec<Listener>> {
    match address {
        Address::Tcp(address) => Ok(vec![Listener::bind(&Bind::Tcp(*address))?]),
        Address::Unix(path) => {
            let listener = Listener::bind(&Bind::Unix {
                path: path.clone(),
                mode: SOCKET_MODE,
            })?;
            if let Some(owner) = owner {
                owner.give(path)?;
            }
            Ok(vec![listener])
        }
        Address::Any(port) => {
            let v4 = Listener::bind(&Bind::Tcp((Ipv4Addr::UNSPECIFIED, *port).into()))?;
            // The kernel chose a port if it was zero; both families have the same.
            let port = v4.local_addr().map_or(*port, |address| address.port());
            match Listener::bind(&Bind::Tcp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))) {
                Ok(v6) => Ok(vec![v4, v6]),
                Err(error) if lacks_ipv6(&error) => Ok(vec![v4]),
                Err(error) => Err(error),
            }
        }
        Address::Systemd(name) => {
            let mut listeners = Vec::new();
            while let Some(listener) = inherited.take(name)? {
                listeners.push(listener);
            }
            match listeners.is_empty() {
                true => Err(io::Error::other(format!(
                    "systemd handed over no socket with FileDescriptorName={name}"
                ))),
                false => Ok(listeners),
            }
        }
    }
}

/// A machine without IPv6 has no address for `*` there.
fn lacks_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn explain(service: &str, address: &Address, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 are opened by root (which is given up afterwards), by systemd (\"systemd:NAME\"), or with \
             the capability CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrInUse => "; another program listens there",
        _ => "",
    };
    format!("listen.{service}: cannot listen on {address}: {error}{remedy}")
}
