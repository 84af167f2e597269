//! Requests about the cluster and its nodes.

use std::time::Duration;

use mailrook_store_api::meta::{MetaAnswer, MetaCommand, MetaQuery};
use mailrook_types::NodeId;

use super::{
    handle::{Admin, DONE, Failure, Outcome, misfit},
    protocol::{ClusterUnreached, Reply, Request},
    time::rfc3339,
};

impl Admin {
    pub(super) async fn handle_cluster(&self, request: Request) -> Outcome {
        let alone = || {
            let text =
                "this node is alone: set [cluster] listen in its configuration and restart it";
            Failure::Refused(text.to_owned())
        };
        let cluster = self.host.cluster().ok_or_else(alone)?;
        match request {
            Request::NodeToken { lifetime_seconds } => {
                let lifetime = Duration::from_secs(lifetime_seconds);
                let (token, expires) = cluster.token(lifetime).await?;
                Ok(Reply::Token {
                    token,
                    expires: rfc3339(expires),
                })
            }
            Request::NodeList => Ok(Reply::Nodes {
                nodes: cluster.status().await.map_err(unreached)?.nodes,
            }),
            Request::NodeDrain { name, draining } => {
                let node = self.node_named(name).await?;
                self.change(MetaCommand::SetNodeDraining { node, draining })
                    .await
            }
            Request::NodeRemove { name } => {
                let node = self.node_named(name).await?;
                self.change(MetaCommand::RemoveNode(node)).await
            }
            Request::NodeReplace { name, force } => {
                cluster.replace(name, force).await?;
                Ok(DONE)
            }
            Request::ClusterRotateCa => {
                cluster.rotate_ca().await?;
                Ok(DONE)
            }
            Request::ClusterUpgrade => Ok(Reply::Level {
                feature_level: cluster.upgrade().await?,
            }),
            Request::ClusterSet {
                copies,
                heal_after_ms,
                shards,
            } => {
                let commands = [
                    copies.map(MetaCommand::SetCopies),
                    heal_after_ms.map(|ms| MetaCommand::SetHealAfter { ms }),
                    shards.map(|to| MetaCommand::AddShards { to }),
                ];
                for command in commands.into_iter().flatten() {
                    self.change(command).await?;
                }
                Ok(DONE)
            }
            Request::ClusterVerify => {
                let shards = cluster.verify().await?;
                Ok(Reply::Verified {
                    equal: shards.iter().all(|shard| shard.equal),
                    shards,
                })
            }
            other => Err(Failure::Internal(format!("nobody handles {other:?}"))),
        }
    }

    async fn node_named(&self, name: String) -> Result<NodeId, Failure> {
        match self.directory.query(MetaQuery::Node(name.clone())).await? {
            MetaAnswer::Node(Some(record)) => Ok(record.id),
            MetaAnswer::Node(None) => {
                let text = format!("there is no node {name:?}; `mailrook node list` shows them");
                Err(Failure::Refused(text))
            }
            other => Err(misfit(&other)),
        }
    }
}

/// Why nobody can say which nodes there are, with those that were known last.
fn unreached(cluster: ClusterUnreached) -> Failure {
    let mut text = cluster.error;
    for node in &cluster.nodes {
        text += &format!("\n  {}", node.in_words());
    }
    Failure::Unavailable(text)
}
