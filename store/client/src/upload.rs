//! Getting messages into a shard: with the command that makes them visible, or chunk by chunk before it.
//!
//! Bodies go ahead when they are large, or many together. What a command carries beside them (envelope, structure,
//! search signature) is small for one message, but not for an APPEND of hundreds (RFC 3502), which is one command
//! nevertheless, as all of it or nothing is to be seen: that goes ahead, too.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use mailrook_cluster::simulation;
use mailrook_mailbox::{
    AppendTo, BodySource, Change, Chunk, ChunkCodec, NewMessage, ShardCommand, ShardReply,
    UploadChunk,
};
use mailrook_store_api::{Append, PreparedMessage, StoreError};
use mailrook_types::{ShardId, UploadId};

use crate::{Client, client::misfit};

/// Bodies of up to 128 KiB as stored travel with their command, which then stays below the log's limit of 512 KiB an
/// entry together with what is derived from the message (at most 256 KiB).
const INLINE_MAX: usize = 128 << 10;

/// What is carried beside bodies that travel along.
const CARRIED_INLINE_MAX: usize = 256 << 10;

/// The messages of an APPEND travel with their command up to this length, which leaves a quarter of the log's limit.
const APPEND_INLINE_MAX: usize = INLINE_MAX + CARRIED_INLINE_MAX;

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
            return Ok(inline(message));
        }
        let mut sources = self.upload_bodies(shard, &[message]).await?;
        sources
            .pop()
            .ok_or_else(|| StoreError::Internal("an upload that is not there".to_owned()))
    }

    /// Brings to `shard` what must go ahead of an APPEND, and gives the change that makes it visible.
    pub(crate) async fn send_append(
        &self,
        shard: ShardId,
        append: &Append,
    ) -> Result<Change, StoreError> {
        let messages: Vec<&PreparedMessage> = append
            .messages
            .iter()
            .map(|(message, _, _)| &**message)
            .collect();
        let stored: usize = messages.iter().map(|message| message.stored_len()).sum();
        let sources = if stored <= INLINE_MAX && append.carried() <= CARRIED_INLINE_MAX {
            messages.iter().map(|message| inline(message)).collect()
        } else {
            self.upload_bodies(shard, &messages).await?
        };
        let new = append.messages.iter().zip(sources);
        let to = AppendTo {
            mailbox: append.mailbox.clone(),
            messages: new
                .map(|((message, flags, internal_date), source)| NewMessage {
                    body: message.body(source),
                    prefix: Vec::new(),
                    internal_date: *internal_date,
                    flags: flags.clone(),
                })
                .collect(),
        };
        let bytes = to.encode();
        if bytes.len() <= APPEND_INLINE_MAX {
            return Ok(Change::Append(to));
        }
        let chunks: Vec<Chunk> = bytes.chunks(Chunk::RAW_LEN).map(raw).collect();
        let upload = new_upload()?;
        self.upload(shard, &[(upload, &chunks)]).await?;
        let digests = digests(&chunks);
        Ok(Change::AppendUploaded { upload, digests })
    }

    /// Brings the bodies of `messages` to `shard`, chunk by chunk.
    async fn upload_bodies(
        &self,
        shard: ShardId,
        messages: &[&PreparedMessage],
    ) -> Result<Vec<BodySource>, StoreError> {
        let mut uploads = Vec::with_capacity(messages.len());
        let mut sources = Vec::with_capacity(messages.len());
        for message in messages {
            let upload = new_upload()?;
            uploads.push((upload, message.chunks()));
            let digests = digests(message.chunks());
            sources.push(BodySource::Uploaded { upload, digests });
        }
        self.upload(shard, &uploads).await?;
        Ok(sources)
    }

    async fn upload(
        &self,
        shard: ShardId,
        uploads: &[(UploadId, &[Chunk])],
    ) -> Result<(), StoreError> {
        // By the time that says when it is over: with this machine's, one that was set back would send for nothing.
        let now = self.inner.calls.log_time(shard).await?;
        let expires = now.saturating_add(UPLOAD_LIFE);
        let send = async |(upload, index, chunk): (UploadId, u32, &Chunk)| {
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
        let mut chunks = Vec::new();
        for (upload, pieces) in uploads {
            chunks.extend(
                (0..)
                    .zip(*pieces)
                    .map(|(index, chunk)| (*upload, index, chunk)),
            );
        }
        stream::iter(chunks)
            .map(send)
            .buffer_unordered(CHUNKS_UNDER_WAY)
            .try_collect::<()>()
            .await
    }
}

fn inline(message: &PreparedMessage) -> BodySource {
    BodySource::Inline(message.chunks().to_vec())
}

/// A chunk that can be read as it is.
fn raw(bytes: &[u8]) -> Chunk {
    Chunk {
        codec: ChunkCodec::Raw,
        bytes: bytes.to_vec(),
    }
}

fn digests(chunks: &[Chunk]) -> Vec<[u8; 32]> {
    let digest = |chunk: &Chunk| *blake3::hash(&chunk.bytes).as_bytes();
    chunks.iter().map(digest).collect()
}

/// An id that no other upload has.
///
/// # Errors
/// The system gives no random numbers.
pub fn new_upload() -> Result<UploadId, StoreError> {
    let mut id = [0; 16];
    simulation::fill_random(&mut id)
        .map_err(|error| StoreError::Internal(format!("no random number: {error}")))?;
    Ok(UploadId(u128::from_le_bytes(id)))
}
