//! The queue against a model so plain that it can be believed: whatever is done in whatever order, no job is lost, none is given to two
//! runners at a time, and what was delivered is not given again. The world checks every record after every step.

use std::collections::{BTreeMap, BTreeSet};

use mailrook_types::ClientId;
use proptest::prelude::*;

use super::testing::*;
use crate::{
    ClaimId, ClaimJobs, ClaimedJob, JobChange, JobId, QueueCommand, QueueReport, ReportOutcome,
    limits::{QUEUE_NOTICE, millis},
    testing::World,
};

#[derive(Clone, Debug)]
enum Step {
    Enqueue {
        to: Vec<(u8, u8)>,
        claim: Option<u8>,
    },
    Claim {
        runner: u8,
        limit: u32,
        per_destination: u32,
    },
    Renew {
        runner: u8,
        of: usize,
    },
    Report {
        of: usize,
        place: u32,
        kind: u8,
        rest: bool,
    },
    Release {
        of: usize,
    },
    Change {
        of: usize,
        kind: u8,
    },
    Wait {
        ms: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let runner = 0u8..3;
    let enqueue = (
        prop::collection::vec((0u8..4, 0u8..3), 1..4),
        prop::option::of(0u8..3),
    )
        .prop_map(|(to, claim)| Step::Enqueue { to, claim });
    let claim = (runner.clone(), 1u32..6, 1u32..4).prop_map(|(runner, limit, per_destination)| {
        Step::Claim {
            runner,
            limit,
            per_destination,
        }
    });
    let renew = (runner, any::<usize>()).prop_map(|(runner, of)| Step::Renew { runner, of });
    let report =
        (any::<usize>(), 0u32..3, 0u8..3, any::<bool>()).prop_map(|(of, place, kind, rest)| {
            Step::Report {
                of,
                place,
                kind,
                rest,
            }
        });
    let step = prop_oneof![
        4 => enqueue,
        5 => claim,
        2 => renew,
        6 => report,
        1 => any::<usize>().prop_map(|of| Step::Release { of }),
        2 => (any::<usize>(), 0u8..4).prop_map(|(of, kind)| Step::Change { of, kind }),
        3 => (1i64..4_000).prop_map(|ms| Step::Wait { ms }),
    ];
    prop::collection::vec(step, 1..60)
}

/// What the model knows of a job.
#[derive(Debug, Default)]
struct Job {
    /// Places that have still to get it.
    left: BTreeSet<u32>,
    due_ms: i64,
    held: bool,
    /// Under which claim, of whom, and until when that is certain to be theirs.
    claim: Option<(ClaimId, ClientId, i64)>,
}

#[derive(Default)]
struct Model {
    jobs: BTreeMap<JobId, Job>,
    /// All that was ever given to a runner.
    given: Vec<(ClientId, ClaimId, ClaimedJob)>,
}

fn runner(n: u8) -> ClientId {
    ClientId(100 + u64::from(n))
}

impl Model {
    fn take(
        &mut self,
        world: &World,
        runner: ClientId,
        claim: Option<ClaimId>,
        jobs: Vec<ClaimedJob>,
    ) {
        for job in jobs {
            let claim = claim.expect("jobs are under a claim");
            let known = self
                .jobs
                .get_mut(&job.id)
                .expect("only what is queued is given");
            let places: BTreeSet<u32> = job.recipients.iter().map(|(place, _)| *place).collect();
            assert_eq!(places, known.left, "all that are left, and no others");
            assert!(known.due_ms <= world.now && !known.held);
            if let Some((_, of, until)) = known.claim {
                assert!(
                    world.now >= until,
                    "{of:?} has it until {until}, now is {}",
                    world.now
                );
            }
            let until = world.now + i64::from(LEASE_MS) + millis(QUEUE_NOTICE);
            known.claim = Some((claim, runner, until));
            self.given.push((runner, claim, job));
        }
    }

    fn step(&mut self, world: &mut World, step: Step, number: u8) {
        match step {
            Step::Enqueue { to, claim } => self.enqueue(world, &to, claim, number),
            Step::Claim {
                runner: n,
                limit,
                per_destination,
            } => {
                let claimed = world.claim(ClaimJobs {
                    limit,
                    per_destination,
                    ..wish(runner(n))
                });
                assert!(claimed.jobs.len() <= limit as usize);
                self.take(world, runner(n), claimed.claim, claimed.jobs);
            }
            Step::Renew { runner: n, of } => {
                let Some((_, claim, _)) = self.pick(of) else {
                    return;
                };
                let lost = world.renew(runner(n), &[claim]);
                if lost.is_empty() {
                    let until = world.now + i64::from(LEASE_MS) + millis(QUEUE_NOTICE);
                    for job in self.jobs.values_mut() {
                        if let Some((held, of, end)) = &mut job.claim
                            && *held == claim
                        {
                            assert_eq!(*of, runner(n));
                            *end = until;
                        }
                    }
                }
            }
            Step::Report {
                of,
                place,
                kind,
                rest,
            } => self.report(world, of, place, kind, rest),
            Step::Release { of } => {
                let Some((_, claim, _)) = self.pick(of) else {
                    return;
                };
                world.queue(QueueCommand::Release(vec![claim])).unwrap();
                for job in self.jobs.values_mut() {
                    job.claim = job.claim.filter(|(held, ..)| *held != claim);
                }
            }
            Step::Change { of, kind } => self.change(world, of, kind),
            Step::Wait { ms } => world.now += ms,
        }
    }

