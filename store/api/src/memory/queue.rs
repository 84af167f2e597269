//! The twin's queue: all of it in its one shard.

use std::sync::atomic::Ordering;

use futures::FutureExt;
use mailrook_mailbox::{
    Answer, BodySource, Chunk, ClaimId, ClaimJobs, Claimed, DeliveryKey, Enqueue, JobChange, JobId,
    ListedJob, Query, QueueAnswer, QueueCommand, QueueConfirmation, QueueQuery, QueueReply,
    QueueSummary, QueuedId, ReportOutcome, ShardCommand, ShardReply, ShownMessage,
};
use mailrook_types::{BlobHash, ClientId, Domain, ShardId, Timestamp};

use super::{MemoryCluster, misfit};
use crate::{Call, JobReport, NewMail, PreparedMessage, Queue, QueuedMail, StoreError};

const SHARD: ShardId = ShardId(1);

fn inline(message: &PreparedMessage) -> BodySource {
    BodySource::Inline(message.chunks().to_vec())
}

impl MemoryCluster {
    fn queue_command(&self, command: QueueCommand) -> Result<QueueReply, StoreError> {
        match self.shard_command(ShardCommand::Queue(command))? {
            ShardReply::Queue(Ok(reply)) => Ok(reply),
            ShardReply::Queue(Err(refusal)) => Err(StoreError::Unacceptable(refusal.to_string())),
            other => Err(misfit(&other)),
        }
    }

    fn queue_query(&self, query: QueueQuery) -> Result<QueueAnswer, StoreError> {
        match self.shard_query(&Query::Queue(query))? {
            Answer::Queue(answer) => Ok(answer),
            other => Err(misfit(&other)),
        }
    }

    fn enqueue_now(
        &self,
        mail: &NewMail,
        key: Option<DeliveryKey>,
        claim: Option<ClaimJobs>,
    ) -> Result<QueuedMail, StoreError> {
        let mark = self.0.lanes.fetch_add(1, Ordering::Relaxed);
        let enqueue = Enqueue {
            op: self.lane().begin(),
            message: mail.queued(inline(&mail.message)),
            key,
            mark: mark.into(),
            claim,
        };
        match self.queue_command(QueueCommand::Enqueue(Box::new(enqueue)))? {
            QueueReply::Enqueued(enqueued) => Ok(QueuedMail::new(SHARD, key, enqueued)),
            other => Err(misfit(&other)),
        }
    }

    fn report_now(&self, reports: &[JobReport]) -> Result<Vec<ReportOutcome>, StoreError> {
        let carried = reports.iter().map(|report| {
            let notice = report.notice.as_ref();
            report.carried(notice.map(|notice| inline(&notice.message)))
        });
        match self.queue_command(QueueCommand::Report(carried.collect()))? {
            QueueReply::Reported(outcomes) => Ok(outcomes),
            other => Err(misfit(&other)),
        }
    }
}

impl Queue for MemoryCluster {
    fn enqueue(
        &self,
        mail: NewMail,
        key: Option<DeliveryKey>,
        claim: Option<ClaimJobs>,
    ) -> Call<'_, QueuedMail> {
        async move { self.enqueue_now(&mail, key, claim) }.boxed()
    }

    fn confirm(&self, confirmed: Vec<QueueConfirmation>) -> Call<'_, ()> {
        async move {
            match self.queue_command(QueueCommand::Confirm(confirmed))? {
                QueueReply::Done => Ok(()),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn shards(&self) -> Call<'_, Vec<ShardId>> {
        async move { self.check_reachable().map(|()| vec![SHARD]) }.boxed()
    }

    fn next(&self, _shard: ShardId) -> Call<'_, Option<Timestamp>> {
        async move {
            match self.queue_query(QueueQuery::Next)? {
                QueueAnswer::Next(next) => Ok(next),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn summary(&self, _shard: ShardId) -> Call<'_, QueueSummary> {
        async move {
            match self.queue_query(QueueQuery::Summary)? {
                QueueAnswer::Summary(summary) => Ok(summary),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn claim(&self, _shard: ShardId, claim: ClaimJobs) -> Call<'_, Claimed> {
        async move {
            match self.queue_command(QueueCommand::Claim(claim))? {
                QueueReply::Claimed(claimed) => Ok(claimed),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn renew(
        &self,
        _shard: ShardId,
        runner: ClientId,
        claims: Vec<ClaimId>,
        lease_ms: u32,
    ) -> Call<'_, Vec<ClaimId>> {
        async move {
            let renew = QueueCommand::Renew {
                runner,
                claims,
                lease_ms,
            };
            match self.queue_command(renew)? {
                QueueReply::Renewed { lost } => Ok(lost),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn report(&self, _shard: ShardId, reports: Vec<JobReport>) -> Call<'_, Vec<ReportOutcome>> {
        async move { self.report_now(&reports) }.boxed()
    }

    fn release(&self, _shard: ShardId, claims: Vec<ClaimId>) -> Call<'_, ()> {
        async move {
            self.queue_command(QueueCommand::Release(claims))
                .map(|_done| ())
        }
        .boxed()
    }

    fn chunks(
        &self,
        _shard: ShardId,
        hash: BlobHash,
        first: u32,
        count: u32,
    ) -> Call<'_, Option<Vec<Chunk>>> {
        async move {
            match self.shard_query(&Query::Chunks { hash, first, count })? {
                Answer::Chunks(chunks) => Ok(Some(chunks)),
                Answer::NoSuchBody => Ok(None),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn list(
        &self,
        _shard: ShardId,
        after: Option<JobId>,
        destination: Option<Domain>,
        limit: u32,
    ) -> Call<'_, (Vec<ListedJob>, Option<JobId>)> {
        async move {
            let list = QueueQuery::List {
                after,
                destination,
                limit,
            };
            match self.queue_query(list)? {
                QueueAnswer::List(jobs, next) => Ok((jobs, next)),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn show(&self, _shard: ShardId, message: QueuedId) -> Call<'_, Option<Box<ShownMessage>>> {
        async move {
            match self.queue_query(QueueQuery::Show(message))? {
                QueueAnswer::Show(shown) => Ok(shown),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn change(&self, _shard: ShardId, jobs: Vec<JobId>, change: JobChange) -> Call<'_, u32> {
        async move {
            match self.queue_command(QueueCommand::Change { jobs, change })? {
                QueueReply::Changed(changed) => Ok(changed),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }
}
