//! Tables in memory, and as one file what is flushed: a crash leaves the file.

use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use mailrook_cluster::{StateTables, TableEngine, VisitWithRecord};
use mailrook_kv::{
    Batch, Direction, KvError, MemorySnapshot, MemoryStore, Read, Space, Store, decode, encode,
};
use parking_lot::Mutex;

const FILE: &str = "tables";

type Pairs = [BTreeMap<Vec<u8>, Vec<u8>>; 3];

/// Opens [`SimTables`].
pub struct SimEngine;

/// One group's.
struct SimTables {
    folder: PathBuf,
    store: MemoryStore,
    record: Mutex<Option<Vec<u8>>>,
}

fn engine_error(error: impl ToString) -> KvError {
    KvError::Engine(error.to_string())
}

impl TableEngine for SimEngine {
    fn open(self: Arc<Self>, folder: &Path, create: bool) -> Result<Arc<dyn StateTables>, KvError> {
        let store = MemoryStore::new();
        let mut record = None;
        if create {
            fs::create_dir_all(folder).map_err(engine_error)?;
        } else {
            let bytes = fs::read(folder.join(FILE)).map_err(engine_error)?;
            let stored: (Pairs, Option<Vec<u8>>) = decode(&bytes).map_err(engine_error)?;
            let mut batch = Batch::default();
            for (space, pairs) in Space::ALL.into_iter().zip(stored.0) {
                for (key, value) in pairs {
                    batch.put(space, key, value);
                }
            }
            store.write(batch)?;
            record = stored.1;
        }
        Ok(Arc::new(SimTables {
            folder: folder.to_owned(),
            store,
            record: Mutex::new(record),
        }))
    }
}

impl SimTables {
    fn save(&self, folder: &Path) -> Result<(), KvError> {
        let mut all = Pairs::default();
        for (space, key, value) in self.store.snapshot().pairs() {
            let at = Space::ALL.iter().position(|other| *other == space);
            let pairs = at.and_then(|at| all.get_mut(at));
            pairs.map(|pairs| pairs.insert(key.to_vec(), value.to_vec()));
        }
        let bytes = encode(&(all, self.record.lock().clone()));
        // As a whole: what replaces a file of another checkpoint does not change that one.
        let new = folder.join("tables.new");
        fs::write(&new, bytes).map_err(engine_error)?;
        fs::rename(&new, folder.join(FILE)).map_err(engine_error)
    }
}

impl StateTables for SimTables {
    fn record(&self) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.record.lock().clone())
    }

    fn commit(&self, batch: Batch, record: Vec<u8>) -> Result<(), KvError> {
        self.store.write(batch)?;
        *self.record.lock() = Some(record);
        Ok(())
    }

    fn flush(&self) -> Result<(), KvError> {
        self.save(&self.folder)
    }

    fn close(&self) {}

    fn visit(&self, visit: &mut dyn FnMut(&dyn Read)) {
        let snapshot: MemorySnapshot = self.store.snapshot();
        visit(&snapshot);
    }

    fn visit_with_record(&self, visit: VisitWithRecord<'_>) -> Result<(), KvError> {
        // Nothing is written between both: one thread does all.
        let snapshot: MemorySnapshot = self.store.snapshot();
        visit(&snapshot, self.record()?);
        Ok(())
    }

    fn checkpoint(&self, folder: &Path) -> Result<(), KvError> {
        fs::create_dir_all(folder).map_err(engine_error)?;
        self.save(folder)
    }
}

impl Read for SimTables {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.store.snapshot().get(space, key)
    }

    fn scan(
        &self,
        space: Space,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        self.store
            .snapshot()
            .scan(space, start, end, direction, visit)
    }
}
