//! A group's state in RocksDB.
//!
//! One RocksDB a group: a snapshot of the group is a checkpoint, and dropping the group is removing a folder. All
//! share one block cache, one budget for what is not yet in tables, and RocksDB's background threads.
//!
//! ```text
//! groups/SHARD/current    the name of the folder in use, and a newline
//! groups/SHARD/state-N/   a RocksDB: column families `default` (our own record), `index`, `detail`, `body`
//! ```
//!
//! RocksDB's own log is off: the shared log is the only one. What was applied last is written in the batch that
//! holds its changes, and column families are flushed together, so that after a crash the tables agree with it and
//! the log is replayed from there.

mod applied;
mod engine;
mod garbage;
mod install;
mod moment;
mod seam;
mod tables;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use mailrook_kv::{Batch, KvError, Read};
use mailrook_types::ShardId;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

pub(crate) use applied::Applied;
pub(crate) use engine::StateEngine;
pub(crate) use garbage::Worth;
pub use seam::{StateTables, TableEngine, VisitWithRecord};

use crate::{
    OpenError,
    data_dir::{damaged, io, replace_file, sync_dir},
};

const CURRENT: &str = "current";
const FIRST: &str = "state-1";

/// What is in tables, and when that was.
#[derive(Clone, Debug)]
struct Flushed {
    applied: Applied,
    at: Instant,
}

/// The state of one group.
pub(crate) struct GroupState {
    dir: PathBuf,
    shard: ShardId,
    engine: Arc<dyn TableEngine>,
    /// Replaced as a whole when a snapshot is installed, and none once closed; readers keep the old one as long as
    /// they read.
    tables: RwLock<Option<Arc<dyn StateTables>>>,
    applied: Mutex<Applied>,
    flushed: Mutex<Flushed>,
    /// One flush, checkpoint or install at a time.
    maintenance: Mutex<()>,
    unflushed_bytes: AtomicU64,
    waiting: moment::Waiting,
}

impl GroupState {
    /// Opens the state in `dir`. Only a `fresh` group, that never voted, may have none yet.
    pub(crate) fn open(
        engine: &Arc<dyn TableEngine>,
        dir: &Path,
        shard: ShardId,
        fresh: bool,
    ) -> Result<GroupState, OpenError> {
        let current = dir.join(CURRENT);
        if fresh && !current.exists() {
            fs::create_dir_all(dir).map_err(|source| io("making", dir, source))?;
            if let Some(parent) = dir.parent() {
                sync_dir(parent).map_err(|source| io("syncing", parent, source))?;
            }
            let first = dir.join(FIRST);
            // What an earlier first start left unfinished: without `current` it never held anything.
            match fs::remove_dir_all(&first) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io("removing", &first, source));
                }
                _ => {}
            }
            make_tables(engine, &first).map_err(|error| refused(&first, error))?;
            replace_file(&current, format!("{FIRST}\n").as_bytes())
                .map_err(|source| io("writing", &current, source))?;
        }
        let folder = read_current(dir)?;
        let (tables, applied) =
            open_tables(engine, &folder).map_err(|error| refused(&folder, error))?;
        let flushed = Flushed {
            applied: applied.clone(),
            at: Instant::now(),
        };
        Ok(GroupState {
            dir: dir.to_owned(),
            shard,
            engine: Arc::clone(engine),
            tables: RwLock::new(Some(tables)),
            applied: Mutex::new(applied),
            flushed: Mutex::new(flushed),
            maintenance: Mutex::new(()),
            unflushed_bytes: AtomicU64::new(0),
            waiting: moment::Waiting::default(),
        })
    }

    /// What was applied last.
    pub(crate) fn applied(&self) -> Applied {
        self.applied.lock().clone()
    }

    /// The entry that was applied last.
    pub(crate) fn applied_index(&self) -> u64 {
        self.applied.lock().index()
    }

    /// The log's time of what was applied last.
    pub(crate) fn applied_time_ms(&self) -> i64 {
        self.applied.lock().time_ms
    }

    /// How far the synced tables are.
    pub(crate) fn flushed(&self) -> Applied {
        self.flushed.lock().applied.clone()
    }

    /// About how much is applied, and not in tables.
    pub(crate) fn unflushed_bytes(&self) -> u64 {
        self.unflushed_bytes.load(Ordering::Relaxed)
    }

    /// Whether something is applied that is not in tables, and since when the tables stand still.
    pub(crate) fn unflushed_since(&self) -> Option<Instant> {
        let applied = self.applied.lock().log_id;
        let flushed = self.flushed.lock();
        (applied > flushed.applied.log_id).then_some(flushed.at)
    }

    /// The tables as of now. What is read through them changes as commands are applied.
    pub(crate) fn tables(&self) -> Result<Arc<dyn StateTables>, KvError> {
        self.tables
            .read()
            .clone()
            .ok_or_else(|| KvError::Engine("the group is closed".into()))
    }

    /// Calls `visit` with a snapshot.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&dyn Read)) -> Result<(), KvError> {
        self.tables()?.visit(visit);
        Ok(())
    }

    /// Makes `batch`, which leads to `applied`, visible as a whole. Not durable: the log is.
    pub(crate) fn commit(&self, batch: Batch, applied: Applied) -> Result<(), KvError> {
        let bytes = batch.value_bytes() as u64;
        let index = applied.index();
        self.tables()?.commit(batch, applied.encode())?;
        *self.applied.lock() = applied;
        self.unflushed_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.waiting.reached(index);
        Ok(())
    }

    /// Writes what is applied into tables, and returns once they are synced.
    pub(crate) fn flush(&self) -> Result<Applied, KvError> {
        let _one = self.maintenance.lock();
        self.flush_locked()
    }

    fn flush_locked(&self) -> Result<Applied, KvError> {
        let bytes = self.unflushed_bytes();
        let applied = self.applied();
        self.tables()?.flush()?;
        self.unflushed_bytes.fetch_sub(bytes, Ordering::Relaxed);
        *self.flushed.lock() = Flushed {
            applied: applied.clone(),
            at: Instant::now(),
        };
        Ok(applied)
    }

    /// As if the disk were too slow for a flush, for as long as the guard is held.
    #[cfg(test)]
    pub(crate) fn hold_flushes(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.maintenance.lock()
    }

    /// Flushes, and closes the tables, once nobody reads them any more. Compactions under way end where they are.
    pub(crate) fn close(&self) -> Result<(), KvError> {
        let flushed = self.flush().map(drop);
        if let Some(tables) = self.tables.write().take() {
            tables.close();
        }
        flushed
    }
}

