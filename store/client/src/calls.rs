//! One call to one group: sent to its leader, wherever that is, and sent again while nobody answers, until the deadline.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use mailrook_cluster::{Group, GroupError};
use mailrook_kv::{KvError, Read, decode};
use mailrook_mailbox::{Answer, Query, ShardCommand, ShardReply};
use mailrook_meta::{MetaAnswer, MetaCommand, MetaOperation, MetaQuery, MetaReply};
use mailrook_store_api::StoreError;
use mailrook_transport::{CallError, Class, Duplex, Link};
use mailrook_types::{NodeId, ShardId, StallCause, Timestamp};
use tokio::time::Instant;

use crate::{
    reads::{Beside, is_long, short},
    routes::{Reach, Routes, Target},
    stalls::Held,
    wire::{self, Ask, Failure},
};

/// The groups, and how long each call to them may take.
pub(crate) struct Calls {
    routes: Routes,
    deadline: Duration,
    beside: Beside,
}

/// The first wait before a call is repeated: an election takes tens of milliseconds.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// The longest wait before a call is repeated: what an election's end may be noticed late by.
const BACKOFF_MAX: Duration = Duration::from_millis(50);
/// Where a leader is named, it is asked at once; but not for ever, should two name each other.
const REDIRECTS_MAX: u32 = 4;
/// How long the nodes of a cluster are given to find one whose disk is not full.
const FULL_PATIENCE: Duration = Duration::from_secs(5);
/// How long one try on another node may take. A proposal that waits longer is repeated, which does no harm.
const TRY_MAX: Duration = Duration::from_secs(5);

/// How often it is looked whether a node that was asked is still heard of.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Why a try gave no answer.
enum Failed {
    /// As the group said.
    Group(Failure),
    /// The node that was asked cannot be reached, or was lost on the way.
    Node(CallError),
    /// There is nobody to ask.
    Nobody,
}

impl From<GroupError> for Failed {
    fn from(error: GroupError) -> Failed {
        Failed::Group(error.into())
    }
}

impl Calls {
    pub(crate) fn new(reach: Reach, deadline: Duration) -> Calls {
        Calls {
            routes: Routes::new(reach),
            deadline,
            beside: Beside::default(),
        }
    }

    /// This process's copy of a group, unless it is stopped.
    pub(crate) fn copy(&self, shard: ShardId) -> Option<Arc<dyn Group>> {
        self.routes.copy(shard)
    }

    /// The other node that led a group when somebody last said so.
    pub(crate) fn led_elsewhere(&self, shard: ShardId) -> Option<NodeId> {
        let leader = self.routes.leader(shard)?;
        (leader != self.routes.reach.network.node()).then_some(leader)
    }

    /// Who leads a group, as far as this process has heard.
    pub(crate) fn leader(&self, shard: ShardId) -> Option<NodeId> {
        let by_copy = || Some(NodeId(self.copy(shard)?.status().leader?));
        self.routes.leader(shard).or_else(by_copy)
    }

    /// How often each group had another leader than before, as far as was heard of it here.
    pub(crate) fn leader_changes(&self) -> Vec<(ShardId, u64)> {
        self.routes.leader_changes()
    }

    /// A stream of what a group touches, from another node.
    pub(crate) fn open_watch(&self, shard: ShardId) -> Option<Duplex> {
        let leader = self.routes.leader(shard);
        let Some(Target::There(node)) = self.routes.target(shard, leader) else {
            return None;
        };
        let request = wire::request(shard, Ask::Watch, &[]);
        let opened = self.routes.reach.network.open(node, Class::Store, request);
        if opened.is_err() {
            self.routes.note(shard, None);
        }
        opened.ok()
    }

    /// How long a call may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Has a shard carry out `command`. The command is idempotent by its operation id, or by its nature.
    pub(crate) async fn shard_command(
        &self,
        shard: ShardId,
        command: &ShardCommand,
    ) -> Result<ShardReply, StoreError> {
        let reply = self.propose(shard, command.encode().into()).await?;
        ShardReply::decode(&reply).map_err(internal)
    }

    /// Asks a shard.
    pub(crate) async fn shard_query(
        &self,
        shard: ShardId,
        query: &Query,
    ) -> Result<Answer, StoreError> {
        // By the log's time, as what is applied: this machine's clock may have been set.
        let here = |group| async move { answer_shard(self, &group, query).await };
        let there = || wire::request(shard, Ask::Query, &query.encode());
        self.ask(shard, here, there, Answer::decode).await
    }

