//! A change is made once, however often its command has to be sent (DESIGN, "Exactly once, inside"); a transmission is
//! delivered once until its acknowledgement is known to have arrived ("from outside"). On a real node, with groups that
//! lose replies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_cluster::{Group, GroupError, Node};
use mailrook_mailbox::{
    Change, Confirmation, DeliveryKey, DeliveryOutcome, MailboxRef, Refusal, TableId, TableOp,
    TableReply,
};
use mailrook_meta::{Credential, MetaCommand, MetaReply};
use mailrook_store_api::{
    Append, Delivery, DeliveryRecipient, Directory, Lane, Mailstore, PreparedMessage, Shared,
    StoreError,
};
use mailrook_store_client::{Client, ClientOptions};
use mailrook_types::{
    AccountId, Address, FlagUpdate, Flags, MailboxName, SystemFlags, Timestamp, UidSet,
};

use crate::rig::{Meddler, add_account, meddled_client, message, open};

/// Every command is carried out, and the reply to every second one lost.
#[derive(Default)]
struct Forgetful {
    calls: AtomicU32,
}

impl Meddler for Forgetful {
    fn propose<'a>(
        &'a self,
        group: &'a dyn Group,
        command: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, GroupError>> {
        async move {
            let reply = group.propose(command).await?;
            if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                return Err(GroupError::OutcomeUnknown);
            }
            Ok(reply)
        }
        .boxed()
    }
}

pub(crate) async fn forgetful_client(node: &Node) -> Client {
    meddled_client(node, ClientOptions::default(), Forgetful::default).await
}

fn delivery(
    to: &[AccountId],
    message: &Arc<PreparedMessage>,
    confirmed: Vec<Confirmation>,
) -> Delivery {
    let recipient = |account: &AccountId| DeliveryRecipient {
        account: *account,
        mailbox: None,
        prefix: Bytes::from_static(b"Return-Path: <>\r\n"),
        flags: Flags::default(),
    };
    Delivery {
        message: Arc::clone(message),
        received: Timestamp::now(),
        key: Some(DeliveryKey(message.hash().0)),
        recipients: to.iter().map(recipient).collect(),
        confirmed,
    }
}

async fn inbox_count(client: &Client, account: AccountId) -> u64 {
    let store: &dyn Mailstore = client;
    store
        .status(account, MailboxRef::Name(MailboxName::inbox()))
        .await
        .unwrap()
        .unwrap()
        .messages
}

