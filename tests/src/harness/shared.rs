//! The server that all conversation tests of one test binary share. Each test takes accounts of its own.
//!
//! With `MAILROOK_WIRE_PEER=dovecot` it is Debian's Postfix and Dovecot instead: conversations are proven on a server
//! that others wrote before they judge ours. Where the two may differ the test's comment says so.

use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Account, Node, Ports, ProcessTree};
use crate::bench::{System, install};
use crate::client::Imap;
use crate::script::Script;

/// More than any test binary has tests.
const ACCOUNTS: u32 = 150;

enum Server {
    Node(Box<Node>),
    Peer(Box<System>, tempfile::TempDir),
}

/// The shared server.
pub struct Shared {
    server: Server,
    next: AtomicUsize,
}

/// One test's account on the shared server.
#[derive(Clone)]
pub struct Fixture {
    /// The server.
    pub server: &'static Shared,
    /// The login.
    pub account: Account,
}

impl Shared {
    /// The server, started by whoever asks first.
    ///
    /// # Panics
    /// When it does not start: no test can go on.
    pub fn get() -> &'static Self {
        static SERVER: OnceLock<Shared> = OnceLock::new();
        SERVER.get_or_init(|| {
            Self::start().unwrap_or_else(|e| panic!("the server under test did not start: {e}"))
        })
    }

    fn start() -> io::Result<Self> {
        let server = if std::env::var_os("MAILROOK_WIRE_PEER").is_some() {
            install()?;
            let folder = tempfile::Builder::new()
                .prefix("mailrook-wire-")
                .tempdir()?;
            std::fs::set_permissions(
                folder.path(),
                std::os::unix::fs::PermissionsExt::from_mode(0o755),
            )?;
            Server::Peer(
                Box::new(System::start_peer_for_tests(&folder.path().join("peer"))?),
                folder,
            )
        } else {
            Server::Node(Box::new(Node::start(ACCOUNTS)?))
        };
        Ok(Self {
            server,
            next: AtomicUsize::new(0),
        })
    }

    /// Whether this is the peer and not Mailrook.
    pub fn is_peer(&self) -> bool {
        matches!(self.server, Server::Peer(..))
    }

    /// Where it listens.
    pub fn ports(&self) -> Ports {
        match &self.server {
            Server::Node(node) => node.ports(),
            Server::Peer(peer, _) => peer.ports(),
        }
    }

    /// The certificate to trust.
    pub fn ca(&self) -> PathBuf {
        match &self.server {
            Server::Node(node) => node.info().ca.clone(),
            Server::Peer(_, folder) => folder.path().join("peer/etc/ca.pem"),
        }
    }

    /// Its processes.
    pub fn processes(&self) -> ProcessTree {
        match &self.server {
            Server::Node(node) => node.processes(),
            Server::Peer(peer, _) => peer.processes(),
        }
    }

    /// The node, where it is not the peer.
    pub fn node(&self) -> Option<&Node> {
        match &self.server {
            Server::Node(node) => Some(node),
            Server::Peer(..) => None,
        }
    }

    /// An account that no other test has.
    ///
    /// # Panics
    /// When there are more tests than accounts.
    pub fn fixture(&'static self) -> Fixture {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let account = match &self.server {
            Server::Node(node) => node.info().accounts.get(index).cloned(),
            Server::Peer(peer, _) => Some(peer.account(index).clone()),
        };
        Fixture {
            server: self,
            account: account.unwrap_or_else(|| panic!("more tests than {ACCOUNTS} accounts")),
        }
    }
}

impl Fixture {
    /// A logged-in IMAP client.
    pub fn client(&self) -> io::Result<Imap> {
        Imap::login(
            self.server.ports().imap,
            &self.account.user,
            &self.account.password,
        )
    }

    /// Fills INBOX with `count` messages; see [`mail`].
    pub fn fill(&self, count: usize) -> io::Result<()> {
        let mut imap = self.client()?;
        for number in 1..=count {
            imap.append("INBOX", "", mail(number).as_bytes())?;
        }
        imap.logout()
    }

    /// Gives a script this account's name, password and SASL responses.
    pub fn named(&self, script: Script) -> Script {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD as BASE64;
        let Account { user, password } = &self.account;
        script
            .ca(self.server.ca())
            .with("user", user)
            .with("pass", password)
            .with("plain", BASE64.encode(format!("\0{user}\0{password}")))
            .with(
                "wrong",
                BASE64.encode(format!("\0{user}\0not-the-password")),
            )
            .with("user64", BASE64.encode(user))
            .with("pass64", BASE64.encode(password))
            .with("domain", user.split_once('@').map_or("", |(_, d)| d))
            .with("mail1", mail(1))
            .with("size1", mail(1).len().to_string())
            .with("mail2", mail(2))
            .with("size2", mail(2).len().to_string())
    }

    /// A conversation in IMAP that begins with the greeting.
    pub fn imap(&self) -> Script {
        self.named(Script::imap(self.server.ports().imap))
    }

    /// A conversation in IMAP on connection 1, logged in (tag `l`).
    pub fn imap_in(&self) -> Script {
        let mut script = self.imap();
        script.play("S: * OK ...\nC: l LOGIN <<user>> <<pass>>\nS~ l OK ...");
        script
    }
}

/// The message of this number: 7-bit text with the headers that a client lists.
pub fn mail(number: usize) -> String {
    format!(
        "Date: Mon, 7 Feb 1994 21:52:25 -0800\r\nFrom: Fred Foobar <foobar@blurdybloop.example>\r\nSubject: message {number}\r\n\
         To: mooch@owatagu.example\r\nMessage-Id: <m{number}@blurdybloop.example>\r\n\r\nThis is text number {number}.\r\n"
    )
}
