//! `mailrook mailbox move …` and `mailrook rebalance`

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use mailrook_types::{Address, Domain};
use serde_json::{Value, json};

use super::{
    CliError, Context, misfit,
    output::{human_bytes, table},
    waiting::wait,
};
use crate::{
    admin::{
        Client,
        protocol::{
            AskedMove, AskedOutcome, MoveInfo, MoveTarget, Reply, Request, ShardLoad, UnreachedNode,
        },
    },
    config::Size,
};

/// As many accounts are asked for in one request, and as many moves are shown in one.
pub(super) const AT_ONCE: usize = 1_000;

/// A file of addresses may be so long: a million of them.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What moves where; or a command about moves.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Whose accounts
    #[arg(value_parser = Address::parse, value_name = "USER", required_unless_present_any = ["domain", "file"])]
    users: Vec<Address>,
    /// All accounts of a domain
    #[arg(long, value_parser = Domain::parse, conflicts_with_all = ["users", "file"])]
    domain: Option<Domain>,
    /// The accounts that a file names, one address a line
    #[arg(long, value_name = "FILE", conflicts_with = "users")]
    file: Option<PathBuf>,
    /// Where to: shard:N, or a node, for one of the shards that it leads
    #[arg(long, value_parser = MoveTarget::parse, value_name = "SHARD|NODE", required = true)]
    to: Option<MoveTarget>,
    /// Only say what would move
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    how: How,
}

/// How moves are carried out.
#[derive(Debug, Args)]
struct How {
    /// How much all moves together copy in a second, from now on; "none" for as much as they can
    #[arg(long, value_parser = Rate::parse, value_name = "SIZE|none")]
    rate: Option<Rate>,
    /// Do not wait until they have moved
    #[arg(long)]
    no_wait: bool,
}

/// Arguments of `mailrook rebalance`.
#[derive(Debug, Args)]
pub struct RebalanceArguments {
    /// Only say what would move
    #[arg(long, conflicts_with = "stop")]
    plan: bool,
    /// Cancel the moves that are under way; those that have arrived stay where they are
    #[arg(long)]
    stop: bool,
    #[command(flatten)]
    how: How,
}

/// Commands about moves.
#[derive(Debug, Subcommand)]
enum Command {
    /// List moves that are under way
    #[command(after_help = "Example:\n  mailrook mailbox move list --all")]
    List {
        /// Those that are over, too
        #[arg(long)]
        all: bool,
    },
    /// Show one move
    #[command(after_help = "Example:\n  mailrook mailbox move show 17")]
    Show {
        /// Its number, as `list` shows it
        id: u64,
    },
    /// Have moves rest; without numbers all of them, and those to come
    #[command(after_help = "Example:\n  mailrook mailbox move pause")]
    Pause {
        /// Their numbers
        ids: Vec<u64>,
    },
    /// Have moves go on; without numbers all of them
    #[command(after_help = "Example:\n  mailrook mailbox move resume")]
    Resume {
        /// Their numbers
        ids: Vec<u64>,
    },
    /// Leave accounts where they are that have not arrived yet
    #[command(after_help = "Example:\n  mailrook mailbox move cancel 17")]
    Cancel {
        /// The moves' numbers
        #[arg(required = true)]
        ids: Vec<u64>,
    },
    /// Say how much all moves together copy in a second
    #[command(after_help = "Example:\n  mailrook mailbox move rate 20MB")]
    Rate {
        /// How much; "none" for as much as they can
        #[arg(value_parser = Rate::parse, value_name = "SIZE|none")]
        rate: Rate,
    },
}

/// Bytes a second, or as many as it goes.
#[derive(Clone, Copy, Debug)]
struct Rate(Option<u64>);

impl Rate {
    fn parse(text: &str) -> Result<Rate, String> {
        match text {
            "none" => Ok(Rate(None)),
            size => match Size::parse(size)?.0 {
                0 => {
                    Err("0 bytes a second would be never: `mailrook mailbox move pause`".to_owned())
                }
                bytes => Ok(Rate(Some(bytes))),
            },
        }
    }
}

