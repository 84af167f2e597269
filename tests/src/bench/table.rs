//! The table of results: markdown for people, JSON for comparisons over time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::thread;

use serde_json::{Value, json as object};

use super::loads::Load;
use super::peer::versions;
use super::sample::{Better, Metric, Sample, median};
use super::system::Kind;

/// One metric with the samples of each server.
pub struct Row {
    /// The load it belongs to.
    pub load: &'static str,
    /// What.
    pub metric: Metric,
    /// The manner of Mailrook that is measured.
    pub own: Kind,
    /// Every round's samples.
    pub samples: BTreeMap<Kind, Vec<Sample>>,
}

/// Sorts the samples of a load into rows, in the order they first came.
pub fn collect(load: &Load, samples: Vec<(Kind, Sample)>, rows: &mut Vec<Row>) {
    for (kind, sample) in samples {
        let at = rows
            .iter()
            .position(|r| r.load == load.name && r.metric == sample.metric)
            .unwrap_or_else(|| {
                rows.push(Row {
                    load: load.name,
                    metric: sample.metric,
                    own: load.own,
                    samples: BTreeMap::new(),
                });
                rows.len() - 1
            });
        rows[at].samples.entry(kind).or_default().push(sample);
    }
}

impl Row {
    fn values(&self, kind: Kind) -> (f64, f64, f64) {
        let values: Vec<f64> = self
            .samples
            .get(&kind)
            .into_iter()
            .flatten()
            .map(|s| s.value)
            .collect();
        median(&values)
    }

    fn cost(&self, kind: Kind, of: fn(&Sample) -> Option<f64>) -> f64 {
        let costs: Vec<f64> = self
            .samples
            .get(&kind)
            .into_iter()
            .flatten()
            .filter_map(of)
            .collect();
        median(&costs).0
    }

    /// The peer's better manner: what counts.
    pub fn best_peer(&self) -> Option<Kind> {
        let peers = self.samples.keys().copied().filter(|k| *k != self.own);
        let sign = if self.metric.better == Better::Higher {
            1.0
        } else {
            -1.0
        };
        peers.max_by(|a, b| (sign * self.values(*a).0).total_cmp(&(sign * self.values(*b).0)))
    }

    /// How many times as good Mailrook is as the better peer.
    pub fn ratio(&self) -> Option<f64> {
        let peer = self.values(self.best_peer()?).0;
        let own = self
            .samples
            .contains_key(&self.own)
            .then(|| self.values(self.own).0)?;
        Some(if self.metric.better == Better::Higher {
            own / peer
        } else {
            peer / own
        })
    }
}

/// The table with a line on the machine before it.
pub fn markdown(rows: &[Row], rounds: usize) -> String {
    let mut out = format!(
        "{}. Medians of {rounds} rounds in turn, lowest and highest in parentheses.\n\n",
        machine()
    );
    out.push_str("| load | unit | peer | its figure | CPU ms each | Mailrook | CPU ms each | load generator CPU ms each | ratio | wanted |\n");
    out.push_str("|---|---|---|---|---|---|---|---|---|---|\n");
    for row in rows {
        let best = row.best_peer();
        let mut kinds: Vec<Kind> = row
            .samples
            .keys()
            .copied()
            .filter(|k| *k != row.own)
            .collect();
        if kinds.is_empty() {
            kinds.push(row.own);
        }
        for kind in kinds {
            let counts = best == Some(kind) || best.is_none();
            let peer_cells = if best.is_none() {
                ["–".into(), "–".into(), "–".into()]
            } else {
                peer_cells(row, kind, counts)
            };
            let has_own = counts && row.samples.contains_key(&row.own);
            let own_figure = if has_own {
                spread(row.values(row.own))
            } else {
                String::new()
            };
            let own_cost = if has_own {
                cost(row.cost(row.own, |s| s.server_cpu_ms_per_operation))
            } else {
                String::new()
            };
            let generator = cost(row.cost(if has_own { row.own } else { kind }, |s| {
                s.load_cpu_ms_per_operation
            }));
            let ratio = row
                .ratio()
                .filter(|_| counts)
                .map(|r| format!("{r:.2} ×"))
                .unwrap_or_default();
            let wanted = row
                .metric
                .target
                .filter(|_| counts)
                .map(|t| format!("{t} ×"))
                .unwrap_or_default();
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {own_figure} | {own_cost} | {generator} | {ratio} | {wanted} |",
                row.metric.name, row.metric.unit, peer_cells[0], peer_cells[1], peer_cells[2]
            );
        }
    }
    out
}

fn peer_cells(row: &Row, kind: Kind, counts: bool) -> [String; 3] {
    let bold = |text: String| if counts { format!("**{text}**") } else { text };
    [
        kind.name().to_owned(),
        bold(spread(row.values(kind))),
        cost(row.cost(kind, |s| s.server_cpu_ms_per_operation)),
    ]
}

fn spread((middle, low, high): (f64, f64, f64)) -> String {
    format!("{} ({}–{})", figure(middle), figure(low), figure(high))
}

/// Three significant digits or so.
fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn cost(value: f64) -> String {
    if value.is_nan() {
        "–".to_owned()
    } else {
        figure(value)
    }
}

/// The processor, cores, memory, kernel and the peer's versions.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text
            .lines()
            .find(|l| l.starts_with(name))
            .unwrap_or_default();
        line.split_once(':')
            .map(|(_, v)| v.trim().to_owned())
            .unwrap_or_default()
    };
    let model = field(&read("/proc/cpuinfo"), "model name");
    let memory_kib: u64 = field(&read("/proc/meminfo"), "MemTotal")
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let gib = memory_kib / 1024 / 1024;
    format!(
        "{model}, {cores} cores, {gib} GiB, Linux {}; {}",
        kernel.trim(),
        versions()
    )
}

/// Everything, each round's figures included.
pub fn json(rows: &[Row], rounds: usize) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let servers: BTreeMap<&str, Value> = row
                .samples
                .iter()
                .map(|(kind, samples)| {
                    (
                        kind.name(),
                        object!({ "median": row.values(*kind).0, "rounds": samples }),
                    )
                })
                .collect();
            object!({
                "load": row.load, "metric": row.metric, "servers": servers, "ratio": row.ratio(),
                "best_peer": row.best_peer().map(Kind::name),
            })
        })
        .collect();
    object!({ "version": 1, "machine": machine(), "rounds": rounds, "rows": rows })
}
