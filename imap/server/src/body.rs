//! The bytes of a body, read on whatever becomes of the back end.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use mailrook_store_api::{Mailstore, StoreError};
use mailrook_types::{AccountId, BlobHash};
use tokio::time::{Instant, sleep};

/// A body of an account.
#[derive(Clone, Copy)]
pub(crate) struct Body<'s> {
    pub(crate) store: &'s dyn Mailstore,
    pub(crate) account: AccountId,
    pub(crate) hash: BlobHash,
}

/// A call that fails has waited already; unless it failed at once.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

impl Body<'_> {
    /// The bytes of a range that is not empty: some from its start on.
    ///
    /// `patience` is how long to go on asking for what the store cannot give, beyond the calls' own time. None where the client
    /// can be told to try again later; but what is on its way to it has no other end than the connection's.
    pub(crate) async fn read(
        self,
        range: Range<u32>,
        patience: Duration,
    ) -> Result<Bytes, StoreError> {
        let begun = Instant::now();
        let (account, hash) = (self.account, self.hash);
        loop {
            let read = self.store.body(account, hash, range.start, range.end);
            match read.await {
                Ok(bytes) if bytes.is_empty() => return Err(self.is_short()),
                // A back end that died has a successor soon: the client need not hear of it.
                Err(StoreError::Unavailable(cause)) if begun.elapsed() < patience => {
                    tracing::debug!(cause, "a body under way is waited for");
                    sleep(AGAIN_AFTER).await;
                }
                read => return read,
            }
        }
    }

    /// All bytes of a range that is not empty, and at most [`BODY_READ_MAX`](mailrook_store_api::BODY_READ_MAX) long.
    pub(crate) async fn read_all(
        self,
        range: Range<u32>,
        patience: Duration,
    ) -> Result<Bytes, StoreError> {
        let expected = range.len();
        let bytes = self.read(range, patience).await?;
        match bytes.len() < expected {
            true => Err(self.is_short()),
            false => Ok(bytes),
        }
    }

    fn is_short(self) -> StoreError {
        StoreError::Internal(format!("the body {} ends before its size", self.hash))
    }
}
