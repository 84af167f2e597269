//! A message's bytes: the prefix of this copy (Return-Path and Received fields), then the body as it was received.
//!
//! The stored structure counts from the body's first byte. What includes the message's own header begins with the
//! prefix; parts do not have it.

use std::{cell::OnceCell, num::NonZeroU32, time::Duration};

use bytes::Bytes;
use mailrook_imap_proto::command::{Partial, Section, SectionText};
use mailrook_mime::PartRef;
use mailrook_store_api::{
    BODY_READ_MAX, Detail, Mailstore, StoreError,
    shard::{Chunk, MessageDetail},
};
use mailrook_types::AccountId;

use crate::{body::Body, outcome::Failure};

/// Bodies up to this are read once, whatever is asked of them: a chunk, which is what the store unpacks anyway.
const CACHED_MAX: u32 = Chunk::RAW_LEN as u32;

/// A longer body's pieces: the store's chunks.
const PIECE: u64 = Chunk::RAW_LEN as u64;

/// A header may be longer than [`mailrook_mime::limits::HEADER_BYTES_MAX`]; for HEADER.FIELDS so much of it is looked at.
const HEADER_READ_MAX: u32 = BODY_READ_MAX;

/// One message under FETCH.
pub(super) struct Message<'s> {
    body: Body<'s>,
    /// How long to go on asking for what is on its way.
    under_way_patience: Duration,
    body_size: u32,
    prefix: Bytes,
    stored_detail: Vec<u8>,
    /// The same, once it is asked for: of most messages only the bytes are.
    detail: OnceCell<Detail>,
    cached: Option<Bytes>,
}

/// Bytes of a message, counted from its prefix's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: u64,
    end: u64,
}

impl Span {
    pub(super) fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// `<start.length>` of it.
    pub(super) fn cut(self, partial: Partial) -> Span {
        let start = self.start.saturating_add(partial.start).min(self.end);
        Span {
            start,
            end: start.saturating_add(partial.length).min(self.end),
        }
    }
}

