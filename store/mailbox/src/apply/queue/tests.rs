//! The queue as conversations.

use mailrook_types::Timestamp;

use super::testing::*;
use crate::{
    ClaimJobs, DeliveryKey, Enqueue, JobChange, JobId, JobStanding, NewJob, QueueAnswer,
    QueueCommand, QueueConfirmation, QueueQuery, QueueReply, QueueReport, Refusal, ReportOutcome,
    ShardCommand, SlotStep,
    key::table_slot,
    limits::{
        BODY_KEPT, JOBS_PER_MESSAGE_MAX, QUEUE_NOTICE, RECIPIENTS_PER_JOB_MAX, SKIPPED_IDS, millis,
    },
    queue::SEEN_TABLE,
    testing::World,
};

/// Everything of the queue that is left: nothing but its numbers.
fn assert_empty(world: &World) {
    let summary = world.summary();
    assert_eq!((summary.messages, summary.jobs, summary.bytes), (0, 0, 0));
    assert_eq!((summary.oldest, summary.destinations.len()), (None, 0));
    assert_eq!(world.next_claim_at(), None);
}

#[test]
fn a_message_goes_its_way() {
    let mut world = World::empty();
    let at = world.enqueue(1, &["a@one.test", "b@one.test", "c@two.test"]);
    assert_eq!(world.summary().jobs, 2);
    let claimed = world.claim(wish(A));
    let claim = claimed.claim.unwrap();
    let [one, two] = &claimed.jobs[..] else {
        panic!("two jobs: {claimed:?}");
    };
    assert_eq!(
        (&one.destination, &two.destination),
        (&domain("one.test"), &domain("two.test"))
    );
    assert_eq!(
        (one.recipients.len(), one.id.message),
        (2, at.message.unwrap())
    );
    assert!(world.claim(wish(B)).jobs.is_empty(), "they are under way");
    // One of two has it; the other is tried again later.
    let due = world.now + 60_000;
    let some = QueueReport {
        delivered: vec![0],
        deferred: vec![(1, "4.2.2 full".to_owned())],
        ..deferral(claim, one, due)
    };
    assert_eq!(world.report(some), ReportOutcome::Counted);
    assert_eq!(world.report(delivery(claim, two)), ReportOutcome::Counted);
    assert_eq!((world.summary().jobs, world.summary().messages), (1, 1));
    assert_eq!(world.next_claim_at(), Some(due));
    assert!(world.claim(wish(A)).jobs.is_empty(), "it is not due");
    world.now = due;
    let (claim, again) = world.claim_one(B);
    assert_eq!(
        (again.tries, again.recipients.len(), again.recipients[0].0),
        (1, 1, 1)
    );
    assert_eq!(again.recipients[0].1.last.as_deref(), Some("4.2.2 full"));
    let report = QueueReport {
        failed: vec![1],
        deferred: Vec::new(),
        ..deferral(claim, &again, 0)
    };
    assert_eq!(world.report(report.clone()), ReportOutcome::Counted);
    assert_eq!(world.report(report), ReportOutcome::Gone);
    assert_empty(&world);
    // With its body, a while later.
    world.now += millis(BODY_KEPT) + 1_000;
    world.apply(&ShardCommand::Tick);
    assert_eq!(
        world.pairs(),
        World::empty().pairs() + 4,
        "shard, numbers, lane and its end"
    );
}

#[test]
fn it_is_queued_once() {
    let mut world = World::empty();
    let enqueue = world.enqueuing(1, &["a@one.test"]);
    let first = world.enqueue_as(enqueue.clone()).unwrap();
    assert_eq!(
        world.enqueue_as(enqueue.clone()).unwrap(),
        first,
        "the same operation"
    );
    // The sender missed the reply and sends it again: by another operation, and now to one more.
    let again = Enqueue {
        op: world.op(),
        mark: 2,
        ..enqueue.clone()
    };
    let repeated = world.enqueue_as(again).unwrap();
    assert_eq!((repeated.message, &repeated.marks), (None, &first.marks));
    let more = world.enqueuing(1, &["b@one.test", "a@one.test"]);
    let more = Enqueue { mark: 3, ..more };
    let partly = world.enqueue_as(more).unwrap();
    assert_eq!(partly.marks, [first.marks[0], 3]);
    assert_eq!(
        (world.summary().messages, world.claim(wish(A)).jobs.len()),
        (2, 2)
    );
    // Confirmed, the same bytes are a new message.
    let confirm = |mark| QueueConfirmation {
        key: DeliveryKey([1; 32]),
        mark,
    };
    for mark in [first.marks[0], 99] {
        let done = world.queue(QueueCommand::Confirm(vec![confirm(mark)]));
        assert_eq!(done, Ok(QueueReply::Done));
    }
    let on_purpose = Enqueue {
        op: world.op(),
        mark: 4,
        ..enqueue
    };
    let on_purpose = world.enqueue_as(on_purpose).unwrap();
    assert!(on_purpose.message.is_some());
    let third = world.enqueuing(1, &["b@one.test"]);
    assert_eq!(world.enqueue_as(third).unwrap().marks, [3]);
}

