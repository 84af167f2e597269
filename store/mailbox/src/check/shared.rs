//! What belongs to the shard and to no account: bodies, uploads, tables.

use std::collections::BTreeSet;

use mailrook_kv::{KvError, Space, prefix_end};
use mailrook_types::{BlobHash, ClientId, UploadId};

use super::{Check, account::check_lane, pairs};
use crate::{
    fields::Damage,
    index::{Pair, scan},
    key::{self, Expiring, parse_table_entry, table_slot},
    limits::TABLE_SLOTS,
    record::{
        BodyRecord, LaneRecord, SlotRecord, SlotState, SlotsRecord, TableRecord, UploadRecord,
    },
};

pub(super) fn check(check: &mut Check<'_>) -> Result<(), KvError> {
    let mut chunks = BTreeSet::new();
    scan(
        check.view,
        Space::Body,
        &[],
        &prefix_end(&[0xfe]),
        |key, _| {
            chunks.insert(key.to_vec());
            Ok(std::ops::ControlFlow::Continue(()))
        },
    )?;
    check_bodies(check, &mut chunks)?;
    check_uploads(check, &mut chunks)?;
    check.expect(chunks.is_empty(), || {
        format!("{} chunks belong to nothing", chunks.len())
    });
    let gone = check_slots(check)?;
    check_tables(check, &gone)?;
    for (key, value) in pairs(check.view, Space::Index, &[key::TABLE_LANE])? {
        let (client, lane) = key::two_u64(key.get(1..).unwrap_or_default())?;
        let what = Expiring::TableLane(ClientId(client), lane);
        check_lane(check, &LaneRecord::decode(&value)?, &what);
    }
    Ok(())
}

fn check_bodies(check: &mut Check<'_>, chunks: &mut BTreeSet<Vec<u8>>) -> Result<(), KvError> {
    let mut refs = std::mem::take(&mut check.body_refs);
    for (key, value) in pairs(check.view, Space::Index, &[key::BODY])? {
        let hash = BlobHash(*key.last_chunk().ok_or(Damage("a key is cut short"))?);
        let record = BodyRecord::decode(&value)?;
        let found = refs.remove(&hash).unwrap_or(0);
        check.expect(found == record.refs, || {
            format!("body {hash} counts {}, has {found}", record.refs)
        });
        check.expect(record.expires_ms.is_some() == (found == 0), || {
            format!("body {hash} expires though it is used, or never")
        });
        if let Some(expires_ms) = record.expires_ms {
            check.expect_queued(expires_ms, &Expiring::Body(hash));
        }
        for chunk in 0..record.chunks {
            let there = chunks.remove(&key::chunk(&hash, record.place, chunk));
            check.expect(there, || format!("body {hash} has lost chunk {chunk}"));
        }
        if let Some(upload) = record.place {
            let used = check.view.get(Space::Index, &key::upload(upload))?;
            let used = used.map(|bytes| UploadRecord::decode(&bytes)).transpose()?;
            check.expect(used == Some(UploadRecord::Used(hash)), || {
                format!("body {hash} stands in a place not its own")
            });
        }
    }
    check.expect(refs.is_empty(), || {
        format!("messages have bodies that are gone: {refs:?}")
    });
    Ok(())
}

fn check_uploads(check: &mut Check<'_>, chunks: &mut BTreeSet<Vec<u8>>) -> Result<(), KvError> {
    const HEAD_LEN: usize = 17;
    let all = pairs(check.view, Space::Index, &[key::UPLOAD])?;
    for (key, value) in &all {
        let id: Option<&[u8; 16]> = key.get(1..).and_then(<[u8]>::first_chunk);
        let id = UploadId(u128::from_be_bytes(
            *id.ok_or(Damage("a key is cut short"))?,
        ));
        if key.len() == HEAD_LEN {
            check_upload(check, id, &UploadRecord::decode(value)?, &all)?;
            continue;
        }
        let number = key::last_u32(key)?;
        let chunk_key = key::chunk(&BlobHash([0; 32]), Some(id), number);
        chunks.remove(&chunk_key);
        let stored = check.view.get(Space::Body, &chunk_key)?;
        let same = stored.is_some_and(|chunk| {
            // Behind the bytes stands their codec.
            chunk
                .split_last()
                .is_some_and(|(_, bytes)| blake3::hash(bytes).as_bytes() == value.as_slice())
        });
        check.expect(same, || {
            format!("{id:?} chunk {number} is not as its digest")
        });
    }
    Ok(())
}

fn check_upload(
    check: &mut Check<'_>,
    id: UploadId,
    record: &UploadRecord,
    all: &[Pair],
) -> Result<(), KvError> {
    let head = key::upload(id);
    let digests = all
        .iter()
        .filter(|(key, _)| key.starts_with(&head) && key.len() > head.len())
        .count();
    match record {
        UploadRecord::Open { expires_ms, chunks } => {
            check.expect(digests == *chunks as usize, || {
                format!("{id:?} miscounts its chunks")
            });
            check.expect_queued(*expires_ms, &Expiring::Upload(id));
        }
        UploadRecord::Used(hash) => {
            let body = crate::body::find(check.view, hash)?;
            let placed = body.is_some_and(|body| body.place == Some(id)) && digests == 0;
            check.expect(placed, || {
                format!("{id:?} was used for a body that is gone")
            });
        }
    }
    Ok(())
}

/// Checks the records of slots. Gives those of which nothing is left.
fn check_slots(check: &mut Check<'_>) -> Result<BTreeSet<u16>, KvError> {
    let (mut found, mut gone) = (SlotsRecord::default(), BTreeSet::new());
    for (key, value) in pairs(check.view, Space::Index, &[key::SLOT])? {
        let slot = key::parse_slot(&key)?;
        check.expect(slot < TABLE_SLOTS, || format!("there is no slot {slot}"));
        if SlotRecord::decode(&value)?.state == SlotState::Gone {
            gone.insert(slot);
        }
        found.count += 1;
        found.sum.add(Space::Index, &key, &value);
    }
    let guard = match check.view.get(Space::Index, &key::slots())? {
        Some(bytes) => Some(SlotsRecord::decode(&bytes)?),
        None => None,
    };
    let noted = guard.unwrap_or_default();
    check.expect(
        noted == found && guard.is_some() == (found.count > 0),
        || {
            format!(
                "{} slots have moved, {} are counted, or one is not as it was noted",
                found.count, noted.count
            )
        },
    );
    Ok(gone)
}

fn check_tables(check: &mut Check<'_>, gone: &BTreeSet<u16>) -> Result<(), KvError> {
    for (key, value) in pairs(check.view, Space::Index, &[key::TABLE])? {
        let (slot, table, entry) =
            parse_table_entry(&key).ok_or(Damage("a table's key is cut short"))?;
        check.expect(slot == table_slot(table, entry), || {
            format!("an entry of {table:?} stands in slot {slot}")
        });
        check.expect(!gone.contains(&slot), || {
            format!("an entry of {table:?} was left in slot {slot}, which has moved away")
        });
        if let Some(expires_ms) = TableRecord::decode(&value)?.expires_ms {
            check.expect_queued(expires_ms, &Expiring::Entry(slot, table, entry.to_vec()));
        }
    }
    Ok(())
}
