//! A queued message's bytes, piece by piece, so that a large one is never held whole.

use std::{fmt, sync::Arc};

use mailrook_store_api::{Queue, StoreError, shard::ClaimedJob, unpack_chunk};
use mailrook_types::{BlobHash, ShardId};

/// Why a message's bytes could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BodyUnreadable {
    /// The store cannot be reached now.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such body any more: the job is done or deleted.
    #[error("the message is gone from the queue")]
    Gone,
}

/// Reads one message.
#[derive(Clone)]
pub struct BodyReader {
    queue: Arc<dyn Queue>,
    shard: ShardId,
    hash: BlobHash,
    size: u32,
    prefix: Arc<[u8]>,
}

impl fmt::Debug for BodyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyReader")
            .field("shard", &self.shard)
            .field("hash", &self.hash)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl BodyReader {
    pub(crate) fn new(queue: Arc<dyn Queue>, shard: ShardId, job: &ClaimedJob) -> BodyReader {
        BodyReader {
            queue,
            shard,
            hash: job.hash,
            size: job.size,
            prefix: job.envelope.prefix.clone().into(),
        }
    }

    /// How many bytes there are, prefix included.
    pub fn size(&self) -> u64 {
        self.prefix.len() as u64 + u64::from(self.size)
    }

    /// What stands before the message's own bytes.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The `number`-th piece of the message's own bytes; `None` behind the last.
    ///
    /// # Errors
    /// See [`BodyUnreadable`].
    pub async fn piece(&self, number: u32) -> Result<Option<Vec<u8>>, BodyUnreadable> {
        let chunks = self.queue.chunks(self.shard, self.hash, number, 1).await?;
        let mut chunks = chunks.ok_or(BodyUnreadable::Gone)?;
        match chunks.pop() {
            Some(chunk) => Ok(Some(unpack_chunk(chunk)?)),
            None => Ok(None),
        }
    }

    /// Prefix and message, up to `limit` bytes of it.
    ///
    /// # Errors
    /// See [`BodyUnreadable`].
    pub async fn head(&self, limit: usize) -> Result<Vec<u8>, BodyUnreadable> {
        let mut all = self.prefix.to_vec();
        let room = limit.saturating_sub(all.len());
        all.extend(self.message(room).await?);
        all.truncate(limit);
        Ok(all)
    }

    /// The message's own bytes, up to `limit` of them.
    ///
    /// # Errors
    /// See [`BodyUnreadable`].
    pub async fn message(&self, limit: usize) -> Result<Vec<u8>, BodyUnreadable> {
        let mut all = Vec::with_capacity(limit.min(self.size as usize));
        let mut number = 0;
        while all.len() < limit {
            match self.piece(number).await? {
                Some(piece) => all.extend_from_slice(&piece),
                None => break,
            }
            number += 1;
        }
        all.truncate(limit);
        Ok(all)
    }
}
