//! What other nodes ask of this one's groups.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_transport::{Duplex, Handler};
use mailrook_types::NodeId;

use super::{Inner, Node, takeover};
use crate::group::raft::wire;

/// Answers [`Class::Consensus`](mailrook_transport::Class::Consensus).
struct Consensus(Weak<Inner>);

/// Answers [`Class::Bulk`](mailrook_transport::Class::Bulk).
struct Bulk(Weak<Inner>);

impl Node {
    /// What answers other nodes' groups.
    pub fn consensus_handler(&self) -> Arc<dyn Handler> {
        Arc::new(Consensus(Arc::downgrade(&self.inner)))
    }

    /// What takes snapshots.
    pub fn bulk_handler(&self) -> Arc<dyn Handler> {
        Arc::new(Bulk(Arc::downgrade(&self.inner)))
    }
}

const CLOSED: &str = "the node is closed";

impl Handler for Consensus {
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let inner = self.0.upgrade();
        async move {
            let inner = inner.ok_or(CLOSED)?;
            if takeover::is_report(&request) {
                return inner.take_report(from, &request).await;
            }
            let (shard, body) = wire::split(request).map_err(|error| error.to_string())?;
            match inner.group(shard) {
                Some(_) if matches!(wire::read_ask(&body), Ok((wire::Ask::WouldLead, _))) => {
                    Ok(wire::reply(&wire::Told::WouldLead(inner.would_take_over())))
                }
                Some(group) => group.answer(from, body).await,
                None => Err(format!("there is no copy of group {shard} here")),
            }
        }
        .boxed()
    }

    fn open(&self, from: NodeId, request: Bytes, stream: Duplex) -> BoxFuture<'static, ()> {
        let inner = self.0.upgrade();
        async move {
            let (Some(inner), Ok((shard, _))) = (inner, wire::split(request)) else {
                return;
            };
            let group = inner.group(shard);
            // The stream may last as long as the leader does: it does not keep the node.
            drop(inner);
            if let Some(group) = group {
                group.take_entries(from, stream).await;
            }
        }
        .boxed()
    }
}

impl Handler for Bulk {
    fn call(&self, _from: NodeId, _request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        async { Err("snapshots come as streams".to_owned()) }.boxed()
    }

    fn open(&self, from: NodeId, request: Bytes, stream: Duplex) -> BoxFuture<'static, ()> {
        let inner = self.0.upgrade();
        async move {
            let (Some(inner), Ok((shard, offer))) = (inner, wire::split(request)) else {
                return;
            };
            if let Some(group) = inner.group(shard) {
                group.receive_snapshot(from, offer, stream).await;
            }
        }
        .boxed()
    }
}