#[test]
fn a_transmission_is_known_where_its_slot_went() {
    let (mut from, mut to) = (World::empty(), World::new());
    let slot = table_slot(SEEN_TABLE, &[1; 32]);
    let enqueue = from.enqueuing(1, &["a@one.test"]);
    from.enqueue_as(enqueue.clone()).unwrap();
    to.slots(1, &[slot], SlotStep::Begin).unwrap();
    from.slots(1, &[slot], SlotStep::Fence).unwrap();
    let query = crate::Query::SlotEntries {
        fenced_by: Some(1),
        slots: vec![slot],
        after: None,
    };
    let crate::Answer::SlotEntries { entries, .. } = from.ask(&query) else {
        panic!("not the slot's entries");
    };
    to.slots(1, &[slot], SlotStep::Install(entries)).unwrap();
    to.slots(1, &[slot], SlotStep::Open).unwrap();
    from.slots(1, &[slot], SlotStep::Drop).unwrap();
    let again = |op| Enqueue {
        op,
        ..enqueue.clone()
    };
    let op = from.op();
    assert_eq!(from.enqueue_as(again(op)), Err(Refusal::SlotNotHere(slot)));
    let op = to.op();
    assert_eq!(to.enqueue_as(again(op)).unwrap().message, None);
    let confirmation = QueueConfirmation {
        key: DeliveryKey([1; 32]),
        mark: enqueue.mark,
    };
    let confirm = QueueCommand::Confirm(vec![confirmation]);
    assert_eq!(
        from.queue(confirm.clone()),
        Ok(QueueReply::Elsewhere(vec![confirmation]))
    );
    assert_eq!(to.queue(confirm), Ok(QueueReply::Done));
    let op = to.op();
    assert!(to.enqueue_as(again(op)).unwrap().message.is_some());
    // The message itself is sent from where it was queued.
    assert_eq!(from.claim(wish(A)).jobs.len(), 1);
}

#[test]
fn who_queues_may_send_at_once() {
    let mut world = World::empty();
    let later = Timestamp(world.now + 60_000);
    let mut enqueue = world.enqueuing(1, &["a@one.test", "b@two.test"]);
    enqueue.message.jobs[1].due = Some(later);
    enqueue.claim = Some(wish(A));
    let claimed = world.enqueue_as(enqueue.clone()).unwrap().claimed.unwrap();
    assert_eq!(claimed.jobs.len(), 1);
    assert_eq!(claimed.jobs[0].destination, domain("one.test"));
    // Whoever asks again has not heard: the jobs come free with the lease.
    assert_eq!(world.enqueue_as(enqueue).unwrap().claimed, None);
    assert!(world.claim(wish(B)).jobs.is_empty());
    // Nothing is begun where there is enough under way.
    let full = world.enqueuing(2, &["c@one.test"]);
    let few = ClaimJobs {
        per_destination: 1,
        ..wish(A)
    };
    let full = Enqueue {
        claim: Some(few),
        ..full
    };
    assert_eq!(world.enqueue_as(full).unwrap().claimed, None);
    let due = claimed.jobs[0].clone();
    assert_eq!(
        world.report(delivery(claimed.claim.unwrap(), &due)),
        ReportOutcome::Counted
    );
    assert_eq!(world.claim(wish(B)).jobs.len(), 1);
}

