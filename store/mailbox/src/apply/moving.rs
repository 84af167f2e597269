//! Steps of a move of an account, on either side.

use std::{collections::HashSet, ops::ControlFlow};

use mailrook_kv::{KvError, Space, prefix_end};
use mailrook_types::{AccountId, MailboxId};

use crate::{
    BodySource, MoveCommand, MoveReply, MoveStage, MoveStep, MovedMessage, MovedPair, NewBody,
    Refusal, body,
    digest::Sum,
    fields::Damage,
    index::scan,
    key::{self, Expiring, detail_part, part},
    limits::{MOVED_BYTES_MAX, MOVED_PAIRS_DROPPED_MAX},
    message::content_digest,
    record::{AccountRecord, DeliveryRecord, LaneRecord, MaildropRecord, MessageRecord, PRESENT},
    sweep,
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
    let reply = match (&command.step, found) {
        (MoveStep::Leave { round, noted_from }, found) => {
            leave(&mut account, known, *round, *noted_from, found)?
        }
        (MoveStep::Fence, found) => fence(&mut account, stage, found)?,
        (MoveStep::Return, found) => go_back(&mut account, stage, found)?,
        (_, Found::Done) => MoveReply::Done,
        (MoveStep::Begin, _) => clear(&mut account, MoveStage::Clearing, MoveStage::Incoming)?,
        (MoveStep::Install(pairs), _) => install(&mut account, pairs)?,
        (MoveStep::Complete { record }, _) => complete(&mut account, record)?,
        (MoveStep::Open, _) => open(&mut account)?,
        (MoveStep::Drop | MoveStep::Discard, _) => {
            clear(&mut account, MoveStage::Going, MoveStage::Gone)?
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
    round: u32,
    noted_from: u32,
    found: Found,
) -> Result<MoveReply, KvError> {
    if round == 1 && found == Found::ToDo {
        // An earlier move that came to nothing may have left some.
        if !forget_notes(account, u32::MAX)? {
            account.record.transit = known;
            return Ok(MoveReply::More);
        }
    }
    if found == Found::ToDo {
        account.set_stage(MoveStage::Leaving(round));
    }
    let all = forget_notes(account, noted_from.min(round))?;
    Ok(if all {
        MoveReply::Done
    } else {
        MoveReply::More
    })
}

/// Removes some notes of rounds before `round`. Says whether that was all.
fn forget_notes(account: &mut Account<'_>, round: u32) -> Result<bool, KvError> {
    let start = key::notes_of(account.id);
    let end = match round {
        u32::MAX => prefix_end(&start),
        round => key::notes_from(account.id, round),
    };
    let notes = first_keys(account, &start, &end)?;
    let all = notes.len() < MOVED_PAIRS_DROPPED_MAX;
    for note in notes {
        account.view.delete(Space::Index, note);
    }
    Ok(all)
}

/// The first keys of a range of the index, as many as a step removes.
fn first_keys(account: &Account<'_>, start: &[u8], end: &[u8]) -> Result<Vec<Vec<u8>>, KvError> {
    let mut keys = Vec::new();
    scan(
        account.view.as_read(),
        Space::Index,
        start,
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
) -> Result<MoveReply, KvError> {
    if found == Found::ToDo {
        account.set_stage(MoveStage::Here);
        if matches!(stage, MoveStage::Fenced(_)) {
            serve(account)?;
        }
    }
    // While it is served: nobody waits for this.
    let all = forget_notes(account, u32::MAX)?;
    Ok(if all {
        MoveReply::Done
    } else {
        MoveReply::More
    })
}

fn open(account: &mut Account<'_>) -> Result<MoveReply, KvError> {
    account.set_stage(MoveStage::Here);
    account.raise_skips();
    serve(account)?;
    Ok(MoveReply::Done)
}

/// Makes up for what did not happen while the account was not served.
fn serve(account: &mut Account<'_>) -> Result<(), KvError> {
    for mailbox in with_remains(account)? {
        account.queue_reaping(mailbox)?;
    }
    for part in [part::DELIVERY, part::LANE, part::MAILDROP] {
        for (what, time_ms) in times_of(account, part)? {
            if time_ms <= account.swept_to_ms() {
                account
                    .view
                    .delete(Space::Index, key::expiry(time_ms, &what));
                sweep::expire_in(account, &what, account.now)?;
            }
        }
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

/// What can expire of one table of the account, and when it is looked at.
fn times_of(account: &Account<'_>, part: u8) -> Result<Vec<(Expiring, i64)>, KvError> {
    let prefix = key::part_prefix(account.id, part);
    let mut times = Vec::new();
    let id = account.id;
    scan(
        account.view.as_read(),
        Space::Index,
        &prefix,
        &prefix_end(&prefix),
        |key, value| {
            if let Some(time) = time_of(id, key, value)? {
                times.push(time);
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(times)
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
    if let Some((what, time_ms)) = time_of(account.id, &pair.key, value)?
        && time_ms > account.swept_to_ms()
    {
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
    let mut all = forget_notes(account, u32::MAX)?;
    let prefix = key::account_prefix(account.id);
    let own = key::account(account.id);
    for key in first_keys(account, &prefix, &prefix_end(&prefix))? {
        if key == own {
            continue;
        }
        // Notes are as many again.
        if let Some(old) = account.get(&key)? {
            remove_pair(account, key, &old)?;
        }
    }
    all &= account.record.sum == Sum::default() && is_empty(account)?;
    if all {
        account.set_stage(then);
    }
    Ok(if all {
        MoveReply::Done
    } else {
        MoveReply::More
    })
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
mod tests {
    use mailrook_types::SystemFlags;

    use super::*;
    use crate::{
        Answer, Change, Confirmation, DeliveryKey, MailboxRef, MaildropReply, MaildropStep, Mover,
        Query, ShardCommand, ShardReply, testing::*,
    };

    const FIRST: Mover = Mover {
        move_id: 1,
        turn: 0,
    };
    const DONE: Result<MoveReply, Refusal> = Ok(MoveReply::Done);
    const STALE: Result<MoveReply, Refusal> = Err(Refusal::StaleAccountMove);

    fn leave(round: u32, noted_from: u32) -> MoveStep {
        MoveStep::Leave { round, noted_from }
    }

    /// Copies all pairs, or those of a round, with the bodies that the other side lacks.
    fn copy(from: &World, to: &mut World, by: Mover, round: Option<u32>) -> usize {
        let (mut after, mut copied) = (None, 0);
        loop {
            let query = Query::MovedPairs {
                account: ACCOUNT,
                by,
                round,
                after: after.take(),
            };
            let Answer::Moved { mut pairs, next } = from.ask(&query) else {
                panic!("it does not leave");
            };
            let messages = pairs.iter_mut().filter_map(|pair| pair.message.as_mut());
            for message in messages {
                let Answer::BodiesMissing(missing) =
                    to.ask(&Query::BodiesMissing(vec![message.hash]))
                else {
                    panic!("not what is missing");
                };
                if let [missing] = missing[..] {
                    let Answer::Bodies(mut bodies) = from.ask(&Query::Bodies(vec![missing])) else {
                        panic!("not bodies");
                    };
                    message.source = bodies.pop().map(BodySource::Inline);
                }
            }
            copied += pairs.len();
            assert_eq!(to.moving(by, MoveStep::Install(pairs)), DONE);
            match next {
                Some(next) => after = Some(next),
                None => return copied,
            }
        }
    }

    fn fence(from: &mut World, by: Mover) -> Vec<u8> {
        match from.moving(by, MoveStep::Fence) {
            Ok(MoveReply::Fenced { record }) => record,
            other => panic!("not fenced: {other:?}"),
        }
    }

    fn until_done(world: &mut World, by: Mover, step: &MoveStep) {
        while world.moving(by, step.clone()) == Ok(MoveReply::More) {}
        assert_eq!(world.moving(by, step.clone()), DONE);
    }

    fn carry_out(from: &mut World, to: &mut World, by: Mover) {
        until_done(to, by, &MoveStep::Begin);
        assert_eq!(from.moving(by, leave(1, 1)), DONE);
        copy(from, to, by, None);
        let record = fence(from, by);
        copy(from, to, by, Some(1));
        assert_eq!(to.moving(by, MoveStep::Complete { record }), DONE);
        assert_eq!(to.moving(by, MoveStep::Open), DONE);
        until_done(from, by, &MoveStep::Drop);
    }

    fn remove(uids: &str) -> Change {
        Change::Remove {
            mailbox: INBOX,
            uids: set(uids),
        }
    }

    /// Everything that a client can ask for.
    fn seen(world: &World) -> Vec<Answer> {
        let account = ACCOUNT;
        let mailbox = INBOX;
        let uids = set("1:99");
        [
            Query::Mailboxes { account },
            Query::Quota { account },
            Query::Index {
                account,
                mailbox,
                uids: uids.clone(),
                limit: 99,
            },
            Query::Details {
                account,
                mailbox,
                uids: uids.clone(),
                limit: 99,
            },
            Query::Signatures {
                account,
                mailbox,
                uids,
                limit: 99,
            },
            Query::Changes {
                account,
                mailbox,
                since: mailrook_types::ModSeq::ZERO,
                uids: None,
                after: None,
                limit: 99,
            },
        ]
        .iter()
        .map(|query| world.ask(query))
        .collect()
    }

    #[test]
    fn what_changes_while_it_is_copied_comes_along() {
        let (mut from, mut to) = (World::new(), World::empty());
        from.append(6);
        let mailbox = from.create("a/b").unwrap();
        from.change(remove("2")).unwrap();
        until_done(&mut to, FIRST, &MoveStep::Begin);
        assert_eq!(from.moving(FIRST, leave(1, 1)), DONE);
        copy(&from, &mut to, FIRST, None);
        from.flag("1:3", SystemFlags::SEEN);
        from.change(remove("4")).unwrap();
        let delivery = from.delivery(7);
        from.apply(&ShardCommand::Deliver(delivery));
        assert_eq!(from.moving(FIRST, leave(2, 1)), DONE);
        assert!(copy(&from, &mut to, FIRST, Some(1)) > 5);
        assert_eq!(from.moving(FIRST, leave(3, 2)), DONE);
        from.change(append(MailboxRef::Id(mailbox), 2)).unwrap();
        let before = seen(&from);
        let record = fence(&mut from, FIRST);
        for round in [2, 3] {
            copy(&from, &mut to, FIRST, Some(round));
        }
        assert_eq!(to.moving(FIRST, MoveStep::Complete { record }), DONE);
        assert_eq!(to.moving(FIRST, MoveStep::Open), DONE);
        assert_eq!(seen(&to), before);
        until_done(&mut from, FIRST, &MoveStep::Drop);
        assert_eq!(seen(&from)[0], Answer::Elsewhere);
        // It goes on there.
        to.append(1);
        to.change(remove("1:9")).unwrap();
    }

    #[test]
    fn a_maildrop_stays_locked_while_it_moves() {
        let (mut from, mut to) = (World::new(), World::empty());
        from.append(2);
        let (one, two) = (holder(1, 1), holder(2, 1));
        let (take, renew) = (
            MaildropStep::Take { lease_ms: 30_000 },
            MaildropStep::Renew { lease_ms: 30_000 },
        );
        from.maildrop(one, take).unwrap();
        // For so long that its lease is over, and its turn in the queue comes while the account is served nowhere.
        until_done(&mut to, FIRST, &MoveStep::Begin);
        assert_eq!(from.moving(FIRST, leave(1, 1)), DONE);
        copy(&from, &mut to, FIRST, None);
        from.now += 20_000;
        assert_eq!(from.maildrop(one, renew), Ok(MaildropReply::Done));
        let record = fence(&mut from, FIRST);
        assert_eq!(from.maildrop(one, renew), Err(Refusal::Elsewhere));
        copy(&from, &mut to, FIRST, Some(1));
        assert_eq!(to.moving(FIRST, MoveStep::Complete { record }), DONE);
        for (world, ms) in [(&mut from, 3_620_000), (&mut to, 3_640_000)] {
            world.now += ms;
            world.apply(&ShardCommand::Tick);
        }
        assert_eq!(to.moving(FIRST, MoveStep::Open), DONE);
        assert_eq!(to.maildrop(two, take), Ok(MaildropReply::InUse));
        assert_eq!(to.maildrop(one, renew), Ok(MaildropReply::Done));
        let quit = Change::CloseMaildrop {
            holder: one,
            mailbox: INBOX,
            uids: set("1"),
        };
        assert!(to.change(quit).is_ok());
        assert_eq!(to.maildrop(two, take), Ok(MaildropReply::Done));
        until_done(&mut from, FIRST, &MoveStep::Drop);
    }

    #[test]
    fn a_fenced_account_is_neither_read_nor_changed_nor_expires() {
        let (mut from, mut to) = (World::new(), World::empty());
        from.append(2);
        from.change(remove("1")).unwrap();
        let first = from.delivery(7);
        from.apply(&ShardCommand::Deliver(first.clone()));
        until_done(&mut to, FIRST, &MoveStep::Begin);
        assert_eq!(from.moving(FIRST, leave(1, 1)), DONE);
        let record = fence(&mut from, FIRST);
        let kept = from.op();
        assert_eq!(from.change_as(kept, remove("2")), Err(Refusal::Elsewhere));
        assert!(
            seen(&from)
                .iter()
                .all(|answer| *answer == Answer::Elsewhere)
        );
        let confirmation = Confirmation {
            account: ACCOUNT,
            mailbox: INBOX,
            uid: mailrook_types::Uid::new(3).unwrap(),
            key: DeliveryKey([7; 32]),
        };
        let confirmed = from.apply(&ShardCommand::Confirm(vec![confirmation]));
        assert_eq!(confirmed, ShardReply::Elsewhere(vec![confirmation]));
        // What was done before is answered as it was.
        let again = from.apply(&ShardCommand::Deliver(first));
        assert!(matches!(again, ShardReply::Deliver(outcomes) if outcomes.len() == 1));
        // Time passes, long enough for kept replies and deliveries to expire.
        from.now += 8 * 86_400_000;
        to.now = from.now;
        for _ in 0..3 {
            from.apply(&ShardCommand::Tick);
            to.apply(&ShardCommand::Tick);
        }
        assert_eq!(fence(&mut from, FIRST), record);
        copy(&from, &mut to, FIRST, None);
        assert_eq!(to.moving(FIRST, MoveStep::Complete { record }), DONE);
        assert_eq!(to.moving(FIRST, MoveStep::Open), DONE);
        // The same operation is carried out where the account is, once.
        assert!(to.change_as(kept, remove("2")).is_ok());
        assert_eq!(to.uids(INBOX), "3");
        for _ in 0..3 {
            to.apply(&ShardCommand::Tick);
        }
        // Its remains went, and what was due has expired.
        let delivery = to.delivery(7);
        to.apply(&ShardCommand::Deliver(delivery));
        assert_eq!(to.uids(INBOX), "3:4");
    }

    #[test]
    fn a_move_that_comes_to_nothing_leaves_nothing() {
        let (mut from, mut to) = (World::new(), World::empty());
        from.append(5);
        from.change(remove("2")).unwrap();
        let before = seen(&from);
        until_done(&mut to, FIRST, &MoveStep::Begin);
        assert_eq!(from.moving(FIRST, leave(1, 1)), DONE);
        copy(&from, &mut to, FIRST, None);
        fence(&mut from, FIRST);
        until_done(&mut to, FIRST, &MoveStep::Discard);
        until_done(&mut from, FIRST, &MoveStep::Return);
        assert_eq!(seen(&from), before);
        from.append(1);
        // Nothing of that move comes late.
        for step in [leave(1, 1), leave(2, 1), MoveStep::Fence, MoveStep::Drop] {
            assert_eq!(from.moving(FIRST, step), STALE);
        }
        for step in [
            MoveStep::Begin,
            MoveStep::Install(Vec::new()),
            MoveStep::Open,
        ] {
            assert_eq!(to.moving(FIRST, step), STALE);
        }
        // But for bodies, which nothing refers to and which go in their time, only the note is left.
        to.now += 2 * 3_600_000;
        for _ in 0..3 {
            to.apply(&ShardCommand::Tick);
        }
        assert_eq!(to.pairs(), 2);
        // The next one goes through, there and back.
        for move_id in [2, 3] {
            let by = Mover { move_id, turn: 0 };
            carry_out(&mut from, &mut to, by);
            std::mem::swap(&mut from, &mut to);
        }
        assert_eq!(from.uids(INBOX), "1,3:6");
    }

    #[test]
    fn a_move_comes_to_nothing_before_it_began() {
        let mut from = World::new();
        assert_eq!(from.moving(FIRST, MoveStep::Return), DONE);
        assert_eq!(from.moving(FIRST, leave(1, 1)), STALE);
        assert_eq!(from.moving(FIRST, MoveStep::Fence), STALE);
        from.append(1);
        let mut to = World::empty();
        assert_eq!(to.moving(FIRST, MoveStep::Discard), DONE);
        assert_eq!(to.moving(FIRST, MoveStep::Begin), STALE);
        // It is not made there by whoever finds it missing.
        let create = Change::Account(crate::AccountChange::Create {
            mailboxes: Vec::new(),
            quota: crate::QuotaLimit::default(),
        });
        assert_eq!(to.change(create), Err(Refusal::Elsewhere));
    }

    #[test]
    fn who_was_taken_over_from_does_nothing_more() {
        let (mut from, mut to) = (World::new(), World::empty());
        from.append(3);
        until_done(&mut to, FIRST, &MoveStep::Begin);
        assert_eq!(from.moving(FIRST, leave(1, 1)), DONE);
        let second = Mover { turn: 1, ..FIRST };
        // Done already, and taken over by it.
        assert_eq!(to.moving(second, MoveStep::Begin), DONE);
        assert_eq!(from.moving(second, leave(1, 1)), DONE);
        for step in [leave(2, 1), MoveStep::Fence, MoveStep::Return] {
            assert_eq!(from.moving(FIRST, step), STALE);
        }
        for step in [MoveStep::Install(Vec::new()), MoveStep::Discard] {
            assert_eq!(to.moving(FIRST, step), STALE);
        }
        let page = Query::MovedPairs {
            account: ACCOUNT,
            by: FIRST,
            round: None,
            after: None,
        };
        assert_eq!(from.ask(&page), Answer::Elsewhere);
        copy(&from, &mut to, second, None);
        let record = fence(&mut from, second);
        assert_eq!(to.moving(second, MoveStep::Complete { record }), DONE);
    }

    #[test]
    fn a_copy_that_differs_is_not_opened() {
        let (mut from, mut to) = (World::new(), World::empty());
        from.append(3);
        until_done(&mut to, FIRST, &MoveStep::Begin);
        assert_eq!(from.moving(FIRST, leave(1, 1)), DONE);
        copy(&from, &mut to, FIRST, None);
        from.flag("2", SystemFlags::SEEN);
        let record = fence(&mut from, FIRST);
        let complete = MoveStep::Complete { record };
        assert_eq!(to.moving(FIRST, complete.clone()), Ok(MoveReply::Differs));
        assert_eq!(to.moving(FIRST, MoveStep::Open), STALE);
        copy(&from, &mut to, FIRST, Some(1));
        assert_eq!(to.moving(FIRST, complete), DONE);
    }

    #[test]
    fn bodies_that_are_not_there_are_asked_for() {
        let (mut from, mut to) = (World::new(), World::empty());
        from.append(3);
        until_done(&mut to, FIRST, &MoveStep::Begin);
        assert_eq!(from.moving(FIRST, leave(1, 1)), DONE);
        let page = Query::MovedPairs {
            account: ACCOUNT,
            by: FIRST,
            round: None,
            after: None,
        };
        let Answer::Moved { pairs, .. } = from.ask(&page) else {
            panic!("it does not leave");
        };
        let (before, hashes) = (to.pairs(), [0, 1, 2].map(|number| body(number).hash));
        let missing = MoveReply::BodiesMissing(hashes.to_vec());
        assert_eq!(to.moving(FIRST, MoveStep::Install(pairs)), Ok(missing));
        assert_eq!(to.pairs(), before);
    }

    #[test]
    fn notes_of_an_earlier_move_go_little_by_little() {
        let (mut from, mut to) = (World::new(), World::empty());
        from.append(1);
        until_done(&mut to, FIRST, &MoveStep::Begin);
        assert_eq!(from.moving(FIRST, leave(1, 1)), DONE);
        for _ in 0..60 {
            from.append(50);
        }
        assert_eq!(from.moving(FIRST, MoveStep::Return), Ok(MoveReply::More));
        let second = Mover {
            move_id: 2,
            turn: 0,
        };
        assert_eq!(from.moving(second, leave(1, 1)), Ok(MoveReply::More));
        until_done(&mut from, second, &leave(1, 1));
        // An account that is not here does not leave.
        let mut empty = World::empty();
        let missing = empty.moving(FIRST, leave(1, 1));
        assert_eq!(missing, Err(Refusal::NoSuchAccount));
    }

    #[test]
    fn what_is_not_of_the_account_is_refused() {
        let (mut from, mut to) = (World::new(), World::empty());
        from.append(1);
        until_done(&mut to, FIRST, &MoveStep::Begin);
        for key in [
            key::shard(),
            key::account(ACCOUNT),
            key::body(&body(1).hash),
        ] {
            let pair = MovedPair {
                key,
                value: Some(vec![1].into()),
                message: None,
            };
            let refused = to.moving(FIRST, MoveStep::Install(vec![pair]));
            assert!(matches!(refused, Err(Refusal::Limit(_))));
        }
        assert_eq!(from.moving(FIRST, MoveStep::Begin), STALE, "it is here");
    }
}
