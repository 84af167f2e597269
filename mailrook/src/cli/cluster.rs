//! `mailrook cluster …` and `mailrook node …`

use std::{
    io::{self, BufRead, Read},
    time::Duration,
};

use clap::{Args, Subcommand};
use mailrook_cluster::Node;
use mailrook_control::{FEATURE_LEVELS, JoinFailed, Papers, join};
use mailrook_transport::JoinToken;
use mailrook_types::ShardId;
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    CliError, Context, misfit,
    output::{shard_name, table},
    recover::{self, RecoverArguments},
};
use crate::{
    admin::protocol::{ClusterNode, Reply, Request, VerifiedAs, VerifiedShard},
    config::{Config, Role, Span},
    privileges::{self, Identity},
    server::{cluster_dir, member, store_dir},
};

/// The cluster as a whole.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Make a new cluster, with this machine as its first node
    #[command(
        after_help = "Example:\n  mailrook cluster init\n  mailrook serve\n\nTo be said once, on one machine; further ones say `mailrook node join`. The data directory must be new."
    )]
    Init,
    /// Change how the cluster is kept
    #[command(
        after_help = "Examples:\n  mailrook cluster set --copies 5\n  mailrook cluster set --heal-after 30m\n  mailrook cluster set --shards 16\n\nShards can be added, and not taken away."
    )]
    Set(SetArguments),
    /// Compare all copies of all shards
    #[command(
        after_help = "Example:\n  mailrook cluster verify\n\nReads everything that is stored on all nodes, which may take hours; Ctrl-C ends it. Copies of a shard are read as of the
same entry of its log, also while mail comes in. Ends with 1 if copies differ, cannot be read, or never were at the same
entry: it says which."
    )]
    Verify,
    /// Replace the CA that the nodes' certificates are signed with
    #[command(
        after_help = "Example:\n  mailrook cluster rotate-ca\n  mailrook status --watch\n\nFirst all nodes trust the new CA beside the old one, then each gets a certificate of the new one, then the old one is\ntrusted no longer. Each step waits for every node, also for one that is switched off. No connection is dropped; those\nthat are open stay open. Join tokens that were made before are of no more use afterwards."
    )]
    RotateCa,
    /// Use what a new version brings, once all nodes run it
    #[command(
        after_help = "Example:\n  mailrook cluster upgrade\n\nIt happens by itself when all nodes have run the new version for ten minutes. From then on the former version cannot be\nput back."
    )]
    Upgrade,
    /// Bring shards back that lost most of their copies for good, from this machine's copy alone
    #[command(
        after_help = "Examples:\n  mailrook cluster recover                         what this machine has; changes nothing\n  mailrook cluster recover --shards 3,5\n  mailrook cluster recover --all\n\nThe last resort, when most nodes of a shard are lost with their disks. THIS MAY LOSE MAIL: what was acknowledged after\nthis copy's last entry is gone, and nobody can say what it was.\n\n1. Stop the server here, and on every other machine that has copies. Lost ones must not come back meanwhile.\n2. Run it without arguments on each machine that is left, and choose the one whose copy goes furthest: the highest term,\n   and within it the highest entry. Recover a shard on one machine only.\n3. Run it there for the shards that lack a quorum, then start the server here first, and then the others: what they hold\n   of these shards is put aside (quarantine/ in the data directory) and they are filled anew.\n4. `mailrook node replace NAME` for each node that is lost; let new ones join.\n\nLimits: it works on a stopped server alone. Two machines that come back together, without this one, still have a\nmajority of three among themselves and would serve what is old until they reach it: start this one first.\nUIDs and MODSEQs that may have been given in what is lost are left out: the next ones are far above them."
    )]
    Recover(RecoverArguments),
}

/// What to change.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct SetArguments {
    /// How many copies each shard has: 1, 3 or 5
    #[arg(long)]
    pub copies: Option<u8>,
    /// How long a node may be gone before its copies are made elsewhere, as in 10m
    #[arg(long, value_parser = Span::parse)]
    pub heal_after: Option<Span>,
    /// How many shards there are
    #[arg(long)]
    pub shards: Option<u32>,
}

