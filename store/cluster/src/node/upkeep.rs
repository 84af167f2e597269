//! What is done beside the groups' work: samples of the disk, the witness, flushes, cuts of the log, and garbage.
//!
//! Each of the three that must not wait for another has a thread: a flush may take as long as a slow disk makes it,
//! and a compaction minutes, while the disk fills up.
//!
//! The log is cut only behind what is flushed, so that flushing is what keeps it small: a group is flushed when all
//! groups together hold much that is not, the one that holds most first; when it has not been for long, however
//! little it holds; and when raft-engine says that its old entries stand in the way.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Weak,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use mailrook_kv::KvError;
use mailrook_types::ShardId;
use tokio::time::Instant;

use super::Inner;
use crate::{
    disk::Short,
    group::raft::{RaftGroup, log_mark},
    guard::log_group,
    simulation,
    state::Worth,
};

/// How often free space is looked at: at 1 GB/s, which is fast, 200 MB go by in between, less than the reserve.
const SPACE_TICK: Duration = Duration::from_millis(200);

/// How often what is not flushed is looked at: as little goes by in between.
const FLUSH_TICK: Duration = Duration::from_millis(200);

/// How often the witness is raised and the log's files are given back.
const LOG_TICK: Duration = Duration::from_secs(1);

/// A group is flushed after this time: what is replayed after a crash is then at most so old.
const FLUSH_AGE: Duration = Duration::from_secs(300);

/// How often tables are merged while the disk is full, so that what was removed shows.
const MERGED_EVERY: Duration = Duration::from_secs(600);

/// When the space of bodies that are gone is freed.
pub(super) struct GarbagePolicy {
    /// How often garbage is looked for.
    pub(super) tick: Duration,
    /// A group with less of it is left alone, where there is room.
    pub(super) bytes_min: u64,
}

impl Default for GarbagePolicy {
    fn default() -> GarbagePolicy {
        GarbagePolicy {
            tick: Duration::from_secs(60),
            // Less is not worth the work.
            bytes_min: 256 << 20,
        }
    }
}

impl GarbagePolicy {
    /// What is worth the work, with so much room left. On a small disk, or when it gets full, every group's least would be all
    /// there is; on a full one almost anything is.
    fn worth(&self, room_bytes: u64, is_full: bool) -> Worth {
        const PARTS: u64 = 16;
        const LEAST_BYTES: u64 = 1 << 20;
        Worth {
            bytes: (room_bytes / PARTS).max(LEAST_BYTES).min(self.bytes_min),
            percent: if is_full { 5 } else { 25 },
        }
    }
}

/// A thread, which ends when its sender is dropped.
pub(super) type Thread = (Sender<()>, JoinHandle<()>);

/// Starts the threads.
pub(super) fn start(inner: &Arc<Inner>) -> io::Result<Vec<Thread>> {
    if simulation::is_on() {
        inner.runtime.spawn(run_as_task(Arc::downgrade(inner)));
        return Ok(Vec::new());
    }
    let space = spawn("store-space", inner, |inner, stop| {
        while wait(stop, SPACE_TICK) {
            if let Err(error) = inner.reserve.sample() {
                tracing::warn!(%error, "the disk did not say how much is free");
            }
        }
    })?;
    let upkeep = spawn("store-upkeep", inner, |inner, stop| {
        Upkeep::new(inner).run(stop)
    })?;
    let garbage = spawn("store-garbage", inner, |inner, stop| {
        let mut merged = None;
        while wait(stop, inner.garbage.tick) {
            collect_garbage(inner, &mut merged, stop);
        }
    })?;
    Ok(vec![space, upkeep, garbage])
}

/// The same in a simulation, without garbage.
async fn run_as_task(inner: Weak<Inner>) {
    let mut log_tick = Instant::now();
    let mut short = BTreeMap::new();
    loop {
        tokio::time::sleep(FLUSH_TICK).await;
        let Some(inner) = inner.upgrade() else { return };
        if let Err(error) = inner.reserve.sample() {
            tracing::warn!(%error, "the disk did not say how much is free");
        }
        let mut upkeep = Upkeep {
            inner: &inner,
            log_tick,
            short: std::mem::take(&mut short),
        };
        upkeep.tick();
        log_tick = upkeep.log_tick;
        short = upkeep.short;
    }
}

