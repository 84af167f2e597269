//! A session's context over the twin, and clients that follow a script.
//!
//! ```text
//! C: a1 NOOP              the client sends a line
//! C- a1 APPEND {3+}\r\n   it sends bytes, with \r, \n, \0 and \\ written out
//! S: a1 OK ...            the server's next line; ... stands for anything
//! S~ a1 OK ...            a later line, those before it passed over
//! S* * 3 EXISTS           one of the lines before the next S: or S~, wherever it stands
//! S! * 1 FETCH ...        none of them is like this
//! END                     the server closes the connection
//! ```
//! A number after the letter (`C2:`) names one of several clients; without one it is the first.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use mailrook_auth::Logins;
use mailrook_net::{
    BlockingPool, CertificatePem, Certificates, Connection, Limiter, Limits, LoginThrottle,
    Network, Peer, SessionId, SessionRegistry, Shutdown, ShutdownTrigger, Stream, ThrottleSettings,
    TlsAcceptor, TlsSettings,
};
use mailrook_oauth::TokenVerifier;
use mailrook_sasl::{FakeSaltKey, Password, PasswordCache, Salt, Verifier};
use mailrook_store_api::{
    Append, Directory, Mailstore, PreparedMessage,
    memory::MemoryCluster,
    meta::{Credential, CredentialScope, MetaCommand, MetaReply, NewAccount},
    shard::MailboxRef,
};
use mailrook_types::{AccountId, Address, Domain, Flags, MailboxName, Timestamp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

use crate::{Client, SessionContext, Settings, serve_imap, serve_pop3};

/// From another network, lest it be exempt.
pub(crate) const ADDRESS: &str = "192.0.2.7:1234";

pub(crate) const USER: &str = "user1@example.test";
pub(crate) const PASSWORD: &str = "secret";

/// How long the server may take for a line.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) twin: MemoryCluster,
    pub(crate) context: Arc<SessionContext>,
    pub(crate) tls: TlsAcceptor,
    pub(crate) certificate: Vec<u8>,
    pub(crate) trigger: ShutdownTrigger,
    pub(crate) account: AccountId,
    shutdown: Shutdown,
    limiter: Arc<Limiter>,
    registry: Arc<SessionRegistry>,
}

/// How a client comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door {
    pub(crate) pop3: bool,
    pub(crate) plaintext_login: bool,
    pub(crate) starttls: bool,
    /// Bytes on the way in each direction.
    pub(crate) capacity: usize,
}

impl Default for Door {
    fn default() -> Door {
        Door {
            pop3: false,
            plaintext_login: true,
            starttls: false,
            capacity: 64 << 10,
        }
    }
}

impl Rig {
    /// `user1` and `user2` of `example.test` with the password `secret`; `imaponly` and `off`, which is disabled.
    pub(crate) async fn new() -> Rig {
        Rig::with(|_| {}).await
    }

    pub(crate) async fn with(adjust: impl FnOnce(&mut Settings)) -> Rig {
        Rig::build(adjust, None).await
    }

    /// One that takes an issuer's tokens, and answers failed logins at once.
    pub(crate) async fn with_tokens(tokens: TokenVerifier) -> Rig {
        let at_once = |settings: &mut Settings| settings.failed_login_delay = Duration::ZERO;
        Rig::build(at_once, Some(Arc::new(tokens))).await
    }

    async fn build(adjust: impl FnOnce(&mut Settings), tokens: Option<Arc<TokenVerifier>>) -> Rig {
        let twin = MemoryCluster::new();
        let account = fill(&twin).await;
        Rig::over(twin, account, adjust, tokens)
    }

    /// Another front end over the same store, of a process of its own.
    pub(crate) fn beside(&self, adjust: impl FnOnce(&mut Settings)) -> Rig {
        Rig::over(self.twin.another_process(), self.account, adjust, None)
    }

