//! Copies that a running node is given and that are taken from it, and changes of a group's members.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::future::join_all;
use mailrook_types::{NodeId, ShardId};
use openraft::vote::leader_id_adv::LeaderId;
use serde::{Deserialize, Serialize};

use super::{Inner, Node, SHARDS_MAX};
use crate::{
    Group, GroupError, GroupRole, GroupStatus, Plant,
    data_dir::{LogMark, VoteMark},
    group::raft::{GroupParts, Origin, RaftGroup, Vote},
    guard::log_group,
    log::{LogWrite, RecordKey, encode_vote},
    simulation::run_blocking,
    state::GroupState,
};

/// Leaderships are given away at most for so long when a node leaves.
const HAND_OVER_MAX: Duration = Duration::from_secs(10);

/// How far a group was: the leader's term, and the last entry that was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The leader's.
    pub term: u64,
    /// The entry's.
    pub index: u64,
}

impl From<&GroupStatus> for Reached {
    fn from(of_the_leader: &GroupStatus) -> Reached {
        Reached {
            term: of_the_leader.term,
            index: of_the_leader.committed_index,
        }
    }
}

impl Node {
    /// Gives this node a copy of a group, which then waits for the group's leader. It has one already: no change.
    ///
    /// `reached` is how far the group was when its leader was seen last: until the copy is as far, it does not lead, even if
    /// what it has read of the log so far says that it may.
    ///
    /// # Errors
    /// [`GroupError::Refused`] with the cause.
    pub async fn add_copy(&self, shard: ShardId, reached: Reached) -> Result<(), GroupError> {
        let Reached { term, index } = reached;
        let floor = LogMark { term, index };
        self.add(shard, Origin::Given(Some(floor))).await
    }

    /// Begins a group that there was never one of, with this node as its only voter. It has a copy already: no change.
    ///
    /// # Errors
    /// [`GroupError::Refused`] with the cause.
    pub async fn found_group(&self, shard: ShardId) -> Result<(), GroupError> {
        let dropped = self.inner.witness.content().dropped;
        if dropped.get(&shard).is_some_and(Option::is_some) {
            return Err(refused(
                "this node had a copy of it before: others may have one".into(),
            ));
        }
        self.add(shard, Origin::Founded).await
    }

    async fn add(&self, shard: ShardId, origin: Origin) -> Result<(), GroupError> {
        let inner = Arc::clone(&self.inner);
        self.to_its_end(async move { inner.add(shard, origin).await })
            .await
    }

    /// Takes this node's copy of a group away, and puts what it held into quarantine. There is none: no change. Who calls
    /// knows that the group does without it.
    ///
    /// # Errors
    /// [`GroupError::Refused`] with the cause. Then it is called again.
    pub async fn drop_copy(&self, shard: ShardId) -> Result<(), GroupError> {
        let inner = Arc::clone(&self.inner);
        self.to_its_end(async move { inner.drop_copy(shard, None).await })
            .await
    }

    /// As [`Node::drop_copy`], but what the copy held is removed if the group still has all of it: it has a leader, and was
    /// not brought back from another copy since. `reached` is how far that leader was. A copy that was stopped goes into
    /// quarantine all the same.
    ///
    /// # Errors
    /// As [`Node::drop_copy`].
    pub async fn remove_copy(&self, shard: ShardId, reached: Reached) -> Result<(), GroupError> {
        let inner = Arc::clone(&self.inner);
        self.to_its_end(async move { inner.drop_copy(shard, Some(reached)).await })
            .await
    }

    /// Goes on when who asked gives up: half a copy is worse than none.
    async fn to_its_end(
        &self,
        work: impl Future<Output = Result<(), GroupError>> + Send + 'static,
    ) -> Result<(), GroupError> {
        let ended = self.inner.runtime.spawn(work).await;
        ended.map_err(|error| refused(error.to_string()))?
    }

    /// Has `node` follow a group that this node leads.
    ///
    /// # Errors
    /// As any call to a group.
    pub async fn add_learner(&self, shard: ShardId, node: NodeId) -> Result<(), GroupError> {
        self.copy(shard)?.add_learner(node).await
    }

