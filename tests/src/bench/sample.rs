//! One measured figure with what it cost, and the median of several.

use std::env;
use std::io;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::system::System;
use crate::harness::{ProcessTree, cpu_of_self_ms};

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Better {
    /// A rate.
    Higher,
    /// A time or a size.
    Lower,
}

/// What a load measures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Metric {
    /// The row of the table.
    pub name: &'static str,
    /// Of the figure.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
    /// How many times as good as the peer Mailrook must be, where the plan says so.
    pub target: Option<f64>,
}

/// One figure of one round.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// What.
    pub metric: Metric,
    /// In the metric's unit.
    pub value: f64,
    /// Processor time of all server processes per operation, in ms; absent where an operation means nothing.
    pub server_cpu_ms_per_operation: Option<f64>,
    /// Processor time of the load generator per operation, in ms.
    pub load_cpu_ms_per_operation: Option<f64>,
    /// How long it took, in s.
    pub seconds: f64,
}

impl Sample {
    /// A figure without costs, such as a size.
    pub fn plain(metric: Metric, value: f64) -> Self {
        Self {
            metric,
            value,
            server_cpu_ms_per_operation: None,
            load_cpu_ms_per_operation: None,
            seconds: 0.0,
        }
    }
}

/// Names the file that a profile of the server goes to: `perf record`, while the clock runs and no longer.
const PROFILE: &str = "MAILROOK_BENCH_PROFILE";
/// Until `perf` has attached itself to every thread.
const PROFILE_ATTACHES: Duration = Duration::from_millis(500);

/// Runs while a load runs.
pub struct Meter {
    processes: ProcessTree,
    server_cpu_ms: u64,
    own_cpu_ms: u64,
    begin: Instant,
    profile: Option<Child>,
}

/// What a meter read.
pub struct Reading {
    /// Wall clock.
    pub elapsed: Duration,
    /// Of all server processes.
    pub server_cpu_ms: u64,
    /// Of the load generator.
    pub own_cpu_ms: u64,
}

impl Meter {
    /// Starts the clock last, so that reading `/proc` is not measured.
    pub fn start(system: &System) -> Self {
        let processes = system.processes();
        let profile = profile(&processes);
        let server_cpu_ms = processes.usage().cpu_ms;
        Self {
            processes,
            server_cpu_ms,
            own_cpu_ms: cpu_of_self_ms(),
            begin: Instant::now(),
            profile,
        }
    }

    /// Stops the clock first.
    pub fn stop(self) -> Reading {
        let elapsed = self.begin.elapsed();
        let own_cpu_ms = cpu_of_self_ms() - self.own_cpu_ms;
        if let Some(mut profile) = self.profile {
            // SIGTERM, as perf writes its file's end then.
            let pid = profile.id().to_string();
            let _ = Command::new("kill").arg(pid).status();
            let _ = profile.wait();
        }
        let server_cpu_ms = self
            .processes
            .usage()
            .cpu_ms
            .saturating_sub(self.server_cpu_ms);
        Reading {
            elapsed,
            server_cpu_ms,
            own_cpu_ms,
        }
    }
}

fn profile(processes: &ProcessTree) -> Option<Child> {
    let file = env::var_os(PROFILE)?;
    let pids: Vec<_> = processes.pids().iter().map(u32::to_string).collect();
    let started = Command::new("perf")
        .args([
            "record",
            "-q",
            "--call-graph",
            "dwarf,8192",
            "-F",
            "999",
            "-p",
        ])
        .arg(pids.join(","))
        .arg("-o")
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    thread::sleep(PROFILE_ATTACHES);
    started.ok()
}

impl Reading {
    /// Operations per second.
    pub fn rate(&self, metric: Metric, operations: usize) -> Sample {
        self.sample(
            metric,
            operations as f64 / self.elapsed.as_secs_f64(),
            operations,
        )
    }

    /// A value of its own, with the costs of so many operations.
    pub fn sample(&self, metric: Metric, value: f64, operations: usize) -> Sample {
        let each = |ms: u64| Some(ms as f64 / operations.max(1) as f64);
        Sample {
            metric,
            value,
            server_cpu_ms_per_operation: each(self.server_cpu_ms),
            load_cpu_ms_per_operation: each(self.own_cpu_ms),
            seconds: self.elapsed.as_secs_f64(),
        }
    }
}

/// Runs `work(index)` in so many threads and gives the results in order, or the first error.
pub fn in_parallel<T: Send>(
    threads: usize,
    work: impl Fn(usize) -> io::Result<T> + Sync,
) -> io::Result<Vec<T>> {
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|index| {
                scope.spawn({
                    let work = &work;
                    move || work(index)
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|h| {
                h.join()
                    .unwrap_or_else(|_| Err(io::Error::other("a load thread panicked")))
            })
            .collect()
    })
}

/// The median, and the lowest and highest.
pub fn median(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => (f64::NAN, f64::NAN, f64::NAN),
        n => (sorted[n / 2], sorted[0], sorted[n - 1]),
    }
}
