//! The in-memory twin of the store: one shard and the directory, each the real state machine over a map.
//!
//! It forgets everything with its process, and it can be told to be out of reach, so that what is built on the traits
//! is tested without RocksDB and Raft.

mod queue;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;
use mailrook_kv::{Applied, MemoryStore, Overlay, Read, StateMachine, Store};
use mailrook_mailbox::{
    AccountChange, AccountCommand, Answer, AppendTo, Appended, BodySource, Change, ChangeReply,
    Chunk, Confirmation, Deliver, DeliveryOutcome, MaildropCommand, MaildropReply, NewMessage,
    Query, QuotaLimit, RecipientDelivery, Refusal, Shard, ShardCommand, ShardReply, TableCommand,
    TableId, TableOp, TableReply,
};
use mailrook_meta::{AccountRecord, Meta, MetaAnswer, MetaCommand, MetaQuery, MetaReply};
use mailrook_types::{AccountId, BlobHash, ClientId, ModSeq, OpId, ShardId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    Append, Call, Delivery, Directory, Intent, Lane, MaildropLock, Mailstore, PreparedMessage,
    Shared, StoreError, Watch, prepared,
};

/// The twin, as one process sees it. Clones share all of it.
#[derive(Clone)]
pub struct MemoryCluster(Arc<State>, Arc<Process>);

/// A process that uses the twin.
struct Process {
    client: ClientId,
    reachable: AtomicBool,
}

impl Process {
    fn new(client: ClientId) -> Arc<Process> {
        Arc::new(Process {
            client,
            reachable: AtomicBool::new(true),
        })
    }
}

struct State {
    shard: Mutex<MemoryStore>,
    meta: Mutex<MemoryStore>,
    loses_answers: AtomicBool,
    locks_maildrops: AtomicBool,
    /// How far the log's time is ahead of this machine's clock.
    ahead_ms: AtomicI64,
    clients: AtomicU64,
    lanes: AtomicU64,
    watches: Mutex<HashMap<AccountId, watch::Sender<ModSeq>>>,
}

impl Default for MemoryCluster {
    fn default() -> MemoryCluster {
        let state = Arc::new(State {
            shard: Mutex::default(),
            meta: Mutex::default(),
            loses_answers: AtomicBool::new(false),
            locks_maildrops: AtomicBool::new(true),
            ahead_ms: AtomicI64::new(0),
            clients: AtomicU64::new(2),
            lanes: AtomicU64::new(1),
            watches: Mutex::default(),
        });
        let twin = MemoryCluster(state, Process::new(ClientId(1)));
        // A fresh store takes this, or no test would get further.
        twin.meta_command(&MetaCommand::SetShards(vec![ShardId(1)]))
            .expect("a fresh twin takes its one shard");
        twin
    }
}

impl MemoryCluster {
    /// An empty twin.
    pub fn new() -> MemoryCluster {
        MemoryCluster::default()
    }

    /// The same twin, as another process sees it.
    pub fn another_process(&self) -> MemoryCluster {
        let client = ClientId(self.0.clients.fetch_add(1, Ordering::Relaxed));
        MemoryCluster(Arc::clone(&self.0), Process::new(client))
    }

    /// Makes every call of this process answer [`StoreError::Unavailable`], or lets them through again.
    pub fn set_reachable(&self, reachable: bool) {
        self.1.reachable.store(reachable, Ordering::SeqCst);
    }

    /// Has changes of mail carried out, and their answers lost: they are [`StoreError::Unavailable`]. Or no longer.
    pub fn set_loses_answers(&self, loses: bool) {
        self.0.loses_answers.store(loses, Ordering::SeqCst);
    }

    /// Whether all nodes know that maildrops are locked in the cluster. They do from the beginning.
    pub fn set_locks_maildrops(&self, locks: bool) {
        self.0.locks_maildrops.store(locks, Ordering::SeqCst);
    }

    /// Has the log's time go on by as much.
    pub fn advance(&self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.ahead_ms.fetch_add(ms, Ordering::SeqCst);
    }

    fn now_ms(&self) -> i64 {
        let ahead = self.0.ahead_ms.load(Ordering::SeqCst);
        Timestamp::now().0.saturating_add(ahead)
    }