/// The machines that the cluster is made of.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Print a token that lets one more machine join
    #[command(
        after_help = "Example:\n  mailrook node token\n\nWhoever has the token can become a member of the cluster, once: keep it secret."
    )]
    Token {
        /// How long it holds, as in 1h; at most 7d
        #[arg(long, default_value = "1h", value_parser = Span::parse)]
        lifetime: Span,
    },
    /// Have this machine join a cluster
    #[command(
        after_help = "Examples:\n  mailrook node join -\n  mailrook node join mrj1.…\n\nThe data directory must be new. A member prints the token: `mailrook node token`. With - it is read from standard input,\nand does not show in the list of processes. Then start the server. Ends with 3 if no member can be reached.\nA machine whose roles in the configuration leave out \"store\" joins without one: it serves clients, and gets no copies."
    )]
    Join {
        /// What a member printed; - reads it from standard input
        token: String,
    },
    /// List the nodes
    #[command(after_help = "Example:\n  mailrook node list --json")]
    List,
    /// Have a node hand over all that it has
    #[command(
        after_help = "Example:\n  mailrook node drain node3.example.org\n\nIt goes on serving mail clients. `mailrook status` shows when nothing is left on it. That needs another node for each of\nits copies: of three nodes with three copies none can be emptied before a fourth joins."
    )]
    Drain {
        /// Its name
        name: String,
    },
    /// Have a node take part again
    #[command(after_help = "Example:\n  mailrook node undrain node3.example.org")]
    Undrain {
        /// Its name
        name: String,
    },
    /// Replace a node that is lost for good: its copies are made elsewhere at once
    #[command(
        after_help = "Example:\n  mailrook node replace node3.example.org\n  mailrook node token\n\nIt is no node of the cluster from then on, and never again: if it comes back after all, it is refused and keeps its data.\nWithout it nobody waits for heal_after. A machine that takes its place joins with a token, also under the same name.\nOne that still works is drained instead: `mailrook node drain`."
    )]
    Replace {
        /// Its name
        name: String,
        /// Even if it can be reached
        #[arg(long)]
        force: bool,
    },
    /// Remove a node that has nothing left, for ever
    #[command(
        after_help = "Example:\n  mailrook node drain node3.example.org\n  mailrook node remove node3.example.org\n\nIts data directory is of no more use. A machine that comes back joins anew, as another node. One without the store role\nhas nothing to hand over, and is removed at once."
    )]
    Remove {
        /// Its name
        name: String,
    },
}

