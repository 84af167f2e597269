//! From a listener to the sessions of a protocol.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use mailrook_net::{
    Connection, Listener, Registration, ServeSettings, SessionRegistry, Shutdown, TlsAcceptor,
};

use crate::{Endpoint, MailProtocol};

/// A session under way.
pub type SessionFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A client at the door: all that a session is made of.
#[derive(Debug)]
pub struct ClientSession {
    /// What it expects to speak. With implicit TLS, the handshake is done.
    pub protocol: MailProtocol,
    /// Its bytes, address, name, place and the signal to end. The session reports the login to
    /// [`Connection::admission`], and keeps that to its end.
    pub connection: Connection,
    /// For STARTTLS or STLS; `None` where it is not offered.
    pub starttls: Option<TlsAcceptor>,
    /// Whether a password may be taken before TLS.
    pub plaintext_login: bool,
    /// Its place in the list of sessions: to be told the user and the start of TLS, and kept to the end.
    pub registration: Registration,
}

/// Runs sessions. It speaks; the door does not.
pub trait ClientSessions: Send + Sync + 'static {
    /// Runs a session to its end. When [`Connection::shutdown`] is requested it says goodbye (`* BYE`) as soon as its
    /// command under way is answered.
    fn run(&self, session: ClientSession) -> SessionFuture;
}

/// The front door. Clones share everything.
#[derive(Clone)]
pub struct FrontDoor {
    sessions: Arc<dyn ClientSessions>,
    registry: Arc<SessionRegistry>,
    started: Arc<[AtomicU64; MailProtocol::ALL.len()]>,
}

impl FrontDoor {
    /// A door to these sessions; they are listed in `registry`, which other servers may share.
    pub fn new(sessions: Arc<dyn ClientSessions>, registry: Arc<SessionRegistry>) -> FrontDoor {
        FrontDoor {
            sessions,
            registry,
            started: Arc::default(),
        }
    }

    /// Who is inside.
    pub fn registry(&self) -> &Arc<SessionRegistry> {
        &self.registry
    }

    /// Sessions begun since the start of the process.
    pub fn started(&self, protocol: MailProtocol) -> u64 {
        self.started[protocol as usize].load(Ordering::Relaxed)
    }

    /// Serves a listener until shutdown, and drains it. Fails at once for an endpoint that lacks the TLS that its
    /// protocol begins with.
    pub async fn serve(
        &self,
        listener: Listener,
        endpoint: Endpoint,
        shutdown: Shutdown,
    ) -> io::Result<()> {
        let protocol = endpoint.protocol;
        if protocol.implicit_tls() && endpoint.tls.is_none() {
            let message = format!("{protocol} needs a certificate");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let settings = ServeSettings {
            name: protocol.name(),
            implicit_tls: endpoint.tls.clone().filter(|_| protocol.implicit_tls()),
            proxies: endpoint.proxies,
            limiter: endpoint.limiter,
            refusal: protocol.refusal(),
            drain_timeout: endpoint.drain_timeout,
        };
        let starttls = endpoint.tls.filter(|_| !protocol.implicit_tls());
        let door = self.clone();
        let plaintext_login = endpoint.plaintext_login;
        mailrook_net::serve(listener, settings, shutdown, move |connection| {
            door.enter(protocol, starttls.clone(), plaintext_login, connection)
        })
        .await;
        Ok(())
    }

    fn enter(
        &self,
        protocol: MailProtocol,
        starttls: Option<TlsAcceptor>,
        plaintext_login: bool,
        connection: Connection,
    ) -> SessionFuture {
        self.started[protocol as usize].fetch_add(1, Ordering::Relaxed);
        let registration = self.registry.enter(protocol.name(), &connection);
        let of_this_machine = connection.peer.ip().is_none_or(|ip| ip.is_loopback());
        self.sessions.run(ClientSession {
            protocol,
            starttls,
            plaintext_login: connection.stream.is_tls() || (plaintext_login && of_this_machine),
            registration,
            connection,
        })
    }
}

impl fmt::Debug for FrontDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontDoor")
            .field("sessions", &self.registry.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
