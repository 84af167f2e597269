//! The one writer of the log: gathers what waits, pays one sync for all, then tells everyone.

use std::{
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use mailrook_types::ShardId;
use parking_lot::{Mutex, RwLock};
use tokio::{sync::mpsc, time::Instant};

use super::{LogError, LogStore, LogWrite, WRITE_BYTES_MAX};
use crate::{
    Plant,
    data_dir::{DirLock, VoteMark, WitnessFile},
    simulation,
};

/// Writes that wait for the writer. Each group has a handful under way (its entries are bounded by the proposals in
/// flight), so that 64 groups do not fill it; if they do, they wait.
const QUEUE_MAX: usize = 4096;

/// How long the planted fault leaves acknowledged entries unwritten: enough for a kill to fall in between.
const PLANTED_DELAY: Duration = Duration::from_millis(50);

/// Called once, when what was written is durable, or never will be.
pub(crate) type Done = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// What happens when the log cannot be written any more. A failed sync is never retried: the kernel may have dropped
/// what it could not write, and the next sync would succeed without it.
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
    writer: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<DirLock>>,
    begun: Arc<Mutex<Option<Instant>>>,
}

impl SharedLog {
    /// Starts the writer: a thread, and in a simulation a task.
    pub(crate) fn start(
        store: Arc<dyn LogStore>,
        witness: Arc<WitnessFile>,
        options: WriterOptions,
        lock: DirLock,
    ) -> std::io::Result<SharedLog> {
        let begun = Arc::default();
        let writer = Writer {
            store: Arc::clone(&store),
            witness,
            options,
            begun: Arc::clone(&begun),
        };
        let (jobs, thread) = if simulation::is_on() {
            let (jobs, queue) = mpsc::unbounded_channel();
            tokio::spawn(writer.run_as_task(queue));
            (Jobs::Task(jobs), None)
        } else {
            let (jobs, queue) = bounded(QUEUE_MAX);
            let thread = Builder::new()
                .name("log-writer".into())
                .spawn(move || writer.run(&queue))?;
            (Jobs::Thread(jobs), Some(thread))
        };
        Ok(SharedLog {
            store: RwLock::new(Some(store)),
            jobs: Mutex::new(Some(jobs)),
            writer: Mutex::new(thread),
            lock: Mutex::new(Some(lock)),
            begun,
        })
    }

    /// How long the disk has not answered the write that is under way.
    pub(crate) fn stalled_for(&self) -> Duration {
        let begun = *self.begun.lock();
        begun.map_or(Duration::ZERO, |begun| begun.elapsed())
    }

    /// Hands a write over. Writes of one caller are carried out in their order. After [`SharedLog::close`] `done`
    /// gets an error.
    pub(crate) fn write(&self, write: LogWrite, vote: Option<(ShardId, VoteMark)>, done: Done) {
        let jobs = self.jobs.lock().clone();
        let job = Job { write, vote, done };
        let refused = match jobs {
            Some(jobs) => jobs.send(job),
            None => Some(job),
        };
        if let Some(job) = refused {
            (job.done)(Err(closed()));
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
        self.write(write, vote, done);
        durable.await.unwrap_or_else(|_| Err(closed()))
    }

    /// What the log holds.
    pub(crate) fn store(&self) -> Result<Arc<dyn LogStore>, LogError> {
        self.store.read().clone().ok_or_else(closed)
    }

    /// Writes what waits, and stops.
    pub(crate) fn close(&self) {
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

fn closed() -> LogError {
    LogError::failure("using it", "it is closed")
}

struct Writer {
    store: Arc<dyn LogStore>,
    witness: Arc<WitnessFile>,
    options: WriterOptions,
    /// When the write began that is under way.
    begun: Arc<Mutex<Option<Instant>>>,
}

impl Writer {
    fn run(&self, queue: &Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let (writes, votes, done) = gather(first, || queue.try_recv().ok());
            if self.options.plant == Some(Plant::AckBeforeFsync) {
                done.into_iter().for_each(|done| done(Ok(())));
                std::thread::sleep(PLANTED_DELAY);
                if let Err(error) = self.write(writes, &votes) {
                    self.fail(&error, Vec::new(), queue.iter());
                    return;
                }
                continue;
            }
            match self.write(writes, &votes) {
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
            *self.begun.lock() = Some(Instant::now());
            tokio::time::sleep(self.store.begin(&writes)).await;
            match self.write(writes, &votes) {
                Ok(()) => done.into_iter().for_each(|done| done(Ok(()))),
                Err(error) => {
                    let waiting = std::iter::from_fn(|| queue.try_recv().ok());
                    self.fail(&error, done, waiting);
                    return;
                }
            }
        }
    }

    fn write(&self, writes: Vec<LogWrite>, votes: &[(ShardId, VoteMark)]) -> Result<(), LogError> {
        // In a simulation it began before this.
        self.begun.lock().get_or_insert_with(Instant::now);
        let written = self.write_now(writes, votes);
        *self.begun.lock() = None;
        written
    }

    fn write_now(
        &self,
        writes: Vec<LogWrite>,
        votes: &[(ShardId, VoteMark)],
    ) -> Result<(), LogError> {
        self.store.write_synced(writes)?;
        if !votes.is_empty() {
            self.witness
                .raise_votes(votes)
                .map_err(|error| LogError::failure("writing the witness", error.to_string()))?;
        }
        Ok(())
    }

    /// Does not come back, but in tests.
    fn fail(&self, error: &LogError, done: Vec<Done>, waiting: impl Iterator<Item = Job>) {
        (self.options.on_fatal.0)(error);
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
