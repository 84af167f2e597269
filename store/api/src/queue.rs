//! Mail under way to other systems.
//!
//! An entry stands in two of the cluster-wide tables: its chunks first, each under (id, index), then the entry itself,
//! which makes them count. Removal goes the other way round. Chunks whose entry was never written, or whose removal was
//! cut short, expire.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use mailrook_mailbox::{Chunk, TableId, TableOp, TableReply};
use mailrook_types::{Address, ReversePath, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Call, Shared, StoreError};

/// Names an entry of the queue; chosen at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueId(pub u128);

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueEntry {
    /// Its name.
    pub id: QueueId,
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// Who has still to get it.
    pub recipients: Vec<Address>,
    /// How many chunks the message has.
    pub chunks: u32,
    /// When it came.
    pub received: Timestamp,
    /// When it is tried next.
    pub due: Timestamp,
}

/// The stored form, version by version.
#[derive(Serialize, Deserialize)]
enum StoredEntry {
    V1(QueueEntry),
}

/// The replicated queue of outgoing mail. Nothing fills it before outgoing mail is served; leases, and an index by due
/// time, come with what runs it.
pub trait Queue: Send + Sync + 'static {
    /// Adds an entry with its message, committed when it answers.
    fn enqueue<'a>(&'a self, entry: QueueEntry, message: &'a [Chunk]) -> Call<'a, ()>;

    /// Entries that are due by `now`, oldest first, at most `limit`.
    fn due(&self, now: Timestamp, limit: u32) -> Call<'_, Vec<QueueEntry>>;

    /// The message of an entry.
    fn message<'a>(&'a self, entry: &'a QueueEntry) -> Call<'a, Vec<Chunk>>;

    /// Removes an entry with its message, committed when it answers.
    fn remove<'a>(&'a self, entry: &'a QueueEntry) -> Call<'a, ()>;
}

/// The queue over the cluster-wide tables.
#[derive(Clone)]
pub struct TableQueue(Arc<dyn Shared>);

const ENTRIES: TableId = TableId(1);
const CHUNKS: TableId = TableId(2);

/// As long as any message may wait: RFC 5321 §4.5.4.1 asks for 4 to 5 days, twice that leaves room for an operator's hold.
const CHUNK_LIFE: Duration = Duration::from_secs(10 * 86_400);

/// What is looked at to find what is due. An index by due time comes with what runs the queue.
const SCAN_MAX: u32 = 100_000;

impl TableQueue {
    /// The queue in these tables.
    pub fn new(shared: Arc<dyn Shared>) -> TableQueue {
        TableQueue(shared)
    }

    async fn enqueue_now(&self, entry: QueueEntry, message: &[Chunk]) -> Result<(), StoreError> {
        if usize::try_from(entry.chunks).ok() != Some(message.len()) {
            return Err(StoreError::Unacceptable(
                "a queue entry with another number of chunks than its message".into(),
            ));
        }
        let expires = Some(entry.received.saturating_add(CHUNK_LIFE));
        for (index, chunk) in (0..).zip(message) {
            let put = TableOp::Put {
                value: mailrook_kv::encode(chunk),
                expires,
            };
            done(
                self.0
                    .update(vec![(CHUNKS, chunk_key(entry.id, index), put)])
                    .await?,
            )?;
        }
        let key = entry.id.0.to_be_bytes().to_vec();
        let put = TableOp::Put {
            value: mailrook_kv::encode(&StoredEntry::V1(entry)),
            expires: None,
        };
        done(self.0.update(vec![(ENTRIES, key, put)]).await?)
    }

    async fn due_now(&self, now: Timestamp, limit: u32) -> Result<Vec<QueueEntry>, StoreError> {
        let mut due = Vec::new();
        for (_, value) in self.0.scan(ENTRIES, Vec::new(), SCAN_MAX).await? {
            let StoredEntry::V1(entry) = read(&value)?;
            if entry.due <= now {
                due.push(entry);
            }
        }
        due.sort_by_key(|entry| (entry.due, entry.id));
        due.truncate(limit as usize);
        Ok(due)
    }

    async fn message_now(&self, entry: &QueueEntry) -> Result<Vec<Chunk>, StoreError> {
        let mut chunks = Vec::new();
        for index in 0..entry.chunks {
            let missing =
                || StoreError::Internal(format!("chunk {index} of a queued message is not there"));
            let value = self
                .0
                .get(CHUNKS, chunk_key(entry.id, index))
                .await?
                .ok_or_else(missing)?;
            chunks.push(read(&value)?);
        }
        Ok(chunks)
    }

    async fn remove_now(&self, entry: &QueueEntry) -> Result<(), StoreError> {
        let key = entry.id.0.to_be_bytes().to_vec();
        done(self.0.update(vec![(ENTRIES, key, TableOp::Delete)]).await?)?;
        let delete = |index| (CHUNKS, chunk_key(entry.id, index), TableOp::Delete);
        done(
            self.0
                .update((0..entry.chunks).map(delete).collect())
                .await?,
        )
    }
}

fn chunk_key(id: QueueId, index: u32) -> Vec<u8> {
    [&id.0.to_be_bytes()[..], &index.to_be_bytes()[..]].concat()
}

fn read<T: serde::de::DeserializeOwned>(value: &[u8]) -> Result<T, StoreError> {
    mailrook_kv::decode(value).map_err(|error| StoreError::Internal(error.to_string()))
}

fn done(replies: Vec<TableReply>) -> Result<(), StoreError> {
    match replies
        .iter()
        .find(|reply| !matches!(reply, TableReply::Done(_)))
    {
        None => Ok(()),
        Some(other) => Err(StoreError::Internal(format!(
            "a table's answer does not fit the change: {other:?}"
        ))),
    }
}

impl Queue for TableQueue {
    fn enqueue<'a>(&'a self, entry: QueueEntry, message: &'a [Chunk]) -> Call<'a, ()> {
        self.enqueue_now(entry, message).boxed()
    }

    fn due(&self, now: Timestamp, limit: u32) -> Call<'_, Vec<QueueEntry>> {
        self.due_now(now, limit).boxed()
    }

    fn message<'a>(&'a self, entry: &'a QueueEntry) -> Call<'a, Vec<Chunk>> {
        self.message_now(entry).boxed()
    }

    fn remove<'a>(&'a self, entry: &'a QueueEntry) -> Call<'a, ()> {
        self.remove_now(entry).boxed()
    }
}
