//! From a listener to sessions: accept, count, read the PROXY header, do TLS, run the session, drain.

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};
use tracing::{Instrument, debug, error, info_span, warn};

use crate::{
    Admission, Limiter, Listener, Network, Refusal, SessionId, Shutdown, Stream, TlsAcceptor,
    limits::Login,
    proxy_protocol::{self, Proxied},
};

/// A trusted balancer sends its header at once; §2 of the specification recommends at least 3 s.
const PROXY_HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long `accept` rests when the process is out of file descriptors or memory; doubled up to the second value.
const ACCEPT_REST_FIRST: Duration = Duration::from_millis(20);
pub(crate) const ACCEPT_REST_MAX: Duration = Duration::from_secs(1);

/// How a listener's connections are treated.
#[derive(Clone)]
pub struct ServeSettings {
    /// In logs: `imaps`.
    pub name: &'static str,
    /// TLS from the first byte.
    pub implicit_tls: Option<TlsAcceptor>,
    /// Balancers. Connections from there must begin with a PROXY header; from elsewhere none is read.
    pub proxies: Vec<Network>,
    /// Counts connections, perhaps of other listeners too.
    pub limiter: Arc<Limiter>,
    /// What a refused client is told, with its line end. Nothing on a port with implicit TLS.
    pub refusal: fn(Refusal) -> &'static str,
    /// How long sessions may go on after a shutdown is asked for.
    pub drain_timeout: Duration,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP, perhaps as a trusted balancer tells it.
    Tcp {
        /// The client's address.
        address: SocketAddr,
        /// The address that it connected to.
        local: SocketAddr,
    },
    /// A process of this machine.
    Unix,
}

/// A connection that was let in.
#[derive(Debug)]
pub struct Connection {
    /// Its bytes; with implicit TLS, the handshake is done.
    pub stream: Stream,
    /// Who it is.
    pub peer: Peer,
    /// Its name in logs.
    pub id: SessionId,
    /// Its place among the connections; the session reports the login to it, and keeps it to its end.
    pub admission: Admission,
    /// Tells that the process is about to stop: say so to the client, and end.
    pub shutdown: Shutdown,
}

type SessionFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves a listener until shutdown is requested, and then until its sessions have ended or the time to drain is over; those
/// that are left are dropped where they stand. A session that panics ends alone.
pub async fn serve<F, S>(
    listener: Listener,
    settings: ServeSettings,
    mut shutdown: Shutdown,
    session: F,
) where
    F: Fn(Connection) -> S + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let settings = Arc::new(settings);
    let start: Arc<dyn Fn(Connection) -> SessionFuture + Send + Sync> =
        Arc::new(move |connection| Box::pin(session(connection)));
    let mut sessions = JoinSet::new();
    let mut rest = ACCEPT_REST_FIRST;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.requested() => break,
            Some(ended) = sessions.join_next() => {
                report(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                rest = ACCEPT_REST_FIRST;
                if let Some(task) = admit(&settings, &shutdown, stream, peer) {
                    sessions.spawn(task.run(Arc::clone(&settings), Arc::clone(&start)));
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                warn!(listener = settings.name, %error, "cannot accept connections, resting");
                // Sessions that end meanwhile free descriptors; shutdown need not wait.
                tokio::select! { () = sleep(rest) => {}, () = shutdown.requested() => break }
                rest = (rest * 2).min(ACCEPT_REST_MAX);
            }
        }
    }
    drop(listener);
    drain(&settings, sessions).await;
}

async fn drain(settings: &ServeSettings, mut sessions: JoinSet<()>) {
    let all = async {
        while let Some(ended) = sessions.join_next().await {
            report(ended);
        }
    };
    if timeout(settings.drain_timeout, all).await.is_err() {
        warn!(
            listener = settings.name,
            sessions = sessions.len(),
            "sessions did not end in time and are dropped"
        );
        sessions.shutdown().await;
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        // The panic hook has said where.
        error!(%error, "a session panicked; the others go on");
    }
}

/// accept(2): errors of a connection that broke before it was accepted.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | TimedOut
    )
}

/// A connection that is to become a session.
struct Incoming {
    stream: Stream,
    peer: Peer,
    admission: Admission,
    /// A PROXY header is due, and the address that counts comes with it.
    proxied: bool,
    shutdown: Shutdown,
}

