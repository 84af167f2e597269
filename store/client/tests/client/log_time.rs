//! What has expired is decided by the log's time, also where a machine's clock was set (DESIGN, "Log time").

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use mailrook_cluster::{Group, GroupError};
use mailrook_kv::Read;
use mailrook_mailbox::{MailboxRef, ShardCommand, TableId, TableOp};
use mailrook_store_api::{Append, Mailstore, Shared};
use mailrook_store_client::ClientOptions;
use mailrook_types::{Flags, MailboxName, ShardId, Timestamp};
use parking_lot::Mutex;

use crate::rig::{Meddler, add_account, meddled_client, message, open};

const HOUR: Duration = Duration::from_secs(3600);

/// The log's time is apart from this machine's clock.
struct Apart {
    by_ms: Arc<AtomicI64>,
    /// When the uploads that were sent expire.
    uploads: Arc<Mutex<Vec<Timestamp>>>,
}

impl Meddler for Apart {
    fn propose<'a>(
        &'a self,
        group: &'a dyn Group,
        command: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, GroupError>> {
        if group.shard() != ShardId::META
            && let Ok(ShardCommand::Upload(upload)) = ShardCommand::decode(&command)
        {
            self.uploads.lock().push(upload.expires);
        }
        group.propose(command)
    }

    fn visit_state(
        &self,
        group: &dyn Group,
        visit: &mut dyn FnMut(&dyn Read, i64),
    ) -> Result<(), GroupError> {
        let by_ms = self.by_ms.load(Ordering::Relaxed);
        group.visit_state(&mut |state, time_ms| visit(state, time_ms + by_ms))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_decided_by_the_logs_time() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let by_ms = Arc::new(AtomicI64::new(0));
    let uploads = Arc::new(Mutex::new(Vec::new()));
    let apart = || Apart {
        by_ms: Arc::clone(&by_ms),
        uploads: Arc::clone(&uploads),
    };
    let client = meddled_client(&node, ClientOptions::default(), apart).await;
    let hours = |hours: i64| by_ms.store(hours * HOUR.as_millis() as i64, Ordering::Relaxed);

    let (table, key) = (TableId(7), b"key".to_vec());
    let put = TableOp::Put {
        value: b"value".to_vec(),
        expires: Some(Timestamp::now().saturating_add(HOUR)),
    };
    client
        .update(vec![(table, key.clone(), put)])
        .await
        .unwrap();
    for (ahead, found) in [(0, 1), (2, 0), (-2, 1)] {
        hours(ahead);
        let value = client.get(table, key.clone()).await.unwrap();
        let scanned = client.scan(table, Vec::new(), 9).await.unwrap();
        assert_eq!((value.iter().count(), scanned.len()), (found, found));
    }

    // Uploads last as long, wherever this machine's clock is.
    hours(10);
    let account = add_account(&client, "a").await;
    // So much that it does not travel with its command.
    let words = (0..100_000).map(|_| format!("{:08x} ", rand::random::<u32>()));
    let messages = [message(&words.collect::<String>())];
    let append = Append {
        mailbox: MailboxRef::Name(MailboxName::inbox()),
        messages: messages
            .map(|message| (message, Flags::default(), Timestamp::now()))
            .into(),
    };
    let mut lane = client.open_lane().await.unwrap();
    client
        .append(&mut lane, account, append)
        .await
        .unwrap()
        .unwrap();
    let earliest = Timestamp::now().saturating_add(10 * HOUR);
    let uploads = uploads.lock();
    assert!(!uploads.is_empty() && uploads.iter().all(|expires| *expires > earliest));
}
