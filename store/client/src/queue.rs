//! [`Queue`]: the queue of outgoing mail, a part of it in each shard.
//!
//! A message goes where the slot of its key is, so that its transmission is known there when it comes again. Slots may move: a shard that
//! does not have it refuses for good, and the message goes by a new operation to where the slot is now. Until a shard has
//! answered it is asked by the same operation.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use futures::FutureExt;
use mailrook_cluster::simulation;
use mailrook_mailbox::{
    Answer, BodySource, Chunk, ClaimId, ClaimJobs, Claimed, DeliveryKey, Enqueue, JobChange, JobId,
    LEVEL_QUEUE, ListedJob, Query, QueueAnswer, QueueCommand, QueueConfirmation, QueueQuery,
    QueueReply, QueueSummary, QueuedId, Refusal, ReportOutcome, ShardCommand, ShardReply,
    ShownMessage, transmission_slot,
};
use mailrook_meta::{MetaAnswer, MetaQuery};
use mailrook_store_api::{Call, JobReport, NewMail, Queue, QueuedMail, StoreError};
use mailrook_types::{BlobHash, ClientId, Domain, ShardId, Timestamp};

use crate::{Client, client::misfit};

/// As for deliveries: each time the body was sent again.
const MENDED_TRIES_MAX: usize = 3;

/// 256 KiB of reports in one command, beside the bodies of their notices, which go ahead where they are large.
const REPORT_BYTES_MAX: usize = 256 << 10;

impl Client {
    async fn queue_command(
        &self,
        shard: ShardId,
        command: QueueCommand,
    ) -> Result<QueueReply, StoreError> {
        match self.queue_step(shard, command).await? {
            Ok(reply) => Ok(reply),
            Err(refusal) => Err(StoreError::Unacceptable(refusal.to_string())),
        }
    }

    async fn queue_step(
        &self,
        shard: ShardId,
        command: QueueCommand,
    ) -> Result<Result<QueueReply, Refusal>, StoreError> {
        self.require_queue().await?;
        let command = ShardCommand::Queue(command);
        match self.inner.calls.shard_command(shard, &command).await? {
            ShardReply::Queue(reply) => Ok(reply),
            other => Err(misfit(&other)),
        }
    }

    async fn queue_query(
        &self,
        shard: ShardId,
        query: QueueQuery,
    ) -> Result<QueueAnswer, StoreError> {
        self.require_queue().await?;
        let query = Query::Queue(query);
        match self.inner.calls.shard_query(shard, &query).await? {
            Answer::Queue(answer) => Ok(answer),
            other => Err(misfit(&other)),
        }
    }

    /// Insists that all nodes know the queue.
    async fn require_queue(&self) -> Result<(), StoreError> {
        let known = &self.inner.has_queue;
        if known.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self
            .inner
            .calls
            .meta_query(&MetaQuery::ClusterSettings)
            .await?
        {
            MetaAnswer::ClusterSettings(settings) if settings.feature_level >= LEVEL_QUEUE => {
                known.store(true, Ordering::Relaxed);
                Ok(())
            }
            MetaAnswer::ClusterSettings(settings) => Err(StoreError::Unavailable(format!(
                "outgoing mail is queued from feature level {LEVEL_QUEUE} on, and the cluster is at {}: every node is to run a version \
                 that knows it",
                settings.feature_level
            ))),
            other => Err(misfit(&other)),
        }
    }

    async fn enqueue_now(
        &self,
        mail: &NewMail,
        key: Option<DeliveryKey>,
        claim: Option<ClaimJobs>,
    ) -> Result<QueuedMail, StoreError> {
        let mark = random()?;
        // What is not to be recognised goes anywhere.
        let slot = transmission_slot(&key.unwrap_or_else(|| anywhere(mark)));
        let mut patience = self.patience();
        let mut slots = self.slots().await?;
        loop {
            let shard = slots.shard_of(slot);
            match self
                .enqueue_at(shard, mail, key, mark, claim.as_ref())
                .await?
            {
                Ok(queued) => return Ok(queued),
                Err(Refusal::SlotNotHere(_)) => slots = self.newer_slots(&mut patience).await?,
                Err(refusal) => return Err(StoreError::Unacceptable(refusal.to_string())),
            }
        }
    }