fn spawn(name: &str, inner: &Arc<Inner>, run: fn(&Inner, &Receiver<()>)) -> io::Result<Thread> {
    let (stop, stopped) = mpsc::channel();
    let inner = Arc::clone(inner);
    let thread = Builder::new()
        .name(name.into())
        .spawn(move || run(&inner, &stopped))?;
    Ok((stop, thread))
}

/// Waits; false when it is time to end.
fn wait(stop: &Receiver<()>, time: Duration) -> bool {
    matches!(stop.recv_timeout(time), Err(RecvTimeoutError::Timeout))
}

/// Has the witness know how far the logs of groups go.
pub(super) fn raise_witness(inner: &Inner, groups: &[Arc<RaftGroup>]) {
    let known = inner.witness.content();
    let higher: Vec<_> = groups
        .iter()
        .filter_map(|group| {
            let mark = log_mark(&group.durable_last()?);
            let before = known
                .groups
                .get(&group.shard())
                .and_then(|marks| marks.last);
            (Some(mark) > before).then_some((group.shard(), mark))
        })
        .collect();
    // A lower witness only proves less. If the disk is at its end, the log's next write tells.
    if let Err(error) = inner.witness.raise_last(&higher) {
        tracing::warn!(%error, "the witness was not raised");
    }
}

fn collect_garbage(inner: &Inner, merged: &mut Option<Instant>, stop: &Receiver<()>) {
    let is_due = merged.is_none_or(|at| at.elapsed() >= MERGED_EVERY);
    let merges = inner.reserve.is_full() && is_due;
    if merges {
        *merged = Some(Instant::now());
    }
    for group in inner.groups().iter().filter(|group| group.is_running()) {
        if let Err(error) = collect_of(inner, group, merges)
            && group.is_running()
        {
            tracing::warn!(shard = %group.shard(), %error, "the space of bodies that are gone was not freed");
        }
        if !wait(stop, Duration::ZERO) {
            return;
        }
    }
}

fn collect_of(inner: &Inner, group: &RaftGroup, merges: bool) -> Result<(), KvError> {
    let room_bytes = room_bytes(inner.reserve.free_bytes(), inner.reserve.reserve_bytes());
    if merges {
        group.state().merge_bodies(room_bytes)?;
    }
    let worth = inner.garbage.worth(room_bytes, inner.reserve.is_full());
    let freed = group.state().collect_garbage(worth, room_bytes)?;
    if freed > 0 {
        tracing::info!(shard = %group.shard(), freed, "the space of bodies that are gone is free");
    }
    Ok(())
}

/// What may be written to free space: without coming near the reserve, or a part of what is left, whatever is more.
fn room_bytes(free_bytes: u64, reserve_bytes: u64) -> u64 {
    free_bytes
        .saturating_sub(2 * reserve_bytes)
        .max(free_bytes / 4)
}

struct Upkeep<'a> {
    inner: &'a Inner,
    log_tick: Instant,
    /// Groups whose flush found no room, and when it is tried again.
    short: BTreeMap<ShardId, (Short, Instant)>,
}

