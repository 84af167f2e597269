//! Certificates and clients for this crate's tests.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::CertificatePem;

/// A self-signed certificate for these names.
pub(crate) fn certificate_for(names: &[&str]) -> CertificatePem {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    CertificatePem {
        chain: made.cert.pem().into_bytes(),
        key: made.signing_key.serialize_pem().into_bytes(),
    }
}

/// A client that trusts this certificate.
pub(crate) fn connector(trusted: &CertificatePem) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&trusted.chain).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// A handshake as a client.
pub(crate) async fn connect<IO: AsyncRead + AsyncWrite + Unpin>(
    io: IO,
    name: &str,
    trusted: &CertificatePem,
) -> std::io::Result<TlsStream<IO>> {
    connector(trusted)
        .connect(ServerName::try_from(name.to_owned()).unwrap(), io)
        .await
}

/// A client's end, with or without TLS.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}
