//! Steps of a move of an account, on either side.

use std::{collections::HashSet, ops::ControlFlow};

use mailrook_kv::{KvError, Space, prefix_end};
use mailrook_types::{AccountId, MailboxId, UploadId};

use crate::{
    BodySource, MoveCommand, MoveReply, MoveStage, MoveStep, MovedMessage, MovedPair, MovedPairs,
    NewBody, Refusal, body,
    digest::Sum,
    fields::Damage,
    index::scan,
    key::{self, Expiring, detail_part, part},
    limits::{MOVED_BYTES_MAX, MOVED_CHUNKS_MAX, MOVED_PAIRS_DROPPED_MAX},
    message::content_digest,
    record::{AccountRecord, DeliveryRecord, LaneRecord, MaildropRecord, MessageRecord, PRESENT},
    transit::{Found, Transit, find},
    tx::{Account, Outcome, Tx},
};

pub(crate) fn apply(tx: &mut Tx<'_>, command: &MoveCommand) -> Outcome<MoveReply> {
    let mut account = tx.account_or_new(command.account)?;
    let known = account.record.transit;
    let found = find(known, account.record.lives(), command.by, &command.step);
    if found == Found::Stale {
        let is_missing = known.is_none() && !account.record.lives();
        return Err(match &command.step {
            MoveStep::Leave { .. } if is_missing => Refusal::NoSuchAccount,
            _ => Refusal::StaleAccountMove,
        }
        .into());
    }
    // Whoever takes a step has taken over, also where it was done.
    let stage = known.map_or(MoveStage::Here, Transit::stage);
    account.record.transit = Some(Transit::new(command.by, stage));
    let at = &command.cursor;
    let reply = match (&command.step, found) {
        (MoveStep::Leave { round, noted_from }, found) => {
            let rounds = (*round, *noted_from);
            leave(&mut account, known, rounds, found, at)?
        }
        (MoveStep::Fence, found) => fence(&mut account, stage, found)?,
        (MoveStep::Return, found) => go_back(&mut account, stage, found, at)?,
        (_, Found::Done) => MoveReply::Done,
        (MoveStep::Begin, _) => clear(&mut account, MoveStage::Clearing, MoveStage::Incoming, at)?,
        (MoveStep::Install(pairs), _) => install(&mut account, pairs)?,
        (MoveStep::InstallUploaded { upload, digests }, _) => {
            install_uploaded(&mut account, *upload, digests)?
        }
        (MoveStep::Complete { record }, _) => complete(&mut account, record)?,
        (MoveStep::Open, _) => open(&mut account)?,
        (MoveStep::Drop | MoveStep::Discard, _) => {
            clear(&mut account, MoveStage::Going, MoveStage::Gone, at)?
        }
    };
    account.close();
    Ok(reply)
}

impl Account<'_> {
    fn set_stage(&mut self, stage: MoveStage) {
        if let Some(transit) = &mut self.record.transit {
            *transit = Transit::new(transit.by(), stage);
        }
    }
}

/// Begins a round, and forgets the notes of those that were copied.
fn leave(
    account: &mut Account<'_>,
    known: Option<Transit>,
    (round, noted_from): (u32, u32),
    found: Found,
    cursor: &[u8],
) -> Result<MoveReply, KvError> {
    if round == 1 && found == Found::ToDo {
        // An earlier move that came to nothing may have left some.
        let forgotten = forget_notes(account, u32::MAX, cursor)?;
        if forgotten != MoveReply::Done {
            account.record.transit = known;
            return Ok(forgotten);
        }
    }
    if found == Found::ToDo {
        account.set_stage(MoveStage::Leaving(round));
    }
    forget_notes(account, noted_from.min(round), cursor)
}

/// Removes some notes of rounds before `round`.
fn forget_notes(
    account: &mut Account<'_>,
    round: u32,
    cursor: &[u8],
) -> Result<MoveReply, KvError> {
    let start = key::notes_of(account.id);
    let end = match round {
        u32::MAX => prefix_end(&start),
        round => key::notes_from(account.id, round),
    };
    let notes = first_keys(account, start, &end, cursor)?;
    let reply = more_or_done(&notes);
    for note in notes {
        account.view.delete(Space::Index, note);
    }
    Ok(reply)
}

