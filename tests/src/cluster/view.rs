//! What `mailrook status --json` says of the cluster, as far as the tests look at it.

use std::io;

use serde::Deserialize;
use serde_json::Value;

/// The `cluster` object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct View {
    /// All members.
    pub nodes: Vec<NodeView>,
    /// The meta group and the shards.
    pub groups: Vec<GroupView>,
    /// Groups with fewer copies than they should have, in words.
    pub under_replicated: Vec<String>,
    /// What is being done about the placement, in words.
    pub healing: Vec<String>,
}

/// One member.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeView {
    /// Given by the configuration.
    pub name: String,
    /// `active`, `draining` or `removed`.
    pub state: String,
    /// Whether it answers the node that was asked.
    pub reachable: bool,
    /// Whether it refuses writes for want of room.
    pub disk_full: bool,
}

/// One group.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct GroupView {
    /// Zero is the meta group.
    pub shard: u32,
    /// A node's name.
    pub leader: Option<String>,
    /// Nodes' names.
    pub voters: Vec<String>,
    /// Nodes' names.
    pub learners: Vec<String>,
}

impl View {
    /// From the whole status.
    pub fn of(status: &Value) -> io::Result<Self> {
        let cluster = status.get("cluster").ok_or_else(|| {
            io::Error::other(format!("status says nothing of a cluster: {status}"))
        })?;
        Ok(serde_json::from_value(cluster.clone())?)
    }

    /// What is missing until every group has its leader and its copies; nothing where all is well.
    pub fn missing(&self, copies: usize) -> Option<String> {
        let unfit = |group: &&GroupView| {
            group.leader.is_none() || group.voters.len() != copies || !group.learners.is_empty()
        };
        if let Some(group) = self.groups.iter().find(unfit) {
            return Some(format!("{group:?}"));
        }
        let mut words = self.under_replicated.iter().chain(&self.healing);
        words
            .next()
            .cloned()
            .or_else(|| self.groups.is_empty().then(|| "no groups".to_owned()))
    }

    /// Who leads this shard.
    pub fn leader_of(&self, shard: u32) -> Option<&str> {
        let group = self.groups.iter().find(|group| group.shard == shard)?;
        group.leader.as_deref()
    }

    /// What it says of the node of this name.
    pub fn node(&self, name: &str) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Whether a node of this name has no copy of anything.
    pub fn is_empty_handed(&self, name: &str) -> bool {
        let mut groups = self.groups.iter();
        !groups.any(|g| g.voters.iter().chain(&g.learners).any(|n| n == name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn says_what_is_missing_and_who_leads() {
        let mut status = json!({"cluster": {
            "nodes": [{"name": "node1"}, {"name": "node2", "disk_full": true}],
            "groups": [
                {"shard": 0, "leader": "node1", "voters": ["node1", "node2"], "learners": []},
                {"shard": 1, "leader": "node2", "voters": ["node1", "node2"], "learners": []},
            ],
            "under_replicated": [], "healing": [],
        }});
        let view = View::of(&status).unwrap();
        assert_eq!(view.missing(2), None);
        assert_eq!(view.leader_of(1), Some("node2"));
        assert!(view.missing(3).is_some());
        assert!(view.node("node2").is_some_and(|node| node.disk_full));
        assert!(view.is_empty_handed("node3") && !view.is_empty_handed("node1"));
        status["cluster"]["healing"] = json!(["shard 1 gets a copy"]);
        assert!(View::of(&status).unwrap().missing(2).is_some());
        status["cluster"]["groups"][1]["leader"] = Value::Null;
        assert_eq!(View::of(&status).unwrap().leader_of(1), None);
        assert!(View::of(&json!({})).is_err());
        assert!(View::default().missing(3).is_some());
    }
}
