//! The cluster, as its admins see it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::future::{BoxFuture, FutureExt};
use mailrook_cluster::{GroupRole, Node};
use mailrook_control::{ClusterView, NodeReport, gather, verify};
use mailrook_placement::{View, consequences, plan, under_replicated};
use mailrook_store_api::{
    Directory, StoreError,
    meta::{MetaAnswer, MetaCommand, MetaQuery, MetaReply, NodeRecord, NodeState},
};
use mailrook_transport::{Certificate, JoinToken, Network};
use mailrook_types::{NodeId, Timestamp};

use crate::admin::{
    ClusterHost, Failure,
    protocol::{
        ClusterGroup, ClusterNode, ClusterStatus, Losing, Secret, VerifiedCopy, VerifiedShard,
    },
};

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
}

impl ClusterDoor {
    async fn view(&self) -> Result<ClusterView, StoreError> {
        gather(&*self.directory, &self.node, &self.network).await
    }

    async fn make_token(&self, lifetime: Duration) -> Result<(Secret, Timestamp), Failure> {
        let misfit = |answer: &dyn std::fmt::Debug| {
            Failure::Internal(format!("the directory's answer does not fit: {answer:?}"))
        };
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
        let reachable = |record: &&NodeRecord| view.reports.contains_key(&record.id);
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

    async fn compare(&self) -> Result<Vec<VerifiedShard>, StoreError> {
        let view = self.view().await?;
        let names = names(&view);
        let mut verified = Vec::new();
        for group in &view.groups {
            let copies = verify(&view, group.shard, &self.node, &self.network).await;
            let mut contents = copies.values().map(|copy| copy.as_ref().ok());
            let first = contents.next().flatten();
            let equal = first.is_some() && contents.all(|copy| copy == first);
            let copies = copies.into_iter().map(|(node, copy)| VerifiedCopy {
                node: name_of(&names, node),
                applied_index: copy.as_ref().ok().map(|copy| copy.applied_index),
                digest: copy.as_ref().ok().map(|copy| hex(&copy.digest)),
                error: copy.err(),
            });
            verified.push(VerifiedShard {
                shard: group.shard.0,
                equal,
                copies: copies.collect(),
            });
        }
        Ok(verified)
    }
}

impl ClusterHost for ClusterDoor {
    fn status(&self) -> BoxFuture<'_, Result<ClusterStatus, StoreError>> {
        async move { Ok(status(&self.view().await?)) }.boxed()
    }

    fn verify(&self) -> BoxFuture<'_, Result<Vec<VerifiedShard>, StoreError>> {
        self.compare().boxed()
    }

    fn token(&self, lifetime: Duration) -> BoxFuture<'_, Result<(Secret, Timestamp), Failure>> {
        self.make_token(lifetime).boxed()
    }
}

type Names = BTreeMap<NodeId, String>;

fn names(view: &ClusterView) -> Names {
    let names = view.nodes.iter();
    names
        .map(|record| (record.id, record.name.clone()))
        .collect()
}

fn name_of(names: &Names, node: NodeId) -> String {
    names
        .get(&node)
        .cloned()
        .unwrap_or_else(|| node.to_string())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn status(view: &ClusterView) -> ClusterStatus {
    let names = names(view);
    // How long a node has been away only its controller knows: what is shown as healing begins when it heals.
    let plans = view.for_plan(|_| Duration::ZERO);
    ClusterStatus {
        copies: view.settings.copies,
        heal_after_ms: view.settings.heal_after_ms,
        feature_level: view.settings.feature_level,
        nodes: view.nodes.iter().map(|record| node(view, record)).collect(),
        groups: groups(view, &names),
        under_replicated: under_replicated(&plans)
            .into_iter()
            .map(|group| {
                format!(
                    "shard {} has {} of {} copies: {}",
                    group.shard, group.have, group.want, group.why
                )
            })
            .collect(),
        healing: plan(&plans).into_iter().map(|step| step.reason).collect(),
        losing: losing(&plans, &names),
    }
}

fn node(view: &ClusterView, record: &NodeRecord) -> ClusterNode {
    let report = view.reports.get(&record.id);
    let leads = |report: &NodeReport| {
        let led = report.groups.iter();
        led.filter(|group| group.role == GroupRole::Leader).count()
    };
    ClusterNode {
        id: record.id.0,
        name: record.name.clone(),
        address: record.address.clone(),
        zone: record.zone.clone(),
        state: match record.state {
            NodeState::Active => "active",
            NodeState::Draining => "draining",
            NodeState::Removed { .. } => "removed",
        }
        .to_owned(),
        reachable: report.is_some(),
        disk_full: report.is_some_and(|report| report.disk_full),
        copies: report.map_or(0, |report| report.groups.len()),
        leads: report.map_or(0, leads),
        lag: report.map_or(0, |report| lag(view, report)),
    }
}

/// How many entries a node's copies are behind their leaders.
fn lag(view: &ClusterView, report: &NodeReport) -> u64 {
    let behind = report.groups.iter().filter_map(|copy| {
        let group = view.groups.iter().find(|group| group.shard == copy.shard)?;
        let leader = group.status.as_ref()?;
        Some(leader.committed_index.saturating_sub(copy.applied_index))
    });
    behind.sum()
}

fn groups(view: &ClusterView, names: &Names) -> Vec<ClusterGroup> {
    let all = |ids: &[u64]| ids.iter().map(|id| name_of(names, NodeId(*id))).collect();
    let group = |group: &mailrook_control::GroupState| {
        let status = group.status.as_ref();
        ClusterGroup {
            shard: group.shard.0,
            leader: group.leader.map(|leader| name_of(names, leader)),
            term: status.map_or(0, |status| status.term),
            voters: status.map_or(Vec::new(), |status| all(&status.voters)),
            learners: status.map_or(Vec::new(), |status| all(&status.learners)),
            changing: status.is_some_and(|status| status.changing),
            last_index: status.map_or(0, |status| status.last_index),
        }
    };
    view.groups.iter().map(group).collect()
}

fn losing(plans: &View, names: &Names) -> Vec<Losing> {
    let numbers =
        |shards: Vec<mailrook_types::ShardId>| shards.iter().map(|shard| shard.0).collect();
    let losing = |lost: mailrook_placement::Consequence| Losing {
        node: name_of(names, lost.node),
        without_quorum: numbers(lost.without_quorum),
        without_copy: numbers(lost.without_copy),
        elections: lost.elections,
    };
    consequences(plans).into_iter().map(losing).collect()
}
