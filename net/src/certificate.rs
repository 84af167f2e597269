//! Certificates with their keys, and the choice among them by the name that the client asks for (SNI, RFC 6066 §3).

use std::{
    collections::HashMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256, Sha384, Sha512};
use thiserror::Error;

/// Bounds what a wrong path makes us read: a chain has a few KB.
const PEM_FILE_LEN_MAX: u64 = 1 << 20;

/// Where a certificate and its key lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate, then those that lead to the root.
    pub chain: PathBuf,
    /// PEM: the private key.
    pub key: PathBuf,
}

/// A certificate and its key in memory.
#[derive(Clone)]
pub struct CertificatePem {
    /// The certificate, then those that lead to the root.
    pub chain: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
}

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is no certificate in the PEM text.
    #[error("{0} holds no PEM certificate")]
    NoCertificate(String),
    /// There is no private key in the PEM text.
    #[error("{0} holds no PEM private key")]
    NoKey(String),
    /// Key and certificate do not belong together, or are of a kind that is not supported.
    #[error("{name}: {error}")]
    Unusable {
        /// Which certificate.
        name: String,
        /// Why.
        error: rustls::Error,
    },
    /// Without certificates there is no TLS.
    #[error("no certificates are configured")]
    None,
}

/// The certificates of a server. The first is for clients that ask for no name, or for one that none has.
pub struct Certificates {
    entries: Vec<Entry>,
    /// Names in lower case; `*.example.test` under `example.test` in `wildcards`.
    names: HashMap<String, usize>,
    wildcards: HashMap<String, usize>,
}

struct Entry {
    key: Arc<CertifiedKey>,
    end_point: Option<Arc<[u8]>>,
}

impl Certificates {
    /// Reads certificates from files.
    pub fn from_files(files: &[CertificateFiles]) -> Result<Certificates, CertificateError> {
        let read = |file: &CertificateFiles| {
            let pem = CertificatePem {
                chain: read_bounded(&file.chain)?,
                key: read_bounded(&file.key)?,
            };
            Ok((
                pem,
                file.chain.display().to_string(),
                file.key.display().to_string(),
            ))
        };
        Certificates::from_named(files.iter().map(read))
    }

    /// Reads certificates from memory.
    pub fn from_pem(pems: &[CertificatePem]) -> Result<Certificates, CertificateError> {
        let name = |(n, pem): (usize, &CertificatePem)| {
            Ok((
                pem.clone(),
                format!("certificate {}", n + 1),
                format!("key {}", n + 1),
            ))
        };
        Certificates::from_named(pems.iter().enumerate().map(name))
    }

    fn from_named(
        pems: impl Iterator<Item = Result<(CertificatePem, String, String), CertificateError>>,
    ) -> Result<Certificates, CertificateError> {
        let mut all = Certificates {
            entries: Vec::new(),
            names: HashMap::new(),
            wildcards: HashMap::new(),
        };
        for pem in pems {
            let (pem, chain_name, key_name) = pem?;
            all.add(&pem, chain_name, key_name)?;
        }
        if all.entries.is_empty() {
            Err(CertificateError::None)
        } else {
            Ok(all)
        }
    }

    /// For a name that two certificates have, the first one counts.
    fn add(
        &mut self,
        pem: &CertificatePem,
        chain_name: String,
        key_name: String,
    ) -> Result<(), CertificateError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem.chain)
            .filter_map(Result::ok)
            .collect();
        let leaf = chain
            .first()
            .cloned()
            .ok_or_else(|| CertificateError::NoCertificate(chain_name.clone()))?;
        let key = PrivateKeyDer::from_pem_slice(&pem.key)
            .map_err(|_| CertificateError::NoKey(key_name))?;
        let unusable = |error| CertificateError::Unusable {
            name: chain_name.clone(),
            error,
        };
        let key =
            CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(unusable)?;

        let index = self.entries.len();
        for name in dns_names(&leaf) {
            match name.strip_prefix("*.") {
                Some(parent) => self.wildcards.entry(parent.to_owned()).or_insert(index),
                None => self.names.entry(name).or_insert(index),
            };
        }
        self.entries.push(Entry {
            key: Arc::new(key),
            end_point: server_end_point(&leaf),
        });
        Ok(())
    }

    /// Which certificate is shown to a client that asks for `name`: the same now and after the handshake.
    fn choose(&self, name: Option<&str>) -> &Entry {
        let name = name.unwrap_or_default().to_ascii_lowercase();
        let wildcard = || self.wildcards.get(name.split_once('.')?.1);
        let index = self
            .names
            .get(&name)
            .or_else(wildcard)
            .copied()
            .unwrap_or(0);
        &self.entries[index]
    }

    /// The data of `tls-server-end-point` for a connection that asked for `name`.
    pub(crate) fn end_point(&self, name: Option<&str>) -> Option<Arc<[u8]>> {
        self.choose(name).end_point.clone()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.choose(hello.server_name()).key))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("names", &self.names.keys())
            .finish_non_exhaustive()
    }
}

