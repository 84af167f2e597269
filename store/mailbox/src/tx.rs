//! What a command writes through: the view with the log's time, and an account with its digest kept right.

use mailrook_kv::{KvError, Read, Space, View};
use mailrook_types::{AccountId, MailboxId, ModSeq, Timestamp};

use crate::{
    Refusal, key,
    record::{AccountRecord, PRESENT, ShardRecord},
    transit::Transit,
};

/// A view that can be written.
pub(crate) trait Writable: Read {
    fn put(&mut self, space: Space, key: Vec<u8>, value: Vec<u8>);
    fn delete(&mut self, space: Space, key: Vec<u8>);
    fn as_read(&self) -> &dyn Read;
}

impl Writable for View<'_> {
    fn put(&mut self, space: Space, key: Vec<u8>, value: Vec<u8>) {
        View::put(self, space, key, value);
    }

    fn delete(&mut self, space: Space, key: Vec<u8>) {
        View::delete(self, space, key);
    }

    fn as_read(&self) -> &dyn Read {
        self
    }
}

/// Why a command stops before it changed anything.
pub(crate) enum Stop {
    /// It cannot be carried out; the reply says so.
    Refused(Refusal),
    /// The engine failed.
    Engine(KvError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

impl<E: Into<KvError>> From<E> for Stop {
    fn from(error: E) -> Stop {
        Stop::Engine(error.into())
    }
}

/// What a part of a command gives. A refusal must come before the first write.
pub(crate) type Outcome<T> = Result<T, Stop>;

/// Takes the refusal out of an outcome.
pub(crate) fn settle<T>(outcome: Outcome<T>) -> Result<Result<T, Refusal>, KvError> {
    match outcome {
        Ok(value) => Ok(Ok(value)),
        Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
        Err(Stop::Engine(error)) => Err(error),
    }
}

/// One command's work on the shard.
pub(crate) struct Tx<'a> {
    pub view: &'a mut (dyn Writable + 'a),
    /// The log's time in milliseconds.
    pub now: i64,
    pub shard: ShardRecord,
    /// The accounts that changed, with the MODSEQ they reached.
    pub touched: Vec<(u64, u64)>,
    shard_before: ShardRecord,
}

impl<'a> Tx<'a> {
    pub(crate) fn begin(view: &'a mut (dyn Writable + 'a), now: i64) -> Result<Tx<'a>, KvError> {
        let shard = ShardRecord::read(view)?;
        Ok(Tx {
            view,
            now,
            shard,
            touched: Vec::new(),
            shard_before: shard,
        })
    }

    /// The account, whether it lives or was removed; `None` if the shard never had it.
    pub(crate) fn account(&mut self, id: AccountId) -> Result<Option<Account<'_>>, KvError> {
        let record = match self.view.get(Space::Index, &key::account(id))? {
            Some(bytes) => AccountRecord::decode(&bytes)?,
            None => return Ok(None),
        };
        Ok(Some(self.account_with(id, record)))
    }

    /// The account, as an absent one if the shard never had it.
    pub(crate) fn account_or_new(&mut self, id: AccountId) -> Result<Account<'_>, KvError> {
        let record = match self.view.get(Space::Index, &key::account(id))? {
            Some(bytes) => AccountRecord::decode(&bytes)?,
            None => AccountRecord::default(),
        };
        Ok(self.account_with(id, record))
    }

    fn account_with(&mut self, id: AccountId, before: AccountRecord) -> Account<'_> {
        let mut record = before.clone();
        record.skip_to(self.shard.skips);
        Account {
            view: &mut *self.view,
            now: self.now,
            id,
            before,
            record,
            taken: None,
            shard: &mut self.shard,
            touched: &mut self.touched,
        }
    }

    /// Writes what the shard knows of itself. Gives the accounts that changed, each once.
    pub(crate) fn finish(mut self) -> Vec<(u64, u64)> {
        if self.shard != self.shard_before {
            self.view
                .put(Space::Index, key::shard(), self.shard.encode());
        }
        // Descending, so that the highest of an account comes first and stays.
        self.touched.sort_unstable_by(|a, b| b.cmp(a));
        self.touched.dedup_by_key(|(account, _)| *account);
        self.touched
    }
}