    /// Has exactly `voters` vote in a group that this node leads; others that voted follow.
    ///
    /// # Errors
    /// As any call to a group.
    pub async fn change_voters(
        &self,
        shard: ShardId,
        voters: BTreeSet<NodeId>,
    ) -> Result<(), GroupError> {
        self.copy(shard)?.change_voters(voters).await
    }

    /// Has a node without a vote leave a group that this node leads.
    ///
    /// # Errors
    /// As any call to a group.
    pub async fn remove_learner(&self, shard: ShardId, node: NodeId) -> Result<(), GroupError> {
        self.copy(shard)?.remove_learner(node).await
    }

    /// Has `to` lead a group that this node leads; returns once it is given up.
    ///
    /// # Errors
    /// As any call to a group; [`GroupError::Refused`] if `to` would not lead now. It is asked first: from the transfer on
    /// until it leads, the group takes nothing.
    pub async fn transfer_leader(&self, shard: ShardId, to: NodeId) -> Result<(), GroupError> {
        let group = self.copy(shard)?;
        if self.inner.willing(shard, vec![to]).await.is_empty() {
            return Err(refused(format!("{to} would not lead now")));
        }
        group.transfer_leader(to).await
    }

    /// Gives all leaderships away and seeks none from now on: what follows, a stop or a repair, costs others nothing.
    /// Says which groups it still leads, because nobody else can.
    pub async fn leave(&self) -> Vec<ShardId> {
        self.inner.leaving.store(true, Ordering::Release);
        self.inner.hand_over("the node is leaving").await
    }

    fn copy(&self, shard: ShardId) -> Result<Arc<RaftGroup>, GroupError> {
        let missing = || GroupError::Stopped {
            cause: "this node has no copy of it".into(),
        };
        self.inner.group(shard).ok_or_else(missing)
    }
}

fn refused(cause: String) -> GroupError {
    GroupError::Refused { cause }
}

impl Inner {
    async fn add(self: &Arc<Self>, shard: ShardId, origin: Origin) -> Result<(), GroupError> {
        let _one = self.making.lock().await;
        self.check_fence()?;
        match self.group(shard) {
            Some(group) if group.is_running() => return Ok(()),
            None if !self.damaged.lock().contains_key(&shard) => {}
            // What it promised may still count.
            _ => {
                return Err(refused(
                    "the copy here is damaged: it is dropped first".into(),
                ));
            }
        }
        let count = self.groups.read().len();
        if count > SHARDS_MAX as usize {
            return Err(refused(format!("this node has {count} copies already")));
        }
        let group = self.make_copy(shard, origin).await?;
        let made = Arc::clone(&group);
        self.groups.write().insert(shard, group);
        // It may have come meanwhile.
        self.check_fence()
            .inspect_err(|error| made.stop(&error.to_string()))?;
        tracing::info!(%shard, "a copy of the group is made");
        Ok(())
    }

    fn check_fence(&self) -> Result<(), GroupError> {
        match &*self.fenced.lock() {
            Some(cause) => Err(refused(cause.clone())),
            None => Ok(()),
        }
    }

    async fn drop_copy(
        self: &Arc<Self>,
        shard: ShardId,
        without: Option<Reached>,
    ) -> Result<(), GroupError> {
        let _one = self.making.lock().await;
        let group = self.groups.write().remove(&shard);
        self.reports.forget(shard);
        let is_spare = without.is_some_and(|reached| {
            let copy = group.as_ref();
            copy.is_some_and(|group| group.is_running() && group.is_of_time(reached.term))
        });
        if let Some(group) = group {
            group.shutdown().await;
        } else if !self.witness.content().groups.contains_key(&shard) && !self.has_left(shard) {
            return Ok(());
        }
        // In this order: a copy that the witness knows must have all it knows of; one that it does not know may leave
        // anything behind.
        let inner = Arc::clone(self);
        let dropped = run_blocking(move || {
            inner.witness.drop_copy(shard)?;
            let taken = match is_spare {
                true => inner.dir.remove(shard),
                false => inner.dir.quarantine(shard),
            };
            taken.map_err(std::io::Error::other)
        });
        let dropped = dropped.await.map_err(|error| refused(error.to_string()))?;
        dropped.map_err(|error| refused(error.to_string()))?;
        self.forget_log(shard, None).await?;
        self.damaged.lock().remove(&shard);
        tracing::info!(%shard, removed = is_spare, "the copy of the group is dropped");
        Ok(())
    }