    async fn enqueue_at(
        &self,
        shard: ShardId,
        mail: &NewMail,
        key: Option<DeliveryKey>,
        mark: u128,
        claim: Option<&ClaimJobs>,
    ) -> Result<Result<QueuedMail, Refusal>, StoreError> {
        self.require_queue().await?;
        let mut lane = self.borrow_lane().await?;
        let op = lane.begin();
        for _ in 0..MENDED_TRIES_MAX {
            let source = self.send_body(shard, &mail.message).await?;
            let enqueue = Enqueue {
                op,
                message: mail.queued(source),
                key,
                mark,
                claim: claim.cloned(),
            };
            let command = QueueCommand::Enqueue(Box::new(enqueue));
            match self.queue_step(shard, command).await? {
                Ok(QueueReply::Enqueued(enqueued)) => {
                    lane.answered(op);
                    return Ok(Ok(QueuedMail::new(shard, key, enqueued)));
                }
                Ok(other) => return Err(misfit(&other)),
                // It is not kept: the same operation, sent again, completes it.
                Err(Refusal::BodyMissing) => {}
                Err(refusal) => {
                    lane.answered(op);
                    return Ok(Err(refusal));
                }
            }
        }
        Err(StoreError::Unavailable(
            "the shard keeps refusing the message's body".to_owned(),
        ))
    }

    async fn confirm_queued(&self, confirmed: Vec<QueueConfirmation>) -> Result<(), StoreError> {
        let mut patience = self.patience();
        let mut slots = self.slots().await?;
        let mut left = confirmed;
        loop {
            let mut by_shard: BTreeMap<ShardId, Vec<QueueConfirmation>> = BTreeMap::new();
            for confirmation in left.drain(..) {
                let shard = slots.shard_of(transmission_slot(&confirmation.key));
                by_shard.entry(shard).or_default().push(confirmation);
            }
            for (shard, confirmations) in by_shard {
                let command = QueueCommand::Confirm(confirmations);
                match self.queue_command(shard, command).await? {
                    QueueReply::Done => {}
                    QueueReply::Elsewhere(elsewhere) => left.extend(elsewhere),
                    other => return Err(misfit(&other)),
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            slots = self.newer_slots(&mut patience).await?;
        }
    }

    /// Reports in as many commands as they need, in order.
    async fn report_now(
        &self,
        shard: ShardId,
        reports: &[JobReport],
    ) -> Result<Vec<ReportOutcome>, StoreError> {
        let (mut outcomes, mut carried, mut bytes) = (Vec::new(), Vec::new(), 0);
        for report in reports {
            let source = match &report.notice {
                Some(notice) => Some(self.send_body(shard, &notice.message).await?),
                None => None,
            };
            let len = report_len(report, source.as_ref());
            if bytes + len > REPORT_BYTES_MAX && !carried.is_empty() {
                outcomes.extend(
                    self.report_some(shard, std::mem::take(&mut carried))
                        .await?,
                );
                bytes = 0;
            }
            bytes += len;
            carried.push(report.carried(source));
        }
        if !carried.is_empty() {
            outcomes.extend(self.report_some(shard, carried).await?);
        }
        Ok(outcomes)
    }

    async fn report_some(
        &self,
        shard: ShardId,
        reports: Vec<mailrook_mailbox::QueueReport>,
    ) -> Result<Vec<ReportOutcome>, StoreError> {
        let sent = reports.len();
        match self
            .queue_command(shard, QueueCommand::Report(reports))
            .await?
        {
            QueueReply::Reported(outcomes) if outcomes.len() == sent => Ok(outcomes),
            other => Err(misfit(&other)),
        }
    }
}

/// About how much a command carries of a report.
fn report_len(report: &JobReport, source: Option<&BodySource>) -> usize {
    let texts: usize = report
        .report
        .deferred
        .iter()
        .map(|(_, text)| text.len() + 8)
        .sum();
    let body = match source {
        Some(BodySource::Inline(chunks)) => chunks.iter().map(|chunk| chunk.bytes.len()).sum(),
        Some(BodySource::Uploaded { digests, .. }) => 32 * digests.len(),
        None => 0,
    };
    let notice = report
        .notice
        .as_ref()
        .map_or(0, |notice| 1024 + notice.envelope.prefix.len());
    256 + texts + body + notice
}

fn random() -> Result<u128, StoreError> {
    let mut bytes = [0; 16];
    simulation::fill_random(&mut bytes)
        .map_err(|error| StoreError::Internal(format!("no random number: {error}")))?;
    Ok(u128::from_le_bytes(bytes))
}

fn anywhere(mark: u128) -> DeliveryKey {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&mark.to_le_bytes());
    DeliveryKey(key)
}

impl Queue for Client {
    fn enqueue(
        &self,
        mail: NewMail,
        key: Option<DeliveryKey>,
        claim: Option<ClaimJobs>,
    ) -> Call<'_, QueuedMail> {
        async move { self.enqueue_now(&mail, key, claim).await }.boxed()
    }

