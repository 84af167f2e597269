//! A DNS server on loopback, for tests of everything that asks: over UDP and TCP, signed (DNSSEC) from a root key of its own,
//! with faults at names.
//!
//! All names are in one zone, the root, that is signed, except what is below the names given to [`StubDns::unsigned`].
//! [`StubDns::resolver`] asks it and trusts its key; another process gets [`StubDns::trust_anchor`] as a file.

mod answer;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use answer::Signer;
use hickory_proto::op::Message;
use hickory_resolver::proto::dnssec::TrustAnchors;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::{JoinHandle, JoinSet},
};

use crate::{
    DnsName,
    resolve::{Data, Kind, Resolver, ResolverSettings, Servers},
};

/// What goes wrong with questions for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer.
    Silent,
    /// SERVFAIL.
    ServFail,
    /// REFUSED.
    Refused,
    /// Over UDP the answer is cut off; over TCP it is whole.
    Truncated,
    /// The answer is to another question's number.
    WrongId,
    /// The signatures are not good.
    Bogus,
}

/// A running server; it ends when it is dropped.
pub struct StubDns {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    zone: Mutex<Zone>,
    signer: Signer,
}

/// What it knows.
#[derive(Default)]
struct Zone {
    records: BTreeMap<DnsName, Vec<(Data, u32)>>,
    unsigned: BTreeSet<DnsName>,
    faults: HashMap<DnsName, Fault>,
    /// Over UDP and TCP.
    asked: Vec<(String, bool)>,
}

/// How long records hold, unless it is said.
const TTL: u32 = 300;

/// Tries to find a port that is free for both UDP and TCP.
const PORT_ATTEMPTS: usize = 20;

impl StubDns {
    /// One that knows nothing.
    ///
    /// # Errors
    /// If loopback has no port.
    ///
    /// # Panics
    /// If the machine has no random bytes.
    pub async fn start() -> io::Result<StubDns> {
        let mut attempts = 0;
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            match TcpListener::bind(udp.local_addr()?).await {
                Ok(tcp) => break (udp, tcp),
                Err(error) if attempts == PORT_ATTEMPTS => return Err(error),
                Err(_) => attempts += 1,
            }
        };
        let address = udp.local_addr()?;
        let shared = Arc::new(Shared {
            zone: Mutex::default(),
            signer: Signer::new(),
        });
        let task = tokio::spawn(serve(udp, tcp, Arc::clone(&shared)));
        Ok(StubDns {
            address,
            shared,
            task,
        })
    }

    /// Where it listens, with UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds records, a line each: `example.test MX 10 mx.example.test`, `example.test TXT v=spf1 -all`. The line's rest
    /// is a text's content. An empty line, or one that begins with `#`, is nothing.
    ///
    /// # Panics
    /// If a line is no record.
    pub fn add(&self, lines: &str) -> &StubDns {
        for line in lines.lines().map(str::trim) {
            if !line.is_empty() && !line.starts_with('#') {
                let (name, data) = text::parse(line).unwrap_or_else(|| panic!("a record: {line}"));
                self.add_data(name, data, TTL);
            }
        }
        self
    }

    /// Adds a record that holds for so many seconds.
    pub fn add_data(&self, name: DnsName, data: Data, ttl: u32) -> &StubDns {
        let mut zone = self.shared.zone.lock();
        zone.records.entry(name).or_default().push((data, ttl));
        self
    }

    /// Removes all that is at a name.
    ///
    /// # Panics
    /// If the name is none.
    pub fn remove(&self, name: &str) -> &StubDns {
        let name = DnsName::parse(name).expect("a test's name");
        self.shared.zone.lock().records.remove(&name);
        self
    }

    /// All at and below this name is provably not signed.
    ///
    /// # Panics
    /// If the name is none.
    pub fn unsigned(&self, name: &str) -> &StubDns {
        let name = DnsName::parse(name).expect("a test's name");
        self.shared.zone.lock().unsigned.insert(name);
        self
    }

    /// Has questions for this name go wrong, or go well again.
    ///
    /// # Panics
    /// If the name is none.
    pub fn fault(&self, name: &str, fault: Option<Fault>) -> &StubDns {
        let name = DnsName::parse(name).expect("a test's name");
        let faults = &mut self.shared.zone.lock().faults;
        match fault {
            Some(fault) => _ = faults.insert(name, fault),
            None => _ = faults.remove(&name),
        }
        self
    }

    /// How often a name was asked for, over UDP and over TCP.
    pub fn times_asked(&self, name: &str, kind: Kind) -> (usize, usize) {
        let wanted = format!("{name} {}", text::word(kind));
        let zone = self.shared.zone.lock();
        let count = |is_tcp| {
            let asked = zone.asked.iter();
            asked
                .filter(|(asked, over)| *asked == wanted && *over == is_tcp)
                .count()
        };
        (count(false), count(true))
    }

    /// The key that signs, as a file of trust anchors has it.
    pub fn trust_anchor(&self) -> String {
        self.shared.signer.anchor_text()
    }

    /// Settings that lead here, with short times.
    pub fn settings(&self) -> ResolverSettings {
        ResolverSettings {
            servers: Servers::These(vec![self.address]),
            attempt_timeout: std::time::Duration::from_millis(500),
            retries: 1,
            timeout: std::time::Duration::from_secs(5),
            ..ResolverSettings::default()
        }
    }

    /// A resolver that asks here and trusts this server's key.
    ///
    /// # Panics
    /// If hickory does not take the settings.
    pub fn resolver(&self) -> Resolver {
        let mut anchors = TrustAnchors::empty();
        anchors.insert(self.shared.signer.public_key());
        let resolver = Resolver::with_anchors(self.settings(), Some(anchors));
        resolver.expect("settings that hickory takes")
    }
}

impl Drop for StubDns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(udp: UdpSocket, tcp: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut buffer = vec![0; 4_096];
    loop {
        tokio::select! {
            received = udp.recv_from(&mut buffer) => {
                let Ok((length, from)) = received else { continue };
                if let Some(reply) = shared.reply(&buffer[..length], false) {
                    // Who has gone needs no answer.
                    let _ = udp.send_to(&reply, from).await;
                }
            }
            accepted = tcp.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(serve_stream(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_stream(mut stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    loop {
        let mut query = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut query).await?;
        if let Some(reply) = shared.reply(&query, true) {
            let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
            stream.write_u16(length).await?;
            stream.write_all(&reply).await?;
        }
    }
}

impl Shared {
    fn reply(&self, query: &[u8], is_tcp: bool) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        let asked = query.queries.first()?;
        let name = answer::own_name(asked.name())?;
        let mut zone = self.zone.lock();
        zone.asked
            .push((format!("{name} {}", asked.query_type()), is_tcp));
        let fault = zone.faults.get(&name).copied();
        if fault == Some(Fault::Silent) {
            return None;
        }
        let mut reply = answer::answer(&zone, &self.signer, &query, fault)?;
        let is_too_long = |reply: &Message| {
            let bytes = reply.to_vec().map_or(0, |bytes| bytes.len());
            bytes > usize::from(query.max_payload())
        };
        if !is_tcp && (fault == Some(Fault::Truncated) || is_too_long(&reply)) {
            reply = reply.truncate();
        }
        reply.to_vec().ok()
    }
}

#[cfg(test)]
mod tests;
