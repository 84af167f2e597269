//! A store that fails once: at any call, SEARCH says so instead of finding less, POP3 instead of cutting a message, and
//! what IMAP has changed is told all the same. And one in which another session comes between two calls.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use bytes::Bytes;
use futures::{FutureExt, TryFutureExt};
use mailrook_store_api::{
    Append, Call, Delivery, Lane, MaildropLock, Mailstore, StoreError, Watch,
    memory::MemoryCluster,
    shard::{
        Answer, Appended, Change, ChangeReply, Confirmation, DeliveryOutcome, MailboxRef,
        MaildropCommand, Query, Refusal,
    },
};
use mailrook_types::{AccountId, BlobHash, FlagUpdate, Flags, MailboxName, SystemFlags, Uid};
use parking_lot::Mutex;

use super::rig::{Door, Rig};
use crate::SessionContext;

/// The twin, whose reads fail once, after so many that do not.
struct Flaky {
    twin: MemoryCluster,
    left: Arc<AtomicI64>,
    /// What somebody else does, just after the query that would have failed.
    between: Between,
}

type Between = Arc<Mutex<Option<Change>>>;

impl Flaky {
    fn fails(&self) -> bool {
        self.left.fetch_sub(1, Ordering::SeqCst) == 0
    }
}

/// However much there is to tell, a session holds little of it at a time.
fn hold_few(answer: &Answer) {
    let entries = match answer {
        Answer::Changes(changes) => changes.changed.len(),
        Answer::Index(entries) => entries.len(),
        _ => return,
    };
    assert!(entries <= 4096, "{entries} at a time");
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

    fn settle(&self, confirmations: Vec<Confirmation>) -> Call<'_, ()> {
        self.twin.settle(confirmations)
    }

    fn maildrop(&self, command: MaildropCommand) -> Call<'_, Result<MaildropLock, Refusal>> {
        self.twin.maildrop(command)
    }

    fn query(&self, account: AccountId, query: Query) -> Call<'_, Answer> {
        if !self.fails() {
            let answer = Mailstore::query(&self.twin, account, query);
            return answer.inspect_ok(hold_few).boxed();
        }
        let Some(change) = self.between.lock().take() else {
            return failure();
        };
        async move {
            let answer = Mailstore::query(&self.twin, account, query).await;
            let mut lane = self.twin.open_lane().await?;
            self.twin.change(&mut lane, account, change).await?.unwrap();
            answer
        }
        .boxed()
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
    let (rig, left, _) = meddled_rig().await;
    (rig, left)
}

/// A rig whose store fails when it is told to, or lets somebody else come between.
async fn meddled_rig() -> (Rig, Arc<AtomicI64>, Between) {
    let mut rig = Rig::new().await;
    let left = Arc::new(AtomicI64::new(-1));
    let between = Between::default();
    let store = Flaky {
        twin: rig.twin.clone(),
        left: Arc::clone(&left),
        between: Arc::clone(&between),
    };
    rig.context = SessionContext::new(
        Arc::new(store),
        Arc::new(rig.twin.clone()),
        rig.context.logins.clone(),
        rig.context.working.clone(),
        rig.context.settings.clone(),
    );
    (rig, left, between)
}

/// Adds a flag to the first message of INBOX.
async fn flag_first(rig: &Rig, flag: SystemFlags) -> Change {
    let inbox = MailboxRef::Name(MailboxName::inbox());
    let store: &dyn Mailstore = &rig.twin;
    let status = store.status(rig.account, inbox).await.unwrap().unwrap();
    Change::StoreFlags {
        mailbox: status.id,
        uids: [Uid::MIN].into_iter().collect(),
        unchanged_since: None,
        update: FlagUpdate::Add,
        flags: Flags::system(flag),
    }
}

