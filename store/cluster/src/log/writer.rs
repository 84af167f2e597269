//! The one writer of the log: gathers what waits, pays one sync for all, then tells everyone.

use std::{
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use mailrook_types::ShardId;
use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::Instant,
};

use super::{LogError, LogStore, LogWrite, WRITE_BYTES_MAX};
use crate::{
    Plant,
    data_dir::{DirLock, VoteMark, WitnessFile},
    disk::{self, Reserve, Short},
    simulation,
};

/// Writes that wait for the writer. Each group has a handful under way (its entries are bounded by the proposals in
/// flight), so that 64 groups do not fill it; if they do, their tasks wait, and no thread does.
const QUEUE_MAX: usize = 4096;

/// How long the planted fault leaves acknowledged entries unwritten: enough for a kill to fall in between.
const PLANTED_DELAY: Duration = Duration::from_millis(50);

/// Called once, when what was written is durable, or never will be.
pub(crate) type Done = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// What happens when the log cannot be written any more. A failed sync is never retried: the kernel may have dropped
/// what it could not write, and the next sync would succeed without it. A write that found no room is, as it was taken back
/// before anything was synced: until there is room, all writes wait, and nobody is answered.
#[derive(Clone)]
pub(crate) struct OnFatal(Arc<dyn Fn(&LogError) + Send + Sync>);

impl OnFatal {
    /// Ends the process, at once.
    pub(crate) fn abort() -> OnFatal {
        OnFatal(Arc::new(|error| {
            tracing::error!(%error, "the process ends: what it would say from now on could not be kept");
            std::process::abort();
        }))
    }

    /// For tests and simulations, which outlive it.
    pub(crate) fn call(call: impl Fn(&LogError) + Send + Sync + 'static) -> OnFatal {
        OnFatal(Arc::new(call))
    }
}

/// How the writer works.
#[derive(Clone)]
pub(crate) struct WriterOptions {
    pub(crate) on_fatal: OnFatal,
    pub(crate) plant: Option<Plant>,
}

struct Job {
    write: LogWrite,
    /// A vote is copied to the witness before it counts as durable.
    vote: Option<(ShardId, VoteMark)>,
    done: Done,
    /// Its place among those that wait.
    _place: Option<OwnedSemaphorePermit>,
}

impl Job {
    fn len_bytes(&self) -> usize {
        match &self.write {
            LogWrite::Append { entries, .. } => {
                entries.iter().map(super::RawEntry::len_bytes).sum()
            }
            LogWrite::Record { value, .. } => value.len(),
            LogWrite::Compact { .. } | LogWrite::Forget { .. } => 0,
        }
    }
}

/// The way to the writer.
#[derive(Clone)]
enum Jobs {
    Thread(Sender<Job>),
    Task(mpsc::UnboundedSender<Job>),
}

impl Jobs {
    /// Hands a job over, or back once the writer has ended.
    fn send(&self, job: Job) -> Option<Job> {
        match self {
            Jobs::Thread(queue) => queue.send(job).err().map(|error| error.into_inner()),
            Jobs::Task(queue) => queue.send(job).err().map(|error| error.0),
        }
    }
}

/// The log with its writer.
pub(crate) struct SharedLog {
    /// Gone, as all below, once the log is closed.
    store: RwLock<Option<Arc<dyn LogStore>>>,
    jobs: Mutex<Option<Jobs>>,
    places: Arc<Semaphore>,
    reserve: Arc<Reserve>,
    writer: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<DirLock>>,
    pace: Arc<Mutex<Pace>>,
}

/// How long a slow write is held against the disk: the next one may be about to begin.
const SLOW_REMEMBERED: Duration = Duration::from_secs(10);

/// How fast the disk answers.
#[derive(Default)]
struct Pace {
    /// When the write began that is under way.
    begun: Option<Instant>,
    /// When a write ended, and how long it took: the slowest of late.
    slowest: Option<(Instant, Duration)>,
}

impl Pace {
    fn end(&mut self) {
        let took = self.under_way();
        self.begun = None;
        if took >= self.slowest() {
            self.slowest = Some((Instant::now(), took));
        }
    }

    fn under_way(&self) -> Duration {
        self.begun.map_or(Duration::ZERO, |begun| begun.elapsed())
    }

