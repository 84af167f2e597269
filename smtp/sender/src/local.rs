//! The courier for domains of ours: reports to our users, and mail whose shard could not be reached when it came.
//!
//! No second copy comes of a try whose answer was lost: the shard knows each delivery by the queued message's name
//! (DESIGN, "Exactly once, from outside").

use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_store_api::{
    Delivery, DeliveryRecipient, Directory, Mailstore, PreparedMessage, StoreError,
    meta::{Resolution, ResolvedTarget},
    shard::{DeliveryKey, DeliveryOutcome, QueuedRecipient, Refusal},
};
use mailrook_types::{AccountId, Address, Domain, Flags, ReversePath};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{Attempt, BodyUnreadable, Courier, Errand, Outcome, Told, Unreachable, Way};

/// 64 MiB of messages are prepared at a time: one of the largest size, or hundreds of the usual.
const PREPARED_KIB_MAX: u32 = 64 << 10;

/// Delivers into mailboxes here.
#[derive(Clone)]
pub struct LocalCourier {
    directory: Arc<dyn Directory>,
    mailstore: Arc<dyn Mailstore>,
    memory: Arc<Semaphore>,
}

impl LocalCourier {
    /// Over the accounts of this directory.
    pub fn new(directory: Arc<dyn Directory>, mailstore: Arc<dyn Mailstore>) -> LocalCourier {
        LocalCourier {
            directory,
            mailstore,
            memory: Arc::new(Semaphore::new(PREPARED_KIB_MAX as usize)),
        }
    }

    /// Whether a domain is one of ours.
    ///
    /// # Errors
    /// If the directory does not say.
    pub async fn serves(&self, domain: &Domain) -> Result<bool, StoreError> {
        // Every domain has a postmaster, or says that it has none (RFC 5321 §4.5.1).
        let Ok(postmaster) = Address::parse(&format!("postmaster@{domain}")) else {
            return Ok(false);
        };
        let resolution = self.directory.resolve(&postmaster).await?;
        Ok(resolution != Resolution::NotLocal)
    }

    async fn deliver(&self, errand: &Errand) -> Attempt {
        let recipients = &errand.job.recipients;
        let resolved = self.resolve(recipients).await;
        let targets = targets(&resolved);
        let outcomes = match self.deliver_to(errand, &targets).await {
            Ok(outcomes) => outcomes,
            Err(outcome) => vec![(None, outcome); targets.len()],
        };
        let of_recipient = resolved.iter().map(|found| match found {
            Ok(accounts) => combined(accounts, &targets, &outcomes),
            Err(outcome) => outcome.clone(),
        });
        Attempt {
            outcomes: of_recipient.collect(),
        }
    }

    /// The accounts behind each recipient, or what stands in the way.
    async fn resolve(
        &self,
        recipients: &[(u32, QueuedRecipient)],
    ) -> Vec<Result<Vec<ResolvedTarget>, Outcome>> {
        let mut found = Vec::with_capacity(recipients.len());
        for (_, recipient) in recipients {
            found.push(match self.directory.resolve(&recipient.address).await {
                Ok(Resolution::Local {
                    accounts,
                    elsewhere,
                }) if elsewhere.is_empty() && !accounts.is_empty() => Ok(accounts),
                Ok(Resolution::Local { .. } | Resolution::NotLocal) => {
                    // RFC 3463 §3.3: moved, and we do not know how to get there from here.
                    Err(refused("5.1.6", "the address leads to another system now"))
                }
                Ok(Resolution::NoSuchUser) => Err(refused("5.1.1", "no such user here")),
                Ok(Resolution::TooMany) => Err(refused(
                    "5.2.4",
                    "more recipients stand behind this address than one message can reach",
                )),
                Err(error) => Err(unreachable(&error)),
            });
        }
        found
    }

