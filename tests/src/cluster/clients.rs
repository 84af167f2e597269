//! Load clients that go on at another node when theirs fails, and look at everything through every node.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::excuse::is_excused;
use super::member::PORTS;
use super::space::Space;
use crate::client::set_patience;
use crate::harness::{Account, wait_until};
use crate::ledger::Violation;
use crate::worker::{Job, Worker};

/// How long a client waits for an answer before it goes to the next node: above the five seconds that a silent failure
/// may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a node goes on with a command whose client has given up: the time that it has for a call to a shard. Until
/// then what the command does may still come, and what a look finds is not yet what is.
const UNDER_WAY_MAX: Duration = Duration::from_secs(20);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(30);
/// How long the clients may take to begin, and how long the mailboxes may be unreadable once all is healed.
const READABLE_WITHIN: Duration = Duration::from_secs(30);
/// Messages a client sends before it rests until the round's end; several nodes read all of them back.
const SHARE: usize = 120;
/// Every job once, and those twice that differ most from one time to the next.
const JOBS: [Job; 12] = [
    Job::Smtp,
    Job::Smtp,
    Job::Lmtp,
    Job::Lmtp,
    Job::Append,
    Job::Append,
    Job::MultiAppend,
    Job::Copy,
    Job::Change,
    Job::Change,
    Job::Pop3,
    Job::Pop3,
];
/// Accounts a delivering client owns, on several shards as chance will have it; the others own one.
const DELIVERY_ACCOUNTS: usize = 3;

/// One client and where it is connected.
pub struct Client {
    worker: Worker,
    random: StdRng,
    /// Into the list of nodes, which may change.
    at: usize,
    excused: usize,
    /// When it waited in vain for an answer of a node that was there.
    gave_up: Option<Instant>,
}

/// Tells when every client has been acknowledged something.
pub struct Begun(Vec<Arc<AtomicUsize>>);

impl Begun {
    /// Waits for it.
    pub fn wait(&self) -> io::Result<()> {
        let begun = || self.0.iter().all(|count| count.load(Ordering::Relaxed) > 0);
        wait_until(
            READABLE_WITHIN,
            "every client to have done something",
            begun,
        )
    }
}

/// All of them.
pub struct Clients(Vec<Client>);

impl Clients {
    /// How many accounts they need.
    pub fn accounts_needed() -> usize {
        JOBS.into_iter().map(accounts_of).sum()
    }

    /// Clients of these accounts, with their mailboxes made.
    pub fn new(accounts: &[Account], seed: u64, spaces: &[Arc<Space>]) -> io::Result<Self> {
        let mut rest = accounts;
        let mut clients = Vec::new();
        for (number, job) in JOBS.into_iter().enumerate() {
            let (own, others) = rest
                .split_at_checked(accounts_of(job))
                .ok_or_else(|| io::Error::other("too few accounts"))?;
            rest = others;
            let seed = seed.wrapping_mul(1_000) + number as u64;
            clients.push(Client {
                worker: Worker::new(job, own.to_vec(), seed, true).with_share(SHARE),
                random: StdRng::seed_from_u64(seed),
                at: number,
                excused: 0,
                gave_up: None,
            });
        }
        let mut clients = Self(clients);
        clients.each(spaces, |client, spaces| {
            client.until_done(spaces, "make its mailboxes", |worker| worker.prepare(PORTS))
        })?;
        Ok(clients)
    }

    /// Works until told to stop. What is found is what no fault excuses.
    pub fn work(&mut self, spaces: &[Arc<Space>], stop: &AtomicBool) -> io::Result<Vec<Violation>> {
        self.each(spaces, |client, spaces| client.work(spaces, stop))
            .map(|found| found.into_iter().flatten().collect())
    }

    /// Reads everything through every node and compares; then sends again what was not answered, which must be there
    /// once.
    pub fn look(&mut self, spaces: &[Arc<Space>]) -> io::Result<Vec<Violation>> {
        self.each(spaces, Client::look)
            .map(|found| found.into_iter().flatten().collect())
    }

    /// Leaves the accounts as they were found, for the next who use them.
    pub fn remove_everything(mut self, spaces: &[Arc<Space>]) -> io::Result<()> {
        self.each(spaces, |client, spaces| {
            client.until_done(spaces, "leave", |worker| worker.remove_everything(PORTS))
        })
        .map(drop)
    }

    /// What each did: the job and how often it was acknowledged.
    pub fn acknowledged(&self) -> impl Iterator<Item = (Job, usize)> {
        self.0.iter().map(|client| client.worker.work())
    }

