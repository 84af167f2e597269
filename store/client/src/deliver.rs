//! Delivery: one message, each recipient in the shard that holds the recipient's account.

use std::{collections::BTreeMap, time::Duration};

use futures::{FutureExt, future};
use mailrook_mailbox::{
    Deliver, DeliveryOutcome, RecipientDelivery, Refusal, ShardCommand, ShardReply,
};
use mailrook_store_api::{Delivery, Lane, StoreError};
use mailrook_types::{OpId, ShardId};
use tokio::time::{Instant, timeout_at};

use crate::{Client, client::misfit, patience::Patience};

/// As many recipients go into one command: with a kilobyte of header fields each, well below the log's limit for an
/// entry beside the message itself.
const RECIPIENTS_PER_COMMAND: usize = 50;

/// As for changes: each time the cause was mended.
const MENDED_TRIES_MAX: usize = 3;

/// A delivery takes no longer, however many recipients it has, chunks to upload and shards that are slow to answer: half of
/// what its sender waits (RFC 5321 §4.5.3.2.6), who would send the message again while it is still being delivered.
const DELIVERY_MAX: Duration = Duration::from_secs(5 * 60);

type Outcome = Result<DeliveryOutcome, StoreError>;

/// The part of a delivery that one command carries.
struct Part {
    shard: ShardId,
    op: OpId,
    /// Which of the delivery's recipients, by their place in its list.
    recipients: Vec<usize>,
}

impl Client {
    pub(crate) async fn deliver_now(
        &self,
        lane: &mut Lane,
        delivery: Delivery,
    ) -> Result<Vec<Outcome>, StoreError> {
        let end = Instant::now() + DELIVERY_MAX;
        let late = || StoreError::Unavailable("the delivery takes too long".to_owned());
        let split = timeout_at(end, self.split(lane, &delivery)).await;
        let (parts, mut outcomes) = split.map_err(|_elapsed| late())??;
        let deliver = |part| {
            let delivering = timeout_at(end, self.deliver_part(part, &delivery));
            delivering.map(|done| done.unwrap_or_else(|_elapsed| Err(late())))
        };
        let sent = future::join_all(parts.iter().map(deliver)).await;
        for (part, answer) in parts.iter().zip(sent) {
            match answer {
                Ok(answers) => {
                    if answers.iter().all(Result::is_ok) {
                        lane.answered(part.op);
                    }
                    for (at, outcome) in part.recipients.iter().zip(answers) {
                        outcomes[*at] = outcome;
                    }
                }
                Err(error) => {
                    for at in &part.recipients {
                        outcomes[*at] = Err(error.clone());
                    }
                }
            }
        }
        Ok(outcomes)
    }

    /// Sorts the recipients by shard. Those whose shard cannot be told have their outcome already: they have the time of one
    /// call together, and once the directory does not answer for one, it is not asked for the others.
    async fn split(
        &self,
        lane: &mut Lane,
        delivery: &Delivery,
    ) -> Result<(Vec<Part>, Vec<Outcome>), StoreError> {
        let mut shards: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(delivery.recipients.len());
        let end = Instant::now() + self.inner.calls.deadline();
        let mut failed = None;
        for (at, recipient) in delivery.recipients.iter().enumerate() {
            let found = match (self.inner.placement.get(recipient.account), &failed) {
                (Some(shard), _) => Ok(Some(shard)),
                (None, Some(error)) => Err(StoreError::clone(error)),
                (None, None) => timeout_at(end, self.shard_of(recipient.account))
                    .await
                    .unwrap_or_else(|_elapsed| Err(no_directory())),
            };
            outcomes.push(match found {
                Ok(Some(shard)) => {
                    shards.entry(shard).or_default().push(at);
                    // Replaced by the shard's answer.
                    Err(StoreError::Unavailable(
                        "the shard did not answer for this recipient".to_owned(),
                    ))
                }
                Ok(None) => Ok(DeliveryOutcome::Refused(Refusal::NoSuchAccount)),
                Err(error) => {
                    failed = Some(error.clone());
                    Err(error)
                }
            });
        }
        self.take_over(&delivery.confirmed).await?;
        let mut parts = Vec::with_capacity(shards.len());
        for (shard, recipients) in shards {
            for recipients in recipients.chunks(RECIPIENTS_PER_COMMAND) {
                parts.push(Part {
                    shard,
                    op: lane.begin(),
                    recipients: recipients.to_vec(),
                });
            }
        }
        Ok((parts, outcomes))
    }

