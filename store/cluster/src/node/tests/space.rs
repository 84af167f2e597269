//! The log stays small, and a full disk is a state.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mailrook_types::ShardId;

use super::{
    log::open_watched,
    machine::{command, count, machines, value},
    open, options, parts, start,
};
use crate::{DiskSpace, GroupError, Node};

const ONE: ShardId = ShardId(1);

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn write_mebibytes(node: &Node, mebibytes: u64) {
    let group = node.group(ONE).unwrap();
    for round in 0..mebibytes {
        let proposals =
            (0..16).map(|key| group.propose(command(round << 8 | key, &[key as u8; 64 << 10])));
        futures::future::try_join_all(proposals).await.unwrap();
    }
}

#[tokio::test]
async fn one_idle_group_does_not_keep_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let idle = node.group(ShardId(2)).unwrap();
    // Enough that raft-engine does not write it again by itself.
    for key in 0..100 {
        idle.propose(command(key, b"x")).await.unwrap();
    }
    write_mebibytes(&node, 64).await;
    let log_bytes = || node.status().log_bytes;
    // The bound, and the file that is being written.
    eventually("the log is cut", || log_bytes() <= 9 << 20).await;
    assert!(
        idle.status().flushed_index > 0,
        "flushed because it was in the way"
    );
    assert!(idle.status().purged_index > 0);
    // Dropped without a flush, and replayed from what is left.
    drop(idle);
    node.shutdown().await;
    let node = start(dir.path()).await;
    let idle = node.group(ShardId(2)).unwrap();
    assert_eq!(idle.read(|state| count(state).unwrap()).unwrap(), 100);
    let busy = node.group(ONE).unwrap();
    busy.read_barrier().await.unwrap();
    assert_eq!(busy.read(|state| count(state).unwrap()).unwrap(), 64 * 16);
}

struct Fake(Arc<AtomicU64>);

impl DiskSpace for Fake {
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.0.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn a_full_disk_is_refused_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(1 << 30));
    let mut parts = parts();
    parts.space = Some(Box::new(Fake(Arc::clone(&free))));
    let mut options = options(dir.path());
    options.disk_reserve_bytes = 1 << 20;
    let node = open::open(options, machines(), parts).await.unwrap();
    let group = node.group(ONE).unwrap();
    group.propose(command(1, b"before")).await.unwrap();
    free.store(1000, Ordering::Relaxed);
    eventually("the disk is seen to be full", || node.status().disk_full).await;
    let refusal = GroupError::Full {
        free_bytes: 1000,
        reserve_bytes: 1 << 20,
    };
    assert_eq!(
        group.propose(command(2, b"during")).await,
        Err(refusal.clone())
    );
    assert!(refusal.is_temporary());
    // What makes room goes on for as long as half of the reserve is free.
    let removal = || group.propose(command(2, b""));
    assert!(matches!(removal().await, Err(GroupError::Full { .. })));
    free.store(3 << 18, Ordering::Relaxed);
    eventually("more is free", || node.status().disk_free_bytes > 1000).await;
    assert!(matches!(
        group.propose(command(2, b"during")).await,
        Err(GroupError::Full { .. })
    ));
    removal().await.unwrap();
    group.read_barrier().await.unwrap();
    assert_eq!(
        value(&*group, 1).as_deref(),
        Some(&b"before"[..]),
        "reads go on"
    );
    free.store(1 << 30, Ordering::Relaxed);
    eventually("there is room again", || !node.status().disk_full).await;
    group.propose(command(3, b"after")).await.unwrap();
}

#[tokio::test]
#[expect(
    clippy::await_holding_lock,
    reason = "only the upkeep waits for it, on a thread of its own"
)]
async fn the_disk_is_looked_at_while_a_flush_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(1 << 30));
    let mut parts = parts();
    parts.space = Some(Box::new(Fake(Arc::clone(&free))));
    let mut options = options(dir.path());
    options.disk_reserve_bytes = 1 << 20;
    let budget = options.write_buffer_bytes as u64;
    let node = open::open(options, machines(), parts).await.unwrap();
    let copy = node.inner.group(ONE).unwrap();
    let state = copy.state();
    let held = state.hold_flushes();
    // More than the half of the budget that makes the upkeep flush; several of its rounds.
    write_mebibytes(&node, (budget >> 20) * 3 / 4).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(state.unflushed_bytes() > budget / 2, "the flush hangs");
    free.store(1000, Ordering::Relaxed);
    eventually("the disk is seen to be full", || node.status().disk_full).await;
    free.store(1 << 30, Ordering::Relaxed);
    eventually("there is room again", || !node.status().disk_full).await;
    drop(held);
    eventually("flushes go on", || state.unflushed_bytes() < budget / 2).await;
}

