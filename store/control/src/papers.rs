//! What a node proves itself with to the others.
//!
//! ```text
//! node.key       the node's private key, PEM
//! node.key.next  the key of the certificate that is about to take the place of this one, while both are replaced
//! node.pem       its certificate
//! trust.pem      the certificates of the cluster's CAs
//! ca.pem         of the first node alone, until the meta group has it: the CA with its key
//! ```

use std::path::{Path, PathBuf};

use mailrook_transport::{
    Certificate, CertificateError, ClusterCa, Credentials, NODE_VALIDITY, NodeKey,
};
use mailrook_types::NodeId;

use crate::files::{self, FileError, damaged};

const KEY: &str = "node.key";
const NEXT_KEY: &str = "node.key.next";
const CERTIFICATE: &str = "node.pem";
const TRUST: &str = "trust.pem";
const CA: &str = "ca.pem";

/// A node's key, its certificate, and whom it trusts.
#[derive(Clone)]
pub struct Papers {
    folder: PathBuf,
}

impl Papers {
    /// Those in `folder`, or those that will be.
    pub fn at(folder: impl Into<PathBuf>) -> Papers {
        Papers {
            folder: folder.into(),
        }
    }

    /// Whether there are any.
    pub fn exist(&self) -> bool {
        self.path(CERTIFICATE).exists()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes a CA for the cluster, and the first node's papers.
    ///
    /// # Errors
    /// As writing files; a failure to make keys is one of [`FileError::Damaged`].
    pub fn found(&self, cluster: u128, node: NodeId) -> Result<(), FileError> {
        let path = self.path(CA);
        let at_fault = |error: CertificateError| damaged(&path, error);
        let ca = ClusterCa::generate(cluster).map_err(at_fault)?;
        let key = NodeKey::generate().map_err(at_fault)?;
        let certificate = ca
            .sign(node, &key.public_key_der(), NODE_VALIDITY)
            .map_err(at_fault)?;
        files::make_folder(&self.folder)?;
        files::replace(&path, ca.to_pem().as_bytes())?;
        self.put(&key, &certificate, &[ca.certificate().pem()])
    }

    /// Writes papers down. The certificate comes last: without it there are none.
    pub(crate) fn put(
        &self,
        key: &NodeKey,
        certificate: &Certificate,
        trusted: &[String],
    ) -> Result<(), FileError> {
        files::make_folder(&self.folder)?;
        files::replace(&self.path(KEY), key.pem().as_bytes())?;
        files::replace(&self.path(TRUST), trusted.concat().as_bytes())?;
        files::replace(&self.path(CERTIFICATE), certificate.pem().as_bytes())
    }

    /// Reads them, and checks that they fit together.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn load(&self) -> Result<Credentials, FileError> {
        let path = self.path(CERTIFICATE);
        let certificate = self.certificate()?;
        let trusted = self.trusted()?;
        let with = |key: &NodeKey| Credentials::new(certificate.clone(), key, &trusted);
        match with(&parsed(&self.path(KEY), NodeKey::from_pem)?) {
            Err(CertificateError::AnotherKey) if self.path(NEXT_KEY).exists() => {
                // The process ended between the certificate and its key.
                let credentials = with(&parsed(&self.path(NEXT_KEY), NodeKey::from_pem)?)
                    .map_err(|error| damaged(&path, error))?;
                self.take_next_key()?;
                Ok(credentials)
            }
            other => other.map_err(|error| damaged(&path, error)),
        }
    }

    /// The node's certificate.
    pub(crate) fn certificate(&self) -> Result<Certificate, FileError> {
        parsed(&self.path(CERTIFICATE), Certificate::from_pem)
    }

    /// The CAs that it trusts.
    pub(crate) fn trusted(&self) -> Result<Vec<Certificate>, FileError> {
        parsed(&self.path(TRUST), Certificate::all_from_pem)
    }

    /// Other CAs are trusted from now on.
    pub(crate) fn put_trusted(&self, trusted: &[String]) -> Result<(), FileError> {
        files::replace(&self.path(TRUST), trusted.concat().as_bytes())
    }

    /// Takes a new certificate, with a new key. Whenever the process ends, one key or the other fits.
    pub(crate) fn renew(&self, key: &NodeKey, certificate: &Certificate) -> Result<(), FileError> {
        files::replace(&self.path(NEXT_KEY), key.pem().as_bytes())?;
        files::replace(&self.path(CERTIFICATE), certificate.pem().as_bytes())?;
        self.take_next_key()
    }

    fn take_next_key(&self) -> Result<(), FileError> {
        let next: NodeKey = parsed(&self.path(NEXT_KEY), NodeKey::from_pem)?;
        files::replace(&self.path(KEY), next.pem().as_bytes())?;
        files::remove(&self.path(NEXT_KEY))
    }

    /// The CA that this node made, until the meta group has it.
    pub(crate) fn first_ca(&self) -> Result<Option<ClusterCa>, FileError> {
        let path = self.path(CA);
        match files::read_text(&path)? {
            Some(pem) => ClusterCa::from_pem(&pem)
                .map(Some)
                .map_err(|error| damaged(&path, error)),
            None => Ok(None),
        }
    }

    /// The meta group has the CA: it need not lie here any more.
    pub(crate) fn forget_first_ca(&self) -> Result<(), FileError> {
        files::remove(&self.path(CA))
    }
}

fn parsed<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, CertificateError>,
) -> Result<T, FileError> {
    let text = files::read_text(path)?.ok_or_else(|| damaged(path, "it is missing"))?;
    parse(&text).map_err(|error| damaged(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_that_was_interrupted_leaves_papers_that_fit() {
        let dir = tempfile::tempdir().unwrap();
        let papers = Papers::at(dir.path());
        papers.found(7, NodeId(3)).unwrap();
        let old_key = files::read(&papers.path(KEY)).unwrap().unwrap();
        let ca = papers.first_ca().unwrap().unwrap();
        let key = NodeKey::generate().unwrap();
        let signed = ca.sign(NodeId(3), &key.public_key_der(), NODE_VALIDITY);
        let signed = signed.unwrap();
        // Before the certificate is there.
        files::replace(&papers.path(NEXT_KEY), key.pem().as_bytes()).unwrap();
        papers.load().unwrap();
        assert_eq!(files::read(&papers.path(KEY)).unwrap().unwrap(), old_key);
        // And after it.
        files::replace(&papers.path(CERTIFICATE), signed.pem().as_bytes()).unwrap();
        papers.load().unwrap();
        assert!(!papers.path(NEXT_KEY).exists());
        papers.load().unwrap();
        assert_eq!(papers.certificate().unwrap(), signed);
        let again = NodeKey::generate().unwrap();
        let signed = ca.sign(NodeId(3), &again.public_key_der(), NODE_VALIDITY);
        papers.renew(&again, &signed.unwrap()).unwrap();
        papers.load().unwrap();
    }
}
