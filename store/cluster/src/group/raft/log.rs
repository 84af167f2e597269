//! One group's part of the shared log, as openraft wants it.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, Range, RangeBounds},
    sync::Arc,
};

use futures::{Stream, stream};
use mailrook_types::ShardId;
use openraft::{
    EntryPayload, LogState, OptionalSend, RaftLogReader,
    error::LeaderChanged,
    storage::{IOFlushed, LeaderBoundedStreamError, LeaderBoundedStreamResult, RaftLogStorage},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    cache::TailCache,
    standing::Standing,
    types::{Entry, LogId, StoredMembership, Types, Vote, vote_mark},
};
use crate::{
    guard::log_group,
    log::{
        LogError, LogStore, LogWrite, RecordKey, SharedLog, decode_entry, decode_log_id,
        decode_vote, encode_entry, encode_log_id, encode_vote,
    },
};

/// How much is read at a time, for apply and for replication: some eight of the largest entries.
const READ_BYTES: usize = 4 << 20;

type LeaderId = openraft::type_config::alias::LeaderIdOf<Types>;

struct Inner {
    purged: Option<LogId>,
    last: Option<LogId>,
    vote: Option<Vote>,
    cache: TailCache,
    /// Numbers the appends.
    append: u64,
}

/// A group's log.
#[derive(Clone)]
pub(crate) struct GroupLog {
    shard: ShardId,
    shared: Arc<SharedLog>,
    standing: Arc<Standing>,
    inner: Arc<Mutex<Inner>>,
    written: Arc<Mutex<Written>>,
    /// Told when more is durable.
    more_written: Arc<Notify>,
}

/// What is durable.
struct Written {
    /// The number of the last append.
    append: u64,
    /// Its last entry.
    last: Option<LogId>,
}

impl GroupLog {
    /// Takes up what the shared log holds of the group.
    pub(super) async fn open(
        shard: ShardId,
        shared: Arc<SharedLog>,
        standing: Arc<Standing>,
        cache_bytes_max: usize,
    ) -> Result<GroupLog, LogError> {
        let store = shared.store()?;
        let group = log_group(shard);
        let vote = store
            .record(group, RecordKey::Vote)
            .map(|bytes| decode_vote(&bytes))
            .transpose()?;
        let purged = store
            .record(group, RecordKey::Purged)
            .map(|bytes| decode_log_id(&bytes))
            .transpose()?;
        let last = match store.bounds(group) {
            Some((_, last)) => read_store(&*store, group, last..last + 1)?
                .pop()
                .map(|entry| entry.log_id),
            None => None,
        };
        if let Some(vote) = &vote {
            standing.vote_given(vote);
            standing.vote_durable(vote);
        }
        let inner = Inner {
            purged,
            last: last.max(purged),
            vote,
            cache: TailCache::new(cache_bytes_max),
            append: 0,
        };
        let log = GroupLog {
            shard,
            shared,
            standing,
            written: Arc::new(Mutex::new(Written {
                append: 0,
                last: inner.last,
            })),
            more_written: Arc::default(),
            inner: Arc::new(Mutex::new(inner)),
        };
        // A crash may have come between the note of a cut and the cut itself: behind a snapshot, what is appended next would
        // leave a gap.
        if let Some(purged) = purged
            && store
                .bounds(group)
                .is_some_and(|(first, _)| first <= purged.index)
        {
            log.write(LogWrite::Compact {
                group,
                first_kept: purged.index + 1,
            })
            .await;
        }
        Ok(log)
    }

    /// Whose it is.
    pub(super) fn shard(&self) -> ShardId {
        self.shard
    }

    /// The last entry, durable or not.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.inner.lock().last
    }

    /// The last entry that is durable.
    pub(crate) fn durable_last(&self) -> Option<LogId> {
        self.written.lock().last
    }

    /// Waits until `id` is durable here.
    pub(super) async fn until_durable(&self, id: &LogId) {
        loop {
            let more = self.more_written.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            // By term first: an entry that takes the place of others comes after them.
            if self.durable_last().as_ref() >= Some(id) {
                return;
            }
            more.await;
        }
    }

    /// Notes that a snapshot up to `last` is about to replace the state: if the log then ends before it, that is no
    /// damage.
    pub(super) async fn announce_install(&self, last: &LogId) -> Result<(), LogError> {
        self.record(RecordKey::Installing, encode_log_id(last), None)
            .await
    }

    async fn record(
        &self,
        key: RecordKey,
        value: Vec<u8>,
        vote: Option<&Vote>,
    ) -> Result<(), LogError> {
        let write = LogWrite::Record {
            group: log_group(self.shard),
            key,
            value,
        };
        let vote = vote.map(|vote| (self.shard, vote_mark(vote)));
        self.shared.write_durably(write, vote).await
    }

    /// Hands a write over that nobody waits for.
    async fn write(&self, write: LogWrite) {
        self.shared.write(write, None, Box::new(|_| {})).await;
    }

    /// What of `range` is in the log, from its start, up to `bytes_max`, but at least one.
    fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<Entry>, LogError> {
        let missing = {
            let inner = self.inner.lock();
            let end = range.end.min(inner.last.map_or(0, |last| last.index + 1));
            let start = range
                .start
                .max(inner.purged.map_or(0, |purged| purged.index + 1));
            if start >= end {
                return Ok(Vec::new());
            }
            match inner.cache.first() {
                Some(first) if first <= start => {
                    return Ok(inner.cache.read(start..end, bytes_max));
                }
                Some(first) => start..first.min(end),
                None => start..end,
            }
        };
        let group = log_group(self.shard);
        let raw = self
            .shared
            .store()?
            .read(group, missing.start, missing.end, bytes_max)?;
        let starts_right = raw.first().is_none_or(|first| first.index == missing.start);
        if raw.is_empty() || !starts_right {
            return Err(LogError::damage(
                "reading entries",
                format!("entry {} of group {} is missing", missing.start, self.shard),
            ));
        }
        raw.into_iter().map(decode_entry).collect()
    }

    fn is_cut(&self, index: u64) -> bool {
        let purged = self.inner.lock().purged;
        purged.is_some_and(|purged| index <= purged.index)
    }

    /// The vote, if it is a committed one for `leader`.
    fn check_leader(&self, leader: &LeaderId) -> Result<(), LeaderChanged<Types>> {
        let vote = self.inner.lock().vote;
        if vote.is_some_and(|vote| vote.committed && vote.leader_id == *leader) {
            Ok(())
        } else {
            Err(LeaderChanged::new(*leader, vote))
        }
    }
}