    fn over(
        twin: MemoryCluster,
        account: AccountId,
        adjust: impl FnOnce(&mut Settings),
        tokens: Option<Arc<TokenVerifier>>,
    ) -> Rig {
        let throttle = ThrottleSettings {
            exempt: vec!["0.0.0.0/0".parse::<Network>().unwrap()],
            ..ThrottleSettings::default()
        };
        let logins = Logins {
            cache: Arc::new(PasswordCache::new(100, Duration::from_secs(60)).unwrap()),
            fake_salts: FakeSaltKey::new([7; 32]),
            throttle: Arc::new(LoginThrottle::new(throttle)),
            hashing: BlockingPool::new(2, 100),
            tokens,
        };
        let mut settings = Settings {
            // Whoever waits says so.
            maildrop_patience: Duration::ZERO,
            ..Settings::default()
        };
        adjust(&mut settings);
        let (store, directory) = (Arc::new(twin.clone()), Arc::new(twin.clone()));
        let working = BlockingPool::new(2, 1000);
        let context = SessionContext::new(store, directory, logins, working, settings);
        let made =
            rcgen::generate_simple_self_signed(vec!["imap.example.test".to_owned()]).unwrap();
        let pem = CertificatePem {
            chain: made.cert.pem().into_bytes(),
            key: made.signing_key.serialize_pem().into_bytes(),
        };
        let certificate = made.cert.der().to_vec();
        let certificates = Certificates::from_pem(&[pem]).unwrap();
        let (trigger, shutdown) = ShutdownTrigger::new();
        Rig {
            twin,
            context,
            tls: TlsAcceptor::new(certificates, TlsSettings::default()).unwrap(),
            certificate,
            trigger,
            account,
            shutdown,
            limiter: Limiter::new(Limits::default()),
            registry: SessionRegistry::new(),
        }
    }

    /// Who is connected.
    pub(crate) fn registry(&self) -> &Arc<SessionRegistry> {
        &self.registry
    }

    /// What a session is made of, and the client's end of its stream.
    pub(crate) fn client(&self, door: Door) -> (Client, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(door.capacity);
        let address: SocketAddr = ADDRESS.parse().unwrap();
        let connection = Connection {
            stream: Stream::from(theirs),
            peer: Peer::Tcp {
                address,
                local: address,
            },
            id: SessionId::next(),
            admission: self.limiter.admit(Some(address.ip())).unwrap(),
            shutdown: self.shutdown.clone(),
        };
        let registration = self.registry.enter("test", &connection);
        let client = Client {
            connection,
            starttls: door.starttls.then(|| self.tls.clone()),
            plaintext_login: door.plaintext_login,
            registration,
        };
        (client, ours)
    }

    /// A client that has read nothing yet.
    pub(crate) fn connect(&self, door: Door) -> Wire {
        let (client, ours) = self.client(door);
        let context = Arc::clone(&self.context);
        let session = if door.pop3 {
            tokio::spawn(serve_pop3(client, context))
        } else {
            tokio::spawn(serve_imap(client, context))
        };
        Wire::over(Box::new(ours), session)
    }

    /// An IMAP client of `user1` that has logged in.
    pub(crate) async fn logged_in(&self) -> Wire {
        let mut wire = self.connect(Door::default());
        wire.play(&format!(
            "S: * OK [CAPABILITY ...] ...\nC: l1 LOGIN {USER} {PASSWORD}\nS: l1 OK ..."
        ))
        .await;
        wire
    }

    /// One that has INBOX selected.
    pub(crate) async fn selected(&self) -> Wire {
        let mut wire = self.logged_in().await;
        wire.play("C: l2 SELECT INBOX\nS~ l2 OK [READ-WRITE] ...")
            .await;
        wire
    }

    /// Puts messages into INBOX, without a session.
    pub(crate) async fn add_mail(&self, messages: &[&str]) {
        let normal = |text: &&str| text.replace("\r\n", "\n").replace('\n', "\r\n");
        self.add_raw(messages.iter().map(normal)).await;
    }

    /// Messages as they are.
    pub(crate) async fn add_raw(&self, messages: impl IntoIterator<Item = String>) {
        let messages = messages.into_iter().map(|raw| {
            let prepared = Arc::new(PreparedMessage::new(raw.as_bytes()).unwrap());
            (prepared, Flags::default(), Timestamp(1_000_000_000_000))
        });
        let append = Append {
            mailbox: MailboxRef::Name(MailboxName::inbox()),
            messages: messages.collect(),
        };
        let mut lane = self.twin.open_lane().await.unwrap();
        self.twin
            .append(&mut lane, self.account, append)
            .await
            .unwrap()
            .unwrap();
    }

    /// As many small messages: `Subject: n`.
    pub(crate) async fn add_numbered(&self, count: usize) {
        let texts: Vec<String> = (1..=count)
            .map(|n| format!("Subject: {n}\n\nbody {n}\n"))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.add_mail(&texts).await;
    }
}

