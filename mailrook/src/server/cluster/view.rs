//! The cluster at one moment, for `mailrook status`.

use std::{collections::BTreeMap, time::Duration};

use mailrook_cluster::GroupRole;
use mailrook_control::{
    AllPapers, ClusterView, Copies, NodeReport, Verdict, highest_common, missing,
};
use mailrook_placement::{View, consequences, plan, stuck, under_replicated};
use mailrook_store_api::meta::{ClusterTrust, FrontRoles, NodeRecord, NodeState};
use mailrook_transport::Certificate;
use mailrook_types::{NodeId, ShardId, Timestamp};

use crate::{
    admin::{
        protocol::{
            ClusterCaStatus, ClusterGroup, ClusterNode, ClusterStatus, Losing, StuckCopies,
            VerifiedAs, VerifiedCopy, VerifiedShard,
        },
        rfc3339,
    },
    config::Role,
};

/// A group, in words.
pub fn group_name(shard: ShardId) -> String {
    match shard {
        ShardId::META => "the meta group".to_owned(),
        shard => format!("shard {shard}"),
    }
}

/// Groups, in words.
pub fn group_names(shards: &[ShardId]) -> String {
    let names = shards.iter().copied().map(group_name);
    names.collect::<Vec<_>>().join(", ")
}

/// What the nodes are called.
pub type Names = BTreeMap<NodeId, String>;

/// What the nodes are called.
pub fn names(view: &ClusterView) -> Names {
    let names = view.nodes.iter();
    names
        .map(|record| (record.id, record.name.clone()))
        .collect()
}

/// What a node is called.
fn name_of(names: &Names, node: NodeId) -> String {
    names
        .get(&node)
        .cloned()
        .unwrap_or_else(|| node.to_string())
}

/// In hexadecimal digits.
fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All of it.
pub fn status(
    view: &ClusterView,
    trust: Option<&ClusterTrust>,
    papers: &AllPapers,
) -> ClusterStatus {
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
                let name = group_name(group.shard);
                let (have, want, why) = (group.have, group.want, group.why);
                format!("{name} has {have} of {want} copies: {why}")
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
            NodeState::Active | NodeState::Storeless(_) => "active",
            NodeState::Draining => "draining",
            NodeState::Removed { .. } => "removed",
        }
        .to_owned(),
        front: match record.state {
            NodeState::Storeless(roles) => Some(front_roles(roles)),
            NodeState::Active | NodeState::Draining | NodeState::Removed { .. } => None,
        },
        reachable: report.is_some(),
        disk_full: report.is_some_and(|report| report.disk_full),
        copies: report.map_or(0, |report| report.groups.len()),
        leads: report.map_or(0, leads),
        lag: report.map_or(0, |report| lag(view, report)),
        certificate_expires: expires.map(rfc3339),
    }
}

/// As the configuration has them.
fn front_roles(roles: FrontRoles) -> Vec<String> {
    let all = [(roles.front, Role::Front), (roles.proxy, Role::Proxy)];
    let had = all.into_iter().filter(|(has, _)| *has);
    had.map(|(_, role)| role.name().to_owned()).collect()
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

/// What became of the comparison of a group's copies.
pub fn verified_shard(
    shard: ShardId,
    verdict: Verdict,
    copies: Copies,
    names: &Names,
) -> VerifiedShard {
    let copies = copies.into_iter().map(|(node, copy)| {
        let read = copy.as_ref().ok();
        let digest = read.and_then(|copy| copy.digest);
        VerifiedCopy {
            node: name_of(names, node),
            applied_index: read.map(|copy| copy.applied_index),
            digest: digest.map(|digest| hex(&digest)),
            error: copy.err(),
        }
    });
    VerifiedShard {
        shard: shard.0,
        verdict: match verdict {
            Verdict::Equal => VerifiedAs::Equal,
            Verdict::Differ => VerifiedAs::Differ,
            Verdict::Unreadable => VerifiedAs::Unreadable,
            Verdict::NotComparable => VerifiedAs::NotComparable,
        },
        copies: copies.collect(),
    }
}
