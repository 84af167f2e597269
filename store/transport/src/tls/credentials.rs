//! What a node shows to others, what it believes them by, and the TLS that follows from both.
//!
//! TLS 1.3 only. No session is ever resumed: a resumed one would be believed by what was trusted when it began.

use std::{fmt, sync::Arc, time::SystemTime};

use mailrook_types::NodeId;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{Certificate, CertificateError, NodeKey, ca, node_name};

/// Nobody takes a connection of another protocol for one of ours, or the other way round (RFC 7301).
pub(crate) const ALPN: &[u8] = b"mailrook-nodes";

/// A node's certificate with its key, and the CAs that it trusts.
#[derive(Clone)]
pub struct Credentials {
    certificate: Certificate,
    cluster: u128,
    node: NodeId,
    key: Arc<CertifiedKey>,
    trusted: Arc<RootCertStore>,
    /// The same, as certificates.
    cas: Arc<[Certificate]>,
}

impl Credentials {
    /// Checks that they fit together. `trusted` are the certificates of the cluster's CAs: one, or more while it is rotated.
    pub fn new(
        certificate: Certificate,
        key: &NodeKey,
        trusted: &[Certificate],
    ) -> Result<Credentials, CertificateError> {
        let (cluster, node) = certificate.node().ok_or(CertificateError::NoNode)?;
        if !ca::belongs(&certificate, key)? {
            return Err(CertificateError::AnotherKey);
        }
        let mut roots = RootCertStore::empty();
        // Who joins knows only the CA's fingerprint, so that the CAs are part of what is shown.
        let mut chain = vec![certificate.der().clone()];
        for ca in trusted {
            check_ca(ca, cluster)?;
            roots.add(ca.der().clone()).map_err(unusable)?;
            chain.push(ca.der().clone());
        }
        if roots.is_empty() {
            return Err(CertificateError::NoTrust);
        }
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.private_der()));
        let signing = ring::sign::any_ecdsa_type(&private).map_err(unusable)?;
        Ok(Credentials {
            certificate,
            cluster,
            node,
            key: Arc::new(CertifiedKey::new(chain, signing)),
            trusted: Arc::new(roots),
            cas: trusted.into(),
        })
    }

    /// Whose they are.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Of which cluster.
    pub fn cluster(&self) -> u128 {
        self.cluster
    }

    /// When the certificate ceases to be valid.
    pub fn expires(&self) -> SystemTime {
        self.certificate.expires()
    }

    pub(crate) fn tls(&self) -> Result<Tls, CertificateError> {
        let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&self.key)));
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_root_certificates(Arc::clone(&self.trusted))
            .with_client_cert_resolver(resolver.clone());
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        // Who has no certificate may ask to join: that is decided behind the handshake.
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.trusted), provider())
                .allow_unauthenticated()
                .build()
                .map_err(|error| CertificateError::Unusable(error.to_string()))?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Tls {
            connector: Arc::new(client).into(),
            acceptor: Arc::new(server).into(),
            cas: Arc::clone(&self.cas),
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("certificate", &self.certificate)
            .field("trusted", &self.trusted.len())
            .finish_non_exhaustive()
    }
}

/// Both roles of a node.
pub(crate) struct Tls {
    pub(crate) connector: TlsConnector,
    pub(crate) acceptor: TlsAcceptor,
    cas: Arc<[Certificate]>,
}

impl Tls {
    /// Whether one of the CAs that are trusted signed the certificate, be it still valid or not: of a connection that exists.
    pub(crate) fn believes(&self, certificate: &CertificateDer<'static>) -> bool {
        let certificate = Certificate::from_der(certificate.to_vec());
        certificate.is_ok_and(|certificate| self.cas.iter().any(|ca| certificate.is_of(ca)))
    }
}

/// AES-128 first: it is the cheapest, and nobody breaks it.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
            ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
            ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..ring::default_provider()
    })
}

fn check_ca(ca: &Certificate, cluster: u128) -> Result<(), CertificateError> {
    match ca.ca_cluster() {
        Some(found) if found == cluster => Ok(()),
        Some(found) => Err(CertificateError::Another {
            found: crate::certificate::ca_name(found),
            wanted: crate::certificate::ca_name(cluster),
        }),
        None => Err(CertificateError::NoCa),
    }
}

/// That they are for this node of this cluster.
pub(crate) fn check_owner(
    credentials: &Credentials,
    cluster: u128,
    node: NodeId,
) -> Result<(), CertificateError> {
    let (found, wanted) = (
        node_name(credentials.cluster, credentials.node),
        node_name(cluster, node),
    );
    match found == wanted {
        true => Ok(()),
        false => Err(CertificateError::Another { found, wanted }),
    }
}

fn unusable(error: rustls::Error) -> CertificateError {
    CertificateError::Unusable(error.to_string())
}
