//! Mail under way to other systems.

use std::sync::Arc;

use mailrook_types::{Address, ReversePath, Timestamp};

use crate::{Call, PreparedMessage};

/// Names an entry of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u128);

/// A message on its way.
#[derive(Clone, Debug)]
pub struct QueueEntry {
    /// Its name.
    pub id: QueueId,
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// Who has still to get it.
    pub recipients: Vec<Address>,
    /// The message.
    pub message: Arc<PreparedMessage>,
    /// When it came.
    pub received: Timestamp,
    /// When it is tried next.
    pub due: Timestamp,
}

/// The replicated queue of outgoing mail. Nothing fills it before outgoing mail is served: see the issue that adds it,
/// which will add leases to this trait.
pub trait Queue: Send + Sync + 'static {
    /// Adds an entry, committed when it answers.
    fn enqueue(&self, entry: QueueEntry) -> Call<'_, ()>;

    /// Entries that are due by `now`, oldest first, at most `limit`.
    fn due(&self, now: Timestamp, limit: u32) -> Call<'_, Vec<QueueEntry>>;

    /// Removes an entry, committed when it answers.
    fn remove(&self, id: QueueId) -> Call<'_, ()>;
}
