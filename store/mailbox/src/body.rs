//! Bodies: each once in the shard, with a count of the messages that have it, and the uploads that become bodies.

use std::ops::ControlFlow;

use mailrook_kv::{Direction, KvError, Read, Space, prefix_end};
use mailrook_types::{BlobHash, UploadId};

use crate::{
    BodySource, Chunk, ChunkCodec, NewBody, Refusal, UploadChunk,
    fields::Damage,
    key::{self, Expiring},
    limits::{BODY_KEPT, CHUNKS_MAX, UPLOAD_KEPT_MAX, millis},
    record::{BodyRecord, PRESENT, UploadRecord},
    tx::{Outcome, Writable},
};

/// A chunk as it is stored: the bytes, then one byte that says the codec. Behind them, so that it comes off without a copy.
fn encode_chunk(chunk: &Chunk) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(chunk.bytes.len() + 1);
    bytes.extend_from_slice(&chunk.bytes);
    bytes.push(match chunk.codec {
        ChunkCodec::Raw => 1,
        ChunkCodec::Lz4 => 2,
    });
    bytes
}

fn decode_chunk(mut bytes: Vec<u8>) -> Result<Chunk, Damage> {
    let codec = match bytes.pop() {
        Some(1) => ChunkCodec::Raw,
        Some(2) => ChunkCodec::Lz4,
        _ => return Err(Damage("a chunk of a body has an unknown codec")),
    };
    Ok(Chunk { codec, bytes })
}

pub(crate) fn find(view: &dyn Read, hash: &BlobHash) -> Result<Option<BodyRecord>, KvError> {
    match view.get(Space::Index, &key::body(hash))? {
        Some(bytes) => Ok(Some(BodyRecord::decode(&bytes)?)),
        None => Ok(None),
    }
}

/// Chunks of a body: `count` from `first`, fewer at its end. `None` if there is no such body.
pub(crate) fn chunks(
    view: &dyn Read,
    hash: &BlobHash,
    first: u32,
    count: u32,
) -> Result<Option<Vec<Chunk>>, KvError> {
    // Most bodies came with their message, and are one chunk: it stands under the hash, and only if its record is there.
    if (first, count) == (0, 1)
        && let Some(stored) = view.get(Space::Body, &key::chunk(hash, None, 0))?
    {
        return Ok(Some(vec![decode_chunk(stored)?]));
    }
    let Some(record) = find(view, hash)? else {
        return Ok(None);
    };
    let mut chunks = Vec::new();
    for number in first..first.saturating_add(count).min(record.chunks) {
        let stored = view.get(Space::Body, &key::chunk(hash, record.place, number))?;
        chunks.push(decode_chunk(
            stored.ok_or(Damage("a body has lost a chunk"))?,
        )?);
    }
    Ok(Some(chunks))
}

fn find_upload(view: &dyn Writable, id: UploadId) -> Result<Option<UploadRecord>, KvError> {
    match view.get(Space::Index, &key::upload(id))? {
        Some(bytes) => Ok(Some(UploadRecord::decode(&bytes)?)),
        None => Ok(None),
    }
}

/// Insists that `body` is here already or comes whole with the command. Changes nothing.
pub(crate) fn require(view: &dyn Writable, now: i64, body: &NewBody) -> Outcome<()> {
    if find(view.as_read(), &body.hash)?.is_some() {
        return Ok(());
    }
    let expected = u64::from(body.size).div_ceil(Chunk::RAW_LEN as u64);
    let there = match &body.source {
        BodySource::Inline(chunks) => chunks.len() as u64 == expected,
        BodySource::Uploaded { upload, digests } => {
            digests.len() as u64 == expected && has_digests(view, now, *upload, digests)?
        }
    };
    if there {
        Ok(())
    } else {
        Err(Refusal::BodyMissing.into())
    }
}

