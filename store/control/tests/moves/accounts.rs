//! An account moves while it is written, read and delivered to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mailrook_mailbox::{Change, DeliveryKey, DeliveryOutcome, MailboxRef};
use mailrook_meta::{
    AccountMove, AccountRecord, MetaAnswer, MetaCommand, MetaQuery, MetaReply, MoveState,
    NewAccount,
};
use mailrook_store_api::{
    Append, Delivery, DeliveryRecipient, Directory, Mailstore, PreparedMessage,
};
use mailrook_store_client::Client;
use mailrook_types::{
    AccountId, Address, Domain, FlagUpdate, Flags, MailboxName, ShardId, SystemFlags, Timestamp,
    Uid, UidSet,
};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::rig::{self, Cluster, Mortal, PATIENCE};

/// Between two messages of a client: each move copies all of them.
const PAUSE: Duration = Duration::from_millis(30);

pub(crate) async fn add_account(client: &Client) -> AccountRecord {
    let domain = Domain::parse("example.test").unwrap();
    let added = Directory::command(client, MetaCommand::AddDomain(domain)).await;
    assert!(matches!(added, Ok(MetaReply::Done)), "{added:?}");
    let new = NewAccount {
        address: Address::parse("someone@example.test").unwrap(),
        credential: None,
        quota_storage_bytes: None,
        quota_messages: None,
    };
    match Directory::command(client, MetaCommand::AddAccount(new)).await {
        Ok(MetaReply::Account(record)) => *record,
        other => panic!("{other:?}"),
    }
}

/// What was acknowledged.
pub(crate) struct Ledger {
    account: AccountId,
    /// The text of each message by its UID.
    pub(crate) there: Mutex<BTreeMap<Uid, String>>,
    removed: Mutex<BTreeSet<Uid>>,
    /// Those whose removal was asked for.
    may_be_removed: Mutex<BTreeSet<Uid>>,
    next: AtomicU64,
    pub(crate) stop: AtomicBool,
    pub(crate) slowest_ms: AtomicU64,
}

pub(crate) fn inbox() -> MailboxRef {
    MailboxRef::Name(MailboxName::inbox())
}

pub(crate) fn message(text: &str) -> Arc<PreparedMessage> {
    let raw = format!("Subject: {text}\r\n\r\n{text}\r\n");
    Arc::new(PreparedMessage::new(raw.as_bytes()).unwrap())
}

/// Now and then one that goes in pieces.
fn text(number: u64) -> String {
    match number % 40 {
        7 => format!("{number} ").repeat(100_000),
        _ => format!("message {number}"),
    }
}

