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
    /// Groups with fewer copies than they should have.
    pub under_replicated: Value,
    /// What is being done about it.
    pub healing: Value,
}

/// One member.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeView {
    /// Given by the cluster.
    pub id: u64,
    /// Given by the configuration.
    pub name: String,
    /// `active`, `draining`, …
    pub state: String,
}

/// One group.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct GroupView {
    /// Zero is the meta group.
    pub shard: u32,
    /// A node's id.
    pub leader: Option<u64>,
    /// Nodes' ids.
    pub voters: Vec<u64>,
    /// Nodes' ids.
    pub learners: Vec<u64>,
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
        let some = [&self.under_replicated, &self.healing];
        let some = some.into_iter().find(|value| !is_nothing(value));
        some.map(ToString::to_string)
            .or_else(|| self.groups.is_empty().then(|| "no groups".to_owned()))
    }

    /// Who leads this shard.
    pub fn leader_of(&self, shard: u32) -> Option<&str> {
        let group = self.groups.iter().find(|group| group.shard == shard)?;
        let node = self
            .nodes
            .iter()
            .find(|node| Some(node.id) == group.leader)?;
        Some(&node.name)
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(some) => !some,
        Value::Number(count) => count.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn says_what_is_missing_and_who_leads() {
        let mut status = json!({"cluster": {
            "nodes": [{"id": 1, "name": "node1"}, {"id": 2, "name": "node2"}],
            "groups": [
                {"shard": 0, "leader": 1, "voters": [1, 2], "learners": []},
                {"shard": 1, "leader": 2, "voters": [1, 2], "learners": []},
            ],
            "under_replicated": [], "healing": [],
        }});
        let view = View::of(&status).unwrap();
        assert_eq!(view.missing(2), None);
        assert_eq!(view.leader_of(1), Some("node2"));
        assert!(view.missing(3).is_some());
        status["cluster"]["healing"] = json!([{"shard": 1}]);
        assert!(View::of(&status).unwrap().missing(2).is_some());
        status["cluster"]["groups"][1]["leader"] = Value::Null;
        assert_eq!(View::of(&status).unwrap().leader_of(1), None);
        assert!(View::of(&json!({})).is_err());
        assert!(View::default().missing(3).is_some());
    }
}
