//! Asks an issuer over HTTP/1.1: one request a connection, bounded in size and time. Redirects are not followed, as the
//! configuration says who is trusted.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{HttpUrl, KEYS_BYTES_MAX, SetupError};

/// The largest answer, of keys and about a token.
const BODY_BYTES_MAX: usize = KEYS_BYTES_MAX;

/// Status line and headers, and what is read at once.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    #[error("it does not answer in time")]
    Timeout,
    #[error("{0}")]
    Broken(String),
    #[error("it answers {0}")]
    Status(StatusCode),
}

/// Asks.
pub(crate) struct Fetcher {
    tls: Option<TlsConnector>,
    timeout: Duration,
}

/// What is sent.
pub(crate) enum Question {
    /// For what is there.
    Get,
    /// A form, in the name of the client that the header names.
    Form { authorization: String, body: String },
}

impl Fetcher {
    /// One for that URL. CAs are read only if TLS is wanted.
    pub(crate) fn new(
        url: &HttpUrl,
        ca_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Fetcher, SetupError> {
        let tls = match url.is_tls() {
            true => Some(connector(ca_file)?),
            false => None,
        };
        Ok(Fetcher { tls, timeout })
    }

    /// The body of a successful answer.
    pub(crate) async fn ask(&self, url: &HttpUrl, question: Question) -> Result<Bytes, FetchError> {
        match timeout(self.timeout, self.connect_and_ask(url, question)).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::Timeout),
        }
    }

    async fn connect_and_ask(
        &self,
        url: &HttpUrl,
        question: Question,
    ) -> Result<Bytes, FetchError> {
        let stream = TcpStream::connect((url.host(), url.port())).await;
        let stream = stream.map_err(|error| broken("cannot connect", &error))?;
        match &self.tls {
            Some(tls) => {
                let name = ServerName::try_from(url.host().to_owned());
                let name = name.map_err(|error| broken("no name for TLS", &error))?;
                let stream = tls.connect(name, stream).await;
                let stream = stream.map_err(|error| broken("TLS", &error))?;
                exchange(stream, url, question).await
            }
            None => exchange(stream, url, question).await,
        }
    }
}

fn broken(what: &str, error: &dyn std::fmt::Display) -> FetchError {
    FetchError::Broken(format!("{what}: {error}"))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &HttpUrl,
    question: Question,
) -> Result<Bytes, FetchError> {
    let http = |error: hyper::Error| broken("HTTP", &error);
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER_BYTES_MAX);
    let handshake = builder.handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(http)?;
    // It ends with this function, whatever becomes of the answer.
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);

    let request = Request::builder()
        .uri(url.path())
        .header(header::HOST, url.host_header())
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, "Mailrook");
    let request = match question {
        Question::Get => request.method(Method::GET).body(Full::default()),
        Question::Form {
            authorization,
            body,
        } => request
            .method(Method::POST)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::AUTHORIZATION, authorization)
            .body(Full::new(Bytes::from(body))),
    };
    let request = request.map_err(|error| broken("HTTP", &error))?;
    let response = sender.send_request(request).await.map_err(http)?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(FetchError::Status(status));
    }
    let body = Limited::new(response.into_body(), BODY_BYTES_MAX)
        .collect()
        .await;
    let body = body.map_err(|error| broken("the answer", &error))?;
    Ok(body.to_bytes())
}

fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, SetupError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let at_fault = |error: String| SetupError::CaFile {
                path: path.to_owned(),
                error,
            };
            let certificates = CertificateDer::pem_file_iter(path);
            let certificates = certificates.map_err(|error| at_fault(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| at_fault(error.to_string()))?;
                let added = roots.add(certificate);
                added.map_err(|error| at_fault(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(at_fault("it holds no certificate".to_owned()));
            }
        }
        None => {
            // One that cannot be read is none; the others do.
            let loaded = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(loaded.certs);
            if roots.is_empty() {
                let why = loaded.errors.iter().map(ToString::to_string);
                return Err(SetupError::NoSystemCas(why.collect::<Vec<_>>().join(", ")));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
