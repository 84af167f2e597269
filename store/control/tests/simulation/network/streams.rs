//! Streams between two nodes.

use std::sync::Arc;

use bytes::Bytes;
use mailrook_transport::{Class, Duplex, STREAM_ITEMS_MAX};
use mailrook_types::NodeId;
use tokio::sync::{Notify, mpsc};

use super::{Present, SimNet, What};

/// One side of a stream, as the network knows it.
struct Side {
    /// To what it has not taken yet; none once the other side sends nothing more.
    inbox: Option<mpsc::UnboundedSender<Bytes>>,
    /// Told when the other side takes nothing more.
    stop: Arc<Notify>,
    /// When the last item that it sent arrives.
    last_ms: u64,
}

/// A stream.
pub(super) struct Stream {
    pub(super) opener: NodeId,
    pub(super) server: NodeId,
    sides: [Side; 2],
}

impl Stream {
    fn side(&mut self, node: NodeId) -> &mut Side {
        &mut self.sides[usize::from(node != self.opener)]
    }

    /// When what `from` sends arrives: not before what it sent before.
    pub(super) fn in_order(&mut self, from: NodeId, at_ms: u64) -> u64 {
        let side = self.side(from);
        side.last_ms = side.last_ms.max(at_ms);
        side.last_ms
    }

    /// The connection broke.
    pub(super) fn break_off(&mut self) {
        for side in &mut self.sides {
            side.inbox = None;
            side.stop.notify_one();
        }
    }
}

/// What one side's tasks work with.
struct Ends {
    stop: Arc<Notify>,
    inbox: mpsc::UnboundedReceiver<Bytes>,
}

impl SimNet {
    /// Opens a stream, on the runtime of the caller.
    pub(super) fn open(&self, from: NodeId, to: NodeId, class: Class, request: Bytes) -> Duplex {
        let (to_opener, inbox) = mpsc::unbounded_channel();
        let stop = Arc::new(Notify::new());
        let side = |inbox, stop| Side {
            inbox,
            stop,
            last_ms: 0,
        };
        let stream = Stream {
            opener: from,
            server: to,
            sides: [
                side(Some(to_opener), stop.clone()),
                side(None, Arc::default()),
            ],
        };
        let mut inner = self.inner.lock();
        let number = inner.number();
        inner.streams.insert(number, stream);
        inner.send(from, to, What::Open(number, class, request));
        drop(inner);
        self.carry((number, from, to), Ends { stop, inbox }, tokio::spawn)
    }

    /// The other side hears of it.
    pub(super) fn opened(
        &self,
        number: u64,
        (from, to): (NodeId, NodeId),
        class: Class,
        request: Bytes,
    ) {
        let mut inner = self.inner.lock();
        let Some(Present {
            handlers, handle, ..
        }) = inner.nodes.get(&to)
        else {
            return;
        };
        let (handler, handle) = (handlers.of(class).clone(), handle.clone());
        let (to_server, inbox) = mpsc::unbounded_channel();
        let Some(stream) = inner.streams.get_mut(&number) else {
            return;
        };
        let side = stream.side(to);
        side.inbox = Some(to_server);
        let ends = Ends {
            stop: side.stop.clone(),
            inbox,
        };
        drop(inner);
        let spawn = handle.clone();
        let duplex = self.carry((number, to, from), ends, |task| spawn.spawn(task));
        handle.spawn(async move { handler.open(from, request, duplex).await });
    }

    /// Starts what carries items from and to `here`.
    fn carry(
        &self,
        (number, here, there): (u64, NodeId, NodeId),
        ends: Ends,
        spawn: impl Fn(futures::future::BoxFuture<'static, ()>) -> tokio::task::JoinHandle<()>,
    ) -> Duplex {
        let (outgoing, sent) = mpsc::channel(STREAM_ITEMS_MAX);
        let (taken, incoming) = mpsc::channel(STREAM_ITEMS_MAX);
        let Ends { stop, inbox } = ends;
        spawn(Box::pin(self.clone().send_items(
            (number, here, there),
            sent,
            stop,
        )));
        spawn(Box::pin(self.clone().take_items(
            (number, here, there),
            inbox,
            taken,
        )));
        Duplex { outgoing, incoming }
    }

    async fn send_items(
        self,
        (number, here, there): (u64, NodeId, NodeId),
        mut sent: mpsc::Receiver<Bytes>,
        stop: Arc<Notify>,
    ) {
        loop {
            let item = tokio::select! {
                biased;
                () = stop.notified() => return,
                item = sent.recv() => item,
            };
            let mut inner = self.inner.lock();
            if !inner.streams.contains_key(&number) {
                return;
            }
            match item {
                Some(item) => inner.send(here, there, What::Item(number, item)),
                None => return inner.send(here, there, What::End(number)),
            }
        }
    }

    async fn take_items(
        self,
        (number, here, there): (u64, NodeId, NodeId),
        mut inbox: mpsc::UnboundedReceiver<Bytes>,
        taken: mpsc::Sender<Bytes>,
    ) {
        loop {
            let item = tokio::select! {
                biased;
                () = taken.closed() => None,
                item = inbox.recv() => match item {
                    Some(item) => Some(item),
                    // It ended, or broke.
                    None => return,
                },
            };
            if let Some(item) = item
                && taken.send(item).await.is_ok()
            {
                continue;
            }
            let mut inner = self.inner.lock();
            if inner.streams.contains_key(&number) {
                inner.send(here, there, What::Stop(number));
            }
            return;
        }
    }

    pub(super) fn item(&self, number: u64, to: NodeId, item: Bytes) {
        let mut inner = self.inner.lock();
        if let Some(stream) = inner.streams.get_mut(&number)
            && let Some(inbox) = &stream.side(to).inbox
        {
            // Who takes nothing more says so itself.
            let _ = inbox.send(item);
        }
    }

    pub(super) fn ended(&self, number: u64, to: NodeId) {
        if let Some(stream) = self.inner.lock().streams.get_mut(&number) {
            stream.side(to).inbox = None;
        }
    }

    pub(super) fn stopped(&self, number: u64, to: NodeId) {
        if let Some(stream) = self.inner.lock().streams.get_mut(&number) {
            stream.side(to).stop.notify_one();
        }
    }
}