impl Upkeep<'_> {
    fn new(inner: &Inner) -> Upkeep<'_> {
        Upkeep {
            inner,
            log_tick: Instant::now(),
            short: BTreeMap::new(),
        }
    }

    fn run(mut self, stop: &Receiver<()>) {
        while wait(stop, FLUSH_TICK) {
            self.tick();
        }
    }

    fn tick(&mut self) {
        self.flush_short();
        self.flush_for_memory();
        self.flush_for_age();
        if self.log_tick.elapsed() >= LOG_TICK {
            self.log_tick = Instant::now();
            raise_witness(self.inner, &self.running().collect::<Vec<_>>());
            self.purge_log();
        }
    }

    fn running(&self) -> impl Iterator<Item = Arc<RaftGroup>> {
        let groups = self.inner.groups();
        groups.into_iter().filter(|group| group.is_running())
    }

    /// Flushes groups again that there was no room for.
    fn flush_short(&mut self) {
        let groups: BTreeMap<_, _> = self.running().map(|group| (group.shard(), group)).collect();
        self.short.retain(|shard, _| groups.contains_key(shard));
        let now = Instant::now();
        let due = self.short.iter().filter(|(_, (_, again))| *again <= now);
        let due: Vec<_> = due.map(|(shard, _)| *shard).collect();
        for group in due.iter().filter_map(|shard| groups.get(shard)) {
            self.flush(group);
        }
    }

    /// Half of the budget is for what is being flushed.
    fn flush_for_memory(&mut self) {
        // Those that there is no room for have their own turn, and flushing others in their place ends nothing.
        let unflushed = |upkeep: &Upkeep<'_>| {
            let groups = upkeep.running();
            let flushable = groups.filter(|group| !upkeep.short.contains_key(&group.shard()));
            flushable
                .map(|group| group.state().unflushed_bytes())
                .sum::<u64>()
        };
        while unflushed(self) > self.inner.write_buffer_bytes / 2 {
            let largest = self
                .running()
                .filter(|group| !self.short.contains_key(&group.shard()))
                .filter(|group| group.state().unflushed_bytes() > 0)
                .max_by_key(|group| group.state().unflushed_bytes());
            if !largest.is_some_and(|group| self.flush(&group)) {
                return;
            }
        }
    }

    fn flush_for_age(&mut self) {
        let is_old = |group: &Arc<RaftGroup>| {
            let since = group.state().unflushed_since();
            since.is_some_and(|since| since.elapsed() >= FLUSH_AGE)
        };
        let old: Vec<_> = self.running().filter(is_old).collect();
        for group in old {
            if !self.short.contains_key(&group.shard()) {
                self.flush(&group);
            }
        }
    }

    fn purge_log(&mut self) {
        let lagging = match self.inner.log.store().and_then(|log| log.purge()) {
            Ok(lagging) => lagging,
            Err(error) => return tracing::warn!(%error, "the log's old files stay for now"),
        };
        let lagging: Vec<_> = self
            .running()
            .filter(|group| lagging.contains(&log_group(group.shard())))
            .filter(|group| !self.short.contains_key(&group.shard()))
            .collect();
        for group in lagging {
            tracing::debug!(shard = %group.shard(), "flushed because its old entries keep the log from being cut");
            self.flush(&group);
            group.cut_log();
        }
        self.cut_logs();
    }

    /// Cuts what is flushed. A copy that was away for a while gets what it missed from the log, if it is still there, and
    /// else the whole state: so, of a group with several copies, only once the log is half full.
    fn cut_logs(&self) {
        let used = self.inner.log.store().map_or(0, |log| log.used_bytes());
        let keep = used < self.inner.log_bytes_max / 2;
        self.running()
            .filter(|group| !keep || group.is_alone())
            .for_each(|group| group.cut_log());
    }

    /// Flushes the group and has its log cut where it may be; false if that failed.
    fn flush(&mut self, group: &RaftGroup) -> bool {
        let started = Instant::now();
        match group.state().flush() {
            Ok(_) => drop(self.short.remove(&group.shard())),
            // It was shut down meanwhile, which flushed it.
            Err(_) if !group.is_running() => return false,
            Err(KvError::Full(cause)) => {
                let reserve = &self.inner.reserve;
                let what = || format!("the tables of group {}", group.shard());
                let new = || (reserve.short(what(), &cause), started);
                let (short, again) = self.short.entry(group.shard()).or_insert_with(new);
                *again = Instant::now() + short.pause();
                return false;
            }
            Err(error) => {
                group.stop(&format!("flushing failed: {error}"));
                return false;
            }
        }
        tracing::debug!(shard = %group.shard(), elapsed = ?started.elapsed(), "flushed");
        if group.is_alone() {
            group.cut_log();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_garbage_is_worth_the_work_where_room_is_short() {
        const MIB: u64 = 1 << 20;
        let policy = GarbagePolicy::default();
        for (room, worth) in [
            (1 << 40, 256 * MIB),
            (4096 * MIB, 256 * MIB),
            (512 * MIB, 32 * MIB),
            (0, MIB),
        ] {
            assert_eq!(
                policy.worth(room, false).bytes,
                worth,
                "{room} bytes of room"
            );
        }
        assert!(policy.worth(0, true).percent < policy.worth(0, false).percent);
    }

    #[test]
    fn a_full_disk_leaves_some_room_to_free_more() {
        for (free, room) in [(10_000, 8_000), (2_500, 625), (1_000, 250), (0, 0)] {
            assert_eq!(room_bytes(free, 1_000), room, "{free} bytes free");
        }
    }
}
