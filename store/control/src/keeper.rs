//! This node's papers, in its files and in use.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mailrook_transport::{
    Certificate, CertificateError, Credentials, NODE_VALIDITY, NodeKey, TlsNetwork,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{files::FileError, papers::Papers};

/// When so much of a certificate's validity is left, the next one is asked for: four months in which somebody may notice
/// that nobody signs.
const RENEW_BEFORE: Duration = Duration::from_secs(NODE_VALIDITY.as_secs() / 3);

/// What of a node's papers others may know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePapers {
    /// The fingerprints of the CAs that it trusts.
    pub trusted: Vec<[u8; 32]>,
    /// That of the CA which signed its certificate; none if it trusts none that did.
    pub issuer: Option<[u8; 32]>,
    /// When the certificate ceases to be valid, in seconds since 1970.
    pub expires_s: u64,
}

impl NodePapers {
    fn of(certificate: &Certificate, trusted: &[Certificate]) -> NodePapers {
        let issuer = trusted.iter().find(|ca| certificate.is_signed_by(ca));
        let expires = certificate.expires().duration_since(UNIX_EPOCH);
        NodePapers {
            trusted: trusted.iter().map(Certificate::fingerprint).collect(),
            issuer: issuer.map(Certificate::fingerprint),
            expires_s: expires.unwrap_or_default().as_secs(),
        }
    }

    /// Whether another certificate is to be asked for, of the CA with this fingerprint.
    pub(crate) fn is_due(&self, signer: [u8; 32], now: SystemTime) -> bool {
        let expires = UNIX_EPOCH + Duration::from_secs(self.expires_s);
        let left = expires.duration_since(now).unwrap_or_default();
        self.issuer != Some(signer) || left < RENEW_BEFORE
    }
}

/// What shows a node's papers to others.
pub trait Presents: Send + Sync + 'static {
    /// Uses these for new connections. Those end that were made by a CA which these do not trust.
    ///
    /// # Errors
    /// They are not this node's.
    fn present(&self, credentials: &Credentials) -> Result<(), CertificateError>;
}

impl Presents for TlsNetwork {
    fn present(&self, credentials: &Credentials) -> Result<(), CertificateError> {
        self.replace_credentials(credentials)
    }
}

/// Keeps the papers: what is in use is always in the files, too.
pub struct Keeper {
    papers: Papers,
    presents: Arc<dyn Presents>,
    in_use: Mutex<NodePapers>,
}

impl Keeper {
    /// Of papers that `presents` was made with.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn new(papers: Papers, presents: Arc<dyn Presents>) -> Result<Keeper, FileError> {
        let in_use = NodePapers::of(&papers.certificate()?, &papers.trusted()?);
        Ok(Keeper {
            papers,
            presents,
            in_use: Mutex::new(in_use),
        })
    }

    /// The files.
    pub fn papers(&self) -> &Papers {
        &self.papers
    }

    /// What is in use.
    pub fn in_use(&self) -> NodePapers {
        self.in_use.lock().clone()
    }

    /// Trusts exactly these CAs, in PEM. Says whether that is news.
    pub(crate) fn trust(&self, trusted: &[String]) -> Result<bool, KeepingFailed> {
        let wanted = fingerprints(trusted)?;
        if self.in_use.lock().trusted == wanted {
            return Ok(false);
        }
        self.papers.put_trusted(trusted)?;
        self.take_up()?;
        Ok(true)
    }

    /// Shows a new certificate, for a new key.
    pub(crate) fn renew(
        &self,
        key: &NodeKey,
        certificate: &Certificate,
    ) -> Result<(), KeepingFailed> {
        let trusted = self.papers.trusted()?;
        // What others would refuse must not take the place of what they accept.
        Credentials::new(certificate.clone(), key, &trusted)?;
        if NodePapers::of(certificate, &trusted).issuer.is_none() {
            return Err(CertificateError::NoTrust.into());
        }
        self.papers.renew(key, certificate)?;
        self.take_up()
    }

    /// Uses what the files hold.
    fn take_up(&self) -> Result<(), KeepingFailed> {
        self.presents.present(&self.papers.load()?)?;
        *self.in_use.lock() = NodePapers::of(&self.papers.certificate()?, &self.papers.trusted()?);
        Ok(())
    }
}

/// The fingerprints of certificates in PEM.
pub(crate) fn fingerprints(pems: &[String]) -> Result<Vec<[u8; 32]>, CertificateError> {
    pems.iter().map(|pem| fingerprint(pem)).collect()
}

/// The fingerprint of a certificate in PEM.
pub(crate) fn fingerprint(pem: &str) -> Result<[u8; 32], CertificateError> {
    Ok(Certificate::from_pem(pem)?.fingerprint())
}

/// Why papers were not replaced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepingFailed {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

#[cfg(test)]
mod tests {
    use mailrook_transport::ClusterCa;
    use mailrook_types::NodeId;

    use super::*;

    /// Remembers how often it was told.
    #[derive(Default)]
    struct Shown(Mutex<usize>);

    impl Presents for Shown {
        fn present(&self, _credentials: &Credentials) -> Result<(), CertificateError> {
            *self.0.lock() += 1;
            Ok(())
        }
    }

    #[test]
    fn what_is_in_use_is_in_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let papers = Papers::at(dir.path());
        papers.found(7, NodeId(3)).unwrap();
        let old = papers.first_ca().unwrap().unwrap();
        let new = ClusterCa::generate(7).unwrap();
        let shown = Arc::new(Shown::default());
        let keeper = Keeper::new(papers.clone(), Arc::clone(&shown) as _).unwrap();
        let both = [old.certificate().pem(), new.certificate().pem()];
        let now = SystemTime::now();
        assert!(!keeper.in_use().is_due(old.fingerprint(), now));
        assert!(keeper.in_use().is_due(new.fingerprint(), now));
        let later = now + NODE_VALIDITY - RENEW_BEFORE + Duration::from_secs(1);
        assert!(keeper.in_use().is_due(old.fingerprint(), later));

        let key = NodeKey::generate().unwrap();
        let signed = new.sign(NodeId(3), &key.public_key_der(), NODE_VALIDITY);
        let signed = signed.unwrap();
        keeper.renew(&key, &signed).unwrap_err();
        assert!(keeper.trust(&both).unwrap());
        assert!(!keeper.trust(&both).unwrap());
        keeper.renew(&key, &signed).unwrap();
        assert!(keeper.trust(&both[1..]).unwrap());
        assert_eq!(*shown.0.lock(), 3);
        let again = Keeper::new(papers, shown).unwrap();
        assert_eq!(again.in_use(), keeper.in_use());
        assert_eq!(again.in_use().issuer, Some(new.fingerprint()));
    }
}
