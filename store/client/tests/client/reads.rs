//! A read that takes long holds up nobody on its thread; one of a message changes no thread.

use std::{
    sync::{Arc, mpsc},
    thread::ThreadId,
};

use mailrook_cluster::{Group, GroupError};
use mailrook_kv::Read;
use mailrook_mailbox::MailboxRef;
use mailrook_store_api::{Append, Mailstore};
use mailrook_store_client::{Client, ClientOptions};
use mailrook_types::{AccountId, Flags, MailboxId, MailboxName, ModSeq, Timestamp, Uid, UidSet};
use parking_lot::Mutex;

use crate::rig::{Meddler, add_account, meddled_client, message, open};

/// A slow disk: reads on other threads than the first wait to be let through.
struct Slow {
    serving: ThreadId,
    let_through: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Meddler for Slow {
    fn visit_state(
        &self,
        group: &dyn Group,
        visit: &mut dyn FnMut(&dyn Read, i64),
    ) -> Result<(), GroupError> {
        if std::thread::current().id() != self.serving {
            self.let_through.lock().recv().unwrap();
        }
        group.visit_state(visit)
    }
}

/// INBOX with so many messages.
async fn fill(client: &Client, count: usize) -> (AccountId, MailboxId) {
    let account = add_account(client, "a").await;
    let inbox = MailboxRef::Name(MailboxName::inbox());
    let mut lane = client.open_lane().await.unwrap();
    let message = message("one of many");
    for _ in 0..count / 100 {
        let one = (Arc::clone(&message), Flags::default(), Timestamp::now());
        let append = Append {
            mailbox: inbox.clone(),
            messages: vec![one; 100],
        };
        let appended = client.append(&mut lane, account, append).await.unwrap();
        assert_eq!(appended.unwrap().uids.len(), 100);
    }
    let store: &dyn Mailstore = client;
    let status = store.status(account, inbox).await.unwrap().unwrap();
    (account, status.id)
}

#[tokio::test]
async fn a_long_read_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let (release, let_through) = mpsc::channel();
    let let_through = Arc::new(Mutex::new(let_through));
    let slow = || Slow {
        serving: std::thread::current().id(),
        let_through: Arc::clone(&let_through),
    };
    let client = meddled_client(&node, ClientOptions::default(), slow).await;
    let (account, inbox) = fill(&client, 1000).await;

    let store: &dyn Mailstore = &client;
    let uids = |last| UidSet::from_range(Uid::MIN..=Uid::new(last).unwrap());
    let long = async {
        let all = uids(1000);
        let index = store.index(account, inbox, all.clone(), 1000).await;
        assert_eq!(index.unwrap().unwrap().len(), 1000);
        let changes = store.changes(account, inbox, ModSeq(1), None, (None, 1000));
        assert_eq!(changes.await.unwrap().unwrap().changed.len(), 1000);
        let details = store.details(account, inbox, all, 128).await;
        assert_eq!(details.unwrap().unwrap().len(), 128);
    };
    tokio::pin!(long);
    for _ in 0..3 {
        // All on this one thread, while the long read is let through by nobody.
        for _ in 0..100 {
            assert!(futures::poll!(&mut long).is_pending());
            let index = store.index(account, inbox, uids(1), 9).await;
            assert_eq!(index.unwrap().unwrap().len(), 1);
            let details = store.details(account, inbox, uids(1), 9).await;
            assert_eq!(details.unwrap().unwrap().len(), 1);
            let last = store.changes(account, inbox, ModSeq(10), None, (None, 1000));
            assert_eq!(last.await.unwrap().unwrap().changed.len(), 100);
        }
        release.send(()).unwrap();
    }
    long.await;
}
