//! The cluster, as its admins see it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::future::{BoxFuture, FutureExt};
use mailrook_cluster::{GroupRole, Node};
use mailrook_control::{
    AllPapers, ClusterView, Keeper, LEVEL_CA_ROTATION, LEVEL_LOST_NODES, NodeReport, Verdict,
    begin_rotation, gather, highest_common, missing, papers, trust, verify,
};
use mailrook_placement::{View, consequences, plan, stuck, under_replicated};
use mailrook_store_api::{
    Directory, StoreError,
    meta::{ClusterTrust, MetaAnswer, MetaCommand, MetaQuery, MetaReply, NodeRecord, NodeState},
};
use mailrook_transport::{Certificate, JoinToken, Network};
use mailrook_types::{NodeId, ShardId, Timestamp};

use crate::admin::{
    ClusterHost, Failure,
    protocol::{
        ClusterCaStatus, ClusterGroup, ClusterNode, ClusterStatus, Losing, Secret, StuckCopies,
        VerifiedAs, VerifiedCopy, VerifiedShard,
    },
    rfc3339,
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
    pub(super) keeper: Arc<Keeper>,
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
                shards(&lost)
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
        let view = self.view().await?;
        let trust = trust(&*self.directory).await?;
        let papers = papers(&view, self.node.node_id(), &self.keeper, &self.network).await;
        Ok(status(&view, trust.as_ref(), &papers))
    }

    async fn compare(&self) -> Result<Vec<VerifiedShard>, StoreError> {
        let view = self.view().await?;
        let names = names(&view);
        let mut verified = Vec::new();
        for group in &view.groups {
            let compared = verify(&*self.directory, group.shard, &self.node, &self.network);
            let (verdict, copies) = compared.await?;
            let copies = copies.into_iter().map(|(node, copy)| {
                let read = copy.as_ref().ok();
                let digest = read.and_then(|copy| copy.digest);
                VerifiedCopy {
                    node: name_of(&names, node),
                    applied_index: read.map(|copy| copy.applied_index),
                    digest: digest.map(|digest| hex(&digest)),
                    error: copy.err(),
                }
            });
            verified.push(VerifiedShard {
                shard: group.shard.0,
                verdict: match verdict {
                    Verdict::Equal => VerifiedAs::Equal,
                    Verdict::Differ => VerifiedAs::Differ,
                    Verdict::Unreadable => VerifiedAs::Unreadable,
                    Verdict::NotComparable => VerifiedAs::NotComparable,
                },
                copies: copies.collect(),
            });
        }
        Ok(verified)
    }
}