    /// The longest that a write takes, or took of late.
    fn slowest(&self) -> Duration {
        let under_way = self.under_way();
        let ended = self
            .slowest
            .filter(|(at, _)| at.elapsed() < SLOW_REMEMBERED);
        ended.map_or(under_way, |(_, took)| took.max(under_way))
    }
}

impl SharedLog {
    /// Starts the writer: a thread, and in a simulation a task.
    pub(crate) fn start(
        store: Arc<dyn LogStore>,
        witness: Arc<WitnessFile>,
        reserve: Arc<Reserve>,
        options: WriterOptions,
        lock: DirLock,
    ) -> std::io::Result<SharedLog> {
        let pace = Arc::default();
        let writer = Writer {
            store: Arc::clone(&store),
            witness,
            reserve: Arc::clone(&reserve),
            options,
            pace: Arc::clone(&pace),
        };
        let (jobs, thread) = if simulation::is_on() {
            let (jobs, queue) = mpsc::unbounded_channel();
            tokio::spawn(writer.run_as_task(queue));
            (Jobs::Task(jobs), None)
        } else {
            let (jobs, queue) = unbounded();
            let thread = Builder::new()
                .name("log-writer".into())
                .spawn(move || writer.run(&queue))?;
            (Jobs::Thread(jobs), Some(thread))
        };
        Ok(SharedLog {
            store: RwLock::new(Some(store)),
            jobs: Mutex::new(Some(jobs)),
            places: Arc::new(Semaphore::new(QUEUE_MAX)),
            reserve,
            writer: Mutex::new(thread),
            lock: Mutex::new(Some(lock)),
            pace,
        })
    }

    /// How long the disk has not answered the write that is under way.
    pub(crate) fn stalled_for(&self) -> Duration {
        self.pace.lock().under_way()
    }

    /// The longest that the disk keeps a write waiting, or did of late.
    pub(crate) fn slowest_write(&self) -> Duration {
        self.pace.lock().slowest()
    }

    /// Hands a write over, once there is a place for it. Writes of one caller are carried out in their order. After
    /// [`SharedLog::close`] `done` gets an error.
    pub(crate) async fn write(
        &self,
        write: LogWrite,
        vote: Option<(ShardId, VoteMark)>,
        done: Done,
    ) {
        // An error cannot be: they are never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let jobs = self.jobs.lock().clone();
        let job = Job {
            write,
            vote,
            done,
            _place: place,
        };
        let refused = match jobs {
            Some(jobs) => jobs.send(job),
            None => Some(job),
        };
        if let Some(job) = refused {
            (job.done)(Err(LogError::closed()));
        }
    }

    /// Hands a write over and waits until it is durable.
    pub(crate) async fn write_durably(
        &self,
        write: LogWrite,
        vote: Option<(ShardId, VoteMark)>,
    ) -> Result<(), LogError> {
        let (told, durable) = tokio::sync::oneshot::channel();
        let done = Box::new(move |result| {
            // Nobody waits any more: nothing is lost by not telling.
            let _ = told.send(result);
        });
        self.write(write, vote, done).await;
        durable.await.unwrap_or_else(|_| Err(LogError::closed()))
    }

    /// What the log holds.
    pub(crate) fn store(&self) -> Result<Arc<dyn LogStore>, LogError> {
        self.store.read().clone().ok_or_else(LogError::closed)
    }

    /// Writes what waits, if there is room, and stops.
    pub(crate) fn close(&self) {
        self.reserve.give_up();
        self.jobs.lock().take();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the log's writer panicked");
        }
        self.store.write().take();
        self.lock.lock().take();
    }
}

impl Drop for SharedLog {
    fn drop(&mut self) {
        self.close();
    }
}

/// What is written in one go.
struct Batch {
    writes: Vec<LogWrite>,
    votes: Vec<(ShardId, VoteMark)>,
    /// It waits for nothing but the witness.
    is_in_log: bool,
    /// It waits for room.
    short: Option<Short>,
}

impl Batch {
    fn new(writes: Vec<LogWrite>, votes: Vec<(ShardId, VoteMark)>) -> Batch {
        Batch {
            writes,
            votes,
            is_in_log: false,
            short: None,
        }
    }
}

/// What came of a try.
enum Tried {
    Written,
    /// There is no room; try again after this time.
    Short(Duration),
    Failed(LogError),
}

