//! Verifies a host's certificate as was decided, for rustls.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime},
};
use thiserror::Error as ThisError;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::TlsNeed;
use crate::{
    DnsName,
    dane::{Selector, TlsaRecord, Usage},
};

/// Certificates of a host that are looked at. Chains have three or four; rustls bounds their bytes.
const CHAIN_LENGTH_MAX: usize = 16;

/// What was wrong with a host's certificate, as TLSRPT tells it apart (RFC 8460 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum TlsFault {
    /// No record speaks of it, or of a CA above it.
    #[error("the certificate matches none of the domain's DANE records")]
    DaneMismatch,
    /// It has none of the names.
    #[error("the certificate is for other names")]
    WrongName,
    /// Its time is over, or has not come.
    #[error("the certificate is not valid at this time")]
    Expired,
    /// No CA that is trusted vouches for it.
    #[error("the certificate is not by a CA that is trusted")]
    NotTrusted,
}

/// How to speak TLS with a host, or nothing if it is not to be spoken. `roots` are the CAs that the system trusts.
///
/// Each is for one host: sessions are not resumed, as a resumed one shows no certificate.
///
/// # Errors
/// If rustls's provider lacks what it has.
pub fn client_config(
    need: &TlsNeed,
    roots: &Arc<RootCertStore>,
) -> Result<Option<Arc<ClientConfig>>, Error> {
    let trust = match need {
        TlsNeed::Never => return Ok(None),
        TlsNeed::Opportunistic | TlsNeed::Encrypted => Trust::Anyone,
        TlsNeed::Pkix { names } => Trust::Pkix {
            roots: Arc::clone(roots),
            names: server_names(names),
        },
        TlsNeed::Dane { records, names } => Trust::Dane {
            records: records.clone(),
            names: server_names(names),
        },
    };
    let provider = Arc::new(ring::default_provider());
    let verifier = HostVerifier {
        trust,
        provider: Arc::clone(&provider),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Some(Arc::new(config)))
}

/// What was wrong with a certificate, if that is why a handshake failed.
pub fn tls_fault(error: &Error) -> Option<TlsFault> {
    let Error::InvalidCertificate(error) = error else {
        return None;
    };
    Some(match error {
        CertificateError::Other(OtherError(other)) => match other.downcast_ref::<TlsFault>() {
            Some(fault) => *fault,
            None => TlsFault::NotTrusted,
        },
        _ => TlsFault::NotTrusted,
    })
}

fn server_names(names: &[DnsName]) -> Vec<ServerName<'static>> {
    let names = names.iter();
    // A name with an underscore is no host's, and no certificate has it.
    let names = names.filter_map(|name| ServerName::try_from(name.as_str().to_owned()).ok());
    names.collect()
}

enum Trust {
    Anyone,
    Pkix {
        roots: Arc<RootCertStore>,
        names: Vec<ServerName<'static>>,
    },
    Dane {
        records: Vec<TlsaRecord>,
        names: Vec<ServerName<'static>>,
    },
}

struct HostVerifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for HostVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostVerifier")
    }
}

impl HostVerifier {
    fn verify(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), TlsFault> {
        match &self.trust {
            Trust::Anyone => Ok(()),
            Trust::Pkix { roots, names } => self.verify_path(end, chain, &roots.roots, names, now),
            Trust::Dane { records, names } => {
                // RFC 7672 §3.1.1: the record itself binds the key to the host and says until when; names and times in the
                // certificate do not count.
                let by_key = |record: &&TlsaRecord| record.usage == Usage::DaneEe;
                if records
                    .iter()
                    .filter(by_key)
                    .any(|record| record.matches(end))
                {
                    return Ok(());
                }
                self.verify_dane_ta(end, chain, records, names, now)
            }
        }
    }

    /// RFC 7672 §3.1.2: a path to a CA that a record speaks of, with names and times.
    fn verify_dane_ta(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        records: &[TlsaRecord],
        names: &[ServerName<'_>],
        now: UnixTime,
    ) -> Result<(), TlsFault> {
        let records = || {
            records
                .iter()
                .filter(|record| record.usage == Usage::DaneTa)
        };
        let shown = chain
            .iter()
            .filter(|ca| records().any(|record| record.matches(ca)));
        // A record may hold the whole CA, which the host need not show then.
        let held = records().filter(|record| {
            record.selector == Selector::Certificate
                && record.matching == crate::dane::Matching::Exact
        });
        let held: Vec<CertificateDer<'_>> = held
            .map(|record| CertificateDer::from(&*record.data))
            .collect();
        let anchors = shown
            .chain(&held)
            .filter_map(|ca| anchor_from_trusted_cert(ca).ok());
        let anchors: Vec<TrustAnchor<'_>> = anchors.collect();
        if anchors.is_empty() {
            return Err(TlsFault::DaneMismatch);
        }
        match self.verify_path(end, chain, &anchors, names, now) {
            Err(TlsFault::NotTrusted) => Err(TlsFault::DaneMismatch),
            other => other,
        }
    }

    fn verify_path(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        anchors: &[TrustAnchor<'_>],
        names: &[ServerName<'_>],
        now: UnixTime,
    ) -> Result<(), TlsFault> {
        let end = EndEntityCert::try_from(end).map_err(|_| TlsFault::NotTrusted)?;
        let chain = &chain[..chain.len().min(CHAIN_LENGTH_MAX)];
        let algorithms = self.provider.signature_verification_algorithms.all;
        let usage = KeyUsage::server_auth();
        let path = end.verify_for_usage(algorithms, anchors, chain, now, usage, None, None);
        path.map_err(|error| match error {
            webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
                TlsFault::Expired
            }
            _ => TlsFault::NotTrusted,
        })?;
        let has = |name: &ServerName<'_>| end.verify_is_valid_for_subject_name(name).is_ok();
        match names.iter().any(has) {
            true => Ok(()),
            false => Err(TlsFault::WrongName),
        }
    }
}

impl ServerCertVerifier for HostVerifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.verify(end, chain, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(fault) => {
                let other = OtherError(Arc::new(fault));
                Err(Error::InvalidCertificate(CertificateError::Other(other)))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
