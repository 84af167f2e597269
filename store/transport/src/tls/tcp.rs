//! The sockets between nodes: how they are made, and when the kernel gives up on them.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

/// How long one address may take to accept. A way that was cut off is tried anew about this often: what the kernel would do
/// by itself (retransmitting after 1, 3, 7 … seconds) notices too late that it is whole again.
const CONNECT_MAX: Duration = Duration::from_millis(800);

/// How long a name may take to be looked up.
const LOOKUP_MAX: Duration = Duration::from_secs(2);

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// What was sent and is not acknowledged for so long breaks the connection.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);

/// An idle connection is probed: who vanished without a word is noticed after half a minute.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(15))
    .with_interval(Duration::from_secs(5))
    .with_retries(3);

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct ConnectError {
    /// Nobody listens at any of the addresses.
    pub(crate) refused: bool,
    pub(crate) cause: String,
}

impl ConnectError {
    pub(crate) fn other(cause: impl ToString) -> ConnectError {
        ConnectError {
            refused: false,
            cause: cause.to_string(),
        }
    }
}

/// Looks `host:port` up, says what was found, and connects to the first address that accepts.
pub(crate) async fn connect(
    address: &str,
    looked_up: impl FnOnce(&[SocketAddr]),
) -> Result<TcpStream, ConnectError> {
    let found = timeout(LOOKUP_MAX, lookup_host(address)).await;
    let found =
        found.map_err(|_| ConnectError::other(format!("looking up {address} takes too long")))?;
    let found =
        found.map_err(|error| ConnectError::other(format!("looking up {address}: {error}")))?;
    let found: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
    looked_up(&found);
    let mut last = None;
    let mut refused = true;
    for at in found {
        let connected = timeout(CONNECT_MAX, TcpStream::connect(at)).await;
        let timed_out = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
        match connected.unwrap_or_else(timed_out) {
            Ok(stream) => {
                prepare(&stream).map_err(ConnectError::other)?;
                return Ok(stream);
            }
            Err(error) => {
                refused &= error.kind() == io::ErrorKind::ConnectionRefused;
                last = Some(format!("connecting to {at}: {error}"));
            }
        }
    }
    match last {
        Some(cause) => Err(ConnectError { refused, cause }),
        None => Err(ConnectError::other(format!("{address} has no address"))),
    }
}

/// For both ends of a connection.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}