    /// Delivers to each target, and says what came of it in their order.
    async fn deliver_to(
        &self,
        errand: &Errand,
        targets: &[&ResolvedTarget],
    ) -> Result<Vec<(Option<AccountId>, Outcome)>, Outcome> {
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let (message, _memory) = self.read(errand).await?;
        let envelope = &errand.job.envelope;
        let return_path = match &envelope.reverse_path {
            ReversePath::Null => "Return-Path: <>\r\n".to_owned(),
            ReversePath::Address(address) => format!("Return-Path: <{address}>\r\n"),
        };
        let prefix = Bytes::from([return_path.as_bytes(), &envelope.prefix].concat());
        let recipient = |target: &&ResolvedTarget| DeliveryRecipient {
            account: target.account,
            mailbox: target.mailbox.clone(),
            prefix: prefix.clone(),
            flags: Flags::default(),
        };
        let delivery = Delivery {
            message: Arc::new(message),
            received: envelope.received,
            key: Some(delivery_key(errand)),
            recipients: targets.iter().map(recipient).collect(),
            confirmed: Vec::new(),
        };
        if errand.lease.look().await.is_err() {
            return Err(Outcome::NotTried);
        }
        let opened = self.mailstore.open_lane().await;
        let mut lane = opened.map_err(|error| unreachable(&error))?;
        let delivered = self.mailstore.deliver(&mut lane, delivery).await;
        let outcomes = delivered.map_err(|error| unreachable(&error))?;
        let with_account = targets.iter().zip(outcomes);
        Ok(with_account
            .map(|(target, outcome)| (Some(target.account), outcome_of(outcome)))
            .collect())
    }

    /// Reads and prepares the message, when there is memory for it.
    async fn read(
        &self,
        errand: &Errand,
    ) -> Result<(PreparedMessage, SemaphorePermit<'_>), Outcome> {
        let kib = errand.job.size.div_ceil(1024).clamp(1, PREPARED_KIB_MAX);
        let permit = self.memory.acquire_many(kib).await;
        // Nobody closes it.
        let permit = permit.map_err(|_closed| Outcome::NotTried)?;
        let whole = errand
            .body
            .message(usize::MAX)
            .await
            .map_err(|error| match error {
                BodyUnreadable::Store(error) => unreachable(&error),
                BodyUnreadable::Gone => Outcome::NotTried,
            })?;
        let prepared = tokio::task::spawn_blocking(move || PreparedMessage::new(&whole)).await;
        match prepared {
            Ok(Ok(message)) => Ok((message, permit)),
            Ok(Err(error)) => Err(unreachable(&error)),
            Err(_panic) => Err(deferred("4.3.0", "the message could not be prepared")),
        }
    }
}

impl Courier for LocalCourier {
    fn open<'a>(
        &'a self,
        _destination: &'a Domain,
    ) -> BoxFuture<'a, Result<Box<dyn Way>, Unreachable>> {
        let way = LocalWay(self.clone());
        async move { Ok(Box::new(way) as Box<dyn Way>) }.boxed()
    }
}

struct LocalWay(LocalCourier);

impl Way for LocalWay {
    fn send<'a>(&'a mut self, errand: &'a Errand) -> BoxFuture<'a, Attempt> {
        self.0.deliver(errand).boxed()
    }

