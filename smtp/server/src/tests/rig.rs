//! A front end over the twin, and clients that talk to it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use mailrook_auth::Logins;
use mailrook_net::{
    BlockingPool, CertificatePem, Certificates, Connection, Limiter, Limits, LoginThrottle,
    Network, Peer, SessionId, SessionRegistry, Shutdown, ShutdownTrigger, Stream, ThrottleSettings,
    TlsAcceptor, TlsSettings,
};
use mailrook_oauth::TokenVerifier;
use mailrook_sasl::{ChannelBindings, FakeSaltKey, Password, PasswordCache, Salt, Verifier};
use mailrook_smtp_proto::Service;
use mailrook_store_api::{
    Directory, Mailstore,
    memory::MemoryCluster,
    meta::{Credential, MetaCommand, MetaReply, NewAccount},
    shard::MailboxRef,
};
use mailrook_types::{Address, Domain, MailboxName, Timestamp, Uid, UidSet};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    task::JoinHandle,
};

use crate::{Endpoint, FrontEnd, Services, Settings};

/// From another network, lest it be exempt.
pub(crate) const CLIENT: &str = "192.0.2.7:1234";

pub(crate) struct Rig {
    pub(crate) twin: MemoryCluster,
    pub(crate) front: FrontEnd,
    pub(crate) sessions: Arc<SessionRegistry>,
    pub(crate) tls: TlsAcceptor,
    pub(crate) certificate: Vec<u8>,
    pub(crate) trigger: ShutdownTrigger,
    pub(crate) shutdown: Shutdown,
    limiter: Arc<Limiter>,
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

impl Rig {
    /// `example.test` with `user1` and `user2` (password `secret`), `small` (1,000 bytes of quota), the alias `both` for
    /// the users, `away` which leads elsewhere, and no catch-all; `other.test` with a catch-all to `user2`.
    pub(crate) async fn new() -> Rig {
        Rig::with(|_| {}).await
    }

    /// The same, with other settings.
    pub(crate) async fn with(adjust: impl FnOnce(&mut Settings)) -> Rig {
        Rig::build(adjust, None).await
    }

    /// One that takes an issuer's tokens.
    pub(crate) async fn with_tokens(tokens: TokenVerifier) -> Rig {
        Rig::build(|_| {}, Some(Arc::new(tokens))).await
    }

    async fn build(adjust: impl FnOnce(&mut Settings), tokens: Option<Arc<TokenVerifier>>) -> Rig {
        let twin = MemoryCluster::new();
        fill(&twin).await;
        let mut settings = Settings::new(Domain::parse("mx.example.test").unwrap());
        adjust(&mut settings);
        let throttle = ThrottleSettings {
            exempt: vec!["0.0.0.0/0".parse::<Network>().unwrap()],
            ..ThrottleSettings::default()
        };
        let sessions = SessionRegistry::new();
        let services = Services {
            mailstore: Arc::new(twin.clone()),
            directory: Arc::new(twin.clone()),
            logins: Logins {
                cache: Arc::new(PasswordCache::new(100, Duration::from_secs(60)).unwrap()),
                fake_salts: FakeSaltKey::new([7; 32]),
                throttle: Arc::new(LoginThrottle::new(throttle)),
                hashing: BlockingPool::new(2, 100),
                tokens,
            },
            preparing: BlockingPool::new(2, 1000),
            sessions: Arc::clone(&sessions),
        };
        let made = rcgen::generate_simple_self_signed(vec!["mx.example.test".to_owned()]).unwrap();
        let pem = CertificatePem {
            chain: made.cert.pem().into_bytes(),
            key: made.signing_key.serialize_pem().into_bytes(),
        };
        let certificate = pem.chain.clone();
        let tls = TlsAcceptor::new(
            Certificates::from_pem(&[pem]).unwrap(),
            TlsSettings::default(),
        )
        .unwrap();
        let (trigger, shutdown) = ShutdownTrigger::new();
        let limiter = Limiter::new(Limits {
            login_deadline: None,
            ..Limits::default()
        });
        Rig {
            twin,
            front: FrontEnd::new(settings, services),
            sessions,
            tls,
            certificate,
            trigger,
            shutdown,
            limiter,
        }
    }

