//! Answers what the front ends of other nodes ask of the groups that this one leads.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_cluster::{Group, GroupError, Touched};
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
            // Whom this process takes for the leader, if it ever asked.
            let leader = self.inner.calls.leader(shard).map(|node| node.0);
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

/// Tells what `group` touches, and now and then that it lives.
async fn tell(group: &dyn Group, stream: Duplex) {
    let mut watch = group.watch();
    loop {
        let item = match tokio::time::timeout(HEARTBEAT, watch.next()).await {
            Ok(Some(Touched::Keys(keys))) if keys.len() <= KEYS_MAX => Told::Keys(keys.to_vec()),
            Ok(Some(_)) => Told::Everything,
            Ok(None) => return,
            // Only a leader with a quorum may say that nothing has happened.
            Err(_) => match group.read_barrier().await {
                Ok(()) => Told::Nothing,
                Err(GroupError::Timeout) => continue,
                Err(_) => return,
            },
        };
        let item = encode(&item).into();
        if stream.outgoing.send(item).await.is_err() {
            return;
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
