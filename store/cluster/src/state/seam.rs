//! What a group's state lies in: a RocksDB, or in a simulation something that can be made to crash.

use std::{any::Any, path::Path, sync::Arc};

use mailrook_kv::{Batch, KvError, Read};

/// Opens the tables of groups.
pub trait TableEngine: Send + Sync + 'static {
    /// Opens the tables in `folder`, or makes them there.
    ///
    /// # Errors
    /// As reading and writing files.
    fn open(self: Arc<Self>, folder: &Path, create: bool) -> Result<Arc<dyn StateTables>, KvError>;
}

/// What [`StateTables::visit_with_record`] calls.
pub type VisitWithRecord<'a> = &'a mut dyn FnMut(&dyn Read, Option<Vec<u8>>);

/// One group's tables. Reading through them shows what is there at the moment of each read.
pub trait StateTables: Read + Any + Send + Sync {
    /// The record that the last batch came with.
    ///
    /// # Errors
    /// As reading files.
    fn record(&self) -> Result<Option<Vec<u8>>, KvError>;

    /// Makes `batch` and `record` visible as a whole. They may be lost until [`StateTables::flush`], but only
    /// together, and only with all that came after.
    ///
    /// # Errors
    /// As writing files.
    fn commit(&self, batch: Batch, record: Vec<u8>) -> Result<(), KvError>;

    /// Returns once everything written survives a crash.
    ///
    /// # Errors
    /// As writing files.
    fn flush(&self) -> Result<(), KvError>;

    /// Ends work in the background.
    fn close(&self);

    /// Calls `visit` with the tables as they are now, whatever is written meanwhile.
    fn visit(&self, visit: &mut dyn FnMut(&dyn Read));

    /// The same with the record as it is in what is shown.
    ///
    /// # Errors
    /// As reading files; `visit` is not called then.
    fn visit_with_record(&self, visit: VisitWithRecord<'_>) -> Result<(), KvError>;

    /// Makes `folder`, which must not exist, tables of their own with all that is written.
    ///
    /// # Errors
    /// As writing files.
    fn checkpoint(&self, folder: &Path) -> Result<(), KvError>;
}