fn read_store(store: &dyn LogStore, group: u64, range: Range<u64>) -> Result<Vec<Entry>, LogError> {
    store
        .read(group, range.start, range.end, READ_BYTES)?
        .into_iter()
        .map(decode_entry)
        .collect()
}

fn to_range(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<Types> for GroupLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let mut range = to_range(&range);
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let more = self.read(range.clone(), READ_BYTES)?;
            let Some(last) = more.last() else {
                return Ok(entries);
            };
            range.start = last.log_id.index + 1;
            entries.extend(more);
        }
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let read = self.read(start..end, READ_BYTES);
        // The consensus engine may go on with entries that it has cut after a copy became unreachable, whom it sends a
        // snapshot by now. It sends what it is given as if nothing were missing before it: so it is given nothing.
        if self.is_cut(start) {
            return Ok(Vec::new());
        }
        Ok(read?)
    }

    /// In pieces: after a crash this is all that is to be replayed.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        pieces(self.clone(), to_range(&range), |_| Ok::<(), io::Error>(()))
    }

    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderId,
        range: RB,
    ) -> impl Stream<Item = LeaderBoundedStreamResult<Types>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        pieces(self.clone(), to_range(&range), move |log| {
            log.check_leader(&leader)
                .map_err(LeaderBoundedStreamError::LeaderChanged)
        })
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.inner.lock().vote)
    }
}

/// The entries of `range`, read piece by piece; `check` must hold before and after each.
fn pieces<E: From<io::Error> + Send + 'static>(
    log: GroupLog,
    range: Range<u64>,
    check: impl Fn(&GroupLog) -> Result<(), E> + Send + 'static,
) -> impl Stream<Item = Result<Entry, E>> + Send {
    let start = (log, range, check, Vec::new().into_iter());
    stream::try_unfold(start, |(log, mut range, check, mut piece)| async move {
        if piece.len() == 0 {
            check(&log)?;
            let read = log
                .read(range.clone(), READ_BYTES)
                .map_err(|error| E::from(io::Error::from(error)))?;
            check(&log)?;
            range.start = read.last().map_or(range.end, |last| last.log_id.index + 1);
            piece = read.into_iter();
        }
        Ok(piece
            .next()
            .map(|entry: Entry| (entry, (log, range, check, piece))))
    })
}

impl RaftLogStorage<Types> for GroupLog {
    type LogReader = GroupLog;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let inner = self.inner.lock();
        Ok(LogState {
            last_purged_log_id: inner.purged,
            last_log_id: inner.last,
        })
    }

    async fn get_log_reader(&mut self) -> GroupLog {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        // Who reads for a leader that this vote ends stops at once.
        self.inner.lock().vote = Some(*vote);
        self.standing.vote_given(vote);
        self.record(RecordKey::Vote, encode_vote(vote), Some(vote))
            .await?;
        self.standing.vote_durable(vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (raw, append, last) = {
            let mut inner = self.inner.lock();
            inner.append += 1;
            let append = inner.append;
            let mut raw = Vec::new();
            for entry in entries {
                if let EntryPayload::Membership(membership) = &entry.payload {
                    let members = StoredMembership::new(Some(entry.log_id), membership.clone());
                    self.standing.membership_appended(Some(&members));
                }
                raw.push(encode_entry(&entry));
                inner.last = Some(entry.log_id);
                inner.cache.push(entry, append);
            }
            inner.cache.trim(self.written.lock().append);
            (raw, append, inner.last)
        };
        let write = LogWrite::Append {
            group: log_group(self.shard),
            entries: raw,
        };
        let (written, more) = (Arc::clone(&self.written), Arc::clone(&self.more_written));
        let done = Box::new(move |result: Result<(), LogError>| {
            if result.is_ok() {
                *written.lock() = Written { append, last };
                more.notify_waiters();
            }
            callback.io_completed(result.map_err(io::Error::from));
        });
        self.shared.write(write, None, done).await;
        Ok(())
    }

    /// The entries come back if the process ends before others take their place: nobody was told that they are gone.
    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let mut inner = self.inner.lock();
        inner.cache.drop_from(last.map_or(0, |last| last.index + 1));
        inner.last = last;
        self.standing.membership_appended(None);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        {
            let mut inner = self.inner.lock();
            inner.purged = inner.purged.max(Some(upto));
            inner.last = inner.last.max(Some(upto));
            inner.cache.drop_before(upto.index + 1);
        }
        let group = log_group(self.shard);
        // In this order: entries before the cut may be there, entries after it may not be missing. And a cut beyond
        // the last entry must come before what is appended after a snapshot, or the log has a gap.
        self.write(LogWrite::Record {
            group,
            key: RecordKey::Purged,
            value: encode_log_id(&upto),
        })
        .await;
        self.write(LogWrite::Compact {
            group,
            first_kept: upto.index + 1,
        })
        .await;
        Ok(())
    }
}