impl Ledger {
    pub(crate) fn new(account: AccountId) -> Arc<Ledger> {
        Arc::new(Ledger {
            account,
            there: Mutex::default(),
            removed: Mutex::default(),
            may_be_removed: Mutex::default(),
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            slowest_ms: AtomicU64::new(0),
        })
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn text(&self) -> String {
        text(self.next.fetch_add(1, Ordering::SeqCst))
    }

    fn took(&self, begun: Instant) {
        let took = begun.elapsed().as_millis() as u64;
        self.slowest_ms.fetch_max(took, Ordering::SeqCst);
    }

    /// Appends, marks, and removes every third one.
    pub(crate) async fn write_on(&self, client: Client) {
        let mut lane = client.open_lane().await.unwrap();
        let store: &dyn Mailstore = &client;
        let status = store.status(self.account, inbox()).await.unwrap().unwrap();
        let mut number = 0;
        while !self.is_over() {
            let text = self.text();
            let messages = vec![(message(&text), Flags::default(), Timestamp(0))];
            let mailbox = inbox();
            let begun = Instant::now();
            let append = Append { mailbox, messages };
            let appended = store.append(&mut lane, self.account, append).await;
            self.took(begun);
            let uids = appended.unwrap().unwrap().uids;
            let uid = uids.first().unwrap();
            let before = self.there.lock().insert(uid, text);
            assert_eq!(before, None, "{uid} was given twice");
            number += 1;
            if number % 3 == 0 {
                self.may_be_removed.lock().insert(uid);
            }
            let change = match number % 3 {
                0 => Change::Remove {
                    mailbox: status.id,
                    uids,
                },
                _ => Change::StoreFlags {
                    mailbox: status.id,
                    uids,
                    unchanged_since: None,
                    update: FlagUpdate::Add,
                    flags: Flags::system(SystemFlags::SEEN),
                },
            };
            let begun = Instant::now();
            store
                .change(&mut lane, self.account, change)
                .await
                .unwrap()
                .unwrap();
            self.took(begun);
            if number % 3 == 0 {
                self.removed.lock().insert(uid);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Delivers each message twice, as one whose acknowledgement was lost.
    pub(crate) async fn deliver_on(&self, client: Client) {
        let mut lane = client.open_lane().await.unwrap();
        let mut confirmed = Vec::new();
        while !self.is_over() {
            let text = self.text();
            let delivery = |confirmed: &[_]| Delivery {
                message: message(&text),
                received: Timestamp(0),
                key: Some(DeliveryKey(*blake3::hash(text.as_bytes()).as_bytes())),
                recipients: vec![DeliveryRecipient {
                    account: self.account,
                    mailbox: None,
                    prefix: Vec::new().into(),
                    flags: Flags::default(),
                }],
                confirmed: confirmed.to_vec(),
            };
            let mut places = Vec::new();
            for _ in 0..2 {
                let begun = Instant::now();
                let taken = std::mem::take(&mut confirmed);
                let done = client.deliver(&mut lane, delivery(&taken)).await.unwrap();
                self.took(begun);
                match &done[0] {
                    Ok(DeliveryOutcome::Delivered(place) | DeliveryOutcome::Duplicate(place)) => {
                        places.push(*place);
                    }
                    other => panic!("not delivered: {other:?}"),
                }
            }
            assert_eq!(places[0], places[1], "it is there twice");
            let before = self.there.lock().insert(places[0].uid, text.clone());
            assert_eq!(before, None, "{} was given twice", places[0].uid);
            confirmed.push(mailrook_mailbox::Confirmation {
                account: self.account,
                mailbox: places[0].mailbox,
                uid: places[0].uid,
                key: DeliveryKey(*blake3::hash(text.as_bytes()).as_bytes()),
            });
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What was acknowledged before it is read is there.
    pub(crate) async fn read_on(&self, client: Client) {
        while !self.is_over() {
            let removed = self.removed.lock().clone();
            let before: Vec<Uid> = self.there.lock().keys().copied().collect();
            let found = self.uids(&client).await;
            for uid in before {
                // Every third one is removed, some of them between the two looks.
                let may_be_gone = self.may_be_removed.lock().contains(&uid);
                assert!(found.contains(uid) || may_be_gone, "{uid} is lost");
                assert!(
                    !found.contains(uid) || !removed.contains(&uid),
                    "{uid} is back"
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn uids(&self, client: &Client) -> UidSet {
        let store: &dyn Mailstore = client;
        let status = store.status(self.account, inbox()).await.unwrap().unwrap();
        let uids = store.uids(self.account, status.id).await.unwrap();
        uids.unwrap()
    }

    /// All that was acknowledged is there, once, and nothing else.
    pub(crate) async fn verify(&self, client: &Client) {
        let store: &dyn Mailstore = client;
        let mut expected = self.there.lock().clone();
        expected.retain(|uid, _| !self.removed.lock().contains(uid));
        let status = store.status(self.account, inbox()).await.unwrap().unwrap();
        let found: Vec<Uid> = self.uids(client).await.iter().collect();
        let wanted: Vec<Uid> = expected.keys().copied().collect();
        assert_eq!(found, wanted);
        for (uid, text) in expected {
            let uids: UidSet = [uid].into_iter().collect();
            let details = store.details(self.account, status.id, uids, 1).await;
            let detail = &details.unwrap().unwrap()[0];
            let expected = format!("Subject: {text}\r\n\r\n{text}\r\n");
            let mut found = Vec::new();
            while (found.len() as u32) < detail.body_size {
                let at = found.len() as u32;
                let piece = store.body(self.account, detail.hash, at, detail.body_size);
                found.extend_from_slice(&piece.await.unwrap());
            }
            assert!(found == expected.as_bytes(), "{uid} is another message");
        }
    }
}

pub(crate) async fn shard_of(client: &Client, account: AccountId) -> ShardId {
    match Directory::query(client, MetaQuery::AccountById(account)).await {
        Ok(MetaAnswer::Account(Some(record))) => record.shard,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn ask_for(client: &Client, account: AccountId) {
    let to = ShardId(3 - shard_of(client, account).await.0);
    let accounts = vec![account];
    let asked = Directory::command(client, MetaCommand::MoveAccounts { accounts, to }).await;
    assert!(matches!(asked, Ok(MetaReply::AccountMoves(_))), "{asked:?}");
}

pub(crate) type Step = rig::Step<AccountMove>;

/// A mover that dies at its nth command, or is held up there. Says how the move stands if it came through.
pub(crate) async fn control(
    client: Client,
    left: i64,
    carried_out: bool,
    held: &mut Vec<(Arc<Mortal>, Step)>,
) -> Option<AccountMove> {
    let mortal = Mortal::new(client, left, carried_out);
    let mover = mortal.account_mover();
    let due = mover.due(&BTreeSet::new(), &BTreeSet::new(), 1).await;
    let pending = due.unwrap().pop()?;
    let step = tokio::spawn(async move { mover.carry_on(&pending).await });
    mortal.until_end(step, left % 2 == 0, held).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_wherever_a_mover_dies() {
    let mut cluster = Cluster::new(3).await;
    let ids = cluster.ids();
    let client = cluster.client(ids[0]);
    let account = add_account(&client).await.id;
    let ledger = Ledger::new(account);
    let mut users = JoinSet::new();
    for id in [ids[0], ids[1]] {
        let (writes, client) = (Arc::clone(&ledger), cluster.client(id));
        users.spawn(async move { writes.write_on(client).await });
        let (delivers, client) = (Arc::clone(&ledger), cluster.client(id));
        users.spawn(async move { delivers.deliver_on(client).await });
        let (reads, client) = (Arc::clone(&ledger), cluster.client(id));
        users.spawn(async move { reads.read_on(client).await });
    }
    let mut held: Vec<(Arc<Mortal>, Step)> = Vec::new();
    let (mut done, mut failed) = (0, 0);
    // A move is some twenty commands: each is the last one of a mover that it reaches, and of one that it does not.
    for death in 0..60 {
        if death == 20 {
            cluster.crash(ids[2]);
        }
        if death == 40 {
            cluster.start(ids[2]).await;
        }
        ask_for(&client, account).await;
        control(client.clone(), death / 2, death % 2 == 1, &mut held).await;
        let begun = Instant::now();
        // The next ones go on.
        while let Some(of) = control(client.clone(), i64::MAX, false, &mut held).await {
            match of.state {
                MoveState::Done => done += 1,
                MoveState::Failed(_) => failed += 1,
                _ => {}
            }
            assert!(begun.elapsed() < PATIENCE, "no end: {of:?}");
        }
        if held.len() > 3 {
            // What was held up for long goes on, whatever became of its move.
            let (mortal, step) = held.remove(0);
            mortal.resume.notify_one();
            let _ = step.await.unwrap();
        }
    }
    for (mortal, step) in held {
        mortal.resume.notify_one();
        let _ = step.await.unwrap();
    }
    ledger.stop.store(true, Ordering::SeqCst);
    while let Some(ended) = users.join_next().await {
        ended.unwrap();
    }
    let sent = ledger.there.lock().len();
    eprintln!(
        "{done} moves, {failed} given up, {sent} messages, the slowest call took {} ms",
        ledger.slowest_ms.load(Ordering::SeqCst)
    );
    assert!(done > 20, "{done} moved");
    for id in ids {
        ledger.verify(&cluster.client(id)).await;
    }
    for shard in [1, 2] {
        cluster.verify(ShardId(shard)).await;
    }
    cluster.end().await;
}
