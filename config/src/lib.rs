//! The configuration: one TOML file, read strictly. What it can say, and the defaults, stand in [`EXAMPLE`], which
//! `mailrook config example` prints; a test keeps the two together.
//!
//! - `reader` walks the document: every key is known, or reported with its line and the nearest right name.
//! - `value` reads kinds of values: sizes, durations, addresses.
//! - `checks` looks at what shows only when several values are seen together.
//!
//! *Architecture Invariant:* this crate starts nothing and opens nothing but the file. What it hands out can be used as
//! it is: nobody checks a setting again.

mod checks;
mod oauth;
mod reader;
mod value;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use mailrook_net::{CertificateFiles, Network};
use mailrook_types::Domain;
use serde::Serialize;
use thiserror::Error;

pub use oauth::{Introspection, Keys, KeysPlace, Oauth, TokenSource};
pub use reader::Problems;
use reader::{Reader, Section};
pub use value::{Address, Size, Span};

/// Every key with its default, commented.
pub const EXAMPLE: &str = include_str!("example.toml");

/// Where the configuration is looked for when nothing says otherwise.
pub const DEFAULT_PATH: &str = "/etc/mailrook/mailrook.toml";

/// Shards of a node: what `mailrook-cluster` can open. The binary holds the two together.
pub const SHARDS_MAX: u32 = 63;

/// 1 MiB: bounds what a wrong path makes us read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The name that greets.
    pub hostname: Domain,
    /// Whom to become after the ports are open, when started as root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What this node does; at least one.
    pub roles: Vec<Role>,
    /// Where each service listens.
    pub listen: Listen,
    /// Certificates.
    pub tls: Tls,
    /// Mail coming in.
    pub smtp: Smtp,
    /// Mail clients.
    pub imap: Imap,
    /// Mail clients, the old way.
    pub pop3: Pop3,
    /// Passwords.
    pub login: Login,
    /// Tokens; none are taken without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth: Option<Oauth>,
    /// Bounds on connections.
    pub connections: Connections,
    /// The store.
    pub store: Store,
    /// Other nodes.
    pub cluster: Cluster,
    /// Logs.
    pub log: Log,
    /// The admin commands' door.
    pub admin: Admin,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes mail in: SMTP, submission, LMTP.
    Front,
    /// Serves mail clients: IMAP, POP3.
    Proxy,
    /// Has copies of the mail.
    Store,
}

impl Role {
    /// All, in the order in which they are shown.
    pub const ALL: [Role; 3] = [Role::Front, Role::Proxy, Role::Store];

    /// As the configuration has it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Front => "front",
            Role::Proxy => "proxy",
            Role::Store => "store",
        }
    }

    /// The role that a service belongs to; none for what every node has.
    pub fn of_service(service: &str) -> Option<Role> {
        match service {
            "smtp" | "submission" | "submissions" | "lmtp" => Some(Role::Front),
            "imap" | "imaps" | "pop3" | "pop3s" => Some(Role::Proxy),
            _ => None,
        }
    }
}

/// Where each service listens; nowhere, if its list is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listen {
    /// Mail from other systems.
    pub smtp: Vec<Address>,
    /// Mail from users, STARTTLS.
    pub submission: Vec<Address>,
    /// Mail from users, TLS.
    pub submissions: Vec<Address>,
    /// Mail from a local mail system.
    pub lmtp: Vec<Address>,
    /// IMAP, STARTTLS.
    pub imap: Vec<Address>,
    /// IMAP, TLS.
    pub imaps: Vec<Address>,
    /// POP3, STLS.
    pub pop3: Vec<Address>,
    /// POP3, TLS.
    pub pop3s: Vec<Address>,
    /// Health and metrics.
    pub http: Vec<Address>,
}

/// Certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// The first is for clients that name no host, or an unknown one.
    pub certificate: Vec<Certificate>,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// PEM, the server's first.
    pub chain: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// Mail coming in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Smtp {
    /// The largest message.
    pub message_size_max: Size,
    /// Of one message.
    pub recipients_max: u64,
    /// On one connection.
    pub messages_per_connection_max: u64,
    /// What becomes of a CR or LF alone.
    pub bare_newlines: BareNewlines,
    /// Messages held in memory by all sessions together.
    pub memory_max: Size,
}

/// What becomes of a CR or LF alone in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BareNewlines {
    /// The message is refused.
    Refuse,
    /// It becomes CR LF.
    Normalise,
}

/// IMAP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Imap {
    /// The largest message that APPEND takes.
    pub append_size_max: Size,
    /// Messages on their way in by APPEND, of all sessions together.
    pub memory_max: Size,
    /// How long a client may be silent.
    pub idle_timeout: Span,
}

/// POP3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pop3 {
    /// How long a client may be silent.
    pub idle_timeout: Span,
}

