//! What is at the edges of a move: what is kept, watched, read and removed, and a target that fails in the worst moment.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;
use mailrook_control::{AccountMover, KEPT_FOR, Pace};
use mailrook_mailbox::{
    Answer, Change, DeliveryKey, DeliveryOutcome, MoveStep, Query, ShardCommand, ShardReply,
};
use mailrook_meta::{AccountMove, MetaCommand, MetaReply, MoveState};
use mailrook_store_api::{
    Append, Call, Delivery, DeliveryRecipient, Directory, Mailstore, StoreError,
};
use mailrook_store_client::{Client, Shards};
use mailrook_types::{AccountId, Address, Flags, ShardId, Timestamp, Uid, UidSet};

use crate::{
    accounts::{add_account, ask_for, control, inbox, message, shard_of},
    rig::{Cluster, PATIENCE},
};

async fn append(client: &Client, account: AccountId, text: &str) -> Uid {
    let mut lane = client.open_lane().await.unwrap();
    let messages = vec![(message(text), Flags::default(), Timestamp(0))];
    let append = Append {
        mailbox: inbox(),
        messages,
    };
    let store: &dyn Mailstore = client;
    let appended = store.append(&mut lane, account, append).await;
    appended.unwrap().unwrap().uids.first().unwrap()
}

async fn uids(client: &Client, account: AccountId) -> String {
    let store: &dyn Mailstore = client;
    let status = store.status(account, inbox()).await.unwrap().unwrap();
    let uids = store.uids(account, status.id).await.unwrap().unwrap();
    uids.to_string()
}

fn mover(client: &Client) -> AccountMover {
    AccountMover {
        directory: Arc::new(client.clone()),
        shards: Arc::new(client.clone()),
        kept_for: KEPT_FOR,
        pace: Arc::new(Pace::default()),
    }
}

