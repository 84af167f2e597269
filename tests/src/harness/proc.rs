//! What `/proc` says of a server: processor time and proportional set size over all its processes.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// `/proc` counts in ticks of 10 ms on every Linux (USER_HZ is 100).
const TICK_MS: u64 = 10;

/// The processes of one server: the roots and everything they started.
#[derive(Debug, Clone)]
pub struct ProcessTree {
    roots: Vec<u32>,
}

/// What a server has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in user and system mode, children that ended included, in ms.
    pub cpu_ms: u64,
    /// How many processes live.
    pub processes: usize,
}

impl ProcessTree {
    /// The tree under these processes.
    pub fn new(roots: Vec<u32>) -> Self {
        Self { roots }
    }

    /// Every living process of the tree.
    pub fn pids(&self) -> Vec<u32> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        for pid in entries
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok())
        {
            if let Some(fields) = stat_fields(pid) {
                children
                    .entry(number(&fields, 1) as u32)
                    .or_default()
                    .push(pid);
            }
        }
        let mut found = BTreeSet::new();
        let mut open: Vec<u32> = self
            .roots
            .iter()
            .copied()
            .filter(|pid| stat_fields(*pid).is_some())
            .collect();
        while let Some(pid) = open.pop() {
            if found.insert(pid) {
                open.extend(children.get(&pid).into_iter().flatten());
            }
        }
        found.into_iter().collect()
    }

    /// Processor time of the tree. A child's time passes to its parent's `cutime` when it ends and is waited for, so
    /// that servers with a process per login are counted in full.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for fields in self.pids().into_iter().filter_map(stat_fields) {
            // Fields 14 to 17 of proc(5): utime, stime, cutime, cstime; `fields` begins with the third.
            usage.cpu_ms += (11..=14).map(|at| number(&fields, at)).sum::<u64>() * TICK_MS;
            usage.processes += 1;
        }
        usage
    }

    /// The sum of the proportional set sizes, in KiB.
    pub fn pss_kib(&self) -> u64 {
        self.pids().into_iter().filter_map(pss_kib).sum()
    }
}

/// The fields of `/proc/PID/stat` after the command's name, which may hold spaces.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
    (fields.first().map(String::as_str) != Some("Z")).then_some(fields)
}

fn number(fields: &[String], at: usize) -> u64 {
    fields.get(at).and_then(|f| f.parse().ok()).unwrap_or(0)
}

/// The proportional set size of one process, in KiB.
pub fn pss_kib(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    text.lines().find_map(|l| {
        l.strip_prefix("Pss:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse()
            .ok()
    })
}

/// Processor time of this process, in ms: the load generator's own cost.
pub fn cpu_of_self_ms() -> u64 {
    let fields = stat_fields(std::process::id()).unwrap_or_default();
    (number(&fields, 11) + number(&fields, 12)) * TICK_MS
}

/// Raises the limit of open files to what the machine allows; gives the limit that holds now.
pub fn raise_file_limit() -> io::Result<u64> {
    let now = getrlimit(Resource::Nofile);
    for wanted in [Some(65_536), now.maximum] {
        let maximum = now.maximum.max(wanted);
        if setrlimit(
            Resource::Nofile,
            Rlimit {
                current: wanted,
                maximum,
            },
        )
        .is_ok()
        {
            break;
        }
    }
    Ok(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_itself() {
        let tree = ProcessTree::new(vec![std::process::id()]);
        assert!(tree.pids().contains(&std::process::id()));
        assert!(tree.pss_kib() > 100);
        assert!(ProcessTree::new(vec![0x7fff_ffff]).pids().is_empty());
    }
}