    fn confirm(&self, confirmed: Vec<QueueConfirmation>) -> Call<'_, ()> {
        self.confirm_queued(confirmed).boxed()
    }

    fn shards(&self) -> Call<'_, Vec<ShardId>> {
        async move { Ok(self.slots().await?.shards()) }.boxed()
    }

    fn next(&self, shard: ShardId) -> Call<'_, Option<Timestamp>> {
        async move {
            match self.queue_query(shard, QueueQuery::Next).await? {
                QueueAnswer::Next(next) => Ok(next),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn summary(&self, shard: ShardId) -> Call<'_, QueueSummary> {
        async move {
            match self.queue_query(shard, QueueQuery::Summary).await? {
                QueueAnswer::Summary(summary) => Ok(summary),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn claim(&self, shard: ShardId, claim: ClaimJobs) -> Call<'_, Claimed> {
        async move {
            match self
                .queue_command(shard, QueueCommand::Claim(claim))
                .await?
            {
                QueueReply::Claimed(claimed) => Ok(claimed),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn renew(
        &self,
        shard: ShardId,
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
            match self.queue_command(shard, renew).await? {
                QueueReply::Renewed { lost } => Ok(lost),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn report(&self, shard: ShardId, reports: Vec<JobReport>) -> Call<'_, Vec<ReportOutcome>> {
        async move { self.report_now(shard, &reports).await }.boxed()
    }

    fn release(&self, shard: ShardId, claims: Vec<ClaimId>) -> Call<'_, ()> {
        async move {
            match self
                .queue_command(shard, QueueCommand::Release(claims))
                .await?
            {
                QueueReply::Done => Ok(()),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn chunks(
        &self,
        shard: ShardId,
        hash: BlobHash,
        first: u32,
        count: u32,
    ) -> Call<'_, Option<Vec<Chunk>>> {
        async move {
            let query = Query::Chunks { hash, first, count };
            match self.inner.calls.shard_query(shard, &query).await? {
                Answer::Chunks(chunks) => Ok(Some(chunks)),
                Answer::NoSuchBody => Ok(None),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn list(
        &self,
        shard: ShardId,
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
            match self.queue_query(shard, list).await? {
                QueueAnswer::List(jobs, next) => Ok((jobs, next)),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn show(&self, shard: ShardId, message: QueuedId) -> Call<'_, Option<Box<ShownMessage>>> {
        async move {
            match self.queue_query(shard, QueueQuery::Show(message)).await? {
                QueueAnswer::Show(shown) => Ok(shown),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn change(&self, shard: ShardId, jobs: Vec<JobId>, change: JobChange) -> Call<'_, u32> {
        async move {
            match self
                .queue_command(shard, QueueCommand::Change { jobs, change })
                .await?
            {
                QueueReply::Changed(changed) => Ok(changed),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }
}