async fn due(mover: &AccountMover) -> Vec<AccountMove> {
    mover
        .due(&BTreeSet::new(), &BTreeSet::new(), 9)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_kept_until_the_account_goes_back() {
    let cluster = Cluster::new(1).await;
    let client = cluster.client(cluster.ids()[0]);
    let account = add_account(&client).await.id;
    append(&client, account, "one").await;
    let home = shard_of(&client, account).await;
    ask_for(&client, account).await;
    let mover = mover(&client);
    let moved = mover.carry_on(&due(&mover).await[0]).await.unwrap();
    assert_eq!(moved.state, MoveState::Moved);
    assert!(moved.note.opened);
    assert_eq!(moved.note.messages, 1);
    assert_eq!(due(&mover).await, [], "it is kept");
    append(&client, account, "two").await;
    // Asked for once more, it goes back: what it left goes first.
    ask_for(&client, account).await;
    let first = due(&mover).await;
    assert_eq!((first.len(), first[0].id), (1, moved.id));
    let ended = mover.carry_on(&first[0]).await.unwrap();
    assert_eq!(ended.state, MoveState::Done);
    let then = due(&mover).await;
    let back = mover.carry_on(&then[0]).await.unwrap();
    assert_eq!((back.state, back.to), (MoveState::Moved, home));
    assert_eq!(uids(&client, account).await, "1:2");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_and_reads_goes_on() {
    let cluster = Cluster::new(3).await;
    let (client, other) = (
        cluster.client(cluster.ids()[0]),
        cluster.client(cluster.ids()[1]),
    );
    let account = add_account(&client).await.id;
    let text = "a long one ".repeat(100_000);
    let uid = append(&client, account, &text).await;
    let store: &dyn Mailstore = &client;
    let status = store.status(account, inbox()).await.unwrap().unwrap();
    let details = store
        .details(account, status.id, UidSet::from_iter([uid]), 1)
        .await;
    let detail = details.unwrap().unwrap().remove(0);
    let mut watch = store.watch(account).await.unwrap();
    let half = detail.body_size / 2;
    let first = store.body(account, detail.hash, 0, half).await.unwrap();
    // It is removed while it is read, and the account moves.
    let mut lane = client.open_lane().await.unwrap();
    let remove = Change::Remove {
        mailbox: status.id,
        uids: UidSet::from_iter([uid]),
    };
    store
        .change(&mut lane, account, remove)
        .await
        .unwrap()
        .unwrap();
    ask_for(&client, account).await;
    let mut held = Vec::new();
    let done = control(client.clone(), i64::MAX, false, &mut held)
        .await
        .unwrap();
    assert_eq!(done.state, MoveState::Done);
    let mut found = first.to_vec();
    while (found.len() as u32) < detail.body_size {
        let at = found.len() as u32;
        let piece = store.body(account, detail.hash, at, detail.body_size).await;
        found.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(
        found,
        format!("Subject: {text}\r\n\r\n{text}\r\n").as_bytes()
    );
    // Who is told that something changed looks what it is, and finds the account where it has gone.
    while let Ok(told) = tokio::time::timeout(Duration::from_millis(300), watch.changed()).await {
        told.unwrap();
        store.status(account, inbox()).await.unwrap().unwrap();
    }
    append(&other, account, "new").await;
    let told = tokio::time::timeout(PATIENCE, watch.changed()).await;
    told.expect("who watches hears nothing any more").unwrap();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_removed_while_it_moves() {
    let cluster = Cluster::new(1).await;
    let client = cluster.client(cluster.ids()[0]);
    let mut held = Vec::new();
    let record = add_account(&client).await;
    let account = record.id;
    append(&client, account, "one").await;
    ask_for(&client, account).await;
    // Its mover has begun to copy.
    control(client.clone(), 5, true, &mut held).await;
    let address = Address::parse("someone@example.test").unwrap();
    let remove = MetaCommand::RemoveAccount(address);
    let removing = {
        let client = client.clone();
        tokio::spawn(async move { Directory::command(&client, remove).await })
    };
    let begun = Instant::now();
    let mut last = None;
    while !matches!(last, Some(MoveState::Failed(_))) {
        if let Some(of) = control(client.clone(), i64::MAX, false, &mut held).await {
            last = Some(of.state);
        }
        assert!(begun.elapsed() < PATIENCE, "no end: {last:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let removed = removing.await.unwrap();
    assert!(matches!(removed, Ok(MetaReply::Removed(_))), "{removed:?}");
    for (mortal, step) in held {
        mortal.resume.notify_one();
        let _ = step.await.unwrap();
    }
    for shard in [1, 2] {
        cluster.verify(ShardId(shard)).await;
    }
    let store: &dyn Mailstore = &client;
    assert_eq!(store.quota(account).await.unwrap(), None);
    cluster.end().await;
}

/// Shards of which none can be reached any more once an account that leaves is fenced, but for those that it leaves.
struct LostInTheFence(Client);

impl Shards for LostInTheFence {
    fn shard_command(&self, shard: ShardId, command: ShardCommand) -> Call<'_, ShardReply> {
        let is_late =
            |step: &MoveStep| matches!(step, MoveStep::Complete { .. } | MoveStep::Discard);
        match &command {
            ShardCommand::Move(of) if is_late(&of.step) => {
                let text = format!("{shard} has no leader");
                async { Err(StoreError::Unavailable(text)) }.boxed()
            }
            _ => self.0.shard_command(shard, command),
        }
    }

    fn shard_query(&self, shard: ShardId, query: Query) -> Call<'_, Answer> {
        self.0.shard_query(shard, query)
    }

    fn log_time(&self, group: ShardId) -> Call<'_, Timestamp> {
        self.0.log_time(group)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_served_where_it_was_when_its_target_is_lost_in_the_fence() {
    let cluster = Cluster::new(1).await;
    let client = cluster.client(cluster.ids()[0]);
    let account = add_account(&client).await.id;
    append(&client, account, "one").await;
    let home = shard_of(&client, account).await;
    for _ in 0..2 {
        ask_for(&client, account).await;
        let lost = AccountMover {
            shards: Arc::new(LostInTheFence(client.clone())),
            ..mover(&client)
        };
        let asked = due(&lost).await.pop().unwrap();
        let error = lost.carry_on(&asked).await.unwrap_err();
        assert!(error.to_string().contains("has no leader"), "{error}");
        // It is served although what was copied cannot be removed yet.
        let begun = Instant::now();
        append(&client, account, "more").await;
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(shard_of(&client, account).await, home);
        let mover = mover(&client);
        let ended = mover.carry_on(&due(&mover).await[0]).await.unwrap();
        assert!(matches!(ended.state, MoveState::Failed(_)), "{ended:?}");
    }
    // The third one comes through.
    ask_for(&client, account).await;
    let mover = mover(&client);
    let moved = mover.carry_on(&due(&mover).await[0]).await.unwrap();
    assert_eq!(moved.state, MoveState::Moved);
    assert_eq!(uids(&client, account).await, "1:3");
    cluster.end().await;
}

/// A delivery that was acknowledged, whose confirmation waits while the account moves, is confirmed all the same: the same bytes,
/// sent on purpose, are a new message.
#[tokio::test(flavor = "multi_thread")]
async fn what_senders_have_seen_comes_along() {
    let cluster = Cluster::new(1).await;
    let client = cluster.client(cluster.ids()[0]);
    let account = add_account(&client).await.id;
    let mut lane = client.open_lane().await.unwrap();
    let key = DeliveryKey([7; 32]);
    let mut confirmed = Vec::new();
    for round in 1..=4 {
        let delivery = Delivery {
            message: message("again"),
            received: Timestamp(0),
            key: Some(key),
            recipients: vec![DeliveryRecipient {
                account,
                mailbox: None,
                prefix: Vec::new().into(),
                flags: Flags::default(),
            }],
            confirmed: std::mem::take(&mut confirmed),
        };
        let outcomes = client.deliver(&mut lane, delivery).await.unwrap();
        let Ok(DeliveryOutcome::Delivered(place)) = &outcomes[0] else {
            panic!("the {round}th is taken for a repetition: {outcomes:?}");
        };
        confirmed.push(mailrook_mailbox::Confirmation {
            account,
            mailbox: place.mailbox,
            uid: place.uid,
            key,
        });
        if round == 2 {
            // Confirmed to nobody yet, and the account goes.
            let confirming = {
                let (client, confirmed) = (client.clone(), confirmed.clone());
                tokio::spawn(async move { client.confirm(confirmed).await })
            };
            ask_for(&client, account).await;
            let mover = mover(&client);
            mover.carry_on(&due(&mover).await[0]).await.unwrap();
            confirming.await.unwrap().unwrap();
            confirmed.clear();
        }
    }
    assert_eq!(uids(&client, account).await, "1:4");
    cluster.end().await;
}

/// A lane may keep replies that are longer than an entry of the log.
#[tokio::test(flavor = "multi_thread")]
async fn replies_that_are_longer_than_an_entry_come_along() {
    let cluster = Cluster::new(1).await;
    let client = cluster.client(cluster.ids()[0]);
    let account = add_account(&client).await.id;
    let store: &dyn Mailstore = &client;
    let mut lane = client.open_lane().await.unwrap();
    for _ in 0..40 {
        let messages = (0..1_000).map(|_| (message("one"), Flags::default(), Timestamp(0)));
        let append = Append {
            mailbox: inbox(),
            messages: messages.collect(),
        };
        store
            .append(&mut lane, account, append)
            .await
            .unwrap()
            .unwrap();
    }
    let status = store.status(account, inbox()).await.unwrap().unwrap();
    // Every other one: such a set is as long as it can be.
    let odd: UidSet = (1..40_000).step_by(2).filter_map(Uid::new).collect();
    let mut copying = client.open_lane().await.unwrap();
    let mut longest = 0;
    for _ in 0..6 {
        // Of operations that stay unanswered the replies are kept.
        let op = copying.begin();
        let command = ShardCommand::Account(mailrook_mailbox::AccountCommand {
            account,
            op,
            change: Change::Copy {
                mailbox: status.id,
                uids: odd.clone(),
                to: inbox(),
                remove_originals: false,
            },
        });
        let home = shard_of(&client, account).await;
        let reply = Shards::shard_command(&client, home, command).await.unwrap();
        longest += reply.encode().len();
    }
    assert!(
        longest > 512 << 10,
        "{longest} bytes are not enough to show anything"
    );
    ask_for(&client, account).await;
    let mover = mover(&client);
    let moved = mover.carry_on(&due(&mover).await[0]).await.unwrap();
    assert_eq!(moved.state, MoveState::Moved, "{moved:?}");
    assert_eq!(uids(&client, account).await, "1:160000");
    cluster.end().await;
}
