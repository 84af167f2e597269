//! Reads raft-engine's files without raft-engine: version 0.4.2.
//!
//! It writes files of its version 2. One whose header a crash tore it begins again, as version 1: without the
//! alignment, and without the file's number in the checksums.
//!
//! ```text
//! file   = magic, version u64, alignment u64 (0), batch*
//! batch  = length u56 and compression u8, footer's offset u64, entries, footer
//! entries: may be empty, else ends in the CRC-32 of the rest, little-endian
//! footer : ends in the CRC-32 of the rest XOR the low 32 bits of the file's number, little-endian
//! ```
//!
//! Big-endian where nothing is said.

const MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
const BATCH_HEADER_BYTES: usize = 16;
const CRC_BYTES: usize = 4;
/// None, or LZ4.
const COMPRESSIONS: std::ops::RangeInclusive<u64> = 0..=1;

/// How a file is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    /// Where the batches begin.
    pub(super) first_batch: usize,
    /// What the footers' checksums are mixed with.
    signature: u32,
}

impl Format {
    /// Reads the header of the file with this number; `None` if it is not what was written.
    pub(super) fn of(file: &[u8], file_number: u64) -> Option<Format> {
        let version = file
            .starts_with(MAGIC)
            .then(|| u64_at(file, MAGIC.len()))??;
        let versioned = MAGIC.len() + 8;
        match version {
            1 => Some(Format {
                first_batch: versioned,
                signature: 0,
            }),
            2 if u64_at(file, versioned) == Some(0) => Some(Format::newest(file_number)),
            _ => None,
        }
    }

    /// As files are written today.
    pub(super) fn newest(file_number: u64) -> Format {
        Format {
            first_batch: MAGIC.len() + 16,
            // The low 32 bits.
            signature: file_number as u32,
        }
    }
}

/// Where the parts of a batch lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    start: usize,
    footer: usize,
    /// Where the next one starts.
    pub(super) end: usize,
}

impl Batch {
    /// The batch that starts at `start`, if what stands there can be a batch's header.
    pub(super) fn at(file: &[u8], start: usize) -> Option<Batch> {
        let len_and_type = u64_at(file, start)?;
        let footer = u64_at(file, start + 8)?;
        let len = len_and_type >> 8;
        let plausible = COMPRESSIONS.contains(&(len_and_type & 0xff))
            && footer >= BATCH_HEADER_BYTES as u64
            && len.checked_sub(footer)? > CRC_BYTES as u64
            && len <= (file.len() - start) as u64;
        // Both are at most the file's length, which is a usize.
        plausible.then(|| Batch {
            start,
            footer: start + footer as usize,
            end: start + len as usize,
        })
    }

    /// How much [`Batch::footer_is_valid`] reads.
    pub(super) fn footer_bytes(&self) -> usize {
        self.end - self.footer
    }

    /// Whether the list of what is in the batch is what was written, to this file.
    pub(super) fn footer_is_valid(&self, file: &[u8], format: Format) -> bool {
        crc_matches(&file[self.footer..self.end], format.signature)
    }

    /// Whether the entries are what was written.
    pub(super) fn entries_are_valid(&self, file: &[u8]) -> bool {
        let entries = &file[self.start + BATCH_HEADER_BYTES..self.footer];
        entries.is_empty() || crc_matches(entries, 0)
    }
}

fn crc_matches(bytes: &[u8], signature: u32) -> bool {
    bytes
        .split_last_chunk::<CRC_BYTES>()
        .is_some_and(|(content, crc)| {
            crc32fast::hash(content) == u32::from_le_bytes(*crc) ^ signature
        })
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*bytes))
}
