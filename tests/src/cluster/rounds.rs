//! The fault loop: load, faults at moments from the seed, and after every few rounds a look at everything acknowledged.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::clients::Clients;
use super::fault::Fault;
use super::rig::Cluster;
use crate::ledger::Violation;
use crate::worker::Job;

/// A long run says after so many rounds how far it is.
const ROUNDS_TOLD: u32 = 20;

/// After so many rounds all mail is removed, so that reading all of it does not take longer and longer. Its room is free an
/// hour later, as bodies are kept for so long for who reads them.
const ROUNDS_KEPT: u32 = 30;

/// What the loop is to do.
#[derive(Debug, Clone)]
pub struct Rounds {
    /// Of everything random; a failure prints it.
    pub seed: u64,
    /// How many.
    pub count: u32,
    /// How many between two looks.
    pub look_every: u32,
    /// The time that a fault lasts is drawn from 200 ms up to 2 s, and now and then up to this: elections after
    /// silence take longer than most faults.
    pub fault_ms_max: u64,
}

/// What most faults last at most.
const FAULT_MS_USUAL: u64 = 2_000;
/// One round in so many has long ones.
const LONG_ONE_IN: u32 = 4;

/// What it found.
#[derive(Debug, Default)]
pub struct RoundsReport {
    /// Rounds that were run.
    pub rounds: u32,
    /// How often each fault struck.
    pub faults: BTreeMap<&'static str, u32>,
    /// Messages that were sent, and copies that were asked for.
    pub sent: usize,
    /// Those that were kept, or deleted, as told.
    pub kept: usize,
    /// Commands without an answer when it was looked.
    pub unanswered: usize,
    /// Sessions that broke off, as they may.
    pub excused: usize,
    /// The longest time until all nodes were ready and all groups whole, in ms.
    pub whole_ms_max: u128,
    /// How often each kind of work was acknowledged.
    pub work: BTreeMap<Job, usize>,
    /// The faults since the last look that found nothing.
    pub last: Vec<String>,
    /// What was not kept.
    pub violations: Vec<Violation>,
}

impl RoundsReport {
    fn count_in(&mut self, clients: &Clients) {
        let (sent, kept) = clients.counts();
        self.sent += sent;
        self.kept += kept;
        self.excused += clients.excused();
        for (job, acknowledged) in clients.acknowledged() {
            *self.work.entry(job).or_default() += acknowledged;
        }
    }
}

impl fmt::Display for RoundsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} rounds of {:?}; {} messages sent, {} kept or deleted as told, {} commands unanswered, {} sessions broken off, {} ms the longest until all was whole, acknowledged {:?}, {} violations",
            self.rounds,
            self.faults,
            self.sent,
            self.kept,
            self.unanswered,
            self.excused,
            self.whole_ms_max,
            self.work,
            self.violations.len()
        )?;
        if !self.violations.is_empty() {
            writeln!(f, "after {}", self.last.join("; "))?;
        }
        let some = self.violations.iter().take(30);
        some.into_iter().try_for_each(|v| writeln!(f, "  {v}"))
    }
}

/// Runs the loop to its end, or to the first look that finds something.
pub fn run_rounds(cluster: &mut Cluster, plan: &Rounds) -> io::Result<RoundsReport> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut clients = Clients::new(cluster.accounts(), plan.seed, &cluster.spaces())?;
    let mut report = RoundsReport::default();
    let nodes_at_first = cluster.numbers().len();
    while report.rounds < plan.count && report.violations.is_empty() {
        let rounds = plan.look_every.min(plan.count - report.rounds);
        report.last.clear();
        let mut rounds_and_look = || -> io::Result<()> {
            for _ in 0..rounds {
                let faults = |cluster: &mut Cluster, report: &mut RoundsReport| {
                    strike(cluster, &mut random, plan, nodes_at_first, report)
                };
                under_load(cluster, &mut clients, &mut report, faults)?;
                report.rounds += 1;
            }
            let begin = Instant::now();
            cluster.wait_until_whole()?;
            report.whole_ms_max = report.whole_ms_max.max(begin.elapsed().as_millis());
            report.unanswered += clients.unanswered();
            look(cluster, &mut clients, &mut report)
        };
        rounds_and_look().map_err(|e| {
            let after = format!("round {}, after {}", report.rounds, report.last.join("; "));
            io::Error::new(e.kind(), format!("{after}: {e}"))
        })?;
        tell(cluster, &report, plan);
        if report.rounds % ROUNDS_KEPT < plan.look_every && report.rounds < plan.count {
            report.count_in(&clients);
            clients.remove_everything(&cluster.spaces())?;
            let seed = plan.seed.wrapping_add(report.rounds.into());
            clients = Clients::new(cluster.accounts(), seed, &cluster.spaces())?;
        }
    }
    report.count_in(&clients);
    Ok(report)
}