struct Writer {
    store: Arc<dyn LogStore>,
    witness: Arc<WitnessFile>,
    reserve: Arc<Reserve>,
    options: WriterOptions,
    pace: Arc<Mutex<Pace>>,
}

impl Writer {
    fn run(&self, queue: &Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let (writes, votes, done) = gather(first, || queue.try_recv().ok());
            if self.options.plant == Some(Plant::AckBeforeFsync) {
                done.into_iter().for_each(|done| done(Ok(())));
                std::thread::sleep(PLANTED_DELAY);
                if let Err(error) = self.write(Batch::new(writes, votes)) {
                    self.fail(&error, Vec::new(), queue.iter());
                    return;
                }
                continue;
            }
            match self.write(Batch::new(writes, votes)) {
                Ok(()) => done.into_iter().for_each(|done| done(Ok(()))),
                Err(error) => {
                    self.fail(&error, done, queue.iter());
                    return;
                }
            }
        }
    }

    /// The same in a simulation, in which nothing may block: the store says how long each write takes.
    async fn run_as_task(self, mut queue: mpsc::UnboundedReceiver<Job>) {
        while let Some(first) = queue.recv().await {
            let (writes, votes, mut done) = gather(first, || queue.try_recv().ok());
            if self.options.plant == Some(Plant::AckBeforeFsync) {
                done.drain(..).for_each(|done| done(Ok(())));
                tokio::time::sleep(PLANTED_DELAY).await;
            }
            self.pace.lock().begun = Some(Instant::now());
            tokio::time::sleep(self.store.begin(&writes)).await;
            let mut batch = Batch::new(writes, votes);
            let written = loop {
                match self.try_write(&mut batch) {
                    Tried::Short(pause) if !self.reserve.has_given_up() => {
                        tokio::time::sleep(pause).await;
                    }
                    tried => break self.ended(tried),
                }
            };
            match written {
                Ok(()) => done.into_iter().for_each(|done| done(Ok(()))),
                Err(error) => {
                    let waiting = std::iter::from_fn(|| queue.try_recv().ok());
                    self.fail(&error, done, waiting);
                    return;
                }
            }
        }
    }

    fn write(&self, mut batch: Batch) -> Result<(), LogError> {
        loop {
            match self.try_write(&mut batch) {
                Tried::Short(pause) if self.reserve.wait(pause) => {}
                tried => return self.ended(tried),
            }
        }
    }

    /// The write that is under way is over.
    fn ended(&self, tried: Tried) -> Result<(), LogError> {
        self.pace.lock().end();
        match tried {
            Tried::Written => Ok(()),
            Tried::Failed(error) => Err(error),
            Tried::Short(_) => Err(LogError::closed()),
        }
    }

    fn try_write(&self, batch: &mut Batch) -> Tried {
        // In a simulation it began before this.
        self.pace.lock().begun.get_or_insert_with(Instant::now);
        match self.write_now(batch) {
            Ok(()) => Tried::Written,
            Err(error) if error.is_no_room() => {
                let short = || self.reserve.short("the log".to_owned(), &error.to_string());
                Tried::Short(batch.short.get_or_insert_with(short).pause())
            }
            Err(error) => Tried::Failed(error),
        }
    }

    fn write_now(&self, batch: &mut Batch) -> Result<(), LogError> {
        if !batch.is_in_log {
            self.store.write_synced(&batch.writes)?;
            batch.is_in_log = true;
        }
        if !batch.votes.is_empty() {
            const DOING: &str = "writing the witness";
            let noted = self.witness.raise_votes(&batch.votes);
            // It is replaced as a whole: what a try that failed has left does not count.
            noted.map_err(|error| match disk::is_no_room(error.kind()) {
                true => LogError::no_room(DOING, error.to_string()),
                false => LogError::failure(DOING, error.to_string()),
            })?;
        }
        Ok(())
    }

    /// Does not come back, but in tests, and where the node ends while there is no room.
    fn fail(&self, error: &LogError, done: Vec<Done>, waiting: impl Iterator<Item = Job>) {
        if self.reserve.has_given_up() && error.is_closed() {
            tracing::warn!(
                "what waited for room in the log is not written; nobody was told that it was"
            );
        } else {
            (self.options.on_fatal.0)(error);
        }
        done.into_iter().for_each(|done| done(Err(error.clone())));
        waiting.for_each(|job| (job.done)(Err(error.clone())));
    }
}

