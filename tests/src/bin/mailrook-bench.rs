//! `mailrook-bench`: the benchmark of `./mailrook-dev bench`. See `mailrook_tests::bench`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program"
)]

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use mailrook_tests::bench::{
    Event, Options, cluster_table, fail_over_table, idle_connections_table, json, loads, markdown,
    measure_bursts, measure_fail_over, measure_idle, measure_idle_connections, measure_moves,
    measure_survival, measure_ways, moves_table, run, survival_table, ways_table,
};
use mailrook_tests::harness::raise_file_limit;

const HELP: &str = "\
Runs the same loads on Postfix with Dovecot and on Mailrook and prints a table with ratios.

Usage: mailrook-bench [--only NAME]… [--quick] [--peer-only | --mailrook-only] [--rounds N] [--json FILE] [--dir DIR] [--list]
       mailrook-bench fail-over [TIMES] [kill|cut|restart]…
       mailrook-bench cluster [TIMES]
       mailrook-bench moves [ROUNDS]
       mailrook-bench survive [TIMES]
       mailrook-bench proxy [ROUNDS] [ways|idle]…

  --only NAME      this load (may be given several times); --list names them
  --quick          a tenth of the work, one round: whether it runs, not how fast
  --peer-only      without Mailrook
  --mailrook-only  without Postfix and Dovecot
  --rounds N       rounds of each (3)
  --json FILE      where the figures go (mailrook-bench.json)
  --dir DIR        where the mail lies while it runs; the disk under it is what is measured (a temporary folder)

`fail-over` measures instead what an SMTP and an IMAP client see when the leader of their shard, one of three nodes, is killed,
cut off and restarted, so many times each (20). `survive` measures how long 1,000 IMAP sessions at the other nodes wait when the
node that leads their accounts is killed, and when it hands over (3). `proxy` measures reading and short commands at the node that
leads the account against another one (`ways`, 3 rounds), and the memory of 20,000 idle TLS connections (`idle`). `cluster` measures all that is promised of three nodes: that, nothing lost in
bursts during which a leader is killed, what idle nodes cost, and how fast they are beside the peer. Root is needed for their
network namespaces. `moves` moves a mailbox of 10,000 messages beside `doveadm backup`.

The program to measure is MAILROOK_BIN, or target/release/mailrook. Root is needed for the peer. With MAILROOK_BENCH_PROFILE=FILE,
`perf record` writes a profile of the server there while the clock runs (its figures are then not worth keeping).
Example: mailrook-bench --only lmtp-4k --only append --rounds 5";

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mailrook-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn fail_over(arguments: &[String]) -> io::Result<()> {
    let (mut times, mut events) = (20, Vec::new());
    for argument in arguments {
        match argument.as_str() {
            "kill" => events.push(Event::Kill),
            "cut" => events.push(Event::Cut),
            "restart" => events.push(Event::Restart),
            number => times = number.parse().map_err(io::Error::other)?,
        }
    }
    if events.is_empty() {
        events = Event::ALL.into();
    }
    let measured = measure_fail_over(times, &events, &mut io::stderr())?;
    println!("{}", fail_over_table(&measured));
    Ok(())
}

fn survive(arguments: &[String]) -> io::Result<()> {
    let times: usize = match arguments {
        [] => 3,
        [times] => times.parse().map_err(io::Error::other)?,
        _ => return Err(io::Error::other("`survive` wants a number; see --help")),
    };
    raise_file_limit()?;
    let measured = measure_survival(times, &mut io::stderr())?;
    println!("{}", survival_table(&measured));
    Ok(())
}