/// Runs `mailrook mailbox move …`.
pub fn run(arguments: Arguments, context: &Context) -> Result<(), CliError> {
    match arguments.command {
        None => ask(&arguments, context),
        Some(Command::List { all }) => list(all, context),
        Some(Command::Show { id }) => show(id, context),
        Some(Command::Pause { ids }) => done(
            context,
            &Request::MovePause { ids, paused: true },
            "They rest.",
        ),
        Some(Command::Resume { ids }) => done(
            context,
            &Request::MovePause { ids, paused: false },
            "They go on.",
        ),
        Some(Command::Cancel { ids }) => done(
            context,
            &Request::MoveCancel { ids },
            "The accounts stay where they are.",
        ),
        Some(Command::Rate { rate }) => set_rate(rate, context),
    }
}

fn done(context: &Context, request: &Request, text: &str) -> Result<(), CliError> {
    match context.ask(request)? {
        Reply::Done { done } => {
            context
                .output
                .print(&json!({"done": done}), || text.to_owned());
            Ok(())
        }
        other => Err(misfit(&other)),
    }
}

fn set_rate(rate: Rate, context: &Context) -> Result<(), CliError> {
    let bytes_per_second = rate.0;
    let text = match bytes_per_second {
        Some(bytes) => format!(
            "Moves copy at most {} a second from now on.",
            human_bytes(bytes)
        ),
        None => "Moves copy as fast as they can from now on.".to_owned(),
    };
    done(context, &Request::MoveRate { bytes_per_second }, &text)
}

impl How {
    async fn set_rate(&self, client: &Client) -> Result<(), CliError> {
        let Some(Rate(bytes_per_second)) = self.rate else {
            return Ok(());
        };
        match client.call(&Request::MoveRate { bytes_per_second }).await? {
            Reply::Done { .. } => Ok(()),
            other => Err(misfit(&other)),
        }
    }
}

fn ask(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let Some(to) = arguments.to.clone() else {
        // The grammar asks for one.
        return Err(CliError::Usage("--to is missing".to_owned()));
    };
    let is_json = context.output.is_json();
    let one = arguments.users.len() == 1;
    let (asked, moves) = context.ask_all(|client| async move {
        let users = match (&arguments.domain, &arguments.file) {
            (Some(domain), _) => accounts_of(&client, domain).await?,
            (None, Some(file)) => read_addresses(file)?,
            (None, None) => arguments.users.clone(),
        };
        if !arguments.dry_run {
            arguments.how.set_rate(&client).await?;
        }
        let mut asked = Vec::new();
        for users in users.chunks(AT_ONCE) {
            let request = Request::MailboxMove {
                users: users.to_vec(),
                to: to.clone(),
                dry_run: arguments.dry_run,
            };
            match client.call(&request).await? {
                Reply::MovesAsked { asked: some } => asked.extend(some),
                other => return Err(misfit(&other)),
            }
        }
        let waits = !arguments.dry_run && !arguments.how.no_wait;
        let moves = match waits {
            true => wait(&client, &asked, !is_json).await?,
            false => Vec::new(),
        };
        Ok((asked, moves))
    })?;
    if arguments.dry_run || arguments.how.no_wait {
        context.output.print(&asked, || asked_table(&asked));
        return Ok(());
    }
    let results: Vec<Value> = asked.iter().map(|of| result(of, &moves)).collect();
    let value = match &results[..] {
        [only] if one => only.clone(),
        _ => Value::Array(results),
    };
    context.output.print(&value, || result_text(&asked, &moves));
    fail_with(&asked, &moves)
}

/// What came of an account's move, for programs.
fn result(of: &AskedMove, moves: &[MoveInfo]) -> Value {
    let of_move = moves.iter().find(|info| Some(info.id) == of.id);
    let failed = of_move.filter(|info| info.cause.is_some());
    let mut value = json!({
        "user": of.user,
        "from": of_move.map_or(of.from, |info| info.from),
        "to": of_move.map_or(of.to, |info| info.to),
        "messages": of_move.map_or(0, |info| info.messages),
        "bytes": of_move.map_or(0, |info| info.bytes),
        "pause_ms": of_move.map_or(0, |info| info.pause_ms),
    });
    if let Some(why) = &of.why {
        value["why"] = Value::String(why.clone());
    }
    if let Some(error) = failed.and_then(|info| info.cause.clone()) {
        value["error"] = Value::String(error);
    } else if of.outcome == AskedOutcome::MovesElsewhere {
        value["error"] = Value::String("it was moving to another shard already".to_owned());
    }
    value
}