/// Lets a connection in or refuses it, without a task for the latter. One from a balancer counts by address later.
fn admit(
    settings: &ServeSettings,
    shutdown: &Shutdown,
    stream: Stream,
    peer: Peer,
) -> Option<Incoming> {
    let proxied = peer
        .ip()
        .is_some_and(|ip| settings.proxies.iter().any(|network| network.contains(ip)));
    match settings.limiter.admit(peer.ip().filter(|_| !proxied)) {
        Ok(admission) => Some(Incoming {
            stream,
            peer,
            admission,
            proxied,
            shutdown: shutdown.clone(),
        }),
        Err(refusal) => {
            refuse(settings, &stream, &peer, refusal);
            None
        }
    }
}

fn refuse(settings: &ServeSettings, stream: &Stream, peer: &Peer, refusal: Refusal) {
    debug!(listener = settings.name, %peer, ?refusal, "connection refused");
    if settings.implicit_tls.is_none() {
        stream.try_send((settings.refusal)(refusal).as_bytes());
    }
}

impl Incoming {
    async fn run(
        self,
        settings: Arc<ServeSettings>,
        start: Arc<dyn Fn(Connection) -> SessionFuture + Send + Sync>,
    ) {
        let login = self.admission.login();
        let limiter = Arc::clone(&settings.limiter);
        let deadline = limiter.limits().login_deadline;
        let mut session: SessionFuture = Box::pin(self.become_session(settings, start));
        if let Some(deadline) = deadline {
            // On the heap, and gone after the login.
            let watch = Box::pin(login_in_time(login, deadline));
            tokio::select! {
                biased;
                () = &mut session => return,
                in_time = watch => if !in_time {
                    limiter.note_login_overdue();
                    return;
                }
            }
        }
        session.await;
    }

    async fn become_session(
        self,
        settings: Arc<ServeSettings>,
        start: Arc<dyn Fn(Connection) -> SessionFuture + Send + Sync>,
    ) {
        let id = SessionId::next();
        let Some(connection) = Box::pin(self.prepare(&settings, id)).await else {
            return;
        };
        let span = info_span!("session", %id, listener = settings.name, peer = %connection.peer);
        drop(settings);
        start(connection).instrument(span).await;
    }

    /// The PROXY header, then TLS.
    async fn prepare(mut self, settings: &ServeSettings, id: SessionId) -> Option<Connection> {
        if self.proxied {
            self = self.read_proxy_header(settings).await?;
        }
        let Incoming {
            mut stream,
            peer,
            admission,
            shutdown,
            ..
        } = self;
        if let Some(tls) = &settings.implicit_tls {
            match stream.start_tls(tls).await {
                Ok(encrypted) => stream = encrypted,
                Err(error) => {
                    debug!(%id, listener = settings.name, %peer, %error, "no TLS");
                    return None;
                }
            }
        }
        Some(Connection {
            stream,
            peer,
            id,
            admission,
            shutdown,
        })
    }

    async fn read_proxy_header(mut self, settings: &ServeSettings) -> Option<Incoming> {
        let balancer = self.peer;
        match timeout(PROXY_HEADER_TIMEOUT, proxy_protocol::read(&mut self.stream)).await {
            Ok(Ok(Proxied::Local)) => {}
            Ok(Ok(Proxied::Client {
                source,
                destination,
            })) => {
                self.peer = Peer::Tcp {
                    address: source,
                    local: destination,
                };
            }
            Ok(Err(error)) => {
                warn!(listener = settings.name, %balancer, %error, "connection from a trusted balancer dropped");
                return None;
            }
            Err(_) => {
                warn!(listener = settings.name, %balancer, "no PROXY header from a trusted balancer");
                return None;
            }
        }
        if let Err(refusal) = self.admission.count_address(self.peer.ip()) {
            refuse(settings, &self.stream, &self.peer, refusal);
            return None;
        }
        Some(self)
    }
}

/// Whether the login came before the deadline.
async fn login_in_time(login: Arc<Login>, deadline: Duration) -> bool {
    timeout(deadline, login.done()).await.is_ok()
}

impl Peer {
    /// The client's IP address; none on a unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Peer::Tcp { address, .. } => Some(address.ip().to_canonical()),
            Peer::Unix => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp { address, .. } => write!(f, "{address}"),
            Peer::Unix => f.write_str("local"),
        }
    }
}

impl fmt::Debug for ServeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeSettings")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
