//! One connection, from the hellos to its end.
//!
//! One task reads and writes it. Frames are dealt with as they are read, without waiting for anything: what takes time is a
//! task of its own. So nothing that one request or stream does holds up another, and a ping is answered at once.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::FusedFuture};
use mailrook_types::NodeId;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{Instant, timeout},
};

use super::{
    calls::Answer,
    frame::{Decoder, Frame, FrameError, Kind, ReadError, text_of},
    hello::Hello,
    outbox::{Outbox, Queue},
    served::Served,
    stream::{Carried, Inner, StreamEnd},
};
use crate::Rejection;

/// Requests of one connection that are in work at once. The next one waits at the caller.
pub(crate) const REQUESTS_MAX: usize = 1024;

/// The bytes of those requests: eight of the largest.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 << 20;

/// Streams of one connection.
pub(crate) const STREAMS_MAX: usize = 4096;

/// Items of all streams of one connection that wait to be taken. Their windows together would allow far more.
const BUFFERED_BYTES_MAX: usize = 256 << 20;

/// How long the last frame and the other side's end are waited for.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a peer broke the protocol.
#[derive(Debug)]
pub(crate) struct Violation(pub(crate) &'static str);

/// Why reading ended.
enum Ending {
    /// The other side went, or said why it goes.
    Gone(String),
    /// We end it, and say why.
    Refused(Rejection),
}

impl From<ReadError> for Ending {
    fn from(error: ReadError) -> Ending {
        match error {
            ReadError::Io(_) | ReadError::End => Ending::Gone(error.to_string()),
            ReadError::Frame(_) => Ending::Refused(error.to_string().into()),
        }
    }
}

impl From<FrameError> for Ending {
    fn from(error: FrameError) -> Ending {
        ReadError::from(error).into()
    }
}

impl From<Violation> for Ending {
    fn from(violation: Violation) -> Ending {
        let words = format!("the other node broke the protocol: {}", violation.0);
        Ending::Refused(words.into())
    }
}

/// A connection whose hellos were exchanged.
pub(crate) struct Connection {
    hello: Hello,
    /// What the other side proved itself with.
    certificate: Option<CertificateDer<'static>>,
    /// None at the dialer, which is asked nothing on this connection.
    served: Option<Arc<Served>>,
    pub(super) outbox: Outbox,
    /// Bytes of items that wait to be taken.
    pub(super) buffered: AtomicUsize,
    pub(super) tables: Mutex<Tables>,
    pub(super) requests: Semaphore,
    pub(super) request_bytes: Semaphore,
    heard: watch::Sender<Instant>,
    /// Why it has ended.
    end: watch::Sender<Option<Arc<str>>>,
}

#[derive(Default)]
pub(super) struct Tables {
    /// The highest id that was used.
    pub(super) last_id: u64,
    pub(super) calls: HashMap<u64, oneshot::Sender<Answer>>,
    streams: HashMap<u64, Arc<StreamEnd>>,
    pub(super) ended: bool,
}

impl Connection {
    /// `hello` and `certificate` are the other side's.
    pub(crate) fn new(
        hello: Hello,
        certificate: Option<CertificateDer<'static>>,
        served: Option<Served>,
    ) -> (Arc<Connection>, Queue) {
        let (outbox, queue) = Outbox::new();
        let connection = Connection {
            hello,
            certificate,
            served: served.map(Arc::new),
            outbox,
            buffered: AtomicUsize::new(0),
            tables: Mutex::default(),
            requests: Semaphore::new(REQUESTS_MAX),
            request_bytes: Semaphore::new(REQUEST_BYTES_MAX),
            heard: watch::Sender::new(Instant::now()),
            end: watch::Sender::new(None),
        };
        (Arc::new(connection), queue)
    }

    /// What the other side said of itself.
    pub(crate) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// What the other side proved itself with.
    pub(crate) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    /// The other node.
    pub(crate) fn peer(&self) -> NodeId {
        self.hello.node
    }

    /// When something was heard last.
    pub(crate) fn heard(&self) -> watch::Receiver<Instant> {
        self.heard.subscribe()
    }

    /// Why it has ended, if it has.
    pub(crate) fn cause(&self) -> Option<Arc<str>> {
        self.end.borrow().clone()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Arc<str> {
        let mut end = self.end.subscribe();
        loop {
            if let Some(cause) = end.borrow_and_update().clone() {
                return cause;
            }
            if end.changed().await.is_err() {
                // The sender is part of `self`.
                return "it is gone".into();
            }
        }
    }

    /// Ends it.
    pub(crate) fn close(&self, cause: &str) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                *end = Some(cause.into());
            }
            first
        });
    }

    /// Ends it, and tells the other side why.
    pub(crate) fn reject(&self, rejection: &Rejection) {
        self.outbox.push(Frame::reject(rejection), None);
        self.close(&rejection.words);
    }

    /// Reads and writes until the end. `decoder` holds what was read behind the hello.
    pub(crate) async fn drive(
        self: Arc<Connection>,
        io: impl AsyncRead + AsyncWrite,
        mut decoder: Decoder,
        queue: Queue,
    ) {
        let (mut from, to) = tokio::io::split(io);
        let mut writing = pin!(queue.write_to(to).fuse());
        let ending = tokio::select! {
            ending = self.read(&mut from, &mut decoder) => ending,
            written = &mut writing => Ending::Gone(match written {
                Ok(()) => "it was closed".into(),
                Err(error) => error.to_string(),
            }),
            cause = self.ended() => Ending::Gone(cause.to_string()),
        };
        match ending {
            Ending::Gone(cause) => self.close(&cause),
            Ending::Refused(rejection) => {
                tracing::warn!(peer = %self.peer(), class = %self.hello.class, cause = %rejection, "connection refused");
                self.reject(&rejection);
            }
        }
        self.break_off();
        if writing.is_terminated() {
            return;
        }
        let farewell = async {
            let _ = writing.await;
            // What is closed with unread bytes is reset, and our last words with it.
            let mut rest = [0; 4096];
            while from.read(&mut rest).await.is_ok_and(|n| n > 0) {}
        };
        let _ = timeout(FAREWELL, farewell).await;
    }

    async fn read(
        self: &Arc<Connection>,
        from: &mut (impl AsyncRead + Unpin),
        decoder: &mut Decoder,
    ) -> Ending {
        loop {
            loop {
                match decoder.next() {
                    Ok(Some(frame)) => {
                        if let Err(ending) = self.arrived(frame) {
                            return ending;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return error.into(),
                }
            }
            if let Err(error) = decoder.fill(from).await {
                return error.into();
            }
            self.heard.send_replace(Instant::now());
        }
    }

    fn arrived(self: &Arc<Connection>, frame: Frame) -> Result<(), Ending> {
        if frame.kind == Kind::Reject {
            let rejection = frame.rejection();
            // On a connection of our own a new one is tried, and hears the same.
            if let Some(served) = &self.served {
                served.introduce.rejected(self.peer(), &rejection);
            }
            return Err(Ending::Gone(format!("it says: {rejection}")));
        }
        let Frame { kind, id, body } = frame;
        match (kind, &self.served) {
            (Kind::Request, Some(served)) => {
                self.new_id(id)?;
                self.serve_call(served, id, body)?;
            }
            (Kind::Open, Some(served)) => {
                self.new_id(id)?;
                self.serve_open(served, id, body)?;
            }
            (Kind::Ping, Some(served)) => {
                served
                    .introduce
                    .admit(self.peer(), body)
                    .map_err(Ending::Refused)?;
                // Who sends pings and reads nothing gets no more of them.
                if let Some(room) = self.outbox.room_now(0) {
                    self.outbox
                        .push(Frame::new(Kind::Pong, 0, Bytes::new()), Some(room));
                }
            }
            (Kind::Reply, None) => self.answered(id, Answer::Reply(body))?,
            (Kind::Failure, None) => self.answered(id, Answer::Failure(text_of(&body)))?,
            (Kind::Pong, None) => {}
            (Kind::Cancel, Some(served)) if served.cancel(id) => {}
            (Kind::Item | Kind::End | Kind::Credit | Kind::Cancel, _) => {
                self.arrived_of_stream(kind, id, body)?;
            }
            _ => return Err(Violation("a frame that is not for this side, or not now").into()),
        }
        Ok(())
    }

    fn new_id(&self, id: u64) -> Result<(), Violation> {
        let mut tables = self.tables.lock();
        if id <= tables.last_id {
            return Err(Violation("an id that was used before"));
        }
        tables.last_id = id;
        Ok(())
    }

    fn arrived_of_stream(&self, kind: Kind, id: u64, body: Bytes) -> Result<(), Violation> {
        let tables = self.tables.lock();
        if id > tables.last_id {
            return Err(Violation("a frame of a stream that was not opened"));
        }
        let Some(end) = tables.streams.get(&id).cloned() else {
            // It has ended here, and the other side has not heard of it yet.
            return Ok(());
        };
        drop(tables);
        match kind {
            Kind::Item => self.arrived_item(&end, id, body)?,
            Kind::End => end.arrived_end(),
            Kind::Credit => end.arrived_credit(body)?,
            _ => end.arrived_cancel(),
        }
        Ok(())
    }

    fn arrived_item(&self, end: &StreamEnd, id: u64, item: Bytes) -> Result<(), Violation> {
        let bytes = item.len();
        let before = self.buffered.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > BUFFERED_BYTES_MAX {
            self.buffered.fetch_sub(bytes, Ordering::Relaxed);
            tracing::warn!(peer = %self.peer(), "too many items wait to be taken, a stream is ended");
            end.break_off();
            return self.refuse_stream(id);
        }
        if !end.arrived(item)? {
            self.buffered.fetch_sub(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Ends a stream in both directions.
    pub(super) fn refuse_stream(&self, id: u64) -> Result<(), Violation> {
        for kind in [Kind::Cancel, Kind::End] {
            let room = self.outbox.room_now(0);
            let room = room.ok_or(Violation("it opens streams and does not read the answers"))?;
            self.outbox
                .push(Frame::new(kind, id, Bytes::new()), Some(room));
        }
        Ok(())
    }

    /// Nothing goes or comes any more.
    fn break_off(&self) {
        let (calls, streams) = {
            let mut tables = self.tables.lock();
            tables.ended = true;
            let streams = std::mem::take(&mut tables.streams);
            (std::mem::take(&mut tables.calls), streams)
        };
        // Who waits for an answer looks for the cause when its sender is gone.
        drop(calls);
        streams.values().for_each(|end| end.break_off());
        self.requests.close();
        self.request_bytes.close();
        self.outbox.close();
    }

    /// The introduction goes along.
    pub(crate) fn ping(&self, introduction: Bytes) {
        self.outbox
            .push(Frame::new(Kind::Ping, 0, introduction), None);
    }

    /// Opens a stream, and carries it until it ends.
    pub(crate) async fn open(&self, request: Bytes, inner: Inner) {
        let Ok(room) = self.outbox.room_for(request.len()).await else {
            return;
        };
        let (end, arriving) = StreamEnd::new();
        let id = {
            let mut tables = self.tables.lock();
            if tables.ended {
                return;
            }
            tables.last_id += 1;
            let id = tables.last_id;
            tables.streams.insert(id, Arc::clone(&end));
            self.outbox
                .push(Frame::new(Kind::Open, id, request), Some(room));
            id
        };
        self.carry(id, end, arriving, inner).await;
    }

    /// A stream that the other side opened, unless there are too many.
    pub(super) fn add_stream(
        &self,
        id: u64,
        streams_max: usize,
    ) -> Option<(Arc<StreamEnd>, mpsc::UnboundedReceiver<Bytes>)> {
        let mut tables = self.tables.lock();
        if tables.ended || tables.streams.len() >= streams_max {
            return None;
        }
        let (end, arriving) = StreamEnd::new();
        tables.streams.insert(id, Arc::clone(&end));
        Some((end, arriving))
    }

    pub(super) async fn carry(
        &self,
        id: u64,
        end: Arc<StreamEnd>,
        arriving: mpsc::UnboundedReceiver<Bytes>,
        inner: Inner,
    ) {
        let carried = Carried {
            connection: self,
            id,
            end: &end,
        };
        carried.run(arriving, inner).await;
        self.tables.lock().streams.remove(&id);
    }
}
