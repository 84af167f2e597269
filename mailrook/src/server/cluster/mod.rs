//! The cluster, as its admins see it.

mod refusals;
mod view;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::future::{BoxFuture, FutureExt};
use mailrook_cluster::Node;
use mailrook_control::{
    ClusterView, Keeper, LEVEL_CA_ROTATION, LEVEL_LOST_NODES, LEVEL_SLOT_MOVES, begin_rotation,
    gather, highest_common, papers, slots_under_way, trust, verify,
};
use mailrook_store_api::{
    Directory, StoreError,
    meta::{MetaAnswer, MetaCommand, MetaQuery, MetaReply, NodeRecord},
};
use mailrook_transport::{Certificate, JoinToken, Network};
use mailrook_types::Timestamp;

use super::neighbours::Neighbours;
use crate::admin::{
    ClusterHost, Failure,
    protocol::{ClusterStatus, ClusterUnreached, Secret, VerifiedShard},
};
use refusals::{needs_level, nothing_to_raise, without};
pub use view::group_name;
use view::{group_names, names, status, verified_shard};

/// A node that was only just started hands the cluster's CA over within a second.
const MADE_WITHIN: Duration = Duration::from_secs(10);

/// How often it is looked meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Members whose addresses a token carries: one of them is reachable when it is used.
const TOKEN_MEMBERS: usize = 3;

/// What the cluster's admins ask of a node.
pub struct ClusterDoor {
    pub(super) node: Arc<Node>,
    pub(super) network: Arc<dyn Network>,
    pub(super) directory: Arc<dyn Directory>,
    /// The same, with less patience.
    pub(super) looking: Arc<dyn Directory>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) neighbours: Arc<Neighbours>,
}

impl ClusterDoor {
    async fn view(&self) -> Result<ClusterView, StoreError> {
        gather(&*self.directory, &self.node, &self.network).await
    }

