//! The kill -9 loop: load, SIGKILL at a moment from the seed, start again, account for everything acknowledged.
//!
//! Each worker owns its accounts and its ledger, so that no two clients' acknowledgements have to be put in order. After
//! each kill every mailbox is read in full and checked, then every delivery without an answer is sent again with the same
//! bytes and must be there exactly once.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::bench::System;
use crate::harness::{Account, Node, Ports};
use crate::ledger::Violation;
pub use crate::worker::Job;
use crate::worker::Worker;

/// A server that can be killed and started again.
pub trait Victim {
    /// Where it listens now.
    fn ports(&self) -> Ports;
    /// Its logins.
    fn accounts(&self) -> Vec<Account>;
    /// SIGKILL to all its processes.
    fn kill9(&mut self) -> io::Result<()>;
    /// Starts it again on what is left.
    fn start_again(&mut self) -> io::Result<()>;
}

impl Victim for Node {
    fn ports(&self) -> Ports {
        Node::ports(self)
    }
    fn accounts(&self) -> Vec<Account> {
        self.info().accounts.clone()
    }
    fn kill9(&mut self) -> io::Result<()> {
        Node::kill9(self)
    }
    fn start_again(&mut self) -> io::Result<()> {
        self.restart()
    }
}

impl Victim for System {
    fn ports(&self) -> Ports {
        System::ports(self)
    }
    fn accounts(&self) -> Vec<Account> {
        (0..self.account_count())
            .map(|n| self.account(n).clone())
            .collect()
    }
    fn kill9(&mut self) -> io::Result<()> {
        System::kill9(self)
    }
    fn start_again(&mut self) -> io::Result<()> {
        self.restart()
    }
}

/// How the loop runs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Of everything random; a failure prints it.
    pub seed: u64,
    /// How often to kill.
    pub rounds: u32,
    /// Deliver by SMTP too. Not into Postfix, where accepted is not delivered.
    pub smtp: bool,
    /// Send what was not answered again, and require it once. Not into Dovecot, which cannot.
    pub retry: bool,
    /// A command that adds several messages adds all or none. Not with Dovecot's maildir, where each is a file.
    pub whole: bool,
    /// The time from the load's beginning to the kill is drawn from 30 ms up to this.
    pub kill_after_ms_max: u64,
    /// End at the first round that finds something.
    pub stop_at_first: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            rounds: 20,
            smtp: true,
            retry: true,
            whole: true,
            kill_after_ms_max: 1_200,
            stop_at_first: true,
        }
    }
}

/// What the loop found.
#[derive(Debug, Default)]
pub struct Report {
    /// Rounds that were run.
    pub rounds: u32,
    /// Messages and copies the server acknowledged and kept.
    pub kept: usize,
    /// Messages that were sent, and copies that were asked for.
    pub sent: usize,
    /// Commands whose answer the kill cut off.
    pub unanswered: usize,
    /// The longest time from the start to the first answer, in ms.
    pub recovery_ms_max: u128,
    /// How often each kind of work was acknowledged. Zero means that nothing was tried of it.
    pub work: BTreeMap<Job, usize>,
    /// Everything that was not kept.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} rounds, {} messages sent, {} kept or deleted as told, {} unanswered at a kill, {} ms the longest recovery, acknowledged {:?}, {} violations",
            self.rounds,
            self.sent,
            self.kept,
            self.unanswered,
            self.recovery_ms_max,
            self.work,
            self.violations.len()
        )?;
        self.violations
            .iter()
            .take(30)
            .try_for_each(|v| writeln!(f, "  {v}"))
    }
}

/// Accounts a delivery worker owns; the others own one.
const DELIVERY_ACCOUNTS: usize = 2;

/// A long run says after so many rounds how far it is.
const ROUNDS_TOLD: u32 = 50;

