//! Copying what an account holds from shard to shard.

use std::{collections::HashSet, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use mailrook_mailbox::{
    Answer, BodySource, Chunk, ChunkCodec, MoveReply, MoveStep, MovedPair, MovedPairs, Query,
    ShardCommand, ShardReply, UploadChunk, limits::MOVED_BYTES_MAX,
};
use mailrook_store_api::StoreError;
use mailrook_store_client::new_upload;
use mailrook_types::{BlobHash, UploadId};

use super::{NOTE_EVERY, Stopped, Taken};
use crate::gather::misfit;

/// Commands of a move that are under way at a time: enough to keep a shard's log busy, and few enough that others are not held up.
const UNDER_WAY: usize = 4;

/// Bodies up to this length travel with their message, beside which there may be as much again: an entry of the log holds
/// both.
const INLINE_MAX: u32 = 128 << 10;

/// An upload that is not used so long after its last chunk is forgotten: its mover has died. As for clients' uploads; a chunk that
/// is on its way for longer fails before.
const UPLOAD_LIFE: Duration = Duration::from_secs(3600);

impl Taken<'_> {
    /// Copies all pairs, or those that changed in a round; several commands at a time. Says how many bytes.
    /// `while_used`: nobody waits for it.
    pub(super) async fn copy(
        &mut self,
        round: Option<u32>,
        while_used: bool,
    ) -> Result<u64, Stopped> {
        let (mut after, mut all) = (None, 0);
        loop {
            if while_used {
                self.rest().await?;
            }
            let query = Query::MovedPairs {
                account: self.account(),
                by: self.by,
                round,
                after: after.take(),
            };
            let (pairs, next) = match self.mover.shards.shard_query(self.of.from, query).await? {
                Answer::Moved { pairs, next } => (pairs, next),
                Answer::Elsewhere => return Err(Stopped::Overtaken),
                other => return Err(misfit(&other).into()),
            };
            let messages = pairs.iter().filter(|pair| pair.message.is_some()).count();
            let bytes = self.install(pairs).await?;
            all += bytes;
            self.note.messages += messages as u64;
            self.note.bytes += bytes;
            if while_used {
                self.keep_pace(bytes).await?;
            }
            if while_used && self.noted.elapsed() >= NOTE_EVERY {
                self.tell().await?;
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Brings pairs to the other shard, with the bodies that it lacks.
    async fn install(&self, mut pairs: Vec<MovedPair>) -> Result<u64, Stopped> {
        self.add_bodies(&mut pairs).await?;
        let bytes = pairs.iter().map(bytes_of).sum();
        let parts = in_parts(pairs);
        stream::iter(parts)
            .map(|part| self.install_part(part))
            .buffer_unordered(UNDER_WAY)
            .try_collect::<()>()
            .await?;
        Ok(bytes)
    }

    async fn install_part(&self, part: Vec<MovedPair>) -> Result<(), Stopped> {
        if let [pair] = &part[..]
            && pair.bytes() > MOVED_BYTES_MAX
        {
            return self.install_long(&part).await;
        }
        // What was here when it was asked for may have gone since.
        for _ in 0..BODIES_TRIES {
            let mut again = part.clone();
            match self
                .shard_step(self.of.to, MoveStep::Install(part.clone()))
                .await?
            {
                MoveReply::Done => return Ok(()),
                MoveReply::BodiesMissing(missing) => {
                    let missing: HashSet<_> = missing.into_iter().collect();
                    self.bring_bodies(&mut again, &missing).await?;
                    for some in in_parts(again) {
                        match self.shard_step(self.of.to, MoveStep::Install(some)).await? {
                            MoveReply::Done => {}
                            MoveReply::BodiesMissing(_) => break,
                            _ => return Err(differs()),
                        }
                    }
                }
                _ => return Err(differs()),
            }
        }
        Err(Stopped::GiveUp(
            "the shard does not keep its bodies".to_owned(),
        ))
    }

    /// Installs what is longer than an entry of the log.
    async fn install_long(&self, part: &[MovedPair]) -> Result<(), Stopped> {
        for _ in 0..BODIES_TRIES {
            if self.install_uploaded(part).await? {
                return Ok(());
            }
        }
        // Its body has gone since it was asked for.
        Err(gone())
    }

    /// Says whether it is there: not, if the upload has gone, or a body.
    async fn install_uploaded(&self, part: &[MovedPair]) -> Result<bool, Stopped> {
        let bytes = MovedPairs(part.to_vec()).encode();
        let raw = |bytes: &[u8]| Chunk {
            codec: ChunkCodec::Raw,
            bytes: bytes.to_vec(),
        };
        let chunks: Vec<Chunk> = bytes.chunks(Chunk::RAW_LEN).map(raw).collect();
        let upload = new_upload()?;
        let mut digests = Vec::with_capacity(chunks.len());
        for (index, chunk) in (0..).zip(chunks) {
            digests.push(self.upload_chunk(upload, index, chunk).await?);
        }
        let step = MoveStep::InstallUploaded { upload, digests };
        match self.shard_step(self.of.to, step).await? {
            MoveReply::Done => Ok(true),
            MoveReply::BodiesMissing(_) => Ok(false),
            _ => Err(differs()),
        }
    }

    async fn upload_chunk(
        &self,
        upload: UploadId,
        index: u32,
        chunk: Chunk,
    ) -> Result<[u8; 32], Stopped> {
        let digest = *blake3::hash(&chunk.bytes).as_bytes();
        // By the time that says when it is over. Each chunk puts that off for all of them.
        let now = self.mover.shards.log_time(self.of.to).await?;
        let command = ShardCommand::Upload(UploadChunk {
            upload,
            index,
            expires: now.saturating_add(UPLOAD_LIFE),
            chunk,
        });
        match self.mover.shards.shard_command(self.of.to, command).await? {
            ShardReply::Uploaded(Ok(())) => Ok(digest),
            other => Err(misfit(&other).into()),
        }
    }

    /// Puts bodies beside their messages that the other shard does not have.
    async fn add_bodies(&self, pairs: &mut [MovedPair]) -> Result<(), Stopped> {
        let messages = pairs.iter().filter_map(|pair| pair.message.as_ref());
        let mut hashes: Vec<BlobHash> = messages.map(|message| message.hash).collect();
        hashes.sort_unstable_by_key(|hash| hash.0);
        hashes.dedup();
        if hashes.is_empty() {
            return Ok(());
        }
        let query = Query::BodiesMissing(hashes);
        let missing = match self.mover.shards.shard_query(self.of.to, query).await? {
            Answer::BodiesMissing(missing) => missing.into_iter().collect(),
            other => return Err(misfit(&other).into()),
        };
        self.bring_bodies(pairs, &missing).await
    }

    async fn bring_bodies(
        &self,
        pairs: &mut [MovedPair],
        missing: &HashSet<BlobHash>,
    ) -> Result<(), Stopped> {
        let mut brought = HashSet::new();
        let messages = pairs.iter_mut().filter_map(|pair| pair.message.as_mut());
        let mut wanted: Vec<_> = messages
            .filter(|message| missing.contains(&message.hash) && brought.insert(message.hash))
            .collect();
        let mut at = 0;
        while at < wanted.len() {
            if wanted[at].body_size > INLINE_MAX {
                let source = self.upload(wanted[at].hash, wanted[at].body_size).await?;
                wanted[at].source = Some(source);
                at += 1;
                continue;
            }
            let hashes = wanted[at..].iter().map(|message| message.hash).collect();
            let query = Query::Bodies(hashes);
            let bodies = match self.mover.shards.shard_query(self.of.from, query).await? {
                Answer::Bodies(bodies) => bodies,
                // It was removed meanwhile, which is noted and copied later: begin this part anew.
                Answer::NoSuchBody => return Err(gone()),
                other => return Err(misfit(&other).into()),
            };
            if bodies.is_empty() {
                return Err(StoreError::Internal("no bodies in an answer".to_owned()).into());
            }
            for chunks in bodies {
                wanted[at].source = Some(BodySource::Inline(chunks));
                at += 1;
            }
        }
        Ok(())
    }

    /// Brings a long body to the other shard, piece by piece.
    async fn upload(&self, hash: BlobHash, size: u32) -> Result<BodySource, Stopped> {
        let upload = new_upload()?;
        let count = size.div_ceil(Chunk::RAW_LEN as u32);
        let send = async |index: u32| -> Result<[u8; 32], Stopped> {
            let query = Query::Chunks {
                hash,
                first: index,
                count: 1,
            };
            let mut chunks = match self.mover.shards.shard_query(self.of.from, query).await? {
                Answer::Chunks(chunks) => chunks,
                Answer::NoSuchBody => return Err(gone()),
                other => return Err(misfit(&other).into()),
            };
            let chunk = chunks.pop().ok_or_else(gone)?;
            self.upload_chunk(upload, index, chunk).await
        };
        let digests = stream::iter(0..count).map(send).buffered(UNDER_WAY);
        let digests = digests.try_collect().await?;
        Ok(BodySource::Uploaded { upload, digests })
    }
}

/// How often bodies are brought again that were there, and are not any more.
const BODIES_TRIES: usize = 3;

fn differs() -> Stopped {
    Stopped::GiveUp("a message is not what its record says".to_owned())
}

/// A message was removed, long enough ago that its body has gone, between two looks.
fn gone() -> Stopped {
    StoreError::Unavailable("a body has gone while it was copied".to_owned()).into()
}

/// As many pairs in each part as a step takes.
fn in_parts(pairs: Vec<MovedPair>) -> Vec<Vec<MovedPair>> {
    let mut parts: Vec<Vec<MovedPair>> = Vec::new();
    let mut bytes = usize::MAX;
    for pair in pairs {
        let len = pair.bytes();
        if bytes.saturating_add(len) > MOVED_BYTES_MAX {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += len;
        if let Some(part) = parts.last_mut() {
            part.push(pair);
        }
    }
    parts
}

/// How much is copied with a pair, bodies that were uploaded included.
fn bytes_of(pair: &MovedPair) -> u64 {
    let uploaded = pair
        .message
        .as_ref()
        .map_or(0, |message| match message.source {
            Some(BodySource::Uploaded { .. }) => message.body_size,
            _ => 0,
        });
    pair.bytes() as u64 + u64::from(uploaded)
}
