//! `mailrook status`, `reload`, `stop`

use std::time::Duration;

use clap::Args;
use mailrook_types::ShardId;

use super::{
    CliError, Context,
    cluster::node_table,
    misfit,
    output::{shard_name, table},
};
use crate::{
    admin::protocol::{
        ClusterGroup, ClusterStatus, ClusterUnreached, KnownNode, Losing, OwnCopy, Reply, Request,
        Status,
    },
    config::Span,
};

/// Arguments of `mailrook status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// Show it again every second, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

/// Clears a terminal (ECMA-48: erase in page, cursor to the first position).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Shows how the server fares.
pub fn status(arguments: &StatusArguments, context: &Context) -> Result<(), CliError> {
    if arguments.watch {
        return watch(context);
    }
    match context.ask(&Request::Status)? {
        Reply::Status(status) => {
            context.output.print(&status, || text(&status));
            Ok(())
        }
        other => Err(misfit(&other)),
    }
}

/// Shows it again and again; ends with an error that no patience mends.
fn watch(context: &Context) -> Result<(), CliError> {
    loop {
        let shown = match context.ask(&Request::Status) {
            Ok(Reply::Status(status)) => text(&status),
            Ok(other) => return Err(misfit(&other)),
            // It may come back.
            Err(error @ CliError::Unreachable(_)) => error.to_string(),
            Err(error) => return Err(error),
        };
        context.output.raw(&format!("{CLEAR}{shown}\n"));
        std::thread::sleep(WATCH_EVERY);
    }
}

fn text(status: &Status) -> String {
    let uptime = Span(Duration::from_secs(status.uptime_seconds));
    let state = if status.ready {
        "ready".to_owned()
    } else {
        status.not_ready_because.join(", ")
    };
    let rows: Vec<_> = status
        .listeners
        .iter()
        .map(|listener| {
            vec![
                listener.service.clone(),
                listener.address.clone(),
                listener.connections.to_string(),
            ]
        })
        .collect();
    let groups = status.node["groups"].as_array().map_or(0, Vec::len);
    let number = |name: &str| {
        status.node[name]
            .as_u64()
            .map_or("-".to_owned(), super::output::human_bytes)
    };
    format!(
        "mailrook {} on {}, process {}, up {uptime}: {state}\nstore: {groups} groups, log {}, free disk {}\n\n{}{}",
        status.version,
        status.hostname,
        status.pid,
        number("log_bytes"),
        number("disk_free_bytes"),
        table(
            &["SERVICE", "ADDRESS", "CONNECTIONS"],
            &rows,
            "nothing listens"
        ),
        match (&status.cluster, &status.cluster_unreached) {
            (Some(seen), _) => cluster(seen),
            (None, Some(known)) => unreached(known),
            (None, None) => String::new(),
        }
    )
}

/// What this node knows by itself while the directory cannot be reached.
fn unreached(known: &ClusterUnreached) -> String {
    let node = |node: &KnownNode| {
        let trouble = node.trouble.clone().unwrap_or_default();
        let (name, address, link) = (&node.name, &node.address, &node.link);
        vec![name.clone(), link.clone(), address.clone(), trouble]
    };
    let copy = |copy: &OwnCopy| {
        let stopped = copy.stopped_because.as_ref();
        vec![
            shard_name(ShardId(copy.shard)),
            stopped.map_or(copy.role.clone(), |cause| format!("{}: {cause}", copy.role)),
            copy.leader.clone().unwrap_or("nobody".to_owned()),
            copy.term.to_string(),
            copy.last_index.to_string(),
            copy.voters.join(", "),
        ]
    };
    let nodes: Vec<_> = known.nodes.iter().map(node).collect();
    let copies: Vec<_> = known.copies.iter().map(copy).collect();
    format!(
        "\n\nThe cluster cannot be seen from here: {}\n\n{}\n\n{}",
        known.error,
        table(
            &["OTHER NODE", "LINK", "ADDRESS", ""],
            &nodes,
            "No other node is known here."
        ),
        table(
            &["COPY HERE", "ROLE", "LEADER", "TERM", "ENTRIES", "COPIES"],
            &copies,
            "There are no copies here that can be used."
        )
    )
}

