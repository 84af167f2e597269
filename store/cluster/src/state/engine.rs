//! What the groups' RocksDBs share, and how each is set up.

use mailrook_kv::Space;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, Env, LogLevel, Options,
    WriteBufferManager,
};

use crate::data_dir::{DirLock, WeakDirLock};

/// What is written to one column family before it goes into a table by itself. Usually the upkeep flushes earlier.
const WRITE_BUFFER_BYTES: usize = 64 << 20;

/// Buffers of one column family: one that is written, and those that wait for a slow disk. With the default of two
/// a put stalled for seconds (measured); six: 0.2 s.
const WRITE_BUFFERS_MAX: i32 = 6;

/// What a buffer takes at a time. The default of 1 MiB would make 64 idle groups hold 256 MiB.
const ARENA_BLOCK_BYTES: usize = 64 << 10;

/// Values from this length on are kept apart from the keys, so that merging tables does not copy them again and
/// again.
const BLOB_BYTES_MIN: u64 = 512;

/// A blob file is freed as a whole, once nothing in it is needed.
pub(super) const BLOB_FILE_BYTES: u64 = 128 << 20;

/// Written data is handed to the disk in such steps, so that a flush does not end in one long sync.
const SYNC_STEP_BYTES: u64 = 1 << 20;

/// Ten bits a key: one lookup in a hundred of what is not there reads a block for nothing.
const BLOOM_BITS: f64 = 10.0;

/// A filter in front of the index's buffer: 640 KiB of its 64 MiB, ten bits each for half a million keys.
const INDEX_BUFFER_BLOOM_SHARE: f64 = 0.01;

/// RocksDB's text log of each group: enough for a report of an error.
const INFO_LOG_BYTES: usize = 1 << 20;

/// The name of a space's column family.
pub(super) fn family(space: Space) -> &'static str {
    match space {
        Space::Index => "index",
        Space::Detail => "detail",
        Space::Body => "body",
    }
}

/// The column family of our own record.
pub(super) const OWN: &str = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;

/// Shared by all groups of a node.
pub(crate) struct StateEngine {
    env: Env,
    block_cache: Cache,
    write_buffers: WriteBufferManager,
    open_files_max: i32,
    write_bytes_per_second: Option<i64>,
    /// Held by each of its open tables.
    lock: WeakDirLock,
}

impl StateEngine {
    /// For `groups` groups, with these budgets for all of them together.
    pub(crate) fn new(
        block_cache_bytes: usize,
        write_buffer_bytes: usize,
        groups: usize,
        lock: &DirLock,
    ) -> Result<StateEngine, rocksdb::Error> {
        let mut env = Env::new()?;
        let cores =
            std::thread::available_parallelism().map_or(2, |cores| cores.get().min(8) as i32);
        env.set_low_priority_background_threads(cores);
        env.set_high_priority_background_threads(2);
        Ok(StateEngine {
            env,
            block_cache: Cache::new_hyper_clock_cache(block_cache_bytes, 0),
            // Beyond it the group that writes is flushed; it does not stall.
            write_buffers: WriteBufferManager::new_write_buffer_manager(write_buffer_bytes, false),
            open_files_max: open_files_max(groups),
            write_bytes_per_second: None,
            lock: lock.downgrade(),
        })
    }

    /// Has flushes and compactions write no faster, in each group.
    pub(crate) fn write_at_most(&mut self, bytes_per_second: i64) {
        self.write_bytes_per_second = Some(bytes_per_second);
    }

    /// The options of a group's database.
    pub(super) fn database(&self, create: bool) -> Options {
        let mut options = Options::default();
        options.create_if_missing(create);
        options.create_missing_column_families(create);
        options.set_error_if_exists(create);
        options.set_env(&self.env);
        options.set_write_buffer_manager(&self.write_buffers);
        options.set_atomic_flush(true);
        options.set_paranoid_checks(true);
        options.set_max_open_files(self.open_files_max);
        options.set_max_background_jobs(4);
        options.set_bytes_per_sync(SYNC_STEP_BYTES);
        options.set_log_level(LogLevel::Warn);
        options.set_max_log_file_size(INFO_LOG_BYTES);
        options.set_keep_log_file_num(2);
        // Statistics in its text log, which nobody reads, cost a thread's wake-up for every group.
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        if let Some(bytes) = self.write_bytes_per_second {
            // RocksDB's usual period and fairness.
            options.set_ratelimiter(bytes, 100_000, 10);
        }
        options
    }

    /// Keeps the data directory for tables that are about to be opened; none once the node gave it up.
    pub(super) fn lock(&self) -> Option<DirLock> {
        self.lock.upgrade()
    }

    /// The column families of a group's database.
    pub(super) fn families(&self) -> Vec<ColumnFamilyDescriptor> {
        let own = ColumnFamilyDescriptor::new(OWN, self.table_options(4 << 10));
        let spaces = Space::ALL
            .into_iter()
            .map(|space| ColumnFamilyDescriptor::new(family(space), self.space(space)));
        std::iter::once(own).chain(spaces).collect()
    }

    fn space(&self, space: Space) -> Options {
        match space {
            Space::Index => {
                let mut options = self.compressed(8 << 10);
                // Half of what a delivery looks up is not there: its lane, its body, an earlier copy.
                options.set_memtable_whole_key_filtering(true);
                options.set_memtable_prefix_bloom_ratio(INDEX_BUFFER_BLOOM_SHARE);
                options
            }
            Space::Detail => self.compressed(16 << 10),
            Space::Body => {
                let mut options = self.table_options(8 << 10);
                options.set_enable_blob_files(true);
                options.set_min_blob_size(BLOB_BYTES_MIN);
                options.set_blob_file_size(BLOB_FILE_BYTES);
                // Bodies are compressed by who proposes them.
                options.set_blob_compression_type(DBCompressionType::None);
                // Not in every compaction: see `garbage`.
                options.set_enable_blob_gc(false);
                options
            }
        }
    }

    fn compressed(&self, block_bytes: usize) -> Options {
        let mut options = self.table_options(block_bytes);
        options.set_compression_type(DBCompressionType::Lz4);
        options
    }

    fn table_options(&self, block_bytes: usize) -> Options {
        let mut tables = BlockBasedOptions::default();
        tables.set_block_cache(&self.block_cache);
        tables.set_block_size(block_bytes);
        tables.set_bloom_filter(BLOOM_BITS, false);
        // Within the cache, so that memory stays bounded however many tables there are.
        tables.set_cache_index_and_filter_blocks(true);
        tables.set_cache_index_and_filter_blocks_with_high_priority(true);
        tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
        let mut options = Options::default();
        options.set_block_based_table_factory(&tables);
        options.set_compression_type(DBCompressionType::None);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_max_write_buffer_number(WRITE_BUFFERS_MAX);
        options.set_arena_block_size(ARENA_BLOCK_BYTES);
        options
    }
}

/// How many files one group may hold open: its part of half of what the process may.
fn open_files_max(groups: usize) -> i32 {
    // What Linux gives where nothing is said; and no more than a group has use for.
    const USUAL: u64 = 1024;
    const FEW: u64 = 16;
    const MANY: u64 = 4096;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(USUAL);
    let each = limit / 2 / groups.max(1) as u64;
    // At most 4096.
    each.clamp(FEW, MANY) as i32
}