fn result_text(asked: &[AskedMove], moves: &[MoveInfo]) -> String {
    let mut lines = Vec::new();
    for of in asked {
        let info = moves.iter().find(|info| Some(info.id) == of.id);
        lines.push(match (of.outcome, info) {
            (AskedOutcome::There, _) => format!("{} is on shard {} already.", of.user, of.to),
            (_, Some(info)) => match &info.cause {
                Some(cause) => format!("{} stays on shard {}: {cause}", of.user, info.from),
                None => format!(
                    "{} moved from shard {} to shard {}: {} messages, {} copied, not served for {} ms.",
                    of.user,
                    info.from,
                    info.to,
                    info.messages,
                    human_bytes(info.bytes),
                    info.pause_ms
                ),
            },
            (_, None) => format!(
                "{} was to move to shard {}; how it went is forgotten by now: `mailrook mailbox where {}`",
                of.user, of.to, of.user
            ),
        });
    }
    lines.join("\n")
}

/// Says it with the exit code, too, when an account stayed where it was.
fn fail_with(asked: &[AskedMove], moves: &[MoveInfo]) -> Result<(), CliError> {
    let failed = moves.iter().filter(|info| info.cause.is_some()).count();
    let elsewhere = (asked.iter())
        .filter(|of| of.outcome == AskedOutcome::MovesElsewhere)
        .count();
    let problem = match (failed, elsewhere) {
        (0, 0) => return Ok(()),
        (0, _) => format!(
            "{elsewhere} of {} accounts were moving to another shard already: `mailrook mailbox move list` shows them, `cancel` ends that",
            asked.len()
        ),
        _ => format!("{failed} of {} accounts have not moved", asked.len()),
    };
    Err(CliError::Refused(problem))
}