/// A key is no matter for logs.
impl fmt::Debug for CertificatePem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificatePem(…)")
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let at_fault = |error| CertificateError::Read {
        path: path.to_owned(),
        error,
    };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(at_fault)?;
    let len = io::Read::read_to_end(&mut io::Read::take(file, PEM_FILE_LEN_MAX + 1), &mut bytes)
        .map_err(at_fault)?;
    if len as u64 > PEM_FILE_LEN_MAX {
        return Err(at_fault(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "too large for a PEM file",
        )));
    }
    Ok(bytes)
}

fn dns_names(leaf: &CertificateDer<'_>) -> Vec<String> {
    match webpki::EndEntityCert::try_from(leaf) {
        Ok(cert) => cert
            .valid_dns_names()
            .map(str::to_ascii_lowercase)
            .collect(),
        Err(_) => Vec::new(),
    }
}

/// RFC 5929 §4.1: the certificate, hashed as its signature is; MD5 and SHA-1 give way to SHA-256. `None` where the
/// signature's algorithm names no single hash (Ed25519, RSASSA-PSS with parameters): then it is undefined.
fn server_end_point(leaf: &CertificateDer<'_>) -> Option<Arc<[u8]>> {
    /// 1.2.840.113549.1.1: RSA with PKCS #1 v1.5.
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    /// 1.2.840.10045.4.3: ECDSA with SHA-2.
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    let oid = signature_algorithm(leaf)?;
    let (family, last) = (oid.get(..oid.len() - 1)?, *oid.last()?);
    match (family, last) {
        (RSA, 4 | 5 | 11) | (ECDSA, 2) => Some(Sha256::digest(leaf).to_vec().into()),
        (RSA, 12) | (ECDSA, 3) => Some(Sha384::digest(leaf).to_vec().into()),
        (RSA, 13) | (ECDSA, 4) => Some(Sha512::digest(leaf).to_vec().into()),
        _ => None,
    }
}

/// The OID in `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID, … }, … }`.
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = der_value(certificate, 0x30)?;
    let (_, after_tbs) = der_value(certificate, 0x30)?;
    let (algorithm, _) = der_value(after_tbs, 0x30)?;
    let (oid, _) = der_value(algorithm, 0x06)?;
    (!oid.is_empty()).then_some(oid)
}

/// The content of a DER value with that tag, and what follows it.
fn der_value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (len, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (
                len.iter()
                    .fold(0, |len, byte| len << 8 | usize::from(*byte)),
                rest,
            )
        }
        _ => return None,
    };
    rest.split_at_checked(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_tls::certificate_for;

    #[test]
    fn chooses_by_name() {
        let all = Certificates::from_pem(&[
            certificate_for(&["mail.example.test", "imap.example.test"]),
            certificate_for(&["*.example.org", "imap.example.test"]),
        ])
        .unwrap();
        let chosen = |name| {
            all.entries
                .iter()
                .position(|entry| Arc::ptr_eq(&entry.key, &all.choose(name).key))
                .unwrap()
        };
        assert_eq!(chosen(None), 0);
        assert_eq!(chosen(Some("IMAP.example.test")), 0);
        assert_eq!(chosen(Some("mail.example.org")), 1);
        assert_eq!(chosen(Some("a.mail.example.org")), 0);
        assert_eq!(chosen(Some("unknown.test")), 0);
        assert_eq!(all.end_point(None).map(|data| data.len()), Some(32));
        assert_ne!(all.end_point(None), all.end_point(Some("x.example.org")));
    }

    #[test]
    fn says_what_is_wrong() {
        let good = certificate_for(&["a.test"]);
        let other = certificate_for(&["b.test"]);
        let error = |chain: &[u8], key: &[u8]| {
            let pem = CertificatePem {
                chain: chain.to_vec(),
                key: key.to_vec(),
            };
            Certificates::from_pem(&[pem]).unwrap_err().to_string()
        };
        assert_eq!(
            error(b"", &good.key),
            "certificate 1 holds no PEM certificate"
        );
        assert_eq!(
            error(&good.chain, b"nonsense"),
            "key 1 holds no PEM private key"
        );
        assert!(error(&good.chain, &other.key).contains("certificate 1"));
        assert!(matches!(
            Certificates::from_pem(&[]),
            Err(CertificateError::None)
        ));
        let missing = CertificateFiles {
            chain: "/nowhere/a.pem".into(),
            key: "/nowhere/a.key".into(),
        };
        assert!(
            Certificates::from_files(&[missing])
                .unwrap_err()
                .to_string()
                .contains("/nowhere/a.pem")
        );
    }

    #[test]
    fn reads_der_of_any_kind() {
        assert_eq!(signature_algorithm(&[]), None);
        assert_eq!(
            signature_algorithm(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
            None
        );
        assert_eq!(signature_algorithm(&[0x30, 0x80, 0, 0]), None);
        let mut certificate = Vec::new();
        for n in 0..200u8 {
            certificate.push(n.wrapping_mul(31));
            signature_algorithm(&certificate);
        }
    }
}
