//! What shows only when several values are seen together: settings that are right one by one and cannot work with one
//! another. Each is reported with the line of one of them, and with what would be right.

use std::net::SocketAddr;

use mailrook_imap_server::Settings as ImapSettings;
use mailrook_smtp_server::Settings as SmtpSettings;

use super::{Address, Config, Connections, Imap, Role, Size, Smtp, reader::Section};

/// The services with TLS from the first byte.
const TLS: [&str; 3] = ["submissions", "imaps", "pop3s"];

/// The services where one logs in, after STARTTLS.
const STARTTLS: [&str; 3] = ["submission", "imap", "pop3"];

/// A service is its role's, and who has no mail of its own gets it from other nodes.
pub fn roles(config: &Config, root: &Section<'_, '_>, listen: &Section<'_, '_>) {
    for (name, addresses) in config.listen.services() {
        let Some(role) = Role::of_service(name).filter(|role| !config.has_role(*role)) else {
            continue;
        };
        if !addresses.is_empty() {
            let role = role.name();
            let text = format!(
                "listen.{name} is of the role {role:?}, which roles leaves out: write {name} = [], or add {role:?} to roles"
            );
            listen.reader.report(listen.line_of(name), text);
        }
    }
    if !config.has_role(Role::Store) && config.cluster.listen.is_empty() {
        let text = "roles leaves \"store\" out: such a node has no mail of its own, and joins a cluster whose other nodes reach \
                    it; write [cluster] with listen, as in listen = [\"10.0.0.1:7424\"], and see `mailrook node join --help`";
        root.reader.report(root.line_of("roles"), text);
    }
}

/// Without a certificate, TLS from the first byte is not possible; and without either, no password is taken.
pub fn tls(config: &Config, listen: &Section<'_, '_>) {
    if !config.tls.certificate.is_empty() {
        return;
    }
    let services = config.listen.services();
    let first = |of: [&str; 3]| {
        let listens =
            |(name, addresses): &&(&str, &Vec<Address>)| of.contains(name) && !addresses.is_empty();
        services.iter().find(listens).map(|(name, _)| *name)
    };
    let remedy = "write [[tls.certificate]] with chain and key, or";
    let (name, text) = if let Some(name) = first(TLS) {
        (name, format!("needs a certificate: {remedy}"))
    } else if let Some(name) = first(STARTTLS).filter(|_| !config.login.plaintext) {
        let text = format!("takes no password without TLS, so that nobody could log in: {remedy}");
        (name, text)
    } else {
        return;
    };
    let text = format!("listen.{name} {text} {name} = [] to do without");
    listen.reader.report(listen.line_of(name), text);
}

/// A password in clear must not cross a network.
pub fn plaintext(config: &Config, login: &Section<'_, '_>) {
    if !config.login.plaintext {
        return;
    }
    for (name, addresses) in config.listen.services() {
        let logs_in = STARTTLS.contains(&name);
        if let Some(open) = addresses
            .iter()
            .find(|address| logs_in && !address.is_local())
        {
            let text = format!(
                "login.plaintext is for this machine alone, and listen.{name} has {open}, which others can reach"
            );
            login.reader.report(login.line_of("plaintext"), text);
        }
    }
}

/// Who reaches the admin port and has the token is the master of all mail.
pub fn admin(config: &Config, admin: &Section<'_, '_>) {
    for address in &config.admin.listen {
        let loopback = matches!(address, Address::Tcp(tcp) if tcp.ip().is_loopback());
        if !loopback {
            let text = format!(
                "admin.listen takes loopback addresses only, as in \"127.0.0.1:8026\"; {address} is none"
            );
            admin.reader.report(admin.line_of("listen"), text);
        }
    }
}

/// Other nodes come over TCP, and must be told where.
pub fn cluster(config: &Config, cluster: &Section<'_, '_>) {
    for address in &config.cluster.listen {
        if !matches!(address, Address::Tcp(_) | Address::Any(_)) {
            let text = format!(
                "cluster.listen takes addresses and ports, as in \"10.0.0.1:7424\"; {address} is none"
            );
            cluster.reader.report(cluster.line_of("listen"), text);
        }
    }
    let port = config.cluster.advertise.rsplit_once(':');
    let is_address = port.is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if !is_address {
        let text = format!(
            "cluster.advertise is a host and a port, as in \"node1.example.org:7424\"; {:?} is not",
            config.cluster.advertise
        );
        cluster.reader.report(cluster.line_of("advertise"), text);
    }
}