fn proxy(arguments: &[String]) -> io::Result<()> {
    let (mut rounds, mut ways, mut idle) = (3, false, false);
    for argument in arguments {
        match argument.as_str() {
            "ways" => ways = true,
            "idle" => idle = true,
            number => rounds = number.parse().map_err(io::Error::other)?,
        }
    }
    let both = !ways && !idle;
    raise_file_limit()?;
    if ways || both {
        let measured = measure_ways(rounds, &mut io::stderr())?;
        println!("{}", ways_table(&measured));
    }
    if idle || both {
        let measured = measure_idle_connections(&mut io::stderr())?;
        println!("{}", idle_connections_table(&measured));
    }
    Ok(())
}

fn cluster(arguments: &[String]) -> io::Result<()> {
    let times: usize = match arguments {
        [] => 20,
        [times] => times.parse().map_err(io::Error::other)?,
        _ => return Err(io::Error::other("`cluster` wants a number; see --help")),
    };
    let idle = measure_idle()?;
    let bursts = measure_bursts(times.div_ceil(4))?;
    println!("{}", cluster_table(&bursts, &idle));
    let measured = measure_fail_over(times, &Event::ALL, &mut io::stderr())?;
    println!("{}", fail_over_table(&measured));
    let folder = folder()?;
    let options = Options {
        only: vec!["smtp-4k-three".to_owned()],
        quick: false,
        peer_only: false,
        mailrook_only: false,
        rounds: 3,
        folder: folder.path().to_owned(),
    };
    raise_file_limit()?;
    let rows = run(&options, &mut io::stderr())?;
    println!("{}", markdown(&rows, options.rounds));
    Ok(())
}

fn moves(arguments: &[String]) -> io::Result<()> {
    let rounds = match arguments {
        [] => 3,
        [rounds] => rounds.parse().map_err(io::Error::other)?,
        _ => return Err(io::Error::other("`moves` wants a number; see --help")),
    };
    raise_file_limit()?;
    let moves = measure_moves(rounds, &mut io::stderr())?;
    println!("{}", moves_table(&moves));
    Ok(())
}

/// A temporary folder for mail.
fn folder() -> io::Result<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::Builder::new()
        .prefix("mailrook-bench-")
        .tempdir()?;
    // The peer's unprivileged processes walk through it.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

fn bench() -> io::Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    match words
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        Some(("fail-over", rest)) => return fail_over(rest),
        Some(("cluster", rest)) => return cluster(rest),
        Some(("moves", rest)) => return moves(rest),
        Some(("survive", rest)) => return survive(rest),
        Some(("proxy", rest)) => return proxy(rest),
        _ => {}
    }
    let own_folder = folder()?;
    let mut json_file = PathBuf::from("mailrook-bench.json");
    let mut options = Options {
        only: Vec::new(),
        quick: false,
        peer_only: false,
        mailrook_only: false,
        rounds: 3,
        folder: own_folder.path().to_owned(),
    };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| io::Error::other(format!("{argument} wants a value")))
        };
        match argument.as_str() {
            "--only" => options.only.push(value()?),
            "--quick" => (options.quick, options.rounds) = (true, 1),
            "--peer-only" => options.peer_only = true,
            "--mailrook-only" => options.mailrook_only = true,
            "--rounds" => options.rounds = value()?.parse().map_err(io::Error::other)?,
            "--json" => json_file = PathBuf::from(value()?),
            "--dir" => options.folder = PathBuf::from(value()?),
            "--list" => {
                loads::ALL
                    .iter()
                    .for_each(|l| println!("{:14} {}", l.name, l.what));
                return Ok(());
            }
            "--help" | "-h" => {
                println!("{HELP}");
                return Ok(());
            }
            other => {
                return Err(io::Error::other(format!(
                    "unknown option {other}; see --help"
                )));
            }
        }
    }
    raise_file_limit()?;
    let rows = run(&options, &mut io::stderr())?;
    println!("{}", markdown(&rows, options.rounds));
    fs::write(
        &json_file,
        serde_json::to_string_pretty(&json(&rows, options.rounds))?,
    )?;
    eprintln!("figures of every round: {}", json_file.display());
    Ok(())
}