    fn pick(&self, of: usize) -> Option<(ClientId, ClaimId, ClaimedJob)> {
        let at = of.checked_rem(self.given.len())?;
        self.given.get(at).cloned()
    }

    fn enqueue(&mut self, world: &mut World, to: &[(u8, u8)], claim: Option<u8>, number: u8) {
        let texts: Vec<String> = to
            .iter()
            .map(|(user, at)| format!("u{user}@d{at}.test"))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut enqueue = world.enqueuing(number, &texts);
        enqueue.key = None;
        enqueue.claim = claim.map(|n| wish(runner(n)));
        let jobs = enqueue.message.jobs.clone();
        let enqueued = world.enqueue_as(enqueue).unwrap();
        for (number, job) in (0..).zip(jobs) {
            let id = JobId {
                message: enqueued.message.unwrap(),
                number,
            };
            let known = Job {
                left: (0..job.recipients.len() as u32).collect(),
                due_ms: world.now,
                ..Job::default()
            };
            self.jobs.insert(id, known);
        }
        if let Some(claimed) = enqueued.claimed {
            self.take(world, runner(claim.unwrap()), claimed.claim, claimed.jobs);
        }
    }

    fn report(&mut self, world: &mut World, of: usize, place: u32, kind: u8, rest: bool) {
        let Some((_, claim, job)) = self.pick(of) else {
            return;
        };
        let place = place % (job.recipients.len() as u32 + 1);
        let due = world.now + 500;
        let mut report = QueueReport {
            rest: rest.then_some(mailrook_types::Timestamp(due + 500)),
            deferred: Vec::new(),
            ..deferral(claim, &job, due)
        };
        match kind {
            0 => report.delivered.push(place),
            1 => report.failed.push(place),
            _ => report.deferred.push((place, "later".to_owned())),
        }
        let outcome = world.report(report);
        let Some(known) = self.jobs.get_mut(&job.id) else {
            assert_eq!(outcome, ReportOutcome::Gone);
            return;
        };
        let is_claimed = known.claim.is_some_and(|(held, ..)| held == claim)
            && outcome == ReportOutcome::Counted;
        assert!(
            is_claimed || outcome == ReportOutcome::ClaimLost,
            "{outcome:?}"
        );
        if kind == 0 || (kind == 1 && is_claimed) {
            known.left.remove(&place);
        }
        if is_claimed {
            known.claim = None;
            known.due_ms = due;
        }
        if known.left.is_empty() {
            self.jobs.remove(&job.id);
        }
    }

    fn change(&mut self, world: &mut World, of: usize, kind: u8) {
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        let Some(at) = of.checked_rem(ids.len()) else {
            return;
        };
        let change = [
            JobChange::Hold,
            JobChange::Unhold,
            JobChange::Retry,
            JobChange::Delete,
        ][usize::from(kind)];
        world
            .queue(QueueCommand::Change {
                jobs: vec![ids[at]],
                change,
            })
            .unwrap();
        match change {
            JobChange::Delete => {
                self.jobs.remove(&ids[at]);
            }
            _ => {
                let job = self.jobs.get_mut(&ids[at]).expect("it is known");
                match change {
                    JobChange::Hold => job.held = true,
                    JobChange::Unhold => job.held = false,
                    _ => job.due_ms = job.due_ms.min(world.now),
                }
            }
        }
    }

    /// In the end everything that is left can be delivered.
    fn finish(mut self, world: &mut World) {
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        for change in [JobChange::Unhold, JobChange::Retry] {
            world
                .queue(QueueCommand::Change {
                    jobs: jobs.clone(),
                    change,
                })
                .unwrap();
        }
        for job in self.jobs.values_mut() {
            (job.held, job.due_ms) = (false, job.due_ms.min(world.now));
        }
        let mut rounds = 0;
        while !self.jobs.is_empty() {
            rounds += 1;
            assert!(rounds < 200, "{:?} are not given", self.jobs);
            world.now += i64::from(LEASE_MS) + millis(QUEUE_NOTICE);
            let claimed = world.claim(wish(runner(9)));
            let (claim, from) = (claimed.claim, self.given.len());
            self.take(world, runner(9), claim, claimed.jobs);
            for (_, claim, job) in self.given.split_off(from) {
                assert_eq!(world.report(delivery(claim, &job)), ReportOutcome::Counted);
                self.jobs.remove(&job.id);
            }
        }
        let summary = world.summary();
        assert_eq!(
            (summary.messages, summary.jobs, summary.held, summary.bytes),
            (0, 0, 0, 0)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn the_queue_is_as_its_model(steps in steps()) {
        let mut world = World::empty();
        let mut model = Model::default();
        for (number, step) in (0..).zip(steps) {
            model.step(&mut world, step, number);
        }
        model.finish(&mut world);
    }
}
