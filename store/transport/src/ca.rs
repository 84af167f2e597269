//! The cluster's CA, and the keys that it signs: ECDSA P-256 throughout.
//!
//! The CA is made with the cluster and kept by it, certificate and key, as PEM. Its own names are derived from cluster and
//! key, so that the pair is all that has to be kept. To rotate it, a second one is made and trusted beside the first; the
//! nodes get certificates of the second; the first is trusted no longer. Each has a name of its own for that.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mailrook_types::NodeId;
use rand::RngCore;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber,
    SignatureAlgorithm,
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use sha2::{Digest, Sha256};
use webpki::EndEntityCert;
use zeroize::{Zeroize, Zeroizing};

use crate::{Certificate, CertificateError, certificate};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a CA's certificate is valid. It is rotated long before, and its end is not even checked by those who trust it.
pub const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How long a node's certificate is valid: a node that is switched off for half a year still comes back.
pub const NODE_VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What precedes the point in the SubjectPublicKeyInfo of an ECDSA P-256 key (RFC 5480 §2): always these bytes.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// An uncompressed point: 4, x, y (RFC 5480 §2.2).
const POINT_BYTES: usize = 65;
const POINT_UNCOMPRESSED: u8 = 4;

/// The private key of a node. It does not leave the node.
pub struct NodeKey {
    pair: KeyPair,
}

impl NodeKey {
    /// A new one.
    pub fn generate() -> Result<NodeKey, CertificateError> {
        let pair = KeyPair::generate().map_err(making)?;
        Ok(NodeKey { pair })
    }

    /// The reverse of [`NodeKey::pem`].
    pub fn from_pem(pem: &str) -> Result<NodeKey, CertificateError> {
        let mut der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| CertificateError::NoKey)?;
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256);
        der.zeroize();
        let pair = pair.map_err(|_| CertificateError::NoKey)?;
        Ok(NodeKey { pair })
    }

    /// PKCS #8.
    pub fn pem(&self) -> Zeroizing<String> {
        certificate::pem("PRIVATE KEY", self.pair.serialized_der())
    }

    /// What [`ClusterCa::sign`] takes: a SubjectPublicKeyInfo.
    pub fn public_key_der(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// PKCS #8.
    pub(crate) fn private_der(&self) -> &[u8] {
        self.pair.serialized_der()
    }
}

impl Drop for NodeKey {
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey").finish_non_exhaustive()
    }
}

/// A public key that somebody else sent.
struct PublicKey {
    point: Vec<u8>,
}

impl PublicKey {
    fn from_der(spki: &[u8]) -> Result<PublicKey, CertificateError> {
        match spki.strip_prefix(&SPKI_PREFIX) {
            Some(point) if point.len() == POINT_BYTES && point[0] == POINT_UNCOMPRESSED => {
                let point = point.to_vec();
                Ok(PublicKey { point })
            }
            _ => Err(CertificateError::NoPublicKey),
        }
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// Signs the certificates of a cluster's nodes.
pub struct ClusterCa {
    cluster: u128,
    certificate: Certificate,
    key: NodeKey,
}

impl ClusterCa {
    /// A new one for a cluster, valid for [`CA_VALIDITY`].
    pub fn generate(cluster: u128) -> Result<ClusterCa, CertificateError> {
        let key = NodeKey::generate()?;
        let mut params = ca_params(cluster, &key)?;
        set_validity(&mut params, CA_VALIDITY);
        let made = params.self_signed(&key.pair).map_err(making)?;
        Ok(ClusterCa {
            cluster,
            certificate: Certificate::from_der(made.der().to_vec())?,
            key,
        })
    }

    /// Its certificate and its key, to be kept.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let (certificate, key) = (self.certificate.pem(), self.key.pem());
        let mut both = Zeroizing::new(String::with_capacity(certificate.len() + key.len()));
        both.push_str(&certificate);
        both.push_str(&key);
        both
    }

    /// The reverse of [`ClusterCa::to_pem`].
    pub fn from_pem(pem: &str) -> Result<ClusterCa, CertificateError> {
        let certificate = Certificate::from_pem(pem)?;
        let key = NodeKey::from_pem(pem)?;
        let cluster = certificate.ca_cluster().ok_or(CertificateError::NoCa)?;
        if !belongs(&certificate, &key)? {
            return Err(CertificateError::AnotherKey);
        }
        Ok(ClusterCa {
            cluster,
            certificate,
            key,
        })
    }

    /// Whose nodes it signs.
    pub fn cluster(&self) -> u128 {
        self.cluster
    }

    /// What the nodes trust.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The SHA-256 of the certificate: what a join token carries.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.certificate.fingerprint()
    }

    /// A certificate for a node, valid from a day ago (clocks differ) until `validity` has passed: [`NODE_VALIDITY`].
    /// `public_key_der` is that of [`NodeKey::public_key_der`]; who has its private key shows in the TLS handshake.
    pub fn sign(
        &self,
        node: NodeId,
        public_key_der: &[u8],
        validity: Duration,
    ) -> Result<Certificate, CertificateError> {
        let public_key = PublicKey::from_der(public_key_der)?;
        let name = certificate::node_name(self.cluster, node);
        let mut params = CertificateParams::new(vec![name]).map_err(making)?;
        params.distinguished_name = common_name(&format!("Mailrook node {node}"));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Each node is both: it dials, and it is dialled.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial_number());
        set_validity(&mut params, validity);
        let issuer = Issuer::new(ca_params(self.cluster, &self.key)?, &self.key.pair);
        let made = params.signed_by(&public_key, &issuer).map_err(making)?;
        Certificate::from_der(made.der().to_vec())
    }
}

