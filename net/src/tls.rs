//! TLS as a server: the handshake, and certificates that can be replaced while connections live.
//!
//! A reload makes a new configuration and swaps it in; handshakes that have begun, and connections, keep the one
//! they have. Session tickets (RFC 8446 §4.6.1, RFC 5077) are stateless, under keys that rotate, so that resumption costs no
//! memory here.

use std::{io, sync::Arc, time::Duration};

use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert},
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::server::TlsStream;

use crate::{CertificateError, CertificateFiles, Certificates};

/// The bounds of handshakes.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// A handshake takes a few round trips; a client on a bad line gets so long.
    pub handshake_timeout: Duration,
    /// Handshakes at once; more wait, within the same time. As many as there may be connections without a login
    /// ([`Limits::pending_max`](crate::Limits::pending_max)): a slow client holds a place, and costs little else.
    pub handshakes_max: usize,
}

impl Default for TlsSettings {
    fn default() -> TlsSettings {
        TlsSettings {
            handshake_timeout: Duration::from_secs(20),
            handshakes_max: 4_096,
        }
    }
}

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The client took too long.
    #[error("TLS handshake timed out")]
    Timeout,
    /// The client broke the protocol, refused our certificate, or went away.
    #[error("TLS handshake failed: {0}")]
    Handshake(#[from] io::Error),
    /// The stream has TLS already.
    #[error("TLS is active already")]
    AlreadyActive,
}

/// Does TLS handshakes. Clones share everything.
#[derive(Clone)]
pub struct TlsAcceptor(Arc<Shared>);

struct Shared {
    settings: TlsSettings,
    places: Semaphore,
    ticketer: Arc<dyn ProducesTickets>,
    /// What [`TlsAcceptor::reload`] reads again.
    files: Vec<CertificateFiles>,
    current: RwLock<Arc<Snapshot>>,
}

/// What a handshake uses from its beginning to its end.
struct Snapshot {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
}

/// A finished handshake.
pub(crate) struct Accepted<IO> {
    pub(crate) stream: TlsStream<IO>,
    pub(crate) end_point: Option<Arc<[u8]>>,
}

impl TlsAcceptor {
    /// With certificates from files, which [`TlsAcceptor::reload`] reads again.
    pub fn from_files(
        files: Vec<CertificateFiles>,
        settings: TlsSettings,
    ) -> Result<TlsAcceptor, CertificateError> {
        let certificates = Certificates::from_files(&files)?;
        TlsAcceptor::build(certificates, files, settings)
    }

    /// With certificates from memory.
    pub fn new(
        certificates: Certificates,
        settings: TlsSettings,
    ) -> Result<TlsAcceptor, CertificateError> {
        TlsAcceptor::build(certificates, Vec::new(), settings)
    }

    fn build(
        certificates: Certificates,
        files: Vec<CertificateFiles>,
        settings: TlsSettings,
    ) -> Result<TlsAcceptor, CertificateError> {
        let unusable = |error| CertificateError::Unusable {
            name: "session tickets".to_owned(),
            error,
        };
        let ticketer = ring::Ticketer::new().map_err(unusable)?;
        let current = RwLock::new(Snapshot::build(certificates, &ticketer)?);
        let places = Semaphore::new(settings.handshakes_max.clamp(1, Semaphore::MAX_PERMITS));
        Ok(TlsAcceptor(Arc::new(Shared {
            settings,
            places,
            ticketer,
            files,
            current,
        })))
    }

    /// Reads the files again. When one is at fault, nothing changes.
    pub fn reload(&self) -> Result<(), CertificateError> {
        if self.0.files.is_empty() {
            return Ok(());
        }
        self.replace(Certificates::from_files(&self.0.files)?)
    }

    /// Uses these certificates from the next handshake on.
    pub fn replace(&self, certificates: Certificates) -> Result<(), CertificateError> {
        let snapshot = Snapshot::build(certificates, &self.0.ticketer)?;
        *self.0.current.write() = snapshot;
        Ok(())
    }

    /// Does a handshake as the server.
    pub(crate) async fn accept<IO>(&self, io: IO) -> Result<Accepted<IO>, TlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = async {
            let _place = self
                .0
                .places
                .acquire()
                .await
                .map_err(|_| TlsError::Timeout)?;
            let snapshot = Arc::clone(&self.0.current.read());
            let stream = tokio_rustls::TlsAcceptor::from(Arc::clone(&snapshot.config))
                .accept(io)
                .await?;
            let end_point = snapshot
                .certificates
                .end_point(stream.get_ref().1.server_name());
            Ok(Accepted { stream, end_point })
        };
        timeout(self.0.settings.handshake_timeout, handshake)
            .await
            .map_err(|_| TlsError::Timeout)?
    }
}

impl Snapshot {
    fn build(
        certificates: Certificates,
        ticketer: &Arc<dyn ProducesTickets>,
    ) -> Result<Arc<Snapshot>, CertificateError> {
        let certificates = Arc::new(certificates);
        let resolver: Arc<dyn ResolvesServerCert> = certificates.clone();
        // RFC 8314 §4.1, RFC 8996: TLS 1.2 and 1.3, all that rustls has.
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| CertificateError::Unusable {
                name: "TLS versions".to_owned(),
                error,
            })?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.ticketer = Arc::clone(ticketer);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(Snapshot {
            config: Arc::new(config),
            certificates,
        }))
    }
}

impl std::fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsAcceptor")
            .field("files", &self.0.files)
            .finish_non_exhaustive()
    }
}
