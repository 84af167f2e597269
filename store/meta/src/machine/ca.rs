//! What the nodes' certificates are signed with. Certificates and keys are opaque here.

use super::{Machine, Outcome, Stop, invalid, limit};
use crate::{
    CaSigner, ClusterCa, MetaRefusal, MetaReply, key,
    tables::{delete, put},
};

/// The most certificates trusted at a time: a rotation needs two, and may be begun anew before the last one ended.
pub const CA_TRUSTED_MAX: usize = 8;
/// The longest certificate or key. One with the largest RSA key in use has some 3 KiB.
pub const PEM_BYTES_MAX: usize = 16 << 10;

impl Machine<'_, '_> {
    pub(super) fn put_cluster_ca(
        &mut self,
        epoch_before: u64,
        trusted: Vec<String>,
        signer: CaSigner,
    ) -> Outcome {
        let present = self.tables().cluster_ca()?;
        if self.tables().ca_successor()?.is_some() {
            return Err(rotating());
        }
        let epoch = present.as_ref().map_or(0, |ca| ca.epoch);
        let repeated = |ca: ClusterCa| {
            ca.epoch.checked_sub(1) == Some(epoch_before)
                && ca.trusted == trusted
                && ca.signer == signer
        };
        if present.is_some_and(repeated) {
            return Ok(MetaReply::Epoch(epoch));
        }
        if epoch != epoch_before {
            return Err(MetaRefusal::EpochChanged {
                before: epoch_before,
                now: epoch,
            }
            .into());
        }
        check(&trusted, &signer)?;
        let ca = ClusterCa {
            epoch: epoch + 1,
            trusted,
            signer,
        };
        put(self.view, key::cluster(key::CA), &ca);
        Ok(MetaReply::Epoch(ca.epoch))
    }
}

/// Each step is taken once everybody has followed the last one: see [`ClusterTrust`](crate::ClusterTrust).
impl Machine<'_, '_> {
    pub(super) fn begin_ca_rotation(&mut self, epoch_before: u64, successor: CaSigner) -> Outcome {
        let mut ca = self.ca_of(epoch_before)?;
        if self.tables().ca_successor()?.is_some() || ca.trusted.len() > 1 {
            return Err(rotating());
        }
        ca.trusted.push(successor.certificate.clone());
        check(&ca.trusted, &successor)?;
        ca.epoch += 1;
        put(self.view, key::cluster(key::CA), &ca);
        put(self.view, key::cluster(key::CA_SUCCESSOR), &successor);
        Ok(MetaReply::Epoch(ca.epoch))
    }

    pub(super) fn advance_ca_rotation(&mut self, epoch_before: u64) -> Outcome {
        let mut ca = self.ca_of(epoch_before)?;
        match self.tables().ca_successor()? {
            Some(successor) => {
                ca.signer = successor;
                delete(self.view, key::cluster(key::CA_SUCCESSOR));
            }
            None if ca.trusted.len() > 1 => ca.trusted = vec![ca.signer.certificate.clone()],
            None => return Err(invalid("the CA is not being rotated")),
        }
        ca.epoch += 1;
        put(self.view, key::cluster(key::CA), &ca);
        Ok(MetaReply::Epoch(ca.epoch))
    }

    /// The CA, if it is still that of `epoch_before`.
    fn ca_of(&self, epoch_before: u64) -> Result<ClusterCa, Stop> {
        let ca = self.tables().cluster_ca()?;
        let ca = ca.ok_or_else(|| invalid("the cluster has no CA yet"))?;
        if ca.epoch != epoch_before {
            return Err(MetaRefusal::EpochChanged {
                before: epoch_before,
                now: ca.epoch,
            }
            .into());
        }
        Ok(ca)
    }
}

fn rotating() -> Stop {
    invalid("the CA is being rotated already: `mailrook status` shows how far it is")
}

fn check(trusted: &[String], signer: &CaSigner) -> Result<(), Stop> {
    if trusted.len() > CA_TRUSTED_MAX {
        return Err(limit(format!(
            "a cluster trusts at most {CA_TRUSTED_MAX} certificates at a time"
        )));
    }
    let key = signer.key.reveal();
    let too_long = |pem: &str| pem.len() > PEM_BYTES_MAX;
    if too_long(key) || trusted.iter().any(|pem| too_long(pem)) {
        return Err(limit(format!(
            "a certificate or key has at most {PEM_BYTES_MAX} bytes"
        )));
    }
    if key.is_empty() || !trusted.contains(&signer.certificate) {
        // Nobody would trust what it signs.
        return Err(invalid(
            "the signer has a key, and its certificate is one of those trusted",
        ));
    }
    Ok(())
}
