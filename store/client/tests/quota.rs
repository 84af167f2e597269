//! A quota has two halves, the directory's and the shard's. However two changes of it meet, the halves agree in the end. On a
//! real node, with a command to the shard that can be held up.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_cluster::{Group, GroupError};
use mailrook_mailbox::{AccountChange, AccountCommand, Change, ShardCommand};
use mailrook_meta::MetaCommand;
use mailrook_store_api::{Directory, Mailstore};
use mailrook_store_client::ClientOptions;
use mailrook_types::{Address, ShardId};
use tokio::sync::Notify;

mod rig;

use rig::{Meddler, add_account, meddled_client, open};

/// Holds up the first change of a quota on its way to the shard.
#[derive(Default)]
struct Hold {
    done: AtomicBool,
    held: Notify,
    release: Notify,
}

struct Held(Arc<Hold>);

impl Meddler for Held {
    fn propose<'a>(
        &'a self,
        group: &'a dyn Group,
        command: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, GroupError>> {
        async move {
            let Held(hold) = self;
            if group.shard() != ShardId::META
                && sets_quota(&command)
                && !hold.done.swap(true, Ordering::SeqCst)
            {
                hold.held.notify_one();
                hold.release.notified().await;
            }
            group.propose(command).await
        }
        .boxed()
    }
}

fn sets_quota(command: &[u8]) -> bool {
    matches!(
        ShardCommand::decode(command),
        Ok(ShardCommand::Account(AccountCommand {
            change: Change::Account(AccountChange::SetQuota(_)),
            ..
        }))
    )
}

#[tokio::test]
async fn the_change_that_the_directory_has_last_holds_on_the_shard() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let hold = Arc::new(Hold::default());
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
