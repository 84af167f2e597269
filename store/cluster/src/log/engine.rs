//! The log in raft-engine's files.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use raft_engine::{
    Command, Config, Engine, LogBatch, ReadableSize, RecoveryMode,
    env::{DefaultFileSystem, FileSystem},
};

use super::{LogError, LogStore, LogWrite, RawEntry, RecordKey, shim::RawEntries};
use crate::disk;

/// A log file is closed at this size: small enough that the log can be cut in useful steps, large enough that a
/// machine full of mail has a few dozen of them.
const FILE_BYTES: u64 = 32 << 20;

/// raft-engine's two queues: what is appended, and what it wrote again to free old files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    /// How its files' names end.
    pub(crate) suffix: &'static str,
    /// How much of the last file's end one crash may leave unsynced.
    pub(crate) unsynced_bytes_max: u64,
}

/// raft-engine syncs its rewrites every 512 KiB; one batch more, and the largest entry, may hang over.
const REWRITE_UNSYNCED_BYTES_MAX: u64 = 4 << 20;

/// One synced write may hang over: what the writer gathers up to its limit, one append beyond it, which may be all that a
/// group has in flight, and framing.
const APPEND_UNSYNCED_BYTES_MAX: u64 =
    (super::WRITE_BYTES_MAX + super::APPEND_BYTES_MAX + (4 << 20)) as u64;

/// Both queues.
pub(crate) const QUEUES: [Queue; 2] = [
    Queue {
        suffix: ".raftlog",
        unsynced_bytes_max: APPEND_UNSYNCED_BYTES_MAX,
    },
    Queue {
        suffix: ".rewrite",
        unsynced_bytes_max: REWRITE_UNSYNCED_BYTES_MAX,
    },
];

/// How to open the log.
#[derive(Clone, Debug)]
pub(crate) struct EngineOptions {
    /// Above this old files are given back.
    pub(crate) bytes_max: u64,
    /// Where a file is closed. `None` for the usual size.
    pub(crate) file_bytes: Option<u64>,
}

/// The log in a folder.
pub(crate) struct EngineLog<F: FileSystem> {
    engine: Engine<F>,
}

impl EngineLog<DefaultFileSystem> {
    /// Opens the log in `dir`.
    pub(crate) fn open(
        dir: &Path,
        options: &EngineOptions,
    ) -> Result<EngineLog<DefaultFileSystem>, LogError> {
        EngineLog::open_on(dir, options, DefaultFileSystem)
    }
}

impl<F: FileSystem> EngineLog<F> {
    /// Opens the log in `dir` through `file_system`.
    pub(crate) fn open_on(
        dir: &Path,
        options: &EngineOptions,
        file_system: F,
    ) -> Result<EngineLog<F>, LogError> {
        let file_bytes = options
            .file_bytes
            .unwrap_or(FILE_BYTES)
            .min(options.bytes_max);
        let config = Config {
            dir: dir.to_string_lossy().into_owned(),
            // Absolute consistency refuses after any crash, any-corruption drops what it cannot read. This one drops
            // what follows a tear in the last file: `guard` has looked at it before.
            recovery_mode: RecoveryMode::TolerateTailCorruption,
            // Recycled files leak after crashes (measured).
            enable_log_recycle: false,
            // Bodies are compressed by who proposes them.
            batch_compression_threshold: ReadableSize(0),
            target_file_size: ReadableSize(file_bytes),
            purge_threshold: ReadableSize(options.bytes_max),
            ..Config::default()
        };
        // It panics on some kinds of damage.
        let engine = caught("opening", || {
            Engine::open_with_file_system(config, Arc::new(file_system))
        })?;
        Ok(EngineLog { engine })
    }
}

/// Runs `call`, and turns errors and panics into an error.
fn caught<T>(
    doing: &'static str,
    call: impl FnOnce() -> raft_engine::Result<T>,
) -> Result<T, LogError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error @ raft_engine::Error::Corruption(_))) => {
            Err(LogError::damage(doing, error.to_string()))
        }
        Ok(Err(error)) if is_no_room(&error) => Err(LogError::no_room(doing, error.to_string())),
        Ok(Err(error)) => Err(LogError::failure(doing, error.to_string())),
        Err(panic) => Err(LogError::damage(doing, crate::panic_text(&*panic))),
    }
}

/// Whether there was no room. raft-engine then cuts its file back to where the write began, before it is synced, and begins
/// another one, if there is room for that.
fn is_no_room(error: &raft_engine::Error) -> bool {
    match error {
        raft_engine::Error::Io(error) => disk::is_no_room(error.kind()),
        // Its only cause: after two tries there is still no room.
        raft_engine::Error::TryAgain(_) => true,
        _ => false,
    }
}