fn asked_table(asked: &[AskedMove]) -> String {
    let row = |of: &AskedMove| {
        let outcome = match of.outcome {
            AskedOutcome::Asked => "moves",
            AskedOutcome::There => "is there",
            AskedOutcome::MovesElsewhere => "is moving elsewhere",
            AskedOutcome::WouldMove => "would move",
        };
        vec![
            of.user.to_string(),
            of.from.to_string(),
            of.to.to_string(),
            of.messages.to_string(),
            human_bytes(of.bytes),
            of.id.map_or("-".to_owned(), |id| id.to_string()),
            outcome.to_owned(),
            of.why.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = asked.iter().map(row).collect();
    let heads = ["USER", "FROM", "TO", "MESSAGES", "SIZE", "MOVE", "", ""];
    table(&heads, &rows, "There is nothing to move.")
}

async fn accounts_of(client: &Client, domain: &Domain) -> Result<Vec<Address>, CliError> {
    let mut all: Vec<Address> = Vec::new();
    loop {
        let request = Request::AccountList {
            domain: Some(domain.clone()),
            after: all.last().cloned(),
        };
        match client.call(&request).await? {
            Reply::Accounts { accounts } if accounts.is_empty() => return Ok(all),
            Reply::Accounts { accounts } => {
                all.extend(accounts.into_iter().map(|account| account.user));
            }
            other => return Err(misfit(&other)),
        }
    }
}

/// Reads addresses, one a line; empty lines and those that begin with # are passed over.
fn read_addresses(file: &Path) -> Result<Vec<Address>, CliError> {
    let name = file.display();
    let failed = |error: io::Error| CliError::Refused(format!("{name}: {error}"));
    let len = fs::metadata(file).map_err(failed)?.len();
    if len > FILE_BYTES_MAX {
        return Err(CliError::Refused(format!(
            "{name} has {len} bytes; a list of addresses has at most {FILE_BYTES_MAX}"
        )));
    }
    let text = fs::read_to_string(file).map_err(failed)?;
    addresses_in(&text).map_err(|error| CliError::Refused(format!("{name}, {error}")))
}

fn addresses_in(text: &str) -> Result<Vec<Address>, String> {
    let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let address = Address::parse(line)
            .map_err(|error| format!("line {number}: {line:?} is no address: {error}"))?;
        if seen.insert(address.clone()) {
            all.push(address);
        }
    }
    Ok(all)
}

fn list(all: bool, context: &Context) -> Result<(), CliError> {
    let (moves, paused, rate) = context.ask_all(|client| async move {
        let mut found: Vec<MoveInfo> = Vec::new();
        loop {
            let request = Request::MoveList {
                pending: !all,
                after: found.last().map(|info| info.id),
            };
            match client.call(&request).await? {
                Reply::Moves {
                    moves,
                    paused,
                    rate_bytes_per_second,
                } => {
                    if moves.is_empty() {
                        return Ok((found, paused, rate_bytes_per_second));
                    }
                    found.extend(moves);
                }
                other => return Err(misfit(&other)),
            }
        }
    })?;
    let value = json!({"moves": moves, "paused": paused, "rate_bytes_per_second": rate});
    context.output.print(&value, || {
        let mut text = String::new();
        if paused {
            text += "All moves rest: `mailrook mailbox move resume` has them go on.\n";
        }
        if let Some(rate) = rate {
            text += &format!("They copy at most {} a second.\n", human_bytes(rate));
        }
        text + &moves_table(&moves)
    });
    Ok(())
}

fn moves_table(moves: &[MoveInfo]) -> String {
    let row = |info: &MoveInfo| {
        let rests = info.paused && !info.settled;
        vec![
            info.id.to_string(),
            info.user.clone(),
            info.from.to_string(),
            info.to.to_string(),
            if rests { "rests" } else { &info.state }.to_owned(),
            info.messages.to_string(),
            human_bytes(info.bytes),
            format!("{} ms", info.pause_ms),
            info.changed.clone(),
            info.cause.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = moves.iter().map(row).collect();
    let heads = [
        "MOVE", "USER", "FROM", "TO", "STATE", "MESSAGES", "COPIED", "PAUSE", "SINCE", "",
    ];
    table(&heads, &rows, "No account is moving.")
}

fn show(id: u64, context: &Context) -> Result<(), CliError> {
    match context.ask(&Request::MoveShow { ids: vec![id] })? {
        Reply::Moves { moves, .. } => {
            let Some(info) = moves.first() else {
                return Err(CliError::Refused(format!(
                    "there is no move {id}; `mailrook mailbox move list --all` shows them"
                )));
            };
            context.output.print(info, || show_text(info));
            Ok(())
        }
        other => Err(misfit(&other)),
    }
}

fn show_text(info: &MoveInfo) -> String {
    let state = match info.state.as_str() {
        "waiting" => "waits for its turn".to_owned(),
        "copying" => "is copied while it is used".to_owned(),
        "moved" => format!(
            "has moved; what is left on shard {} is kept for an hour after that",
            info.from
        ),
        "abandoned" => "stays; what was copied is being removed".to_owned(),
        "done" => "has moved".to_owned(),
        _ => "has not moved".to_owned(),
    };
    let mut text = format!(
        "Move {} of {} from shard {} to shard {}\n  the account    {state}\n",
        info.id, info.user, info.from, info.to
    );
    if let Some(cause) = &info.cause {
        text += &format!("  because        {cause}\n");
    }
    if info.paused && !info.settled {
        text += "  rests          until `mailrook mailbox move resume`\n";
    }
    text += &format!(
        "  copied         {} messages, {}\n  not served     {} ms\n  asked for      {}\n  last changed   {}",
        info.messages,
        human_bytes(info.bytes),
        info.pause_ms,
        info.asked,
        info.changed
    );
    text
}

/// Runs `mailrook rebalance`.
pub fn rebalance(arguments: &RebalanceArguments, context: &Context) -> Result<(), CliError> {
    if arguments.stop {
        return stop(context);
    }
    let is_json = context.output.is_json();
    let (shards, asked, moves, unreached) = context.ask_all(|client| async move {
        if !arguments.plan {
            arguments.how.set_rate(&client).await?;
        }
        let plan = arguments.plan;
        match client.call(&Request::Rebalance { plan }).await? {
            Reply::Balance {
                shards,
                moves,
                unreached,
            } => {
                let settled = match plan || arguments.how.no_wait {
                    true => Vec::new(),
                    false => wait(&client, &moves, !is_json).await?,
                };
                Ok((shards, moves, settled, unreached))
            }
            other => Err(misfit(&other)),
        }
    })?;
    let waited = !arguments.plan && !arguments.how.no_wait;
    let results: Vec<Value> = match waited {
        true => asked.iter().map(|of| result(of, &moves)).collect(),
        false => asked.iter().map(|of| json!(of)).collect(),
    };
    context.output.print(
        &json!({"shards": shards, "moves": results, "unreached": unreached}),
        || {
            let then = match (asked.is_empty(), waited) {
                (true, _) => "The shards are even: nothing is to move.".to_owned(),
                (false, true) => result_text(&asked, &moves),
                (false, false) => asked_table(&asked),
            };
            let uncounted = uncounted(&unreached);
            format!("{}\n{uncounted}\n{then}", shards_table(&shards).trim_end())
        },
    );
    fail_with(&asked, &moves)
}

/// Why load was no part of the plan.
fn uncounted(unreached: &[UnreachedNode]) -> String {
    if unreached.is_empty() {
        return String::new();
    }
    let why = |node: &UnreachedNode| format!("  {}: {}\n", node.node, node.why);
    let whys: String = unreached.iter().map(why).collect();
    format!(
        "\nPlanned by size and number alone. These nodes did not say what is asked for there:\n{whys}"
    )
}

fn shards_table(shards: &[ShardLoad]) -> String {
    let row = |load: &ShardLoad| {
        vec![
            load.shard.to_string(),
            load.accounts.to_string(),
            human_bytes(load.bytes),
            requests(load.load),
            load.accounts_after.to_string(),
            human_bytes(load.bytes_after),
            requests(load.load_after),
        ]
    };
    let rows: Vec<_> = shards.iter().map(row).collect();
    let heads = [
        "SHARD", "ACCOUNTS", "SIZE", "LOAD/H", "THEN", "SIZE", "LOAD/H",
    ];
    table(&heads, &rows, "There are no shards yet.")
}

fn requests(an_hour: Option<u64>) -> String {
    an_hour.map_or("-".to_owned(), |count| count.to_string())
}

fn stop(context: &Context) -> Result<(), CliError> {
    let stopped = context.ask_all(|client| async move {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let pending = true;
            match client.call(&Request::MoveList { pending, after }).await? {
                Reply::Moves { moves, .. } => {
                    let Some(last) = moves.last() else { break };
                    after = Some(last.id);
                    let open =
                        |info: &&MoveInfo| ["waiting", "copying"].contains(&info.state.as_str());
                    ids.extend(moves.iter().filter(open).map(|info| info.id));
                }
                other => return Err(misfit(&other)),
            }
        }
        let mut stopped = 0;
        for id in ids {
            // One that has arrived meanwhile stays there.
            if client
                .call(&Request::MoveCancel { ids: vec![id] })
                .await
                .is_ok()
            {
                stopped += 1;
            }
        }
        Ok(stopped)
    })?;
    context
        .output
        .print(&json!({ "cancelled": stopped }), || match stopped {
            0 => "No account was moving.".to_owned(),
            _ => format!("{stopped} moves are cancelled; what has arrived stays there."),
        });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_list_of_addresses() {
        let text = "# users\n\n a@example.org \nb@example.org\r\na@example.org\n";
        let all = addresses_in(text).unwrap();
        let all: Vec<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(all, ["a@example.org", "b@example.org"]);
        let error = addresses_in("a@example.org\nnobody\n").unwrap_err();
        assert!(
            error.starts_with("line 2: \"nobody\" is no address: "),
            "{error}"
        );
    }
}