#[tokio::test]
async fn a_stop_waits_for_no_compaction() {
    const BODY_BYTES: usize = 64 << 10;
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let group = node.group(ONE).unwrap();
    let copy = node.inner.group(ONE).unwrap();
    let state = copy.state();
    let write = |keys: Vec<u64>, value: u8| {
        let proposals = keys
            .into_iter()
            .map(|key| group.propose(command(key, &[value; BODY_BYTES])));
        futures::future::try_join_all(proposals)
    };
    // Half of the first 16 MiB is garbage then, in files that are still needed.
    write((0..256).collect(), 1).await.unwrap();
    state.flush().unwrap();
    write((0..256).step_by(2).collect(), 2).await.unwrap();
    state.flush().unwrap();
    state.merge_bodies(u64::MAX).unwrap();
    drop(group);
    node.shutdown().await;

    let mut parts = parts();
    parts.garbage.tick = Duration::from_millis(10);
    parts.garbage.bytes_min = 1;
    // The live 16 MiB take as many seconds.
    parts.table_bytes_per_second = Some(1 << 20);
    let node = open::open(options(dir.path()), machines(), parts)
        .await
        .unwrap();
    let copy = node.inner.group(ONE).unwrap();
    let state = copy.state();
    eventually("garbage is collected", || state.compactions() > 0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(state.compactions() > 0, "it takes long");
    let started = Instant::now();
    node.shutdown().await;
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "{:?}",
        started.elapsed()
    );
    let node = start(dir.path()).await;
    let group = node.group(ONE).unwrap();
    assert_eq!(value(&*group, 127), Some(vec![1; BODY_BYTES]));
    assert_eq!(value(&*group, 128), Some(vec![2; BODY_BYTES]));
}

/// A disk without room for what is written.
mod no_room {
    use std::{ops::ControlFlow, path::Path, sync::atomic::AtomicBool};

    use mailrook_kv::{Batch, Direction, KvError, Read, Space};

    use super::*;
    use crate::{
        GroupRole, StateTables, TableEngine, VisitWithRecord,
        data_dir::DataDir,
        log::{LogError, OnFatal},
        node::Parts,
        state::StateEngine,
    };

    /// What there is no room for.
    #[derive(Default)]
    struct Full {
        log: AtomicBool,
        tables: AtomicBool,
        flushes: AtomicBool,
    }

    struct FullEngine {
        inner: Arc<StateEngine>,
        full: Arc<Full>,
    }

    impl TableEngine for FullEngine {
        fn open(
            self: Arc<Self>,
            folder: &Path,
            create: bool,
        ) -> Result<Arc<dyn StateTables>, KvError> {
            Ok(Arc::new(FullTables {
                inner: Arc::clone(&self.inner).open(folder, create)?,
                full: Arc::clone(&self.full),
            }))
        }
    }

    struct FullTables {
        inner: Arc<dyn StateTables>,
        full: Arc<Full>,
    }

    fn check(is_full: &AtomicBool) -> Result<(), KvError> {
        match is_full.load(Ordering::SeqCst) {
            true => Err(KvError::Full("a test's disk is full".into())),
            false => Ok(()),
        }
    }

    impl Read for FullTables {
        fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
            self.inner.get(space, key)
        }

