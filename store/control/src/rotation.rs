//! The rotation of the cluster's CA, step by step. Where it stands is in the meta group, so that it goes on wherever the
//! controller is, and after any crash.
//!
//! 1. `trusted` is the old and the new one, and a successor waits. Nodes take `trusted` over. Once all have, the
//!    successor signs.
//! 2. Nodes whose certificate is not the signer's ask for another. Once all have one, the old one is trusted no longer.
//!
//! Each step waits for every member, also for one that is switched off: it could not come back otherwise.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use mailrook_meta::{
    CaSigner, ClusterTrust, MetaAnswer, MetaCommand, MetaQuery, MetaReply, PrivateKeyPem,
};
use mailrook_store_api::{Directory, StoreError};
use mailrook_transport::{Class, ClusterCa, Network};
use mailrook_types::NodeId;
use tokio::time::Instant;

use crate::{
    gather::{ClusterView, misfit},
    keeper::{Keeper, NodePapers, fingerprint, fingerprints},
    wire::{self, Ask},
};

/// A node that lives answers sooner.
const PAPERS_MAX: Duration = Duration::from_secs(2);

/// The papers of all members; none of those that cannot be reached.
pub type AllPapers = BTreeMap<NodeId, Option<NodePapers>>;

/// What nodes trust; nothing before the cluster's first seconds are over.
///
/// # Errors
/// The meta group cannot be reached.
pub async fn trust(directory: &dyn Directory) -> Result<Option<ClusterTrust>, StoreError> {
    match directory.query(MetaQuery::ClusterTrust).await? {
        MetaAnswer::ClusterTrust(trust) => Ok(trust.map(|trust| *trust)),
        other => Err(misfit(&other)),
    }
}

/// Asks all members for their papers.
pub async fn papers(
    view: &ClusterView,
    own: NodeId,
    keeper: &Keeper,
    network: &Arc<dyn Network>,
) -> AllPapers {
    let members = view.nodes.iter().filter(|node| node.is_member());
    let asked = members.map(|node| async {
        if node.id == own {
            return (own, Some(keeper.in_use()));
        }
        let deadline = Instant::now() + PAPERS_MAX;
        let ask = wire::write(&Ask::Papers);
        let reply = network.call(node.id, Class::Control, ask, deadline).await;
        let papers = reply.ok().and_then(|reply| wire::read(&reply).ok());
        (node.id, papers)
    });
    join_all(asked).await.into_iter().collect()
}

/// Whom the rotation waits for before its next step.
pub fn missing(trust: &ClusterTrust, papers: &AllPapers) -> Vec<NodeId> {
    let (Ok(trusted), Ok(signer)) = (fingerprints(&trust.trusted), fingerprint(&trust.signer))
    else {
        // The directory has what cannot be read: nobody can have followed.
        return papers.keys().copied().collect();
    };
    let waits = trust.successor.is_some();
    let has_followed = |papers: &NodePapers| match waits {
        true => trusted.iter().all(|ca| papers.trusted.contains(ca)),
        false => papers.issuer == Some(signer),
    };
    let missing = papers
        .iter()
        .filter(|(_, papers)| !papers.as_ref().is_some_and(has_followed));
    missing.map(|(node, _)| *node).collect()
}

/// A CA as the meta group keeps it.
pub(crate) fn signer_of(ca: &ClusterCa) -> CaSigner {
    let pem = ca.to_pem();
    let certificate = ca.certificate().pem();
    let key = pem.strip_prefix(certificate.as_str()).unwrap_or(&pem);
    CaSigner {
        key: PrivateKeyPem::new(key),
        certificate,
    }
}

/// Begins a rotation.
///
/// # Errors
/// Why not; one may be under way.
pub async fn begin_rotation(directory: &dyn Directory, cluster: u128) -> Result<(), StoreError> {
    let Some(trust) = trust(directory).await? else {
        return Err(StoreError::Unavailable(
            "the cluster is just being made".to_owned(),
        ));
    };
    let successor =
        ClusterCa::generate(cluster).map_err(|error| StoreError::Internal(error.to_string()))?;
    let command = MetaCommand::BeginCaRotation {
        epoch_before: trust.epoch,
        successor: signer_of(&successor),
    };
    match directory.command(command).await? {
        MetaReply::Epoch(_) => Ok(()),
        MetaReply::Refused(refusal) => Err(StoreError::Unacceptable(refusal.to_string())),
        other => Err(misfit(&other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn papers_of(trusted: &[&ClusterCa], issuer: &ClusterCa) -> Option<NodePapers> {
        Some(NodePapers {
            trusted: trusted.iter().map(|ca| ca.fingerprint()).collect(),
            issuer: Some(issuer.fingerprint()),
            expires_s: 0,
        })
    }

    #[test]
    fn each_step_waits_for_everybody() {
        let (old, new) = (
            ClusterCa::generate(7).unwrap(),
            ClusterCa::generate(7).unwrap(),
        );
        let pem = |ca: &ClusterCa| ca.certificate().pem();
        let mut trust = ClusterTrust {
            epoch: 2,
            trusted: vec![pem(&old), pem(&new)],
            signer: pem(&old),
            successor: Some(pem(&new)),
        };
        let mut papers = AllPapers::from([
            (NodeId(1), papers_of(&[&old, &new], &old)),
            (NodeId(2), papers_of(&[&old], &old)),
            (NodeId(3), None),
        ]);
        assert_eq!(missing(&trust, &papers), [NodeId(2), NodeId(3)]);
        for node in [2, 3] {
            papers.insert(NodeId(node), papers_of(&[&old, &new], &old));
        }
        assert!(missing(&trust, &papers).is_empty());
        trust.signer = pem(&new);
        trust.successor = None;
        papers.insert(NodeId(1), papers_of(&[&old, &new], &new));
        assert_eq!(missing(&trust, &papers), [NodeId(2), NodeId(3)]);
    }
}