    /// The account's record, its mail made ready: as the real client does on an account's first use.
    pub fn create_account(&self, record: &AccountRecord) -> Result<(), StoreError> {
        let change = AccountChange::Create {
            mailboxes: crate::default_mailboxes(),
            quota: quota_of(record),
        };
        self.change_whole(record.id, change)
    }

    fn change_whole(&self, account: AccountId, change: AccountChange) -> Result<(), StoreError> {
        let op = self.lane().begin();
        match self.shard_command(ShardCommand::Account(AccountCommand {
            account,
            op,
            change: Change::Account(change),
        }))? {
            ShardReply::Account(Ok(_)) => Ok(()),
            other => Err(misfit(&other)),
        }
    }

    fn lane(&self) -> Lane {
        Lane::new(self.1.client, self.0.lanes.fetch_add(1, Ordering::Relaxed))
    }

    fn check_reachable(&self) -> Result<(), StoreError> {
        if self.1.reachable.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(StoreError::Unavailable(
                "the twin was told to be out of reach".to_owned(),
            ))
        }
    }

    fn shard_command(&self, command: ShardCommand) -> Result<ShardReply, StoreError> {
        self.check_reachable()?;
        let store = self.0.shard.lock();
        let applied = apply(&store, &Shard, self.now_ms(), &command.encode())?;
        let reply = ShardReply::decode(&applied.reply).map_err(internal)?;
        drop(store);
        let mut watches = self.0.watches.lock();
        for (account, modseq) in applied.touched {
            if let Some(sender) = watches.get(&AccountId(account))
                && sender.send(ModSeq(modseq)).is_err()
            {
                watches.remove(&AccountId(account));
            }
        }
        match self.0.loses_answers.load(Ordering::SeqCst) {
            false => Ok(reply),
            true => Err(StoreError::Unavailable("the answer was lost".to_owned())),
        }
    }

    fn shard_query(&self, query: &Query) -> Result<Answer, StoreError> {
        self.check_reachable()?;
        let snapshot = self.0.shard.lock().snapshot();
        mailrook_mailbox::answer(&snapshot, self.now_ms(), query).map_err(internal)
    }

    fn meta_command(&self, command: &MetaCommand) -> Result<MetaReply, StoreError> {
        self.check_reachable()?;
        let store = self.0.meta.lock();
        let applied = apply(&store, &Meta, self.now_ms(), &command.encode())?;
        let reply = MetaReply::decode(&applied.reply).map_err(internal)?;
        drop(store);
        match (command, &reply) {
            (MetaCommand::AddAccount(_), MetaReply::Account(record)) => {
                self.create_account(record)?;
            }
            (MetaCommand::SetQuota { .. }, MetaReply::Account(record)) => {
                let change = AccountChange::SetQuota(quota_of(record));
                self.change_whole(record.id, change)?;
            }
            (_, MetaReply::Removed(record)) => {
                self.change_whole(record.id, AccountChange::Delete)?;
                self.meta_command(&MetaCommand::EndRemoval(record.id))?;
            }
            _ => {}
        }
        Ok(reply)
    }

    fn inline(message: &PreparedMessage) -> mailrook_mailbox::NewBody {
        message.body(BodySource::Inline(message.chunks().to_vec()))
    }

    fn append_now(
        &self,
        lane: &mut Lane,
        account: AccountId,
        append: Append,
    ) -> Result<Result<Appended, Refusal>, StoreError> {
        append.check()?;
        let intent = Intent::of_append(account, &append);
        let new_message =
            |(message, flags, internal_date): (Arc<PreparedMessage>, _, _)| NewMessage {
                body: MemoryCluster::inline(&message),
                prefix: Vec::new(),
                internal_date,
                flags,
            };
        let messages = append.messages.into_iter().map(new_message).collect();
        let change = Change::Append(AppendTo {
            mailbox: append.mailbox,
            messages,
        });
        loop {
            let begun = lane.begin_for(intent);
            let outcome = self.change_as(lane, begun.op, account, change.clone())?;
            if begun.is_worth_another(&outcome) {
                continue;
            }
            return match outcome {
                Ok(ChangeReply::Appended(appended)) => Ok(Ok(appended)),
                Ok(other) => Err(misfit(&other)),
                Err(refusal) => Ok(Err(refusal)),
            };
        }
    }

    fn change_now(
        &self,
        lane: &mut Lane,
        account: AccountId,
        change: Change,
    ) -> Result<Result<ChangeReply, Refusal>, StoreError> {
        let Some(intent) = Intent::of_change(account, &change) else {
            let op = lane.begin();
            return self.change_as(lane, op, account, change);
        };
        loop {
            let begun = lane.begin_for(intent);
            let outcome = self.change_as(lane, begun.op, account, change.clone())?;
            if !begun.is_worth_another(&outcome) {
                return Ok(outcome);
            }
        }
    }

    fn change_as(
        &self,
        lane: &mut Lane,
        op: OpId,
        account: AccountId,
        change: Change,
    ) -> Result<Result<ChangeReply, Refusal>, StoreError> {
        match self.shard_command(ShardCommand::Account(AccountCommand {
            account,
            op,
            change,
        }))? {
            ShardReply::Account(result) => {
                lane.answered(op);
                Ok(result)
            }
            other => Err(misfit(&other)),
        }
    }

    fn deliver_now(
        &self,
        lane: &mut Lane,
        delivery: Delivery,
    ) -> Result<Vec<DeliveryOutcome>, StoreError> {
        let op = lane.begin();
        let recipient = |recipient: crate::DeliveryRecipient| RecipientDelivery {
            account: recipient.account,
            mailbox: recipient.mailbox,
            prefix: recipient.prefix.to_vec(),
            flags: recipient.flags,
        };
        let command = ShardCommand::Deliver(Deliver {
            op,
            body: MemoryCluster::inline(&delivery.message),
            received: delivery.received,
            key: delivery.key,
            recipients: delivery.recipients.into_iter().map(recipient).collect(),
            confirmed: delivery.confirmed,
        });
        match self.shard_command(command)? {
            ShardReply::Deliver(outcomes) => {
                lane.answered(op);
                Ok(outcomes)
            }
            other => Err(misfit(&other)),
        }
    }

    fn maildrop_now(
        &self,
        command: MaildropCommand,
    ) -> Result<Result<MaildropLock, Refusal>, StoreError> {
        if !self.0.locks_maildrops.load(Ordering::SeqCst) {
            return self.check_reachable().map(|()| Ok(MaildropLock::NotYet));
        }
        match self.shard_command(ShardCommand::Maildrop(command))? {
            ShardReply::Maildrop(reply) => Ok(reply.map(|reply| match reply {
                MaildropReply::Done => MaildropLock::Done,
                MaildropReply::InUse => MaildropLock::InUse,
            })),
            other => Err(misfit(&other)),
        }
    }

    fn body_now(&self, hash: BlobHash, start: u32, end: u32) -> Result<Bytes, StoreError> {
        let first = start / Chunk::RAW_LEN as u32;
        let count = end.div_ceil(Chunk::RAW_LEN as u32).saturating_sub(first);
        match self.shard_query(&Query::Chunks { hash, first, count })? {
            Answer::Chunks(chunks) => {
                prepared::copy_range(chunks, first, start, end).map(Bytes::from)
            }
            Answer::NoSuchBody => Err(StoreError::Internal(format!(
                "the body {hash} is not there"
            ))),
            other => Err(misfit(&other)),
        }
    }

    fn watch_now(&self, account: AccountId) -> Result<Watch, StoreError> {
        self.check_reachable()?;
        let mut watches = self.0.watches.lock();
        let sender = watches
            .entry(account)
            .or_insert_with(|| watch::channel(ModSeq::ZERO).0);
        Ok(Watch::new(sender.subscribe()))
    }
}

