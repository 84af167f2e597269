//! Certificates of a cluster: the CA's own, and those of its nodes.
//!
//! A node's certificate names it by one DNS name, and nothing else in it counts:
//!
//! ```text
//! n<node, 16 hex digits>.<cluster, 32 hex digits>.mailrook.internal
//! ```
//!
//! `.internal` is reserved for private use (ICANN resolution 2024.07.29.06); the name is never looked up. The CA's has `ca` in
//! place of the node.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use mailrook_types::NodeId;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
};
use sha2::{Digest, Sha256};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use zeroize::Zeroizing;

/// The last labels of each name.
const DOMAIN: &str = "mailrook.internal";

/// The characters of a line of PEM (RFC 7468 §2).
const PEM_LINE: usize = 64;

/// Why a certificate or key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// The text holds no certificate, or an unreadable one.
    #[error("no readable PEM certificate")]
    NoCertificate,
    /// The text holds no private key, or one that is not for ECDSA P-256.
    #[error("no PEM private key for ECDSA P-256")]
    NoKey,
    /// The bytes are no public key for ECDSA P-256.
    #[error("not a public key for ECDSA P-256")]
    NoPublicKey,
    /// The certificate was made for something else than the nodes of a cluster.
    #[error("the certificate names no node of a cluster")]
    NoNode,
    /// The certificate is not that of a cluster's CA.
    #[error("the certificate is not that of a cluster's CA")]
    NoCa,
    /// It is that of another node, or of another cluster.
    #[error("the certificate is for {found}, not {wanted}")]
    Another {
        /// Its name.
        found: String,
        /// The name that was asked for.
        wanted: String,
    },
    /// Key and certificate do not belong together.
    #[error("the key does not belong to the certificate")]
    AnotherKey,
    /// No CA is trusted.
    #[error("there is no CA to trust")]
    NoTrust,
    /// TLS does not take them.
    #[error("unusable for TLS: {0}")]
    Unusable(String),
    /// It could not be made.
    #[error("cannot be made: {0}")]
    Making(String),
}

/// The name in the certificate of a node.
pub fn node_name(cluster: u128, node: NodeId) -> String {
    format!("n{:016x}.{cluster:032x}.{DOMAIN}", node.0)
}

pub(crate) fn ca_name(cluster: u128) -> String {
    format!("ca.{cluster:032x}.{DOMAIN}")
}

/// The first label of a name, and the cluster.
fn split_name(name: &str) -> Option<(&str, u128)> {
    let (first, rest) = name.split_once('.')?;
    let cluster = rest.strip_suffix(DOMAIN)?.strip_suffix('.')?;
    Some((first, parse_hex(cluster, 32)?))
}

/// The reverse of [`node_name`]: cluster and node.
pub(crate) fn parse_node_name(name: &str) -> Option<(u128, NodeId)> {
    let (first, cluster) = split_name(name)?;
    let node = parse_hex(first.strip_prefix('n')?, 16)?;
    Some((cluster, NodeId(u64::try_from(node).ok()?)))
}

/// Exactly `digits` digits, in lower case, so that each number has one name.
fn parse_hex(text: &str, digits: usize) -> Option<u128> {
    let fits = text.len() == digits
        && text
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    fits.then(|| u128::from_str_radix(text, 16).ok())?
}

/// A certificate of a cluster: its CA's, or a node's.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Takes a certificate that can be read. Nothing is verified.
    pub fn from_der(der: Vec<u8>) -> Result<Certificate, CertificateError> {
        let der = CertificateDer::from(der);
        EndEntityCert::try_from(&der).map_err(|_| CertificateError::NoCertificate)?;
        Ok(Certificate { der })
    }

    /// The first certificate of a text.
    pub fn from_pem(pem: &str) -> Result<Certificate, CertificateError> {
        let first = Certificate::all_from_pem(pem)?.into_iter().next();
        first.ok_or(CertificateError::NoCertificate)
    }

    /// All certificates of a text, such as the CAs that a node trusts.
    pub fn all_from_pem(pem: &str) -> Result<Vec<Certificate>, CertificateError> {
        CertificateDer::pem_slice_iter(pem.as_bytes())
            .map(|der| {
                let der = der.map_err(|_| CertificateError::NoCertificate)?;
                Certificate::from_der(der.to_vec())
            })
            .collect()
    }

    /// RFC 7468.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der).to_string()
    }

    /// Its bytes.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The SHA-256 of its bytes.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.der).into()
    }

    /// The cluster and the node that it names; None unless it names exactly one.
    pub fn node(&self) -> Option<(u128, NodeId)> {
        certified_node(&self.der)
    }

    /// Whether a CA signed it for a node, and it is valid now.
    pub fn is_signed_by(&self, ca: &Certificate) -> bool {
        self.is_signed_by_at(ca, UnixTime::now())
    }

    /// Whether a CA signed it for a node, be it still valid or not.
    pub(crate) fn is_of(&self, ca: &Certificate) -> bool {
        let expires = self.expires().duration_since(UNIX_EPOCH);
        let before = expires
            .unwrap_or_default()
            .saturating_sub(Duration::from_secs(1));
        self.is_signed_by_at(ca, UnixTime::since_unix_epoch(before))
    }

    fn is_signed_by_at(&self, ca: &Certificate, at: UnixTime) -> bool {
        let Ok(anchor) = anchor_from_trusted_cert(&ca.der) else {
            return false;
        };
        let Ok(certificate) = EndEntityCert::try_from(&self.der) else {
            return false;
        };
        let anchors = [anchor];
        let verified = certificate.verify_for_usage(
            ring::default_provider()
                .signature_verification_algorithms
                .all,
            &anchors,
            // The CA signs nodes itself.
            &[],
            at,
            KeyUsage::server_auth(),
            None,
            None,
        );
        verified.is_ok()
    }

    /// The cluster, if it is that of a CA.
    pub(crate) fn ca_cluster(&self) -> Option<u128> {
        match split_name(&only_name(&self.der)?)? {
            ("ca", cluster) => Some(cluster),
            _ => None,
        }
    }

    /// When it ceases to be valid. A node asks for its next one when a third of the time is left.
    pub fn expires(&self) -> SystemTime {
        // It was readable when this value was made, so that the default does not come about; it says "renew".
        let at = not_after(&self.der).unwrap_or_default();
        UNIX_EPOCH + Duration::from_secs(at)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?})", only_name(&self.der))
    }
}

