//! Fetches a policy over HTTPS (RFC 8461 §3.3): one request a connection, bounded in size and time. Redirects are not
//! followed, and the certificate must be for `mta-sts.DOMAIN`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use thiserror::Error;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::TlsConnector;

use crate::{
    DnsName,
    resolve::{Kind, LookupError, Resolve},
};

/// RFC 8461 §3.3 finds 64 kilobytes sensible.
pub const POLICY_BYTES_MAX: usize = 64 << 10;

/// Status line and headers, and what is read at once.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// RFC 8461 §3.3 finds one minute sensible; a message waits for this.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);

/// Addresses of a policy's host that are tried.
const ADDRESSES_MAX: usize = 4;

const PATH: &str = "/.well-known/mta-sts.txt";

/// Why there is no policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FetchError {
    /// The name cannot be looked up.
    #[error("its address: {0}")]
    Lookup(LookupError),
    /// No answer within [`FETCH_TIMEOUT`].
    #[error("it does not answer in time")]
    Timeout,
    /// Its certificate is not good (RFC 8460 §4.3.2.2: `sts-webpki-invalid`).
    #[error("its certificate: {0}")]
    Certificate(String),
    /// Connection or HTTP.
    #[error("{0}")]
    Broken(String),
    /// Anything but 200.
    #[error("it answers {0}")]
    Status(u16),
    /// RFC 8461 §3.3: `text/plain`.
    #[error("it is no text/plain")]
    NoText,
}

/// Fetches policies.
pub trait FetchPolicy: Send + Sync {
    /// The policy's text of that domain.
    fn fetch<'a>(&'a self, domain: &'a DnsName) -> BoxFuture<'a, Result<Bytes, FetchError>>;
}

/// Fetches over HTTPS.
pub struct HttpsFetcher {
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
    port: u16,
}

impl HttpsFetcher {
    /// One that trusts these CAs.
    ///
    /// # Errors
    /// If rustls's provider lacks what it has.
    pub fn new(
        resolver: Arc<dyn Resolve>,
        roots: Arc<RootCertStore>,
    ) -> Result<HttpsFetcher, rustls::Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(HttpsFetcher {
            resolver,
            tls: TlsConnector::from(Arc::new(config)),
            port: 443,
        })
    }

    /// One that asks at another port, for tests.
    #[cfg(any(test, feature = "test-server"))]
    pub fn with_port(mut self, port: u16) -> HttpsFetcher {
        self.port = port;
        self
    }

    async fn connect_and_ask(&self, domain: &DnsName) -> Result<Bytes, FetchError> {
        let broken = |what: &str| FetchError::Broken(what.to_owned());
        let host = domain
            .below("mta-sts")
            .map_err(|_| broken("the domain's name is too long"))?;
        let stream = self.connect(&host).await?;
        let name = ServerName::try_from(host.as_str().to_owned());
        let name = name.map_err(|_| broken("the domain is no name of a host"))?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
            match inner {
                Some(rustls::Error::InvalidCertificate(why)) => {
                    FetchError::Certificate(format!("{why:?}").chars().take(200).collect())
                }
                _ => FetchError::Broken(format!("TLS: {error}")),
            }
        })?;
        exchange(stream, &host).await
    }

    async fn connect(&self, host: &DnsName) -> Result<TcpStream, FetchError> {
        let (v6, v4) = tokio::join!(
            self.resolver.lookup(host, Kind::Aaaa),
            self.resolver.lookup(host, Kind::A)
        );
        let mut why = None;
        let mut addresses = Vec::new();
        for lookup in [v4, v6] {
            match lookup {
                Ok(answer) => addresses.extend(answer.addresses().take(ADDRESSES_MAX / 2)),
                Err(error) => why = Some(FetchError::Lookup(error)),
            }
        }
        for address in addresses {
            match TcpStream::connect(SocketAddr::new(address, self.port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => why = Some(FetchError::Broken(format!("cannot connect: {error}"))),
            }
        }
        Err(why.unwrap_or(FetchError::Broken("it has no address".to_owned())))
    }
}

impl FetchPolicy for HttpsFetcher {
    fn fetch<'a>(&'a self, domain: &'a DnsName) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        Box::pin(async move {
            let asked = timeout(FETCH_TIMEOUT, self.connect_and_ask(domain)).await;
            asked.unwrap_or(Err(FetchError::Timeout))
        })
    }
}

async fn exchange(
    stream: tokio_rustls::client::TlsStream<TcpStream>,
    host: &DnsName,
) -> Result<Bytes, FetchError> {
    let http = |error: &dyn std::fmt::Display| FetchError::Broken(format!("HTTP: {error}"));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER_BYTES_MAX);
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| http(&error))?;
    // It ends with this function, whatever becomes of the answer.
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::get(PATH)
        .header(header::HOST, host.as_str())
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, "Mailrook")
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|error| http(&error))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| http(&error))?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("text/plain") {
        return Err(FetchError::NoText);
    }
    let body = Limited::new(response.into_body(), POLICY_BYTES_MAX);
    let body = body.collect().await.map_err(|error| http(&error))?;
    Ok(body.to_bytes())
}

#[cfg(test)]
mod tests;
