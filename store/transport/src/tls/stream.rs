//! One stream of a connection, seen from one of its ends.
//!
//! Each direction has a window of items and bytes. The sender waits when it is used up; the receiver gives credit as the
//! consumer takes items, many at once. So a stream whose consumer is slow holds back its own sender, and nothing else of the
//! connection.

use std::sync::{Arc, atomic::Ordering};

use bytes::{Buf, BufMut, Bytes};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::{
    connection::{Connection, Violation},
    frame::{Frame, Kind},
};
use crate::{Duplex, ITEM_BYTES_MAX, STREAM_ITEMS_MAX};

/// Items and bytes of one direction that were sent and not yet taken. While less than this is used, one more item may go,
/// however long it is.
const WINDOW: Load = Load {
    items: STREAM_ITEMS_MAX as u32,
    bytes: 4 << 20,
};

/// Credit for less than this waits for more. Who waits for credit has used far more, and all of that is taken at some time,
/// so that nobody waits for ever.
const CREDIT_MIN: Load = Load {
    items: WINDOW.items / 4,
    bytes: WINDOW.bytes / 4,
};

/// Items between us and the consumer on top of the window: it could not be told whether they were taken.
const TAKEN_ITEMS_MAX: usize = 1;

/// The same on the producer's side: few, as they may be large.
const PRODUCED_ITEMS_MAX: usize = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    items: u32,
    bytes: u32,
}

impl Load {
    fn of(item: &Bytes) -> Load {
        // Longer ones are refused before, by the decoder or by `send`.
        let bytes = item.len() as u32;
        Load { items: 1, bytes }
    }

    fn plus(self, more: Load) -> Option<Load> {
        Some(Load {
            items: self.items.checked_add(more.items)?,
            bytes: self.bytes.checked_add(more.bytes)?,
        })
    }

    fn minus(self, less: Load) -> Option<Load> {
        Some(Load {
            items: self.items.checked_sub(less.items)?,
            bytes: self.bytes.checked_sub(less.bytes)?,
        })
    }

    /// With one more item, if the window is not used up.
    fn with(self, item: Load) -> Option<Load> {
        let open = self.items < WINDOW.items && self.bytes < WINDOW.bytes;
        open.then(|| self.plus(item))?
    }
}

/// What the connection knows of a stream.
pub(crate) struct StreamEnd {
    sending: Mutex<Sending>,
    /// Tells of credit, and of the end.
    changed: Notify,
    /// None once there will be no more items, or nobody wants them.
    receiving: Mutex<Option<Receiving>>,
}

#[derive(Default)]
struct Sending {
    used: Load,
    stopped: bool,
}

struct Receiving {
    used: Load,
    to: mpsc::UnboundedSender<Bytes>,
}

/// The ends of the channels that the user does not hold.
pub(crate) struct Inner {
    from_user: mpsc::Receiver<Bytes>,
    to_user: mpsc::Sender<Bytes>,
}

/// The channels between a user and a stream.
pub(crate) fn channels() -> (Duplex, Inner) {
    let (outgoing, from_user) = mpsc::channel(PRODUCED_ITEMS_MAX);
    let (to_user, incoming) = mpsc::channel(TAKEN_ITEMS_MAX);
    (Duplex { outgoing, incoming }, Inner { from_user, to_user })
}

impl StreamEnd {
    /// With what arrives: bounded by the window.
    pub(crate) fn new() -> (Arc<StreamEnd>, mpsc::UnboundedReceiver<Bytes>) {
        let (to, arriving) = mpsc::unbounded_channel();
        let used = Load::default();
        let end = StreamEnd {
            sending: Mutex::default(),
            changed: Notify::new(),
            receiving: Mutex::new(Some(Receiving { used, to })),
        };
        (Arc::new(end), arriving)
    }

    /// An item came. True if it waits to be taken now.
    pub(crate) fn arrived(&self, item: Bytes) -> Result<bool, Violation> {
        let mut receiving = self.receiving.lock();
        let Some(receiving) = receiving.as_mut() else {
            // It was sent before the other side heard that nobody wants it.
            return Ok(false);
        };
        let used = receiving.used.with(Load::of(&item));
        receiving.used = used.ok_or(Violation("items beyond the window of a stream"))?;
        Ok(receiving.to.send(item).is_ok())
    }

    /// The other side sends no more.
    pub(crate) fn arrived_end(&self) {
        *self.receiving.lock() = None;
    }

    /// The other side has taken items.
    pub(crate) fn arrived_credit(&self, mut body: Bytes) -> Result<(), Violation> {
        const MALFORMED: Violation = Violation("a malformed credit");
        let (Ok(items), Ok(bytes)) = (body.try_get_u32(), body.try_get_u32()) else {
            return Err(MALFORMED);
        };
        let mut sending = self.sending.lock();
        let used = sending.used.minus(Load { items, bytes });
        sending.used = used.ok_or(Violation("credit for more than was sent"))?;
        drop(sending);
        self.changed.notify_one();
        Ok(())
    }

    /// The other side wants no more.
    pub(crate) fn arrived_cancel(&self) {
        self.sending.lock().stopped = true;
        self.changed.notify_one();
    }

    /// The connection has ended.
    pub(crate) fn break_off(&self) {
        self.arrived_end();
        self.arrived_cancel();
    }

    /// Waits until an item may be sent; false if none may be any more.
    async fn window_for(&self, item: Load) -> bool {
        loop {
            {
                let mut sending = self.sending.lock();
                if sending.stopped {
                    return false;
                }
                if let Some(used) = sending.used.with(item) {
                    sending.used = used;
                    return true;
                }
            }
            self.changed.notified().await;
        }
    }

