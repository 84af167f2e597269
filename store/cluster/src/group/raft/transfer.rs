//! What the two sides of a snapshot's transfer say to each other, on a stream of their own:
//!
//! ```text
//! leader                                  copy
//! Offer: how far it is, its files   ──▶
//!                                   ◀──   Missing: which of them, from which offset on
//! chunks of those, in order         ──▶   (each file is synced and its digest compared)
//!                                   ◀──   Installed, or Failed
//! ```
//!
//! A file that arrived as a whole stays until the snapshot is installed, whatever happens to the connection: files are
//! named by their digests, and a later offer of the same file needs it no more.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::wire::{WireLogId, WireVote};

/// What is read and sent at a time: large enough that the disk is not asked too often, small enough that a slow receiver
/// holds little.
pub(super) const CHUNK_BYTES: usize = 512 << 10;

/// A checkpoint has some hundreds of files; of a terabyte in tables of 64 MiB it has 16,384.
pub(super) const FILES_MAX: usize = 65_536;

/// A file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileInfo {
    pub(super) name: String,
    pub(super) len: u64,
    /// BLAKE3.
    pub(super) digest: [u8; 32],
}

/// What is offered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) vote: WireVote,
    pub(super) last: WireLogId,
    /// As the log stores memberships.
    pub(super) membership: Vec<u8>,
    pub(super) files: Vec<FileInfo>,
}

/// A file that is missing, by its place in the offer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Missing {
    pub(super) file: u32,
    /// So much of it is there.
    pub(super) offset: u64,
}

/// What the receiver says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Missing(Vec<Missing>),
    /// With the receiver's vote, as the consensus engine gave it.
    Installed(WireVote),
    /// Why not.
    Failed(String),
}

/// A piece of a file, with its place in the offer.
pub(super) fn chunk(file: u32, bytes: &[u8]) -> Bytes {
    let mut item = BytesMut::with_capacity(4 + bytes.len());
    item.put_u32_le(file);
    item.put_slice(bytes);
    item.freeze()
}

/// Reads [`chunk`].
pub(super) fn read_chunk(mut item: Bytes) -> Option<(u32, Bytes)> {
    (item.len() >= 4).then(|| (item.get_u32_le(), item))
}