/// Makes tables that hold nothing.
fn make_tables(engine: &Arc<dyn TableEngine>, folder: &Path) -> Result<(), KvError> {
    let tables = Arc::clone(engine).open(folder, true)?;
    tables.commit(Batch::default(), Applied::default().encode())?;
    tables.flush()
}

/// Opens tables, and says how far they are.
fn open_tables(
    engine: &Arc<dyn TableEngine>,
    folder: &Path,
) -> Result<(Arc<dyn StateTables>, Applied), KvError> {
    let tables = Arc::clone(engine).open(folder, false)?;
    let applied = read_record(tables.record()?)?;
    Ok((tables, applied))
}

/// What tables say of themselves.
fn read_record(record: Option<Vec<u8>>) -> Result<Applied, KvError> {
    let record = record
        .ok_or_else(|| KvError::Damaged("the record of what is applied is missing".into()))?;
    Applied::decode(&record).map_err(|error| KvError::Damaged(error.to_string()))
}

/// What is damaged needs a backup; what the system refuses, something else.
fn refused(folder: &Path, error: KvError) -> OpenError {
    match error {
        KvError::Damaged(what) => damaged(folder, what),
        KvError::Engine(cause) => io("opening", folder, std::io::Error::other(cause)),
        KvError::Full(cause) => {
            let full = std::io::Error::new(std::io::ErrorKind::StorageFull, cause);
            io("opening", folder, full)
        }
    }
}

