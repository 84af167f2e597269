//! A store that fails once: at any call, SEARCH says so instead of finding less, and POP3 instead of cutting a message.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use bytes::Bytes;
use futures::FutureExt;
use mailrook_store_api::{
    Append, Call, Delivery, Lane, Mailstore, StoreError, Watch,
    memory::MemoryCluster,
    shard::{Answer, Appended, Change, ChangeReply, Confirmation, DeliveryOutcome, Query, Refusal},
};
use mailrook_types::{AccountId, BlobHash};

use super::rig::{Door, Rig};
use crate::SessionContext;

/// The twin, whose reads fail once, after so many that do not.
struct Flaky {
    twin: MemoryCluster,
    left: Arc<AtomicI64>,
}

impl Flaky {
    fn fails(&self) -> bool {
        self.left.fetch_sub(1, Ordering::SeqCst) == 0
    }
}

fn failure<T>() -> Call<'static, T> {
    async { Err(StoreError::Unavailable("once".to_owned())) }.boxed()
}

impl Mailstore for Flaky {
    fn open_lane(&self) -> Call<'_, Lane> {
        self.twin.open_lane()
    }

    fn change<'a>(
        &'a self,
        lane: &'a mut Lane,
        account: AccountId,
        change: Change,
    ) -> Call<'a, Result<ChangeReply, Refusal>> {
        self.twin.change(lane, account, change)
    }

    fn append<'a>(
        &'a self,
        lane: &'a mut Lane,
        account: AccountId,
        append: Append,
    ) -> Call<'a, Result<Appended, Refusal>> {
        self.twin.append(lane, account, append)
    }

    fn deliver<'a>(
        &'a self,
        lane: &'a mut Lane,
        delivery: Delivery,
    ) -> Call<'a, Vec<Result<DeliveryOutcome, StoreError>>> {
        self.twin.deliver(lane, delivery)
    }

    fn confirm(&self, confirmations: Vec<Confirmation>) -> Call<'_, ()> {
        self.twin.confirm(confirmations)
    }

    fn query(&self, account: AccountId, query: Query) -> Call<'_, Answer> {
        if self.fails() {
            return failure();
        }
        Mailstore::query(&self.twin, account, query)
    }

    fn body(&self, account: AccountId, hash: BlobHash, start: u32, end: u32) -> Call<'_, Bytes> {
        if self.fails() {
            return failure();
        }
        self.twin.body(account, hash, start, end)
    }

    fn watch(&self, account: AccountId) -> Call<'_, Watch> {
        self.twin.watch(account)
    }
}

/// A rig whose store fails when it is told to.
async fn flaky_rig() -> (Rig, Arc<AtomicI64>) {
    let mut rig = Rig::new().await;
    let left = Arc::new(AtomicI64::new(-1));
    let store = Flaky {
        twin: rig.twin.clone(),
        left: Arc::clone(&left),
    };
    rig.context = SessionContext::new(
        Arc::new(store),
        Arc::new(rig.twin.clone()),
        rig.context.logins.clone(),
        rig.context.working.clone(),
        rig.context.settings.clone(),
    );
    (rig, left)
}

#[tokio::test]
async fn a_search_finds_all_or_fails() {
    let (rig, left) = flaky_rig().await;
    rig.add_numbered(100).await;
    let mut client = rig.selected().await;
    let mut failed = 0;
    for call in 0.. {
        left.store(call, Ordering::SeqCst);
        client
            .send(b"a SEARCH BODY \"7\" NOT TEXT \"body 7\" NOT SUBJECT 7x\r\n")
            .await;
        let lines = client.lines_until("a ").await;
        if left.load(Ordering::SeqCst) >= 0 {
            // All calls were made, and none of them failed.
            assert!(lines[0].starts_with("* SEARCH 17 27"), "{lines:?}");
            break;
        }
        failed += 1;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("a NO [UNAVAILABLE]"), "{lines:?}");
    }
    assert!(failed > 20, "{failed}");
}

#[tokio::test]
async fn a_message_comes_whole_or_is_seen_to_break_off() {
    let (rig, left) = flaky_rig().await;
    let line = "a line of a long message\n";
    rig.add_mail(&[&format!("Subject: long\n\n{}", line.repeat(40_000))])
        .await;
    let mut outcomes = Vec::new();
    for call in 0.. {
        let door = Door {
            pop3: true,
            ..Door::default()
        };
        let mut client = rig.connect(door);
        client
            .play("S: +OK ...\nC: USER user1@example.test\nS: +OK ...\nC: PASS secret\nS: +OK ...")
            .await;
        left.store(call, Ordering::SeqCst);
        client.send(b"RETR 1\r\nQUIT\r\n").await;
        let mut lines = Vec::new();
        while let Some(line) = client.line().await {
            lines.push(line);
        }
        client.session.await.unwrap();
        if left.load(Ordering::SeqCst) >= 0 {
            assert_eq!(lines.len(), 1 + 2 + 40_000 + 2);
            break;
        }
        let whole = lines.iter().any(|line| line == ".");
        assert!(!whole, "call {call}");
        outcomes.push(lines[0].starts_with("-ERR [SYS/TEMP]"));
        // What was told as a message does not end as one; what was refused is followed by the goodbye.
        assert_eq!(lines.len() == 2, outcomes[outcomes.len() - 1]);
    }
    // The details and the first piece can still be refused, the later pieces cannot.
    assert_eq!(outcomes[..3], [true, true, false]);
}