#[test]
fn a_dead_runner_s_jobs_go_on_with_another() {
    let mut world = World::empty();
    world.enqueue(1, &["a@one.test"]);
    let (claim, job) = world.claim_one(A);
    let claimed_at = world.now;
    assert_eq!(
        world.next_claim_at(),
        Some(claimed_at + i64::from(LEASE_MS))
    );
    world.now += i64::from(LEASE_MS);
    // The first that finds the lease over gives notice; who lives takes it back.
    assert!(world.claim(wish(B)).jobs.is_empty());
    assert_eq!(world.renew(A, &[claim]), []);
    assert_eq!(world.renew(B, &[claim]), [claim]);
    world.now += i64::from(LEASE_MS);
    assert!(world.claim(wish(B)).jobs.is_empty());
    let noticed_at = world.now;
    assert_eq!(
        world.next_claim_at(),
        Some(noticed_at + millis(QUEUE_NOTICE))
    );
    world.now = noticed_at + millis(QUEUE_NOTICE) - 2;
    assert!(world.claim(wish(B)).jobs.is_empty());
    let (second, again) = world.claim_one(B);
    assert_eq!(again, job);
    assert_eq!(world.renew(A, &[claim]), [claim], "it is lost");
    // What the first says now counts for nothing, but for what is delivered.
    let late = QueueReport {
        failed: vec![0],
        deferred: Vec::new(),
        notice: Some(Box::new(queued(2, &["sender@example.test"]))),
        ..deferral(claim, &job, 0)
    };
    assert_eq!(world.report(late), ReportOutcome::ClaimLost);
    assert_eq!(world.summary().messages, 1, "and no report is sent");
    assert_eq!(
        world.report(delivery(claim, &job)),
        ReportOutcome::ClaimLost
    );
    assert_eq!(world.report(delivery(second, &again)), ReportOutcome::Gone);
    assert_eq!(world.renew(B, &[second]), [second]);
    assert_empty(&world);
}

#[test]
fn destinations_have_their_turns() {
    let mut world = World::empty();
    for n in 0..30 {
        world.enqueue(n, &["a@many.test"]);
    }
    world.enqueue(40, &["a@few.test"]);
    let some = ClaimJobs {
        limit: 4,
        ..wish(A)
    };
    let claimed = world.claim(some);
    let names: Vec<_> = claimed
        .jobs
        .iter()
        .map(|job| job.destination.as_str())
        .collect();
    assert_eq!(names, ["few.test", "many.test", "many.test", "many.test"]);
    // As many as may be of the one.
    assert_eq!(world.claim(wish(A)).jobs.len(), 7);
    assert!(world.claim(wish(B)).jobs.is_empty());
    let many = &claimed.jobs[1];
    assert_eq!(
        world.report(delivery(claimed.claim.unwrap(), many)),
        ReportOutcome::Counted
    );
    assert_eq!(world.claim(wish(B)).jobs.len(), 1);
}

#[test]
fn a_destination_out_of_reach_is_left_alone() {
    let mut world = World::empty();
    world.enqueue(1, &["a@one.test"]);
    world.enqueue(2, &["b@one.test", "c@two.test"]);
    let few = ClaimJobs {
        limit: 1,
        ..wish(A)
    };
    let claimed = world.claim(few);
    let (soon, rest) = (world.now + 1_000, world.now + 60_000);
    let unreachable = QueueReport {
        rest: Some(Timestamp(rest)),
        ..deferral(claimed.claim.unwrap(), &claimed.jobs[0], soon)
    };
    assert_eq!(world.report(unreachable), ReportOutcome::Counted);
    let others = world.claim(wish(B));
    assert_eq!(others.jobs.len(), 1);
    assert_eq!(others.jobs[0].destination, domain("two.test"));
    world.report(delivery(others.claim.unwrap(), &others.jobs[0]));
    assert_eq!(world.next_claim_at(), Some(rest));
    // What comes meanwhile waits too.
    let enqueue = Enqueue {
        claim: Some(wish(A)),
        ..world.enqueuing(3, &["d@one.test"])
    };
    assert_eq!(world.enqueue_as(enqueue).unwrap().claimed, None);
    // Unless an administrator knows better.
    let jobs = listed(&world).into_iter().take(1).collect();
    let retry = world.queue(QueueCommand::Change {
        jobs,
        change: JobChange::Retry,
    });
    assert_eq!(retry, Ok(QueueReply::Changed(1)));
    assert_eq!(world.claim(wish(B)).jobs.len(), 3);
}

fn listed(world: &World) -> Vec<JobId> {
    let query = QueueQuery::List {
        after: None,
        destination: None,
        limit: 100,
    };
    match world.ask_queue(query) {
        QueueAnswer::List(jobs, None) => jobs.into_iter().map(|job| job.id).collect(),
        other => panic!("not a list: {other:?}"),
    }
}

