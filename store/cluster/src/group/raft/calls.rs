//! The calls of [`Group`] on [`RaftGroup`].

use std::{cell::RefCell, ops::ControlFlow, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_kv::{Direction, KvError, Read, Space};
use mailrook_types::ShardId;
use openraft::{ServerState, async_runtime::watch::WatchReceiver, error::ClientWriteError};
use tokio::sync::oneshot;

use super::{
    handle::{RaftGroup, in_flight_kib},
    types::{Answer, Command},
};
use crate::{
    COMMAND_BYTES_MAX, Group, GroupError, GroupRole, GroupStatus, Progress, Watch,
    simulation::run_blocking,
};

/// How long a reader waits for an entry: a copy that is not there by then is far behind, or nothing is written.
const ENTRY_MAX: Duration = Duration::from_secs(5);

/// How long a shutdown waits for proposals under way.
const DRAIN: Duration = Duration::from_secs(5);

impl Group for RaftGroup {
    fn shard(&self) -> ShardId {
        self.shard
    }

    fn propose(&self, command: Bytes) -> BoxFuture<'_, Result<Bytes, GroupError>> {
        self.propose_one(command).boxed()
    }

    fn read_barrier(&self) -> BoxFuture<'_, Result<(), GroupError>> {
        self.barrier.pass().boxed()
    }

    fn visit_state(&self, visit: &mut dyn FnMut(&dyn Read, i64)) -> Result<(), GroupError> {
        self.standing.check_running()?;
        let mut damage = None;
        let visited = self.state.visit(&mut |snapshot| {
            let noting = Noting::new(snapshot);
            // After the snapshot was taken. Not the last command's own stamp: an idle group's would stand still.
            let time_ms = self.clock.stamp().max(self.state.applied_time_ms());
            visit(&noting, time_ms);
            damage = noting.damage.into_inner();
        });
        self.judge(visited, damage)
    }

    fn visit_state_at(
        &self,
        index: u64,
        visit: &mut dyn FnMut(&dyn Read, u64),
    ) -> Result<(), GroupError> {
        self.standing.check_running()?;
        let mut damage = None;
        let visited = self.state.visit_at(index, ENTRY_MAX, &mut |snapshot, at| {
            let noting = Noting::new(snapshot);
            visit(&noting, at);
            damage = noting.damage.into_inner();
        });
        self.judge(visited, damage)
    }

    fn watch(&self) -> Watch {
        Watch::new(self.touched.subscribe())
    }

    fn status(&self) -> GroupStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let applied = self.state.applied();
        let superseded_by = self.standing.superseded_by();
        let role = match (self.standing.stop_cause(), metrics.state) {
            (Some(cause), _) => GroupRole::Stopped { cause },
            (None, ServerState::Leader) if superseded_by.is_some() => GroupRole::Follower,
            (None, ServerState::Leader) => GroupRole::Leader,
            (None, ServerState::Follower) => GroupRole::Follower,
            (None, ServerState::Candidate) => GroupRole::Candidate,
            (None, ServerState::Learner) => GroupRole::Learner,
            (None, ServerState::Shutdown) => GroupRole::Stopped {
                cause: "it is shut down".into(),
            },
        };
        let index = |id: Option<super::LogId>| id.map_or(0, |id| id.index);
        let members = metrics.committed_membership_config.membership();
        let effective = &metrics.membership_config;
        let changing = effective.membership().get_joint_config().len() > 1
            || **effective != *metrics.committed_membership_config;
        let progress = metrics.replication.iter().flatten();
        let progress = progress
            .filter(|(node, _)| **node != self.network.node().0)
            .map(|(node, matched)| Progress {
                node: *node,
                matched_index: index(*matched),
            });
        GroupStatus {
            shard: self.shard,
            role,
            leader: superseded_by.or(metrics.current_leader),
            term: metrics.vote.leader_id.term,
            voters: members.voter_ids().collect(),
            learners: members.learner_ids().collect(),
            led_for_ms: self
                .standing
                .led_for_ms()
                .filter(|_| superseded_by.is_none()),
            changing,
            progress: progress.collect(),
            last_index: metrics.last_log_index.unwrap_or(0),
            committed_index: index(metrics.local_committed),
            applied_index: index(applied.log_id),
            flushed_index: index(self.state.flushed().log_id),
            purged_index: index(metrics.purged),
            log_time_ms: applied.time_ms,
            in_flight_bytes: (self.in_flight_kib_max as usize)
                .saturating_sub(self.in_flight.available_permits())
                << 10,
        }
    }

    /// Without what else there is to a status: it is asked before every call.
    fn is_stopped(&self) -> bool {
        !self.is_running()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        async {
            self.shut_down.get_or_init(|| self.shut_down_once()).await;
        }
        .boxed()
    }
}

