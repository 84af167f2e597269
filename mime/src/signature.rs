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

/// Bits of the smallest one.
const MARKS_MIN: usize = 8 << SIZE_LOG2_MIN;

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
            SearchScope::Header => self.header.end(),
            SearchScope::Body | SearchScope::Text => self.body.end(),
        }
    }
}

/// A bitmap in the making: of the largest size, or of the size that fits, for a text that is short enough to be kept
/// until its end.
struct Bitmap {
    /// A short text, folded. Most headers and many bodies are short, and small bitmaps are made in no time.
    short: Vec<u8>,
    /// Where fields and parts end in `short`.
    ends: Vec<usize>,
    /// Those of a longer text; empty before.
    marks: Marks,
    /// Bytes that may still be added.
    left: usize,
}

/// What is kept until the end.
const SHORT_BYTES_MAX: usize = 4096;

impl Bitmap {
    fn new() -> Self {
        Bitmap {
            short: Vec::new(),
            ends: Vec::new(),
            marks: Marks::new(0),
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
        if self.marks.marks.is_empty() {
            if self.short.len() + text.len() <= SHORT_BYTES_MAX {
                self.short.extend_from_slice(text);
                return;
            }
            self.mark_short(MARKS);
        }
        self.marks.add(text);
    }

    fn end(&mut self) {
        if self.marks.marks.is_empty() {
            self.ends.push(self.short.len());
        }
        self.marks.seen = 0;
    }

    fn mark_short(&mut self, size: usize) {
        self.marks = Marks::new(size);
        let mut start = 0;
        for end in self.ends.drain(..) {
            self.marks.add(&self.short[start..end]);
            self.marks.seen = 0;
            start = end;
        }
        self.marks.add(&self.short[start..]);
    }

    /// Appends the bitmap, in the smallest size in which it is sparse; gives the byte that tells its size.
    fn append_to(mut self, out: &mut Vec<u8>) -> u8 {
        if self.is_full() {
            // All ones, in the smallest size.
            out.extend_from_slice(&[u8::MAX; 1 << SIZE_LOG2_MIN]);
            return SIZE_LOG2_MIN as u8;
        }
        if self.marks.marks.is_empty() {
            // Each byte ends two grams: in this size they are sparse, and no larger one needs to be looked at.
            let sparse = self.short.len() * 2 * SPARSE_SHARE;
            self.mark_short(sparse.next_power_of_two().clamp(MARKS_MIN, MARKS));
        }
        self.marks.append_to(out)
    }
}

/// A byte for each bit: to set one is a store, whereas a bit must be read first, which takes three times as long.
struct Marks {
    /// A power of two of them, up to [`MARKS`].
    marks: Vec<u8>,
    /// The last four bytes, the last one lowest.
    last: u32,
    /// How many of them belong to this text, up to three.
    seen: usize,
}

impl Marks {
    fn new(size: usize) -> Marks {
        Marks {
            marks: vec![0; size],
            last: 0,
            seen: 0,
        }
    }

    fn add(&mut self, text: &[u8]) {
        let mask = self.marks.len() - 1;
        let marks = &mut self.marks[..=mask];
        let mut set = |bit: u16| marks[usize::from(bit) & mask] = 1;
        let (first, rest) = text.split_at(text.len().min(3 - self.seen));
        let mut last = self.last;
        for &byte in first {
            last = last << 8 | u32::from(byte);
            self.seen += 1;
            if self.seen == 3 {
                set(trigram_hash(last & 0xff_ffff));
            }
        }
        for &byte in rest {
            last = last << 8 | u32::from(byte);
            set(trigram_hash(last & 0xff_ffff));
            set(tetragram_hash(last));
        }
        self.last = last;
    }

    /// Appends them as bits, folded in halves as long as they stay sparse; gives the byte that tells the size.
    fn append_to(mut self, out: &mut Vec<u8>) -> u8 {
        let mut marks = &mut self.marks[..];
        if !marks.contains(&1) {
            return 0;
        }
        while marks.len() > MARKS_MIN {
            let (low, high) = marks.split_at_mut(marks.len() / 2);
            if ones_of_both(low, high) * SPARSE_SHARE > low.len() {
                break;
            }
            low.iter_mut()
                .zip(high)
                .for_each(|(low, high)| *low |= *high);
            let half = marks.len() / 2;
            marks = &mut marks[..half];
        }
        // Eight marks of 0 or 1 to a byte: the factor moves mark n to bit 56 + n, and nothing else comes there.
        let byte = |marks: &[u8; 8]| {
            (u64::from_le_bytes(*marks).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
        };
        out.extend(marks.as_chunks().0.iter().map(byte));
        (marks.len() / 8).ilog2() as u8
    }
}

/// How many marks are set in either.
fn ones_of_both(low: &[u8], high: &[u8]) -> usize {
    // As many marks are added up byte by byte without an overflow, which runs on many bytes at once.
    const RUN: usize = 128;
    let run = |(low, high): (&[u8], &[u8])| -> usize {
        let mut sums = [0_u8; 16];
        for (low, high) in low.as_chunks::<16>().0.iter().zip(high.as_chunks::<16>().0) {
            for ((sum, low), high) in sums.iter_mut().zip(low).zip(high) {
                *sum = sum.wrapping_add(low | high);
            }
        }
        sums.iter().map(|&sum| usize::from(sum)).sum()
    };
    low.chunks(RUN * 16)
        .zip(high.chunks(RUN * 16))
        .map(run)
        .sum()
}
