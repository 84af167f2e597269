//! What an account holds that leaves the shard, for who moves it.

use std::ops::ControlFlow;

use mailrook_kv::{KvError, Read, Room, Space, prefix_end};
use mailrook_types::{AccountId, BlobHash};

use super::Absence;
use crate::{
    Answer, Chunk, MoveStage, MoveStanding, MovedMessage, MovedPair, Mover, body,
    fields::Damage,
    index::scan,
    key::{self, detail_part, part},
    limits::MOVED_BYTES_MAX,
    record::{AccountRecord, DetailRecord, MessageRecord},
};

pub(super) fn standing(
    view: &dyn Read,
    account: AccountId,
) -> Result<Option<MoveStanding>, KvError> {
    let Some(stored) = view.get(Space::Index, &key::account(account))? else {
        return Ok(None);
    };
    let transit = AccountRecord::decode(&stored)?.transit;
    Ok(transit.map(|transit| transit.0))
}

pub(super) fn pairs(
    view: &dyn Read,
    account: AccountId,
    by: Mover,
    round: Option<u32>,
    after: Option<&[u8]>,
) -> Result<Answer, Absence> {
    let leaves = standing(view, account)?.is_some_and(|standing| {
        standing.by == by && matches!(standing.stage, MoveStage::Leaving(_) | MoveStage::Fenced(_))
    });
    if !leaves {
        return Err(Absence::Elsewhere);
    }
    let mut page = Page::default();
    match round {
        None => page.fill_with_all(view, account, after)?,
        Some(round) => page.fill_with_noted(view, account, round, after)?,
    }
    let last = page.pairs.last().map(|pair| pair.key.clone());
    Ok(Answer::Moved {
        next: last.filter(|_| page.is_cut),
        pairs: page.pairs,
    })
}

/// Pairs, as many as fit.
#[derive(Default)]
struct Page {
    pairs: Vec<MovedPair>,
    bytes: usize,
    is_cut: bool,
}

impl Page {
    fn fill_with_all(
        &mut self,
        view: &dyn Read,
        account: AccountId,
        after: Option<&[u8]>,
    ) -> Result<(), KvError> {
        let prefix = key::account_prefix(account);
        let start = start_after(after, &prefix);
        let own = key::account(account);
        scan(
            view,
            Space::Index,
            &start,
            &prefix_end(&prefix),
            |key, value| match key == own {
                true => Ok(ControlFlow::Continue(())),
                false => self.take(view, account, key, Some(value)),
            },
        )
    }

    fn fill_with_noted(
        &mut self,
        view: &dyn Read,
        account: AccountId,
        round: u32,
        after: Option<&[u8]>,
    ) -> Result<(), KvError> {
        let prefix = key::notes_from(account, round);
        let note = after.map(|after| key::note(account, round, after));
        let start = start_after(note.as_deref(), &prefix);
        scan(
            view,
            Space::Index,
            &start,
            &prefix_end(&prefix),
            |note, _| {
                let (_, _, key) = key::parse_note(note)?;
                let value = view.get(Space::Index, &key)?;
                self.take(view, account, &key, value.as_deref())
            },
        )
    }

    fn take(
        &mut self,
        view: &dyn Read,
        account: AccountId,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<ControlFlow<()>, KvError> {
        let message = match value {
            Some(value) if key::part_of(account, key) == Some(part::MESSAGE) => {
                Some(message(view, account, key, value)?)
            }
            _ => None,
        };
        let pair = MovedPair {
            key: key.to_vec(),
            value: value.map(|value| value.to_vec().into()),
            message,
        };
        self.bytes += pair.bytes();
        if self.bytes > MOVED_BYTES_MAX && !self.pairs.is_empty() {
            self.is_cut = true;
            return Ok(ControlFlow::Break(()));
        }
        self.pairs.push(pair);
        Ok(ControlFlow::Continue(()))
    }
}

fn start_after(after: Option<&[u8]>, prefix: &[u8]) -> Vec<u8> {
    match after {
        Some(after) => [after, &[0]].concat(),
        None => prefix.to_vec(),
    }
}

/// What stands beside a message's record.
fn message(
    view: &dyn Read,
    account: AccountId,
    key: &[u8],
    value: &[u8],
) -> Result<MovedMessage, KvError> {
    let id = key.last_chunk().ok_or(Damage("a key is cut short"))?;
    let id = u64::from_be_bytes(*id);
    let get = |part| {
        let found = view.get(Space::Detail, &key::of_message(account, part, id))?;
        found.ok_or_else(|| KvError::from(Damage("a message has no details")))
    };
    let detail = get(detail_part::DETAIL)?;
    Ok(MovedMessage {
        hash: MessageRecord::decode(value)?.hash,
        body_size: DetailRecord::decode(&detail)?.body_size,
        detail,
        signature: get(detail_part::SIGNATURE)?,
        source: None,
    })
}

pub(super) fn missing(view: &dyn Read, hashes: &[BlobHash]) -> Result<Vec<BlobHash>, KvError> {
    let mut missing = Vec::new();
    for hash in hashes {
        if body::find(view, hash)?.is_none() {
            missing.push(*hash);
        }
    }
    Ok(missing)
}

/// The first of these bodies, as many as fit, up to the first that is longer than a chunk; `None` if one of them is not here.
pub(super) fn bodies(
    view: &dyn Read,
    hashes: &[BlobHash],
) -> Result<Option<Vec<Vec<Chunk>>>, KvError> {
    let (mut bodies, mut room) = (Vec::new(), Room::default());
    for hash in hashes {
        let Some(chunks) = body::chunks(view, hash, 0, 2)? else {
            return Ok(None);
        };
        if chunks.len() > 1 || !room.take(chunks.iter().map(|chunk| chunk.bytes.len()).sum()) {
            break;
        }
        bodies.push(chunks);
    }
    Ok(Some(bodies))
}
