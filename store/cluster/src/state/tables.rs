//! One RocksDB, as an ordered key-value store.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use mailrook_kv::{Batch, Direction, KvError, Read, Space, Store, Write};
use rocksdb::{
    BoundColumnFamily, DB, DBRawIteratorWithThreadMode, ErrorKind, FlushOptions, ReadOptions,
    SnapshotWithThreadMode, WriteBatch, WriteOptions,
};

use super::{
    Applied,
    engine::{OWN, StateEngine, family},
};

use crate::data_dir::DirLock;

const APPLIED: &[u8] = b"applied";

/// A group's tables. Reading through it shows what is there at the moment of each read.
pub(crate) struct Tables {
    pub(super) db: DB,
    /// RocksDB keeps no hold of what it shares with others.
    _engine: Arc<StateEngine>,
    /// Last: the database is closed by then.
    _lock: DirLock,
}

pub(super) fn kv_error(error: &rocksdb::Error) -> KvError {
    // The text names the file.
    match error.kind() {
        ErrorKind::Corruption => KvError::Damaged(error.to_string()),
        _ => KvError::Engine(error.to_string()),
    }
}

impl Tables {
    /// Opens the database in `folder`, or makes it.
    pub(super) fn open(
        engine: &Arc<StateEngine>,
        folder: &Path,
        create: bool,
    ) -> Result<Tables, KvError> {
        let lock = engine
            .lock()
            .ok_or_else(|| KvError::Engine("the data directory is closed".into()))?;
        let db = DB::open_cf_descriptors(&engine.database(create), folder, engine.families())
            .map_err(|error| kv_error(&error))?;
        let tables = Tables {
            db,
            _engine: Arc::clone(engine),
            _lock: lock,
        };
        if create {
            tables.commit(Batch::default(), Some(&Applied::default()))?;
            tables.flush()?;
        }
        Ok(tables)
    }

    /// How far they are.
    pub(super) fn applied(&self) -> Result<Applied, KvError> {
        decode_applied(self.db.get_cf(&self.handle(OWN)?, APPLIED))
    }

    pub(super) fn commit(&self, batch: Batch, applied: Option<&Applied>) -> Result<(), KvError> {
        let spaces = [
            self.space(Space::Index)?,
            self.space(Space::Detail)?,
            self.space(Space::Body)?,
        ];
        let mut writes = WriteBatch::default();
        for (space, key, write) in batch.into_writes() {
            let handle = match space {
                Space::Index => &spaces[0],
                Space::Detail => &spaces[1],
                Space::Body => &spaces[2],
            };
            match write {
                Write::Put(value) => writes.put_cf(handle, key, value),
                Write::Delete => writes.delete_cf(handle, key),
            }
        }
        if let Some(applied) = applied {
            writes.put_cf(&self.handle(OWN)?, APPLIED, applied.encode());
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db
            .write_opt(writes, &options)
            .map_err(|error| kv_error(&error))
    }

    /// Returns once everything written is in synced tables.
    pub(super) fn flush(&self) -> Result<(), KvError> {
        let handles = [
            self.handle(OWN)?,
            self.space(Space::Index)?,
            self.space(Space::Detail)?,
            self.space(Space::Body)?,
        ];
        let handles: Vec<&Arc<BoundColumnFamily<'_>>> = handles.iter().collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db
            .flush_cfs_opt(&handles, &options)
            .map_err(|error| kv_error(&error))
    }

    /// Ends work in the background.
    pub(super) fn close(&self) {
        self.db.cancel_all_background_work(true);
    }

    pub(super) fn space(&self, space: Space) -> Result<Arc<BoundColumnFamily<'_>>, KvError> {
        self.handle(family(space))
    }

    fn handle(&self, name: &str) -> Result<Arc<BoundColumnFamily<'_>>, KvError> {
        self.db
            .cf_handle(name)
            .ok_or_else(|| KvError::Damaged(format!("the column family {name} is missing")))
    }
}

impl Store for Tables {
    type Snapshot<'a> = TablesSnapshot<'a>;

    fn snapshot(&self) -> TablesSnapshot<'_> {
        TablesSnapshot {
            tables: self,
            snapshot: self.db.snapshot(),
        }
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        self.commit(batch, None)
    }
}

impl Read for Tables {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.db
            .get_cf(&self.space(space)?, key)
            .map_err(|error| kv_error(&error))
    }

    fn scan(
        &self,
        space: Space,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        let handle = self.space(space)?;
        walk(start, end, direction, visit, |options| {
            self.db.raw_iterator_cf_opt(&handle, options)
        })
    }
}

/// The tables at one moment.
pub(crate) struct TablesSnapshot<'a> {
    tables: &'a Tables,
    snapshot: SnapshotWithThreadMode<'a, DB>,
}

impl TablesSnapshot<'_> {
    /// How far they were.
    pub(super) fn applied(&self) -> Result<Applied, KvError> {
        decode_applied(self.snapshot.get_cf(&self.tables.handle(OWN)?, APPLIED))
    }
}

fn decode_applied(stored: Result<Option<Vec<u8>>, rocksdb::Error>) -> Result<Applied, KvError> {
    let bytes = stored
        .map_err(|error| kv_error(&error))?
        .ok_or_else(|| KvError::Damaged("the record of what is applied is missing".into()))?;
    Applied::decode(&bytes).map_err(|error| KvError::Damaged(error.to_string()))
}

impl Read for TablesSnapshot<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.snapshot
            .get_cf(&self.tables.space(space)?, key)
            .map_err(|error| kv_error(&error))
    }

    fn scan(
        &self,
        space: Space,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        let handle = self.tables.space(space)?;
        walk(start, end, direction, visit, |options| {
            self.snapshot.raw_iterator_cf_opt(&handle, options)
        })
    }
}

/// What a scan calls for each pair.
type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

fn walk<'a>(
    start: &[u8],
    end: &[u8],
    direction: Direction,
    visit: Visit<'_>,
    open: impl FnOnce(ReadOptions) -> DBRawIteratorWithThreadMode<'a, DB>,
) -> Result<(), KvError> {
    if start >= end {
        return Ok(());
    }
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(start);
    options.set_iterate_upper_bound(end);
    let mut iterator = open(options);
    match direction {
        Direction::Forward => iterator.seek_to_first(),
        Direction::Backward => iterator.seek_to_last(),
    }
    while let Some((key, value)) = iterator.item() {
        if visit(key, value).is_break() {
            return Ok(());
        }
        match direction {
            Direction::Forward => iterator.next(),
            Direction::Backward => iterator.prev(),
        }
    }
    iterator.status().map_err(|error| kv_error(&error))
}