impl RaftGroup {
    async fn propose_one(&self, command: Bytes) -> Result<Bytes, GroupError> {
        if command.len() > COMMAND_BYTES_MAX {
            return Err(GroupError::TooLarge {
                len_bytes: command.len(),
                max_bytes: COMMAND_BYTES_MAX,
            });
        }
        self.standing.check_not_superseded()?;
        tokio::select! {
            biased;
            outcome = self.order(command) => outcome,
            // The log of this copy may hold it. Whether it is carried out the new leader decides.
            () = self.standing.superseded() => Err(GroupError::OutcomeUnknown),
        }
    }

    /// Has the group order a command, and carries it out.
    async fn order(&self, command: Bytes) -> Result<Bytes, GroupError> {
        let in_flight = Arc::clone(&self.in_flight);
        let Ok(permit) = in_flight.acquire_many_owned(in_flight_kib(&command)).await else {
            self.standing.check_running()?;
            return Err(GroupError::Stopped {
                cause: "it is shutting down".into(),
            });
        };
        self.standing.check_running()?;
        self.reserve.check(|| self.machine.makes_room(&command))?;
        let command = Command {
            time_ms: self.clock.stamp(),
            bytes: command,
        };
        let (told, answered) = oneshot::channel();
        let answer = Answer {
            told,
            _permit: permit,
        };
        if let Err(fatal) = self.raft.client_write_ff(command, Some(answer)).await {
            // It may have been taken before the engine stopped.
            tracing::debug!(%fatal, "a proposal met a stopped engine");
            return Err(GroupError::OutcomeUnknown);
        }
        match answered.await {
            Ok(Ok(done)) => Ok(done.data.0),
            Ok(Err(ClientWriteError::ForwardToLeader(to))) => Err(GroupError::NotLeader {
                leader: to.leader_id,
            }),
            // Taken into the log, and then another leader's log took its place here, or the engine stopped.
            Ok(Err(_)) | Err(_) => Err(GroupError::OutcomeUnknown),
        }
    }

    /// What became of a visit.
    fn judge(
        &self,
        visited: Result<(), KvError>,
        damage: Option<String>,
    ) -> Result<(), GroupError> {
        visited.map_err(|error| GroupError::Stopped {
            cause: error.to_string(),
        })?;
        match damage {
            // What was read is not to be believed, and another copy may have it right.
            Some(cause) => {
                self.stop(&cause);
                Err(GroupError::Stopped { cause })
            }
            None => Ok(()),
        }
    }

    async fn shut_down_once(&self) {
        // Proposals under way end first; new ones wait, and then hear that it is over.
        let drained =
            tokio::time::timeout(DRAIN, self.in_flight.acquire_many(self.in_flight_kib_max)).await;
        self.in_flight.close();
        drop(drained);
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(shard = %self.shard, %error, "the consensus engine did not end well");
        }
        self.standing.stop("it is shut down");
        let state = Arc::clone(&self.state);
        match run_blocking(move || state.close()).await {
            Ok(Ok(())) => {}
            // The log still holds it.
            Ok(Err(error)) => tracing::warn!(shard = %self.shard, %error, "the last flush failed"),
            Err(error) => tracing::warn!(shard = %self.shard, %error, "the last flush panicked"),
        }
    }
}

/// Passes reads on, and notes damage: whoever reads may take an error for its own.
struct Noting<'a> {
    read: &'a dyn Read,
    damage: RefCell<Option<String>>,
}

impl<'a> Noting<'a> {
    fn new(read: &'a dyn Read) -> Noting<'a> {
        let damage = RefCell::new(None);
        Noting { read, damage }
    }

    fn note<T>(&self, result: Result<T, KvError>) -> Result<T, KvError> {
        if let Err(KvError::Damaged(what)) = &result {
            self.damage.borrow_mut().get_or_insert_with(|| what.clone());
        }
        result
    }
}

impl Read for Noting<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.note(self.read.get(space, key))
    }

    fn scan(
        &self,
        space: Space,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        self.note(self.read.scan(space, start, end, direction, visit))
    }
}