    async fn make_token(&self, lifetime: Duration) -> Result<(Secret, Timestamp), Failure> {
        let begun = Instant::now();
        let ca = loop {
            match self.directory.query(MetaQuery::ClusterCa).await? {
                MetaAnswer::ClusterCa(Some(ca)) => break ca,
                MetaAnswer::ClusterCa(None) if begun.elapsed() < MADE_WITHIN => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                MetaAnswer::ClusterCa(None) => {
                    let text = "the cluster is just being made: try again in a moment";
                    return Err(Failure::Unavailable(text.into()));
                }
                other => return Err(misfit(&other)),
            }
        };
        let internal = |error: &dyn std::fmt::Display| Failure::Internal(error.to_string());
        let certificate =
            Certificate::from_pem(&ca.signer.certificate).map_err(|error| internal(&error))?;
        let view = self.view().await?;
        // While the CA is rotated, those whose certificate the token's CA has not signed would not be believed.
        let all = papers(&view, self.node.node_id(), &self.keeper, &self.network).await;
        let signed = |id| all.get(&id).and_then(|papers| papers.as_ref()?.issuer);
        let signer = Some(certificate.fingerprint());
        let reachable = |record: &&NodeRecord| {
            view.reports.contains_key(&record.id) && signed(record.id) == signer
        };
        let members = view.nodes.iter().filter(reachable);
        let addresses = members.map(|record| record.address.clone());
        let addresses: Vec<String> = addresses.take(TOKEN_MEMBERS).collect();
        let token = JoinToken::new(certificate.fingerprint(), self.node.cluster_id(), addresses)
            .map_err(|error| internal(&error))?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = Timestamp(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
        let expires = now.saturating_add(lifetime);
        let command = MetaCommand::AddJoinToken {
            secret_hash: token.secret_hash(),
            expires,
        };
        match self.directory.command(command).await? {
            MetaReply::Done => Ok((Secret::new(token.encode().to_string()), expires)),
            MetaReply::Refused(refusal) => Err(refusal.into()),
            other => Err(misfit(&other)),
        }
    }

    async fn remove_lost(&self, name: &str, force: bool) -> Result<(), Failure> {
        let view = self.view().await?;
        needs_level(&view, LEVEL_LOST_NODES, "node replace")?;
        let members = view.nodes.iter().filter(|node| node.is_member());
        let record = members
            .into_iter()
            .find(|node| node.name.eq_ignore_ascii_case(name));
        let record = record.ok_or_else(|| {
            let text = format!("there is no node {name:?}; `mailrook node list` shows them");
            Failure::Refused(text)
        })?;
        if view.reports.contains_key(&record.id) && !force {
            let text = format!(
                "{name} can be reached: `mailrook node drain {name}` moves what it has, and loses nothing; only one that is lost for good is replaced (--force does it all the same)"
            );
            return Err(Failure::Refused(text));
        }
        let lost = without(&view, record.id);
        if !lost.is_empty() {
            let text = format!(
                "without {name} too few copies are left of {}: bring another of their nodes back first, or see `mailrook cluster recover --help`",
                group_names(&lost)
            );
            return Err(Failure::Refused(text));
        }
        let command = MetaCommand::RemoveLostNode(record.id);
        match self.directory.command(command).await? {
            MetaReply::Node(_) => Ok(()),
            MetaReply::Refused(refusal) => Err(refusal.into()),
            other => Err(misfit(&other)),
        }
    }

    async fn begin_rotation(&self) -> Result<(), Failure> {
        let view = self.view().await?;
        needs_level(&view, LEVEL_CA_ROTATION, "cluster rotate-ca")?;
        match begin_rotation(&*self.directory, self.node.cluster_id()).await {
            Err(StoreError::Unacceptable(why)) => Err(Failure::Refused(why)),
            other => Ok(other?),
        }
    }

    async fn raise_level(&self) -> Result<u32, Failure> {
        let view = self.view().await?;
        let Some(to) = highest_common(&view) else {
            return Err(nothing_to_raise(&view));
        };
        match self
            .directory
            .command(MetaCommand::RaiseFeatureLevel { to })
            .await?
        {
            MetaReply::Done => Ok(to),
            MetaReply::Refused(refusal) => Err(refusal.into()),
            other => Err(misfit(&other)),
        }
    }

    async fn look(&self) -> Result<ClusterStatus, StoreError> {
        let view = gather(&*self.looking, &self.node, &self.network).await?;
        let trust = trust(&*self.looking).await?;
        let papers = papers(&view, self.node.node_id(), &self.keeper, &self.network).await;
        let mut status = status(&view, trust.as_ref(), &papers);
        if view.settings.feature_level >= LEVEL_SLOT_MOVES {
            let slots = slots_under_way(&*self.looking, &view.announced).await?;
            status.healing.extend(slots);
        }
        Ok(status)
    }

    async fn compare(&self) -> Result<Vec<VerifiedShard>, StoreError> {
        let view = self.view().await?;
        let names = names(&view);
        let mut verified = Vec::new();
        for group in &view.groups {
            let compared = verify(&*self.directory, group.shard, &self.node, &self.network);
            let (verdict, copies) = compared.await?;
            verified.push(verified_shard(group.shard, verdict, copies, &names));
        }
        Ok(verified)
    }
}

impl ClusterHost for ClusterDoor {
    fn status(&self) -> BoxFuture<'_, Result<ClusterStatus, ClusterUnreached>> {
        async {
            self.look().await.map_err(|error| {
                let text = format!("the cluster's directory cannot be reached: {error}");
                self.neighbours.look(text, Some(&self.node.status()))
            })
        }
        .boxed()
    }

    fn verify(&self) -> BoxFuture<'_, Result<Vec<VerifiedShard>, StoreError>> {
        self.compare().boxed()
    }

    fn token(&self, lifetime: Duration) -> BoxFuture<'_, Result<(Secret, Timestamp), Failure>> {
        self.make_token(lifetime).boxed()
    }

    fn replace(&self, name: String, force: bool) -> BoxFuture<'_, Result<(), Failure>> {
        async move { self.remove_lost(&name, force).await }.boxed()
    }

    fn rotate_ca(&self) -> BoxFuture<'_, Result<(), Failure>> {
        self.begin_rotation().boxed()
    }

    fn upgrade(&self) -> BoxFuture<'_, Result<u32, Failure>> {
        self.raise_level().boxed()
    }
}

fn misfit(answer: &dyn std::fmt::Debug) -> Failure {
    Failure::Internal(format!("the directory's answer does not fit: {answer:?}"))
}