        fn scan(
            &self,
            space: Space,
            start: &[u8],
            end: &[u8],
            direction: Direction,
            visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
        ) -> Result<(), KvError> {
            self.inner.scan(space, start, end, direction, visit)
        }
    }

    impl StateTables for FullTables {
        fn record(&self) -> Result<Option<Vec<u8>>, KvError> {
            self.inner.record()
        }

        fn commit(&self, batch: Batch, record: Vec<u8>) -> Result<(), KvError> {
            check(&self.full.tables)?;
            self.inner.commit(batch, record)
        }

        fn flush(&self) -> Result<(), KvError> {
            check(&self.full.flushes)?;
            self.inner.flush()
        }

        fn close(&self) {
            self.inner.close();
        }

        fn visit(&self, visit: &mut dyn FnMut(&dyn Read)) {
            self.inner.visit(visit);
        }

        fn visit_with_record(&self, visit: VisitWithRecord<'_>) -> Result<(), KvError> {
            self.inner.visit_with_record(visit)
        }

        fn checkpoint(&self, folder: &Path) -> Result<(), KvError> {
            self.inner.checkpoint(folder)
        }
    }

    fn full_parts(full: &Arc<Full>, beside: &Path) -> Parts {
        // A lock of its own for each, which is never given up.
        let path = tempfile::tempdir_in(beside).unwrap().keep();
        let lock = DataDir::open(&path, &[]).unwrap().lock();
        let engine = StateEngine::new(8 << 20, 8 << 20, 3, &lock).unwrap();
        std::mem::forget(lock);
        let for_log = Arc::clone(full);
        let mut parts = parts().tables(Arc::new(FullEngine {
            inner: Arc::new(engine),
            full: Arc::clone(full),
        }));
        parts.open_log = Box::new(|dir, options| {
            open_watched(dir, options, move || {
                match for_log.log.load(Ordering::SeqCst) {
                    true => Err(LogError::no_room("writing", "a test's disk is full")),
                    false => Ok(()),
                }
            })
        });
        parts.on_fatal = OnFatal::call(|error| panic!("that was no reason to end: {error}"));
        parts
    }

    async fn run(full: &Arc<Full>, dir: &Path) -> Node {
        let parts = full_parts(full, dir);
        let options = options(&dir.join("node"));
        open::open(options, machines(), parts).await.unwrap()
    }

    async fn waits_and_goes_on(node: &Node, is_full: &AtomicBool, key: u64) {
        let group = node.group(ONE).unwrap();
        is_full.store(true, Ordering::SeqCst);
        let waiting = Arc::clone(&group);
        let waiting = tokio::spawn(async move { waiting.propose(command(key, b"waits")).await });
        eventually("no room is noticed", || node.status().disk_full).await;
        let refused = group.propose(command(key, b"refused")).await;
        assert!(
            matches!(refused, Err(GroupError::Full { .. })),
            "{refused:?}"
        );
        assert!(!waiting.is_finished(), "nobody is told what is not done");
        assert_eq!(group.status().role, GroupRole::Leader);
        is_full.store(false, Ordering::SeqCst);
        let done = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        done.unwrap().unwrap().unwrap();
        eventually("there is room", || !node.status().disk_full).await;
        group.propose(command(key + 1, b"after")).await.unwrap();
        assert_eq!(value(&*group, key).as_deref(), Some(&b"waits"[..]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_log_and_tables_without_room_wait_for_some() {
        let dir = tempfile::tempdir().unwrap();
        let full = Arc::new(Full::default());
        let node = run(&full, dir.path()).await;
        waits_and_goes_on(&node, &full.log, 10).await;
        waits_and_goes_on(&node, &full.tables, 20).await;
        node.shutdown().await;
        let node = run(&full, dir.path()).await;
        let group = node.group(ONE).unwrap();
        group.read_barrier().await.unwrap();
        assert_eq!(value(&*group, 10).as_deref(), Some(&b"waits"[..]));
        assert_eq!(group.read(|state| count(state).unwrap()).unwrap(), 4);
        node.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_flush_without_room_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let full = Arc::new(Full::default());
        let node = run(&full, dir.path()).await;
        let group = node.group(ONE).unwrap();
        full.flushes.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        for key in 0.. {
            let put = group.propose(command(key, &[7; 64 << 10])).await;
            if matches!(put, Err(GroupError::Full { .. })) {
                break;
            }
            put.unwrap();
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "it is not noticed"
            );
        }
        assert_eq!(group.status().role, GroupRole::Leader);
        full.flushes.store(false, Ordering::SeqCst);
        eventually("there is room", || !node.status().disk_full).await;
        assert!(group.status().flushed_index > 0);
        group.propose(command(1, b"after")).await.unwrap();
        node.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stop_waits_for_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let full = Arc::new(Full::default());
        for is_full in [&full.log, &full.tables] {
            let node = run(&full, dir.path()).await;
            let group = node.group(ONE).unwrap();
            group.propose(command(1, b"before")).await.unwrap();
            is_full.store(true, Ordering::SeqCst);
            let waiting = Arc::clone(&group);
            let waiting = tokio::spawn(async move { waiting.propose(command(2, b"x")).await });
            eventually("no room is noticed", || node.status().disk_full).await;
            let stopped = tokio::time::timeout(Duration::from_secs(20), node.shutdown()).await;
            assert!(stopped.is_ok(), "it hangs");
            assert!(waiting.await.unwrap().is_err());
            is_full.store(false, Ordering::SeqCst);
            let node = run(&full, dir.path()).await;
            let group = node.group(ONE).unwrap();
            group.propose(command(3, b"after")).await.unwrap();
            assert_eq!(value(&*group, 1).as_deref(), Some(&b"before"[..]));
            node.shutdown().await;
        }
    }
}

/// A log on a disk that fails.
mod failing {
    use super::*;
    use crate::log::{LogError, OnFatal};

    #[tokio::test]
    async fn a_failed_write_ends_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let fatal = Arc::new(AtomicU64::new(0));
        let mut parts = parts();
        parts.open_log = Box::new(|dir, options| {
            let writes_left = AtomicU64::new(200);
            open_watched(dir, options, move || {
                let one_less = |left: u64| left.checked_sub(1);
                match writes_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
                    Ok(_) => Ok(()),
                    Err(_) => Err(LogError::failure("writing", "the disk is gone")),
                }
            })
        });
        let counted = Arc::clone(&fatal);
        parts.on_fatal = OnFatal::call(move |error| {
            assert!(error.to_string().contains("the disk is gone"));
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let node = open::open(options(dir.path()), machines(), parts)
            .await
            .unwrap();
        let group = node.group(ONE).unwrap();
        let mut acknowledged = 0;
        let error = loop {
            match group.propose(command(acknowledged, b"x")).await {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        // The process would be gone; here nobody was told that it succeeded.
        assert_eq!(error, GroupError::OutcomeUnknown);
        assert_eq!(fatal.load(Ordering::SeqCst), 1);
        assert!(group.propose(command(0, b"x")).await.is_err());
        assert!(acknowledged > 0);
        // Never tried again.
        assert_eq!(fatal.load(Ordering::SeqCst), 1);
    }
}
