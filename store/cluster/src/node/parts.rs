//! What a node takes from the machine that it runs on, and what tests and simulations put in its place.

use std::{path::Path, sync::Arc};

use super::upkeep::GarbagePolicy;
use crate::{
    DiskSpace,
    group::raft::{WallClock, wall_ms},
    log::{EngineLog, EngineOptions, LogError, LogStore, OnFatal},
    state::TableEngine,
};

pub(super) type OpenLog =
    Box<dyn FnOnce(&Path, &EngineOptions) -> Result<Arc<dyn LogStore>, LogError> + Send>;

/// The machine, as far as it can be replaced.
pub struct Parts {
    pub(super) open_log: OpenLog,
    pub(super) on_fatal: OnFatal,
    /// None for RocksDB's.
    pub(super) tables: Option<Arc<dyn TableEngine>>,
    /// None for that of the data directory's file system.
    pub(super) space: Option<Box<dyn DiskSpace>>,
    pub(super) wall: WallClock,
    pub(super) log_file_bytes: Option<u64>,
    pub(super) garbage: GarbagePolicy,
    /// How fast tables are written.
    pub(super) table_bytes_per_second: Option<i64>,
}

impl Default for Parts {
    fn default() -> Parts {
        Parts {
            open_log: Box::new(|dir, options| Ok(Arc::new(EngineLog::open(dir, options)?))),
            on_fatal: OnFatal::abort(),
            tables: None,
            space: None,
            wall: Arc::new(wall_ms),
            log_file_bytes: None,
            garbage: GarbagePolicy::default(),
            table_bytes_per_second: None,
        }
    }
}

impl Parts {
    /// Keeps the log in `log`.
    #[must_use]
    pub fn log(mut self, log: Arc<dyn LogStore>) -> Parts {
        self.open_log = Box::new(|_, _| Ok(log));
        self
    }

    /// Keeps the groups' states in tables of `engine`.
    #[must_use]
    pub fn tables(mut self, engine: Arc<dyn TableEngine>) -> Parts {
        self.tables = Some(engine);
        self
    }

    /// Calls `call`, once, instead of ending the process when the log cannot be written any more.
    #[must_use]
    pub fn on_fatal(mut self, call: impl Fn(&LogError) + Send + Sync + 'static) -> Parts {
        self.on_fatal = OnFatal::call(call);
        self
    }

    /// Takes the time, in milliseconds since 1970, from `clock`.
    #[must_use]
    pub fn wall_clock(mut self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Parts {
        self.wall = Arc::new(clock);
        self
    }

    /// Asks `space` how much is free.
    #[must_use]
    pub fn space(mut self, space: impl DiskSpace) -> Parts {
        self.space = Some(Box::new(space));
        self
    }
}
