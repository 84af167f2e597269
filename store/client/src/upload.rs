//! Getting a message's body into a shard: with the command that makes it visible, or chunk by chunk before it.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use mailrook_mailbox::{BodySource, ShardCommand, ShardReply, UploadChunk};
use mailrook_store_api::{PreparedMessage, StoreError};
use mailrook_types::{ShardId, UploadId};

use crate::{Client, client::misfit};

/// Bodies of up to 128 KiB as stored travel with their command, which then stays below the log's limit of 512 KiB an
/// entry together with what is derived from the message (at most 256 KiB).
const INLINE_MAX: usize = 128 << 10;

/// Four chunks under way keep the log busy, and hold up others by 1 MiB at most.
const CHUNKS_UNDER_WAY: usize = 4;

/// An upload that no command used is forgotten after an hour: longer than any call takes, retries included.
const UPLOAD_LIFE: Duration = Duration::from_secs(3600);

impl Client {
    /// Brings the body of `message` to `shard`, and says where the command finds it.
    pub(crate) async fn send_body(
        &self,
        shard: ShardId,
        message: &PreparedMessage,
    ) -> Result<BodySource, StoreError> {
        if message.stored_len() <= INLINE_MAX {
            return Ok(BodySource::Inline(message.chunks().to_vec()));
        }
        self.upload(shard, message).await
    }

    /// Brings the body of `message` to `shard`, chunk by chunk.
    pub(crate) async fn upload(
        &self,
        shard: ShardId,
        message: &PreparedMessage,
    ) -> Result<BodySource, StoreError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)
            .map_err(|error| StoreError::Internal(format!("no random number: {error}")))?;
        let upload = UploadId(u128::from_le_bytes(id));
        // By the time that says when it is over: with this machine's, one that was set back would send for nothing.
        let now = self.inner.calls.log_time(shard).await?;
        let expires = now.saturating_add(UPLOAD_LIFE);
        let send = async |(index, chunk): (u32, &mailrook_mailbox::Chunk)| {
            let chunk = chunk.clone();
            let command = ShardCommand::Upload(UploadChunk {
                upload,
                index,
                expires,
                chunk,
            });
            match self.inner.calls.shard_command(shard, &command).await? {
                ShardReply::Uploaded(Ok(())) => Ok(()),
                other => Err(misfit(&other)),
            }
        };
        stream::iter((0..).zip(message.chunks()))
            .map(send)
            .buffer_unordered(CHUNKS_UNDER_WAY)
            .try_collect::<()>()
            .await?;
        let digests = message
            .chunks()
            .iter()
            .map(|chunk| *blake3::hash(&chunk.bytes).as_bytes())
            .collect();
        Ok(BodySource::Uploaded { upload, digests })
    }
}
