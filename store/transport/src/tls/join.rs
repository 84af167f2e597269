//! How a node that has no certificate yet asks a member for one.
//!
//! It connects without a certificate, sends one join frame, and gets one joined or reject frame. It believes the member if the
//! certificate that it shows was signed by the CA whose fingerprint stands in the join token; members show their CAs behind
//! their own certificate for that. The member believes the request by what is in it, which is not known here.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use rustls::{
    CertificateError as TlsCertificateError, ClientConfig, DigitallySignedStruct,
    Error as TlsError, OtherError, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, server::TlsStream};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::{
    accept::reject,
    credentials::{ALPN, provider},
    dial::write_frame,
    frame::{Decoder, Frame, Kind, text_of},
    tcp,
    tls_network::Shared,
};
use crate::certificate::certified_node;

/// A request to join, and the answer to it.
pub const JOIN_BYTES_MAX: usize = 64 << 10;

/// How long a member may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long the asking side waits for all of it: longer, so that it hears the member's reason.
const ASK_MAX: Duration = Duration::from_secs(15);

/// Requests that one node answers at a time. Nodes join rarely, and each costs a round of consensus.
pub(crate) const JOINING_MAX: usize = 4;

/// The server name in the handshake, which has no meaning: the joining node does not know whom it reached.
const ANY_MEMBER: &str = "member.mailrook.internal";

/// Answers those who ask to join.
pub trait JoinHandler: Send + Sync + 'static {
    /// Answers a request; the error's text goes to who asked. Nothing about `peer` has been verified.
    fn join(&self, peer: SocketAddr, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>>;
}

/// Why joining failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JoinError {
    /// The request is longer than [`JOIN_BYTES_MAX`].
    #[error("the request has {0} bytes, more than {JOIN_BYTES_MAX}")]
    TooLong(usize),
    /// There is no connection to the address, or it broke.
    #[error("no answer from {address}: {cause}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        cause: String,
    },
    /// Who answers there is not of the cluster whose CA the token names. The request was not sent.
    #[error("{address} is not of the cluster that the token is for: {cause}")]
    Untrusted {
        /// Where.
        address: String,
        /// Why.
        cause: String,
    },
    /// The member refused.
    #[error("{address} refused: {cause}")]
    Refused {
        /// Where.
        address: String,
        /// Its words.
        cause: String,
    },
}

/// Asks the member at `address` (`host:port`) to take this machine into its cluster. `ca_fingerprint` is the SHA-256 of the
/// CA's certificate, from the join token: nothing is sent to who cannot show a certificate of that CA.
pub async fn ask_to_join(
    address: &str,
    ca_fingerprint: [u8; 32],
    request: Bytes,
) -> Result<Bytes, JoinError> {
    if request.len() > JOIN_BYTES_MAX {
        return Err(JoinError::TooLong(request.len()));
    }
    let asked = timeout(ASK_MAX, ask(address, ca_fingerprint, request)).await;
    asked.unwrap_or_else(|_| Err(unreachable(address, "it takes too long")))
}

fn unreachable(address: &str, cause: impl ToString) -> JoinError {
    JoinError::Unreachable {
        address: address.into(),
        cause: cause.to_string(),
    }
}

async fn ask(address: &str, ca_fingerprint: [u8; 32], request: Bytes) -> Result<Bytes, JoinError> {
    let io_error = |error: std::io::Error| unreachable(address, error);
    let tcp = tcp::connect(address, |_| {})
        .await
        .map_err(|error| unreachable(address, error.cause))?;
    let connector = connector(ca_fingerprint).map_err(|error| unreachable(address, error))?;
    let name = ServerName::try_from(ANY_MEMBER).map_err(|error| unreachable(address, error))?;
    let mut tls = connector
        .connect(name, tcp)
        .await
        .map_err(|error| not_trusted(address, error))?;
    let frame = Frame::new(Kind::Join, 0, request);
    write_frame(&mut tls, &frame).await.map_err(io_error)?;
    let mut decoder = Decoder::new(JOIN_BYTES_MAX);
    let answer = decoder
        .read(&mut tls)
        .await
        .map_err(|error| unreachable(address, error))?;
    match answer.kind {
        Kind::Joined => Ok(answer.body),
        Kind::Reject => Err(JoinError::Refused {
            address: address.into(),
            cause: text_of(&answer.body),
        }),
        _ => Err(unreachable(address, "it broke the protocol")),
    }
}