/// Runs a command about the cluster.
pub fn run_cluster(command: ClusterCommand, context: &Context) -> Result<(), CliError> {
    match command {
        ClusterCommand::Init => init(context),
        ClusterCommand::Set(arguments) => {
            let request = Request::ClusterSet {
                copies: arguments.copies,
                heal_after_ms: (arguments.heal_after)
                    .map(|Span(time)| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                shards: arguments.shards,
            };
            done(context, &request, "The cluster is changed.".to_owned())
        }
        ClusterCommand::Verify => verify(context),
        ClusterCommand::RotateCa => {
            let said = "The CA is being rotated; `mailrook status` shows how far it is.";
            done(context, &Request::ClusterRotateCa, said.to_owned())
        }
        ClusterCommand::Upgrade => upgrade(context),
        ClusterCommand::Recover(arguments) => recover::run(&arguments, context),
    }
}

/// Runs a command about nodes.
pub fn run_node(command: NodeCommand, context: &Context) -> Result<(), CliError> {
    match command {
        NodeCommand::Token { lifetime } => token(context, lifetime.0),
        NodeCommand::Join { token } => join_cluster(context, &token),
        NodeCommand::List => list(context),
        NodeCommand::Drain { name } => {
            let said =
                format!("{name} hands over what it has; `mailrook status` shows how far it is.");
            let draining = true;
            done(context, &Request::NodeDrain { name, draining }, said)
        }
        NodeCommand::Undrain { name } => {
            let said = format!("{name} takes part again.");
            let draining = false;
            done(context, &Request::NodeDrain { name, draining }, said)
        }
        NodeCommand::Replace { name, force } => {
            let said = format!(
                "{name} is no node of this cluster any more; `mailrook status` shows where its copies are made."
            );
            done(context, &Request::NodeReplace { name, force }, said)
        }
        NodeCommand::Remove { name } => {
            let said = format!("{name} is no node of this cluster any more.");
            done(context, &Request::NodeRemove { name }, said)
        }
    }
}

fn done(context: &Context, request: &Request, said: String) -> Result<(), CliError> {
    let reply = context.ask(request)?;
    context.output.print(&reply, || match &reply {
        Reply::Noted { note, .. } => format!("{said}\n{note}"),
        _ => said,
    });
    Ok(())
}

fn upgrade(context: &Context) -> Result<(), CliError> {
    match context.ask(&Request::ClusterUpgrade)? {
        reply @ Reply::Level { feature_level } => {
            let text = || format!("The cluster is at feature level {feature_level} now.");
            context.output.print(&reply, text);
            Ok(())
        }
        other => Err(misfit(&other)),
    }
}

/// The configuration, as a member needs it, with the data directory made for the server's user.
pub(super) fn prepare(context: &Context) -> Result<Config, CliError> {
    let config = context.config()?;
    if config.cluster.listen.is_empty() {
        let text = format!(
            "the configuration has no [cluster] listen: say where the other nodes reach this one, as in\n\n[cluster]\n\
             listen = [\"10.0.0.1:7424\"]\nname = \"{}\"",
            config.cluster.name
        );
        return Err(CliError::Refused(text));
    }
    let identity = Identity::find(config.user.as_deref()).map_err(CliError::Refused)?;
    let at_fault = |error| {
        CliError::Refused(format!(
            "cannot make the data directory {}: {error}",
            config.data_dir.display()
        ))
    };
    privileges::make_data_dir(&config.data_dir, identity.as_ref()).map_err(at_fault)?;
    if let Some(identity) = identity {
        identity.assume().map_err(CliError::Refused)?;
    }
    privileges::make_data_dir(&store_dir(&config), None).map_err(at_fault)?;
    Ok(config)
}

fn init(context: &Context) -> Result<(), CliError> {
    let config = prepare(context)?;
    if !config.has_role(Role::Store) {
        let text = "roles leaves \"store\" out: a cluster begins with a node that has copies. Say it there, and have this one \
                    join: `mailrook node join`";
        return Err(CliError::Refused(text.to_owned()));
    }
    let shards = u32::try_from(config.store.shards).unwrap_or(u32::MAX);
    let refused = |error: &dyn std::fmt::Display| CliError::Refused(error.to_string());
    let (cluster, node) =
        Node::found(&store_dir(&config), shards).map_err(|error| refused(&error))?;
    Papers::at(cluster_dir(&config))
        .found(cluster, node)
        .map_err(|error| refused(&error))?;
    let reply = json!({ "cluster": format!("{cluster:032x}"), "node": node.0 });
    context.output.print(&reply, || {
        format!(
            "A new cluster is made; {} is its first node. Start it: mailrook serve\nThen let others join: mailrook node token",
            config.cluster.name
        )
    });
    Ok(())
}

fn token(context: &Context, lifetime: Duration) -> Result<(), CliError> {
    let request = Request::NodeToken {
        lifetime_seconds: lifetime.as_secs(),
    };
    match context.ask(&request)? {
        Reply::Token { token, expires } => {
            let reply = json!({ "token": token.reveal(), "expires": expires });
            context.output.print(&reply, || {
                format!(
                    "On the new machine, before {expires}, say `mailrook node join -` and paste this; then start its server.\n\n{}",
                    token.reveal()
                )
            });
            Ok(())
        }
        other => Err(misfit(&other)),
    }
}

/// A token has some hundred bytes.
const TOKEN_LINE_BYTES_MAX: u64 = 4096;

/// A line of standard input: what stands in a command's arguments, every user of the machine can read.
fn typed_token() -> Result<Zeroizing<String>, CliError> {
    let mut line = Zeroizing::new(String::new());
    let read = (&mut io::stdin().lock())
        .take(TOKEN_LINE_BYTES_MAX)
        .read_line(&mut line);
    read.map_err(|error| CliError::Usage(format!("cannot read the token: {error}")))?;
    Ok(line)
}

fn join_cluster(context: &Context, token: &str) -> Result<(), CliError> {
    let token = match token {
        "-" => typed_token()?,
        given => Zeroizing::new(given.to_owned()),
    };
    let token =
        JoinToken::parse(token.trim()).map_err(|error| CliError::Usage(error.to_string()))?;
    let config = prepare(context)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Refused(error.to_string()))?;
    let (store, folder) = (store_dir(&config), cluster_dir(&config));
    let member = member(&config, FEATURE_LEVELS);
    let joining = join(&token, &member, &store, &folder);
    let (node, joined) = runtime.block_on(joining).map_err(|error| match error {
        JoinFailed::Unreachable(cause) => CliError::Unreachable(cause),
        other => CliError::Refused(other.to_string()),
    })?;
    let reply = json!({ "cluster": format!("{:032x}", joined.cluster), "node": node.0 });
    context.output.print(&reply, || {
        format!(
            "{} is a node of the cluster now, beside {}. Start it: mailrook serve",
            config.cluster.name,
            joined.nodes.len().saturating_sub(1)
        )
    });
    Ok(())
}