impl ClusterHost for ClusterDoor {
    fn status(&self) -> BoxFuture<'_, Result<ClusterStatus, StoreError>> {
        self.look().boxed()
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

fn needs_level(view: &ClusterView, level: u32, what: &str) -> Result<(), Failure> {
    let now = view.settings.feature_level;
    if now >= level {
        return Ok(());
    }
    let text = format!(
        "`mailrook {what}` needs feature level {level}, and the cluster is at {now}: once every node runs a version that knows it, say `mailrook cluster upgrade`"
    );
    Err(Failure::Refused(text))
}

fn nothing_to_raise(view: &ClusterView) -> Failure {
    let level = view.settings.feature_level;
    let members = view.nodes.iter().filter(|node| node.is_member());
    let highest = members.clone().map(|node| node.levels.highest).max();
    if highest.is_none_or(|highest| highest <= level) {
        let text =
            format!("the cluster is at feature level {level}, the highest that its nodes know");
        return Failure::Refused(text);
    }
    let behind = members.filter(|node| node.levels.highest <= level);
    let behind: Vec<&str> = behind.map(|node| node.name.as_str()).collect();
    let text = format!(
        "the programs of {} know no level above {level}: install the newer version there first",
        behind.join(", ")
    );
    Failure::Refused(text)
}

/// Groups that could decide nothing without a node, or cannot as it is.
fn without(view: &ClusterView, node: NodeId) -> Vec<ShardId> {
    let stuck = view.groups.iter().filter(|group| {
        let Some(status) = &group.status else {
            return (group.record.as_ref()).is_some_and(|record| record.replicas.contains(&node));
        };
        let voters = status.voters.iter().map(|id| NodeId(*id));
        let left = voters.filter(|id| *id != node && view.reports.contains_key(id));
        left.count() <= status.voters.len() / 2
    });
    stuck.map(|group| group.shard).collect()
}

fn shards(shards: &[ShardId]) -> String {
    let names: Vec<String> = shards
        .iter()
        .map(|shard| match *shard {
            ShardId::META => "the meta group".to_owned(),
            shard => format!("shard {shard}"),
        })
        .collect();
    names.join(", ")
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

fn status(view: &ClusterView, trust: Option<&ClusterTrust>, papers: &AllPapers) -> ClusterStatus {
    let names = names(view);
    // How long a node has been away only the controller knows: what is done about it is shown when it has begun.
    let plans = view.for_plan(|_| Duration::ZERO);
    ClusterStatus {
        copies: view.settings.copies,
        heal_after_ms: view.settings.heal_after_ms,
        feature_level: view.settings.feature_level,
        feature_level_possible: highest_common(view),
        ca: trust.and_then(|trust| ca(trust, papers, &names)),
        nodes: (view.nodes.iter())
            .map(|record| node(view, record, papers))
            .collect(),
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
        stuck: stuck_copies(&plans, &names),
        losing: losing(&plans, &names),
    }
}

fn ca(trust: &ClusterTrust, papers: &AllPapers, names: &Names) -> Option<ClusterCaStatus> {
    let signer = Certificate::from_pem(&trust.signer).ok()?;
    let waits_for: Vec<String> = missing(trust, papers)
        .into_iter()
        .map(|node| name_of(names, node))
        .collect();
    let doing = match (trust.is_rotating(), &trust.successor) {
        (false, _) => None,
        (true, Some(_)) => Some("step 1 of 2, all are to trust the new CA"),
        (true, None) => Some("step 2 of 2, all are to have a certificate of the new CA"),
    };
    let rotation = doing.map(|doing| match waits_for.is_empty() {
        true => doing.to_owned(),
        false => format!("{doing}: waiting for {}", waits_for.join(", ")),
    });
    Some(ClusterCaStatus {
        fingerprint: hex(&signer.fingerprint()),
        rotation,
    })
}

fn node(view: &ClusterView, record: &NodeRecord, papers: &AllPapers) -> ClusterNode {
    let expires = papers.get(&record.id).and_then(|papers| {
        let seconds = papers.as_ref()?.expires_s;
        i64::try_from(seconds).ok().map(Timestamp::from_secs)
    });
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
        certificate_expires: expires.map(rfc3339),
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

/// By node: the reason is the same for all of its copies.
fn stuck_copies(plans: &View, names: &Names) -> Vec<StuckCopies> {
    let mut found: BTreeMap<NodeId, StuckCopies> = BTreeMap::new();
    for stuck in stuck(plans) {
        let copies = found.entry(stuck.node).or_insert_with(|| StuckCopies {
            node: name_of(names, stuck.node),
            shards: Vec::new(),
            why: stuck.why,
        });
        copies.shards.push(stuck.shard.0);
    }
    found.into_values().collect()
}

fn losing(plans: &View, names: &Names) -> Vec<Losing> {
    let numbers = |shards: Vec<ShardId>| shards.iter().map(|shard| shard.0).collect();
    let losing = |lost: mailrook_placement::Consequence| Losing {
        node: name_of(names, lost.node),
        without_quorum: numbers(lost.without_quorum),
        without_copy: numbers(lost.without_copy),
        elections: lost.elections,
    };
    consequences(plans).into_iter().map(losing).collect()
}
