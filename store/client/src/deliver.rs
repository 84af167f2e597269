//! Delivery: one message, each recipient in the shard that holds the recipient's account.

use std::collections::BTreeMap;

use futures::future;
use mailrook_mailbox::{
    Deliver, DeliveryOutcome, RecipientDelivery, Refusal, ShardCommand, ShardReply,
};
use mailrook_store_api::{Delivery, Lane, StoreError};
use mailrook_types::{OpId, ShardId};

use crate::{Client, client::misfit};

/// As many recipients go into one command: with a kilobyte of header fields each, well below the log's limit for an
/// entry beside the message itself.
const RECIPIENTS_PER_COMMAND: usize = 50;

/// As for changes: each time the cause was mended.
const MENDED_TRIES_MAX: usize = 3;

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
        let (parts, mut outcomes) = self.split(lane, &delivery).await?;
        let sent =
            future::join_all(parts.iter().map(|part| self.deliver_part(part, &delivery))).await;
        for (part, answer) in parts.iter().zip(sent) {
            match answer {
                Ok(answers) => {
                    lane.answered(part.op);
                    for (at, outcome) in part.recipients.iter().zip(answers) {
                        outcomes[*at] = Ok(outcome);
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

    /// Sorts the recipients by shard. Those whose shard cannot be told have their outcome already.
    async fn split(
        &self,
        lane: &mut Lane,
        delivery: &Delivery,
    ) -> Result<(Vec<Part>, Vec<Outcome>), StoreError> {
        let mut shards: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(delivery.recipients.len());
        for (at, recipient) in delivery.recipients.iter().enumerate() {
            outcomes.push(match self.shard_of(recipient.account).await {
                Ok(Some(shard)) => {
                    shards.entry(shard).or_default().push(at);
                    // Replaced by the shard's answer.
                    Err(StoreError::Unavailable(
                        "the shard did not answer for this recipient".to_owned(),
                    ))
                }
                Ok(None) => Ok(DeliveryOutcome::Refused(Refusal::NoSuchAccount)),
                Err(error) => Err(error),
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

    async fn deliver_part(
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
                other => return Err(misfit(&other)),
            };
            if !self.mend(part, delivery, &answers).await? {
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