#[tokio::test]
async fn what_changes_while_changes_are_told_is_told_next() {
    let (rig, left, between) = meddled_rig().await;
    rig.add_numbered(4_100).await;
    let (mut one, mut two) = (rig.selected().await, rig.selected().await);
    for call in 0.. {
        two.play("C: b1 STORE 1:* +FLAGS.SILENT (\\Flagged)\nS~ b1 OK ...")
            .await;
        *between.lock() = Some(flag_first(&rig, SystemFlags::ANSWERED).await);
        left.store(call, Ordering::SeqCst);
        one.send(b"a1 NOOP\r\na2 NOOP\r\n").await;
        let lines = one.lines_until("a2 ").await;
        if left.swap(-1, Ordering::SeqCst) >= 0 {
            assert!(call > 2, "{call}");
            break;
        }
        let told = "* 1 FETCH (FLAGS (\\Answered \\Flagged))";
        assert!(lines.iter().any(|line| line == told), "call {call}");
        two.play("C: b2 STORE 1:* FLAGS.SILENT ()\nS~ b2 OK ...")
            .await;
        one.play("C: a3 NOOP\nS~ a3 OK ...").await;
    }
}

#[tokio::test]
async fn what_a_session_far_behind_has_missed_comes_in_pieces() {
    let (rig, _) = flaky_rig().await;
    let mut one = rig.selected().await;
    rig.add_numbered(5_000).await;
    rig.add_numbered(5_000).await;
    one.play("C: a1 NOOP\nS: * 10000 EXISTS\nS: * 0 RECENT\nS: a1 OK ...")
        .await;
    let mut two = rig.selected().await;
    for set in ["7000:*", "1:4999", "5000:6999"] {
        two.play(&format!(
            "C: b1 STORE {set} +FLAGS.SILENT (\\Flagged)\nS~ b1 OK ..."
        ))
        .await;
    }
    one.send(b"a2 NOOP\r\n").await;
    let mut told = [0; 10_000];
    for line in one.lines_until("a2 ").await {
        if let Some(line) = line.strip_suffix(" FETCH (FLAGS (\\Flagged))") {
            told[line[2..].parse::<usize>().unwrap() - 1] += 1;
        }
    }
    assert_eq!(told, [1; 10_000]);
}

#[tokio::test]
async fn an_expunge_that_cannot_be_told_promises_no_modseq() {
    let (rig, left) = flaky_rig().await;
    rig.add_numbered(4).await;
    let mut one = rig.logged_in().await;
    one.play(
        r"C: a1 ENABLE QRESYNC
          S~ a1 OK ...
          C: a2 SELECT INBOX
          S~ a2 OK ...
          C: a3 STORE 3 +FLAGS (\Deleted)
          S~ a3 OK ...",
    )
    .await;
    left.store(0, Ordering::SeqCst);
    one.play(
        "C: a4 EXPUNGE\nS: a4 OK EXPUNGE completed\nC: a5 NOOP\nS: * VANISHED 3\nS: a5 OK ...",
    )
    .await;
    left.store(0, Ordering::SeqCst);
    one.play(
        r"C: a6 MOVE 1 Archive
          S: * OK [COPYUID ... 1 1] ...
          S: a6 OK MOVE completed
          C: a7 NOOP
          S: * VANISHED 1
          S: a7 OK ...",
    )
    .await;
}

#[tokio::test]
async fn reading_hides_no_flag_that_another_sets() {
    let (rig, left, between) = meddled_rig().await;
    rig.add_numbered(1).await;
    let mut one = rig.selected().await;
    for call in 0.. {
        *between.lock() = Some(flag_first(&rig, SystemFlags::ANSWERED).await);
        left.store(call, Ordering::SeqCst);
        one.send(b"a1 FETCH 1 BODY[TEXT]\r\na2 NOOP\r\na4 NOOP\r\n")
            .await;
        let lines = one.lines_until("a4 ").await;
        if left.swap(-1, Ordering::SeqCst) >= 0 {
            assert!(call > 2, "{call}");
            break;
        }
        // Nobody comes between where a body is read.
        let came = between.lock().take().is_none();
        let told = |line: &String| line.contains("FLAGS (\\Answered \\Seen)");
        assert!(!came || lines.iter().any(told), "call {call}: {lines:?}");
        one.play("C: a3 STORE 1 FLAGS.SILENT ()\nS~ a3 OK ...")
            .await;
    }
}

