//! One RocksDB, as an ordered key-value store.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use mailrook_kv::{Batch, Direction, KvError, Read, Space, Write};
use rocksdb::{
    BoundColumnFamily, DB, DBRawIteratorWithThreadMode, ErrorKind, FlushOptions, ReadOptions,
    SnapshotWithThreadMode, WriteBatch, WriteOptions, checkpoint::Checkpoint,
};

use super::{
    StateTables, TableEngine, VisitWithRecord,
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
        ErrorKind::IOError if is_no_room(error.as_ref()) => KvError::Full(error.to_string()),
        _ => KvError::Engine(error.to_string()),
    }
}

/// RocksDB says so by its text alone. It takes up its work again by itself, some seconds after there are 64 MiB of room, as much
/// as a write buffer; with a quota it does not, and says something else.
fn is_no_room(text: &str) -> bool {
    text.starts_with("IO error: No space left on device")
}

impl TableEngine for StateEngine {
    fn open(self: Arc<Self>, folder: &Path, create: bool) -> Result<Arc<dyn StateTables>, KvError> {
        let lock = self
            .lock()
            .ok_or_else(|| KvError::Engine("the data directory is closed".into()))?;
        let db = DB::open_cf_descriptors(&self.database(create), folder, self.families())
            .map_err(|error| kv_error(&error))?;
        Ok(Arc::new(Tables {
            db,
            _engine: self,
            _lock: lock,
        }))
    }
}

impl StateTables for Tables {
    fn record(&self) -> Result<Option<Vec<u8>>, KvError> {
        self.db
            .get_cf(&self.handle(OWN)?, APPLIED)
            .map_err(|error| kv_error(&error))
    }

    fn commit(&self, batch: Batch, record: Vec<u8>) -> Result<(), KvError> {
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
        writes.put_cf(&self.handle(OWN)?, APPLIED, record);
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db
            .write_opt(writes, &options)
            .map_err(|error| kv_error(&error))
    }

    fn flush(&self) -> Result<(), KvError> {
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

    fn close(&self) {
        self.db.cancel_all_background_work(true);
    }

    fn visit(&self, visit: &mut dyn FnMut(&dyn Read)) {
        visit(&TablesSnapshot {
            tables: self,
            snapshot: self.db.snapshot(),
        });
    }

    fn visit_with_record(&self, visit: VisitWithRecord<'_>) -> Result<(), KvError> {
        let snapshot = self.db.snapshot();
        let record = snapshot.get_cf(&self.handle(OWN)?, APPLIED);
        let record = record.map_err(|error| kv_error(&error))?;
        let tables = self;
        visit(&TablesSnapshot { tables, snapshot }, record);
        Ok(())
    }

    /// It flushes.
    fn checkpoint(&self, folder: &Path) -> Result<(), KvError> {
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(folder))
            .map_err(|error| kv_error(&error))
    }
}

impl Tables {
    pub(super) fn space(&self, space: Space) -> Result<Arc<BoundColumnFamily<'_>>, KvError> {
        self.handle(family(space))
    }

    fn handle(&self, name: &str) -> Result<Arc<BoundColumnFamily<'_>>, KvError> {
        self.db
            .cf_handle(name)
            .ok_or_else(|| KvError::Damaged(format!("the column family {name} is missing")))
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

#[cfg(test)]
mod tests {
    use super::is_no_room;

    #[test]
    fn a_full_disk_is_told_from_what_is_wrong_with_it() {
        // As RocksDB 11 said it, on a full file system.
        let full = "IO error: No space left on device: While appending to file: /x/000012.sst: No space left on device";
        assert!(is_no_room(full));
        assert!(!is_no_room(
            "IO error: While fsync: /x/000012.sst: Input/output error"
        ));
    }
}
