//! One item of a FETCH response.

use mailrook_imap_proto::{
    command::{FetchItem, Partial, Section},
    response::Code,
    writer::FetchWriter,
};
use mailrook_store_api::{StoreError, shard::IndexEntry};
use mailrook_types::Flags;

use super::{
    binary,
    body::{Message, Span},
};
use crate::{
    connection::Wire,
    outcome::{Failure, Reply},
};

/// Prints what the index tells; nothing for other items.
#[inline]
pub(super) fn print_indexed(fetch: &mut FetchWriter<'_>, item: &FetchItem, entry: &IndexEntry) {
    match item {
        FetchItem::Flags => print_flags(fetch, &entry.flags),
        FetchItem::Uid => fetch.uid(entry.uid),
        FetchItem::ModSeq => fetch.mod_seq(entry.modseq),
        FetchItem::InternalDate => fetch.internal_date(entry.internal_date),
        FetchItem::Size => fetch.size(u64::from(entry.size)),
        FetchItem::EmailId => fetch.email_id(entry.message),
        FetchItem::ThreadId => fetch.thread_id(None),
        _ => {}
    }
}

/// `FLAGS (…)`
#[inline]
pub(super) fn print_flags(fetch: &mut FetchWriter<'_>, flags: &Flags) {
    let keywords = flags.keywords.iter().map(|keyword| keyword.as_str());
    fetch.flags(flags.system, false, keywords);
}

/// Prints items of one message. Literals go out as they are read.
pub(super) struct ItemPrinter<'p> {
    pub(super) fetch: FetchWriter<'p>,
    pub(super) message: Message<'p>,
    pub(super) wire: &'p mut Wire,
    /// What to answer in the end instead of OK.
    pub(super) problem: &'p mut Option<Reply>,
}

/// How a section is called in the answer.
enum Name<'i> {
    Section(&'i Section, Option<u64>),
    Rfc822,
    Rfc822Header,
    Rfc822Text,
}

impl ItemPrinter<'_> {
    pub(super) async fn print(
        &mut self,
        item: &FetchItem,
        entry: &IndexEntry,
    ) -> Result<(), Failure> {
        match item {
            FetchItem::Envelope => self.fetch.envelope(&self.message.detail()?.envelope),
            FetchItem::Body => self.fetch.body(&self.message.detail()?.structure),
            FetchItem::BodyStructure => {
                self.fetch.body_structure(&self.message.detail()?.structure);
            }
            FetchItem::Rfc822 => {
                let span = Some(self.message.whole());
                self.span(&Name::Rfc822, span, None).await?;
            }
            FetchItem::Rfc822Header => {
                let span = Some(self.message.header()?);
                self.span(&Name::Rfc822Header, span, None).await?;
            }
            FetchItem::Rfc822Text => {
                let span = Some(self.message.text()?);
                self.span(&Name::Rfc822Text, span, None).await?;
            }
            FetchItem::Section {
                section, partial, ..
            } => self.section(section, *partial).await?,
            FetchItem::Binary { part, partial, .. } => {
                binary::print(self, part, *partial).await?;
            }
            FetchItem::BinarySize { part } => binary::print_size(self, part).await?,
            indexed => print_indexed(&mut self.fetch, indexed, entry),
        }
        Ok(())
    }

    async fn section(
        &mut self,
        section: &Section,
        partial: Option<Partial>,
    ) -> Result<(), Failure> {
        let name = Name::Section(section, partial.map(|partial| partial.start));
        if let Some((names, not)) = Message::fields_of(section) {
            return match self.message.header_fields(section, names, not).await {
                Ok(Some(fields)) => {
                    let cut = cut(&fields, partial);
                    self.head(&name, cut.len() as u64);
                    self.bytes(cut).await
                }
                Ok(None) => {
                    self.nil(&name);
                    Ok(())
                }
                Err(failure) => self.unreadable(&name, failure),
            };
        }
        let span = self.message.section(section)?;
        self.span(&name, span, partial).await
    }

    /// Prints the bytes of a span, or `NIL` if there is none.
    async fn span(
        &mut self,
        name: &Name<'_>,
        span: Option<Span>,
        partial: Option<Partial>,
    ) -> Result<(), Failure> {
        let Some(span) = span else {
            self.nil(name);
            return Ok(());
        };
        let span = partial.map_or(span, |partial| span.cut(partial));
        // Before the literal's length is promised: what can be read once can as a rule be read on.
        if let Err(failure) = self.message.touch(span).await {
            return self.unreadable(name, failure);
        }
        self.head(name, span.len());
        let mut at = 0;
        while at < span.len() {
            let piece = self.message.piece_under_way(span, at).await?;
            at += piece.len() as u64;
            self.bytes(&piece).await?;
        }
        Ok(())
    }

    /// Appends to the literal whose head is printed.
    pub(super) async fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let out = self.fetch.buffer();
        if out.len() + bytes.len() < crate::connection::FLUSH_LEN {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        Ok(self.wire.send_both(out, bytes).await?)
    }

    fn head(&mut self, name: &Name<'_>, length: u64) {
        match name {
            Name::Section(section, origin) => self.fetch.section(section, *origin, length),
            Name::Rfc822 => self.fetch.rfc822(length),
            Name::Rfc822Header => self.fetch.rfc822_header(length),
            Name::Rfc822Text => self.fetch.rfc822_text(length),
        }
    }

    fn nil(&mut self, name: &Name<'_>) {
        match name {
            Name::Section(section, origin) => self.fetch.section_nil(section, *origin),
            // Their grammar permits NIL; only what cannot be read comes to it.
            other => self.head(other, 0),
        }
    }

    fn unreadable(&mut self, name: &Name<'_>, failure: Failure) -> Result<(), Failure> {
        self.note(failure)?;
        self.nil(name);
        Ok(())
    }

    /// Keeps the first problem for the command's end; the response under way is completed.
    pub(super) fn note(&mut self, failure: Failure) -> Result<(), Failure> {
        note(self.problem, failure)
    }
}

/// Keeps the first problem for the command's end; an error if it is the session's.
pub(super) fn note(problem: &mut Option<Reply>, failure: Failure) -> Result<(), Failure> {
    let reply = match failure {
        Failure::Refused(reply) => reply,
        Failure::Store(error) => {
            tracing::warn!(%error, "a message cannot be read");
            match error {
                StoreError::Unavailable(_) => crate::outcome::store_reply(&error),
                _ => Reply::no("a message cannot be read").code(Code::ServerBug),
            }
        }
        end => return Err(end),
    };
    problem.get_or_insert(reply);
    Ok(())
}

/// The bytes that a partial names.
pub(super) fn cut(bytes: &[u8], partial: Option<Partial>) -> &[u8] {
    let Some(partial) = partial else {
        return bytes;
    };
    let len = bytes.len() as u64;
    let start = partial.start.min(len);
    let end = start.saturating_add(partial.length).min(len);
    // Both are at most the slice's length.
    &bytes[start as usize..end as usize]
}