/// The folder in use.
fn read_current(dir: &Path) -> Result<PathBuf, OpenError> {
    let path = dir.join(CURRENT);
    let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            damaged(&path, "it is missing, and with it the group's state")
        }
        _ => io("reading", &path, source),
    })?;
    let name = text
        .strip_suffix('\n')
        .filter(|name| name.starts_with("state-") && !name.contains('/'));
    let Some(name) = name else {
        return Err(damaged(&path, "it is not what was written"));
    };
    let folder = dir.join(name);
    if !folder.is_dir() {
        return Err(damaged(
            &folder,
            "the folder is missing, and with it the group's state",
        ));
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::{ops::ControlFlow, path::Path, sync::Arc};

    use mailrook_kv::{Batch, Direction, KvError, MemoryStore, Read, Space, Store};
    use mailrook_types::ShardId;
    use proptest::prelude::*;

    use super::{Applied, GroupState, StateEngine, TableEngine};
    use crate::{data_dir::DataDir, log::log_id};

    fn engine(dir: &Path) -> Arc<dyn TableEngine> {
        // Several in one test: each has a lock of its own, which lives as long as the test.
        let path = tempfile::tempdir_in(dir).unwrap();
        let lock = DataDir::open(path.path(), &[]).unwrap().lock();
        let engine = StateEngine::new(8 << 20, 8 << 20, 1, &lock).unwrap();
        std::mem::forget(lock);
        Arc::new(engine)
    }

    pub(super) fn fresh(dir: &Path) -> GroupState {
        GroupState::open(&engine(dir), &dir.join("1"), ShardId(1), true).unwrap()
    }

    #[test]
    fn a_first_start_that_was_interrupted_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        // The tables were made, and then the process died before it said so.
        let unfinished = dir.path().join("1").join(super::FIRST);
        std::fs::create_dir_all(dir.path().join("1")).unwrap();
        super::make_tables(&engine(dir.path()), &unfinished).unwrap();
        assert_eq!(fresh(dir.path()).applied(), Applied::default());
    }

    fn at(index: u64) -> Applied {
        Applied {
            log_id: Some(log_id(1, 1, index)),
            time_ms: index as i64,
            ..Applied::default()
        }
    }

    fn put(key: &[u8], value: &[u8]) -> Batch {
        let mut batch = Batch::default();
        batch.put(Space::Index, key.to_vec(), value.to_vec());
        batch
    }

    fn all(read: &dyn Read, space: Space, direction: Direction) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        read.scan(space, &[5], &[15], direction, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        /// The tables show what the in-memory twin shows, before and after a flush.
        #[test]
        fn tables_are_as_their_twin(
            writes in prop::collection::vec((0usize..3, 0u8..20, prop::option::of(0usize..2000)), 1..60),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let state = fresh(dir.path());
            let twin = MemoryStore::new();
            for (space, key, value) in writes {
                let mut batch = Batch::default();
                match value {
                    Some(len) => batch.put(Space::ALL[space], vec![key], vec![key; len]),
                    None => batch.delete(Space::ALL[space], vec![key]),
                }
                twin.write(batch.clone()).unwrap();
                state.commit(batch, at(1)).unwrap();
            }
            for _ in 0..2 {
                for (space, direction) in Space::ALL.into_iter().flat_map(|space| {
                    [Direction::Forward, Direction::Backward].map(|direction| (space, direction))
                }) {
                    let expected = all(&twin.snapshot(), space, direction);
                    prop_assert_eq!(&all(&*state.tables().unwrap(), space, direction), &expected);
                    state.visit(&mut |snapshot| assert_eq!(all(snapshot, space, direction), expected)).unwrap();
                }
                state.flush().unwrap();
            }
        }
    }

    #[test]
    fn a_snapshot_does_not_change() {
        let dir = tempfile::tempdir().unwrap();
        let state = fresh(dir.path());
        state.commit(put(b"k", b"old"), at(1)).unwrap();
        state
            .visit(&mut |snapshot| {
                state.commit(put(b"k", b"new"), at(2)).unwrap();
                assert_eq!(
                    snapshot.get(Space::Index, b"k").unwrap(),
                    Some(b"old".to_vec())
                );
            })
            .unwrap();
        assert_eq!(
            state.tables().unwrap().get(Space::Index, b"k").unwrap(),
            Some(b"new".to_vec())
        );
    }

    #[test]
    fn a_checkpoint_is_a_state_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let state = fresh(dir.path());
        state.commit(put(b"k", b"1"), at(7)).unwrap();
        let folder = state.checkpoint_folder("x");
        assert_eq!(state.checkpoint(&folder).unwrap(), at(7));
        state.commit(put(b"k", b"2"), at(8)).unwrap();
        let other =
            GroupState::open(&engine(dir.path()), &dir.path().join("2"), ShardId(2), true).unwrap();
        other.commit(put(b"other", b"9"), at(3)).unwrap();
        assert_eq!(other.install(&folder).unwrap(), at(7));
        let shows = |state: &GroupState| {
            assert_eq!(
                state.tables().unwrap().get(Space::Index, b"k").unwrap(),
                Some(b"1".to_vec())
            );
            assert_eq!(
                state.tables().unwrap().get(Space::Index, b"other").unwrap(),
                None
            );
            assert_eq!(state.applied(), at(7));
        };
        shows(&other);
        drop(other);
        let other = GroupState::open(
            &engine(dir.path()),
            &dir.path().join("2"),
            ShardId(2),
            false,
        )
        .unwrap();
        shows(&other);
        other.remove_leftovers().unwrap();
        assert!(!dir.path().join("2/state-1").exists());
        shows(&other);
    }

    #[test]
    fn a_damaged_table_is_named_and_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = fresh(dir.path());
        for key in 0..2000u32 {
            state
                .commit(put(&key.to_be_bytes(), &[7; 100]), at(1))
                .unwrap();
        }
        state.flush().unwrap();
        drop(state);
        let folder = dir.path().join("1/state-1");
        let tables = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let largest = tables
            .filter(|path| path.extension().is_some_and(|extension| extension == "sst"))
            .max_by_key(|path| path.metadata().unwrap().len())
            .unwrap();
        let mut bytes = std::fs::read(&largest).unwrap();
        bytes[1000] ^= 0x40;
        std::fs::write(&largest, bytes).unwrap();
        let name = largest.file_name().unwrap().to_str().unwrap().to_owned();
        let state = match GroupState::open(
            &engine(dir.path()),
            &dir.path().join("1"),
            ShardId(1),
            false,
        ) {
            Ok(state) => state,
            Err(error) => return assert!(error.to_string().contains(&name), "{error}"),
        };
        let error = state
            .tables()
            .unwrap()
            .scan(Space::Index, &[0], &[9], Direction::Forward, &mut |_, _| {
                ControlFlow::Continue(())
            })
            .unwrap_err();
        assert!(
            matches!(&error, KvError::Damaged(text) if text.contains(&name)),
            "{error}"
        );
    }

    #[test]
    fn a_missing_state_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(fresh(dir.path()));
        std::fs::remove_dir_all(dir.path().join("1/state-1")).unwrap();
        let error = GroupState::open(&engine(dir.path()), &dir.path().join("1"), ShardId(1), true)
            .err()
            .unwrap();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
