//! What waits to be written to one connection.
//!
//! Whoever sends adds frames; the connection's task writes all that are there and flushes once, so that many small frames
//! share a TLS record and a system call. Frames take room first, and wait for it. Only pings, cancelled requests and the last
//! words do not; a request took room itself, and pings are few.

use std::sync::Arc;

use tokio::{
    io::{AsyncWrite, AsyncWriteExt, BufWriter},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

use super::frame::{Frame, HEADER_BYTES};

/// Bodies that wait to be written: four of the largest.
const OUTBOX_BYTES_MAX: usize = 32 << 20;

/// Small frames are gathered to this, and longer bodies go around it, uncopied. TLS cuts it into records of 16 KiB.
const GATHERED_BYTES: usize = 64 << 10;

/// Frames that are taken from the queue at once.
const BATCH_FRAMES: usize = 64;

/// The connection has ended.
#[derive(Debug)]
pub(crate) struct Ended;

/// Room for one frame, given back when it is written.
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
}

pub(crate) struct Outbox {
    queue: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
}

/// The other end of an [`Outbox`].
pub(crate) struct Queue {
    receiver: mpsc::UnboundedReceiver<Queued>,
}

enum Queued {
    Frame(Frame, Option<Room>),
    /// Nothing follows.
    Last,
}

impl Outbox {
    pub(crate) fn new() -> (Outbox, Queue) {
        let (queue, receiver) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(OUTBOX_BYTES_MAX));
        (Outbox { queue, room }, Queue { receiver })
    }

    /// Waits for room for a body.
    pub(crate) async fn room_for(&self, body_len: usize) -> Result<Room, Ended> {
        let room = Arc::clone(&self.room);
        let permit = room
            .acquire_many_owned(cost(body_len))
            .await
            .map_err(|_| Ended)?;
        Ok(Room { _permit: permit })
    }

    /// Room for a body, if there is some.
    pub(crate) fn room_now(&self, body_len: usize) -> Option<Room> {
        let room = Arc::clone(&self.room);
        let permit = room.try_acquire_many_owned(cost(body_len)).ok()?;
        Some(Room { _permit: permit })
    }

    /// Adds a frame that has room, or needs none. After the end of the connection it goes nowhere.
    pub(crate) fn push(&self, frame: Frame, room: Option<Room>) {
        let _ = self.queue.send(Queued::Frame(frame, room));
    }

    /// Nobody gets room any more, and what is there is the last.
    pub(crate) fn close(&self) {
        self.room.close();
        let _ = self.queue.send(Queued::Last);
    }
}

fn cost(body_len: usize) -> u32 {
    // Below OUTBOX_BYTES_MAX: bodies are checked against ITEM_BYTES_MAX before.
    (HEADER_BYTES + body_len) as u32
}

impl Queue {
    /// Writes what is added, until [`Outbox::close`].
    pub(crate) async fn write_to(mut self, out: impl AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut out = BufWriter::with_capacity(GATHERED_BYTES, out);
        let mut batch = Vec::with_capacity(BATCH_FRAMES);
        while self.receiver.recv_many(&mut batch, BATCH_FRAMES).await > 0 {
            for queued in batch.drain(..) {
                let Queued::Frame(frame, _room) = queued else {
                    return out.shutdown().await;
                };
                out.write_all(&frame.header()).await?;
                out.write_all(&frame.body).await?;
            }
            if self.receiver.is_empty() {
                out.flush().await?;
            }
        }
        out.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::io::AsyncReadExt;

    use super::{super::frame::Kind, *};

    #[tokio::test]
    async fn what_is_added_is_written_in_order_up_to_the_last() {
        let (outbox, queue) = Outbox::new();
        for id in 0..200 {
            let body = Bytes::from(vec![id as u8; id * 1000]);
            let room = outbox.room_for(body.len()).await.unwrap();
            outbox.push(Frame::new(Kind::Item, id as u64, body), Some(room));
        }
        outbox.close();
        outbox.push(Frame::new(Kind::End, 0, Bytes::new()), None);
        let (near, mut far) = tokio::io::duplex(1000);
        let writing = tokio::spawn(queue.write_to(near));
        let mut wire = Vec::new();
        far.read_to_end(&mut wire).await.unwrap();
        writing.await.unwrap().unwrap();
        let mut rest = &wire[..];
        for id in 0..200 {
            let (frame, after) = rest.split_at(HEADER_BYTES + id * 1000);
            assert_eq!(frame[5..HEADER_BYTES], (id as u64).to_be_bytes());
            rest = after;
        }
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn room_is_given_back_when_a_frame_is_written_or_the_connection_ends() {
        let (outbox, queue) = Outbox::new();
        let half = OUTBOX_BYTES_MAX / 2 - HEADER_BYTES;
        let (first, second) = (outbox.room_now(half), outbox.room_now(half));
        assert!(first.is_some() && second.is_some());
        assert!(outbox.room_now(1).is_none());
        outbox.push(Frame::new(Kind::Item, 1, Bytes::new()), first);
        let (near, _far) = tokio::io::duplex(1000);
        let writing = tokio::spawn(queue.write_to(near));
        outbox.room_for(half).await.unwrap();
        outbox.close();
        writing.await.unwrap().unwrap();
        assert!(outbox.room_for(1).await.is_err());
    }
}
