//! What a node answers whose log is damaged, until the others do without its copies.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_cluster::{DamagedNode, simulation::run_blocking};
use mailrook_store_api::Directory;
use mailrook_transport::{Duplex, Handler, Handlers};
use mailrook_types::{NodeId, ShardId};
use tokio::sync::Notify;

use crate::{
    desk::check_record,
    report::NodeReport,
    wire::{self, Ask},
};

/// Between two words about the wait.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Stands in for the [`Desk`](crate::Desk), and for the groups, which it has none of.
pub struct DamagedDesk {
    node: Arc<DamagedNode>,
    directory: Arc<dyn Directory>,
    dropped: Notify,
}

impl DamagedDesk {
    /// Of a node, and the directory as it is reached on others.
    pub fn new(node: Arc<DamagedNode>, directory: Arc<dyn Directory>) -> Arc<DamagedDesk> {
        Arc::new(DamagedDesk {
            node,
            directory,
            dropped: Notify::new(),
        })
    }

    /// What other nodes are answered with.
    pub fn handlers(self: &Arc<Self>) -> Handlers {
        let nothing: Arc<dyn Handler> = Arc::new(Nothing(Arc::clone(&self.node)));
        Handlers {
            consensus: Arc::clone(&nothing),
            store: Arc::clone(&nothing),
            control: Arc::new(Control(Arc::clone(self))),
            bulk: nothing,
        }
    }

    /// Waits until no group counts with a copy here.
    pub async fn released(&self) {
        tracing::error!(
            cause = self.node.cause(),
            "this node waits until the others do without its copies, and is then filled anew; until then nothing of it is changed"
        );
        loop {
            let dropped = self.dropped.notified();
            let left: Vec<ShardId> = self.node.copies().iter().map(|copy| copy.shard).collect();
            if left.is_empty() {
                return;
            }
            if tokio::time::timeout(TOLD_EVERY, dropped).await.is_err() {
                tracing::warn!(
                    ?left,
                    cause = self.node.cause(),
                    "groups still count with this node's copies: too few others can be reached, or have them"
                );
            }
        }
    }

    async fn answer(&self, request: Bytes) -> Result<Bytes, String> {
        match wire::read(&request)? {
            Ask::Report => Ok(wire::write(&self.report())),
            Ask::DropCopy(shard) | Ask::RemoveCopy(shard, _) => {
                let own = self.node.node_id();
                check_record(&*self.directory, own, shard, false).await?;
                let node = Arc::clone(&self.node);
                let dropped = run_blocking(move || node.drop_copy(shard)).await;
                let dropped = dropped.map_err(|error| error.to_string())?;
                dropped.map_err(|error| error.to_string())?;
                tracing::info!(%shard, "the group does without this node's copy");
                self.dropped.notify_one();
                Ok(wire::write(&()))
            }
            _ => Err(self.node.cause().to_owned()),
        }
    }

    fn report(&self) -> NodeReport {
        NodeReport {
            disk_full: false,
            disk_free_bytes: self.node.disk_free_bytes(),
            groups: self.node.copies(),
        }
    }
}

struct Control(Arc<DamagedDesk>);

impl Handler for Control {
    fn call(&self, _from: NodeId, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let desk = Arc::clone(&self.0);
        async move { desk.answer(request).await }.boxed()
    }

    fn open(&self, _from: NodeId, _request: Bytes, _stream: Duplex) -> BoxFuture<'static, ()> {
        // There are no streams of this class: who opens one sees it end.
        async {}.boxed()
    }
}

/// Says what is wrong, whatever is asked.
struct Nothing(Arc<DamagedNode>);

impl Handler for Nothing {
    fn call(&self, _from: NodeId, _request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let cause = self.0.cause().to_owned();
        async move { Err(cause) }.boxed()
    }

    fn open(&self, _from: NodeId, _request: Bytes, _stream: Duplex) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}