/// The cluster, as this node sees it.
fn cluster(cluster: &ClusterStatus) -> String {
    let mut text = format!("\n\n{}", node_table(&cluster.nodes));
    let row = |group: &ClusterGroup| {
        let learners = match group.learners.is_empty() {
            true => String::new(),
            false => format!(" (filling {})", group.learners.join(", ")),
        };
        vec![
            shard_name(ShardId(group.shard)),
            group.leader.clone().unwrap_or("nobody".to_owned()),
            group.term.to_string(),
            group.last_index.to_string(),
            format!("{}{learners}", group.voters.join(", ")),
        ]
    };
    let rows: Vec<_> = cluster.groups.iter().map(row).collect();
    let heads = ["SHARD", "LEADER", "TERM", "ENTRIES", "COPIES"];
    text += &format!("\n\n{}", table(&heads, &rows, "no groups"));
    for (head, lines) in [
        ("Too few copies:", &cluster.under_replicated),
        ("To be done:", &cluster.healing),
    ] {
        if !lines.is_empty() {
            text += &format!("\n\n{head}\n  {}", lines.join("\n  "));
        }
    }
    if !cluster.stuck.is_empty() {
        text += "\n\nCannot leave their nodes:";
        for stuck in &cluster.stuck {
            text += &format!("\n  shards {}: {}", list(&stuck.shards), stuck.why);
        }
    }
    text += &format!("\n\n{}", upkeep(cluster));
    text += "\n\nLosing a node now:";
    for losing in &cluster.losing {
        text += &format!("\n  {}: {}", losing.node, consequence(losing));
    }
    text
}

/// What is the same for all nodes.
fn upkeep(cluster: &ClusterStatus) -> String {
    let mut text = format!("Feature level {}", cluster.feature_level);
    if let Some(possible) = cluster.feature_level_possible {
        text += &format!(
            "; all nodes know {possible}: `mailrook cluster upgrade`, or it is raised by itself in some minutes"
        );
    }
    if let Some(ca) = &cluster.ca {
        text += &format!("\nCA {}", &ca.fingerprint[..16.min(ca.fingerprint.len())]);
        if let Some(rotation) = &ca.rotation {
            text += &format!(", being rotated: {rotation}");
        }
    }
    text
}

fn list(shards: &[u32]) -> String {
    let shards: Vec<String> = shards
        .iter()
        .map(|shard| shard_name(ShardId(*shard)))
        .collect();
    shards.join(", ")
}

fn consequence(losing: &Losing) -> String {
    let mut parts = Vec::new();
    if !losing.without_quorum.is_empty() {
        parts.push(format!(
            "shards {} stand still",
            list(&losing.without_quorum)
        ));
    }
    if !losing.without_copy.is_empty() {
        parts.push(format!(
            "nobody else has shards {}",
            list(&losing.without_copy)
        ));
    }
    if parts.is_empty() {
        parts.push("nothing is lost, all goes on".to_owned());
    }
    if losing.elections > 0 {
        parts.push(format!("{} elections", losing.elections));
    }
    parts.join("; ")
}

/// Makes the server read certificates and settings again.
pub fn reload(context: &Context) -> Result<(), CliError> {
    match context.ask(&Request::Reload)? {
        Reply::Reloaded {
            reloaded,
            needs_restart,
        } => {
            let reply = Reply::Reloaded {
                reloaded: reloaded.clone(),
                needs_restart: needs_restart.clone(),
            };
            context.output.print(&reply, || {
                let mut text = format!("Reloaded: {}.", reloaded.join(", "));
                if !needs_restart.is_empty() {
                    text += &format!(
                        "\nChanged, and in force only after a restart: {}.",
                        needs_restart.join(", ")
                    );
                }
                text
            });
            Ok(())
        }
        other => Err(misfit(&other)),
    }
}

/// Stops the server.
pub fn stop(context: &Context) -> Result<(), CliError> {
    let reply = context.ask(&Request::Stop)?;
    context
        .output
        .print(&reply, || "The server is stopping.".to_owned());
    Ok(())
}
