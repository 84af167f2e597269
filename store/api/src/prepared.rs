//! A message made ready for the store: hashed, parsed, compressed in chunks. All of it by the proposer, so that no
//! copy of a shard ever parses or compresses (DESIGN, "Commands are deterministic").

use std::borrow::Cow;

use mailrook_kv::RecordError;
use mailrook_mailbox::{BodySource, Chunk, ChunkCodec, NewBody};
use mailrook_mime::SentDate;
use mailrook_types::{BlobHash, BodyPart, Envelope};
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// A message with all that is derived from it. Preparing costs CPU in proportion to the size: large ones are
/// prepared off the threads that serve sockets.
#[derive(Clone, Debug)]
pub struct PreparedMessage {
    size: u32,
    crlf_growth: u32,
    hash: BlobHash,
    chunks: Vec<Chunk>,
    detail: Vec<u8>,
    signature: Vec<u8>,
}

impl PreparedMessage {
    /// 1 GiB: what 32-bit offsets hold with room to spare. The servers' own limits are far below.
    pub const SIZE_MAX: usize = 1 << 30;

    /// Prepares `raw`.
    ///
    /// # Errors
    /// [`StoreError::Unacceptable`] above [`PreparedMessage::SIZE_MAX`].
    pub fn new(raw: &[u8]) -> Result<PreparedMessage, StoreError> {
        let too_large = || StoreError::Unacceptable(format!("a message of {} bytes", raw.len()));
        if raw.len() > PreparedMessage::SIZE_MAX {
            return Err(too_large());
        }
        let size = u32::try_from(raw.len()).map_err(|_| too_large())?;
        let derived = mailrook_mime::derive(raw);
        let detail = Detail {
            envelope: derived.envelope,
            structure: derived.structure,
            sent: derived.sent_date,
        };
        Ok(PreparedMessage {
            size,
            crlf_growth: crlf_growth(raw),
            hash: BlobHash(*blake3::hash(raw).as_bytes()),
            chunks: raw.chunks(Chunk::RAW_LEN).map(pack_chunk).collect(),
            detail: detail.encode(),
            signature: derived.signature.as_bytes().to_vec(),
        })
    }

    /// How many bytes the raw message has.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The raw message's name.
    pub fn hash(&self) -> BlobHash {
        self.hash
    }

    /// The chunks, as they are stored.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// How many bytes the chunks take.
    pub fn stored_len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// About how many bytes a command carries of the message beside its body, wherever that is: what is derived from
    /// it, the names of its chunks, and a hundred of small numbers.
    pub fn carried_len(&self) -> usize {
        let digests = self.chunks.len() * size_of::<[u8; 32]>();
        self.detail.len() + self.signature.len() + digests + 128
    }

    /// What a command carries of the message.
    pub fn body(&self, source: BodySource) -> NewBody {
        NewBody {
            hash: self.hash,
            size: self.size,
            crlf_growth: self.crlf_growth,
            source,
            detail: self.detail.clone(),
            signature: self.signature.clone(),
        }
    }
}

/// How many bytes more there are when each line ends with CRLF, the last one too: what POP3 sends, and counts
/// (RFC 1939 §11).
fn crlf_growth(raw: &[u8]) -> u32 {
    let bare = |at: &usize| *at == 0 || raw[at - 1] != b'\r';
    let bare = memchr::memchr_iter(b'\n', raw).filter(bare).count();
    let end = match raw.last() {
        None | Some(b'\n') => 0,
        Some(b'\r') => 1,
        Some(_) => 2,
    };
    u32::try_from(bare + end).unwrap_or(u32::MAX)
}

/// What is kept beside a body. Offsets in `structure` count from the first byte of the body, without any prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// The envelope.
    pub envelope: Envelope,
    /// The body structure.
    pub structure: BodyPart,
    /// The date of the `Date` field, if it can be read.
    pub sent: Option<SentDate>,
}

/// The stored form, version by version.
#[derive(Serialize, Deserialize)]
enum StoredDetail<'a> {
    V1 {
        envelope: Cow<'a, Envelope>,
        structure: Cow<'a, BodyPart>,
        sent: Option<SentDate>,
    },
}

