//! Answers what the front ends of other nodes ask of the groups that this one leads.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_cluster::{Group, GroupError, Touched, Watch};
use mailrook_kv::encode;
use mailrook_mailbox::Query;
use mailrook_meta::MetaQuery;
use mailrook_transport::{Duplex, Handler};
use mailrook_types::{NodeId, ShardId};

use crate::{
    Client,
    calls::{answer_meta, answer_shard},
    wire::{Ask, Failure, read_request, reply},
};

/// Between signs of life on a stream of what is touched.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);

/// Keys in one item of a stream of what is touched; more are told as "everything".
const KEYS_MAX: usize = 4096;

/// See [`Client::handler`].
struct Serving(Client);

impl Client {
    /// What answers other nodes' front ends: for [`Class::Store`](mailrook_transport::Class::Store).
    pub fn handler(&self) -> Arc<dyn Handler> {
        Arc::new(Serving(self.clone()))
    }

    async fn serve(&self, request: Bytes) -> Result<Bytes, Failure> {
        let (shard, ask, body) = read_request(request).map_err(Failure::Internal)?;
        let Some(group) = self.inner.calls.copy(shard) else {
            // Whom this process takes for the leader, if it ever asked. Not itself, whatever others say: they would ask on here.
            let leader = self.inner.calls.led_elsewhere(shard).map(|node| node.0);
            return Err(Failure::NotLeader { leader });
        };
        match ask {
            Ask::Propose => Ok(group.propose(body).await?),
            Ask::Time => {
                group.read_barrier().await?;
                let time_ms = group.read_at(|_state, time_ms| time_ms)?;
                Ok(encode(&time_ms).into())
            }
            Ask::Query if shard == ShardId::META => {
                let query = MetaQuery::decode(&body).map_err(internal)?;
                let answer = answer_meta(&self.inner.calls, &group, &query).await?;
                Ok(answer.map_err(internal)?.encode().into())
            }
            Ask::Query => {
                let query = Query::decode(&body).map_err(internal)?;
                let answer = answer_shard(&self.inner.calls, &group, &query).await?;
                Ok(answer.map_err(internal)?.encode().into())
            }
            Ask::Watch => Err(Failure::Internal(
                "what is touched comes in a stream".into(),
            )),
        }
    }
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::Internal(error.to_string())
}

impl Handler for Serving {
    fn call(&self, _from: NodeId, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let client = self.0.clone();
        async move { Ok(reply(client.serve(request).await)) }.boxed()
    }

    fn open(&self, _from: NodeId, request: Bytes, stream: Duplex) -> BoxFuture<'static, ()> {
        let client = self.0.clone();
        async move {
            let group = match read_request(request) {
                Ok((shard, Ask::Watch, _)) => client.inner.calls.copy(shard),
                _ => None,
            };
            if let Some(group) = group {
                tell(&*group, stream).await;
            }
        }
        .boxed()
    }
}

/// Tells what `group` touches, and now and then that it lives, until nobody listens.
async fn tell(group: &dyn Group, stream: Duplex) {
    let mut watch = group.watch();
    // Whoever listens asked before the watch began, and does not know what was touched between.
    let mut item = Told::Everything;
    loop {
        if stream.outgoing.send(encode(&item).into()).await.is_err() {
            return;
        }
        let next = tokio::select! {
            next = next_told(group, &mut watch) => next,
            // Without a quorum there may be nothing to send for long.
            () = stream.outgoing.closed() => return,
        };
        match next {
            Some(next) => item = next,
            None => return,
        }
    }
}

/// What to tell next; `None` once the group has nothing to tell any more.
async fn next_told(group: &dyn Group, watch: &mut Watch) -> Option<Told> {
    loop {
        match tokio::time::timeout(HEARTBEAT, watch.next()).await {
            Ok(Some(Touched::Keys(keys))) if keys.len() <= KEYS_MAX => {
                return Some(Told::Keys(keys.to_vec()));
            }
            Ok(Some(_)) => return Some(Told::Everything),
            Ok(None) => return None,
            // Only a leader with a quorum may say that nothing has happened.
            Err(_) => match group.read_barrier().await {
                Ok(()) => return Some(Told::Nothing),
                Err(GroupError::Timeout) => {}
                Err(_) => return None,
            },
        }
    }
}

/// An item of a stream of what is touched. In bytes only ever appended to.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) enum Told {
    Nothing,
    Keys(Vec<(u64, u64)>),
    Everything,
}

#[cfg(test)]
mod tests {
    use mailrook_cluster::GroupStatus;
    use mailrook_kv::{Read, decode};
    use tokio::sync::{broadcast, mpsc};

    use super::*;

    /// A group without a quorum.
    struct Lonely(broadcast::Sender<Touched>);

    impl Group for Lonely {
        fn shard(&self) -> ShardId {
            ShardId(1)
        }

        fn propose(&self, _command: Bytes) -> BoxFuture<'_, Result<Bytes, GroupError>> {
            unreachable!("nobody proposes")
        }

        fn read_barrier(&self) -> BoxFuture<'_, Result<(), GroupError>> {
            async { Err(GroupError::Timeout) }.boxed()
        }

        fn visit_state(&self, _visit: &mut dyn FnMut(&dyn Read, i64)) -> Result<(), GroupError> {
            unreachable!("nobody reads")
        }

        fn visit_state_at(
            &self,
            _index: u64,
            _visit: &mut dyn FnMut(&dyn Read, u64),
        ) -> Result<(), GroupError> {
            unreachable!("nobody compares")
        }

        fn watch(&self) -> Watch {
            Watch::new(self.0.subscribe())
        }

        fn status(&self) -> GroupStatus {
            unreachable!("nobody asks how it fares")
        }

        fn shutdown(&self) -> BoxFuture<'_, ()> {
            unreachable!("nobody stops it")
        }
    }

    #[tokio::test]
    async fn a_stream_says_first_that_anything_may_have_been_touched() {
        let group = Lonely(broadcast::Sender::new(8));
        let (outgoing, mut told) = mpsc::channel(8);
        let (_silent, incoming) = mpsc::channel(1);
        let telling = tell(&group, Duplex { outgoing, incoming });
        let hearing = async {
            let mut next = async || decode(&told.recv().await.unwrap()).unwrap();
            assert!(matches!(next().await, Told::Everything));
            group.0.send(Touched::Keys(Arc::new([(1, 2)]))).unwrap();
            assert!(matches!(next().await, Told::Keys(keys) if keys == [(1, 2)]));
            drop(told);
        };
        tokio::join!(telling, hearing);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_quorum_a_stream_ends_with_its_listener() {
        let group = Lonely(broadcast::Sender::new(8));
        let (outgoing, mut told) = mpsc::channel(8);
        let (_silent, incoming) = mpsc::channel(1);
        let telling = tell(&group, Duplex { outgoing, incoming });
        let listening = async {
            told.recv().await.unwrap();
            tokio::time::sleep(3 * HEARTBEAT).await;
            drop(told);
        };
        let both = async { tokio::join!(telling, listening) };
        // Of paused time, which passes as soon as nothing else is to be done.
        let ended = tokio::time::timeout(100 * HEARTBEAT, both).await;
        assert!(ended.is_ok(), "it tells nobody");
    }
}