fn batch_of(writes: &[LogWrite]) -> raft_engine::Result<LogBatch> {
    let mut batch = LogBatch::default();
    for write in writes {
        match write {
            LogWrite::Append { group, entries } => {
                batch.add_entries::<RawEntries>(*group, entries)?
            }
            LogWrite::Record { group, key, value } => {
                batch.put(*group, key.bytes().to_vec(), value.clone())?
            }
            LogWrite::Compact { group, first_kept } => {
                let index = *first_kept;
                batch.add_command(*group, Command::Compact { index });
            }
            LogWrite::Forget { group } => batch.add_command(*group, Command::Clean),
        }
    }
    Ok(batch)
}

impl<F: FileSystem + 'static> LogStore for EngineLog<F> {
    fn write_synced(&self, writes: &[LogWrite]) -> Result<(), LogError> {
        // A failed sync panics in the engine.
        caught("writing", || {
            self.engine.write(&mut batch_of(writes)?, true).map(drop)
        })
    }

    fn bounds(&self, group: u64) -> Option<(u64, u64)> {
        Some((
            self.engine.first_index(group)?,
            self.engine.last_index(group)?,
        ))
    }

    fn read(
        &self,
        group: u64,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<RawEntry>, LogError> {
        let mut entries = Vec::new();
        caught("reading entries", || {
            self.engine.fetch_entries_to::<RawEntries>(
                group,
                from,
                to,
                Some(bytes_max),
                &mut entries,
            )
        })?;
        if let Some(wrong) = (from..)
            .zip(&entries)
            .find_map(|(index, entry)| (entry.index != index).then_some(index))
        {
            let cause = format!("entry {wrong} of group {group} is not where it should be");
            return Err(LogError::damage("reading entries", cause));
        }
        Ok(entries)
    }

    fn record(&self, group: u64, key: RecordKey) -> Option<Vec<u8>> {
        self.engine.get(group, key.bytes())
    }

    fn purge(&self) -> Result<Vec<u64>, LogError> {
        caught("purging", || self.engine.purge_expired_files())
    }

    fn used_bytes(&self) -> u64 {
        self.engine.get_used_size() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Seek, SeekFrom, Write},
        sync::atomic::{AtomicBool, Ordering},
    };

    use bytes::Bytes;
    use proptest::prelude::*;
    use raft_engine::env::{Permission, WriteExt};

    use super::*;
    use crate::{
        group::raft::{Command, Entry},
        guard::check_files,
        log::{decode_entry, encode_entry},
    };

    fn entry(index: u64, len_bytes: usize) -> RawEntry {
        let body: Vec<u8> = (0..len_bytes)
            .map(|at| (at as u64 * 31 + index) as u8)
            .collect();
        encode_entry(&Entry {
            log_id: crate::log::codec::log_id(1, 1, index),
            payload: openraft::EntryPayload::Normal(Command {
                time_ms: 7,
                bytes: Bytes::from(body),
            }),
        })
    }

    /// A file system that may be full: then writes come half-way.
    #[derive(Clone, Default)]
    struct Narrow {
        full: Arc<AtomicBool>,
    }

    struct NarrowWriter {
        inner: <DefaultFileSystem as FileSystem>::Writer,
        full: Arc<AtomicBool>,
    }

    impl Seek for NarrowWriter {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.inner.seek(to)
        }
    }

    impl Write for NarrowWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.full.load(Ordering::SeqCst) {
                self.inner.write_all(&bytes[..bytes.len() / 2])?;
                // As its own one says it.
                let kind = io::ErrorKind::StorageFull;
                return Err(io::Error::new(kind, "nospace"));
            }
            self.inner.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.inner.flush()
        }
    }

    impl WriteExt for NarrowWriter {
        fn truncate(&mut self, offset: usize) -> io::Result<()> {
            self.inner.truncate(offset)
        }

        fn allocate(&mut self, offset: usize, size: usize) -> io::Result<()> {
            self.inner.allocate(offset, size)
        }
    }

    impl FileSystem for Narrow {
        type Handle = <DefaultFileSystem as FileSystem>::Handle;
        type Reader = <DefaultFileSystem as FileSystem>::Reader;
        type Writer = NarrowWriter;

        fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<Self::Handle> {
            DefaultFileSystem.create(path)
        }

        fn open<P: AsRef<Path>>(
            &self,
            path: P,
            permission: Permission,
        ) -> io::Result<Self::Handle> {
            DefaultFileSystem.open(path, permission)
        }

        fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
            DefaultFileSystem.delete(path)
        }

        fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
            DefaultFileSystem.rename(from, to)
        }

        fn new_reader(&self, handle: Arc<Self::Handle>) -> io::Result<Self::Reader> {
            DefaultFileSystem.new_reader(handle)
        }

        fn new_writer(&self, handle: Arc<Self::Handle>) -> io::Result<NarrowWriter> {
            Ok(NarrowWriter {
                inner: DefaultFileSystem.new_writer(handle)?,
                full: Arc::clone(&self.full),
            })
        }
    }

    #[test]
    fn a_write_that_found_no_room_is_taken_back_and_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let narrow = Narrow::default();
        let log = EngineLog::open_on(dir.path(), &OPTIONS, narrow.clone()).unwrap();
        let mut written = Vec::new();
        let mut next = 1;
        // Also where a file is at its end.
        for round in 0..40 {
            let entries: Vec<_> = (next..next + 3).map(|index| entry(index, 30_000)).collect();
            next += 3;
            let write = [LogWrite::Append {
                group: 1,
                entries: entries.clone(),
            }];
            if round % 3 == 1 {
                narrow.full.store(true, Ordering::SeqCst);
                for _ in 0..3 {
                    let error = log.write_synced(&write).unwrap_err();
                    assert!(error.is_no_room(), "{error}");
                }
                narrow.full.store(false, Ordering::SeqCst);
                assert_eq!(log.bounds(1).unwrap().1, next - 4);
            }
            log.write_synced(&write).unwrap();
            written.extend(entries);
            if round % 3 == 1 {
                // What a power cut would leave.
                let copy = tempfile::tempdir().unwrap();
                for file in std::fs::read_dir(dir.path()).unwrap() {
                    let file = file.unwrap();
                    std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
                }
                check_files(copy.path()).unwrap();
                let reopened = EngineLog::open(copy.path(), &OPTIONS).unwrap();
                assert_eq!(reopened.read(1, 1, next, usize::MAX).unwrap(), written);
            }
        }
        assert_eq!(log.read(1, 1, next, usize::MAX).unwrap(), written);
        drop(log);
        let report = check_files(dir.path()).unwrap();
        assert!(report.damaged_entries.is_none());
        let log = EngineLog::open(dir.path(), &OPTIONS).unwrap();
        assert_eq!(log.read(1, 1, next, usize::MAX).unwrap(), written);
    }

    const OPTIONS: EngineOptions = EngineOptions {
        bytes_max: 4 << 20,
        file_bytes: Some(1 << 20),
    };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        /// Entries of any length read back equal, after a replaced tail and a cut front, and after opening again.
        #[test]
        fn entries_read_back(
            lens in prop::collection::vec(prop_oneof![0usize..300, Just(4096), Just(512 << 10)], 1..40),
            replaced in 0usize..40, cut in 0u64..40,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let log = EngineLog::open(dir.path(), &OPTIONS).unwrap();
            let mut expected: Vec<RawEntry> = (1..).zip(&lens).map(|(index, len)| entry(index, *len)).collect();
            for entry in &expected {
                let entries = vec![entry.clone()];
                log.write_synced(&[LogWrite::Append { group: 1, entries }]).unwrap();
            }
            let keep = replaced.min(lens.len() - 1);
            expected.truncate(keep);
            expected.push(entry(keep as u64 + 1, 77));
            let last = expected.last().unwrap().clone();
            let first_kept = cut.min(keep as u64);
            log.write_synced(&[
                LogWrite::Append { group: 1, entries: vec![last] },
                LogWrite::Compact { group: 1, first_kept },
                LogWrite::Record { group: 1, key: RecordKey::Vote, value: vec![1, 2] },
            ]).unwrap();
            expected.retain(|entry| entry.index >= first_kept);
            for _ in 0..2 {
                drop(EngineLog::open(&dir.path().join("other"), &OPTIONS));
            }
            let (first, last) = log.bounds(1).unwrap();
            prop_assert_eq!((first, last), (expected[0].index, keep as u64 + 1));
            prop_assert_eq!(&log.read(1, first, last + 1, usize::MAX).unwrap(), &expected);
            drop(log);
            let log = EngineLog::open(dir.path(), &OPTIONS).unwrap();
            prop_assert_eq!(log.read(1, first, last + 1, usize::MAX).unwrap(), expected.clone());
            prop_assert_eq!(log.record(1, RecordKey::Vote), Some(vec![1, 2]));
            for raw in expected {
                decode_entry(raw).unwrap();
            }
        }
    }
}
