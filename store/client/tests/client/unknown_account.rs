//! An account that the directory has and its shard goes on not knowing: nobody is told that it does not exist.

use crate::rig::{Meddler, add_account, meddled_client, open};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_cluster::{Group, GroupError};
use mailrook_kv::{MemoryStore, Read, Store};
use mailrook_mailbox::{AccountCommand, Change, MailboxRef, Refusal, ShardCommand, ShardReply};
use mailrook_store_api::{Mailstore, StoreError};
use mailrook_store_client::ClientOptions;
use mailrook_types::{MailboxName, ShardId};

/// Takes new accounts and shows none.
struct Forgetful;

impl Meddler for Forgetful {
    fn propose<'a>(
        &'a self,
        group: &'a dyn Group,
        command: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, GroupError>> {
        match ShardCommand::decode(&command) {
            Ok(ShardCommand::Account(AccountCommand { change, .. }))
                if group.shard() != ShardId::META && !matches!(change, Change::Account(_)) =>
            {
                let refused = ShardReply::Account(Err(Refusal::NoSuchAccount));
                async move { Ok(refused.encode().into()) }.boxed()
            }
            _ => group.propose(command),
        }
    }

    fn visit_state(
        &self,
        group: &dyn Group,
        visit: &mut dyn FnMut(&dyn Read, i64),
    ) -> Result<(), GroupError> {
        if group.shard() == ShardId::META {
            return group.visit_state(visit);
        }
        visit(&MemoryStore::new().snapshot(), 0);
        Ok(())
    }
}

#[tokio::test]
async fn what_its_shard_does_not_know_is_not_absent() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let client = meddled_client(&node, ClientOptions::default(), || Forgetful).await;
    let account = add_account(&client, "user").await;

    let mut lane = client.open_lane().await.unwrap();
    let inbox = MailboxName::inbox();
    let subscribe = Change::Subscribe {
        name: inbox.clone(),
        subscribed: true,
    };
    let changed = client.change(&mut lane, account, subscribe).await;
    assert!(
        matches!(changed, Err(StoreError::Unavailable(_))),
        "{changed:?}"
    );

    let store: &dyn Mailstore = &client;
    let status = store.status(account, MailboxRef::Name(inbox)).await;
    assert!(
        matches!(status, Err(StoreError::Unavailable(_))),
        "{status:?}"
    );
    node.shutdown().await;
}
