//! The acceptor's side of a connection: it runs what the dialer asks for.
//!
//! Each request is a task of its own. Who gives up waiting says so, and gets no reply; the handler goes on to its end, as it
//! would if the connection had broken, so that it need not survive being dropped half-way.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;

use super::{
    connection::{Connection, REQUEST_BYTES_MAX, REQUESTS_MAX, STREAMS_MAX, Violation},
    frame::{Frame, Kind, TEXT_BYTES_MAX},
    stream,
    tls_network::Introduce,
};
use crate::{Handler, ITEM_BYTES_MAX, network::too_long};

/// What serves the dialer.
pub(crate) struct Served {
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) introduce: Arc<dyn Introduce>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    requests: HashMap<u64, Request>,
    /// Of all of them.
    bytes: usize,
}

struct Request {
    bytes: usize,
    /// The dialer waits for the reply.
    wanted: bool,
}

impl Served {
    pub(crate) fn new(handler: Arc<dyn Handler>, introduce: Arc<dyn Introduce>) -> Served {
        Served {
            handler,
            introduce,
            running: Mutex::default(),
        }
    }

    /// No reply is wanted any more; false if it is not a request that runs.
    pub(crate) fn cancel(&self, id: u64) -> bool {
        match self.running.lock().requests.get_mut(&id) {
            Some(request) => {
                request.wanted = false;
                true
            }
            None => false,
        }
    }

    fn start(&self, id: u64, bytes: usize) -> bool {
        let mut running = self.running.lock();
        if running.requests.len() >= REQUESTS_MAX || running.bytes + bytes > REQUEST_BYTES_MAX {
            return false;
        }
        running.bytes += bytes;
        let wanted = true;
        running.requests.insert(id, Request { bytes, wanted });
        true
    }

    /// Whether the reply is still wanted.
    fn finish(&self, id: u64) -> bool {
        let mut running = self.running.lock();
        let Some(request) = running.requests.remove(&id) else {
            return false;
        };
        running.bytes -= request.bytes;
        request.wanted
    }
}

impl Connection {
    /// A request came.
    pub(super) fn serve_call(
        self: &Arc<Connection>,
        served: &Arc<Served>,
        id: u64,
        request: Bytes,
    ) -> Result<(), Violation> {
        if !served.start(id, request.len()) {
            // The dialer keeps to the same bounds, but for requests that it has given up and that still run.
            let room = self.outbox.room_now(TEXT_BYTES_MAX);
            let room = room.ok_or(Violation("it asks and does not read the answers"))?;
            let busy = Frame::text(Kind::Failure, id, "too many requests are in work");
            self.outbox.push(busy, Some(room));
            return Ok(());
        }
        let (connection, served) = (Arc::clone(self), Arc::clone(served));
        tokio::spawn(async move {
            let from = connection.peer();
            let answer = async { served.handler.call(from, request).await };
            let answer = AssertUnwindSafe(answer).catch_unwind().await;
            let answer = answer.unwrap_or_else(|_| Err("its handler panicked".into()));
            connection.answer(&served, id, answer).await;
        });
        Ok(())
    }

    async fn answer(&self, served: &Served, id: u64, answer: Result<Bytes, String>) {
        let frame = match answer {
            Ok(reply) if reply.len() > ITEM_BYTES_MAX => {
                Frame::text(Kind::Failure, id, &too_long("reply", &reply))
            }
            Ok(reply) => Frame::new(Kind::Reply, id, reply),
            Err(cause) => Frame::text(Kind::Failure, id, &cause),
        };
        let room = self.outbox.room_for(frame.body.len()).await;
        // It ends before its reply goes out: the dialer counts on that.
        let wanted = served.finish(id);
        if let (Ok(room), true) = (room, wanted) {
            self.outbox.push(frame, Some(room));
        }
    }

    /// A stream was opened.
    pub(super) fn serve_open(
        self: &Arc<Connection>,
        served: &Served,
        id: u64,
        request: Bytes,
    ) -> Result<(), Violation> {
        let Some((end, arriving)) = self.add_stream(id, STREAMS_MAX) else {
            return self.refuse_stream(id);
        };
        let (duplex, inner) = stream::channels();
        let (handler, from) = (Arc::clone(&served.handler), self.peer());
        tokio::spawn(async move {
            // A panic drops the stream, which ends it.
            let serving = async { handler.open(from, request, duplex).await };
            let _ = AssertUnwindSafe(serving).catch_unwind().await;
        });
        let connection = Arc::clone(self);
        tokio::spawn(async move { connection.carry(id, end, arriving, inner).await });
        Ok(())
    }
}