/// Runs the loop. An error is one of the harness (the server did not start again, say); broken promises stand in the report.
pub fn run(victim: &mut dyn Victim, plan: &Plan) -> io::Result<Report> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let accounts = victim.accounts();
    let mut workers = workers(&accounts, plan);
    let mut report = Report::default();
    for worker in &mut workers {
        worker.prepare(victim.ports())?;
    }
    for _ in 0..plan.rounds {
        report.rounds += 1;
        let delay = Duration::from_millis(random.random_range(30..=plan.kill_after_ms_max.max(31)));
        report
            .violations
            .extend(load_and_kill(victim, &mut workers, delay)?);
        report.unanswered += workers.iter().map(Worker::unanswered).sum::<usize>();
        let begin = Instant::now();
        victim.start_again()?;
        report.recovery_ms_max = report.recovery_ms_max.max(begin.elapsed().as_millis());
        let ports = victim.ports();
        for worker in &mut workers {
            report.violations.extend(worker.inspect(ports)?);
        }
        // What follows stands on mailboxes that are as they should be.
        if plan.stop_at_first && !report.violations.is_empty() {
            break;
        }
        for worker in &mut workers {
            if plan.retry && worker.resend(ports)? {
                report.violations.extend(worker.inspect(ports)?);
            }
            worker.tidy(ports)?;
        }
        if report.rounds % ROUNDS_TOLD == 0 {
            #[expect(clippy::print_stderr, reason = "the run takes half an hour")]
            {
                eprintln!("{} of {} rounds of kill -9", report.rounds, plan.rounds);
            }
        }
    }
    for worker in &workers {
        let (sent, kept) = worker.counts();
        report.sent += sent;
        report.kept += kept;
        let (job, acknowledged) = worker.work();
        *report.work.entry(job).or_default() += acknowledged;
    }
    Ok(report)
}

fn workers(accounts: &[Account], plan: &Plan) -> Vec<Worker> {
    let mut jobs = vec![
        Job::Lmtp,
        Job::Lmtp,
        Job::Lmtp,
        Job::Append,
        Job::Append,
        Job::Append,
    ];
    jobs.extend([Job::Change, Job::Change, Job::Change, Job::Pop3, Job::Pop3]);
    jobs.extend([Job::MultiAppend, Job::MultiAppend, Job::Copy, Job::Copy]);
    if plan.smtp {
        jobs.extend([Job::Smtp, Job::Smtp, Job::Smtp]);
    }
    let mut next = 0;
    let mut made = Vec::new();
    for (number, job) in jobs.into_iter().enumerate() {
        let count = if matches!(job, Job::Smtp | Job::Lmtp) {
            DELIVERY_ACCOUNTS
        } else {
            1
        };
        let own: Vec<Account> = accounts.iter().skip(next).take(count).cloned().collect();
        next += count;
        let seed = plan.seed * 1_000 + number as u64;
        made.push(Worker::new(job, own, seed, plan.whole));
    }
    made
}

fn load_and_kill(
    victim: &mut dyn Victim,
    workers: &mut [Worker],
    delay: Duration,
) -> io::Result<Vec<Violation>> {
    let ports = victim.ports();
    let (stop, dying) = (AtomicBool::new(false), AtomicBool::new(false));
    let load = |worker: &mut Worker| {
        // A server that dies under the load breaks off; one that lives has no reason to.
        let error = worker.load(ports, &stop).err();
        let error = error.filter(|_| !dying.load(Ordering::SeqCst));
        error.map(|error| worker.broken_off(&error))
    };
    thread::scope(|scope| {
        let loads: Vec<_> = workers
            .iter_mut()
            .map(|worker| scope.spawn(|| load(worker)))
            .collect();
        thread::sleep(delay);
        dying.store(true, Ordering::SeqCst);
        let killed = victim.kill9();
        stop.store(true, Ordering::Relaxed);
        let broken_off = loads.into_iter().filter_map(|load| match load.join() {
            Ok(broken_off) => broken_off,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let broken_off = broken_off.collect();
        killed.map(|()| broken_off)
    })
}