#[tokio::test]
async fn what_reading_has_marked_is_told_even_if_it_cannot_be_read() {
    let (rig, left) = flaky_rig().await;
    rig.add_numbered(3).await;
    let mut marked = 0;
    for call in 0.. {
        let mut one = rig.selected().await;
        one.play("C: a0 STORE 1:3 FLAGS.SILENT ()\nS~ a0 OK ...")
            .await;
        left.store(call, Ordering::SeqCst);
        // A failure amid a message ends the session.
        one.send(b"a1 FETCH 1:3 BODY[TEXT]\r\na2 NOOP\r\n").await;
        let mut lines = Vec::new();
        while let Some(line) = one.line().await {
            let is_last = line.starts_with("a2 ");
            lines.push(line);
            if is_last {
                break;
            }
        }
        if left.swap(-1, Ordering::SeqCst) >= 0 {
            break;
        }
        if !lines.iter().any(|line| line.starts_with("a2 OK")) {
            continue;
        }
        let mut two = rig.selected().await;
        two.send(b"b1 FETCH 1:3 FLAGS\r\n").await;
        for line in two.lines_until("b1 ").await {
            let Some((message, _)) = line.split_once(" (FLAGS (\\Seen))") else {
                continue;
            };
            marked += 1;
            let told = |line: &String| line.starts_with(message) && line.contains("FLAGS (\\Seen)");
            assert!(lines.iter().any(told), "call {call}, {message}: {lines:?}");
        }
    }
    assert!(marked >= 3, "{marked}");
}

#[tokio::test]
async fn what_a_store_cannot_tell_at_once_is_told_all_the_same() {
    let (rig, left) = flaky_rig().await;
    rig.add_numbered(2).await;
    let mut one = rig.selected().await;
    for call in 0.. {
        left.store(call, Ordering::SeqCst);
        one.send(b"a1 STORE 1 +FLAGS (\\Flagged)\r\na2 NOOP\r\n")
            .await;
        let lines = one.lines_until("a2 ").await;
        let has_failed = left.swap(-1, Ordering::SeqCst) < 0;
        let told = "* 1 FETCH (FLAGS (\\Flagged))";
        assert!(
            lines.iter().any(|line| line == told),
            "call {call}: {lines:?}"
        );
        if !has_failed {
            assert!(call > 2, "{call}");
            break;
        }
        one.play("C: a3 STORE 1 FLAGS.SILENT ()\nS~ a3 OK ...")
            .await;
    }
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
async fn a_message_comes_whole_or_is_refused() {
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
        let refused = lines[0].starts_with("-ERR [SYS/TEMP]");
        assert_ne!(whole, refused, "call {call}");
        let expected = if whole { 1 + 2 + 40_000 + 2 } else { 2 };
        assert_eq!(lines.len(), expected, "call {call}");
        outcomes.push(refused);
    }
    // The details and the first piece can still be refused, the later pieces are asked for again.
    assert_eq!(outcomes[..3], [true, true, false]);
}

#[tokio::test]
async fn a_fetch_goes_on_where_the_back_end_died() {
    let (rig, left) = flaky_rig().await;
    let text = "a line of a long message\n".repeat(40_000);
    rig.add_mail(&[&format!("Subject: long\n\n{text}")]).await;
    let mut client = rig.selected().await;
    for item in ["BODY.PEEK[]", "BINARY.PEEK[1]"] {
        let mut whole = 0;
        for call in 0.. {
            left.store(call, Ordering::SeqCst);
            client
                .send(format!("a1 FETCH 1 {item}\r\n").as_bytes())
                .await;
            let lines = client.lines_until("a1 ").await;
            let has_failed = left.swap(-1, Ordering::SeqCst) < 0;
            let is_whole = lines.len() > 40_000;
            whole += usize::from(is_whole && has_failed);
            match lines.last().unwrap() {
                end if is_whole => assert!(end.starts_with("a1 OK"), "{item}, call {call}: {end}"),
                end => assert!(
                    end.starts_with("a1 NO [UNAVAILABLE]"),
                    "{item}, call {call}: {end}"
                ),
            }
            if !has_failed {
                break;
            }
        }
        assert!(whole >= 3, "{item}: {whole} went on in the middle");
    }
}
