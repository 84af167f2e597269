//! What holds for the cluster as a whole: its settings, and who signs its nodes' certificates.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{HEAL_AFTER_MAX, HEAL_AFTER_MIN, LEVEL_FRONT_NODES, MetaRefusal};

/// How the cluster is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSettings {
    /// How many copies each group has: 1, 3 or 5.
    pub copies: u8,
    /// How long a node may be gone before its copies are made elsewhere, in milliseconds.
    pub heal_after_ms: u64,
    /// What every node's program knows: formats above it are not written yet.
    pub feature_level: u32,
}

impl Default for ClusterSettings {
    /// Three copies survive any one node. Ten minutes are longer than a restart or a reboot, and short enough that a
    /// second failure is unlikely to come first.
    fn default() -> ClusterSettings {
        ClusterSettings {
            copies: 3,
            heal_after_ms: 600_000,
            feature_level: 1,
        }
    }
}

impl ClusterSettings {
    /// Whether so many copies can be had.
    ///
    /// # Errors
    /// An even number survives no more failures than the odd one below it.
    pub fn check_copies(copies: u8) -> Result<(), MetaRefusal> {
        match copies {
            1 | 3 | 5 => Ok(()),
            _ => Err(MetaRefusal::Invalid(
                "a group has 1, 3 or 5 copies".to_owned(),
            )),
        }
    }

    /// Whether a node may be gone for so long before its copies are made elsewhere.
    ///
    /// # Errors
    /// It is not within [`HEAL_AFTER_MIN`] and [`HEAL_AFTER_MAX`].
    pub fn check_heal_after(ms: u64) -> Result<(), MetaRefusal> {
        if (HEAL_AFTER_MIN..=HEAL_AFTER_MAX).contains(&Duration::from_millis(ms)) {
            return Ok(());
        }
        Err(MetaRefusal::Invalid(format!(
            "a node may be gone for {} s to {} days before its copies are made elsewhere",
            HEAL_AFTER_MIN.as_secs(),
            HEAL_AFTER_MAX.as_secs() / (24 * 3600),
        )))
    }

    /// Whether nodes without a store can take part. Asked before what older programs do not know is sent or written.
    ///
    /// # Errors
    /// Not all nodes know of such yet.
    pub fn check_front_nodes(&self) -> Result<(), MetaRefusal> {
        if self.feature_level >= LEVEL_FRONT_NODES {
            return Ok(());
        }
        Err(MetaRefusal::Invalid(format!(
            "nodes without the store role need feature level {LEVEL_FRONT_NODES}, and the cluster is at {}: once every node \
             runs a version that knows it, say `mailrook cluster upgrade`",
            self.feature_level
        )))
    }
}

/// What the nodes' certificates are signed with and checked against. While it is rotated more than one is trusted: first
/// the new one is trusted everywhere, then it signs, then the old one goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterCa {
    /// Grows by one with each change, from 1.
    pub epoch: u64,
    /// Certificates in PEM; the signer's is one of them.
    pub trusted: Vec<String>,
    /// Signs the certificates of nodes.
    pub signer: CaSigner,
}

/// What of a [`ClusterCa`] every node goes by: certificates in PEM, and no key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterTrust {
    /// That of the [`ClusterCa`].
    pub epoch: u64,
    /// Who is trusted.
    pub trusted: Vec<String>,
    /// Who signs.
    pub signer: String,
    /// Who will sign, while a rotation waits until everybody trusts it.
    pub successor: Option<String>,
}

impl ClusterTrust {
    /// Whether a rotation has begun and not ended.
    pub fn is_rotating(&self) -> bool {
        self.successor.is_some() || self.trusted.len() > 1
    }
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaSigner {
    /// In PEM.
    pub certificate: String,
    /// Its private key.
    pub key: PrivateKeyPem,
}

/// A private key in PEM. Its `Debug` tells nothing but the length.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateKeyPem(String);

impl PrivateKeyPem {
    /// Wraps what must not be shown.
    pub fn new(pem: impl Into<String>) -> PrivateKeyPem {
        PrivateKeyPem(pem.into())
    }

    /// The key itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKeyPem({} bytes)", self.0.len())
    }
}
