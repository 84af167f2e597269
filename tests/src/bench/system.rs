//! A server under load: Mailrook or a peer, seen only as ports, accounts, processes and a data folder.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::peer::{Peer, PeerOptions};
use crate::client::Imap;
use crate::harness::{Account, Node, NodeOptions, Ports, ProcessTree};

/// Which server, in which manner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Postfix and Dovecot with one file a message.
    Maildir,
    /// Postfix and Dovecot with many messages a file.
    Mdbox,
    /// As [`Kind::Maildir`], with login and IMAP processes that serve many logins.
    MaildirReused,
    /// As [`Kind::Mdbox`], with login and IMAP processes that serve many logins.
    MdboxReused,
    /// `mailrook dev`.
    Mailrook,
    /// `mailrook dev --nodes 3`: three processes on this machine, three copies of everything; clients talk to one of them.
    MailrookCluster,
}

impl Kind {
    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Maildir => "maildir",
            Self::Mdbox => "mdbox",
            Self::MaildirReused => "maildir, processes reused",
            Self::MdboxReused => "mdbox, processes reused",
            Self::Mailrook => "Mailrook",
            Self::MailrookCluster => "Mailrook, three nodes",
        }
    }
}

enum Server {
    Peer(Box<Peer>),
    Mailrook(Box<Node>),
}

/// A running server. Stopped when dropped.
pub struct System {
    /// Which.
    pub kind: Kind,
    server: Server,
    accounts: Vec<Account>,
}

impl System {
    /// Starts one with 100 accounts and its data under `folder`, which is made new.
    pub fn start(kind: Kind, folder: &Path) -> io::Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let peer = |mdbox, reuse| -> io::Result<_> {
            let tls = false;
            Ok(Server::Peer(Box::new(Peer::start(
                folder,
                PeerOptions { mdbox, reuse, tls },
            )?)))
        };
        let server = match kind {
            Kind::Maildir => peer(false, false)?,
            Kind::Mdbox => peer(true, false)?,
            Kind::MaildirReused => peer(false, true)?,
            Kind::MdboxReused => peer(true, true)?,
            Kind::Mailrook | Kind::MailrookCluster => {
                let options = NodeOptions {
                    data: Some(folder.to_owned()),
                    nodes: if kind == Kind::Mailrook { 1 } else { 3 },
                    ..NodeOptions::default()
                };
                Server::Mailrook(Box::new(Node::start_with(options)?))
            }
        };
        let accounts = match &server {
            Server::Peer(peer) => peer.accounts(),
            Server::Mailrook(node) => node.info().accounts.clone(),
        };
        Ok(Self {
            kind,
            server,
            accounts,
        })
    }

    /// The peer for tests: maildir, with TLS too.
    pub fn start_peer_for_tests(folder: &Path) -> io::Result<Self> {
        let peer = Peer::start(
            folder,
            PeerOptions {
                mdbox: false,
                reuse: false,
                tls: true,
            },
        )?;
        let accounts = peer.accounts();
        Ok(Self {
            kind: Kind::Maildir,
            server: Server::Peer(Box::new(peer)),
            accounts,
        })
    }

    /// Where it listens.
    pub fn ports(&self) -> Ports {
        match &self.server {
            Server::Peer(peer) => peer.ports(),
            Server::Mailrook(node) => node.ports(),
        }
    }

    /// The account of this number; they repeat after the last.
    pub fn account(&self, index: usize) -> &Account {
        &self.accounts[index % self.accounts.len()]
    }

    /// How many accounts.
    pub fn account_count(&self) -> usize {
        self.accounts.len()
    }

    /// An IMAP session of the account of this number.
    pub fn imap(&self, index: usize) -> io::Result<Imap> {
        let account = self.account(index);
        Imap::login(self.ports().imap, &account.user, &account.password)
    }

    /// All its processes.
    pub fn processes(&self) -> ProcessTree {
        match &self.server {
            Server::Peer(peer) => peer.processes(),
            Server::Mailrook(node) => node.processes(),
        }
    }

    /// Stops it in good order and starts it again on the same data.
    pub fn restart(&mut self) -> io::Result<()> {
        match &mut self.server {
            Server::Peer(peer) => peer.restart(),
            Server::Mailrook(node) => {
                node.stop()?;
                node.restart()
            }
        }
    }

    /// Kills its processes.
    pub fn kill9(&mut self) -> io::Result<()> {
        match &mut self.server {
            Server::Peer(peer) => peer.kill9(),
            Server::Mailrook(node) => node.kill9(),
        }
    }

    /// Stops it in good order.
    pub fn stop(&mut self) -> io::Result<()> {
        match &mut self.server {
            Server::Peer(peer) => peer.stop(),
            Server::Mailrook(node) => node.stop().map(drop),
        }
    }

    /// The folder whose size is the mail's.
    pub fn mail_folder(&self) -> PathBuf {
        match &self.server {
            Server::Peer(peer) => peer.mail_folder(),
            Server::Mailrook(node) => node.data().to_owned(),
        }
    }
}

/// What a folder takes on the disk, in bytes: allocated blocks, not lengths. Files that vanish meanwhile count nothing.
pub fn disk_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => data.blocks() * 512 + disk_bytes(&entry.path()),
            // st_blocks counts units of 512 bytes (stat(2)); a file with two names counts half for each.
            Ok(data) => data.blocks() * 512 / data.nlink().max(1),
            Err(_) => 0,
        })
        .sum()
}