    pub(crate) fn endpoint(&self, service: Service) -> Endpoint {
        Endpoint {
            name: "test",
            service,
            tls: (service != Service::Lmtp).then(|| self.tls.clone()),
            implicit_tls: false,
            plaintext_auth: false,
            proxies: Vec::new(),
            limiter: Arc::clone(&self.limiter),
            drain_timeout: Duration::from_secs(1),
        }
    }

    pub(crate) fn connect(&self, service: Service) -> Client {
        self.connect_to(self.endpoint(service), CLIENT)
    }

    /// A client from an address.
    pub(crate) fn connect_to(&self, endpoint: Endpoint, from: &str) -> Client {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let from: SocketAddr = from.parse().unwrap();
        let connection = Connection {
            stream: Stream::from(theirs),
            peer: Peer::Tcp {
                address: from,
                local: from,
            },
            id: SessionId::next(),
            admission: self.limiter.admit(Some(from.ip())).unwrap(),
            shutdown: self.shutdown.clone(),
        };
        let session = tokio::spawn(self.front.session(Arc::new(endpoint), connection));
        Client {
            session: Some(session),
            ..Client::over(ours)
        }
    }

    /// What a mailbox holds, oldest first: prefix and body of each.
    pub(crate) async fn mail(&self, user: &str, mailbox: &str) -> Vec<(String, String)> {
        let account = self.twin.account(&address(user)).await.unwrap().unwrap().id;
        let store: &dyn Mailstore = &self.twin;
        let name = MailboxName::parse(mailbox).unwrap();
        let Some(status) = store.status(account, MailboxRef::Name(name)).await.unwrap() else {
            return Vec::new();
        };
        let all = UidSet::from_range(Uid::MIN..=Uid::MAX);
        let mut mails = Vec::new();
        for detail in store
            .details(account, status.id, all, 1000)
            .await
            .unwrap()
            .unwrap()
        {
            let body = store
                .body(account, detail.hash, 0, detail.body_size)
                .await
                .unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            mails.push((text(&detail.prefix), text(&body)));
        }
        mails
    }

    /// How many messages an INBOX holds.
    pub(crate) async fn count(&self, user: &str) -> usize {
        self.mail(user, "INBOX").await.len()
    }

    pub(crate) fn metric(&self, name: &str) -> u64 {
        self.front
            .metrics()
            .snapshot()
            .into_iter()
            .find(|(known, _)| *known == name)
            .unwrap()
            .1
    }
}

async fn fill(twin: &MemoryCluster) {
    let verifier = Verifier::new(
        &Password::prepare(b"secret").unwrap(),
        Salt::from_bytes([3; 16]),
    )
    .to_bytes();
    let credential = Credential {
        name: "main".to_owned(),
        scopes: Vec::new(),
        verifier,
        version: 0,
        created: Timestamp::default(),
    };
    let account = |name: &str, quota| {
        MetaCommand::AddAccount(NewAccount {
            address: address(name),
            credential: Some(credential.clone()),
            quota_storage_bytes: quota,
            quota_messages: None,
        })
    };
    let alias = |name: &str, targets: &[&str]| MetaCommand::AddAlias {
        address: address(name),
        targets: targets.iter().map(|target| address(target)).collect(),
    };
    let domain = |name: &str| Domain::parse(name).unwrap();
    for command in [
        MetaCommand::AddDomain(domain("example.test")),
        MetaCommand::AddDomain(domain("other.test")),
        account("user1@example.test", None),
        account("user2@example.test", None),
        account("small@example.test", Some(1000)),
        alias(
            "both@example.test",
            &["user1@example.test", "user2@example.test"],
        ),
        alias(
            "away@example.test",
            &["user1@example.test", "x@elsewhere.test"],
        ),
        alias("sales@example.test", &["user1@example.test"]),
        MetaCommand::SetCatchAll {
            domain: domain("other.test"),
            target: Some(address("user2@example.test")),
        },
    ] {
        let reply = twin.command(command.clone()).await.unwrap();
        assert!(
            !matches!(reply, MetaReply::Refused(_)),
            "{command:?}: {reply:?}"
        );
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The other end of a session.
pub(crate) struct Client {
    stream: Box<dyn Duplex>,
    read: Vec<u8>,
    session: Option<JoinHandle<()>>,
    /// What SCRAM-PLUS binds to.
    pub(crate) bindings: ChannelBindings,
}

impl Client {
    /// A client at this end of a connection.
    pub(crate) fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Client {
        Client {
            stream: Box::new(stream),
            read: Vec::new(),
            session: None,
            bindings: ChannelBindings::default(),
        }
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends bytes to a server that may have hung up.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next line, without its line end; `None` at the end.
    pub(crate) async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.read.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            let read = tokio::time::timeout(
                Duration::from_secs(20),
                self.stream.read_buf(&mut self.read),
            )
            .await;
            if matches!(read.expect("a reply in time"), Ok(0) | Err(_)) {
                return None;
            }
        }
    }

    /// The next reply, all its lines.
    pub(crate) async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let line = self.line().await.expect("the server closed the connection");
            reply.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
            reply.push('\n');
        }
    }

