//! `mailrook cluster recover`: on a stopped server's data directory.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Read},
};

use bytes::Bytes;
use clap::Args;
use mailrook_cluster::{CopyReport, Recovery};
use mailrook_control::{Book, Recovered};
use mailrook_store_api::{meta::MetaCommand, shard::ShardCommand};
use mailrook_types::{NodeId, ShardId, Timestamp};
use serde_json::{Value, json};

use super::{
    CliError, Context,
    cluster::prepare,
    output::{shard_name, table},
};
use crate::{
    admin::rfc3339,
    config::Config,
    server::{cluster_dir, store_dir},
};

/// What is to be typed before anything is changed.
const SENTENCE: &str = "yes, this may lose mail";

/// Ids of accounts and clients that a recovered meta group leaves out: more than were ever granted within the hours that
/// it may lack.
const IDS_SKIPPED: u64 = 1_000_000;

/// Arguments of `mailrook cluster recover`.
#[derive(Debug, Args)]
pub struct RecoverArguments {
    /// These shards; 0 is the meta group
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N,…",
        conflicts_with = "all"
    )]
    shards: Vec<u32>,
    /// Every shard of which this machine has a copy, and others too
    #[arg(long)]
    all: bool,
    /// Do not ask
    #[arg(long)]
    yes_lose_mail: bool,
}

/// What is looked at.
struct Patient<'c> {
    context: &'c Context,
    name: String,
    recovery: Recovery,
    book: Book,
    copies: Vec<CopyReport>,
}

/// Shows what there is, and brings back what is asked for.
pub fn run(arguments: &RecoverArguments, context: &Context) -> Result<(), CliError> {
    let config = prepare(context)?;
    let patient = Patient::open(&config, context)?;
    let chosen = patient.choose(arguments)?;
    if chosen.is_empty() {
        patient.show();
        return Ok(());
    }
    if !arguments.yes_lose_mail {
        if context.output.is_json() {
            let text = "with --json nobody is asked: say --yes-lose-mail";
            return Err(CliError::Usage(text.to_owned()));
        }
        patient.show();
        context.output.raw(&patient.warning(&chosen));
        ask("Type the name of this node", &patient.name)?;
        ask(&format!("Type \u{201c}{SENTENCE}\u{201d}"), SENTENCE)?;
    }
    let shards: Vec<ShardId> = chosen.iter().map(|copy| copy.shard).collect();
    patient.bring_back(&shards, &config)
}

