//! A small summary of a message's text, by which SEARCH skips the messages that cannot match.
//!
//! It is two bitmaps, one of the headers and one of the bodies, each with one bit set for every three successive bytes
//! of the folded text (`text` says which text, `fold` how). A needle of which a trigram is missing is not there.
//! The other way round it may err, never this way: what a signature excludes, the exact search would not find.
//! It goes by bytes and not by characters, so that two Chinese characters already make four trigrams.
//!
//! Stored form: a byte of version, a byte for the size of each bitmap (0: no text at all; n: 2^n bytes), the bitmaps.
//! A bitmap has the smallest power of two of bytes in which at most one bit in [`SPARSE_SHARE`] is set.
//! Hashes are fixed: the same text gives the same signature on every node.

use std::ops::ControlFlow;

use mailrook_types::BodyPart;
use serde::{Deserialize, Serialize};

use crate::{
    fold::fold_into,
    limits::NEEDLE_TRIGRAMS_MAX,
    text::{TextSink, read_bodies, read_headers},
};

/// Written first; a signature of another version excludes nothing. It changes with the hash, the folding and the text
/// that is searched.
const VERSION: u8 = 1;

/// Version and two sizes.
const PREFIX_BYTES: usize = 3;

/// The largest bitmap, as a power of two of bytes: 4 KiB, enough for 100 KB of plain text.
const SIZE_LOG2_MAX: u32 = 12;

/// The smallest one: 64 bytes.
const SIZE_LOG2_MIN: u32 = 6;

const BITMAP_BYTES_MAX: usize = 1 << SIZE_LOG2_MAX;

/// One bit in eight: a needle of three bytes then passes one message in eight that does not hold it, one of six bytes
/// (four trigrams) hardly any. Costs 8 to 16 bits a trigram.
const SPARSE_SHARE: usize = 8;

/// Which text is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchScope {
    /// `HEADER`, `SUBJECT`, `FROM` and the like
    Header,
    /// `BODY`
    Body,
    /// `TEXT`: either
    Text,
}

/// The summary of one message, in its stored form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature(Box<[u8]>);

/// The trigrams of a needle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedleTrigrams {
    hashes: Vec<u16>,
}

impl NeedleTrigrams {
    pub(crate) fn of_folded(needle: &[u8]) -> Self {
        let hashes = needle
            .windows(3)
            .map(|bytes| trigram_hash(bytes[0], bytes[1], bytes[2]));
        NeedleTrigrams {
            hashes: hashes.take(NEEDLE_TRIGRAMS_MAX).collect(),
        }
    }
}

impl Signature {
    /// The signature of a message whose structure has been read.
    pub(crate) fn of_message(raw: &[u8], root: &BodyPart) -> Self {
        let mut builder = Builder {
            header: Bitmap::new(),
            body: Bitmap::new(),
            folded: Vec::new(),
        };
        // The builder never breaks off.
        let _ = read_headers(raw, root, &mut builder);
        let _ = read_bodies(raw, root, &mut builder);
        let mut bytes = vec![VERSION, 0, 0];
        bytes[1] = builder.header.append_to(&mut bytes);
        bytes[2] = builder.body.append_to(&mut bytes);
        Signature(bytes.into())
    }

    /// Takes back what [`as_bytes`](Self::as_bytes) gave. Any bytes will do: what is no signature excludes nothing.
    pub fn from_bytes(bytes: impl Into<Box<[u8]>>) -> Self {
        Signature(bytes.into())
    }

    /// The stored form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the message may have the needle in that text. False only if it certainly has not.
    pub fn may_contain(&self, scope: SearchScope, needle: &NeedleTrigrams) -> bool {
        Self::bytes_may_contain(&self.0, scope, needle)
    }

    /// [`may_contain`](Self::may_contain) on the stored form, without a copy of it.
    pub fn bytes_may_contain(bytes: &[u8], scope: SearchScope, needle: &NeedleTrigrams) -> bool {
        let Some((header, body)) = bitmaps(bytes) else {
            return true;
        };
        match scope {
            SearchScope::Header => holds_all(header, needle),
            SearchScope::Body => holds_all(body, needle),
            SearchScope::Text => holds_all(header, needle) || holds_all(body, needle),
        }
    }
}

