//! A log on a disk that a test has a say in.

use std::{path::Path, sync::Arc};

use crate::log::{EngineLog, EngineOptions, LogError, LogStore, LogWrite, RawEntry, RecordKey};

/// What comes before each write: it waits, or fails.
type Before = dyn Fn() -> Result<(), LogError> + Send + Sync;

struct Watched {
    inner: Box<dyn LogStore>,
    before: Box<Before>,
}

/// The log as it is, with `before` called before each write.
pub(super) fn open_watched(
    dir: &Path,
    options: &EngineOptions,
    before: impl Fn() -> Result<(), LogError> + Send + Sync + 'static,
) -> Result<Arc<dyn LogStore>, LogError> {
    Ok(Arc::new(Watched {
        inner: Box::new(EngineLog::open(dir, options)?),
        before: Box::new(before),
    }))
}

impl LogStore for Watched {
    fn write_synced(&self, writes: &[LogWrite]) -> Result<(), LogError> {
        (self.before)()?;
        self.inner.write_synced(writes)
    }

    fn bounds(&self, group: u64) -> Option<(u64, u64)> {
        self.inner.bounds(group)
    }

    fn read(
        &self,
        group: u64,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<RawEntry>, LogError> {
        self.inner.read(group, from, to, bytes_max)
    }

    fn record(&self, group: u64, key: RecordKey) -> Option<Vec<u8>> {
        self.inner.record(group, key)
    }

    fn purge(&self) -> Result<Vec<u64>, LogError> {
        self.inner.purge()
    }

    fn used_bytes(&self) -> u64 {
        self.inner.used_bytes()
    }
}
