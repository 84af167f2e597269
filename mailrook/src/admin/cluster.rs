//! Requests about the cluster and its nodes.

use std::time::Duration;

use mailrook_cluster::SHARDS_MAX;
use mailrook_store_api::meta::{ClusterSettings, MetaAnswer, MetaCommand, MetaQuery};
use mailrook_types::NodeId;

use super::{
    handle::{Admin, ClusterHost, DONE, Failure, Outcome, misfit},
    protocol::{ClusterNode, ClusterStatus, ClusterUnreached, Reply, Request, VerifiedAs},
    time::rfc3339,
};

impl Admin {
    pub(super) async fn handle_cluster(&self, request: Request) -> Outcome {
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
                let node = self.node_named(name.clone()).await?;
                let done = self
                    .change(MetaCommand::SetNodeDraining { node, draining })
                    .await?;
                Ok(match draining {
                    true => with_stuck_copies(done, &*cluster, &name).await,
                    false => done,
                })
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
                let asked = Settings {
                    copies,
                    heal_after_ms,
                    shards,
                };
                // All of it before the first change: half of what was asked for is worse than nothing.
                asked.check(&cluster.status().await.map_err(unreached)?)?;
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
                    equal: shards
                        .iter()
                        .all(|shard| shard.verdict == VerifiedAs::Equal),
                    shards,
                })
            }
            other => Err(Failure::Internal(format!("nobody handles {other:?}"))),
        }
    }

    /// The cluster as it is now.
    pub(super) async fn cluster_status(&self) -> Result<ClusterStatus, Failure> {
        let cluster = self.host.cluster().ok_or_else(alone)?;
        cluster.status().await.map_err(unreached)
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

fn alone() -> Failure {
    let text = "this node is alone: set [cluster] listen in its configuration and restart it";
    Failure::Refused(text.to_owned())
}

/// Why nobody can say which nodes there are, with those that were known last.
fn unreached(cluster: ClusterUnreached) -> Failure {
    let mut text = cluster.error;
    for node in &cluster.nodes {
        text += &format!("\n  {}", node.in_words());
    }
    Failure::Unavailable(text)
}

/// Says it when a node that is drained cannot be rid of its copies: nothing would tell otherwise, and nothing would happen.
async fn with_stuck_copies(done: Reply, cluster: &dyn ClusterHost, name: &str) -> Reply {
    // It is drained all the same if the rest of the cluster cannot be seen now.
    let Ok(status) = cluster.status().await else {
        return done;
    };
    let mut stuck = status.stuck.into_iter();
    match stuck.find(|copies| copies.node.eq_ignore_ascii_case(name)) {
        Some(copies) => Reply::Noted {
            done: true,
            note: copies.why,
        },
        None => done,
    }
}

/// What is asked to be changed.
struct Settings {
    copies: Option<u8>,
    heal_after_ms: Option<u64>,
    shards: Option<u32>,
}

impl Settings {
    fn check(&self, now: &ClusterStatus) -> Result<(), Failure> {
        if let Some(copies) = self.copies {
            ClusterSettings::check_copies(copies)?;
        }
        if let Some(ms) = self.heal_after_ms {
            ClusterSettings::check_heal_after(ms)?;
        }
        let present = now.groups.iter().filter(|group| group.shard != 0).count();
        let wanted = match self.shards {
            Some(wanted) => wanted as usize,
            None => present,
        };
        if wanted < present {
            let text = format!("there are {present} shards: they can be added, and not taken away");
            return Err(Failure::Refused(text));
        }
        let copies = self.copies.unwrap_or(now.copies);
        if wanted > present || copies > now.copies {
            check_room(now, wanted, copies)?;
        }
        Ok(())
    }
}

/// What has no room on the nodes would never get its copies, and shards cannot be taken away again.
fn check_room(now: &ClusterStatus, shards: usize, copies: u8) -> Result<(), Failure> {
    let able = |node: &&ClusterNode| node.state == "active" && node.front.is_none();
    let nodes = now.nodes.iter().filter(able).count();
    // With fewer nodes than copies there is one copy on each.
    let copies = usize::from(copies).min(nodes).max(1);
    let max = nodes * SHARDS_MAX as usize / copies;
    if shards <= max {
        return Ok(());
    }
    let text = format!(
        "{shards} shards with {copies} copies each have no room: {nodes} nodes of at most {SHARDS_MAX} shards hold {max}; add nodes first"
    );
    Err(Failure::Refused(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::protocol::ClusterGroup;

    fn status(nodes: u64, shards: u32) -> ClusterStatus {
        let node = |id| ClusterNode {
            id,
            name: format!("n{id}"),
            address: String::new(),
            zone: String::new(),
            state: "active".to_owned(),
            front: None,
            reachable: true,
            disk_full: false,
            copies: 0,
            leads: 0,
            lag: 0,
            certificate_expires: None,
        };
        let group = |shard| ClusterGroup {
            shard,
            leader: None,
            term: 1,
            voters: Vec::new(),
            learners: Vec::new(),
            changing: false,
            last_index: 0,
        };
        ClusterStatus {
            copies: 3,
            heal_after_ms: 600_000,
            feature_level: 1,
            feature_level_possible: None,
            ca: None,
            nodes: (1..=nodes).map(node).collect(),
            groups: (0..=shards).map(group).collect(),
            under_replicated: Vec::new(),
            healing: Vec::new(),
            stuck: Vec::new(),
            losing: Vec::new(),
        }
    }

    fn checked(
        now: &ClusterStatus,
        copies: Option<u8>,
        heal_after_ms: Option<u64>,
        shards: Option<u32>,
    ) -> String {
        let asked = Settings {
            copies,
            heal_after_ms,
            shards,
        };
        asked
            .check(now)
            .map_or_else(|error| error.to_string(), |()| "ok".to_owned())
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_changed() {
        let three = status(3, 8);
        for (shards, word) in [
            (4, "not taken away"),
            (64, "add nodes first"),
            (4096, "hold 63"),
        ] {
            let said = checked(&three, None, None, Some(shards));
            assert!(said.contains(word), "{shards}: {said}");
        }
        for shards in [8, 9, 63] {
            assert_eq!(checked(&three, None, None, Some(shards)), "ok");
        }
        let sixty_days_ms = 60 * 24 * 3600 * 1000;
        assert!(checked(&three, Some(5), Some(sixty_days_ms), None).contains("31 days"));
        assert!(checked(&three, Some(4), None, None).contains("1, 3 or 5"));
        assert_eq!(checked(&three, Some(5), Some(60_000), None), "ok");
        // More copies need room too; fewer always have it.
        let six = status(6, 126);
        assert!(checked(&six, Some(5), None, None).contains("hold 75"));
        assert_eq!(checked(&six, Some(1), None, None), "ok");
        assert_eq!(checked(&status(3, 70), Some(1), None, None), "ok");
        // A node without a store has room for none.
        let mut one_front = status(6, 126);
        one_front.nodes[5].front = Some(vec!["front".to_owned()]);
        assert!(checked(&one_front, None, None, Some(127)).contains("hold 105"));
    }
}
