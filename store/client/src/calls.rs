//! One call to one group: sent, and sent again while the group cannot answer, until the deadline.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use mailrook_cluster::{Group, GroupError};
use mailrook_kv::{KvError, Read};
use mailrook_mailbox::{Answer, Query, ShardCommand, ShardReply};
use mailrook_meta::{MetaAnswer, MetaCommand, MetaOperation, MetaQuery, MetaReply};
use mailrook_store_api::StoreError;
use mailrook_types::{ShardId, Timestamp};
use tokio::time::Instant;

use crate::reads::{Beside, is_long, short};

/// The groups, and how long each call to them may take.
pub(crate) struct Calls {
    groups: BTreeMap<ShardId, Arc<dyn Group>>,
    deadline: Duration,
    beside: Beside,
}

/// The first wait before a call is repeated: an election takes tens of milliseconds.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// The longest wait before a call is repeated.
const BACKOFF_MAX: Duration = Duration::from_millis(250);

impl Calls {
    pub(crate) fn new(groups: BTreeMap<ShardId, Arc<dyn Group>>, deadline: Duration) -> Calls {
        Calls {
            groups,
            deadline,
            beside: Beside::default(),
        }
    }

    /// How long a call may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The shards known, without the meta group.
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardId> {
        self.groups
            .keys()
            .copied()
            .filter(|shard| *shard != ShardId::META)
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
        self.ask(shard, query, is_long(query), mailrook_mailbox::answer)
            .await
    }

    /// The time by which a shard says what has expired.
    pub(crate) async fn log_time(&self, shard: ShardId) -> Result<Timestamp, StoreError> {
        let group = self.group(shard)?;
        let time = || async {
            group.read_barrier().await?;
            group.read_at(|_state, time_ms| Timestamp(time_ms))
        };
        self.until_deadline(time).await
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
        let answer = |state: &dyn Read, _time_ms, query: &_| mailrook_meta::answer(state, query);
        self.ask(ShardId::META, query, false, answer).await
    }

    async fn propose(&self, shard: ShardId, command: Bytes) -> Result<Bytes, StoreError> {
        let group = self.group(shard)?;
        self.until_deadline(|| group.propose(command.clone())).await
    }

    /// Has `answer` answer `query` from the group's state: at once if that is short, beside this thread if not.
    async fn ask<Q, A>(
        &self,
        shard: ShardId,
        query: &Q,
        is_long: bool,
        answer: impl Fn(&dyn Read, i64, &Q) -> Result<A, KvError> + Copy + Send + 'static,
    ) -> Result<A, StoreError>
    where
        Q: Clone + Send + 'static,
        A: Send + 'static,
    {
        let group = self.group(shard)?;
        let answered = self.until_deadline(|| async {
            group.read_barrier().await?;
            if !is_long
                && let Some(answer) = group
                    .read_at(|state, time_ms| short(state, |state| answer(state, time_ms, query)))?
            {
                return Ok(answer);
            }
            let query = query.clone();
            let read = move |state: &dyn Read, time_ms| answer(state, time_ms, &query);
            self.beside.read(group, read).await
        });
        answered.await?.map_err(internal)
    }

    fn group(&self, shard: ShardId) -> Result<&Arc<dyn Group>, StoreError> {
        let unknown =
            || StoreError::Unavailable(format!("shard {shard} is not served by this process"));
        self.groups.get(&shard).ok_or_else(unknown)
    }

    /// Repeats `call` while its failure is a passing one.
    async fn until_deadline<T, F>(&self, call: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, GroupError>>,
    {
        let deadline = Instant::now() + self.deadline;
        let mut backoff = BACKOFF_MIN;
        loop {
            let error = match tokio::time::timeout_at(deadline, call()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_elapsed) => GroupError::Timeout,
            };
            match error {
                GroupError::TooLarge { .. } => {
                    return Err(StoreError::Unacceptable(error.to_string()));
                }
                // Waiting would only hold the caller up: room is made by people.
                GroupError::Full { .. } => return Err(StoreError::Full(error.to_string())),
                _ if Instant::now() + backoff >= deadline => {
                    return Err(StoreError::Unavailable(error.to_string()));
                }
                _ => {}
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }
}

fn internal(error: impl std::fmt::Display) -> StoreError {
    StoreError::Internal(error.to_string())
}