    /// Delivers to one shard, and to where recipients have moved from there meanwhile. A recipient whose account does not arrive in
    /// time is no failure for the others.
    async fn deliver_part(
        &self,
        part: &Part,
        delivery: &Delivery,
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut outcomes = self.deliver_at(part, delivery).await?;
        let mut patience = self.patience();
        loop {
            let is_elsewhere =
                |of: &DeliveryOutcome| matches!(of, DeliveryOutcome::Refused(Refusal::Elsewhere));
            let left = (0..outcomes.len()).filter(|at| is_elsewhere(&outcomes[*at]));
            let left: Vec<usize> = left.collect();
            if left.is_empty() {
                return Ok(outcomes.into_iter().map(Ok).collect());
            }
            let followed = self.follow(part, delivery, &left, &mut outcomes, &mut patience);
            if let Err(error) = followed.await {
                let or_error = |of: DeliveryOutcome| match is_elsewhere(&of) {
                    true => Err(error.clone()),
                    false => Ok(of),
                };
                return Ok(outcomes.into_iter().map(or_error).collect());
            }
        }
    }

    /// Delivers once more to those of a part's recipients whose accounts are elsewhere.
    async fn follow(
        &self,
        part: &Part,
        delivery: &Delivery,
        left: &[usize],
        outcomes: &mut [DeliveryOutcome],
        patience: &mut Patience,
    ) -> Result<(), StoreError> {
        let mut parts: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
        for (number, at) in left.iter().enumerate() {
            let account = delivery.recipients[part.recipients[*at]].account;
            match number {
                0 => self.look_elsewhere(account, patience).await?,
                _ => self.inner.placement.doubt(account),
            }
            match self.shard_of(account).await? {
                Some(shard) => parts.entry(shard).or_default().push(*at),
                None => outcomes[*at] = DeliveryOutcome::Refused(Refusal::NoSuchAccount),
            }
        }
        for (shard, places) in parts {
            // What was done is kept for each account: the same operation again, for those that it was not done for.
            let of_shard = Part {
                shard,
                op: part.op,
                recipients: places.iter().map(|at| part.recipients[*at]).collect(),
            };
            let answers = self.deliver_at(&of_shard, delivery).await?;
            for (at, answer) in places.into_iter().zip(answers) {
                outcomes[at] = answer;
            }
        }
        Ok(())
    }

    async fn deliver_at(
        &self,
        part: &Part,
        delivery: &Delivery,
    ) -> Result<Vec<DeliveryOutcome>, StoreError> {
        let accounts: Vec<_> = (part.recipients.iter())
            .map(|at| delivery.recipients[*at].account)
            .collect();
        for _ in 0..MENDED_TRIES_MAX {
            let source = self.send_body(part.shard, &delivery.message).await?;
            let trip = self
                .inner
                .confirmer
                .along(part.shard, &accounts, delivery.key);
            let recipients = part.recipients.iter().map(|at| {
                let recipient = &delivery.recipients[*at];
                RecipientDelivery {
                    account: recipient.account,
                    mailbox: recipient.mailbox.clone(),
                    prefix: recipient.prefix.to_vec(),
                    flags: recipient.flags.clone(),
                }
            });
            let command = ShardCommand::Deliver(Deliver {
                op: part.op,
                body: delivery.message.body(source),
                received: delivery.received,
                key: delivery.key,
                recipients: recipients.collect(),
                confirmed: trip.carried.clone(),
            });
            let answers = match self.send_with(trip, part.shard, &command).await? {
                ShardReply::Deliver(answers) if answers.len() == part.recipients.len() => answers,
                ShardReply::DeliverAndElsewhere(answers, _)
                    if answers.len() == part.recipients.len() =>
                {
                    answers
                }
                other => return Err(misfit(&other)),
            };
            if !self.mend(part, delivery, &answers).await? {
                // The body comes to the shard once, for all of them.
                let bytes_each = delivery.message.stored_len() / accounts.len().max(1);
                for account in &accounts {
                    self.inner.loads.asked(*account, part.shard, bytes_each);
                }
                return Ok(answers);
            }
            // A refusal is not kept as a reply, a delivery is: the same operation, sent again, completes it.
        }
        Err(StoreError::Unavailable(
            "the shard keeps refusing the message's body or account".to_owned(),
        ))
    }

    /// Mends what made the shard refuse a recipient, where it can be. Says whether the command is worth repeating.
    async fn mend(
        &self,
        part: &Part,
        delivery: &Delivery,
        answers: &[DeliveryOutcome],
    ) -> Result<bool, StoreError> {
        let mut repeat = false;
        for (at, answer) in part.recipients.iter().zip(answers) {
            match answer {
                DeliveryOutcome::Refused(Refusal::BodyMissing) => repeat = true,
                DeliveryOutcome::Refused(Refusal::NoSuchAccount) => {
                    repeat |= self
                        .recover_account(delivery.recipients[*at].account)
                        .await?;
                }
                _ => {}
            }
        }
        Ok(repeat)
    }
}

fn no_directory() -> StoreError {
    StoreError::Unavailable("the directory did not answer in time".to_owned())
}