impl Detail {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        mailrook_kv::encode(&StoredDetail::V1 {
            envelope: Cow::Borrowed(&self.envelope),
            structure: Cow::Borrowed(&self.structure),
            sent: self.sent,
        })
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Detail, RecordError> {
        let StoredDetail::V1 {
            envelope,
            structure,
            sent,
        } = mailrook_kv::decode(bytes)?;
        Ok(Detail {
            envelope: envelope.into_owned(),
            structure: structure.into_owned(),
            sent,
        })
    }
}

fn pack_chunk(raw: &[u8]) -> Chunk {
    let bytes = lz4_flex::block::compress_prepend_size(raw);
    if bytes.len() < raw.len() {
        return Chunk {
            codec: ChunkCodec::Lz4,
            bytes,
        };
    }
    Chunk {
        codec: ChunkCodec::Raw,
        bytes: raw.to_vec(),
    }
}

/// The raw bytes of a chunk.
///
/// # Errors
/// [`StoreError::Internal`] if the chunk is damaged.
pub fn unpack_chunk(chunk: Chunk) -> Result<Vec<u8>, StoreError> {
    let damaged = |what: &dyn std::fmt::Display| {
        StoreError::Internal(format!("a chunk of a body cannot be decompressed: {what}"))
    };
    match chunk.codec {
        ChunkCodec::Raw => Ok(chunk.bytes),
        ChunkCodec::Lz4 => {
            let (len, block) = lz4_flex::block::uncompressed_size(&chunk.bytes)
                .map_err(|error| damaged(&error))?;
            if len > Chunk::RAW_LEN {
                return Err(damaged(&format!("it would have {len} bytes")));
            }
            lz4_flex::block::decompress(block, len).map_err(|error| damaged(&error))
        }
    }
}

/// The bytes `start..end` of a body out of its chunks, of which `chunks` are those from number `first`.
///
/// # Errors
/// [`StoreError::Internal`] if a chunk is damaged.
pub fn copy_range(
    chunks: Vec<Chunk>,
    first: u32,
    start: u32,
    end: u32,
) -> Result<Vec<u8>, StoreError> {
    let (start, end) = (start as usize, end as usize);
    let mut bytes = Vec::new();
    for (index, chunk) in chunks.into_iter().enumerate() {
        let chunk_start = (first as usize + index) * Chunk::RAW_LEN;
        let raw = unpack_chunk(chunk)?;
        let from = start.saturating_sub(chunk_start).min(raw.len());
        let to = end.saturating_sub(chunk_start).min(raw.len());
        if bytes.is_empty() && from == 0 && to == raw.len() {
            // Most bodies are one chunk.
            bytes = raw;
        } else if from < to {
            bytes.extend_from_slice(&raw[from..to]);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_back_in_any_range() {
        let raw: Vec<u8> = (0..600_000u32)
            .flat_map(|n| [(n % 251) as u8, (n / 7 % 256) as u8])
            .collect();
        let prepared = PreparedMessage::new(&raw).unwrap();
        assert_eq!(prepared.size() as usize, raw.len());
        for (start, end) in [
            (0, 10),
            (262_140, 262_150),
            (0, 1_200_000),
            (1_199_999, 1_200_000),
            (5, 5),
        ] {
            assert_eq!(
                copy_range(prepared.chunks().to_vec(), 0, start, end).unwrap(),
                raw[start as usize..end as usize]
            );
        }
        assert_eq!(
            copy_range(prepared.chunks()[1..].to_vec(), 1, 300_000, 300_009).unwrap(),
            raw[300_000..300_009]
        );
    }

    #[test]
    fn lines_that_do_not_end_with_crlf_are_counted() {
        for (raw, growth) in [
            (&b""[..], 0),
            (b"a\r\nb\r\n", 0),
            (b"a\nb\r\n\n", 2),
            (b"\n", 1),
            (b"a", 2),
            (b"a\n\r", 2),
            (b"a\r\r\nb\rc\r\n", 0),
        ] {
            assert_eq!(crlf_growth(raw), growth, "{raw:?}");
        }
    }

    #[test]
    fn a_damaged_chunk_is_an_error() {
        let chunk = Chunk {
            codec: ChunkCodec::Lz4,
            bytes: b"no frame".to_vec(),
        };
        assert!(matches!(unpack_chunk(chunk), Err(StoreError::Internal(_))));
    }
}
