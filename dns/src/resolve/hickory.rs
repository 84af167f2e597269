//! The resolver that asks servers: hickory's, with an answer's status by DNSSEC, and a cache of our own whose bytes are bounded.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use hickory_resolver::{
    TokioResolver,
    config::{
        ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
        ServerOrderingStrategy,
    },
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        dnssec::{Proof, TrustAnchors},
        op::{Message, ResponseCode},
        rr::{Name, RData, Record, RecordType, rdata::tlsa},
    },
    system_conf,
};
use thiserror::Error;
use tokio::time::timeout;

use super::{Answer, Data, Kind, Lookup, LookupError, Mx, Resolve, Security, cache::AnswerCache};
use crate::{
    DnsName,
    dane::{Matching, Selector, TlsaRecord, Usage},
};

/// Aliases on the way to an answer; hickory follows no more than this either.
const ALIASES_MAX: usize = 8;

/// Records that are taken from one answer. A message over TCP could carry thousands.
const RECORDS_MAX: usize = 256;

/// Whom to ask.
#[derive(Clone, Debug)]
pub enum Servers {
    /// Those of `/etc/resolv.conf`.
    System,
    /// These, over UDP and TCP.
    These(Vec<SocketAddr>),
}

/// How to ask.
#[derive(Clone, Debug)]
pub struct ResolverSettings {
    /// Whom.
    pub servers: Servers,
    /// Whether answers are validated. The servers must pass signatures on (RFC 4035 §3.2.1), or every signed name is bogus.
    pub validate: bool,
    /// A file of DNSKEY records in place of the root's built-in ones.
    pub trust_anchor: Option<PathBuf>,
    /// For one question to one server.
    pub attempt_timeout: Duration,
    /// How often it is asked again.
    pub retries: usize,
    /// For a lookup with all its aliases, servers and signatures.
    pub timeout: Duration,
    /// What the cache may hold.
    pub cache_bytes_max: u64,
}

impl Default for ResolverSettings {
    fn default() -> ResolverSettings {
        ResolverSettings {
            servers: Servers::System,
            validate: true,
            trust_anchor: None,
            attempt_timeout: Duration::from_secs(3),
            retries: 2,
            timeout: Duration::from_secs(20),
            cache_bytes_max: 32 << 20,
        }
    }
}

/// Why there is no resolver.
#[derive(Debug, Error)]
pub enum ResolverError {
    /// The system's configuration, or hickory.
    #[error("the DNS resolver cannot be set up: {0}")]
    Setup(#[from] NetError),
    /// The trust anchors.
    #[error("the trust anchors in {path:?} cannot be read: {error}")]
    TrustAnchor {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
}

/// Asks servers.
pub struct Resolver {
    inner: TokioResolver,
    cache: AnswerCache,
    timeout: Duration,
}

impl Resolver {
    /// One for a running tokio.
    pub fn new(settings: ResolverSettings) -> Result<Resolver, ResolverError> {
        let anchors = match &settings.trust_anchor {
            Some(path) => {
                let read = TrustAnchors::from_file(path);
                let read = read.map_err(|error| ResolverError::TrustAnchor {
                    path: path.clone(),
                    error: error.to_string(),
                });
                Some(read?)
            }
            None => None,
        };
        Resolver::with_anchors(settings, anchors)
    }

    /// One that trusts these keys.
    pub(crate) fn with_anchors(
        settings: ResolverSettings,
        anchors: Option<TrustAnchors>,
    ) -> Result<Resolver, ResolverError> {
        let config = match &settings.servers {
            Servers::System => {
                let (config, _) = system_conf::read_system_conf()?;
                // No search list: mail's names are whole.
                ResolverConfig::from_name_servers(config.name_servers().to_vec())
            }
            Servers::These(servers) => {
                ResolverConfig::from_name_servers(servers.iter().map(server).collect())
            }
        };
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        apply(&settings, builder.options_mut());
        if let (true, Some(anchors)) = (settings.validate, anchors) {
            builder = builder.with_trust_anchor(Arc::new(anchors));
        }
        Ok(Resolver {
            inner: builder.build()?,
            cache: AnswerCache::new(settings.cache_bytes_max),
            timeout: settings.timeout,
        })
    }

    /// Hickory's own, for libraries that ask by it (mail-auth). It keeps no answers: who uses it brings a cache.
    pub fn hickory(&self) -> &TokioResolver {
        &self.inner
    }

    async fn ask(&self, name: &DnsName, kind: Kind) -> (Lookup, Option<Duration>) {
        let Ok(asked) = Name::from_ascii(format!("{}.", name.as_str())) else {
            let security = Security::Indeterminate;
            return (Err(LookupError::NoName { security }), None);
        };
        let lookup = self.inner.lookup(asked.clone(), record_type(kind));
        match timeout(self.timeout, lookup).await {
            Err(_) => (Err(LookupError::Timeout), None),
            Ok(Err(error)) => failure(error),
            Ok(Ok(lookup)) => read_answer(&asked, kind, lookup.message()),
        }
    }
}

impl Resolve for Resolver {
    fn lookup<'a>(&'a self, name: &'a DnsName, kind: Kind) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            if let Some(kept) = self.cache.get(name, kind) {
                return kept;
            }
            let (lookup, negative) = self.ask(name, kind).await;
            self.cache.put(name, kind, &lookup, negative);
            lookup
        })
    }
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}