fn quota_of(record: &AccountRecord) -> QuotaLimit {
    QuotaLimit {
        storage_bytes: record.quota_storage_bytes,
        messages: record.quota_messages,
    }
}

/// Applies one command and makes its changes visible.
fn apply(
    store: &MemoryStore,
    machine: &dyn StateMachine,
    now_ms: i64,
    command: &[u8],
) -> Result<Applied, StoreError> {
    let (applied, batch) = {
        let snapshot = store.snapshot();
        let mut view = Overlay::<dyn Read>::new(&snapshot);
        let applied = machine
            .apply(&mut view, now_ms, command)
            .map_err(internal)?;
        (applied, view.into_batch())
    };
    // The snapshot is gone by now, or this would copy the whole map.
    store.write(batch).map_err(internal)?;
    Ok(applied)
}

fn internal(error: impl std::fmt::Display) -> StoreError {
    StoreError::Internal(error.to_string())
}

fn misfit(answer: &dyn std::fmt::Debug) -> StoreError {
    StoreError::Internal(format!("the answer does not fit the question: {answer:?}"))
}

impl Mailstore for MemoryCluster {
    fn open_lane(&self) -> Call<'_, Lane> {
        async move { self.check_reachable().map(|()| self.lane()) }.boxed()
    }

    fn change<'a>(
        &'a self,
        lane: &'a mut Lane,
        account: AccountId,
        change: Change,
    ) -> Call<'a, Result<ChangeReply, Refusal>> {
        async move { self.change_now(lane, account, change) }.boxed()
    }

    fn append<'a>(
        &'a self,
        lane: &'a mut Lane,
        account: AccountId,
        append: Append,
    ) -> Call<'a, Result<Appended, Refusal>> {
        async move { self.append_now(lane, account, append) }.boxed()
    }

    fn deliver<'a>(
        &'a self,
        lane: &'a mut Lane,
        delivery: Delivery,
    ) -> Call<'a, Vec<Result<DeliveryOutcome, StoreError>>> {
        async move {
            Ok(self
                .deliver_now(lane, delivery)?
                .into_iter()
                .map(Ok)
                .collect())
        }
        .boxed()
    }

    fn confirm(&self, confirmations: Vec<Confirmation>) -> Call<'_, ()> {
        async move {
            self.shard_command(ShardCommand::Confirm(confirmations))
                .map(|_done| ())
        }
        .boxed()
    }

    /// Deliveries carry theirs out at once.
    fn settle(&self, _confirmations: Vec<Confirmation>) -> Call<'_, ()> {
        async { Ok(()) }.boxed()
    }

    fn maildrop(&self, command: MaildropCommand) -> Call<'_, Result<MaildropLock, Refusal>> {
        async move { self.maildrop_now(command) }.boxed()
    }

    fn query(&self, _account: AccountId, query: Query) -> Call<'_, Answer> {
        async move { self.shard_query(&query) }.boxed()
    }

    fn body(&self, _account: AccountId, hash: BlobHash, start: u32, end: u32) -> Call<'_, Bytes> {
        async move { self.body_now(hash, start, end) }.boxed()
    }

    fn watch(&self, account: AccountId) -> Call<'_, Watch> {
        async move { self.watch_now(account) }.boxed()
    }
}

