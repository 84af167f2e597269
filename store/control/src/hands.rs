//! What the controller decided, done: records are changed, and nodes are asked.

use std::sync::Arc;

use mailrook_cluster::Reached;
use mailrook_meta::{MetaCommand, MetaReply};
use mailrook_placement::Action;
use mailrook_store_api::{Directory, StoreError};
use mailrook_transport::{Class, Network};
use mailrook_types::{NodeId, ShardId};
use tokio::time::Instant;

use crate::{
    controller::STEP_MAX,
    desk::Desk,
    gather::{GroupState, misfit},
    wire::{self, Ask},
};

/// Carries one step out.
pub(crate) struct Hands {
    pub(crate) own: NodeId,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) desk: Arc<Desk>,
    /// The group that is changed, as it was when the step was decided.
    pub(crate) group: Option<GroupState>,
    /// Whether nodes know how to remove a copy.
    pub(crate) removes: bool,
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
                let status = self.group.as_ref().and_then(|group| group.status.as_ref());
                let reached = status.map(Reached::from);
                let reached = reached.ok_or("nobody tells how far the group is")?;
                self.place(shard, with).await?;
                self.ask(node, Ask::AddCopy(shard, reached)).await?;
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
                if let Err(cause) = self.drop_copy(shard, node).await {
                    tracing::info!(%shard, %node, cause, "a copy is dropped later");
                }
                Ok(())
            }
            Action::TransferLeader { shard, to } => {
                self.ask_leader(Ask::TransferLeader(shard, to)).await
            }
        }
    }

    /// Changes who may have a copy, if nobody has done so since the step was decided. The record's epoch goes up even where
    /// the nodes stay the same, so that steps which were decided before come to nothing.
    async fn place(
        &self,
        shard: ShardId,
        change: impl FnOnce(Vec<NodeId>) -> Vec<NodeId>,
    ) -> Result<(), String> {
        let record = self.group.as_ref().and_then(|group| group.record.as_ref());
        let record = record.ok_or_else(|| format!("there is no shard {shard}"))?;
        let mut replicas = change(record.replicas.clone());
        replicas.sort();
        replicas.dedup();
        let command = MetaCommand::PlaceShard {
            shard,
            epoch_before: record.epoch,
            replicas,
        };
        let text = |error: StoreError| error.to_string();
        match self.directory.command(command).await.map_err(text)? {
            MetaReply::Shard(_) => Ok(()),
            MetaReply::Refused(refusal) => Err(refusal.to_string()),
            other => Err(misfit(&other).to_string()),
        }
    }

    pub(crate) async fn ask_leader(&self, ask: Ask) -> Result<(), String> {
        match self.group.as_ref().and_then(|group| group.leader) {
            Some(leader) => self.ask(leader, ask).await,
            None => Err("the group has no leader".to_owned()),
        }
    }
}

impl Hands {
    /// Has a node drop a copy that its group does without. As far as is known: what the group's leader does not speak for is
    /// kept in quarantine.
    pub(crate) async fn drop_copy(&self, shard: ShardId, node: NodeId) -> Result<(), String> {
        let led = self.group.as_ref().filter(|group| group.leader.is_some());
        let status = led.and_then(|group| group.status.as_ref());
        // One that the group counts with is kept whatever the records say, which may be of a recovered directory.
        let status = status.filter(|status| {
            let mut members = status.voters.iter().chain(&status.learners);
            !status.changing && members.all(|member| *member != node.0)
        });
        let reached = status.map(Reached::from);
        let ask = match reached.filter(|_| self.removes) {
            Some(reached) => Ask::RemoveCopy(shard, reached),
            None => Ask::DropCopy(shard),
        };
        self.ask(node, ask).await
    }

    /// Asks a node, which may be this one.
    pub(crate) async fn ask(&self, node: NodeId, ask: Ask) -> Result<(), String> {
        if node == self.own {
            return self.desk.change(ask).await;
        }
        let deadline = Instant::now() + STEP_MAX;
        let call = self
            .network
            .call(node, Class::Control, wire::write(&ask), deadline);
        call.await.map(drop).map_err(|error| error.to_string())
    }
}