fn apply(settings: &ResolverSettings, options: &mut ResolverOpts) {
    options.timeout = settings.attempt_timeout;
    options.attempts = settings.retries;
    options.validate = settings.validate;
    options.edns0 = true;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    // The names on the way say whether all of them were signed.
    options.preserve_intermediates = true;
    options.try_tcp_on_error = true;
    options.server_ordering_strategy = ServerOrderingStrategy::QueryStatistics;
}

fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Mx => RecordType::MX,
        Kind::Txt => RecordType::TXT,
        Kind::Tlsa => RecordType::TLSA,
        Kind::Ptr => RecordType::PTR,
        Kind::Cname => RecordType::CNAME,
    }
}

/// What an error says, and for how long what does not exist does not.
fn failure(error: NetError) -> (Lookup, Option<Duration>) {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            // RFC 2308 §5
            let holds = none.soa.as_ref().map(|soa| soa.ttl.min(soa.data.minimum));
            let proofs = none.authorities.iter().flat_map(|records| records.iter());
            let security = worst(proofs.map(|record| record.proof));
            let is_name = none.response_code == ResponseCode::NXDomain;
            absent(is_name, security, holds.or(none.negative_ttl))
        }
        // Not bogus, and not proven: there is no name, in a zone that is not signed.
        NetError::Dns(DnsError::Nsec {
            response,
            proof: Proof::Insecure,
            ..
        }) => {
            let is_name = response.response_code == ResponseCode::NXDomain;
            absent(is_name, Security::Insecure, response.negative_ttl())
        }
        NetError::Dns(DnsError::Nsec { .. } | DnsError::DnssecBogus) => {
            (Err(LookupError::Bogus), None)
        }
        NetError::Timeout => (Err(LookupError::Timeout), None),
        other => {
            let why: String = other.to_string().chars().take(200).collect();
            (Err(LookupError::Unavailable(why.into())), None)
        }
    }
}

fn absent(is_name: bool, security: Security, ttl: Option<u32>) -> (Lookup, Option<Duration>) {
    let error = match is_name {
        true => LookupError::NoName { security },
        false => LookupError::NoRecords { security },
    };
    (Err(error), ttl.map(|ttl| Duration::from_secs(ttl.into())))
}

fn read_answer(asked: &Name, kind: Kind, message: &Message) -> (Lookup, Option<Duration>) {
    let mut canonical = asked.clone();
    let mut used: Vec<&Record> = Vec::new();
    for _ in 0..ALIASES_MAX {
        let alias = message
            .answers
            .iter()
            .find_map(|record| match &record.data {
                RData::CNAME(to) if record.name == canonical => Some((record, &to.0)),
                _ => None,
            });
        let Some((record, to)) = alias.filter(|_| kind != Kind::Cname) else {
            break;
        };
        used.push(record);
        canonical = to.clone();
    }
    let wanted = record_type(kind);
    let aliases = used.len();
    let found = message.answers.iter();
    let found = found.filter(|record| record.name == canonical && record.record_type() == wanted);
    used.extend(found.take(RECORDS_MAX));
    let security = worst(used.iter().map(|record| record.proof));
    if used.len() == aliases {
        let is_name = message.response_code == ResponseCode::NXDomain;
        let soa = message
            .authorities
            .iter()
            .find_map(|record| match &record.data {
                RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
                _ => None,
            });
        return absent(is_name, security, soa);
    }
    let Some(canonical) = own_name(&canonical) else {
        let why = "an alias leads to what is no name of a host".into();
        return (Err(LookupError::Unavailable(why)), None);
    };
    let ttl = used.iter().map(|record| record.ttl).min().unwrap_or(0);
    let answer = Answer {
        records: used[aliases..]
            .iter()
            .filter_map(|record| data(&record.data))
            .collect(),
        canonical,
        security,
        ttl: Duration::from_secs(ttl.into()),
    };
    (Ok(Arc::new(answer)), None)
}

/// The worst of them; of none, nothing is known.
fn worst(proofs: impl Iterator<Item = Proof>) -> Security {
    let each = proofs.map(|proof| match proof {
        Proof::Secure => Security::Secure,
        Proof::Insecure => Security::Insecure,
        Proof::Bogus | Proof::Indeterminate => Security::Indeterminate,
    });
    each.min().unwrap_or(Security::Indeterminate)
}

fn own_name(name: &Name) -> Option<DnsName> {
    match name.is_root() {
        true => Some(DnsName::root()),
        false => DnsName::parse(&name.to_ascii()).ok(),
    }
}

fn data(data: &RData) -> Option<Data> {
    Some(match data {
        RData::A(ip) => Data::A(ip.0),
        RData::AAAA(ip) => Data::Aaaa(ip.0),
        RData::MX(mx) => Data::Mx(Mx {
            preference: mx.preference,
            exchange: own_name(&mx.exchange)?,
        }),
        RData::TXT(text) => Data::Txt(text.txt_data.concat().into()),
        RData::TLSA(tlsa) => Data::Tlsa(tlsa_record(tlsa)),
        RData::PTR(name) => Data::Ptr(own_name(&name.0)?),
        RData::CNAME(name) => Data::Cname(own_name(&name.0)?),
        _ => return None,
    })
}

fn tlsa_record(tlsa: &tlsa::TLSA) -> TlsaRecord {
    TlsaRecord {
        usage: Usage::from(u8::from(tlsa.cert_usage)),
        selector: Selector::from(u8::from(tlsa.selector)),
        matching: Matching::from(u8::from(tlsa.matching)),
        data: tlsa.cert_data.clone().into(),
    }
}