/// The cluster and the node that a certificate names. It is not verified here.
pub(crate) fn certified_node(der: &CertificateDer<'_>) -> Option<(u128, NodeId)> {
    parse_node_name(&only_name(der)?)
}

fn only_name(der: &CertificateDer<'_>) -> Option<String> {
    let certificate = EndEntityCert::try_from(der).ok()?;
    let mut names = certificate.valid_dns_names();
    let only = names.next()?.to_owned();
    names.next().is_none().then_some(only)
}

/// RFC 7468: also for keys, so that no copy of them stays behind.
pub(crate) fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    // All of it at once: a string that grows leaves copies.
    let lines = body.len() / PEM_LINE + 1;
    let mut text = Zeroizing::new(String::with_capacity(body.len() + lines + 128));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    for start in (0..body.len()).step_by(PEM_LINE) {
        text.push_str(&body[start..body.len().min(start + PEM_LINE)]);
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

// What follows reads one field, which webpki verifies but does not show: RFC 5280 §4.1.
//
//     Certificate    ::= SEQUENCE { tbsCertificate, ... }
//     TBSCertificate ::= SEQUENCE { version [0], serialNumber, signature, issuer, validity, ... }
//     Validity       ::= SEQUENCE { notBefore Time, notAfter Time }

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Seconds since 1970.
fn not_after(der: &[u8]) -> Option<u64> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    for _ in ["version", "serialNumber", "signature", "issuer"] {
        fields = element(fields, *fields.first()?)?.1;
    }
    let (validity, _) = element(fields, SEQUENCE)?;
    let (_, rest) = element(validity, *validity.first()?)?;
    let tag = *rest.first()?;
    let (time, _) = element(rest, tag)?;
    seconds(tag, std::str::from_utf8(time).ok()?)
}

/// The content of an element of DER, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            let add = |sum, digit: &u8| (sum << 8) | usize::from(*digit);
            (digits.iter().fold(0, add), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 §4.1.2.5).
fn seconds(tag: u8, time: &str) -> Option<u64> {
    let digits = time
        .strip_suffix('Z')
        .filter(|time| time.bytes().all(|b| b.is_ascii_digit()))?;
    let (year, rest) = match tag {
        UTC_TIME => digits.split_at_checked(2)?,
        GENERALIZED_TIME => digits.split_at_checked(4)?,
        _ => return None,
    };
    let mut year: u64 = year.parse().ok()?;
    if tag == UTC_TIME {
        year += if year >= 50 { 1900 } else { 2000 };
    }
    let field = |n: usize| rest.get(2 * n..2 * n + 2)?.parse::<u64>().ok();
    let (month, day) = (field(0)?, field(1)?);
    if rest.len() != 10 || year < 1970 || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    Some(((days_since_1970(year, month, day) * 24 + field(2)?) * 60 + field(3)?) * 60 + field(4)?)
}

fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    // Years that begin in March have their leap day last (H. Hinnant, "chrono-compatible low-level date algorithms").
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_holds_node_and_cluster() {
        let name = node_name(0xabc, NodeId(255));
        assert_eq!(
            name,
            "n00000000000000ff.00000000000000000000000000000abc.mailrook.internal"
        );
        assert_eq!(parse_node_name(&name), Some((0xabc, NodeId(255))));
        for wrong in [
            "",
            "n1.2.mailrook.internal",
            "n00000000000000FF.00000000000000000000000000000abc.mailrook.internal",
            "n00000000000000ff.00000000000000000000000000000abc.mailrook.example",
            "n00000000000000ff.00000000000000000000000000000abc.xmailrook.internal",
            "ca.00000000000000000000000000000abc.mailrook.internal",
        ] {
            assert_eq!(parse_node_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_end_of_validity_is_read() {
        assert_eq!(seconds(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, "260301120000Z"), Some(1_772_366_400));
        assert_eq!(
            seconds(GENERALIZED_TIME, "20500229000000Z"),
            seconds(GENERALIZED_TIME, "20500301000000Z")
        );
        assert_eq!(
            seconds(GENERALIZED_TIME, "20991231235959Z"),
            Some(4_102_444_799)
        );
        assert_eq!(seconds(UTC_TIME, "261301000000Z"), None);
        assert_eq!(seconds(UTC_TIME, "2613010000Z"), None);
        assert_eq!(seconds(GENERALIZED_TIME, "-001010100000Z"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes: Vec<u8>, text: String, tag: u8) {
            let _ = not_after(&bytes);
            let _ = seconds(tag, &text);
            let _ = parse_node_name(&text);
            let _ = Certificate::from_der(bytes);
            let _ = Certificate::from_pem(&text);
        }
    }
}