    fn is_open(&self) -> bool {
        true
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}

/// The accounts behind all recipients, none twice.
fn targets(resolved: &[Result<Vec<ResolvedTarget>, Outcome>]) -> Vec<&ResolvedTarget> {
    let mut targets: Vec<&ResolvedTarget> = Vec::new();
    for target in resolved.iter().flatten().flatten() {
        if targets.iter().all(|known| known.account != target.account) {
            targets.push(target);
        }
    }
    targets
}

/// What came of a recipient with several accounts behind it: what is still to be done, before what failed, before what is done.
fn combined(
    accounts: &[ResolvedTarget],
    targets: &[&ResolvedTarget],
    outcomes: &[(Option<AccountId>, Outcome)],
) -> Outcome {
    let of_account = |account: &ResolvedTarget| {
        let at = targets
            .iter()
            .position(|target| target.account == account.account)?;
        outcomes.get(at).map(|(_, outcome)| outcome)
    };
    let rank = |outcome: &&Outcome| match outcome {
        Outcome::NotTried => 0,
        Outcome::Deferred(_) => 1,
        Outcome::Refused(_) => 2,
        Outcome::Delivered { .. } => 3,
    };
    let worst = accounts.iter().filter_map(of_account).min_by_key(rank);
    worst
        .cloned()
        .unwrap_or_else(|| deferred("4.3.0", "the store gave no answer for this recipient"))
}

/// Names the delivery by the queued message: it comes once to each mailbox.
fn delivery_key(errand: &Errand) -> DeliveryKey {
    let mut hasher = blake3::Hasher::new_derive_key("mailrook queued delivery key 1");
    hasher.update(&errand.shard.0.to_le_bytes());
    hasher.update(&errand.job.id.message.0.to_le_bytes());
    hasher.update(&errand.job.hash.0);
    DeliveryKey(*hasher.finalize().as_bytes())
}

fn outcome_of(outcome: Result<DeliveryOutcome, StoreError>) -> Outcome {
    match outcome {
        Ok(DeliveryOutcome::Delivered(_) | DeliveryOutcome::Duplicate(_)) => Outcome::Delivered {
            told: Told::here("2.1.5", "delivered"),
            reports: false,
            is_final: true,
        },
        // RFC 3463 §3.3: a full mailbox may have room later.
        Ok(DeliveryOutcome::Refused(Refusal::OverQuota | Refusal::Limit(_))) => {
            deferred("4.2.2", "the mailbox is full")
        }
        // The account moves, or is being made or removed: the next try will see it (P6).
        Ok(DeliveryOutcome::Refused(other)) => deferred("4.3.0", &other.to_string()),
        Err(error) => unreachable(&error),
    }
}

fn refused(status: &str, reason: &str) -> Outcome {
    Outcome::Refused(Told::here(status, reason))
}

fn deferred(status: &str, reason: &str) -> Outcome {
    Outcome::Deferred(Told::here(status, reason))
}

/// What the store could not do. Senders are told no more than that.
fn unreachable(error: &StoreError) -> Outcome {
    tracing::debug!(%error, "queued mail is not delivered here now");
    match error {
        StoreError::Unacceptable(_) => refused("5.3.0", "the mail store cannot take this message"),
        StoreError::Full(_) => deferred("4.3.1", "the mail store has no room now"),
        StoreError::Unavailable(_) | StoreError::Internal(_) => {
            deferred("4.3.0", "the mail store cannot be reached now")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mailrook_store_api::{
        NewMail, Queue,
        memory::MemoryCluster,
        meta::{AccountRecord, MetaAnswer, MetaCommand, MetaQuery, MetaReply, NewAccount},
        shard::{Answer, ClaimJobs, MailboxRef, NewJob, Query},
    };
    use mailrook_types::{ClientId, MailboxName, ShardId, Timestamp};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::{
        BodyReader, Lease, Runner, Schedule, SenderSettings,
        testing::{address, domain, envelope, recipient, settings},
    };

    const SHARD: ShardId = ShardId(1);

    async fn twin() -> MemoryCluster {
        let twin = MemoryCluster::new();
        let account = |name: &str, quota| {
            MetaCommand::AddAccount(NewAccount {
                address: address(name),
                credential: None,
                quota_storage_bytes: quota,
                quota_messages: None,
            })
        };
        let alias = |name: &str, targets: &[&str]| MetaCommand::AddAlias {
            address: address(name),
            targets: targets.iter().map(|target| address(target)).collect(),
        };
        for command in [
            MetaCommand::AddDomain(domain("example.test")),
            account("sender@example.test", None),
            account("user@example.test", None),
            account("small@example.test", Some(10)),
            alias(
                "both@example.test",
                &["sender@example.test", "user@example.test"],
            ),
        ] {
            let reply = twin.command(command).await.unwrap();
            assert!(!matches!(reply, MetaReply::Refused(_)), "{reply:?}");
        }
        twin
    }

    /// How many messages an account's INBOX has.
    async fn messages(twin: &MemoryCluster, name: &str) -> u64 {
        let account: AccountRecord =
            match Directory::query(twin, MetaQuery::Account(address(name))).await {
                Ok(MetaAnswer::Account(Some(record))) => *record,
                other => panic!("not an account: {other:?}"),
            };
        let status = Query::Status {
            account: account.id,
            mailbox: MailboxRef::Name(MailboxName::inbox()),
        };
        match Mailstore::query(twin, account.id, status).await {
            Ok(Answer::Status(status)) => status.messages,
            other => panic!("not a status: {other:?}"),
        }
    }

    fn mail(to: &[&str]) -> NewMail {
        let mut envelope = envelope();
        envelope.received = Timestamp::now();
        envelope.expires = Timestamp::now().saturating_add(Duration::from_secs(86_400));
        let job = NewJob {
            destination: domain("example.test"),
            recipients: to.iter().map(|text| recipient(text)).collect(),
            due: None,
        };
        NewMail {
            envelope,
            message: Arc::new(PreparedMessage::new(b"Subject: x\r\n\r\ntext\r\n").unwrap()),
            jobs: vec![job],
        }
    }

    fn runner(twin: &MemoryCluster) -> Runner {
        let store = Arc::new(twin.clone());
        let courier = LocalCourier::new(Arc::clone(&store) as _, Arc::clone(&store) as _);
        let settings = SenderSettings {
            schedule: Schedule::new(vec![Duration::from_secs(1)]).unwrap(),
            ..settings()
        };
        Runner::start(store, Arc::new(courier), ClientId(100), settings)
    }

    async fn until_jobs(twin: &MemoryCluster, jobs: u64) {
        for _ in 0..500 {
            if twin
                .summary(SHARD)
                .await
                .is_ok_and(|summary| summary.jobs == jobs)
            {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("the queue never has {jobs} jobs");
    }

    #[tokio::test]
    async fn each_mailbox_gets_one_copy() {
        let twin = twin().await;
        let to = ["both@example.test", "user@example.test"];
        twin.enqueue(mail(&to), None, None).await.unwrap();
        let _runner = runner(&twin);
        until_jobs(&twin, 0).await;
        for name in ["sender@example.test", "user@example.test"] {
            assert_eq!(messages(&twin, name).await, 1, "{name}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_is_reported_to_the_sender_and_what_may_be_later_waits() {
        let twin = twin().await;
        let to = [
            "nobody@example.test",
            "small@example.test",
            "user@example.test",
        ];
        twin.enqueue(mail(&to), None, None).await.unwrap();
        let _runner = runner(&twin);
        for _ in 0..500 {
            if messages(&twin, "sender@example.test").await == 1 {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(
            messages(&twin, "sender@example.test").await,
            1,
            "the report"
        );
        until_jobs(&twin, 1).await;
        let (jobs, _) = twin.list(SHARD, None, None, 10).await.unwrap();
        let last = jobs[0].recipients[0].last.as_deref();
        assert_eq!(last, Some("the mailbox is full (4.2.2)"));
        assert_eq!(messages(&twin, "user@example.test").await, 1);
    }

    #[tokio::test]
    async fn an_answer_that_was_lost_makes_no_second_copy() {
        let twin = twin().await;
        let wish = ClaimJobs {
            runner: ClientId(100),
            lease_ms: 60_000,
            limit: 1,
            per_destination: 1,
        };
        let mail = mail(&["user@example.test"]);
        let queued = twin.enqueue(mail, None, Some(wish)).await.unwrap();
        let job = queued.claimed.unwrap().jobs.remove(0);
        let store = Arc::new(twin.clone());
        let errand = Errand {
            shard: SHARD,
            body: BodyReader::new(Arc::clone(&store) as _, SHARD, &job),
            lease: Arc::new(Lease::new(Instant::now())),
            job,
        };
        let courier = LocalCourier::new(Arc::clone(&store) as _, store as _);
        twin.set_loses_answers(true);
        let lost = courier.deliver(&errand).await;
        assert!(
            matches!(&lost.outcomes[..], [Outcome::Deferred(_)]),
            "{lost:?}"
        );
        twin.set_loses_answers(false);
        let again = courier.deliver(&errand).await;
        assert!(
            matches!(&again.outcomes[..], [Outcome::Delivered { .. }]),
            "{again:?}"
        );
        assert_eq!(messages(&twin, "user@example.test").await, 1);
    }

    #[tokio::test]
    async fn domains_of_ours_are_known() {
        let twin = twin().await;
        let store = Arc::new(twin.clone());
        let courier = LocalCourier::new(Arc::clone(&store) as _, store as _);
        assert!(courier.serves(&domain("example.test")).await.unwrap());
        assert!(!courier.serves(&domain("elsewhere.test")).await.unwrap());
        twin.set_reachable(false);
        assert!(courier.serves(&domain("example.test")).await.is_err());
    }
}