fn has_digests(
    view: &dyn Writable,
    now: i64,
    id: UploadId,
    digests: &[[u8; 32]],
) -> Result<bool, KvError> {
    if digests.is_empty() {
        return Ok(true);
    }
    let Some(UploadRecord::Open { expires_ms, chunks }) = find_upload(view, id)? else {
        return Ok(false);
    };
    if expires_ms <= now || chunks as usize != digests.len() {
        return Ok(false);
    }
    for (chunk, digest) in (0..).zip(digests) {
        if view
            .get(Space::Index, &key::upload_digest(id, chunk))?
            .as_deref()
            != Some(digest)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What was uploaded, not to become a body: the bytes of all chunks.
pub(crate) fn read_upload(
    view: &dyn Writable,
    now: i64,
    id: UploadId,
    digests: &[[u8; 32]],
) -> Outcome<Vec<u8>> {
    if digests.is_empty() || !has_digests(view, now, id, digests)? {
        return Err(Refusal::BodyMissing.into());
    }
    let mut bytes = Vec::new();
    for number in 0..digests.len() as u32 {
        let key = key::chunk(&BlobHash([0; 32]), Some(id), number);
        let stored = view.get(Space::Body, &key)?;
        let chunk = decode_chunk(stored.ok_or(Damage("an upload has lost a chunk"))?)?;
        if chunk.codec != ChunkCodec::Raw {
            return Err(Refusal::BodyMissing.into());
        }
        bytes.extend_from_slice(&chunk.bytes);
    }
    Ok(bytes)
}

/// Counts `messages` more that have `body`, which [`require`] has found to be here, and stores it if it is new.
pub(crate) fn reference(
    view: &mut dyn Writable,
    body: &NewBody,
    messages: u64,
) -> Result<(), KvError> {
    let record = match find(view.as_read(), &body.hash)? {
        Some(mut record) => {
            if let Some(expires_ms) = record.expires_ms.take() {
                view.delete(
                    Space::Index,
                    key::expiry(expires_ms, &Expiring::Body(body.hash)),
                );
            }
            if let BodySource::Uploaded { upload, .. } = &body.source
                && record.place != Some(*upload)
            {
                drop_upload(view, *upload)?;
            }
            record.refs += messages;
            record
        }
        None => BodyRecord {
            refs: messages,
            size: body.size,
            chunks: u64::from(body.size).div_ceil(Chunk::RAW_LEN as u64) as u32,
            place: store(view, body)?,
            expires_ms: None,
        },
    };
    view.put(Space::Index, key::body(&body.hash), record.encode());
    Ok(())
}

/// Puts the chunks of a new body where they stay.
fn store(view: &mut dyn Writable, body: &NewBody) -> Result<Option<UploadId>, KvError> {
    match &body.source {
        BodySource::Inline(chunks) => {
            for (number, chunk) in (0..).zip(chunks) {
                view.put(
                    Space::Body,
                    key::chunk(&body.hash, None, number),
                    encode_chunk(chunk),
                );
            }
            Ok(None)
        }
        BodySource::Uploaded { digests, .. } if digests.is_empty() => Ok(None),
        BodySource::Uploaded { upload, .. } => {
            forget_upload(view, *upload)?;
            let used = UploadRecord::Used(body.hash);
            view.put(Space::Index, key::upload(*upload), used.encode());
            Ok(Some(*upload))
        }
    }
}

/// Takes one message off those that have a body. Without any it stays readable for a while.
pub(crate) fn release(view: &mut dyn Writable, now: i64, hash: &BlobHash) -> Result<(), KvError> {
    let mut record = find(view.as_read(), hash)?.ok_or(Damage("a message's body is not here"))?;
    record.refs = record
        .refs
        .checked_sub(1)
        .ok_or(Damage("a body has fewer references than messages"))?;
    if record.refs == 0 {
        let expires_ms = now.saturating_add(millis(BODY_KEPT));
        record.expires_ms = Some(expires_ms);
        let queue_key = key::expiry(expires_ms, &Expiring::Body(*hash));
        view.put(Space::Index, queue_key, PRESENT.to_vec());
    }
    view.put(Space::Index, key::body(hash), record.encode());
    Ok(())
}

/// Removes a body that nothing refers to. Says how many chunks it had.
pub(crate) fn remove(view: &mut dyn Writable, hash: &BlobHash, record: &BodyRecord) -> u32 {
    for chunk in 0..record.chunks {
        view.delete(Space::Body, key::chunk(hash, record.place, chunk));
    }
    if let Some(upload) = record.place {
        view.delete(Space::Index, key::upload(upload));
    }
    view.delete(Space::Index, key::body(hash));
    record.chunks
}

/// Takes in one chunk of an upload.
pub(crate) fn upload(view: &mut dyn Writable, now: i64, sent: &UploadChunk) -> Outcome<()> {
    if sent.index >= CHUNKS_MAX {
        return Err(Refusal::Limit(format!("a body has at most {CHUNKS_MAX} chunks")).into());
    }
    let id = sent.upload;
    let (known, old_expires_ms) = match find_upload(view, id)? {
        // It became a body already: this is an echo.
        Some(UploadRecord::Used(_)) => return Ok(()),
        Some(UploadRecord::Open { expires_ms, chunks }) if expires_ms > now => {
            (chunks, Some(expires_ms))
        }
        Some(UploadRecord::Open { .. }) => {
            drop_upload(view, id)?;
            (0, None)
        }
        None => (0, None),
    };
    let digest_key = key::upload_digest(id, sent.index);
    let is_new = view.get(Space::Index, &digest_key)?.is_none();
    let latest = now.saturating_add(millis(UPLOAD_KEPT_MAX));
    let asked = sent.expires.0.clamp(now.saturating_add(1), latest);
    let expires_ms = asked.max(old_expires_ms.unwrap_or(asked));
    if let Some(old) = old_expires_ms {
        view.delete(Space::Index, key::expiry(old, &Expiring::Upload(id)));
    }
    let queue_key = key::expiry(expires_ms, &Expiring::Upload(id));
    view.put(Space::Index, queue_key, PRESENT.to_vec());
    let digest = blake3::hash(&sent.chunk.bytes);
    view.put(Space::Index, digest_key, digest.as_bytes().to_vec());
    let chunk_key = key::chunk(&BlobHash([0; 32]), Some(id), sent.index);
    view.put(Space::Body, chunk_key, encode_chunk(&sent.chunk));
    let record = UploadRecord::Open {
        expires_ms,
        chunks: known + u32::from(is_new),
    };
    view.put(Space::Index, key::upload(id), record.encode());
    Ok(())
}

/// Removes an upload with its chunks, unless it became a body. Says how many chunks it had.
pub(crate) fn drop_upload(view: &mut dyn Writable, id: UploadId) -> Result<u32, KvError> {
    let chunks = forget_upload(view, id)?;
    for chunk in &chunks {
        view.delete(
            Space::Body,
            key::chunk(&BlobHash([0; 32]), Some(id), *chunk),
        );
    }
    Ok(chunks.len() as u32)
}

/// Removes what is known of an open upload, but not its chunks, which it names.
fn forget_upload(view: &mut dyn Writable, id: UploadId) -> Result<Vec<u32>, KvError> {
    let Some(UploadRecord::Open { expires_ms, .. }) = find_upload(view, id)? else {
        return Ok(Vec::new());
    };
    let prefix = key::upload(id);
    let mut digests = Vec::new();
    view.scan(
        Space::Index,
        &prefix,
        &prefix_end(&prefix),
        Direction::Forward,
        &mut |key, _| {
            digests.push(key.to_vec());
            ControlFlow::Continue(())
        },
    )?;
    let mut chunks = Vec::with_capacity(digests.len());
    for key in digests {
        if key.len() > prefix.len() {
            chunks.push(key::last_u32(&key)?);
        }
        view.delete(Space::Index, key);
    }
    view.delete(Space::Index, key::expiry(expires_ms, &Expiring::Upload(id)));
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use mailrook_types::{Timestamp, UploadId};

    use crate::{
        Answer, BodySource, Change, Chunk, ChunkCodec, MailboxRef, Query, Refusal, ShardCommand,
        ShardReply, UploadChunk, limits::CHUNKS_MAX, testing::*,
    };

    const UPLOAD: UploadId = UploadId(9);

    fn send(world: &mut World, index: u32, text: &[u8]) -> ShardReply {
        let chunk = Chunk {
            codec: ChunkCodec::Lz4,
            bytes: text.to_vec(),
        };
        let expires = Timestamp(world.now + 60_000);
        world.apply(&ShardCommand::Upload(UploadChunk {
            upload: UPLOAD,
            index,
            expires,
            chunk,
        }))
    }

    /// An APPEND of one uploaded body of two chunks.
    fn append_uploaded() -> Change {
        let Change::Append(mut to) = append(MailboxRef::Id(INBOX), 1) else {
            unreachable!()
        };
        let digest = |text: &[u8]| *blake3::hash(text).as_bytes();
        to.messages[0].body.size = Chunk::RAW_LEN as u32 + 1;
        to.messages[0].body.source = BodySource::Uploaded {
            upload: UPLOAD,
            digests: vec![digest(b"one"), digest(b"two")],
        };
        Change::Append(to)
    }

    fn chunks(world: &World, first: u32) -> Answer {
        world.ask(&Query::Chunks {
            hash: body(0).hash,
            first,
            count: 5,
        })
    }

    #[test]
    fn an_upload_becomes_a_body_when_it_is_whole() {
        let mut world = World::new();
        send(&mut world, 0, b"one");
        assert_eq!(world.change(append_uploaded()), Err(Refusal::BodyMissing));
        send(&mut world, 1, b"twx");
        assert_eq!(world.change(append_uploaded()), Err(Refusal::BodyMissing));
        send(&mut world, 1, b"two");
        assert!(world.change(append_uploaded()).is_ok());
        let second = Chunk {
            codec: ChunkCodec::Lz4,
            bytes: b"two".to_vec(),
        };
        assert_eq!(chunks(&world, 1), Answer::Chunks(vec![second]));
        // An echo of a chunk does not touch the body.
        assert_eq!(send(&mut world, 1, b"else"), ShardReply::Uploaded(Ok(())));
        assert!(matches!(chunks(&world, 1), Answer::Chunks(chunks) if chunks[0].bytes == b"two"));
    }

    #[test]
    fn an_upload_that_nobody_used_goes() {
        let mut world = World::new();
        let before = world.pairs();
        send(&mut world, 0, b"one");
        send(&mut world, 1, b"two");
        world.now += 60_001;
        assert_eq!(world.change(append_uploaded()), Err(Refusal::BodyMissing));
        assert_eq!(world.pairs(), before);
    }

    #[test]
    fn a_body_outlives_its_last_message_by_an_hour() {
        let mut world = World::new();
        world.append(1);
        world
            .change(Change::Remove {
                mailbox: INBOX,
                uids: set("1"),
            })
            .unwrap();
        world.now += 3_590_000;
        world.apply(&ShardCommand::Tick);
        assert!(matches!(chunks(&world, 0), Answer::Chunks(_)));
        world.now += 20_000;
        world.apply(&ShardCommand::Tick);
        assert_eq!(chunks(&world, 0), Answer::NoSuchBody);
    }

    #[test]
    fn chunks_have_a_bound() {
        let mut world = World::new();
        let ShardReply::Uploaded(Err(Refusal::Limit(_))) = send(&mut world, CHUNKS_MAX, b"") else {
            panic!("a chunk beyond the largest body was taken");
        };
    }
}
