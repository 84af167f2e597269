//! The benchmark: the same loads on Postfix with Dovecot and on Mailrook, in turn, in one run.
//!
//! Rules: A B A B A B and medians; fsync on for both; no TLS on either; the better of maildir and mdbox counts; the load
//! generator's own processor time is printed, so that one sees when it was the limit; the machine is named. A load that
//! fills mailboxes starts every server afresh in every round.
//!
//! What is measured of a cluster alone has a file for each promise, with its table: `fail_over`, `survive` (sessions), `proxy` (the
//! way through another node, idle connections). What a move of mailboxes costs belongs beside them.

mod cluster;
mod fail_over;
pub mod loads;
mod moves;
mod peer;
mod proxy;
mod sample;
mod survive;
mod system;
mod table;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use cluster::{Bursts, cluster_table, measure_bursts, measure_idle};
pub use fail_over::{Event, Interruptions, fail_over_table, measure_fail_over};
pub use moves::{Moves, measure_moves, moves_table};
pub use peer::{Peer, PeerOptions, install};
pub use proxy::{
    IdleConnections, Ways, idle_connections_table, measure_idle_connections, measure_ways,
    ways_table,
};
pub use sample::{Better, Meter, Metric, Reading, Sample, in_parallel, median};
pub use survive::{Blow, Stalls, Work, measure_survival, survival_table};
pub use system::{Kind, System, disk_bytes};
pub use table::{Row, json, markdown};

use loads::{Fresh, Load};

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names of loads; empty for all.
    pub only: Vec<String>,
    /// A tenth of the work: whether it runs, not how fast.
    pub quick: bool,
    /// Without Mailrook.
    pub peer_only: bool,
    /// Without the peer.
    pub mailrook_only: bool,
    /// How many times each.
    pub rounds: usize,
    /// Where data lies while it runs.
    pub folder: PathBuf,
}

/// Everything measured, in order.
pub fn run(options: &Options, progress: &mut dyn Write) -> io::Result<Vec<Row>> {
    let chosen: Vec<&Load> = loads::ALL
        .iter()
        .filter(|l| options.only.is_empty() || options.only.iter().any(|n| n == l.name))
        .collect();
    if let Some(unknown) = options
        .only
        .iter()
        .find(|n| loads::ALL.iter().all(|l| l.name != n.as_str()))
    {
        let names: Vec<_> = loads::ALL.iter().map(|l| l.name).collect();
        return Err(io::Error::other(format!(
            "no load `{unknown}`; there are {}",
            names.join(", ")
        )));
    }
    if !options.mailrook_only {
        install()?;
    }
    let mut rows = Vec::new();
    for load in chosen {
        let mut kinds: Vec<Kind> = if options.mailrook_only {
            Vec::new()
        } else {
            load.peers.to_vec()
        };
        if !options.peer_only {
            kinds.push(load.own);
        }
        let samples = match load.fresh {
            Fresh::EachRound => fresh_each_round(load, &kinds, options, progress)?,
            Fresh::Once => prepared_once(load, &kinds, options, progress)?,
        };
        table::collect(load, samples, &mut rows);
    }
    Ok(rows)
}

type Measured = Vec<(Kind, Sample)>;

fn fresh_each_round(
    load: &Load,
    kinds: &[Kind],
    options: &Options,
    progress: &mut dyn Write,
) -> io::Result<Measured> {
    let mut measured = Vec::new();
    for round in 1..=options.rounds {
        for &kind in kinds {
            let folder = folder_of(options, kind);
            let mut system = System::start(kind, &folder).map_err(|e| said(load, kind, e))?;
            measure(
                load,
                kind,
                round,
                &mut system,
                options,
                progress,
                &mut measured,
            )?;
            drop(system);
            fs::remove_dir_all(&folder)?;
        }
    }
    Ok(measured)
}

fn prepared_once(
    load: &Load,
    kinds: &[Kind],
    options: &Options,
    progress: &mut dyn Write,
) -> io::Result<Measured> {
    let mut measured = Vec::new();
    let mut systems = Vec::new();
    for &kind in kinds {
        writeln!(
            progress,
            "{}: filling the mailboxes of {}",
            load.name,
            kind.name()
        )?;
        let mut system =
            System::start(kind, &folder_of(options, kind)).map_err(|e| said(load, kind, e))?;
        (load.prepare)(&mut system, options.quick).map_err(|e| said(load, kind, e))?;
        systems.push((kind, system));
    }
    for round in 1..=options.rounds {
        for (kind, system) in &mut systems {
            measure(load, *kind, round, system, options, progress, &mut measured)?;
        }
    }
    for (kind, system) in systems {
        drop(system);
        fs::remove_dir_all(folder_of(options, kind))?;
    }
    Ok(measured)
}

fn measure(
    load: &Load,
    kind: Kind,
    round: usize,
    system: &mut System,
    options: &Options,
    progress: &mut dyn Write,
    measured: &mut Measured,
) -> io::Result<()> {
    for sample in
        (load.run)(system, options.quick, round as u64).map_err(|e| said(load, kind, e))?
    {
        let (value, unit) = (sample.value, sample.metric.unit);
        writeln!(
            progress,
            "{}, round {round}, {}: {value:.2} {unit}",
            sample.metric.name,
            kind.name()
        )?;
        measured.push((kind, sample));
    }
    Ok(())
}

fn folder_of(options: &Options, kind: Kind) -> PathBuf {
    Path::new(&options.folder).join(kind.name().replace([' ', ','], ""))
}

fn said(load: &Load, kind: Kind, error: io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("{} on {}: {error}", load.name, kind.name()),
    )
}
