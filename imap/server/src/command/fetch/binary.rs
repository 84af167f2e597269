//! BINARY: parts without their transfer encoding (RFC 3516, RFC 9051 §6.4.5).

use std::num::NonZeroU32;

use bytes::Bytes;
use mailrook_imap_proto::{command::Partial, response::Code};
use mailrook_mime::TransferDecoder;

use super::{
    body::{Message, Span},
    item::ItemPrinter,
};
use crate::outcome::{Failure, Reply};

/// A part as it decodes, piece by piece.
struct Decoded {
    span: Span,
    at: u64,
    decoder: Option<TransferDecoder>,
}

/// Whether what is decoded goes into a literal that has begun.
#[derive(Clone, Copy)]
enum Literal {
    NotBegun,
    UnderWay,
}

/// What decoding a part comes to, without its bytes.
#[derive(Clone, Copy, Default)]
struct Measure {
    size: u64,
    /// Whether the bytes that are wanted hold a NUL, so that they need a literal8.
    nul: bool,
}

pub(super) async fn print(
    printer: &mut ItemPrinter<'_>,
    part: &[NonZeroU32],
    partial: Option<Partial>,
) -> Result<(), Failure> {
    let origin = partial.map(|partial| partial.start);
    let measured = measure(&mut printer.message, part, partial).await;
    let measure = match measured {
        Ok(Some(measure)) => measure,
        Ok(None) => {
            printer.fetch.binary_nil(part, origin);
            return Ok(());
        }
        Err(failure) => {
            printer.note(failure)?;
            printer.fetch.binary_nil(part, origin);
            return Ok(());
        }
    };
    let window = Window::new(partial);
    let length = window.of(0, measure.size).map_or(0, |(from, to)| to - from);
    printer.fetch.binary(part, origin, length, measure.nul);
    // Decoded a second time: the length comes before the bytes, and a part may be too large to keep.
    let Some(mut decoded) = Decoded::new(&printer.message, part)? else {
        return Ok(());
    };
    let mut at = 0;
    while let Some(bytes) = decoded
        .next(&mut printer.message, Literal::UnderWay)
        .await?
    {
        if let Some((from, to)) = window.of(at, bytes.len() as u64) {
            printer.bytes(&bytes[from as usize..to as usize]).await?;
        }
        at += bytes.len() as u64;
    }
    Ok(())
}

pub(super) async fn print_size(
    printer: &mut ItemPrinter<'_>,
    part: &[NonZeroU32],
) -> Result<(), Failure> {
    let size = match measure(&mut printer.message, part, None).await {
        Ok(measure) => measure.unwrap_or_default().size,
        Err(failure) => {
            printer.note(failure)?;
            0
        }
    };
    printer.fetch.binary_size(part, size);
    Ok(())
}

/// `None` if there is no such part.
async fn measure(
    message: &mut Message<'_>,
    part: &[NonZeroU32],
    partial: Option<Partial>,
) -> Result<Option<Measure>, Failure> {
    let Some(mut decoded) = Decoded::new(message, part)? else {
        return Ok(None);
    };
    let window = Window::new(partial);
    let mut measure = Measure::default();
    while let Some(bytes) = decoded.next(message, Literal::NotBegun).await? {
        if let Some((from, to)) = window.of(measure.size, bytes.len() as u64) {
            measure.nul |= bytes[from as usize..to as usize].contains(&0);
        }
        measure.size += bytes.len() as u64;
    }
    Ok(Some(measure))
}

impl Decoded {
    fn new(message: &Message<'_>, part: &[NonZeroU32]) -> Result<Option<Decoded>, Failure> {
        if part.is_empty() {
            return Ok(Some(Decoded {
                span: message.whole(),
                at: 0,
                decoder: Some(TransferDecoder::identity()),
            }));
        }
        let Some(found) = message.part(part)? else {
            return Ok(None);
        };
        let decoder = TransferDecoder::new(found.encoding()).map_err(|_| {
            Reply::no("the part has an unknown transfer encoding").code(Code::UnknownCte)
        })?;
        Ok(Some(Decoded {
            span: message.range(found.body()),
            at: 0,
            decoder: Some(decoder),
        }))
    }

    /// The next decoded bytes; `None` at the end.
    async fn next(
        &mut self,
        message: &mut Message<'_>,
        literal: Literal,
    ) -> Result<Option<Bytes>, Failure> {
        while self.at < self.span.len() {
            let piece = match literal {
                Literal::NotBegun => message.piece(self.span, self.at).await?,
                Literal::UnderWay => message.piece_under_way(self.span, self.at).await?,
            };
            self.at += piece.len() as u64;
            let Some(decoder) = &mut self.decoder else {
                break;
            };
            if decoder.is_identity() {
                return Ok(Some(piece));
            }
            let mut out = Vec::with_capacity(piece.len());
            decoder.push(&piece, &mut out);
            if !out.is_empty() {
                return Ok(Some(out.into()));
            }
        }
        let mut out = Vec::new();
        if let Some(decoder) = self.decoder.take() {
            decoder.finish(&mut out);
        }
        Ok((!out.is_empty()).then(|| out.into()))
    }
}

/// Which of the decoded bytes are wanted.
#[derive(Clone, Copy)]
struct Window {
    start: u64,
    end: u64,
}

impl Window {
    fn new(partial: Option<Partial>) -> Window {
        match partial {
            Some(partial) => Window {
                start: partial.start,
                end: partial.start.saturating_add(partial.length),
            },
            None => Window {
                start: 0,
                end: u64::MAX,
            },
        }
    }

    /// The wanted bytes of a piece of `len` bytes that begins at `at`, counted in the piece.
    fn of(self, at: u64, len: u64) -> Option<(u64, u64)> {
        let from = self.start.max(at);
        let to = self.end.min(at + len);
        (from < to).then(|| (from - at, to - at))
    }
}