fn list(context: &Context) -> Result<(), CliError> {
    match context.ask(&Request::NodeList)? {
        Reply::Nodes { nodes } => {
            context.output.print(&nodes, || node_table(&nodes));
            Ok(())
        }
        other => Err(misfit(&other)),
    }
}

/// The nodes, a line each.
pub fn node_table(nodes: &[ClusterNode]) -> String {
    let row = |node: &ClusterNode| {
        let state = match (node.reachable, node.disk_full) {
            _ if node.state == "removed" => "removed".to_owned(),
            (false, _) => format!("{}, not reached", node.state),
            (true, true) => format!("{}, disk full", node.state),
            (true, false) => node.state.clone(),
        };
        vec![
            node.name.clone(),
            state,
            (node.front.as_ref()).map_or("store".to_owned(), |roles| roles.join(", ")),
            node.copies.to_string(),
            node.leads.to_string(),
            node.lag.to_string(),
            node.zone.clone(),
            node.address.clone(),
        ]
    };
    let rows: Vec<_> = nodes.iter().map(row).collect();
    let heads = [
        "NODE", "STATE", "ROLES", "COPIES", "LEADS", "BEHIND", "ZONE", "ADDRESS",
    ];
    table(&heads, &rows, "There are no nodes.")
}

fn verify(context: &Context) -> Result<(), CliError> {
    let (equal, shards) = match context.ask(&Request::ClusterVerify)? {
        Reply::Verified { equal, shards } => (equal, shards),
        other => return Err(misfit(&other)),
    };
    let reply = json!({ "equal": equal, "shards": shards });
    context.output.print(&reply, || verify_text(&shards));
    if equal {
        Ok(())
    } else {
        Err(CliError::Refused(verify_complaint(&shards)))
    }
}

/// What is wrong, worst first.
fn verify_complaint(shards: &[VerifiedShard]) -> String {
    let complaints = [
        (VerifiedAs::Differ, "copies differ"),
        (VerifiedAs::Unreadable, "copies could not be read"),
        (
            VerifiedAs::NotComparable,
            "not comparable, still writing (nothing is known to be wrong; try again)",
        ),
    ];
    let complaints = complaints.iter().filter_map(|(verdict, words)| {
        let those = shards.iter().filter(|shard| shard.verdict == *verdict);
        let names: Vec<String> = those.map(|shard| shard.shard.to_string()).collect();
        (!names.is_empty()).then(|| format!("{words}: shard {}", names.join(", ")))
    });
    complaints.collect::<Vec<_>>().join("; ")
}

fn verify_text(shards: &[VerifiedShard]) -> String {
    let mut rows = Vec::new();
    for shard in shards {
        for copy in &shard.copies {
            let digest = copy
                .digest
                .as_deref()
                .map_or("-", |digest| &digest[..16.min(digest.len())]);
            rows.push(vec![
                shard_name(ShardId(shard.shard)),
                copy.node.clone(),
                copy.applied_index
                    .map_or("-".to_owned(), |index| index.to_string()),
                digest.to_owned(),
                copy.error.clone().unwrap_or_default(),
            ]);
        }
    }
    table(
        &["SHARD", "NODE", "ENTRY", "CONTENT", ""],
        &rows,
        "There are no shards.",
    )
}