/// The first job and what else waits, up to a bound.
fn gather(
    first: Job,
    mut waiting: impl FnMut() -> Option<Job>,
) -> (Vec<LogWrite>, Vec<(ShardId, VoteMark)>, Vec<Done>) {
    let (mut writes, mut votes, mut done) = (Vec::new(), Vec::new(), Vec::new());
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(job) = next {
        bytes += job.len_bytes();
        writes.push(job.write);
        votes.extend(job.vote);
        done.push(job.done);
        next = if bytes < WRITE_BYTES_MAX {
            waiting()
        } else {
            None
        };
    }
    (writes, votes, done)
}

#[cfg(test)]
mod tests {
    use parking_lot::Condvar;

    use super::*;
    use crate::{
        FileSystemSpace,
        data_dir::DataDir,
        log::{RawEntry, RecordKey},
    };

    #[tokio::test(start_paused = true)]
    async fn a_slow_write_is_remembered_for_a_while() {
        let mut pace = Pace::default();
        for (took, slowest) in [(2, 2), (1, 2), (3, 3)] {
            pace.begun = Some(Instant::now());
            tokio::time::advance(Duration::from_secs(took)).await;
            pace.end();
            assert_eq!(pace.slowest(), Duration::from_secs(slowest));
        }
        tokio::time::advance(SLOW_REMEMBERED).await;
        assert_eq!(pace.slowest(), Duration::ZERO);
        pace.begun = Some(Instant::now());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pace.slowest(), Duration::from_secs(1), "under way");
    }

    /// A disk that answers once it is told to.
    #[derive(Default)]
    struct Gate {
        open: Mutex<bool>,
        opened: Condvar,
    }

    impl LogStore for Gate {
        fn write_synced(&self, _writes: &[LogWrite]) -> Result<(), LogError> {
            let mut open = self.open.lock();
            while !*open {
                self.opened.wait(&mut open);
            }
            Ok(())
        }

        fn bounds(&self, _group: u64) -> Option<(u64, u64)> {
            None
        }

        fn read(
            &self,
            _group: u64,
            _from: u64,
            _to: u64,
            _bytes_max: usize,
        ) -> Result<Vec<RawEntry>, LogError> {
            Ok(Vec::new())
        }

        fn record(&self, _group: u64, _key: RecordKey) -> Option<Vec<u8>> {
            None
        }

        fn purge(&self) -> Result<Vec<u64>, LogError> {
            Ok(Vec::new())
        }

        fn used_bytes(&self) -> u64 {
            0
        }
    }

    /// On one thread: were it blocked, nothing would go on.
    #[tokio::test]
    async fn who_finds_the_queue_full_waits_without_a_thread() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path(), &[]).unwrap();
        let gate = Arc::new(Gate::default());
        let space = FileSystemSpace {
            path: dir.path().to_owned(),
        };
        let log = SharedLog::start(
            Arc::clone(&gate) as Arc<dyn LogStore>,
            Arc::new(WitnessFile::open(data.witness()).unwrap()),
            Arc::new(Reserve::new(Box::new(space), 0).unwrap()),
            WriterOptions {
                on_fatal: OnFatal::abort(),
                plant: None,
            },
            data.lock(),
        );
        let log = Arc::new(log.unwrap());
        let write = || {
            let log = Arc::clone(&log);
            let write = LogWrite::Forget { group: 1 };
            tokio::spawn(async move { log.write_durably(write, None).await })
        };
        let first = write();
        tokio::time::sleep(Duration::from_millis(50)).await;
        // The writer has the first one in its hands.
        let more: Vec<_> = (0..QUEUE_MAX + 50).map(|_| write()).collect();
        let waiting = Duration::from_millis(200);
        let goes_on = tokio::time::timeout(waiting, std::future::pending::<()>());
        assert!(goes_on.await.is_err());
        assert_eq!(log.places.available_permits(), 0, "the queue is full");
        assert!(more.iter().all(|write| !write.is_finished()));
        *gate.open.lock() = true;
        gate.opened.notify_all();
        for write in std::iter::once(first).chain(more) {
            write.await.unwrap().unwrap();
        }
        assert_eq!(log.places.available_permits(), QUEUE_MAX);
        log.close();
    }
}