    /// Whether a copy that was dropped before was not dropped to the end: there was no room, for instance.
    fn has_left(&self, shard: ShardId) -> bool {
        let log = self.log.store();
        let in_log = log.is_ok_and(|log| log.bounds(log_group(shard)).is_some());
        in_log || self.damaged.lock().contains_key(&shard)
    }

    async fn make_copy(
        self: &Arc<Self>,
        shard: ShardId,
        origin: Origin,
    ) -> Result<Arc<RaftGroup>, GroupError> {
        let mut vote = self.witness.content().dropped.get(&shard).copied();
        if self.plant == Some(Plant::ForgetVote) {
            vote = None;
        }
        self.forget_log(shard, vote.flatten()).await?;
        let inner = Arc::clone(self);
        let opened = run_blocking(move || {
            inner.dir.quarantine(shard)?;
            let path = inner.dir.group(shard);
            GroupState::open(&inner.state_engine, &path, shard, true)
        });
        let state = opened.await.map_err(|error| refused(error.to_string()))?;
        let state = state.map_err(|error| refused(error.to_string()))?;
        let inner = Arc::clone(self);
        let (given, floor) = match origin {
            Origin::Founded => (false, None),
            Origin::Given(floor) => (true, floor),
        };
        let noted = run_blocking(move || inner.witness.add_copy(shard, given, floor));
        let noted = noted.await.map_err(|error| refused(error.to_string()))?;
        noted.map_err(|error| refused(error.to_string()))?;
        let count = self.groups.read().len() + 1;
        let parts = GroupParts {
            shard,
            network: Arc::clone(&self.network),
            snapshots: self.snapshots.clone(),
            origin,
            machine: (self.machines)(shard),
            state: Arc::new(state),
            log: Arc::clone(&self.log),
            log_cache_bytes: self.log_cache_bytes / count,
            groups: count,
            reserve: Arc::clone(&self.reserve),
            correction: self.correction.clone(),
            wall: Arc::clone(&self.wall),
            heard: self.heard.clone(),
            plant: self.plant,
        };
        // On the groups' runtime, wherever the caller is.
        let started = self.runtime.spawn(RaftGroup::start(parts)).await;
        started.map_err(|error| refused(error.to_string()))?
    }

    /// Removes what the log holds of a group that there is no copy of, but for the vote that it gave.
    async fn forget_log(&self, shard: ShardId, vote: Option<VoteMark>) -> Result<(), GroupError> {
        let group = log_group(shard);
        let failed = |error: crate::log::LogError| refused(error.to_string());
        let forget = LogWrite::Forget { group };
        self.log.write_durably(forget, None).await.map_err(failed)?;
        let Some(VoteMark {
            term,
            node,
            committed,
        }) = vote
        else {
            return Ok(());
        };
        let leader_id = LeaderId {
            term,
            node_id: node,
        };
        let vote = Vote {
            leader_id,
            committed,
        };
        let record = LogWrite::Record {
            group,
            key: RecordKey::Vote,
            value: encode_vote(&vote),
        };
        self.log.write_durably(record, None).await.map_err(failed)
    }

    /// Gives away what this node leads, where somebody else can lead it; says what is left.
    pub(super) async fn hand_over(&self, why: &str) -> Vec<ShardId> {
        let led = |group: &Arc<RaftGroup>| group.status().role == GroupRole::Leader;
        let groups: Vec<_> = self.groups().into_iter().filter(led).collect();
        let handed = groups.iter().map(|group| async move {
            let candidates = group.successors();
            let to = *self.willing(group.shard(), candidates).await.first()?;
            tracing::info!(shard = %group.shard(), %to, why, "handing leadership over");
            let result = tokio::time::timeout(HAND_OVER_MAX, group.transfer_leader(to)).await;
            match result {
                Ok(Ok(())) => Some(()),
                Ok(Err(error)) => {
                    tracing::warn!(shard = %group.shard(), %error, "leadership was not handed over");
                    None
                }
                Err(_) => None,
            }
        });
        let handed = join_all(handed).await;
        let left = groups.iter().zip(handed);
        left.filter(|(_, handed)| handed.is_none())
            .map(|(group, _)| group.shard())
            .collect()
    }
}