/// One command's work on one account. Writes to the account's part of the index go through [`Account::put`] and
/// [`Account::delete`], which keep the digest.
pub(crate) struct Account<'a> {
    pub view: &'a mut (dyn Writable + 'a),
    pub now: i64,
    pub id: AccountId,
    pub record: AccountRecord,
    before: AccountRecord,
    taken: Option<ModSeq>,
    shard: &'a mut ShardRecord,
    touched: &'a mut Vec<(u64, u64)>,
}

impl Account<'_> {
    /// The value of a key of the index.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.view.get(Space::Index, key)
    }

    /// Sets a key of the account's part of the index, whose value was `old`.
    pub(crate) fn put(&mut self, key: Vec<u8>, old: Option<&[u8]>, value: Vec<u8>) {
        if old == Some(&*value) {
            return;
        }
        if let Some(old) = old {
            self.record.sum.remove(Space::Index, &key, old);
        }
        self.record.sum.add(Space::Index, &key, &value);
        self.note(&key);
        self.view.put(Space::Index, key, value);
    }

    /// Removes a key of the account's part of the index, whose value was `old`.
    pub(crate) fn delete(&mut self, key: Vec<u8>, old: &[u8]) {
        self.record.sum.remove(Space::Index, &key, old);
        self.note(&key);
        self.view.delete(Space::Index, key);
    }

    /// Notes that a key changes while the account is copied elsewhere.
    fn note(&mut self, key: &[u8]) {
        if let Some(round) = self.record.transit.and_then(Transit::notes_round) {
            let note = key::note(self.id, round, key);
            self.view.put(Space::Index, note, PRESENT.to_vec());
        }
    }

    /// Has the account's watchers look, though nothing has changed that has a MODSEQ.
    pub(crate) fn touch(&mut self) {
        self.taken.get_or_insert(self.record.modseq);
    }

    /// Up to when what expires has left the queue.
    pub(crate) fn swept_to_ms(&self) -> i64 {
        self.shard.swept_to_ms
    }

    /// Has the shard leave out at least what the account has left out.
    pub(crate) fn raise_skips(&mut self) {
        self.shard.skips = self.shard.skips.max(self.record.skips);
    }

    /// The MODSEQ of all that this command changes: taken at the first call.
    pub(crate) fn modseq(&mut self) -> ModSeq {
        *self.taken.get_or_insert_with(|| {
            // At a million changes a second the 63 bits last 290,000 years.
            self.record.modseq.0 += 1;
            self.record.modseq
        })
    }

    /// The log's time.
    pub(crate) fn time(&self) -> Timestamp {
        Timestamp(self.now)
    }

    /// Puts a mailbox into the queue of those with remains to be removed.
    pub(crate) fn queue_reaping(&mut self, mailbox: MailboxId) -> Result<(), KvError> {
        let key = key::pending(self.id, mailbox);
        if self.get(&key)?.is_none() {
            self.view.put(Space::Index, key, PRESENT.to_vec());
            self.shard.pending += 1;
        }
        Ok(())
    }

    /// Takes a mailbox out of that queue, if it is in it.
    pub(crate) fn unqueue_reaping(&mut self, mailbox: MailboxId) -> Result<(), KvError> {
        if self.get(&key::pending(self.id, mailbox))?.is_some() {
            self.end_reaping(mailbox);
        }
        Ok(())
    }

    /// Takes a mailbox out of that queue.
    pub(crate) fn end_reaping(&mut self, mailbox: MailboxId) {
        self.view
            .delete(Space::Index, key::pending(self.id, mailbox));
        self.shard.pending = self.shard.pending.saturating_sub(1);
    }

    /// Writes the account's own record and tells its watchers. Nothing of a command counts without this.
    pub(crate) fn close(self) {
        if self.record != self.before {
            self.view
                .put(Space::Index, key::account(self.id), self.record.encode());
        }
        if let Some(modseq) = self.taken {
            self.touched.push((self.id.0, modseq.0));
        }
    }
}
