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
            let Answer::BodiesMissing(missing) = to.ask(&Query::BodiesMissing(vec![message.hash]))
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
        for part in pairs.chunks(100) {
            assert_eq!(to.moving(by, MoveStep::Install(part.to_vec())), DONE);
        }
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
    let mut cursor = Vec::new();
    loop {
        match world.moving_from(by, step.clone(), cursor) {
            Ok(MoveReply::More { cursor: then }) => cursor = then,
            other => return assert_eq!(other, DONE),
        }
    }
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
    // What was put off is looked at again within a minute.
    to.now += 61_000;
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
    let part = from.moving(FIRST, MoveStep::Return);
    assert!(matches!(part, Ok(MoveReply::More { .. })));
    let second = Mover {
        move_id: 2,
        turn: 0,
    };
    let part = from.moving(second, leave(1, 1));
    assert!(matches!(part, Ok(MoveReply::More { .. })));
    until_done(&mut from, second, &leave(1, 1));
    // An account that is not here does not leave.
    let mut empty = World::empty();
    let missing = empty.moving(FIRST, leave(1, 1));
    assert_eq!(missing, Err(Refusal::NoSuchAccount));
}

#[test]
fn an_account_is_cleared_piece_by_piece() {
    let (mut from, mut to) = (World::new(), World::empty());
    for _ in 0..40 {
        from.append(50);
    }
    carry_out(&mut from, &mut to, FIRST);
    assert_eq!(seen(&from)[0], Answer::Elsewhere);
    // The other way round, piece by piece with what came between: a cursor that says nothing true is of no harm.
    let second = Mover {
        move_id: 2,
        turn: 0,
    };
    until_done(&mut from, second, &MoveStep::Begin);
    assert_eq!(to.moving(second, leave(1, 1)), DONE);
    copy(&to, &mut from, second, None);
    for cursor in [vec![255], vec![0; 300]] {
        let step = MoveStep::Discard;
        let part = from.moving_from(second, step, cursor);
        assert!(matches!(part, Ok(MoveReply::More { .. })), "{part:?}");
    }
    until_done(&mut from, second, &MoveStep::Discard);
    assert_eq!(to.uids(INBOX), "1:2000");
}

#[test]
fn a_pair_that_is_longer_than_an_entry_is_uploaded() {
    let (mut from, mut to) = (World::new(), World::empty());
    from.append(2);
    until_done(&mut to, FIRST, &MoveStep::Begin);
    assert_eq!(from.moving(FIRST, leave(1, 1)), DONE);
    let page = Query::MovedPairs {
        account: ACCOUNT,
        by: FIRST,
        round: None,
        after: None,
    };
    let Answer::Moved { mut pairs, .. } = from.ask(&page) else {
        panic!("it does not leave");
    };
    for (number, message) in (0..).zip(pairs.iter_mut().filter_map(|pair| pair.message.as_mut())) {
        message.source = Some(body(number).source);
    }
    let upload = UploadId(7);
    let bytes = MovedPairs(pairs).encode();
    let step = MoveStep::InstallUploaded {
        upload,
        digests: vec![*blake3::hash(&bytes).as_bytes()],
    };
    let missing = Err(Refusal::BodyMissing);
    assert_eq!(to.moving(FIRST, step.clone()), missing);
    let chunk = crate::Chunk {
        codec: crate::ChunkCodec::Raw,
        bytes,
    };
    to.apply(&ShardCommand::Upload(crate::UploadChunk {
        upload,
        index: 0,
        expires: mailrook_types::Timestamp(i64::MAX),
        chunk,
    }));
    assert_eq!(to.moving(FIRST, step.clone()), DONE);
    let record = fence(&mut from, FIRST);
    assert_eq!(to.moving(FIRST, MoveStep::Complete { record }), DONE);
    // It comes again, when the upload has gone.
    assert_eq!(to.moving(FIRST, step), DONE);
    let many = MoveStep::InstallUploaded {
        upload,
        digests: vec![[0; 32]; MOVED_CHUNKS_MAX + 1],
    };
    let by = Mover {
        move_id: 2,
        turn: 0,
    };
    let mut third = World::empty();
    until_done(&mut third, by, &MoveStep::Begin);
    assert!(matches!(third.moving(by, many), Err(Refusal::Limit(_))));
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

/// The directory was recovered from a copy that lacked the first move.
#[test]
fn a_move_finds_what_one_that_was_forgotten_has_left() {
    let second = Mover {
        move_id: 2,
        turn: 0,
    };
    let fenced = || {
        let (mut from, mut to) = (World::new(), World::empty());
        from.append(3);
        until_done(&mut to, FIRST, &MoveStep::Begin);
        assert_eq!(from.moving(FIRST, leave(1, 1)), DONE);
        copy(&from, &mut to, FIRST, None);
        from.flag("2", SystemFlags::SEEN);
        let record = fence(&mut from, FIRST);
        copy(&from, &mut to, FIRST, Some(1));
        assert_eq!(to.moving(FIRST, MoveStep::Complete { record }), DONE);
        (from, to)
    };
    // While it was copied: the next one begins anew.
    let (mut from, mut to) = (World::new(), World::empty());
    from.append(3);
    until_done(&mut to, FIRST, &MoveStep::Begin);
    for round in [1, 2] {
        assert_eq!(from.moving(FIRST, leave(round, 1)), DONE);
        from.append(1);
    }
    carry_out(&mut from, &mut to, second);
    assert_eq!(to.uids(INBOX), "1:5");
    // In the fence: the account returns once the other side does not open it late any more.
    let (mut from, mut to) = fenced();
    assert_eq!(from.moving(second, leave(1, 1)), STALE);
    until_done(&mut to, second, &MoveStep::Discard);
    assert_eq!(to.moving(FIRST, MoveStep::Open), STALE);
    until_done(&mut from, second, &MoveStep::Return);
    assert_eq!(from.moving(FIRST, MoveStep::Drop), STALE);
    from.append(1);
    assert_eq!(from.uids(INBOX), "1:4");
    // After its end: it stays, and what it left behind goes.
    let (mut from, mut to) = fenced();
    assert_eq!(to.moving(FIRST, MoveStep::Open), DONE);
    for step in [MoveStep::Begin, MoveStep::Discard] {
        assert_eq!(to.moving(second, step), STALE);
    }
    assert_eq!(to.moving(second, MoveStep::Open), DONE);
    until_done(&mut from, second, &MoveStep::Drop);
    assert_eq!(seen(&from)[0], Answer::Elsewhere);
    assert_eq!(to.uids(INBOX), "1:3");
}
