//! The queue of outgoing mail on a real node, with groups that lose every second reply: what is queued is queued once, and what was sent is
//! gone.

use std::{sync::Arc, time::Duration};

use mailrook_mailbox::{
    ClaimJobs, ClaimedJob, DeliveryKey, LEVEL_QUEUE, Needs, NewJob, Origin, QueueReport,
    QueuedEnvelope, QueuedRecipient, ReportOutcome,
};
use mailrook_store_api::{JobReport, NewMail, PreparedMessage, Queue, QueuedMail, StoreError};
use mailrook_store_client::Client;
use mailrook_types::{Address, ClientId, ReversePath, ShardId, Timestamp};

use crate::{
    exactly_once::forgetful_client,
    rig::{message, open, raise_level},
};

fn mail(message: &Arc<PreparedMessage>, to: &[&str]) -> NewMail {
    let job = |text: &&str| {
        let address = Address::parse(text).unwrap();
        NewJob {
            destination: address.domain.clone(),
            recipients: vec![QueuedRecipient {
                address,
                original: None,
                notify: None,
                last: None,
            }],
            due: None,
        }
    };
    NewMail {
        envelope: QueuedEnvelope {
            reverse_path: ReversePath::Address(Address::parse("sender@example.test").unwrap()),
            prefix: b"Received: here\r\n".to_vec(),
            envid: None,
            return_full: None,
            needs: Needs::default(),
            account: None,
            origin: Origin::Submission,
            log_id: "id".to_owned(),
            received: Timestamp::now(),
            expires: Timestamp::now().saturating_add(Duration::from_secs(86_400)),
        },
        message: Arc::clone(message),
        jobs: to.iter().map(job).collect(),
    }
}

fn wish() -> ClaimJobs {
    ClaimJobs {
        runner: ClientId(77),
        lease_ms: 60_000,
        limit: 100,
        per_destination: 100,
    }
}

fn delivered(claim: mailrook_mailbox::ClaimId, job: &ClaimedJob) -> JobReport {
    JobReport {
        report: QueueReport {
            job: job.id,
            claim,
            delivered: job.recipients.iter().map(|(place, _)| *place).collect(),
            failed: Vec::new(),
            deferred: Vec::new(),
            due: Timestamp(0),
            delay_told: false,
            notice: None,
            rest: None,
        },
        notice: None,
    }
}

/// Messages in all shards.
async fn messages(client: &Client) -> u64 {
    let mut messages = 0;
    for shard in client.shards().await.unwrap() {
        messages += client.summary(shard).await.unwrap().messages;
    }
    messages
}

/// What there is of a queued message, read back.
async fn octets(client: &Client, shard: ShardId, job: &ClaimedJob) -> Vec<u8> {
    let mut octets = Vec::new();
    for number in 0.. {
        let chunks = client.chunks(shard, job.hash, number, 1).await.unwrap();
        match chunks.unwrap().pop() {
            Some(chunk) => octets.extend(mailrook_store_api::unpack_chunk(chunk).unwrap()),
            None => break,
        }
    }
    octets
}

#[tokio::test]
async fn what_is_queued_is_queued_once_and_sent_from_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let client = forgetful_client(&node).await;
    let key = Some(DeliveryKey([5; 32]));
    let to = ["a@one.test", "b@two.test"];
    let text = message("to others");
    let early = client.enqueue(mail(&text, &to), key, None).await;
    assert!(
        matches!(&early, Err(StoreError::Unavailable(why)) if why.contains("feature level 8")),
        "{early:?}"
    );
    raise_level(&client, LEVEL_QUEUE).await;
    let queued = client.enqueue(mail(&text, &to), key, None).await.unwrap();
    assert!(queued.message.is_some());
    let again = client.enqueue(mail(&text, &to), key, None).await.unwrap();
    assert_eq!((again.message, again.shard), (None, queued.shard));
    assert_eq!(messages(&client).await, 1);
    // The sender knows: the same bytes are another message.
    client.confirm(queued.confirmations).await.unwrap();
    let other = client.enqueue(mail(&text, &to), key, Some(wish())).await;
    let QueuedMail { claimed, shard, .. } = other.unwrap();
    assert_eq!(messages(&client).await, 2);
    assert!(client.next(shard).await.unwrap().unwrap() <= Timestamp::now());
    let mut jobs: Vec<_> = claimed
        .into_iter()
        .map(|claimed| (claimed.claim.unwrap(), claimed.jobs))
        .collect();
    // Whatever claim's answer was lost, its jobs are somebody's; these are the rest.
    let rest = client.claim(shard, wish()).await.unwrap();
    jobs.extend(rest.claim.map(|claim| (claim, rest.jobs)));
    for (claim, jobs) in jobs {
        for job in &jobs {
            assert_eq!(
                octets(&client, shard, job).await,
                b"Subject: to others\r\n\r\nto others\r\n"
            );
            let lost = client.renew(shard, ClientId(77), vec![claim], 60_000).await;
            assert_eq!(lost.unwrap(), []);
            let outcomes = client
                .report(shard, vec![delivered(claim, job)])
                .await
                .unwrap();
            assert!(matches!(
                outcomes[..],
                [ReportOutcome::Counted | ReportOutcome::Gone]
            ));
        }
    }
    node.shutdown().await;
}

#[tokio::test]
async fn a_large_message_goes_ahead_in_chunks_and_so_does_a_large_report() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let client = crate::rig::client_of(
        node.groups().map(|group| (group.shard(), group)).collect(),
        mailrook_store_client::ClientOptions::default(),
    )
    .await;
    raise_level(&client, LEVEL_QUEUE).await;
    // Not to be compressed.
    let noise: Vec<u8> = (0..700_000u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .map(|byte| byte | 0x80)
        .collect();
    let large = Arc::new(PreparedMessage::new(&noise).unwrap());
    let queued = client.enqueue(mail(&large, &["a@one.test"]), None, Some(wish()));
    let queued = queued.await.unwrap();
    let (shard, claimed) = (queued.shard, queued.claimed.unwrap());
    let job = &claimed.jobs[0];
    assert_eq!(octets(&client, shard, job).await, noise);
    let claim = claimed.claim.unwrap();
    let mut failed = delivered(claim, job);
    failed.report.failed = std::mem::take(&mut failed.report.delivered);
    let mut report = noise.clone();
    report[0] = 0x81;
    let report = Arc::new(PreparedMessage::new(&report).unwrap());
    failed.notice = Some(mail(&report, &["sender@example.test"]));
    let outcomes = client.report(shard, vec![failed]).await.unwrap();
    assert_eq!(outcomes, [ReportOutcome::Counted]);
    let next = client.claim(shard, wish()).await.unwrap();
    assert_eq!(next.jobs[0].destination.as_str(), "example.test");
    assert_eq!(octets(&client, shard, &next.jobs[0]).await[0], 0x81);
    assert_eq!(messages(&client).await, 1);
    node.shutdown().await;
}