    /// Holds a conversation. `C:` lines are sent with CRLF; `S:` is a reply that starts so; lines without either are
    /// parts of the message. `S: closed` is the end of the connection.
    pub(crate) async fn talk(&mut self, script: &str) {
        let mut said = String::new();
        for line in script
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.is_empty())
        {
            if let Some(expected) = line.strip_prefix("S: ") {
                self.send(std::mem::take(&mut said).as_bytes()).await;
                if expected == "closed" {
                    assert_eq!(self.line().await, None);
                    continue;
                }
                let reply = self.reply().await;
                assert!(
                    reply.starts_with(expected),
                    "expected {expected:?}, got {reply:?} in {script}"
                );
            } else {
                let line = line
                    .strip_prefix("C:")
                    .map_or(line, |line| line.strip_prefix(' ').unwrap_or(line));
                said.push_str(line);
                said.push_str("\r\n");
            }
        }
        self.send(said.as_bytes()).await;
    }

    /// Greeting and EHLO (LHLO).
    pub(crate) async fn hello(&mut self) -> String {
        let greeting = self.reply().await;
        let verb = if greeting.contains("LMTP") {
            "LHLO"
        } else {
            "EHLO"
        };
        self.send(format!("{verb} client.test\r\n").as_bytes())
            .await;
        self.reply().await
    }

    /// STARTTLS.
    pub(crate) async fn start_tls(mut self, certificate: &[u8]) -> Client {
        self.talk("C: STARTTLS\nS: 220 2.0.0").await;
        assert!(self.read.is_empty());
        self.handshake(certificate).await
    }

    /// A handshake.
    pub(crate) async fn handshake(self, certificate: &[u8]) -> Client {
        use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(certificate).unwrap())
            .unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("mx.example.test").unwrap();
        let stream = connector.connect(name, self.stream).await.unwrap();
        let exported = stream.get_ref().1.export_keying_material(
            [0; 32],
            b"EXPORTER-Channel-Binding",
            Some(b""),
        );
        let bindings = ChannelBindings {
            tls_exporter: Some(exported.unwrap()),
            ..ChannelBindings::default()
        };
        Client {
            session: self.session,
            bindings,
            ..Client::over(stream)
        }
    }

    /// Goes away without a word, and waits for the session to notice.
    pub(crate) async fn vanish(self) {
        drop(self.stream);
        self.session.unwrap().await.unwrap();
    }

    /// Sends a message from `a@client.test` and expects `reply`.
    pub(crate) async fn message(&mut self, to: &str, text: &str, reply: &str) {
        let script = format!(
            "C: MAIL FROM:<a@client.test>\nS: 250\nC: RCPT TO:<{to}>\nS: 250\nC: DATA\nS: 354\n{text}\nC: .\nS: {reply}"
        );
        self.talk(&script).await;
    }
}