/// What to say of a step that removes these keys.
fn more_or_done(keys: &[Vec<u8>]) -> MoveReply {
    match keys.last() {
        Some(last) if keys.len() >= MOVED_PAIRS_DROPPED_MAX => MoveReply::More {
            cursor: last.clone(),
        },
        _ => MoveReply::Done,
    }
}

/// The first keys of a range of the index, as many as a step removes. The range is not looked through before `cursor`, if that
/// lies in it: what was there has left its marks, which a store passes one by one.
fn first_keys(
    account: &Account<'_>,
    start: Vec<u8>,
    end: &[u8],
    cursor: &[u8],
) -> Result<Vec<Vec<u8>>, KvError> {
    let start = match *cursor > *start && cursor < end {
        true => cursor.to_vec(),
        false => start,
    };
    let mut keys = Vec::new();
    scan(
        account.view.as_read(),
        Space::Index,
        &start,
        end,
        |key, _| {
            keys.push(key.to_vec());
            Ok(match keys.len() < MOVED_PAIRS_DROPPED_MAX {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        },
    )?;
    Ok(keys)
}

fn fence(account: &mut Account<'_>, stage: MoveStage, found: Found) -> Result<MoveReply, KvError> {
    if let (MoveStage::Leaving(round), Found::ToDo) = (stage, found) {
        // Remains are removed where the account is served.
        for mailbox in with_remains(account)? {
            account.unqueue_reaping(mailbox)?;
        }
        account.set_stage(MoveStage::Fenced(round));
        account.touch();
    }
    let record = AccountRecord {
        transit: None,
        ..account.record.clone()
    };
    let record = record.encode();
    Ok(MoveReply::Fenced { record })
}

/// The account is served where it is.
fn go_back(
    account: &mut Account<'_>,
    stage: MoveStage,
    found: Found,
    cursor: &[u8],
) -> Result<MoveReply, KvError> {
    if found == Found::ToDo {
        account.set_stage(MoveStage::Here);
        if matches!(stage, MoveStage::Fenced(_)) {
            serve(account)?;
        }
    }
    // While it is served: nobody waits for this.
    forget_notes(account, u32::MAX, cursor)
}

fn open(account: &mut Account<'_>) -> Result<MoveReply, KvError> {
    account.set_stage(MoveStage::Here);
    account.raise_skips();
    serve(account)?;
    Ok(MoveReply::Done)
}

/// Makes up for what did not happen while the account was not served. What expires was put off meanwhile.
fn serve(account: &mut Account<'_>) -> Result<(), KvError> {
    for mailbox in with_remains(account)? {
        account.queue_reaping(mailbox)?;
    }
    account.touch();
    Ok(())
}

/// The mailboxes of which there are remains to be removed.
fn with_remains(account: &Account<'_>) -> Result<Vec<MailboxId>, KvError> {
    let mut found = Vec::new();
    for part in [part::REAP, part::DEAD] {
        let prefix = key::part_prefix(account.id, part);
        let end = prefix_end(&prefix);
        let mut start = prefix.clone();
        // From mailbox to mailbox: each may have many records.
        loop {
            let mut next = None;
            scan(
                account.view.as_read(),
                Space::Index,
                &start,
                &end,
                |key, _| {
                    next = key
                        .get(prefix.len()..)
                        .and_then(<[u8]>::first_chunk)
                        .copied();
                    Ok(ControlFlow::Break(()))
                },
            )?;
            let Some(next) = next else {
                break;
            };
            let mailbox = MailboxId(u64::from_be_bytes(next));
            found.push(mailbox);
            start = prefix_end(&key::of_mailbox(account.id, part, mailbox));
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Whether a pair expires, and when it is looked at.
fn time_of(
    account: AccountId,
    key: &[u8],
    value: &[u8],
) -> Result<Option<(Expiring, i64)>, KvError> {
    let Some(what) = key::expiring_of(account, key)? else {
        return Ok(None);
    };
    let time_ms = match &what {
        Expiring::Lane(..) => LaneRecord::decode(value)?.queued_ms,
        Expiring::Maildrop(_) => MaildropRecord::decode(value)?.queued_ms,
        _ => DeliveryRecord::decode(value)?.expires_ms,
    };
    Ok(Some((what, time_ms)))
}

fn install(account: &mut Account<'_>, pairs: &[MovedPair]) -> Outcome<MoveReply> {
    check_bounds(account, pairs)?;
    let messages = pairs.iter().filter_map(|pair| pair.message.as_ref());
    let mut missing = Vec::new();
    let mut brought = HashSet::new();
    for message in messages {
        if message.source.is_some()
            && body::require(account.view, account.now, &body_of(message)).is_ok()
        {
            brought.insert(message.hash);
        } else if !brought.contains(&message.hash)
            && body::find(account.view.as_read(), &message.hash)?.is_none()
        {
            missing.push(message.hash);
        }
    }
    if !missing.is_empty() {
        return Ok(MoveReply::BodiesMissing(missing));
    }
    if !pairs.iter().all(is_whole) {
        return Ok(MoveReply::Differs);
    }
    // Those that bring their body first: others of the same body need none then.
    let (bring, others): (Vec<_>, Vec<_>) = pairs.iter().partition(|pair| brings_body(pair));
    for pair in bring.into_iter().chain(others) {
        put_pair(account, pair)?;
    }
    Ok(MoveReply::Done)
}

fn install_uploaded(
    account: &mut Account<'_>,
    upload: UploadId,
    digests: &[[u8; 32]],
) -> Outcome<MoveReply> {
    if digests.len() > MOVED_CHUNKS_MAX {
        let text = format!("{MOVED_CHUNKS_MAX} chunks of pairs in a step of a move");
        return Err(Refusal::Limit(text).into());
    }
    let bytes = body::read_upload(account.view, account.now, upload, digests)?;
    let reply = install(account, &MovedPairs::decode(&bytes)?.0)?;
    body::drop_upload(account.view, upload)?;
    Ok(reply)
}

fn brings_body(pair: &MovedPair) -> bool {
    let message = pair.message.as_ref();
    message.is_some_and(|message| message.source.is_some())
}

fn check_bounds(account: &Account<'_>, pairs: &[MovedPair]) -> Result<(), Refusal> {
    let bytes: usize = pairs.iter().map(MovedPair::bytes).sum();
    if bytes > MOVED_BYTES_MAX && pairs.len() > 1 {
        let text = format!("{MOVED_BYTES_MAX} bytes in a step of a move");
        return Err(Refusal::Limit(text));
    }
    let fits = |pair: &MovedPair| {
        let part = key::part_of(account.id, &pair.key);
        let is_message = part == Some(part::MESSAGE) && pair.value.is_some();
        part.is_some_and(|part| part > part::ACCOUNT) && is_message == pair.message.is_some()
    };
    match pairs.iter().all(fits) {
        true => Ok(()),
        false => Err(Refusal::Limit(
            "pairs of the account, messages with what stands beside them".to_owned(),
        )),
    }
}

/// Whether what stands beside a message is what its record says.
fn is_whole(pair: &MovedPair) -> bool {
    let (Some(value), Some(message)) = (&pair.value, &pair.message) else {
        return true;
    };
    MessageRecord::decode(value).is_ok_and(|record| {
        record.hash == message.hash
            && record.content == content_digest(&message.detail, &message.signature)
    })
}

fn body_of(message: &MovedMessage) -> NewBody {
    NewBody {
        hash: message.hash,
        size: message.body_size,
        crlf_growth: 0,
        source: message
            .source
            .clone()
            .unwrap_or(BodySource::Inline(Vec::new())),
        detail: Vec::new(),
        signature: Vec::new(),
    }
}

/// Sets or removes a pair, with what belongs to it elsewhere in the shard.
fn put_pair(account: &mut Account<'_>, pair: &MovedPair) -> Result<(), KvError> {
    let old = account.get(&pair.key)?;
    let Some(value) = &pair.value else {
        return match old {
            Some(old) => remove_pair(account, pair.key.clone(), &old),
            None => Ok(()),
        };
    };
    if let Some(message) = &pair.message {
        match &old {
            None => put_message(account, &pair.key, message)?,
            // How many mailboxes have it; a message itself never changes.
            Some(old) if MessageRecord::decode(old)?.hash == message.hash => {}
            Some(_) => return Err(Damage("a message has another body than before").into()),
        }
    }
    forget_time(account, &pair.key, old.as_deref())?;
    if let Some((what, time_ms)) = time_of(account.id, &pair.key, value)? {
        // Where the queue was swept already nobody looks again.
        let time_ms = time_ms.max(account.swept_to_ms() + 1);
        let queue_key = key::expiry(time_ms, &what);
        account.view.put(Space::Index, queue_key, PRESENT.to_vec());
    }
    account.put(pair.key.clone(), old.as_deref(), value.to_vec());
    Ok(())
}

fn put_message(
    account: &mut Account<'_>,
    key: &[u8],
    message: &MovedMessage,
) -> Result<(), KvError> {
    body::reference(account.view, &body_of(message), 1)?;
    let id = id_of_message(key)?;
    for (part, bytes) in [
        (detail_part::DETAIL, &message.detail),
        (detail_part::SIGNATURE, &message.signature),
    ] {
        let key = key::of_message(account.id, part, id);
        account.view.put(Space::Detail, key, bytes.clone());
    }
    Ok(())
}

fn id_of_message(key: &[u8]) -> Result<u64, Damage> {
    let id = key.last_chunk().ok_or(Damage("a key is cut short"))?;
    Ok(u64::from_be_bytes(*id))
}

/// Takes a pair's entry out of the queue of what expires.
fn forget_time(account: &mut Account<'_>, key: &[u8], value: Option<&[u8]>) -> Result<(), KvError> {
    if let Some(value) = value
        && let Some((what, time_ms)) = time_of(account.id, key, value)?
    {
        account
            .view
            .delete(Space::Index, key::expiry(time_ms, &what));
    }
    Ok(())
}

fn remove_pair(account: &mut Account<'_>, key: Vec<u8>, old: &[u8]) -> Result<(), KvError> {
    forget_time(account, &key, Some(old))?;
    if key::part_of(account.id, &key) == Some(part::MESSAGE) {
        let id = id_of_message(&key)?;
        for part in [detail_part::DETAIL, detail_part::SIGNATURE] {
            account
                .view
                .delete(Space::Detail, key::of_message(account.id, part, id));
        }
        body::release(account.view, account.now, &MessageRecord::decode(old)?.hash)?;
    }
    account.delete(key, old);
    Ok(())
}

fn complete(account: &mut Account<'_>, record: &[u8]) -> Outcome<MoveReply> {
    let Ok(record) = AccountRecord::decode(record) else {
        return Ok(MoveReply::Differs);
    };
    if record.transit.is_some() || !record.lives() || record.sum != account.record.sum {
        return Ok(MoveReply::Differs);
    }
    let transit = account.record.transit;
    account.record = AccountRecord { transit, ..record };
    account.set_stage(MoveStage::Complete);
    Ok(MoveReply::Done)
}

/// Removes some of what there is of the account. All of it is gone: `then`.
fn clear(
    account: &mut Account<'_>,
    meanwhile: MoveStage,
    then: MoveStage,
    cursor: &[u8],
) -> Result<MoveReply, KvError> {
    let sum = account.record.sum;
    let transit = account.record.transit;
    // What it counts does not hold while it goes.
    account.record = AccountRecord {
        sum,
        transit,
        ..AccountRecord::default()
    };
    account.set_stage(meanwhile);
    let prefix = key::account_prefix(account.id);
    if !cursor.starts_with(&prefix) {
        let forgotten = forget_notes(account, u32::MAX, cursor)?;
        if forgotten != MoveReply::Done {
            return Ok(forgotten);
        }
    }
    let keys = first_keys(account, prefix.clone(), &prefix_end(&prefix), cursor)?;
    let reply = more_or_done(&keys);
    let own = key::account(account.id);
    for key in keys.into_iter().filter(|key| *key != own) {
        if let Some(old) = account.get(&key)? {
            remove_pair(account, key, &old)?;
        }
    }
    if reply != MoveReply::Done {
        return Ok(reply);
    }
    if !is_empty(account)? {
        // From the beginning: it did not begin there.
        return Ok(MoveReply::More { cursor: Vec::new() });
    }
    account.record.sum = Sum::default();
    account.set_stage(then);
    Ok(MoveReply::Done)
}

/// Whether there is nothing of the account but its own record.
fn is_empty(account: &Account<'_>) -> Result<bool, KvError> {
    let prefix = key::account_prefix(account.id);
    let own = key::account(account.id);
    let mut empty = true;
    scan(
        account.view.as_read(),
        Space::Index,
        &prefix,
        &prefix_end(&prefix),
        |key, _| {
            if key == own {
                return Ok(ControlFlow::Continue(()));
            }
            empty = false;
            Ok(ControlFlow::Break(()))
        },
    )?;
    Ok(empty)
}

#[cfg(test)]
mod tests;
