//! What clients at a surviving node see when the leader of their shard fails or is restarted.
//!
//! Three nodes, three copies, fsync on, all on this machine; one client delivers by SMTP and one changes and reads flags
//! by IMAP without a pause, both on the account whose leader is struck. The figure is the longest time without a success
//! from the fault until service has gone on for a while.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, ClusterOptions, Probe, Seen, Service};

/// Undisturbed work before each fault.
const BEFORE: Duration = Duration::from_millis(700);
/// Work after service could be back at the latest.
const AFTER_KILL: Duration = Duration::from_secs(3);
const AFTER_CUT: Duration = Duration::from_secs(8);
/// The account that is measured; the delivering client and the reading one share its shard.
const ACCOUNT: usize = 0;

/// What happens to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// kill -9.
    Kill,
    /// Cut off silently from all others.
    Cut,
    /// Stopped in good order and started again.
    Restart,
}

impl Event {
    /// All, in the table's order.
    pub const ALL: [Event; 3] = [Event::Kill, Event::Cut, Event::Restart];

    /// For the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "leader killed (kill -9)",
            Self::Cut => "leader cut off silently",
            Self::Restart => "planned restart of the leader",
        }
    }

    /// What the plan asks for.
    pub fn target(self) -> &'static str {
        match self {
            Self::Kill => "p50 ≤ 300 ms, p99 ≤ 1,000 ms",
            Self::Cut => "p99 ≤ 5,000 ms",
            Self::Restart => "no error, max ≤ 200 ms",
        }
    }

    fn strike(self, cluster: &mut Cluster, leader: usize) -> io::Result<()> {
        match self {
            Self::Kill => {
                cluster.kill9(leader)?;
                thread::sleep(AFTER_KILL);
            }
            Self::Cut => {
                cluster.network.isolate(leader)?;
                thread::sleep(AFTER_CUT);
            }
            Self::Restart => {
                cluster.stop(leader)?;
                cluster.start_node(leader)?;
                cluster.wait_until_ready(leader)?;
                thread::sleep(BEFORE);
            }
        }
        Ok(())
    }
}

/// The figures of one event and one client.
#[derive(Debug, Clone)]
pub struct Interruptions {
    /// What happened.
    pub event: Event,
    /// To whom.
    pub service: Service,
    /// The longest gap of each time, in ms.
    pub gaps_ms: Vec<f64>,
    /// Errors in all.
    pub errors: usize,
    /// One of them.
    pub example: Option<String>,
    /// Reads that did not show what had been acknowledged. There must be none.
    pub stale: usize,
}

impl Interruptions {
    fn new(event: Event, service: Service) -> Self {
        Self {
            event,
            service,
            gaps_ms: Vec::new(),
            errors: 0,
            example: None,
            stale: 0,
        }
    }

    fn add(&mut self, seen: &Seen, since: Instant) {
        self.gaps_ms
            .push(seen.longest_gap_since(since).as_secs_f64() * 1_000.0);
        let errors = seen.errors_since(since);
        self.errors += errors.len();
        self.example = self
            .example
            .take()
            .or(errors.first().map(|e| (*e).to_owned()));
        self.stale += seen.stale.len();
    }

    /// The gap that so many of 100 are not above.
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let mut gaps_ms = self.gaps_ms.clone();
        gaps_ms.sort_by(f64::total_cmp);
        let at = (gaps_ms.len() * percent).div_ceil(100);
        let gap = gaps_ms.get(at.saturating_sub(1));
        gap.copied().unwrap_or(f64::NAN)
    }
}

/// Measures each event so many times.
pub fn measure_fail_over(
    times: usize,
    events: &[Event],
    progress: &mut dyn Write,
) -> io::Result<Vec<Interruptions>> {
    let mut cluster = Cluster::start(ClusterOptions {
        accounts: 1,
        shards: 8,
        ..ClusterOptions::default()
    })?;
    let mut measured = Vec::new();
    for &event in events {
        let mut both = [Service::Smtp, Service::Imap].map(|s| Interruptions::new(event, s));
        for time in 1..=times {
            once(&mut cluster, event, &mut both)?;
            let [smtp, imap] = both
                .each_ref()
                .map(|one| one.gaps_ms.last().copied().unwrap_or(f64::NAN));
            writeln!(
                progress,
                "{}, {time} of {times}: SMTP {smtp:.0} ms, IMAP {imap:.0} ms",
                event.name()
            )?;
        }
        measured.extend(both);
    }
    Ok(measured)
}

fn once(cluster: &mut Cluster, event: Event, both: &mut [Interruptions; 2]) -> io::Result<()> {
    let leader = cluster.leader_of(ACCOUNT)?;
    let survivors: Vec<usize> = cluster
        .numbers()
        .into_iter()
        .filter(|n| *n != leader)
        .collect();
    let account = &cluster.accounts()[ACCOUNT];
    let probes: Vec<Probe> = both
        .iter()
        .zip(&survivors)
        .map(|(one, node)| Probe::start(one.service, cluster.member(*node).space(), account))
        .collect();
    for probe in &probes {
        probe.wait_until_it_works()?;
    }
    thread::sleep(BEFORE);
    let since = Instant::now();
    let struck = event.strike(cluster, leader);
    for (probe, one) in probes.into_iter().zip(both) {
        one.add(&probe.stop(), since);
    }
    struck?;
    cluster.heal()?;
    cluster.wait_until_whole()
}

/// The table, for people.
pub fn fail_over_table(measured: &[Interruptions]) -> String {
    let mut text = String::from(
        "| event | client | times | p50 ms | p99 ms | max ms | errors | stale reads | to reach |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for one in measured {
        let [p50, p99, max] = [50, 99, 100].map(|p| one.percentile_ms(p));
        let _ = writeln!(
            text,
            "| {} | {:?} | {} | {p50:.0} | {p99:.0} | {max:.0} | {}{} | {} | {} |",
            one.event.name(),
            one.service,
            one.gaps_ms.len(),
            one.errors,
            one.example
                .as_ref()
                .map_or(String::new(), |e| format!(" ({e})")),
            one.stale,
            one.event.target(),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let mut one = Interruptions::new(Event::Kill, Service::Smtp);
        assert!(one.percentile_ms(50).is_nan());
        one.gaps_ms = (1..=200).rev().map(f64::from).collect();
        let [p50, p99, max] = [50, 99, 100].map(|p| one.percentile_ms(p));
        assert_eq!((p50, p99, max), (100.0, 198.0, 200.0));
        one.gaps_ms = vec![1.0];
        assert_eq!((one.percentile_ms(50), one.percentile_ms(99)), (1.0, 1.0));
        assert!(
            fail_over_table(&[one])
                .contains("| leader killed (kill -9) | Smtp | 1 | 1 | 1 | 1 | 0 | 0 |")
        );
    }
}