impl<'c> Patient<'c> {
    fn open(config: &Config, context: &'c Context) -> Result<Patient<'c>, CliError> {
        let recovery = Recovery::open(&store_dir(config)).map_err(refused)?;
        let path = cluster_dir(config).join("nodes");
        let book = Book::open(path, recovery.node_id()).map_err(refused)?;
        let copies = recovery.copies().map_err(refused)?;
        Ok(Patient {
            context,
            name: config.cluster.name.clone(),
            recovery,
            book,
            copies,
        })
    }

    fn choose(&self, arguments: &RecoverArguments) -> Result<Vec<&CopyReport>, CliError> {
        let asked: BTreeSet<ShardId> = arguments.shards.iter().copied().map(ShardId).collect();
        for shard in &asked {
            let Some(copy) = self.copies.iter().find(|copy| copy.shard == *shard) else {
                let text = format!("there is no copy of shard {shard} on this machine");
                return Err(CliError::Refused(text));
            };
            if self.is_alone(copy) {
                let text = format!("shard {shard} needs no other node already: start the server");
                return Err(CliError::Refused(text));
            }
            if !copy.has_content() {
                let text =
                    format!("the copy of shard {shard} was still to be filled: it holds nothing");
                return Err(CliError::Refused(text));
            }
        }
        let wanted = self.copies.iter().filter(|copy| match arguments.all {
            true => copy.has_content() && !self.is_alone(copy),
            false => asked.contains(&copy.shard),
        });
        Ok(wanted.collect())
    }

    fn is_alone(&self, copy: &CopyReport) -> bool {
        copy.voters.iter().eq([&self.recovery.node_id()])
    }

    fn name_of(&self, node: NodeId) -> String {
        self.book.name(node).unwrap_or_else(|| node.to_string())
    }

    fn others(&self, copy: &CopyReport) -> Vec<String> {
        let all = copy.voters.iter().chain(&copy.learners);
        let others = all.filter(|node| **node != self.recovery.node_id());
        others.map(|node| self.name_of(*node)).collect()
    }

    fn show(&self) {
        let report = |copy: &CopyReport| {
            json!({
                "shard": copy.shard.0,
                "entry": copy.last_index,
                "term": copy.last_term,
                "log_time": time(copy),
                "others": self.others(copy),
            })
        };
        let copies: Vec<Value> = self.copies.iter().map(report).collect();
        let cluster = format!("{:032x}", self.recovery.cluster_id());
        let reply = json!({ "cluster": cluster, "node": self.name, "copies": copies });
        self.context.output.print(&reply, || {
            let row = |copy: &CopyReport| {
                vec![
                    shard_name(copy.shard),
                    copy.last_term.to_string(),
                    copy.last_index.to_string(),
                    time(copy),
                    self.others(copy).join(", "),
                ]
            };
            let rows: Vec<_> = self.copies.iter().map(row).collect();
            let heads = ["SHARD", "TERM", "ENTRY", "AS OF", "OTHER COPIES ON"];
            let table = table(&heads, &rows, "This machine has no copies.");
            format!("{} of cluster {cluster} has\n\n{table}", self.name)
        });
    }

    /// What may be missing, and what must hold before.
    fn warning(&self, chosen: &[&CopyReport]) -> String {
        let mut text = "\nThese are brought back from this machine\u{2019}s copies alone. What may be missing:\n".to_owned();
        let mut away = BTreeSet::new();
        for copy in chosen {
            let others = self.others(copy);
            text += &format!(
                "  {}: whatever {} acknowledged after {} (entry {} of term {})\n",
                match copy.shard {
                    ShardId::META =>
                        "the directory (domains, accounts, passwords, placement)".to_owned(),
                    shard => format!("shard {shard}"),
                },
                others.join(", "),
                time(copy),
                copy.last_index,
                copy.last_term,
            );
            away.extend(others);
        }
        let away: Vec<String> = away.into_iter().collect();
        text += &format!(
            "Nobody can say what that was. {} must be stopped now, and must not be started before this one runs: what they\n\
             have of these shards is then put aside.\n\n",
            away.join(", ")
        );
        text
    }

    fn bring_back(self, shards: &[ShardId], config: &Config) -> Result<(), CliError> {
        // First: a group that is brought back and not noted would get old copies as its members.
        let noted = Recovered::open(&cluster_dir(config)).map_err(refused)?;
        noted.note(shards).map_err(refused)?;
        for shard in shards {
            // What is lost may have given numbers to mail, accounts and clients that others still know.
            let first = match *shard {
                ShardId::META => MetaCommand::SkipIds { by: IDS_SKIPPED }.encode(),
                _ => ShardCommand::SkipNumbers.encode(),
            };
            let first = Some(Bytes::from(first));
            self.recovery.recover(*shard, first).map_err(refused)?;
        }
        let (output, name) = (self.context.output, self.name);
        self.recovery.close();
        let numbers: Vec<u32> = shards.iter().map(|shard| shard.0).collect();
        output.print(&json!({ "recovered": numbers }), || {
            let shards: Vec<String> = shards.iter().copied().map(shard_name).collect();
            format!(
                "{name} has these alone now: {}. Start it before any other node: mailrook serve\nThen, for each node that is lost: mailrook node replace NAME",
                shards.join(", ")
            )
        });
        Ok(())
    }
}

fn refused(error: impl std::fmt::Display) -> CliError {
    CliError::Refused(error.to_string())
}

fn time(copy: &CopyReport) -> String {
    match copy.log_time_ms {
        0 => "the beginning".to_owned(),
        ms => rfc3339(Timestamp(ms)),
    }
}

/// Goes on only if exactly `wanted` is typed.
fn ask(question: &str, wanted: &str) -> Result<(), CliError> {
    // Not an error: what cannot be printed cannot be answered either.
    let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("{question}: "));
    let mut answer = String::new();
    // One line, and no more than was asked for: what follows answers the next question.
    let read = (&mut io::stdin().lock()).take(256).read_line(&mut answer);
    read.map_err(refused)?;
    if answer.trim() == wanted {
        Ok(())
    } else {
        Err(CliError::Refused("nothing was changed".to_owned()))
    }
}
