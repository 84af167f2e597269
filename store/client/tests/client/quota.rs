//! A quota has two halves, the directory's and the shard's. However two changes of it meet, the halves agree in the end. On a
//! real node, with a command to the shard that can be held up.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_cluster::{Group, GroupError};
use mailrook_mailbox::AccountChange;
use mailrook_meta::MetaCommand;
use mailrook_store_api::{Directory, Mailstore};
use mailrook_store_client::ClientOptions;
use mailrook_types::{Address, ShardId};

use crate::rig::{Hold, Meddler, account_change, add_account, meddled_client, open};

/// Holds up changes of a quota on their way to the shard.
struct Held(Arc<Hold>);

impl Meddler for Held {
    fn propose<'a>(
        &'a self,
        group: &'a dyn Group,
        command: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, GroupError>> {
        async move {
            let change = account_change(&command).filter(|_| group.shard() != ShardId::META);
            if matches!(change, Some(AccountChange::SetQuota(_))) {
                self.0.pass().await;
            }
            group.propose(command).await
        }
        .boxed()
    }
}

#[tokio::test]
async fn the_change_that_the_directory_has_last_holds_on_the_shard() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let hold = Arc::new(Hold::default());
    hold.next.store(1, Ordering::SeqCst);
    let held = || Held(Arc::clone(&hold));
    let client = meddled_client(&node, ClientOptions::default(), held).await;
    let account = add_account(&client, "a").await;
    let set = |storage_bytes: u64| {
        client.command(MetaCommand::SetQuota {
            address: Address::parse("a@example.test").unwrap(),
            storage_bytes: Some(storage_bytes),
            messages: None,
        })
    };
    let first = set(1_000_000);
    let second = async {
        hold.held.notified().await;
        set(5_000_000).await.unwrap();
        hold.release.notify_one();
    };
    let (first, ()) = tokio::join!(first, second);
    first.unwrap();
    let store: &dyn Mailstore = &client;
    let usage = store.quota(account).await.unwrap().unwrap();
    assert_eq!(usage.limit.storage_bytes, Some(5_000_000));
}
