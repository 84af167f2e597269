//! Who has a copy of the group, who votes, and who leads: changes of that.

use std::{collections::BTreeSet, time::Duration};

use mailrook_transport::Link;
use mailrook_types::NodeId;
use openraft::{
    ChangeMembers, ServerState,
    async_runtime::watch::WatchReceiver,
    error::{ClientWriteError, RaftError},
    impls::EmptyNode,
};

use super::handle::RaftGroup;
use crate::GroupError;

/// How long leadership may take to go over: two elections.
const TRANSFER_MAX: Duration = Duration::from_secs(5);

/// How often the consensus engine is asked again meanwhile. It asks only once itself.
const TRANSFER_RETRY: Duration = Duration::from_millis(500);

impl RaftGroup {
    /// Has `node` follow the group without a vote. It is there already: no change.
    pub(crate) async fn add_learner(&self, node: NodeId) -> Result<(), GroupError> {
        let added = self.raft.add_learner(node.0, EmptyNode {}, false).await;
        self.changed(added.map(drop))
    }

    /// Has exactly `voters` vote, in one joint change. Who voted until now and is not among them follows.
    pub(crate) async fn change_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), GroupError> {
        let _one = self.changing.lock().await;
        let voters: BTreeSet<u64> = voters.into_iter().map(|node| node.0).collect();
        let changed = self.raft.change_membership(voters, true).await;
        self.changed(changed.map(drop))
    }

    /// Whether this copy leads, and the voters are those of before and after a change, of which each needs a majority.
    pub(crate) fn is_between_voters(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.committed_membership_config.membership();
        metrics.state == ServerState::Leader && membership.get_joint_config().len() > 1
    }

    /// Ends a change of the voters that nobody ends: the leader that began it is gone, or who asked for it gave up. The
    /// consensus engine leaves the second half of a change to its caller.
    pub(crate) async fn end_change(&self) {
        let Ok(_one) = self.changing.try_lock() else {
            return;
        };
        if !self.is_between_voters() {
            return;
        }
        tracing::info!(shard = %self.shard(), "ending a change of the voters that was left half done");
        // Seen from both halves, nobody added is the second one.
        let nobody = ChangeMembers::AddVoterIds(BTreeSet::new());
        if let Err(error) = self.raft.change_membership(nobody, true).await {
            tracing::warn!(shard = %self.shard(), %error, "the change of the voters stays half done for now");
        }
    }

    /// Has a node that has no vote leave the group.
    pub(crate) async fn remove_learner(&self, node: NodeId) -> Result<(), GroupError> {
        let removal = ChangeMembers::RemoveNodes(BTreeSet::from([node.0]));
        let changed = self.raft.change_membership(removal, false).await;
        self.changed(changed.map(drop))
    }

    fn changed<E>(
        &self,
        result: Result<(), RaftError<super::types::Types, E>>,
    ) -> Result<(), GroupError>
    where
        E: Into<ClientWriteError<super::types::Types>>,
    {
        match result {
            Ok(()) => Ok(()),
            Err(RaftError::Fatal(fatal)) => Err(self.stopped(&fatal)),
            Err(RaftError::APIError(error)) => match error.into() {
                ClientWriteError::ForwardToLeader(to) => Err(GroupError::NotLeader {
                    leader: to.leader_id,
                }),
                other => Err(GroupError::Refused {
                    cause: other.to_string(),
                }),
            },
        }
    }

    /// Has `to` lead, if this copy does; returns once another leads. What is under way is completed by it.
    pub(crate) async fn transfer_leader(&self, to: NodeId) -> Result<(), GroupError> {
        let mut metrics = self.raft.metrics();
        let end = tokio::time::Instant::now() + TRANSFER_MAX;
        while self.leads() {
            if tokio::time::Instant::now() > end {
                return Err(GroupError::Timeout);
            }
            self.raft
                .trigger()
                .transfer_leader(to.0)
                .await
                .map_err(|fatal| self.stopped(&fatal))?;
            let left = async { while self.leads() && metrics.changed().await.is_ok() {} };
            // In time or not: the loop looks.
            let _ = tokio::time::timeout(TRANSFER_RETRY, left).await;
        }
        Ok(())
    }

    /// The voters that can be reached, who has most of the log first.
    pub(crate) fn successors(&self) -> Vec<NodeId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(replication) = metrics.replication.as_ref() else {
            return Vec::new();
        };
        let own = self.network.node();
        let membership = metrics.membership_config.membership();
        let mut found: Vec<_> = (membership.voter_ids().map(NodeId))
            .filter(|node| *node != own && self.network.link(*node) == Link::Up)
            .collect();
        found.sort_by_key(|node| {
            let matched = replication.get(&node.0).copied().flatten();
            std::cmp::Reverse(matched.map(|id| id.index))
        });
        found
    }
}