#[test]
fn held_jobs_wait_for_the_administrator() {
    let mut world = World::empty();
    world.enqueue(1, &["a@one.test", "b@two.test"]);
    let jobs = listed(&world);
    let hold = |change| QueueCommand::Change {
        jobs: jobs.clone(),
        change,
    };
    let (claim, job) = world.claim_one(A);
    assert_eq!(
        world.queue(hold(JobChange::Hold)),
        Ok(QueueReply::Changed(2))
    );
    assert_eq!(
        world.queue(hold(JobChange::Hold)),
        Ok(QueueReply::Changed(0))
    );
    let due = world.now;
    assert_eq!(
        world.report(deferral(claim, &job, due)),
        ReportOutcome::Counted
    );
    world.queue(QueueCommand::Release(vec![claim])).unwrap();
    assert!(world.claim(wish(B)).jobs.is_empty());
    let QueueAnswer::Show(Some(shown)) = world.ask_queue(QueueQuery::Show(jobs[0].message)) else {
        panic!("it is there");
    };
    assert!(
        shown
            .jobs
            .iter()
            .all(|job| job.standing == JobStanding::Held)
    );
    assert_eq!(world.summary().held, 2);
    assert_eq!(
        world.queue(hold(JobChange::Unhold)),
        Ok(QueueReply::Changed(2))
    );
    assert_eq!(world.claim(wish(B)).jobs.len(), 2);
    // Deleted, they are gone, also for whoever has them in hand.
    assert_eq!(
        world.queue(hold(JobChange::Delete)),
        Ok(QueueReply::Changed(2))
    );
    assert_eq!(world.report(deferral(claim, &job, 0)), ReportOutcome::Gone);
    assert_empty(&world);
}

#[test]
fn a_report_to_the_sender_is_queued_with_what_it_reports() {
    let mut world = World::empty();
    world.enqueue(1, &["a@one.test"]);
    let (claim, job) = world.claim_one(A);
    let mut notice = queued(2, &["sender@example.test"]);
    notice.body.source = crate::BodySource::Uploaded {
        upload: mailrook_types::UploadId(1),
        digests: vec![[0; 32]],
    };
    let mut failure = QueueReport {
        failed: vec![0],
        deferred: Vec::new(),
        notice: Some(Box::new(notice)),
        ..deferral(claim, &job, 0)
    };
    assert_eq!(world.report(failure.clone()), ReportOutcome::BodyMissing);
    assert_eq!(
        world.summary().destinations[0].claimed,
        1,
        "nothing of it was done"
    );
    failure.notice = Some(Box::new(queued(2, &["sender@example.test"])));
    assert_eq!(world.report(failure.clone()), ReportOutcome::Counted);
    assert_eq!(world.report(failure), ReportOutcome::Gone);
    let (_, notice) = world.claim_one(B);
    assert_eq!(notice.destination, domain("example.test"));
    assert_eq!(world.summary().messages, 1);
}

#[test]
fn jobs_are_listed_page_by_page() {
    let mut world = World::empty();
    for n in 0..5 {
        world.enqueue(n, &["a@one.test", "b@two.test"]);
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let query = QueueQuery::List {
            after,
            destination: Some(domain("two.test")),
            limit: 2,
        };
        let QueueAnswer::List(jobs, next) = world.ask_queue(query) else {
            panic!("not a list");
        };
        seen.extend(jobs.iter().map(|job| job.recipients[0].address.to_string()));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["b@two.test"; 5]);
}

#[test]
fn bounds_are_refused_by_name() {
    let mut world = World::empty();
    let job = |recipients| NewJob {
        destination: domain("one.test"),
        recipients: vec![recipient("a@one.test"); recipients],
        due: None,
    };
    for jobs in [
        vec![],
        vec![job(0)],
        vec![job(RECIPIENTS_PER_JOB_MAX + 1)],
        vec![job(1); JOBS_PER_MESSAGE_MAX + 1],
    ] {
        let mut enqueue = world.enqueuing(1, &[]);
        enqueue.message.jobs = jobs;
        assert!(matches!(world.enqueue_as(enqueue), Err(Refusal::Limit(_))));
    }
    assert_empty(&world);
}

#[test]
fn a_missing_body_is_sent_again_under_the_same_operation() {
    let mut world = World::empty();
    let whole = world.enqueuing(1, &["a@one.test"]);
    let mut empty = whole.clone();
    empty.message.body.source = crate::BodySource::Inline(Vec::new());
    assert_eq!(world.enqueue_as(empty), Err(Refusal::BodyMissing));
    assert!(world.enqueue_as(whole).unwrap().message.is_some());
}

#[test]
fn a_shard_brought_back_leaves_numbers_out() {
    let mut world = World::empty();
    let first = world.enqueue(1, &["a@one.test"]).message.unwrap();
    let (claim, _) = world.claim_one(A);
    world.apply(&ShardCommand::SkipNumbers);
    let second = world.enqueue(2, &["a@one.test"]).message.unwrap();
    let (next, _) = world.claim_one(A);
    assert!(second.0 > first.0 + SKIPPED_IDS && next.0 > claim.0 + SKIPPED_IDS);
}
