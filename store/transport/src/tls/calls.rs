//! The dialer's side of a connection: it asks, and waits for answers.

use bytes::Bytes;
use tokio::{
    sync::{SemaphorePermit, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    connection::{Connection, Violation},
    frame::{Frame, Kind},
    outbox::Room,
};
use crate::{CallError, ITEM_BYTES_MAX, network::too_long};

/// What came back.
pub(crate) enum Answer {
    Reply(Bytes),
    Failure(String),
}

/// What a request holds: a place among those in work, its bytes among theirs, and room to be sent.
type Permits<'a> = (SemaphorePermit<'a>, SemaphorePermit<'a>, Room);

impl Connection {
    /// Sends a request and waits for the answer.
    pub(crate) async fn call(&self, request: Bytes, deadline: Instant) -> Result<Bytes, CallError> {
        let to = self.peer();
        let unsent = |cause: String| CallError::Unreachable { to, cause };
        let lost = |cause: String| CallError::Lost { to, cause };
        if request.len() > ITEM_BYTES_MAX {
            let cause = too_long("request", &request);
            return Err(CallError::Refused { to, cause });
        }
        let permits = timeout_at(deadline, self.permits(&request)).await;
        let permits =
            permits.map_err(|_| unsent("the time is over, others wait as well".into()))?;
        let (_request, _bytes, room) = permits.ok_or_else(|| unsent(self.why()))?;
        let (answer, answered) = oneshot::channel();
        let id = self
            .send_request(request, room, answer)
            .ok_or_else(|| unsent(self.why()))?;
        // Dropped with this future too, so that an unwanted reply is not sent.
        let _asked = Asked {
            connection: self,
            id,
        };
        match timeout_at(deadline, answered).await {
            Ok(Ok(Answer::Reply(reply))) => Ok(reply),
            Ok(Ok(Answer::Failure(cause))) => Err(CallError::Refused { to, cause }),
            Ok(Err(_)) => Err(lost(format!("the connection broke: {}", self.why()))),
            Err(_) => Err(lost("the time is over".into())),
        }
    }

    /// What a request needs before it is sent; None if the connection has ended.
    async fn permits(&self, request: &Bytes) -> Option<Permits<'_>> {
        let one = self.requests.acquire().await.ok()?;
        // Below ITEM_BYTES_MAX.
        let bytes = self
            .request_bytes
            .acquire_many(request.len() as u32)
            .await
            .ok()?;
        let room = self.outbox.room_for(request.len()).await.ok()?;
        Some((one, bytes, room))
    }

    fn why(&self) -> String {
        match self.cause() {
            Some(cause) => cause.to_string(),
            None => "it was closed".into(),
        }
    }

    fn send_request(
        &self,
        request: Bytes,
        room: Room,
        answer: oneshot::Sender<Answer>,
    ) -> Option<u64> {
        let mut tables = self.tables.lock();
        if tables.ended {
            return None;
        }
        tables.last_id += 1;
        let id = tables.last_id;
        tables.calls.insert(id, answer);
        // Under the lock: ids grow on the wire too.
        self.outbox
            .push(Frame::new(Kind::Request, id, request), Some(room));
        Some(id)
    }

    /// An answer came.
    pub(super) fn answered(&self, id: u64, answer: Answer) -> Result<(), Violation> {
        let mut tables = self.tables.lock();
        match tables.calls.remove(&id) {
            // An error means that the caller has just given up.
            Some(call) => drop(call.send(answer)),
            None if id > tables.last_id => return Err(Violation("an answer to no request")),
            // The caller had given up before.
            None => {}
        }
        Ok(())
    }
}

/// A request that waits for its answer.
struct Asked<'a> {
    connection: &'a Connection,
    id: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self
            .connection
            .tables
            .lock()
            .calls
            .remove(&self.id)
            .is_some()
        {
            let cancel = Frame::new(Kind::Cancel, self.id, Bytes::new());
            self.connection.outbox.push(cancel, None);
        }
    }
}