impl Directory for MemoryCluster {
    fn command(&self, command: MetaCommand) -> Call<'_, MetaReply> {
        async move { self.meta_command(&command) }.boxed()
    }

    fn query(&self, query: MetaQuery) -> Call<'_, MetaAnswer> {
        async move {
            self.check_reachable()?;
            let snapshot = self.0.meta.lock().snapshot();
            mailrook_meta::answer(&snapshot, self.now_ms(), &query).map_err(internal)
        }
        .boxed()
    }
}

impl Shared for MemoryCluster {
    fn update(&self, ops: Vec<(TableId, Vec<u8>, TableOp)>) -> Call<'_, Vec<TableReply>> {
        async move {
            let op = self.lane().begin();
            match self.shard_command(ShardCommand::Table(TableCommand { op, ops }))? {
                ShardReply::Table(Ok(replies)) => Ok(replies),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn get(&self, table: TableId, key: Vec<u8>) -> Call<'_, Option<Vec<u8>>> {
        async move {
            match self.shard_query(&Query::TableGet { table, key })? {
                Answer::TableValue(value) => Ok(value),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }

    fn scan(
        &self,
        table: TableId,
        prefix: Vec<u8>,
        limit: u32,
    ) -> Call<'_, Vec<(Vec<u8>, Vec<u8>)>> {
        async move {
            match self.shard_query(&Query::TableScan {
                table,
                prefix,
                after: None,
                limit,
            })? {
                Answer::TableEntries(entries) => Ok(entries
                    .into_iter()
                    .map(|(_, key, value)| (key, value))
                    .collect()),
                other => Err(misfit(&other)),
            }
        }
        .boxed()
    }
}