    /// To be waited for while they work: a fault that strikes before they have begun shows nothing.
    pub fn begun(&self) -> Begun {
        Begun(
            self.0
                .iter()
                .map(|client| client.worker.counter())
                .collect(),
        )
    }

    /// Messages sent, and kept or deleted as told.
    pub fn counts(&self) -> (usize, usize) {
        let counts = self.0.iter().map(|client| client.worker.counts());
        counts.fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
    }

    /// Commands without an answer so far.
    pub fn unanswered(&self) -> usize {
        self.0.iter().map(|c| c.worker.unanswered()).sum()
    }

    /// How often a client had to go elsewhere.
    pub fn excused(&self) -> usize {
        self.0.iter().map(|client| client.excused).sum()
    }

    /// Each in a thread of its own, which may enter namespaces.
    fn each<T: Send>(
        &mut self,
        spaces: &[Arc<Space>],
        work: impl Fn(&mut Client, &[Arc<Space>]) -> io::Result<T> + Sync,
    ) -> io::Result<Vec<T>> {
        let run = |client: &mut Client| {
            set_patience(PATIENCE);
            work(client, spaces)
        };
        thread::scope(|scope| {
            let threads: Vec<_> = self.0.iter_mut().map(|c| scope.spawn(|| run(c))).collect();
            let ended = threads.into_iter().map(|thread| thread.join());
            ended
                .map(|ended| ended.unwrap_or_else(|e| std::panic::resume_unwind(e)))
                .collect()
        })
    }
}

fn accounts_of(job: Job) -> usize {
    match job {
        Job::Smtp | Job::Lmtp => DELIVERY_ACCOUNTS,
        _ => 1,
    }
}

impl Client {
    fn work(&mut self, spaces: &[Arc<Space>], stop: &AtomicBool) -> io::Result<Vec<Violation>> {
        let mut found = Vec::new();
        let mut again = false;
        while !stop.load(Ordering::Relaxed) {
            spaces[self.at % spaces.len()].enter()?;
            // As an MTA does: what was not answered is sent again, and must not be there twice for it.
            let worked = match again {
                true => self.worker.resend(PORTS).map(drop),
                false => Ok(()),
            };
            match worked.and_then(|()| self.worker.load(PORTS, stop)) {
                Ok(()) => again = false,
                Err(error) => {
                    again = true;
                    self.excused += 1;
                    if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) {
                        self.gave_up = Some(Instant::now());
                    }
                    if !is_excused(&error) {
                        found.push(self.denied(&error));
                    }
                    self.at += self.random.random_range(1..spaces.len().max(2));
                    thread::sleep(PAUSE);
                }
            }
        }
        Ok(found)
    }

    fn look(&mut self, spaces: &[Arc<Space>]) -> io::Result<Vec<Violation>> {
        if let Some(gave_up) = self.gave_up.take() {
            thread::sleep(UNDER_WAY_MAX.saturating_sub(gave_up.elapsed()));
        }
        let mut found = self.look_through_all(spaces)?;
        // What follows stands on mailboxes that are as they should be.
        if found.is_empty() {
            let sent = self.until_done(spaces, "send again", |worker| worker.resend(PORTS))?;
            if sent {
                found.extend(self.look_through_all(spaces)?);
            }
            self.until_done(spaces, "empty its mailboxes", |worker| worker.tidy(PORTS))?;
        }
        Ok(found)
    }

    fn look_through_all(&mut self, spaces: &[Arc<Space>]) -> io::Result<Vec<Violation>> {
        let mut found = Vec::new();
        for space in spaces {
            let one = std::slice::from_ref(space);
            let what = "read its mailboxes through one node";
            found.extend(self.until_done(one, what, |worker| worker.inspect(PORTS))?);
        }
        Ok(found)
    }

    /// Tries until it works: a leader may still be changing.
    fn until_done<T>(
        &mut self,
        spaces: &[Arc<Space>],
        what: &str,
        mut work: impl FnMut(&mut Worker) -> io::Result<T>,
    ) -> io::Result<T> {
        let begin = Instant::now();
        loop {
            spaces[self.at % spaces.len()].enter()?;
            match work(&mut self.worker) {
                Ok(done) => return Ok(done),
                Err(error) if is_excused(&error) && begin.elapsed() < READABLE_WITHIN => {
                    self.at += 1;
                    thread::sleep(PAUSE);
                }
                Err(error) => {
                    let (job, _) = self.worker.work();
                    let text = format!("{job:?} could not {what} once all was healed: {error}");
                    return Err(io::Error::new(error.kind(), text));
                }
            }
        }
    }

    fn denied(&self, error: &io::Error) -> Violation {
        let mut violation = self.worker.broken_off(error);
        violation.what = format!("denied: {}", violation.what);
        violation
    }
}