/// Passwords.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Login {
    /// Whether a password may come without TLS, from this machine.
    pub plaintext: bool,
    /// How long a right password is remembered.
    pub cache_lifetime: Span,
    /// How many right passwords are remembered.
    pub cache_entries: u64,
}

/// Bounds on connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connections {
    /// In all, of each service.
    pub max: u64,
    /// Of one address.
    pub per_address_max: u64,
    /// Not logged in, in all.
    pub pending_max: u64,
    /// Not logged in, of one address.
    pub pending_per_address_max: u64,
    /// How long a client may take to log in.
    pub login_timeout: Span,
    /// How long sessions may go on when the server stops.
    pub drain_timeout: Span,
    /// Not held to the limits for one address.
    pub exempt: Vec<NetworkText>,
    /// Balancers that speak the PROXY protocol.
    pub proxies: Vec<NetworkText>,
}

/// A network that prints as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkText(pub Network);

impl Serialize for NetworkText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Store {
    /// Of a new cluster.
    pub shards: u64,
    /// Table blocks in memory.
    pub block_cache: Size,
    /// Changes in memory before they go to tables.
    pub write_buffer: Size,
    /// The newest log entries in memory.
    pub log_cache: Size,
    /// When old log files are cut.
    pub log_max: Size,
    /// With less free space nothing new is taken.
    pub disk_reserve: Size,
}

/// Other nodes. A node that does not listen for them is alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// What this node is called.
    pub name: String,
    /// Where other nodes reach this one, on this machine.
    pub listen: Vec<Address>,
    /// The same, as they dial it: `host:port`.
    pub advertise: String,
    /// What fails together with this node.
    pub zone: String,
    /// How long it goes on serving after it said that it stops.
    pub stop_pause: Span,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Log {
    /// What is written.
    pub level: LogLevel,
    /// How.
    pub format: LogFormat,
}

/// What is written to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What somebody has to look at.
    Error,
    /// What may become that.
    Warn,
    /// What happens.
    Info,
    /// What happens inside.
    Debug,
    /// Every step.
    Trace,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// The admin commands' door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Admin {
    /// The socket that `mailrook account …` and the like speak to.
    pub socket: PathBuf,
    /// The same over TCP, on loopback, with the token beside the socket.
    pub listen: Vec<Address>,
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {error}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It says something that cannot be.
    #[error(transparent)]
    Invalid(#[from] Problems),
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let at_fault = |error| ConfigError::Read {
            path: path.to_owned(),
            error,
        };
        let path = std::path::absolute(path).map_err(at_fault)?;
        let mut text = String::new();
        let file = fs::File::open(&path).map_err(at_fault)?;
        io::Read::read_to_string(&mut io::Read::take(file, FILE_BYTES_MAX + 1), &mut text)
            .map_err(at_fault)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            let large = format!("it has more than {FILE_BYTES_MAX} bytes: is it the right file?");
            return Err(at_fault(io::Error::new(io::ErrorKind::FileTooLarge, large)));
        }
        Ok(Config::parse(&text, &path)?)
    }

    /// Checks a text. `path` stands in messages, and relative paths start in its folder.
    pub fn parse(text: &str, path: &Path) -> Result<Config, Problems> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let reader = Reader::new(text, folder);
        let config = reader
            .document()
            .and_then(|document| read(&reader.root(&document)));
        let problems = reader.into_problems();
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Problems {
                file: path.display().to_string(),
                problems,
            }),
        }
    }

    /// Whether the node does this.
    pub fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// The certificates' files, as the listeners want them.
    pub fn certificate_files(&self) -> Vec<CertificateFiles> {
        let files = |certificate: &Certificate| CertificateFiles {
            chain: certificate.chain.clone(),
            key: certificate.key.clone(),
        };
        self.tls.certificate.iter().map(files).collect()
    }
}