async fn lane(client: &Client) -> Lane {
    client.open_lane().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_replies_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let client = forgetful_client(&node).await;
    let mut accounts = Vec::new();
    for name in ["a", "b", "c"] {
        accounts.push(add_account(&client, name).await);
    }
    let mut lane = lane(&client).await;
    for n in 0..20 {
        let outcomes = client
            .deliver(
                &mut lane,
                delivery(&accounts, &message(&n.to_string()), vec![]),
            )
            .await
            .unwrap();
        assert!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome, Ok(DeliveryOutcome::Delivered(_)))),
            "{outcomes:?}"
        );
        let append = Append {
            mailbox: MailboxRef::Name(MailboxName::inbox()),
            messages: vec![(message("appended"), Flags::default(), Timestamp::now())],
        };
        client
            .append(&mut lane, accounts[0], append)
            .await
            .unwrap()
            .unwrap();
    }
    assert_eq!(inbox_count(&client, accounts[0]).await, 40);
    assert_eq!(inbox_count(&client, accounts[1]).await, 20);

    let store: &dyn Mailstore = &client;
    let inbox = store
        .status(accounts[0], MailboxRef::Name(MailboxName::inbox()))
        .await
        .unwrap()
        .unwrap();
    let copy = Change::Copy {
        mailbox: inbox.id,
        uids: UidSet::from_range(mailrook_types::Uid::MIN..=mailrook_types::Uid::MAX),
        to: MailboxRef::Name(MailboxName::parse("Archive").unwrap()),
        remove_originals: false,
    };
    client
        .change(&mut lane, accounts[0], copy)
        .await
        .unwrap()
        .unwrap();
    let archive = MailboxRef::Name(MailboxName::parse("Archive").unwrap());
    assert_eq!(
        store
            .status(accounts[0], archive)
            .await
            .unwrap()
            .unwrap()
            .messages,
        40
    );
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_replies_change_the_directory_once() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let client = forgetful_client(&node).await;
    let address = |name: &str| Address::parse(&format!("{name}@example.test")).unwrap();
    let id = add_account(&client, "old").await;
    let changed = async |command: MetaCommand| match client.command(command).await.unwrap() {
        MetaReply::Account(record) | MetaReply::Removed(record) => record,
        other => panic!("{other:?}"),
    };
    // Each is refused, or counts twice, if its repeat is carried out anew.
    let renamed = changed(MetaCommand::RenameAccount {
        from: address("old"),
        to: address("new"),
    });
    assert_eq!(renamed.await.id, id);
    let credential = Credential {
        name: "main".to_owned(),
        scopes: Vec::new(),
        verifier: b"v".to_vec(),
        version: 0,
        created: Timestamp::default(),
    };
    let put = changed(MetaCommand::PutCredential {
        address: address("new"),
        credential,
    });
    assert_eq!(put.await.credentials_version, 2);
    let removed = changed(MetaCommand::RemoveCredential {
        address: address("new"),
        name: "main".to_owned(),
    });
    assert_eq!(removed.await.credentials_version, 3);
    let removed = changed(MetaCommand::RemoveAccount(address("new"))).await;
    assert_eq!(removed.id, id);
    let store: &dyn Mailstore = &client;
    assert!(store.mailboxes(id).await.unwrap().is_none());
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_replies_change_the_tables_once() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let client = forgetful_client(&node).await;
    // Over all shards.
    let keys = || (0..8u8).map(|key| vec![key]);
    let add = |key| {
        let change = TableOp::Add {
            delta: 1,
            expires: None,
        };
        (TableId(7), key, change)
    };
    for round in 1..=3 {
        let replies = client.update(keys().map(add).collect()).await.unwrap();
        assert_eq!(replies, vec![TableReply::Done(Some(round)); 8]);
    }
    let take = |key| {
        let change = TableOp::CompareAndPut {
            expected: Some(3i64.to_le_bytes().to_vec()),
            value: b"mine".to_vec(),
            expires: None,
        };
        (TableId(7), key, change)
    };
    let replies = client.update(keys().map(take).collect()).await.unwrap();
    assert_eq!(replies, vec![TableReply::Done(None); 8]);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_transmission_is_delivered_once_until_it_is_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let client = forgetful_client(&node).await;
    let account = add_account(&client, "user").await;
    let same = message("the same bytes");

    let first = client
        .deliver(
            &mut lane(&client).await,
            delivery(&[account], &same, vec![]),
        )
        .await
        .unwrap();
    let Ok(DeliveryOutcome::Delivered(place)) = &first[0] else {
        panic!("{first:?}")
    };
    // The sender did not see the 250, and sends again over another connection.
    let again = client
        .deliver(
            &mut lane(&client).await,
            delivery(&[account], &same, vec![]),
        )
        .await
        .unwrap();
    assert!(
        matches!(&again[0], Ok(DeliveryOutcome::Duplicate(at)) if at == place),
        "{again:?}"
    );
    assert_eq!(inbox_count(&client, account).await, 1);

    // It goes on with another command, and then sends the same bytes on purpose.
    let confirmation = Confirmation {
        account,
        mailbox: place.mailbox,
        uid: place.uid,
        key: DeliveryKey(same.hash().0),
    };
    let on_purpose = delivery(&[account], &same, vec![confirmation]);
    let third = client
        .deliver(&mut lane(&client).await, on_purpose)
        .await
        .unwrap();
    let Ok(DeliveryOutcome::Delivered(second_place)) = &third[0] else {
        panic!("{third:?}")
    };
    // The first one's confirmation, come late, is not the second one's.
    client.confirm(vec![confirmation]).await.unwrap();
    let again = client
        .deliver(
            &mut lane(&client).await,
            delivery(&[account], &same, vec![]),
        )
        .await
        .unwrap();
    assert!(
        matches!(&again[0], Ok(DeliveryOutcome::Duplicate(at)) if at == second_place),
        "{again:?}"
    );
    let confirmation = Confirmation {
        uid: second_place.uid,
        ..confirmation
    };
    client.confirm(vec![confirmation]).await.unwrap();
    let fourth = client
        .deliver(
            &mut lane(&client).await,
            delivery(&[account], &same, vec![]),
        )
        .await
        .unwrap();
    assert!(
        matches!(&fourth[0], Ok(DeliveryOutcome::Delivered(_))),
        "{fourth:?}"
    );
    assert_eq!(inbox_count(&client, account).await, 3);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_confirmed_is_confirmed_for_every_part_of_a_delivery() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let client = forgetful_client(&node).await;
    // More than two commands' recipients a shard.
    let mut accounts = Vec::new();
    for n in 0..250 {
        accounts.push(add_account(&client, &format!("user{n}")).await);
    }
    let same = message("the same bytes");
    let mut lane = lane(&client).await;
    let mut confirmed = Vec::new();
    for round in 0..3 {
        let delivery = delivery(&accounts, &same, std::mem::take(&mut confirmed));
        let outcomes = client.deliver(&mut lane, delivery).await.unwrap();
        for (account, outcome) in accounts.iter().zip(&outcomes) {
            let Ok(DeliveryOutcome::Delivered(place)) = outcome else {
                panic!("round {round}, {account}: {outcome:?}");
            };
            confirmed.push(Confirmation {
                account: *account,
                mailbox: place.mailbox,
                uid: place.uid,
                key: DeliveryKey(same.hash().0),
            });
        }
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_goes_in_chunks_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut raw = b"Subject: large\r\n\r\n".to_vec();
    // Not compressible, so that it is stored in as many bytes.
    raw.extend((0..3 << 20).map(|_| rand::random::<u8>() | 1));
    let large = Arc::new(PreparedMessage::new(&raw).unwrap());
    let (account, hash) = {
        let node = open(dir.path()).await;
        let client = forgetful_client(&node).await;
        let account = add_account(&client, "user").await;
        let outcomes = client
            .deliver(
                &mut lane(&client).await,
                delivery(&[account], &large, vec![]),
            )
            .await
            .unwrap();
        assert!(
            matches!(&outcomes[0], Ok(DeliveryOutcome::Delivered(_))),
            "{outcomes:?}"
        );
        node.shutdown().await;
        (account, large.hash())
    };
    let node = open(dir.path()).await;
    let client = forgetful_client(&node).await;
    let mut read = Vec::new();
    while read.len() < raw.len() {
        let piece = client
            .body(account, hash, read.len() as u32, raw.len() as u32)
            .await
            .unwrap();
        assert!(
            !piece.is_empty(),
            "the body ends after {} bytes",
            read.len()
        );
        read.extend_from_slice(&piece);
    }
    assert!(read == raw, "the body is not what was delivered");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_heard_by_who_watches() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let client = forgetful_client(&node).await;
    let account = add_account(&client, "user").await;
    let mut watch = client.watch(account).await.unwrap();
    let mut lane = lane(&client).await;
    client
        .deliver(&mut lane, delivery(&[account], &message("one"), vec![]))
        .await
        .unwrap();
    let first = tokio::time::timeout(Duration::from_secs(10), watch.changed())
        .await
        .unwrap()
        .unwrap();

    let store: &dyn Mailstore = &client;
    let inbox = store
        .status(account, MailboxRef::Name(MailboxName::inbox()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(inbox.highest_modseq, first);
    let store_flags = Change::StoreFlags {
        mailbox: inbox.id,
        uids: store.uids(account, inbox.id).await.unwrap().unwrap(),
        unchanged_since: None,
        update: FlagUpdate::Add,
        flags: Flags::system(SystemFlags::SEEN),
    };
    client
        .change(&mut lane, account, store_flags)
        .await
        .unwrap()
        .unwrap();
    let second = tokio::time::timeout(Duration::from_secs(10), watch.changed())
        .await
        .unwrap()
        .unwrap();
    assert!(second > first);
    let changes = store
        .changes(account, inbox.id, first, None, (None, 100))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(changes.changed.len(), 1);
    assert_eq!(changes.changed[0].flags.system, SystemFlags::SEEN);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_is_not_absent() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let options = ClientOptions {
        deadline: Duration::from_millis(300),
    };
    let groups = node.groups().map(|group| (group.shard(), group)).collect();
    let client = crate::rig::client_of(groups, options).await;
    let account = add_account(&client, "user").await;
    let nobody = AccountId(4711);
    let store: &dyn Mailstore = &client;
    // No such account: the directory says so.
    assert!(store.mailboxes(nobody).await.unwrap().is_none());
    let refused = client
        .change(
            &mut lane(&client).await,
            nobody,
            Change::DeleteMailbox(MailboxName::inbox()),
        )
        .await;
    assert!(
        matches!(refused, Ok(Err(Refusal::NoSuchAccount))),
        "{refused:?}"
    );
    node.shutdown().await;
    // The groups are stopped: nobody can say anything any more.
    assert!(matches!(
        store.mailboxes(account).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(matches!(
        store.mailboxes(nobody).await,
        Err(StoreError::Unavailable(_))
    ));
}