/// A handshake that failed by the certificate is told from one that the network broke.
fn not_trusted(address: &str, error: std::io::Error) -> JoinError {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsError>());
    match tls {
        Some(tls) => JoinError::Untrusted {
            address: address.into(),
            cause: match tls {
                TlsError::InvalidCertificate(TlsCertificateError::Other(OtherError(why))) => {
                    why.to_string()
                }
                other => other.to_string(),
            },
        },
        None => unreachable(address, error),
    }
}

fn connector(ca_fingerprint: [u8; 32]) -> Result<TlsConnector, TlsError> {
    let provider = provider();
    let verifier = ByFingerprint {
        ca_fingerprint,
        provider: Arc::clone(&provider),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    // It names a member that does not exist.
    config.enable_sni = false;
    Ok(Arc::new(config).into())
}

/// Believes a node whose certificate was signed by the CA with this fingerprint.
#[derive(Debug)]
struct ByFingerprint {
    ca_fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

#[derive(Debug, Error)]
enum Untrusted {
    #[error("it does not show the CA with the token's fingerprint")]
    NoCa,
    #[error("its certificate was not signed by the CA with the token's fingerprint ({0})")]
    NotSigned(webpki::Error),
    #[error("its certificate is not that of a node")]
    NoNode,
}

impl ByFingerprint {
    /// The CA is public: anybody can show it. What counts is that it signed the certificate whose key signs the handshake.
    fn verify(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Untrusted> {
        let is_ca = |other: &&CertificateDer<'_>| Sha256::digest(other)[..] == self.ca_fingerprint;
        let ca = others.iter().find(is_ca).ok_or(Untrusted::NoCa)?;
        let anchor = anchor_from_trusted_cert(ca).map_err(Untrusted::NotSigned)?;
        let certificate = EndEntityCert::try_from(shown).map_err(Untrusted::NotSigned)?;
        certificate
            .verify_for_usage(
                self.provider.signature_verification_algorithms.all,
                &[anchor],
                // The CA signs nodes itself.
                &[],
                now,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(Untrusted::NotSigned)?;
        certified_node(shown).map(drop).ok_or(Untrusted::NoNode)
    }
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let verified = self.verify(end_entity, intermediates, now);
        let error = |why| TlsCertificateError::Other(OtherError(Arc::new(why)));
        verified.map_err(|why| TlsError::InvalidCertificate(error(why)))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The member's side: answers one request.
pub(crate) async fn answer(
    shared: &Shared,
    mut tls: TlsStream<TcpStream>,
    from: SocketAddr,
    request: Bytes,
) -> Result<(), String> {
    let answer = match handle(shared, from, request).await {
        Ok(answer) => answer,
        Err(cause) => {
            tracing::warn!(%from, %cause, "a request to join was refused");
            reject(&mut tls, &cause.as_str().into()).await;
            return Err(cause);
        }
    };
    let frame = Frame::new(Kind::Joined, 0, answer);
    let written = async {
        write_frame(&mut tls, &frame).await?;
        tokio::io::AsyncWriteExt::shutdown(&mut tls).await
    };
    match timeout(ANSWER_MAX, written).await {
        Ok(written) => written.map_err(|error| error.to_string()),
        Err(_) => Err("it does not read the answer".into()),
    }
}

async fn handle(shared: &Shared, from: SocketAddr, request: Bytes) -> Result<Bytes, String> {
    let handler = shared
        .join
        .as_ref()
        .ok_or("this node takes no requests to join")?;
    let busy = |_| "too many nodes are joining, try again in a moment";
    let _one = shared.joining.try_acquire().map_err(busy)?;
    if request.len() > JOIN_BYTES_MAX {
        return Err(format!("the request is longer than {JOIN_BYTES_MAX} bytes"));
    }
    let answered = timeout(ANSWER_MAX, handler.join(from, request)).await;
    let answer = answered.map_err(|_| "the cluster takes too long, try again in a moment")??;
    match answer.len() <= JOIN_BYTES_MAX {
        true => Ok(answer),
        false => Err("the answer is too long".into()),
    }
}