    async fn stopped(&self) {
        while !self.sending.lock().stopped {
            self.changed.notified().await;
        }
    }

    fn taken(&self, load: Load) {
        if let Some(receiving) = self.receiving.lock().as_mut() {
            // It is part of what arrived.
            receiving.used = receiving.used.minus(load).unwrap_or_default();
        }
    }
}

/// A stream while it is carried.
pub(crate) struct Carried<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) id: u64,
    pub(crate) end: &'a StreamEnd,
}

impl Carried<'_> {
    /// Until both directions have ended.
    pub(crate) async fn run(&self, arriving: mpsc::UnboundedReceiver<Bytes>, inner: Inner) {
        let sending = self.send(inner.from_user);
        let receiving = self.receive(arriving, inner.to_user);
        tokio::join!(sending, receiving);
    }

    async fn send(&self, mut from_user: mpsc::Receiver<Bytes>) {
        loop {
            let item = tokio::select! {
                item = from_user.recv() => item,
                () = self.end.stopped() => return,
            };
            let Some(item) = item else {
                return self.push(Kind::End, Bytes::new()).await;
            };
            if item.len() > ITEM_BYTES_MAX {
                let (peer, bytes) = (self.connection.peer(), item.len());
                tracing::warn!(%peer, bytes, max = ITEM_BYTES_MAX, "an item is too long, its stream ends");
                return self.push(Kind::End, Bytes::new()).await;
            }
            if !self.end.window_for(Load::of(&item)).await {
                return;
            }
            let Ok(room) = self.connection.outbox.room_for(item.len()).await else {
                return;
            };
            let frame = Frame::new(Kind::Item, self.id, item);
            self.connection.outbox.push(frame, Some(room));
        }
    }

    async fn receive(
        &self,
        mut arriving: mpsc::UnboundedReceiver<Bytes>,
        to_user: mpsc::Sender<Bytes>,
    ) {
        let mut owed = Load::default();
        loop {
            if owed.items >= CREDIT_MIN.items || owed.bytes >= CREDIT_MIN.bytes {
                self.give_credit(&mut owed).await;
            }
            let item = tokio::select! {
                item = arriving.recv() => item,
                () = to_user.closed() => break,
            };
            let Some(item) = item else {
                return;
            };
            let load = Load::of(&item);
            let sent = to_user.send(item).await;
            self.connection
                .buffered
                .fetch_sub(load.bytes as usize, Ordering::Relaxed);
            if sent.is_err() {
                break;
            }
            // Both are bounded by the window and one item, far below an overflow.
            owed = owed.plus(load).unwrap_or(owed);
        }
        self.want_no_more(arriving).await;
    }

    async fn give_credit(&self, owed: &mut Load) {
        self.end.taken(*owed);
        let mut body = Vec::with_capacity(8);
        body.put_u32(owed.items);
        body.put_u32(owed.bytes);
        self.push(Kind::Credit, body.into()).await;
        *owed = Load::default();
    }

    async fn want_no_more(&self, mut arriving: mpsc::UnboundedReceiver<Bytes>) {
        self.end.arrived_end();
        while let Ok(item) = arriving.try_recv() {
            self.connection
                .buffered
                .fetch_sub(item.len(), Ordering::Relaxed);
        }
        self.push(Kind::Cancel, Bytes::new()).await;
    }

    /// Takes room too, so that whoever opens and ends streams without reading is held up.
    async fn push(&self, kind: Kind, body: Bytes) {
        let frame = Frame::new(kind, self.id, body);
        if let Ok(room) = self.connection.outbox.room_for(frame.body.len()).await {
            self.connection.outbox.push(frame, Some(room));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credit(items: u32, bytes: u32) -> Bytes {
        [items.to_be_bytes(), bytes.to_be_bytes()].concat().into()
    }

    #[tokio::test]
    async fn the_window_bounds_items_and_bytes() {
        let (end, _arriving) = StreamEnd::new();
        let largest = Load {
            items: 1,
            bytes: WINDOW.bytes,
        };
        assert!(end.window_for(largest).await);
        let more = Load { items: 1, bytes: 1 };
        {
            let mut waiting = std::pin::pin!(end.window_for(more));
            assert!(futures::poll!(&mut waiting).is_pending());
            end.arrived_credit(credit(1, WINDOW.bytes)).unwrap();
            assert!(waiting.await);
        }
        assert!(end.arrived_credit(credit(2, 1)).is_err());
        assert!(end.arrived_credit(credit(1, 2)).is_err());
        assert!(end.arrived_credit(Bytes::from_static(b"short")).is_err());
        for _ in 1..WINDOW.items {
            assert!(end.window_for(Load { items: 1, bytes: 0 }).await);
        }
        let mut waiting = std::pin::pin!(end.window_for(more));
        assert!(futures::poll!(&mut waiting).is_pending());
        end.arrived_cancel();
        assert!(!waiting.await);
    }

    #[test]
    fn items_beyond_the_window_are_a_violation() {
        let (end, mut arriving) = StreamEnd::new();
        for _ in 0..WINDOW.items {
            assert!(end.arrived(Bytes::from_static(b"x")).unwrap());
        }
        assert!(end.arrived(Bytes::from_static(b"x")).is_err());
        assert_eq!(arriving.len(), STREAM_ITEMS_MAX);
        end.arrived_end();
        assert!(!end.arrived(Bytes::from_static(b"x")).unwrap());
        while arriving.try_recv().is_ok() {}
        assert!(arriving.is_closed());
    }
}
