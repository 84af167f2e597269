//! What the tests of the queue share.

use mailrook_types::{Address, ClientId, Domain, ReversePath, Timestamp};

use crate::{
    Answer, ClaimId, ClaimJobs, Claimed, ClaimedJob, DeliveryKey, Enqueue, Enqueued, Needs,
    NewBody, NewJob, NewQueued, Origin, Query, QueueAnswer, QueueCommand, QueueQuery, QueueReply,
    QueueReport, QueueSummary, QueuedEnvelope, QueuedRecipient, Refusal, ReportOutcome,
    ShardCommand, ShardReply,
    testing::{World, body},
};

pub(crate) const A: ClientId = ClientId(100);
pub(crate) const B: ClientId = ClientId(200);
pub(crate) const LEASE_MS: u32 = 1_500;

pub(crate) fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

pub(crate) fn recipient(text: &str) -> QueuedRecipient {
    QueuedRecipient {
        address: Address::parse(text).unwrap(),
        original: None,
        notify: None,
        last: None,
    }
}

/// Jobs for `local@domain`s, one for each domain.
pub(crate) fn jobs(addresses: &[&str]) -> Vec<NewJob> {
    let mut jobs: Vec<NewJob> = Vec::new();
    for text in addresses {
        let recipient = recipient(text);
        let destination = recipient.address.domain.clone();
        match jobs.iter_mut().find(|job| job.destination == destination) {
            Some(job) => job.recipients.push(recipient),
            None => jobs.push(NewJob {
                destination,
                recipients: vec![recipient],
                due: None,
            }),
        }
    }
    jobs
}

pub(crate) fn queued(number: u8, addresses: &[&str]) -> NewQueued {
    NewQueued {
        envelope: QueuedEnvelope {
            reverse_path: ReversePath::Address(Address::parse("sender@example.test").unwrap()),
            prefix: b"Received: here\r\n".to_vec(),
            envid: None,
            return_full: None,
            needs: Needs::default(),
            account: None,
            origin: Origin::Submission,
            log_id: "id".to_owned(),
            received: Timestamp(1_700_000_000_000),
            expires: Timestamp(1_700_400_000_000),
        },
        body: NewBody {
            detail: Vec::new(),
            signature: Vec::new(),
            ..body(number)
        },
        jobs: jobs(addresses),
    }
}

pub(crate) fn wish(runner: ClientId) -> ClaimJobs {
    ClaimJobs {
        runner,
        lease_ms: LEASE_MS,
        limit: 100,
        per_destination: 10,
    }
}

/// All of a job's recipients put off until `due`.
pub(crate) fn deferral(claim: ClaimId, job: &ClaimedJob, due: i64) -> QueueReport {
    let text = || "try later".to_owned();
    QueueReport {
        job: job.id,
        claim,
        delivered: Vec::new(),
        failed: Vec::new(),
        deferred: job
            .recipients
            .iter()
            .map(|(place, _)| (*place, text()))
            .collect(),
        due: Timestamp(due),
        delay_told: false,
        notice: None,
        rest: None,
    }
}

/// All of a job's recipients delivered.
pub(crate) fn delivery(claim: ClaimId, job: &ClaimedJob) -> QueueReport {
    QueueReport {
        delivered: job.recipients.iter().map(|(place, _)| *place).collect(),
        deferred: Vec::new(),
        ..deferral(claim, job, 0)
    }
}

impl World {
    pub(crate) fn queue(&mut self, command: QueueCommand) -> Result<QueueReply, Refusal> {
        match self.apply(&ShardCommand::Queue(command)) {
            ShardReply::Queue(reply) => reply,
            other => panic!("not the queue's reply: {other:?}"),
        }
    }

    pub(crate) fn enqueue_as(&mut self, enqueue: Enqueue) -> Result<Enqueued, Refusal> {
        match self.queue(QueueCommand::Enqueue(Box::new(enqueue)))? {
            QueueReply::Enqueued(enqueued) => Ok(enqueued),
            other => panic!("not queued: {other:?}"),
        }
    }

    pub(crate) fn enqueuing(&mut self, number: u8, addresses: &[&str]) -> Enqueue {
        Enqueue {
            op: self.op(),
            message: queued(number, addresses),
            key: Some(DeliveryKey([number; 32])),
            mark: u128::from(self.now.cast_unsigned()),
            claim: None,
        }
    }

    /// Queues a message, not to be recognised.
    pub(crate) fn enqueue(&mut self, number: u8, addresses: &[&str]) -> Enqueued {
        let enqueue = Enqueue {
            key: None,
            ..self.enqueuing(number, addresses)
        };
        self.enqueue_as(enqueue).unwrap()
    }

    pub(crate) fn claim(&mut self, wish: ClaimJobs) -> Claimed {
        match self.queue(QueueCommand::Claim(wish)) {
            Ok(QueueReply::Claimed(claimed)) => claimed,
            other => panic!("not a claim: {other:?}"),
        }
    }

    /// Claims, and gives the claim with its first job.
    pub(crate) fn claim_one(&mut self, runner: ClientId) -> (ClaimId, ClaimedJob) {
        let claimed = self.claim(wish(runner));
        (
            claimed.claim.unwrap(),
            claimed.jobs.into_iter().next().unwrap(),
        )
    }

    pub(crate) fn renew(&mut self, runner: ClientId, claims: &[ClaimId]) -> Vec<ClaimId> {
        let renew = QueueCommand::Renew {
            runner,
            claims: claims.to_vec(),
            lease_ms: LEASE_MS,
        };
        match self.queue(renew) {
            Ok(QueueReply::Renewed { lost }) => lost,
            other => panic!("not renewed: {other:?}"),
        }
    }

    pub(crate) fn report(&mut self, report: QueueReport) -> ReportOutcome {
        match self.queue(QueueCommand::Report(vec![report])) {
            Ok(QueueReply::Reported(outcomes)) => outcomes[0],
            other => panic!("not a report's reply: {other:?}"),
        }
    }

    pub(crate) fn ask_queue(&self, query: QueueQuery) -> QueueAnswer {
        match self.ask(&Query::Queue(query)) {
            Answer::Queue(answer) => answer,
            other => panic!("not the queue's answer: {other:?}"),
        }
    }

    pub(crate) fn summary(&self) -> QueueSummary {
        match self.ask_queue(QueueQuery::Summary) {
            QueueAnswer::Summary(summary) => summary,
            other => panic!("not a summary: {other:?}"),
        }
    }

    pub(crate) fn next_claim_at(&self) -> Option<i64> {
        match self.ask_queue(QueueQuery::Next) {
            QueueAnswer::Next(next) => next.map(|next| next.0),
            other => panic!("not a time: {other:?}"),
        }
    }
}