impl<'s> Message<'s> {
    pub(super) fn new(
        store: &'s dyn Mailstore,
        account: AccountId,
        stored: MessageDetail,
        under_way_patience: Duration,
    ) -> Message<'s> {
        Message {
            body: Body {
                store,
                account,
                hash: stored.hash,
            },
            under_way_patience,
            body_size: stored.body_size,
            prefix: Bytes::from(stored.prefix),
            stored_detail: stored.detail,
            detail: OnceCell::new(),
            cached: None,
        }
    }

    /// Envelope and structure.
    pub(super) fn detail(&self) -> Result<&Detail, Failure> {
        if let Some(detail) = self.detail.get() {
            return Ok(detail);
        }
        let detail = Detail::decode(&self.stored_detail)
            .map_err(|error| StoreError::Internal(error.to_string()))?;
        Ok(self.detail.get_or_init(|| detail))
    }

    /// `BODY[]`
    pub(super) fn whole(&self) -> Span {
        Span {
            start: 0,
            end: self.prefix.len() as u64 + u64::from(self.body_size),
        }
    }

    /// `BODY[HEADER]`
    pub(super) fn header(&self) -> Result<Span, Failure> {
        Ok(Span {
            start: 0,
            end: self.text_start()?,
        })
    }

    /// `BODY[TEXT]`
    pub(super) fn text(&self) -> Result<Span, Failure> {
        Ok(Span {
            start: self.text_start()?,
            end: self.whole().end,
        })
    }

    fn text_start(&self) -> Result<u64, Failure> {
        Ok(self.of_body(self.detail()?.structure.body_start as usize))
    }

    /// Where a byte of the body stands in the message; within it, whatever a damaged record says.
    fn of_body(&self, at: usize) -> u64 {
        self.prefix.len() as u64 + (at as u64).min(u64::from(self.body_size))
    }

    /// The part of this number.
    pub(super) fn part(&self, part: &[NonZeroU32]) -> Result<Option<PartRef<'_>>, Failure> {
        let path: Vec<u32> = part.iter().map(|number| number.get()).collect();
        Ok(mailrook_mime::part(&self.detail()?.structure, &path))
    }

    /// The bytes of a range that the structure names.
    pub(super) fn range(&self, range: std::ops::Range<usize>) -> Span {
        Span {
            start: self.of_body(range.start),
            end: self.of_body(range.end),
        }
    }

    /// The bytes of a section, but for chosen fields; `None` if there is no such part.
    pub(super) fn section(&self, section: &Section) -> Result<Option<Span>, Failure> {
        if section.part.is_empty() {
            let span = match section.text {
                SectionText::Full => self.whole(),
                SectionText::Text => self.text()?,
                // The grammar has no MIME here.
                _ => self.header()?,
            };
            return Ok(Some(span));
        }
        let Some(part) = self.part(&section.part)? else {
            return Ok(None);
        };
        let range = match section.text {
            SectionText::Full => Some(part.body()),
            SectionText::Mime => part.mime(),
            SectionText::Text => part.text(),
            _ => part.header(),
        };
        Ok(range.map(|range| self.range(range)))
    }

    /// The names of a section that chooses fields, and whether it is `HEADER.FIELDS.NOT`.
    pub(super) fn fields_of(section: &Section) -> Option<(&[String], bool)> {
        match &section.text {
            SectionText::HeaderFields(names) => Some((names, false)),
            SectionText::HeaderFieldsNot(names) => Some((names, true)),
            _ => None,
        }
    }

    /// The chosen fields of a header, with an empty line; `None` if there is no such part.
    pub(super) async fn header_fields(
        &mut self,
        section: &Section,
        names: &[String],
        not: bool,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let Some(span) = self.section(section)? else {
            return Ok(None);
        };
        let span = span.cut(Partial {
            start: 0,
            length: u64::from(HEADER_READ_MAX),
        });
        let mut header = Vec::with_capacity(usize::try_from(span.len()).unwrap_or(0));
        while (header.len() as u64) < span.len() {
            let piece = self.piece(span, header.len() as u64).await?;
            header.extend_from_slice(&piece);
        }
        Ok(Some(mailrook_mime::header_fields(&header, names, not)))
    }

    /// Makes sure that a span can be read, as far as that can be known.
    pub(super) async fn touch(&mut self, span: Span) -> Result<(), Failure> {
        let body_start = self.prefix.len() as u64;
        if span.len() > 0 && span.end > body_start {
            let at = body_start.saturating_sub(span.start);
            self.piece(span, at).await?;
        }
        Ok(())
    }

    /// The bytes of `span` from `at` on: some, never none before its end.
    pub(super) async fn piece(&mut self, span: Span, at: u64) -> Result<Bytes, Failure> {
        Ok(self.read(span, at, Duration::ZERO).await?)
    }

    /// The same, within a literal: whoever reads it cannot be told to try again later.
    pub(super) async fn piece_under_way(&mut self, span: Span, at: u64) -> Result<Bytes, Failure> {
        self.read(span, at, self.under_way_patience)
            .await
            .map_err(|error| {
                tracing::warn!(%error, "a body broke off while it was sent");
                Failure::Connection(std::io::Error::other("a body broke off"))
            })
    }

    async fn read(&mut self, span: Span, at: u64, patience: Duration) -> Result<Bytes, StoreError> {
        let start = span.start + at;
        let body_start = self.prefix.len() as u64;
        if start < body_start {
            let end = span.end.min(body_start);
            // Both are within the prefix.
            return Ok(self.prefix.slice(start as usize..end as usize));
        }
        let (from, to) = (start - body_start, span.end - body_start);
        // Up to the end of the chunk, so that no chunk is unpacked twice.
        let to = to.min((from / PIECE + 1) * PIECE);
        // Offsets are within a body, whose size has 32 bits.
        let (from, to) = (from as u32, to as u32);
        if self.body_size > CACHED_MAX {
            return self.body.read(from..to, patience).await;
        }
        let all = match &self.cached {
            Some(all) => all,
            None => {
                let all = self.body.read_all(0..self.body_size, patience).await?;
                self.cached.insert(all)
            }
        };
        let end = (to as usize).min(all.len());
        Ok(all.slice((from as usize).min(end)..end))
    }
}
