//! What the controller decided, done: records are changed, and nodes are asked.

use std::sync::{Arc, Weak};

use mailrook_cluster::{GroupError, Node};
use mailrook_meta::{MetaAnswer, MetaCommand, MetaQuery, MetaReply};
use mailrook_placement::Action;
use mailrook_store_api::{Directory, StoreError};
use mailrook_transport::{Class, Network};
use mailrook_types::{NodeId, ShardId};
use tokio::time::Instant;

use crate::{
    controller::STEP_MAX,
    gather::misfit,
    recovered::Recovered,
    wire::{self, Ask},
};

/// Carries one step out.
pub(crate) struct Hands {
    pub(crate) node: Weak<Node>,
    pub(crate) own: NodeId,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) recovered: Arc<Recovered>,
    /// Of the group that is changed.
    pub(crate) leader: Option<NodeId>,
}

impl Hands {
    pub(crate) async fn step(self, action: Action) -> Result<(), String> {
        match action {
            Action::CreateGroup { shard, node } => {
                self.place(shard, |_| vec![node]).await?;
                self.ask(node, Ask::FoundGroup(shard)).await
            }
            Action::AddLearner { shard, node } => {
                let with = |mut replicas: Vec<NodeId>| {
                    replicas.push(node);
                    replicas
                };
                self.place(shard, with).await?;
                self.ask(node, Ask::AddCopy(shard)).await?;
                self.ask_leader(Ask::AddLearner(shard, node)).await
            }
            Action::ChangeVoters { shard, voters } => {
                self.ask_leader(Ask::ChangeVoters(shard, voters)).await
            }
            Action::RemoveLearner { shard, node } => {
                self.ask_leader(Ask::RemoveLearner(shard, node)).await
            }
            Action::DropCopy { shard, node } => {
                let without = |mut replicas: Vec<NodeId>| {
                    replicas.retain(|replica| *replica != node);
                    replicas
                };
                self.place(shard, without).await?;
                // If it cannot be reached, it drops its copy when it comes back.
                if let Err(cause) = self.ask(node, Ask::DropCopy(shard)).await {
                    tracing::info!(%shard, %node, cause, "a copy is dropped later");
                }
                Ok(())
            }
            Action::TransferLeader { shard, to } => {
                self.ask_leader(Ask::TransferLeader(shard, to)).await
            }
        }
    }

    /// Changes who may have a copy, if nobody else does at the same time.
    async fn place(
        &self,
        shard: ShardId,
        change: impl FnOnce(Vec<NodeId>) -> Vec<NodeId>,
    ) -> Result<(), String> {
        let query = MetaQuery::Placement { shard: Some(shard) };
        let text = |error: StoreError| error.to_string();
        let record = match self.directory.query(query).await.map_err(text)? {
            MetaAnswer::Placement(mut records) => records.pop(),
            other => return Err(misfit(&other).to_string()),
        };
        let record = record.ok_or_else(|| format!("there is no shard {shard}"))?;
        let mut replicas = change(record.replicas.clone());
        replicas.sort();
        replicas.dedup();
        if replicas == record.replicas {
            return Ok(());
        }
        let command = MetaCommand::PlaceShard {
            shard,
            epoch_before: record.epoch,
            replicas,
        };
        match self.directory.command(command).await.map_err(text)? {
            MetaReply::Shard(_) => Ok(()),
            MetaReply::Refused(refusal) => Err(refusal.to_string()),
            other => Err(misfit(&other).to_string()),
        }
    }

    pub(crate) async fn ask_leader(&self, ask: Ask) -> Result<(), String> {
        match self.leader {
            Some(leader) => self.ask(leader, ask).await,
            None => Err("the group has no leader".to_owned()),
        }
    }
}

impl Hands {
    /// Asks a node, which may be this one.
    pub(crate) async fn ask(&self, node: NodeId, ask: Ask) -> Result<(), String> {
        if node == self.own {
            return self.do_here(ask).await.map_err(|error| error.to_string());
        }
        let deadline = Instant::now() + STEP_MAX;
        let call = self
            .network
            .call(node, Class::Control, wire::write(&ask), deadline);
        call.await.map(drop).map_err(|error| error.to_string())
    }

    async fn do_here(&self, ask: Ask) -> Result<(), GroupError> {
        let stopped = || GroupError::Stopped {
            cause: "the node is stopping".into(),
        };
        let node = self.node.upgrade().ok_or_else(stopped)?;
        self.recovered.check(&ask)?;
        match ask {
            Ask::FoundGroup(shard) => node.found_group(shard).await,
            Ask::AddCopy(shard) => node.add_copy(shard).await,
            Ask::DropCopy(shard) => node.drop_copy(shard).await,
            Ask::AddLearner(shard, learner) => node.add_learner(shard, learner).await,
            Ask::ChangeVoters(shard, voters) => {
                node.change_voters(shard, voters.into_iter().collect())
                    .await
            }
            Ask::RemoveLearner(shard, learner) => node.remove_learner(shard, learner).await,
            Ask::TransferLeader(shard, to) => node.transfer_leader(shard, to).await,
            // Not asked of oneself.
            Ask::Report | Ask::Digest(..) | Ask::Papers | Ask::Renew(_) => Ok(()),
        }
    }
}