    /// The time by which a shard says what has expired.
    pub(crate) async fn log_time(&self, shard: ShardId) -> Result<Timestamp, StoreError> {
        let here = |group: Arc<dyn Group>| async move {
            group.read_barrier().await?;
            group.read_at(|_state, time_ms| Ok(time_ms))
        };
        let there = || wire::request(shard, Ask::Time, &[]);
        let time_ms = self.ask(shard, here, there, decode::<i64>).await?;
        Ok(Timestamp(time_ms))
    }

    /// Has the meta group carry out `operation`, once.
    pub(crate) async fn meta_operation(
        &self,
        operation: &MetaOperation,
    ) -> Result<MetaReply, StoreError> {
        let reply = self
            .propose(ShardId::META, operation.encode().into())
            .await?;
        MetaReply::decode(&reply).map_err(internal)
    }

    /// Has the meta group carry out `command`, which is idempotent by its nature.
    pub(crate) async fn meta_command(
        &self,
        command: &MetaCommand,
    ) -> Result<MetaReply, StoreError> {
        let reply = self.propose(ShardId::META, command.encode().into()).await?;
        MetaReply::decode(&reply).map_err(internal)
    }

    /// Asks the meta group.
    pub(crate) async fn meta_query(&self, query: &MetaQuery) -> Result<MetaAnswer, StoreError> {
        let here = |group| async move { answer_meta(self, &group, query).await };
        let there = || wire::request(ShardId::META, Ask::Query, &query.encode());
        self.ask(ShardId::META, here, there, MetaAnswer::decode)
            .await
    }

    async fn propose(&self, shard: ShardId, command: Bytes) -> Result<Bytes, StoreError> {
        let command = &command;
        let attempt = |target| async move {
            match target {
                Target::Here(group) => Ok(group.propose(command.clone()).await?),
                Target::There(node) => {
                    let request = wire::request(shard, Ask::Propose, command);
                    self.call(node, request).await
                }
            }
        };
        self.until_deadline(shard, attempt).await
    }

    /// Asks the group's leader: `here`, if that is this process, or by the request that `there` makes.
    async fn ask<A, E: std::fmt::Display, F>(
        &self,
        shard: ShardId,
        here: impl Fn(Arc<dyn Group>) -> F,
        there: impl Fn() -> Bytes,
        read: impl Fn(&[u8]) -> Result<A, E>,
    ) -> Result<A, StoreError>
    where
        F: Future<Output = Result<Result<A, KvError>, GroupError>>,
    {
        let (here, there, read) = (&here, &there, &read);
        let attempt = |target| async move {
            match target {
                Target::Here(group) => Ok(here(group).await?),
                Target::There(node) => {
                    let reply = self.call(node, there()).await?;
                    Ok(read(&reply).map_err(|error| KvError::Engine(error.to_string())))
                }
            }
        };
        self.until_deadline(shard, attempt).await?.map_err(internal)
    }

    /// One try on another node.
    async fn call(&self, node: NodeId, request: Bytes) -> Result<Bytes, Failed> {
        wire::require_sendable("request", &request).map_err(Failed::Group)?;
        let deadline = Instant::now() + TRY_MAX;
        let network = &self.routes.reach.network;
        let mut call = network.call(node, Class::Store, request, deadline);
        loop {
            if let Ok(reply) = tokio::time::timeout(LOOK_EVERY, &mut call).await {
                return wire::read_reply(reply.map_err(Failed::Node)?).map_err(Failed::Group);
            }
            // A machine that is cut off or paused closes no connection.
            if network.link(node) == Link::Silent {
                return Err(Failed::Node(CallError::Lost {
                    to: node,
                    cause: "nothing is heard of it".to_owned(),
                }));
            }
        }
    }