impl fmt::Debug for ClusterCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = hex::encode(self.fingerprint());
        f.debug_struct("ClusterCa")
            .field("fingerprint", &fingerprint)
            .finish_non_exhaustive()
    }
}

/// Whether the certificate is for this key.
pub(crate) fn belongs(certificate: &Certificate, key: &NodeKey) -> Result<bool, CertificateError> {
    let parsed = EndEntityCert::try_from(certificate.der());
    let parsed = parsed.map_err(|_| CertificateError::NoCertificate)?;
    Ok(parsed.subject_public_key_info().as_ref() == key.public_key_der())
}

/// All of a CA's certificate but its validity. It must come out the same each time: what it signs points to it by name.
fn ca_params(cluster: u128, key: &NodeKey) -> Result<CertificateParams, CertificateError> {
    let name = certificate::ca_name(cluster);
    let mut params = CertificateParams::new(vec![name]).map_err(making)?;
    let key_hash = Sha256::digest(key.public_key_der());
    let common = format!("Mailrook cluster CA {}", hex::encode(&key_hash[..8]));
    params.distinguished_name = common_name(&common);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.serial_number = Some(serial_number());
    Ok(params)
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

/// RFC 5280 §4.1.2.2: positive, and at most 20 bytes.
fn serial_number() -> SerialNumber {
    let mut bytes = [0; 16];
    rand::rng().fill_bytes(&mut bytes);
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from(bytes.to_vec())
}

fn set_validity(params: &mut CertificateParams, validity: Duration) {
    // A clock before 1970 makes certificates that nobody takes.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(DAY);
    params.not_after = epoch + now + validity;
}

fn making(error: rcgen::Error) -> CertificateError {
    CertificateError::Making(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_is_kept_as_pem() {
        let ca = ClusterCa::generate(7).unwrap();
        let again = ClusterCa::from_pem(&ca.to_pem()).unwrap();
        assert_eq!(again.fingerprint(), ca.fingerprint());
        assert_eq!(again.cluster(), 7);
        assert_eq!(again.to_pem(), ca.to_pem());
    }

    #[test]
    fn a_ca_needs_its_own_key() {
        let (one, other) = (
            ClusterCa::generate(7).unwrap(),
            ClusterCa::generate(7).unwrap(),
        );
        let mixed = one.certificate().pem() + &other.key.pem();
        assert_eq!(
            ClusterCa::from_pem(&mixed).unwrap_err(),
            CertificateError::AnotherKey
        );
        let key = NodeKey::generate().unwrap();
        let node = one.sign(NodeId(1), &key.public_key_der(), DAY).unwrap();
        assert_eq!(
            ClusterCa::from_pem(&(node.pem() + &key.pem())).unwrap_err(),
            CertificateError::NoCa
        );
    }

    #[test]
    fn a_node_certificate_says_whose_it_is_and_until_when() {
        let ca = ClusterCa::generate(7).unwrap();
        let key = NodeKey::generate().unwrap();
        let made = ca
            .sign(NodeId(3), &key.public_key_der(), NODE_VALIDITY)
            .unwrap();
        assert_eq!(made.node(), Some((7, NodeId(3))));
        assert!(belongs(&made, &key).unwrap());
        assert_eq!(Certificate::from_pem(&made.pem()).unwrap(), made);
        let left = made.expires().duration_since(SystemTime::now()).unwrap();
        assert!(
            left <= NODE_VALIDITY && left > NODE_VALIDITY - DAY,
            "{left:?}"
        );
        let left = ca
            .certificate()
            .expires()
            .duration_since(SystemTime::now())
            .unwrap();
        assert!(left <= CA_VALIDITY && left > CA_VALIDITY - DAY, "{left:?}");
        assert_eq!(ca.certificate().node(), None);
    }

    #[test]
    fn a_certificate_tells_who_signed_it() {
        let (one, other) = (
            ClusterCa::generate(7).unwrap(),
            ClusterCa::generate(7).unwrap(),
        );
        let key = NodeKey::generate().unwrap();
        let made = one.sign(NodeId(3), &key.public_key_der(), DAY).unwrap();
        assert!(made.is_signed_by(one.certificate()));
        assert!(!made.is_signed_by(other.certificate()));
    }

    #[test]
    fn only_public_keys_are_signed() {
        let ca = ClusterCa::generate(7).unwrap();
        let good = NodeKey::generate().unwrap().public_key_der();
        for wrong in [
            &[][..],
            &good[1..],
            &good[..90],
            &[good.clone(), vec![0]].concat(),
        ] {
            assert_eq!(
                ca.sign(NodeId(3), wrong, DAY).unwrap_err(),
                CertificateError::NoPublicKey
            );
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let ca = ClusterCa::generate(7).unwrap();
        let key = ca.key.pem();
        let inside = key.lines().nth(1).unwrap();
        assert!(!format!("{ca:?} {:?}", ca.key).contains(inside));
    }
}
