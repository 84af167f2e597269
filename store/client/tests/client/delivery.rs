//! Where a delivery's recipients are: asked once, where it is not known already.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::rig::{add_account, client_of, message, open};
use bytes::Bytes;
use mailrook_cluster::Group;
use mailrook_mailbox::DeliveryOutcome;
use mailrook_store_api::{Delivery, DeliveryRecipient, Directory, Lane, Mailstore, StoreError};
use mailrook_store_client::{Client, ClientOptions, Copies, Reach};
use mailrook_transport::Alone;
use mailrook_types::{AccountId, Address, ClientId, Flags, NodeId, ShardId, Timestamp};

/// Counts how often the meta group is looked for.
#[derive(Default)]
struct Counting {
    copies: BTreeMap<ShardId, Arc<dyn Group>>,
    meta: AtomicUsize,
}

impl Copies for Counting {
    fn copy(&self, shard: ShardId) -> Option<Arc<dyn Group>> {
        if shard == ShardId::META {
            self.meta.fetch_add(1, Ordering::SeqCst);
        }
        self.copies.copy(shard)
    }
}

fn client(copies: &Arc<Counting>, options: ClientOptions) -> Client {
    let reach = Reach {
        copies: Arc::clone(copies) as _,
        network: Arc::new(Alone(NodeId(1))),
        peers: Arc::new(Vec::new()),
    };
    Client::new(reach, rand::random(), options)
}

fn delivery(accounts: impl Iterator<Item = AccountId>) -> Delivery {
    let recipient = |account| DeliveryRecipient {
        account,
        mailbox: None,
        prefix: Bytes::new(),
        flags: Flags::default(),
    };
    Delivery {
        message: message("to many"),
        received: Timestamp(0),
        key: None,
        recipients: accounts.map(recipient).collect(),
        confirmed: Vec::new(),
    }
}

#[tokio::test]
async fn a_directory_that_is_gone_is_asked_once_for_all_recipients() {
    let asked = async |recipients: u64| {
        let copies = Arc::new(Counting::default());
        // Shorter than the wait before a second try: each call is one.
        let deadline = Duration::from_millis(1);
        let client = client(&copies, ClientOptions { deadline });
        let mut lane = Lane::new(ClientId(1), 1);
        let delivery = delivery((1..=recipients).map(AccountId));
        let outcomes = client.deliver(&mut lane, delivery).await.unwrap();
        assert_eq!(outcomes.len() as u64, recipients);
        for outcome in outcomes {
            assert!(matches!(outcome, Err(StoreError::Unavailable(_))));
        }
        copies.meta.load(Ordering::SeqCst)
    };
    assert_eq!(asked(100).await, asked(1).await);
}

#[tokio::test]
async fn who_was_resolved_is_not_looked_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let groups = || node.groups().map(|group| (group.shard(), group)).collect();
    let options = ClientOptions::default();
    let account = add_account(&client_of(groups(), options).await, "user").await;

    let copies = Arc::new(Counting {
        copies: groups(),
        ..Counting::default()
    });
    let client = client(&copies, options);
    let mut lane = client.open_lane().await.unwrap();
    let address = Address::parse("user@example.test").unwrap();
    client.resolve(&address).await.unwrap();
    let before = copies.meta.load(Ordering::SeqCst);
    let outcomes = client.deliver(&mut lane, delivery([account].into_iter()));
    let outcomes = outcomes.await.unwrap();
    assert!(matches!(outcomes[..], [Ok(DeliveryOutcome::Delivered(_))]));
    assert_eq!(copies.meta.load(Ordering::SeqCst), before);
    node.shutdown().await;
}