async fn fill(twin: &MemoryCluster) -> AccountId {
    let password = Password::prepare(PASSWORD.as_bytes()).unwrap();
    let verifier = Verifier::new(&password, Salt::from_bytes([3; 16])).to_bytes();
    let credential = |scopes: &[CredentialScope]| Credential {
        name: "main".to_owned(),
        scopes: scopes.to_vec(),
        verifier: verifier.clone(),
        version: 0,
        created: Timestamp::default(),
    };
    let domain = Domain::parse("example.test").unwrap();
    twin.command(MetaCommand::AddDomain(domain)).await.unwrap();
    let mut first = None;
    for (name, scopes, quota) in [
        ("user1", &[][..], None),
        ("user2", &[], None),
        ("imaponly", &[CredentialScope::Imap], None),
        ("small", &[], Some(2000)),
    ] {
        let account = NewAccount {
            address: Address::parse(&format!("{name}@example.test")).unwrap(),
            credential: Some(credential(scopes)),
            quota_storage_bytes: quota,
            quota_messages: None,
        };
        let reply = twin.command(MetaCommand::AddAccount(account)).await;
        let MetaReply::Account(record) = reply.unwrap() else {
            panic!("the account is refused");
        };
        first = first.or(Some(record.id));
    }
    first.unwrap()
}

/// Both halves of a client's stream.
pub(crate) trait Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Io for T {}

/// A client's end of a connection.
pub(crate) struct Wire {
    pub(crate) stream: Box<dyn Io>,
    read: Vec<u8>,
    pub(crate) session: JoinHandle<()>,
}

impl Wire {
    /// The client's end of a session, over another stream than it began with, say.
    pub(crate) fn over(stream: Box<dyn Io>, session: JoinHandle<()>) -> Wire {
        Wire {
            stream,
            read: Vec::new(),
            session,
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next line without its end; `None` at the end of the stream.
    pub(crate) async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line).into_owned();
                return Some(text.strip_suffix("\r\n").unwrap_or(&text).to_owned());
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read));
            match read.await.expect("the server says nothing") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Lines up to the one that begins so.
    pub(crate) async fn lines_until(&mut self, start: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await.expect("the server closes");
            let is_last = line.starts_with(start);
            lines.push(line);
            if is_last {
                return lines;
            }
        }
    }

    pub(crate) async fn play(&mut self, script: &str) {
        play(&mut [self], script).await;
    }
}

/// Plays a script with several clients.
pub(crate) async fn play(clients: &mut [&mut Wire], script: &str) {
    // What S* and S! want of the lines before the next S: or S~.
    let mut anywhere: Vec<(bool, &str)> = Vec::new();
    for step in script
        .lines()
        .map(str::trim_start)
        .filter(|step| !step.is_empty())
    {
        if step == "END" {
            assert_eq!(clients[0].line().await, None, "the server goes on");
            continue;
        }
        let at = step
            .find([':', '-', '~', '*', '!'])
            .expect("no step of a script");
        let (who, rest) = step.split_at(at);
        let client = who[1..].parse::<usize>().map_or(0, |number| number - 1);
        let client = &mut clients[client];
        let (kind, text) = (
            &rest[..1],
            rest[1..].strip_prefix(' ').unwrap_or(&rest[1..]),
        );
        match (&who[..1], kind) {
            ("C", ":") => client.send(format!("{text}\r\n").as_bytes()).await,
            ("C", "-") => client.send(&unescaped(text)).await,
            ("S", "*") => anywhere.push((true, text)),
            ("S", "!") => anywhere.push((false, text)),
            ("S", ":" | "~") => {
                let mut seen = Vec::new();
                let skips = kind == "~" || !anywhere.is_empty();
                loop {
                    let line = client.line().await;
                    let line =
                        line.unwrap_or_else(|| panic!("closed; wanted {text:?}, had {seen:#?}"));
                    if is_like(&line, text) {
                        break;
                    }
                    assert!(skips, "wanted {text:?}, got {line:?}");
                    let given_up =
                        line.split(' ').next() == text.split(' ').next() && !line.starts_with('*');
                    assert!(!given_up, "wanted {text:?}, got {line:?} after {seen:#?}");
                    seen.push(line);
                }
                for (wanted, pattern) in anywhere.drain(..) {
                    let found = seen.iter().any(|line| is_like(line, pattern));
                    assert_eq!(found, wanted, "{pattern:?} among {seen:#?}");
                }
            }
            _ => panic!("no step of a script: {step}"),
        }
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let text = text.replace("\\r", "\r").replace("\\n", "\n");
    text.replace("\\0", "\0").into_bytes()
}

/// Whether a line is as a pattern says, in which `...` stands for anything.
pub(crate) fn is_like(line: &str, pattern: &str) -> bool {
    let mut pieces = pattern.split("...");
    let first = pieces.next().unwrap_or("");
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else {
        return rest.is_empty();
    };
    for piece in middle {
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}
