//! What the nodes' certificates are signed with. Certificates and keys are opaque here.

use super::{Machine, Outcome, Stop, invalid, limit};
use crate::{CaSigner, ClusterCa, MetaRefusal, MetaReply, key, tables::put};

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
