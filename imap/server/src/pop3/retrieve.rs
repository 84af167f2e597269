//! RETR and TOP (RFC 1939 §5, §7): a message as lines, read while the piece before it is sent.

use std::{num::NonZeroU32, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use mailrook_imap_proto::pop3::{DotStuffer, LineLimit, ResponseCode};
use mailrook_store_api::{
    Detail, StoreError,
    shard::{Chunk, MessageDetail},
};
use mailrook_types::UidSet;

use super::{End, Refused, Session};
use crate::{body::Body, connection::FLUSH_LEN};

/// How much is read at a time: a chunk as it is stored. With the piece that is being sent this bounds what a slow
/// client holds.
const STEP: u32 = Chunk::RAW_LEN as u32;

/// A message on its way out.
struct Outgoing {
    detail: MessageDetail,
    /// Where TOP ends; without it all is sent.
    top: Option<Top>,
    stuffer: DotStuffer,
}

/// The header and some lines of the text.
struct Top {
    /// Where the text begins.
    header_end: u32,
    /// How many lines of it to send.
    lines: LineLimit,
}

impl Session {
    pub(super) async fn retrieve(
        &mut self,
        number: NonZeroU32,
        lines: Option<u32>,
    ) -> Result<(), End> {
        let (size, detail, first) = match self.find(number).await {
            Ok(found) => found,
            Err(refused) => {
                self.refuse(&refused);
                return Ok(());
            }
        };
        let top = lines.map(|lines| Top {
            header_end: header_end(&detail),
            lines: LineLimit::new(lines),
        });
        self.writer().ok(&match lines {
            None => format!("{size} octets"),
            Some(_) => "the top of it follows".to_owned(),
        });
        let mut outgoing = Outgoing {
            top,
            stuffer: DotStuffer::new(),
            detail,
        };
        let prefix = std::mem::take(&mut outgoing.detail.prefix);
        self.send_lines(&mut outgoing.stuffer, &prefix).await?;
        self.send_body(&mut outgoing, first).await?;
        let stuffer = std::mem::take(&mut outgoing.stuffer);
        stuffer.finish(self.wire.output());
        Ok(())
    }

    /// How much to send, what, and the first of it: while there is nothing of it on its way, the client can still be told.
    async fn find(&self, number: NonZeroU32) -> Result<(u32, MessageDetail, Bytes), Refused> {
        let Some(open) = &self.open else {
            return Err(Refused::new("log in first"));
        };
        let message = open.maildrop.require(number)?;
        let uids: UidSet = [message.uid].into_iter().collect();
        let found = (*self.context.store)
            .details(open.account.id, open.maildrop.mailbox(), uids, 1)
            .await
            .map_err(|error| Refused::by_store(&error))?;
        let detail = found.and_then(|details| details.into_iter().next());
        let detail = detail.ok_or(Refused::with(
            ResponseCode::SysPerm,
            "the message was removed by another client",
        ))?;
        let first = self
            .read(&detail, 0..detail.body_size.min(STEP))
            .await
            .map_err(|error| Refused::by_store(&error))?;
        Ok((message.size, detail, first))
    }

    async fn read(&self, detail: &MessageDetail, range: Range<u32>) -> Result<Bytes, StoreError> {
        let Some(open) = &self.open else {
            return Ok(Bytes::new());
        };
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let body = Body {
            store: &*self.context.store,
            account: open.account.id,
            hash: detail.hash,
        };
        body.read_all(range, Duration::ZERO).await
    }

    async fn send_body(&mut self, outgoing: &mut Outgoing, first: Bytes) -> Result<(), End> {
        let size = outgoing.detail.body_size;
        let (mut at, mut piece) = (0, first);
        while at < size {
            let end = at.saturating_add(STEP).min(size);
            let wanted = outgoing.cut(at, &piece);
            let text = &piece[..wanted];
            if outgoing.is_complete(end) || end >= size {
                return Ok(self.send_lines(&mut outgoing.stuffer, text).await?);
            }
            // The next piece is read while this one is sent.
            let next = end..end.saturating_add(STEP).min(size);
            let (account, hash) = match &self.open {
                Some(open) => (open.account.id, outgoing.detail.hash),
                None => return Ok(()),
            };
            let store = Arc::clone(&self.context.store);
            let body = Body {
                store: &*store,
                account,
                hash,
            };
            let patience = self.context.settings.under_way_patience;
            let reading = body.read_all(next, patience);
            let sending = self.send_lines(&mut outgoing.stuffer, text);
            let (read, sent) = tokio::join!(reading, sending);
            sent?;
            (at, piece) = (end, read.map_err(End::BrokenOff)?);
        }
        Ok(())
    }

    async fn send_lines(&mut self, stuffer: &mut DotStuffer, text: &[u8]) -> std::io::Result<()> {
        for piece in text.chunks(FLUSH_LEN) {
            stuffer.encode(piece, self.wire.output());
            self.wire.relieve().await?;
        }
        Ok(())
    }
}

fn header_end(detail: &MessageDetail) -> u32 {
    match Detail::decode(&detail.detail) {
        Ok(decoded) => decoded.structure.body_start,
        // Then all of it is told, which is more than TOP asks for.
        Err(error) => {
            tracing::error!(%error, hash = %detail.hash, "the details of a message cannot be read");
            detail.body_size
        }
    }
}

impl Outgoing {
    /// How much of the piece that stands at `at` is to be sent.
    fn cut(&mut self, at: u32, piece: &[u8]) -> usize {
        let Some(top) = &mut self.top else {
            return piece.len();
        };
        let header = (top.header_end.saturating_sub(at) as usize).min(piece.len());
        if header == piece.len() {
            return header;
        }
        header + top.lines.take(&piece[header..])
    }

    /// Whether the header and all lines that TOP asks for stand before `end`.
    fn is_complete(&self, end: u32) -> bool {
        let is_reached = |top: &Top| end >= top.header_end && top.lines.is_reached();
        self.top.as_ref().is_some_and(is_reached)
    }
}