    /// Repeats `attempt`, with whoever is to be asked now, while its failure is a passing one.
    async fn until_deadline<T, F>(
        &self,
        shard: ShardId,
        attempt: impl Fn(Target) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let begun = Instant::now();
        let deadline = begun + self.deadline;
        let mut backoff = BACKOFF_MIN;
        let mut redirects = 0;
        // Tells the session when the call has come to its end.
        let mut held = None;
        loop {
            let leader = self.routes.leader(shard);
            let target = self.routes.target(shard, leader);
            let node = target.as_ref().map(|target| self.node_of(target));
            let failed = match target {
                None => Failed::Nobody,
                Some(target) => match tokio::time::timeout_at(deadline, attempt(target)).await {
                    Ok(Ok(answer)) => {
                        self.answered(shard, node, leader, &mut held);
                        return Ok(answer);
                    }
                    Ok(Err(failed)) => failed,
                    Err(_elapsed) => Failed::Group(Failure::Timeout),
                },
            };
            if held.is_none() {
                held = self.hold(shard, begun);
            }
            let here = node == Some(self.routes.reach.network.node());
            let redirected = self.learn(shard, &failed, here);
            let may_pass = failed.may_pass(begun.elapsed(), self.is_alone(shard));
            if !may_pass || Instant::now() + backoff >= deadline {
                return Err(failed.into());
            }
            if let Some(held) = &mut held {
                held.again();
            }
            if redirected && redirects < REDIRECTS_MAX {
                redirects += 1;
                continue;
            }
            redirects = 0;
            if let Some(held) = &mut held {
                held.waited();
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    fn node_of(&self, target: &Target) -> NodeId {
        match target {
            Target::Here(_) => self.routes.reach.network.node(),
            Target::There(node) => *node,
        }
    }

    /// A call is to be asked again. On the heap, as hardly any call needs it.
    fn hold(&self, shard: ShardId, begun: Instant) -> Option<Box<Held>> {
        let leader_before = self.routes.last_leader(shard);
        Held::new(StallCause::FailOver, begun, shard, leader_before).map(Box::new)
    }

    /// Who answers leads.
    fn answered(
        &self,
        shard: ShardId,
        by: Option<NodeId>,
        known: Option<NodeId>,
        held: &mut Option<Box<Held>>,
    ) {
        if by != known {
            self.routes.note(shard, by);
        }
        if let (Some(held), Some(by)) = (held, by) {
            held.answered(by);
        }
    }

    /// What a failure says of the leader. Says whether another one is named.
    fn learn(&self, shard: ShardId, failed: &Failed, here: bool) -> bool {
        match failed {
            Failed::Group(Failure::NotLeader { leader })
                if here && !self.routes.hear_own_copy(shard, leader.map(NodeId)) =>
            {
                self.routes.note(shard, None)
            }
            Failed::Group(Failure::NotLeader { leader }) => {
                self.routes.note(shard, leader.map(NodeId))
            }
            // Somebody else may lead by now, or soon.
            _ => self.routes.note(shard, None),
        }
    }

    /// Whether nobody else could answer in the place of this process's copy.
    fn is_alone(&self, shard: ShardId) -> bool {
        self.copy(shard)
            .is_some_and(|copy| copy.status().voters.len() <= 1)
    }
}

impl Failed {
    fn may_pass(&self, waited: Duration, alone: bool) -> bool {
        match self {
            Failed::Group(Failure::TooLarge { .. } | Failure::Internal(_)) => false,
            // Room is made by people: where no other node may have some, waiting would only hold the caller up.
            Failed::Group(Failure::Full { .. }) => !alone && waited < FULL_PATIENCE,
            Failed::Group(_) | Failed::Node(_) | Failed::Nobody => true,
        }
    }
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> StoreError {
        let failure = match failed {
            Failed::Node(error) => return StoreError::Unavailable(error.to_string()),
            Failed::Nobody => {
                return StoreError::Unavailable("no node is known that has the shard".to_owned());
            }
            Failed::Group(failure) => failure,
        };
        let text = failure.to_string();
        match failure {
            Failure::TooLarge { .. } => StoreError::Unacceptable(text),
            Failure::Full { .. } => StoreError::Full(text),
            Failure::Internal(_) => StoreError::Internal(text),
            _ => StoreError::Unavailable(text),
        }
    }
}

/// Answers a question to a shard from this process's copy, which must lead.
pub(crate) async fn answer_shard(
    calls: &Calls,
    group: &Arc<dyn Group>,
    query: &Query,
) -> Result<Result<Answer, KvError>, GroupError> {
    read(
        &calls.beside,
        group,
        query,
        is_long(query),
        mailrook_mailbox::answer,
    )
    .await
}

/// The same for the meta group.
pub(crate) async fn answer_meta(
    calls: &Calls,
    group: &Arc<dyn Group>,
    query: &MetaQuery,
) -> Result<Result<MetaAnswer, KvError>, GroupError> {
    read(&calls.beside, group, query, false, mailrook_meta::answer).await
}

/// Has `answer` answer `query` from the group's state: at once if that is short, beside this thread if not.
async fn read<Q, A>(
    beside: &Beside,
    group: &Arc<dyn Group>,
    query: &Q,
    is_long: bool,
    answer: impl Fn(&dyn Read, i64, &Q) -> Result<A, KvError> + Copy + Send + 'static,
) -> Result<Result<A, KvError>, GroupError>
where
    Q: Clone + Send + 'static,
    A: Send + 'static,
{
    group.read_barrier().await?;
    if !is_long
        && let Some(answer) =
            group.read_at(|state, time_ms| short(state, |state| answer(state, time_ms, query)))?
    {
        return Ok(answer);
    }
    let query = query.clone();
    beside
        .read(group, move |state: &dyn Read, time_ms| {
            answer(state, time_ms, &query)
        })
        .await
}

pub(crate) fn internal(error: impl std::fmt::Display) -> StoreError {
    StoreError::Internal(error.to_string())
}
