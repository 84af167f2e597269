//! Why the cluster does not do what its admins ask for.

use mailrook_control::ClusterView;
use mailrook_types::{NodeId, ShardId};

use crate::admin::Failure;

/// Refuses what not all nodes know yet.
///
/// # Errors
/// That.
pub fn needs_level(view: &ClusterView, level: u32, what: &str) -> Result<(), Failure> {
    let now = view.settings.feature_level;
    if now >= level {
        return Ok(());
    }
    let text = format!(
        "`mailrook {what}` needs feature level {level}, and the cluster is at {now}: once every node runs a version that knows it, say `mailrook cluster upgrade`"
    );
    Err(Failure::Refused(text))
}

/// Why the feature level stays as it is.
pub fn nothing_to_raise(view: &ClusterView) -> Failure {
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
pub fn without(view: &ClusterView, node: NodeId) -> Vec<ShardId> {
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
