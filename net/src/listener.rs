//! Sockets that wait for connections: bound here, or taken over from systemd.

use std::{
    env, fmt, fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::{Peer, Stream};

/// Connections that the kernel holds until we accept them; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;
/// After so long without a word the kernel asks whether the peer is still there: a client in IDLE may be silent for
/// 29 minutes (RFC 2177), and a phone that left the network says no goodbye. NATs forget after 5 minutes or more.
const KEEPALIVE_AFTER: std::time::Duration = std::time::Duration::from_secs(280);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// An address. `[::]` is IPv6 alone; for both, listen on both.
    Tcp(SocketAddr),
    /// A socket in the file system, with its permissions. A leftover of a dead process is replaced.
    Unix {
        /// Where.
        path: PathBuf,
        /// As for chmod.
        mode: u32,
    },
}

/// A socket that waits for connections.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    /// The file goes with the listener; one of systemd's is left alone.
    Unix {
        listener: UnixListener,
        _file: Option<UnixPath>,
    },
}

/// A socket's file, removed with its listener.
#[derive(Debug)]
struct UnixPath(PathBuf);

impl Drop for UnixPath {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _ = fs::remove_file(&self.0);
    }
}

/// Sockets that systemd opened for this process (`sd_listen_fds(3)`), by their `FileDescriptorName=`.
pub struct InheritedSockets {
    fds: ListenFd,
    names: Vec<String>,
}

impl Listener {
    /// Opens a socket. Needs a tokio runtime around it.
    pub fn bind(bind: &Bind) -> io::Result<Listener> {
        match bind {
            Bind::Tcp(address) => Ok(Listener(Kind::Tcp(bind_tcp(*address)?))),
            Bind::Unix { path, mode } => {
                remove_stale_socket(path)?;
                let listener = UnixListener::bind(path)?;
                let file = UnixPath(path.clone());
                fs::set_permissions(&file.0, fs::Permissions::from_mode(*mode))?;
                Ok(Listener(Kind::Unix {
                    listener,
                    _file: Some(file),
                }))
            }
        }
    }

    /// The address of a TCP listener: its port is the kernel's choice if port 0 was asked for.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Tcp(tcp) => tcp.local_addr().ok(),
            Kind::Unix { .. } => None,
        }
    }

    /// Waits for the next connection. Cancel-safe.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.0 {
            Kind::Tcp(listener) => {
                let (tcp, address) = listener.accept().await?;
                // Neither failure makes the connection useless.
                let _ = tcp.set_nodelay(true);
                let _ = SockRef::from(&tcp)
                    .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER));
                let local = tcp.local_addr()?;
                Ok((tcp.into(), Peer::Tcp { address, local }))
            }
            Kind::Unix { listener, .. } => {
                let (unix, _) = listener.accept().await?;
                Ok((unix.into(), Peer::Unix))
            }
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the last connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Removes the file of a unix socket that nobody listens on, so that the path can be bound again.
///
/// # Errors
/// When somebody listens there, or when it is no socket: connect(2) refuses an ordinary file just as it refuses a
/// socket that was left behind, and only the latter may go.
pub fn remove_stale_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file that is no socket; move it away, or choose another path",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens on this socket",
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // It went away by itself.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

impl InheritedSockets {
    /// Those of this process; none if systemd did not start it so.
    pub fn from_env() -> InheritedSockets {
        let fds = ListenFd::from_env();
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').map(str::to_owned).collect();
        InheritedSockets { fds, names }
    }

    /// Takes the next socket of that name; a unit may have several of one.
    pub fn take(&mut self, name: &str) -> io::Result<Option<Listener>> {
        for index in
            (0..self.fds.len()).filter(|index| self.names.get(*index).is_some_and(|n| n == name))
        {
            if let Some(listener) = take_fd(&mut self.fds, index)? {
                return Ok(Some(listener));
            }
        }
        Ok(None)
    }

    /// How many there were.
    pub fn len(&self) -> usize {
        self.fds.len()
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `None` when it is taken already. `listenfd` gives a socket back when it is of the other kind.
fn take_fd(fds: &mut ListenFd, index: usize) -> io::Result<Option<Listener>> {
    match fds.take_tcp_listener(index) {
        Ok(None) => Ok(None),
        Ok(Some(tcp)) => {
            tcp.set_nonblocking(true)?;
            Ok(Some(Listener(Kind::Tcp(TcpListener::from_std(tcp)?))))
        }
        Err(_) => {
            let Some(unix) = fds.take_unix_listener(index)? else {
                return Ok(None);
            };
            unix.set_nonblocking(true)?;
            let listener = UnixListener::from_std(unix)?;
            Ok(Some(Listener(Kind::Unix {
                listener,
                _file: None,
            })))
        }
    }
}

impl fmt::Debug for InheritedSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InheritedSockets")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Tcp(address) => address.fmt(f),
            Bind::Unix { path, .. } => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// As systemd starts a service: a socket at descriptor 3, and who it is for in the environment.
    #[test]
    fn takes_over_sockets_of_systemd() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let script =
            r#"export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=imap; exec "$0" "$@" 3<&0"#;
        let output = Command::new("sh")
            .args(["-c", script])
            .arg(env::current_exe().unwrap())
            .args(["--exact", "listener::tests::as_a_service", "--nocapture"])
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)))
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(
            printed.contains(&format!("listens on port {port};")),
            "{printed}"
        );
    }

    /// The other half: does nothing but in the process that the first half starts.
    #[tokio::test]
    async fn as_a_service() {
        if env::var_os("LISTEN_FDS").is_none() {
            return;
        }
        let mut inherited = InheritedSockets::from_env();
        assert_eq!(inherited.len(), 1);
        assert!(inherited.take("pop3").unwrap().is_none());
        let listener = inherited.take("imap").unwrap().unwrap();
        println!("listens on port {};", listener.local_addr().unwrap().port());
        assert!(inherited.take("imap").unwrap().is_none());
    }

    #[tokio::test]
    async fn says_that_a_port_is_taken() {
        let first = Listener::bind(&Bind::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let again = Listener::bind(&Bind::Tcp(first.local_addr().unwrap()));
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
