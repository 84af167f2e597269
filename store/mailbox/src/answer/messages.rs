//! What FETCH, SEARCH and resynchronisation read.

use std::ops::ControlFlow;

use mailrook_kv::{KvError, Room, Space};
use mailrook_types::{Flags, Keyword, MessageId, ModSeq, Timestamp, Uid, UidSet};

use super::mailboxes;
use crate::{
    ChangePlace, IndexEntry, MessageDetail,
    bits::{Bits, Blocks, block_of},
    fields::Damage,
    index::{ChangesFrom, Selection, Source, count},
    key::{self, detail_part, part},
    record::{DetailRecord, IndexRecord, MailboxRecord},
};

/// The index's entries of a selection, at most `limit`, and as many as there is room for.
pub(super) fn index(
    source: &Source<'_>,
    record: &MailboxRecord,
    selection: &Selection,
    limit: u32,
    mut room: Room,
) -> Result<Vec<IndexEntry>, KvError> {
    let keywords = mailboxes::keywords(source, record)?;
    let mut entries = Vec::with_capacity(count(selection).min(limit.into()) as usize);
    each(source, selection, limit, |uid, stored| {
        let entry = entry(uid, stored, &keywords)?;
        if !room.take(keyword_bytes(&entry.flags)) {
            return Ok(ControlFlow::Break(()));
        }
        entries.push(entry);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(entries)
}

/// What changed next, about `limit` messages of it, and where it goes on. Fewer where they are too long for one answer, but
/// one record of the changes at least, as no place is within one.
pub(super) fn changed(
    source: &Source<'_>,
    record: &MailboxRecord,
    uids: Option<&UidSet>,
    from: ChangesFrom,
    mut limit: u32,
) -> Result<(Vec<IndexEntry>, Option<ChangePlace>), KvError> {
    loop {
        let (selection, next) = source.changes(uids, from, limit)?;
        let room = match limit {
            0 | 1 => Room::unbounded(),
            _ => Room::default(),
        };
        let entries = index(source, record, &selection, u32::MAX, room)?;
        if entries.len() as u64 == count(&selection) {
            return Ok((entries, next));
        }
        // Messages with so many keywords are few, so that what they cost to read twice is, too.
        limit = (limit / 2).min(entries.len() as u32).max(1);
    }
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
    let mut room = Room::default();
    for (start, block, marked) in keyworded {
        let mut at = start;
        let mut ends = None;
        let mut failed = None;
        let _ = source.entries(block, &marked, |uid, _, stored| {
            // Both ascend; what is beyond the limit is not told.
            let Some(ahead) = flags[at..].iter().position(|(told, _)| told.get() == uid) else {
                return ControlFlow::Break(());
            };
            at += ahead;
            match named(&stored.keywords, &keywords) {
                Ok(names) => flags[at].1.keywords = names,
                Err(damage) => failed = Some(damage),
            }
            if room.take(keyword_bytes(&flags[at].1)) {
                return ControlFlow::Continue(());
            }
            ends = Some(at);
            ControlFlow::Break(())
        })?;
        if let Some(damage) = failed {
            return Err(damage.into());
        }
        if let Some(end) = ends {
            flags.truncate(end);
            break;
        }
    }
    Ok(flags)
}

/// How long the names are that go with a message.
fn keyword_bytes(flags: &Flags) -> usize {
    let each = |keyword: &Keyword| keyword.as_str().len() + 2;
    flags.keywords.iter().map(each).sum()
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

/// Calls `visit` for the first `limit` messages of a selection, until it breaks.
fn each(
    source: &Source<'_>,
    selection: &Selection,
    limit: u32,
    mut visit: impl FnMut(Uid, IndexRecord) -> Result<ControlFlow<()>, KvError>,
) -> Result<(), KvError> {
    let mut left = limit;
    let mut done = false;
    for (block, bits) in selection {
        if left == 0 || done {
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
                Ok(flow) => {
                    done = flow.is_break();
                    flow
                }
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

/// What is kept beside the bodies: at most `limit`, and as many as one answer has room for.
pub(super) fn details(
    source: &Source<'_>,
    uids: &UidSet,
    limit: u32,
) -> Result<Vec<MessageDetail>, KvError> {
    let mut details = Vec::new();
    let mut room = Room::default();
    each_stored(source, uids, limit, detail_part::DETAIL, |uid, stored| {
        if !room.take(stored.len()) {
            return Ok(ControlFlow::Break(()));
        }
        let record = DetailRecord::decode(&stored)?;
        details.push(MessageDetail {
            uid,
            hash: record.hash,
            body_size: record.body_size,
            prefix: record.prefix,
            detail: record.detail,
        });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(details)
}

/// Search signatures: at most `limit`, and as many as one answer has room for.
pub(super) fn signatures(
    source: &Source<'_>,
    uids: &UidSet,
    limit: u32,
) -> Result<Vec<(Uid, Vec<u8>)>, KvError> {
    let mut signatures = Vec::new();
    let mut room = Room::default();
    let table = detail_part::SIGNATURE;
    each_stored(source, uids, limit, table, |uid, stored| {
        if !room.take(stored.len()) {
            return Ok(ControlFlow::Break(()));
        }
        signatures.push((uid, stored));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(signatures)
}

fn each_stored(
    source: &Source<'_>,
    uids: &UidSet,
    limit: u32,
    table: u8,
    mut visit: impl FnMut(Uid, Vec<u8>) -> Result<ControlFlow<()>, KvError>,
) -> Result<(), KvError> {
    let selection = source.existing(Some(uids))?;
    each(source, &selection, limit, |uid, stored| {
        let key = key::of_message(source.account, table, stored.message);
        let detail = source.view.get(Space::Detail, &key)?;
        visit(uid, detail.ok_or(Damage("a message has lost its details"))?)
    })
}

#[cfg(test)]
mod tests {
    use mailrook_kv::ANSWER_BYTES_MAX;
    use mailrook_types::FlagUpdate;

    use super::*;
    use crate::{Answer, AppendTo, Change, Changes, MailboxRef, NewMessage, Query, testing::*};

    /// Asks on after the last UID until there are none. Gives the UIDs of each answer.
    fn pages(ask: impl Fn(UidSet) -> (Vec<Uid>, usize)) -> Vec<Vec<u32>> {
        let mut pages = Vec::new();
        let mut from = Some(Uid::MIN);
        while let Some(first) = from {
            let (page, bytes) = ask(UidSet::from_range(first..=Uid::MAX));
            assert!(bytes <= ANSWER_BYTES_MAX, "{bytes} bytes in one answer");
            let Some(last) = page.last() else { break };
            from = last.next();
            pages.push(page.iter().map(|uid| uid.get()).collect());
        }
        pages
    }

    fn whole(pages: &[Vec<u32>], count: u32) {
        assert!(pages.len() > 1, "it was no more than one answer holds");
        let all: Vec<u32> = pages.iter().flatten().copied().collect();
        assert!(all.iter().copied().eq(1..=count), "{pages:?}");
    }

    /// With details and signatures of `bytes` each; the shard does not look into them.
    fn with_long_details(count: u32, bytes: usize) -> World {
        let mut world = World::new();
        let message = |_| {
            let mut body = body(1);
            body.detail = vec![7; bytes];
            body.signature = vec![8; bytes];
            NewMessage {
                body,
                prefix: Vec::new(),
                internal_date: Timestamp(5),
                flags: Flags::default(),
            }
        };
        let append = AppendTo {
            mailbox: MailboxRef::Id(INBOX),
            messages: (0..count).map(message).collect(),
        };
        world.change(Change::Append(append)).unwrap();
        world
    }

    fn details(world: &World, uids: UidSet) -> Answer {
        world.ask(&Query::Details {
            account: ACCOUNT,
            mailbox: INBOX,
            uids,
            limit: 1000,
        })
    }

    #[test]
    fn long_details_and_signatures_come_in_several_answers() {
        let world = with_long_details(50, 256 << 10);
        let details = pages(|uids| match details(&world, uids) {
            Answer::Details(details) => {
                let bytes = details.iter().map(|detail| detail.detail.len()).sum();
                (details.iter().map(|detail| detail.uid).collect(), bytes)
            }
            other => panic!("not details: {other:?}"),
        });
        whole(&details, 50);
        let signatures = pages(|uids| {
            let query = Query::Signatures {
                account: ACCOUNT,
                mailbox: INBOX,
                uids,
                limit: 1000,
            };
            match world.ask(&query) {
                Answer::Signatures(found) => {
                    let bytes = found.iter().map(|(_, signature)| signature.len()).sum();
                    (found.iter().map(|(uid, _)| *uid).collect(), bytes)
                }
                other => panic!("not signatures: {other:?}"),
            }
        });
        whole(&signatures, 50);
    }

    #[test]
    fn a_single_one_always_comes() {
        let world = with_long_details(2, ANSWER_BYTES_MAX + 1);
        for uid in ["1:2", "2"] {
            match details(&world, set(uid)) {
                Answer::Details(details) => assert_eq!(details.len(), 1),
                other => panic!("not details: {other:?}"),
            }
        }
    }

    #[test]
    fn many_keywords_come_in_several_answers() {
        let mut world = World::new();
        // Two of three have keywords: 10 MB of names in all, in two blocks of UIDs.
        const COUNT: u32 = 1200;
        const MARKED: [&str; 6] = [
            "1:200",
            "301:500",
            "601:800",
            "901:1000",
            "1030",
            "1101:1199",
        ];
        for _ in 0..COUNT / 100 {
            world.append(100);
        }
        let keyword = |n| Keyword::parse(&format!("{n:k>250}")).unwrap();
        for uids in MARKED {
            let change = Change::StoreFlags {
                mailbox: INBOX,
                uids: set(uids),
                unchanged_since: None,
                update: FlagUpdate::Add,
                flags: Flags {
                    keywords: (0..50).map(keyword).collect(),
                    ..Flags::default()
                },
            };
            world.change(change).unwrap();
        }
        let index = pages(|uids| {
            let query = Query::Index {
                account: ACCOUNT,
                mailbox: INBOX,
                uids,
                limit: 5000,
            };
            match world.ask(&query) {
                Answer::Index(entries) => {
                    let bytes = entries.iter().map(|entry| keyword_bytes(&entry.flags));
                    (entries.iter().map(|entry| entry.uid).collect(), bytes.sum())
                }
                other => panic!("not an index: {other:?}"),
            }
        });
        whole(&index, COUNT);
        let flags = pages(|uids| {
            let query = Query::Flags {
                account: ACCOUNT,
                mailbox: INBOX,
                uids,
                limit: 5000,
            };
            match world.ask(&query) {
                Answer::Flags(flags) => {
                    let bytes = flags.iter().map(|(_, flags)| keyword_bytes(flags));
                    (flags.iter().map(|(uid, _)| *uid).collect(), bytes.sum())
                }
                other => panic!("not flags: {other:?}"),
            }
        });
        whole(&flags, COUNT);
        changes_come_in_pieces(&world, COUNT);
    }

    fn changes_come_in_pieces(world: &World, count: u32) {
        let (mut after, mut pieces, mut seen) = (None, 0, UidSet::new());
        loop {
            let query = Query::Changes {
                account: ACCOUNT,
                mailbox: INBOX,
                since: ModSeq::ZERO,
                uids: None,
                after,
                limit: 5000,
            };
            let Answer::Changes(Changes { changed, next, .. }) = world.ask(&query) else {
                panic!("not changes");
            };
            let bytes: usize = changed
                .iter()
                .map(|entry| keyword_bytes(&entry.flags))
                .sum();
            assert!(bytes <= ANSWER_BYTES_MAX, "{bytes} bytes in one answer");
            pieces += 1;
            seen.extend(changed.iter().map(|entry| entry.uid));
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert!(pieces > 1);
        assert_eq!(seen.len(), u64::from(count));
    }
}
