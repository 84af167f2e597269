//! A small summary of a message's text, by which SEARCH skips the messages that cannot match.
//!
//! It is two bitmaps, one of the headers and one of the bodies, each with one bit set for every three and for every four
//! successive bytes (a *gram*) of the folded text (`text` says which text, `fold` how). A needle of which a gram is
//! missing is not there. The other way round it may err, never this way: what a signature excludes, the exact search
//! would not find. It goes by bytes and not by characters, so that two Chinese characters already make seven grams.
//!
//! Why both: on 8 KB pieces of English, 15 % of the pieces without a rare word of six letters have all its trigrams,
//! but 1 % have all its tetragrams. In 1 KiB, trigrams alone let 20 % pass, both together 8 % (of eight letters: 8 %
//! and 3 %), though they fill the bitmap to nearly a half; needles of three bytes need the trigrams.
//!
//! Stored form: a byte of version, a byte for the size of each bitmap (0: no text at all; n: 2^n bytes), the bitmaps.
//! A bitmap has the smallest power of two of bytes in which at most one bit in [`SPARSE_SHARE`] is set.
//! Hashes are fixed: the same text gives the same signature on every node.

use std::ops::ControlFlow;

use mailrook_types::BodyPart;
use serde::{Deserialize, Serialize};

use crate::{
    fold::fold_into,
    limits::{NEEDLE_GRAMS_MAX, SIGNATURE_TEXT_BYTES_MAX},
    text::{TextSink, read_bodies, read_headers},
};

/// Written first; a signature of another version excludes nothing. It changes with the hash, the folding and the text
/// that is searched.
const VERSION: u8 = 1;

/// Version and two sizes.
const PREFIX_BYTES: usize = 3;

/// The largest bitmap, as a power of two of bytes: 4 KiB, enough for 60 KB of plain text; beyond, it fills up, and long needles are still excluded.
const SIZE_LOG2_MAX: u32 = 12;

/// The smallest one: 64 bytes.
const SIZE_LOG2_MIN: u32 = 6;

/// Bits of the largest bitmap.
const MARKS: usize = 8 << SIZE_LOG2_MAX;

/// One bit in two: where a bitmap of given size excludes most. Half the size costs more messages read in vain than the
/// smaller signatures save; twice the size is more to read for each search than a message in eight.
const SPARSE_SHARE: usize = 2;

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

/// The grams of a needle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedleGrams {
    hashes: Vec<u16>,
}

impl NeedleGrams {
    pub(crate) fn of_folded(needle: &[u8]) -> Self {
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |number, &byte| number << 8 | u32::from(byte))
        };
        let tetragrams = needle.windows(4).map(|bytes| tetragram_hash(number(bytes)));
        let trigrams = needle.windows(3).map(|bytes| trigram_hash(number(bytes)));
        NeedleGrams {
            hashes: tetragrams.chain(trigrams).take(NEEDLE_GRAMS_MAX).collect(),
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
        // It breaks off where a bitmap is full: then the rest of that text does not matter.
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
    pub fn may_contain(&self, scope: SearchScope, needle: &NeedleGrams) -> bool {
        Self::bytes_may_contain(&self.0, scope, needle)
    }

    /// [`may_contain`](Self::may_contain) on the stored form, without a copy of it.
    pub fn bytes_may_contain(bytes: &[u8], scope: SearchScope, needle: &NeedleGrams) -> bool {
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

fn holds_all(bitmap: &[u8], needle: &NeedleGrams) -> bool {
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
fn trigram_hash(trigram: u32) -> u16 {
    (trigram.wrapping_mul(0x9e37_79b1) >> HASH_SHIFT) as u16
}

/// As for trigrams, with another odd factor (L'Ecuyer 1999), so that a trigram says nothing about the tetragrams.
fn tetragram_hash(tetragram: u32) -> u16 {
    (tetragram.wrapping_mul(0xadb4_a92d) >> HASH_SHIFT) as u16
}

const HASH_SHIFT: u32 = 32 - (SIZE_LOG2_MAX + 3);

struct Builder {
    header: Bitmap,
    body: Bitmap,
    folded: Vec<u8>,
}

impl TextSink for Builder {
    fn piece(&mut self, scope: SearchScope, text: &str) -> ControlFlow<()> {
        self.folded.clear();
        fold_into(text, &mut self.folded);
        let bitmap = match scope {
            SearchScope::Header => &mut self.header,
            SearchScope::Body | SearchScope::Text => &mut self.body,
        };
        bitmap.add(&self.folded);
        if bitmap.is_full() {
            return ControlFlow::Break(());
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

/// A bitmap of the largest size in the making, and the text's last bytes.
struct Bitmap {
    /// A byte for each bit: to set one is a store, whereas a bit must be read first, which takes three times as long.
    marks: Vec<u8>,
    /// The last four bytes, the last one lowest.
    last: u32,
    /// How many of them belong to this text, up to three.
    seen: usize,
    /// Bytes that may still be added.
    left: usize,
}

impl Bitmap {
    fn new() -> Self {
        Bitmap {
            marks: vec![0; MARKS],
            last: 0,
            seen: 0,
            left: SIGNATURE_TEXT_BYTES_MAX,
        }
    }

    fn is_full(&self) -> bool {
        self.left == 0
    }

    fn add(&mut self, text: &[u8]) {
        self.left = self.left.saturating_sub(text.len());
        if self.is_full() {
            return;
        }
        let (first, rest) = text.split_at(text.len().min(3 - self.seen));
        for &byte in first {
            self.last = self.last << 8 | u32::from(byte);
            self.seen += 1;
            if self.seen == 3 {
                self.set(trigram_hash(self.last & 0xff_ffff));
            }
        }
        let mut last = self.last;
        for &byte in rest {
            last = last << 8 | u32::from(byte);
            self.set(trigram_hash(last & 0xff_ffff));
            self.set(tetragram_hash(last));
        }
        self.last = last;
    }

    fn set(&mut self, bit: u16) {
        self.marks[usize::from(bit)] = 1;
    }

    /// Appends the bitmap, folded in halves as long as it stays sparse; gives the byte that tells its size.
    fn append_to(mut self, out: &mut Vec<u8>) -> u8 {
        if self.is_full() {
            // All ones, in the smallest size.
            out.extend_from_slice(&[u8::MAX; 1 << SIZE_LOG2_MIN]);
            return SIZE_LOG2_MIN as u8;
        }
        let mut marks = &mut self.marks[..];
        if marks.iter().all(|&mark| mark == 0) {
            return 0;
        }
        let mut size_log2 = SIZE_LOG2_MAX;
        while size_log2 > SIZE_LOG2_MIN {
            let (low, high) = marks.split_at_mut(marks.len() / 2);
            // Cannot wrap; said so, it runs on many bytes at once.
            let ones = low.iter().zip(&*high).fold(0_u32, |ones, (low, high)| {
                ones.wrapping_add(u32::from(low | high))
            });
            if ones as usize * SPARSE_SHARE > low.len() {
                break;
            }
            low.iter_mut()
                .zip(high)
                .for_each(|(low, high)| *low |= *high);
            marks = &mut marks[..8 << (size_log2 - 1)];
            size_log2 -= 1;
        }
        // Eight marks of 0 or 1 to a byte: the factor moves mark n to bit 56 + n, and nothing else comes there.
        let byte = |marks: &[u8; 8]| {
            (u64::from_le_bytes(*marks).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
        };
        out.extend(marks.as_chunks().0.iter().map(byte));
        size_log2 as u8
    }
}