/// The two bitmaps of a stored signature; `None` if it is of another version or damaged.
fn bitmaps(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[version, header_size, body_size], rest) = bytes.split_first_chunk::<PREFIX_BYTES>()?;
    let length = |size: u8| match u32::from(size) {
        0 => Some(0),
        size @ SIZE_LOG2_MIN..=SIZE_LOG2_MAX => Some(1_usize << size),
        _ => None,
    };
    let (header, body) = rest.split_at_checked(length(header_size)?)?;
    (version == VERSION && body.len() == length(body_size)?).then_some((header, body))
}

fn holds_all(bitmap: &[u8], needle: &NeedleTrigrams) -> bool {
    if bitmap.is_empty() {
        return needle.hashes.is_empty();
    }
    let mask = bitmap.len() * 8 - 1;
    needle.hashes.iter().all(|&hash| {
        let bit = usize::from(hash) & mask;
        bitmap[bit / 8] & (1 << (bit % 8)) != 0
    })
}

/// Fifteen bits: a place in the largest bitmap. Multiplied by 2^32 divided by the golden ratio (Knuth, vol. 3, §6.4).
fn trigram_hash(first: u8, second: u8, third: u8) -> u16 {
    let trigram = u32::from(first) << 16 | u32::from(second) << 8 | u32::from(third);
    (trigram.wrapping_mul(0x9e37_79b1) >> (32 - (SIZE_LOG2_MAX + 3))) as u16
}

struct Builder {
    header: Bitmap,
    body: Bitmap,
    folded: Vec<u8>,
}

impl TextSink for Builder {
    fn piece(&mut self, scope: SearchScope, text: &str) -> ControlFlow<()> {
        self.folded.clear();
        fold_into(text, &mut self.folded);
        match scope {
            SearchScope::Header => self.header.add(&self.folded),
            SearchScope::Body | SearchScope::Text => self.body.add(&self.folded),
        }
        ControlFlow::Continue(())
    }

    fn end(&mut self, scope: SearchScope) {
        match scope {
            SearchScope::Header => self.header.seen = 0,
            SearchScope::Body | SearchScope::Text => self.body.seen = 0,
        }
    }
}

/// A bitmap of the largest size, and the text's last two bytes.
struct Bitmap {
    bits: Box<[u8; BITMAP_BYTES_MAX]>,
    last: [u8; 2],
    /// How many of `last` are there.
    seen: usize,
}

impl Bitmap {
    fn new() -> Self {
        Bitmap {
            bits: Box::new([0; BITMAP_BYTES_MAX]),
            last: [0; 2],
            seen: 0,
        }
    }

    fn add(&mut self, text: &[u8]) {
        for &byte in text {
            if self.seen == 2 {
                let bit = usize::from(trigram_hash(self.last[0], self.last[1], byte));
                self.bits[bit / 8] |= 1 << (bit % 8);
            } else {
                self.seen += 1;
            }
            self.last = [self.last[1], byte];
        }
    }

    /// Appends the bitmap, folded in halves as long as it stays sparse; gives the byte that tells its size.
    fn append_to(self, out: &mut Vec<u8>) -> u8 {
        let mut bits = self.bits.to_vec();
        if bits.iter().all(|&byte| byte == 0) {
            return 0;
        }
        let mut size_log2 = SIZE_LOG2_MAX;
        while size_log2 > SIZE_LOG2_MIN {
            let (low, high) = bits.split_at(bits.len() / 2);
            let half: Vec<u8> = low.iter().zip(high).map(|(low, high)| low | high).collect();
            let ones: usize = half.iter().map(|byte| byte.count_ones() as usize).sum();
            if ones * SPARSE_SHARE > half.len() * 8 {
                break;
            }
            bits = half;
            size_log2 -= 1;
        }
        out.extend_from_slice(&bits);
        size_log2 as u8
    }
}
