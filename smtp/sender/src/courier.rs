//! How a message gets to its destination; the runner does not care.

use std::sync::Arc;

use futures::future::BoxFuture;
use mailrook_store_api::shard::ClaimedJob;
use mailrook_types::{Domain, ShardId};

use crate::{Attempt, BodyReader, Lease, Told};

/// Makes ways to destinations: connections to other systems, or none for mailboxes here.
pub trait Courier: Send + Sync + 'static {
    /// Opens a way to a destination, for jobs of that destination one after the other.
    fn open<'a>(
        &'a self,
        destination: &'a Domain,
    ) -> BoxFuture<'a, Result<Box<dyn Way>, Unreachable>>;
}

/// A way to a destination.
pub trait Way: Send {
    /// Sends a message to its recipients. It must [look at the lease](Lease::look) right before the step that makes the remote
    /// responsible, and give up there if it is lost.
    fn send<'a>(&'a mut self, errand: &'a Errand) -> BoxFuture<'a, Attempt>;

    /// Whether another message can be sent on it.
    fn is_open(&self) -> bool;

    /// Takes leave (RFC 5321 §4.1.1.10), not for long.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// No way to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// None of its hosts now: all that waits for it waits longer.
    Now(Told),
    /// Never, as things stand: it takes no mail (RFC 7505), it does not exist.
    Ever(Told),
}

/// A job under way.
#[derive(Debug)]
pub struct Errand {
    /// The shard that has it.
    pub shard: ShardId,
    /// The job, with the recipients that are left of it.
    pub job: ClaimedJob,
    /// The claim that it is sent under.
    pub lease: Arc<Lease>,
    /// Reads the message: prefix, then bytes.
    pub body: BodyReader,
}
