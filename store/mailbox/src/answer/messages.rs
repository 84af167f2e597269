//! What FETCH, SEARCH and resynchronisation read.

use std::ops::ControlFlow;

use mailrook_kv::{KvError, Space};
use mailrook_types::{Flags, Keyword, MessageId, ModSeq, Timestamp, Uid, UidSet};

use super::mailboxes;
use crate::{
    IndexEntry, MessageDetail,
    bits::{Bits, Blocks, block_of},
    fields::Damage,
    index::{Selection, Source, count},
    key::{self, detail_part, part},
    record::{DetailRecord, IndexRecord, MailboxRecord},
};

/// The index's entries of a selection, at most `limit`.
pub(super) fn index(
    source: &Source<'_>,
    record: &MailboxRecord,
    selection: &Selection,
    limit: u32,
) -> Result<Vec<IndexEntry>, KvError> {
    let keywords = mailboxes::keywords(source, record)?;
    let mut entries = Vec::with_capacity(count(selection).min(limit.into()) as usize);
    each(source, selection, limit, |uid, stored| {
        entries.push(entry(uid, stored, &keywords)?);
        Ok(())
    })?;
    Ok(entries)
}

/// How messages are marked, from their blocks: only those with keywords are read one by one.
pub(super) fn flags(
    source: &Source<'_>,
    record: &MailboxRecord,
    uids: &UidSet,
    limit: u32,
) -> Result<Vec<(Uid, Flags)>, KvError> {
    let keywords = mailboxes::keywords(source, record)?;
    let mut flags: Vec<(Uid, Flags)> = Vec::new();
    let (Some(first), Some(last)) = (uids.first(), uids.last()) else {
        return Ok(flags);
    };
    let mut wanted = Blocks::of(uids);
    let mut keyworded: Vec<(usize, u32, Bits)> = Vec::new();
    let blocks = (block_of(first.get()), block_of(last.get()));
    source.blocks(blocks.0, blocks.1, |block, record| {
        let left = limit as usize - flags.len();
        let bits = record.uids.and(&wanted.block(block));
        let start = flags.len();
        let told = bits
            .uids(block)
            .take(left)
            .filter_map(|uid| Some((Uid::new(uid)?, Flags::system(record.system_flags(uid)))));
        flags.extend(told);
        let marked = bits.and(&record.keyworded);
        if !marked.is_empty() {
            keyworded.push((start, block, marked));
        }
        if flags.len() < limit as usize {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    for (start, block, marked) in keyworded {
        let mut untold = flags[start..].iter_mut();
        let mut failed = None;
        let _ = source.entries(block, &marked, |uid, _, stored| {
            // Both ascend; what is beyond the limit is not told.
            let Some((_, flags)) = untold.find(|(told, _)| told.get() == uid) else {
                return ControlFlow::Break(());
            };
            match named(&stored.keywords, &keywords) {
                Ok(names) => flags.keywords = names,
                Err(damage) => failed = Some(damage),
            }
            ControlFlow::Continue(())
        })?;
        if let Some(damage) = failed {
            return Err(damage.into());
        }
    }
    Ok(flags)
}

fn named(numbers: &[u16], keywords: &[Keyword]) -> Result<Vec<Keyword>, Damage> {
    let name = |number: &u16| keywords.get(usize::from(*number)).cloned();
    numbers
        .iter()
        .map(|number| {
            name(number).ok_or(Damage("a message has a keyword that its mailbox has not"))
        })
        .collect()
}

fn entry(uid: Uid, stored: IndexRecord, keywords: &[Keyword]) -> Result<IndexEntry, Damage> {
    let flags = Flags {
        system: stored.system,
        keywords: named(&stored.keywords, keywords)?,
    };
    Ok(IndexEntry {
        uid,
        modseq: ModSeq(stored.modseq),
        flags,
        internal_date: Timestamp(stored.internal_date_ms),
        saved: Timestamp(stored.saved_ms),
        size: stored.size,
        crlf_growth: stored.crlf_growth,
        message: MessageId(stored.message),
    })
}

/// Calls `visit` for the first `limit` messages of a selection.
fn each(
    source: &Source<'_>,
    selection: &Selection,
    limit: u32,
    mut visit: impl FnMut(Uid, IndexRecord) -> Result<(), KvError>,
) -> Result<(), KvError> {
    let mut left = limit;
    for (block, bits) in selection {
        if left == 0 {
            return Ok(());
        }
        let (bits, _) = if bits.count() > left {
            bits.split_first(left)
        } else {
            (*bits, *bits)
        };
        let mut failed = None;
        let _ = source.entries(*block, &bits, |uid, _, stored| {
            left -= 1;
            let visited = Uid::new(uid).map_or(Err(Damage("a UID is zero").into()), |uid| {
                visit(uid, stored)
            });
            match visited {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(())
}

/// What was expunged after `since`, if the history goes back so far.
pub(super) fn vanished(
    source: &Source<'_>,
    record: &MailboxRecord,
    since: ModSeq,
    uids: Option<&UidSet>,
) -> Result<Option<UidSet>, KvError> {
    if since < record.history_floor {
        return Ok(None);
    }
    let mut wanted = uids.map(Blocks::of);
    let mut vanished = UidSet::new();
    for (block, mut bits) in source.sets_after(part::EXPUNGED, since.0)? {
        if let Some(wanted) = &mut wanted {
            bits = bits.and(&wanted.block(block));
        }
        bits.add_to(block, &mut vanished);
    }
    Ok(Some(vanished))
}

/// What is kept beside the bodies.
pub(super) fn details(
    source: &Source<'_>,
    uids: &UidSet,
    limit: u32,
) -> Result<Vec<MessageDetail>, KvError> {
    let mut details = Vec::new();
    each_stored(source, uids, limit, detail_part::DETAIL, |uid, stored| {
        let record = DetailRecord::decode(&stored)?;
        details.push(MessageDetail {
            uid,
            hash: record.hash,
            body_size: record.body_size,
            prefix: record.prefix,
            detail: record.detail,
        });
        Ok(())
    })?;
    Ok(details)
}

/// Search signatures.
pub(super) fn signatures(
    source: &Source<'_>,
    uids: &UidSet,
    limit: u32,
) -> Result<Vec<(Uid, Vec<u8>)>, KvError> {
    let mut signatures = Vec::new();
    each_stored(
        source,
        uids,
        limit,
        detail_part::SIGNATURE,
        |uid, stored| {
            signatures.push((uid, stored));
            Ok(())
        },
    )?;
    Ok(signatures)
}

fn each_stored(
    source: &Source<'_>,
    uids: &UidSet,
    limit: u32,
    table: u8,
    mut visit: impl FnMut(Uid, Vec<u8>) -> Result<(), KvError>,
) -> Result<(), KvError> {
    let selection = source.existing(Some(uids))?;
    each(source, &selection, limit, |uid, stored| {
        let key = key::of_message(source.account, table, stored.message);
        let detail = source.view.get(Space::Detail, &key)?;
        visit(uid, detail.ok_or(Damage("a message has lost its details"))?)
    })
}