impl Listen {
    /// The services with their addresses, in the order of their ports.
    pub fn services(&self) -> [(&'static str, &Vec<Address>); 9] {
        [
            ("smtp", &self.smtp),
            ("submission", &self.submission),
            ("submissions", &self.submissions),
            ("lmtp", &self.lmtp),
            ("imap", &self.imap),
            ("imaps", &self.imaps),
            ("pop3", &self.pop3),
            ("pop3s", &self.pop3s),
            ("http", &self.http),
        ]
    }
}

fn read(root: &Section<'_, '_>) -> Option<Config> {
    let data_dir = root.or("data_dir", PathBuf::from("/var/lib/mailrook"), value::path);
    let hostname = read_hostname(root);
    let user = root.get("user", value::string);
    let roles = root.or("roles", Role::ALL.to_vec(), value::roles);
    let listen = root.table("listen");
    let smtp = root.table("smtp");
    let imap = root.table("imap");
    let login = root.table("login");
    let connections = root.table("connections");
    let admin = root.table("admin");
    let cluster = root.table("cluster");
    // What is missing is reported; the rest is looked at all the same.
    let hostname = hostname.or_else(|| value::hostname("localhost").ok())?;
    let config = Config {
        user,
        listen: read_listen(&listen, &roles),
        roles,
        tls: read_tls(&root.table("tls")),
        smtp: read_smtp(&smtp),
        imap: read_imap(&imap),
        pop3: read_pop3(&root.table("pop3")),
        login: read_login(&login),
        oauth: oauth::read(&root.table("oauth")),
        connections: read_connections(&connections),
        store: read_store(&root.table("store")),
        cluster: read_cluster(&cluster, &hostname),
        log: read_log(&root.table("log")),
        admin: read_admin(&admin, &data_dir),
        hostname,
        data_dir,
    };
    root.finish();
    checks::roles(&config, root, &listen);
    checks::tls(&config, &listen);
    checks::plaintext(&config, &login);
    checks::admin(&config, &admin);
    checks::addresses(&config, &listen, &admin, &cluster);
    checks::cluster(&config, &cluster);
    checks::smtp_memory(&config.smtp, &smtp);
    checks::imap_memory(&config.imap, &imap);
    checks::connections(&config.connections, &connections);
    Some(config)
}

/// The system's name where none is given, if it is a full one.
fn read_hostname(root: &Section<'_, '_>) -> Option<Domain> {
    if let Some(name) = root.get("hostname", value::text(value::hostname)) {
        return Some(name);
    }
    if root.line_of("hostname").is_some() {
        return None;
    }
    let uname = rustix::system::uname();
    let own = uname
        .nodename()
        .to_str()
        .ok()
        .filter(|name| name.contains('.'));
    let own = own.and_then(|name| value::hostname(name).ok());
    if own.is_none() {
        let text = "hostname is missing, and the system has no full one; say what this server is called in the DNS, \
                    as in hostname = \"mail.example.org\"";
        root.reader.report(None, text);
    }
    own
}

/// What belongs to a role that the node does not have listens nowhere by itself.
fn read_listen(section: &Section<'_, '_>, roles: &[Role]) -> Listen {
    let addresses = |name, default: &[Address]| {
        let served = Role::of_service(name).is_none_or(|role| roles.contains(&role));
        let default = if served { default.to_vec() } else { Vec::new() };
        section.or(name, default, value::list(Address::parse))
    };
    let any = |port| [Address::Any(port)];
    let listen = Listen {
        smtp: addresses("smtp", &any(25)),
        submission: addresses("submission", &any(587)),
        submissions: addresses("submissions", &any(465)),
        lmtp: addresses("lmtp", &[]),
        imap: addresses("imap", &any(143)),
        imaps: addresses("imaps", &any(993)),
        pop3: addresses("pop3", &any(110)),
        pop3s: addresses("pop3s", &any(995)),
        http: addresses("http", &[Address::Tcp(([127, 0, 0, 1], 8025).into())]),
    };
    section.finish();
    listen
}

fn read_tls(section: &Section<'_, '_>) -> Tls {
    let mut certificate = Vec::new();
    for (entry, line) in section.tables("certificate") {
        let chain = entry.get("chain", value::path);
        let key = entry.get("key", value::path);
        entry.finish();
        match (chain, key) {
            (Some(chain), Some(key)) => certificate.push(Certificate { chain, key }),
            _ => {
                for name in ["chain", "key"] {
                    if entry.line_of(name).is_none() {
                        entry
                            .reader
                            .report(Some(line), format!("{}: {name} is missing", entry.path));
                    }
                }
            }
        }
    }
    section.finish();
    Tls { certificate }
}

fn read_smtp(section: &Section<'_, '_>) -> Smtp {
    let newlines = &[
        ("refuse", BareNewlines::Refuse),
        ("normalise", BareNewlines::Normalise),
    ];
    let smtp = Smtp {
        message_size_max: section.or(
            "message_size_max",
            Size(50_000_000),
            value::size("64KB", "1GB"),
        ),
        // RFC 5321 §4.5.3.1.8: at least 100.
        recipients_max: section.or("recipients_max", 1000, value::number(100, 10_000)),
        messages_per_connection_max: section.or(
            "messages_per_connection_max",
            10_000,
            value::number(1, 1_000_000),
        ),
        bare_newlines: section.or(
            "bare_newlines",
            BareNewlines::Refuse,
            value::choice(newlines),
        ),
        memory_max: section.or(
            "memory_max",
            Size(1_000_000_000),
            value::size("64MB", "1TB"),
        ),
    };
    section.finish();
    smtp
}

fn read_imap(section: &Section<'_, '_>) -> Imap {
    let imap = Imap {
        append_size_max: section.or(
            "append_size_max",
            Size(50_000_000),
            value::size("64KB", "1GB"),
        ),
        // Ten messages of the largest size at once, or 100,000 of the usual.
        memory_max: section.or("memory_max", Size(512 << 20), value::size("64MB", "1TB")),
        // RFC 9051 §5.4: at least 30 minutes.
        idle_timeout: section.or("idle_timeout", minutes(30), value::span("30m", "1d")),
    };
    section.finish();
    imap
}

fn read_pop3(section: &Section<'_, '_>) -> Pop3 {
    // RFC 1939 §3: at least 10 minutes.
    let pop3 = Pop3 {
        idle_timeout: section.or("idle_timeout", minutes(10), value::span("10m", "1d")),
    };
    section.finish();
    pop3
}

fn read_login(section: &Section<'_, '_>) -> Login {
    let login = Login {
        plaintext: section.or("plaintext", false, value::boolean),
        cache_lifetime: section.or("cache_lifetime", minutes(60), value::span("0s", "7d")),
        cache_entries: section.or("cache_entries", 100_000, value::number(0, 10_000_000)),
    };
    section.finish();
    login
}

fn read_connections(section: &Section<'_, '_>) -> Connections {
    let networks = |name, default: &[Network]| {
        let default = default.iter().copied().map(NetworkText).collect();
        section.or(
            name,
            default,
            value::list(|text| value::network(text).map(NetworkText)),
        )
    };
    let count = |name, default| section.or(name, default, value::number(1, 10_000_000));
    // A part's default is at most the whole: who lowers the whole need not name its parts.
    let max = count("max", 20_000);
    let per_address_max = count("per_address_max", 2_000.min(max));
    let pending_max = count("pending_max", 4_096.min(max));
    let pending_per_address_max = count(
        "pending_per_address_max",
        100.min(per_address_max).min(pending_max),
    );
    let connections = Connections {
        max,
        per_address_max,
        pending_max,
        pending_per_address_max,
        login_timeout: section.or("login_timeout", minutes(3), value::span("10s", "1h")),
        drain_timeout: section.or(
            "drain_timeout",
            Span(Duration::from_secs(10)),
            value::span("0s", "1h"),
        ),
        exempt: networks("exempt", &Network::loopback()),
        proxies: networks("proxies", &[]),
    };
    section.finish();
    connections
}

fn read_store(section: &Section<'_, '_>) -> Store {
    let mebibytes = |n: u64| Size(n << 20);
    let store = Store {
        shards: section.or("shards", 8, value::number(1, SHARDS_MAX.into())),
        block_cache: section.or("block_cache", mebibytes(128), value::size("8MiB", "1TiB")),
        write_buffer: section.or("write_buffer", mebibytes(256), value::size("16MiB", "1TiB")),
        log_cache: section.or("log_cache", mebibytes(64), value::size("1MiB", "1TiB")),
        log_max: section.or("log_max", mebibytes(1024), value::size("64MiB", "100TiB")),
        disk_reserve: section.or("disk_reserve", mebibytes(512), value::size("0B", "100TiB")),
    };
    section.finish();
    store
}

/// The port between nodes, where none is given.
const CLUSTER_PORT: u16 = 7424;

fn read_cluster(section: &Section<'_, '_>, hostname: &Domain) -> Cluster {
    let listen: Vec<Address> = section.or("listen", Vec::new(), value::list(Address::parse));
    let advertise = match listen.first() {
        Some(Address::Tcp(address)) if !address.ip().is_unspecified() => address.to_string(),
        Some(Address::Tcp(address)) => format!("{hostname}:{}", address.port()),
        Some(Address::Any(port)) => format!("{hostname}:{port}"),
        _ => format!("{hostname}:{CLUSTER_PORT}"),
    };
    let cluster = Cluster {
        name: section.or("name", hostname.to_string(), value::string),
        advertise: section.or("advertise", advertise, value::string),
        zone: section.or("zone", String::new(), value::string),
        stop_pause: section.or("stop_pause", Span(Duration::ZERO), value::span("0s", "10m")),
        listen,
    };
    section.finish();
    cluster
}

fn read_log(section: &Section<'_, '_>) -> Log {
    let levels = &[
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let log = Log {
        level: section.or("level", LogLevel::Info, value::choice(levels)),
        format: section.or(
            "format",
            LogFormat::Text,
            value::choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        ),
    };
    section.finish();
    log
}

fn read_admin(section: &Section<'_, '_>, data_dir: &Path) -> Admin {
    let admin = Admin {
        socket: section.or("socket", data_dir.join("admin.sock"), value::path),
        listen: section.or("listen", Vec::new(), value::list(Address::parse)),
    };
    section.finish();
    admin
}

const fn minutes(n: u64) -> Span {
    Span(Duration::from_secs(60 * n))
}

#[cfg(test)]
mod tests;