/// A long run says now and then how far it is.
fn tell(cluster: &Cluster, report: &RoundsReport, plan: &Rounds) {
    if report.rounds % ROUNDS_TOLD < plan.look_every {
        #[expect(clippy::print_stderr, reason = "the run takes an hour")]
        {
            eprintln!(
                "{} of {} rounds of faults\n{}",
                report.rounds,
                plan.count,
                cluster.disks()
            );
        }
    }
}

/// Load, and beside it the faults, which end with everything healed.
fn under_load(
    cluster: &mut Cluster,
    clients: &mut Clients,
    report: &mut RoundsReport,
    faults: impl FnOnce(&mut Cluster, &mut RoundsReport) -> io::Result<()>,
) -> io::Result<()> {
    let (stop, spaces, begun) = (AtomicBool::new(false), cluster.spaces(), clients.begun());
    let (struck, found) = thread::scope(|scope| {
        let load = scope.spawn(|| clients.work(&spaces, &stop));
        let struck = begun.wait().and_then(|()| faults(cluster, report));
        stop.store(true, Ordering::Relaxed);
        match load.join() {
            Ok(found) => (struck, found),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    struck?;
    report.violations.extend(found?);
    Ok(())
}

fn strike(
    cluster: &mut Cluster,
    random: &mut StdRng,
    plan: &Rounds,
    nodes_at_first: usize,
    report: &mut RoundsReport,
) -> io::Result<()> {
    let fault_ms_max = match random.random_ratio(1, LONG_ONE_IN) {
        true => plan.fault_ms_max,
        false => plan.fault_ms_max.min(FAULT_MS_USUAL),
    };
    let nap = |random: &mut StdRng| {
        let ms = random.random_range(200..=fault_ms_max.max(201));
        thread::sleep(Duration::from_millis(ms));
    };
    nap(random);
    let mut faults = vec![Fault::draw(random, cluster, nodes_at_first)];
    if random.random_ratio(1, 2) {
        faults.push(Fault::draw_sudden(random, cluster));
    }
    for fault in faults {
        report.last.push(fault.to_string());
        *report.faults.entry(fault.kind()).or_default() += 1;
        fault.begin(cluster)?;
        nap(random);
        report.violations.extend(fallen(cluster));
    }
    cluster.heal()?;
    // Load goes on while it heals.
    nap(random);
    report.violations.extend(fallen(cluster));
    Ok(())
}

/// No fault here is a reason to end.
fn fallen(cluster: &mut Cluster) -> Vec<Violation> {
    let fallen = cluster.fallen().into_iter();
    fallen
        .map(|number| Violation {
            account: cluster.member(number).name(),
            what: format!("ended by itself:\n{}", cluster.member(number).log_tail(20)),
        })
        .collect()
}

fn look(cluster: &mut Cluster, clients: &mut Clients, report: &mut RoundsReport) -> io::Result<()> {
    report.violations.extend(clients.look(&cluster.spaces())?);
    if let Err(error) = cluster.verify() {
        report.violations.push(Violation {
            account: "the copies".to_owned(),
            what: error.to_string(),
        });
    }
    Ok(())
}