/// Two cannot listen on one address.
pub fn addresses(
    config: &Config,
    listen: &Section<'_, '_>,
    admin: &Section<'_, '_>,
    cluster: &Section<'_, '_>,
) {
    let services = config.listen.services();
    let of_services = services.iter().map(|(name, list)| (listen, *name, *list));
    let mut taken: Vec<(String, &Address)> = Vec::new();
    let others = [
        (admin, "listen", &config.admin.listen),
        (cluster, "listen", &config.cluster.listen),
    ];
    for (section, name, list) in of_services.chain(others) {
        for address in list {
            let full = section.full(name);
            match taken.iter().find(|(_, other)| clash(other, address)) {
                Some((other_name, other)) => {
                    let text = format!(
                        "{full}: {address} cannot be opened beside {other} of {other_name}; give each service an address \
                         or a port of its own"
                    );
                    section.reader.report(section.line_of(name), text);
                }
                None => taken.push((full, address)),
            }
        }
    }
    let socket = Address::Unix(config.admin.socket.clone());
    if let Some((name, _)) = taken.iter().find(|(_, other)| **other == socket) {
        let text = format!("admin.socket: {socket} is also in {name}; give it a path of its own");
        admin.reader.report(admin.line_of("socket"), text);
    }
}

/// Whether the second of two addresses cannot be opened.
fn clash(one: &Address, other: &Address) -> bool {
    let tcp = |one: &SocketAddr, other: &SocketAddr| {
        let same_ip = one.ip() == other.ip()
            || (one.is_ipv4() == other.is_ipv4()
                && (one.ip().is_unspecified() || other.ip().is_unspecified()));
        // The kernel chooses another port for each 0.
        same_ip && one.port() == other.port() && one.port() != 0
    };
    match (one, other) {
        (Address::Any(port), Address::Tcp(address))
        | (Address::Tcp(address), Address::Any(port)) => *port == address.port() && *port != 0,
        (Address::Any(one), Address::Any(other)) => one == other && *one != 0,
        (Address::Tcp(one), Address::Tcp(other)) => tcp(one, other),
        (one, other) => one == other,
    }
}

/// A message that does not fit the memory for messages would be put off for ever.
pub fn smtp_memory(smtp: &Smtp, section: &Section<'_, '_>) {
    let needed = SmtpSettings::memory_min(smtp.message_size_max.0);
    memory(
        section,
        "message_size_max",
        smtp.message_size_max,
        1,
        smtp.memory_max,
        needed,
    );
}

/// The same for APPEND, of which several messages may come in one command.
pub fn imap_memory(imap: &Imap, section: &Section<'_, '_>) {
    let needed = ImapSettings::append_memory_min(imap.append_size_max.0);
    let factor = ImapSettings::append_memory_min(1) - ImapSettings::append_memory_min(0);
    memory(
        section,
        "append_size_max",
        imap.append_size_max,
        factor,
        imap.memory_max,
        needed,
    );
}

/// `needed` is what the memory must have at least, which grows by `factor` with the size. Reported where the size is
/// written, or else the memory: one of them is.
fn memory(
    section: &Section<'_, '_>,
    name: &'static str,
    size_max: Size,
    factor: u64,
    memory_max: Size,
    needed: u64,
) {
    const MB: u64 = 1_000_000;
    let Some(missing) = needed
        .checked_sub(memory_max.0)
        .filter(|missing| *missing > 0)
    else {
        return;
    };
    let memory_min = Size(needed.div_ceil(MB) * MB);
    let size_fits = Size((size_max.0.saturating_sub(missing.div_ceil(factor))) / MB * MB);
    let text = format!(
        "{}: messages of {size_max} do not fit {} = \"{memory_max}\": write memory_max = \"{memory_min}\" or more, or \
         {name} = \"{size_fits}\" or less",
        section.full(name),
        section.full("memory_max"),
    );
    let line = section
        .line_of(name)
        .or_else(|| section.line_of("memory_max"));
    section.reader.report(line, text);
}

/// A bound above that of the whole holds nothing, and one address, or those who never log in, can keep all others out.
pub fn connections(connections: &Connections, section: &Section<'_, '_>) {
    let all = ("max", connections.max);
    let of_address = ("per_address_max", connections.per_address_max);
    let pending = ("pending_max", connections.pending_max);
    let pending_of_address = (
        "pending_per_address_max",
        connections.pending_per_address_max,
    );
    for (part, whole) in [
        (of_address, all),
        (pending, all),
        (pending_of_address, of_address),
        (pending_of_address, pending),
    ] {
        if part.1 > whole.1 {
            let text = format!(
                "{} = {} is above {} = {}, of which it is a part; write {} or less, or raise {}",
                section.full(part.0),
                part.1,
                section.full(whole.0),
                whole.1,
                whole.1,
                whole.0
            );
            section.reader.report(section.line_of(part.0), text);
        }
    }
}
