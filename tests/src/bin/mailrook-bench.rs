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
    Event, Options, fail_over_table, json, loads, markdown, measure_fail_over, run,
};
use mailrook_tests::harness::raise_file_limit;

const HELP: &str = "\
Runs the same loads on Postfix with Dovecot and on Mailrook and prints a table with ratios.

Usage: mailrook-bench [--only NAME]… [--quick] [--peer-only | --mailrook-only] [--rounds N] [--json FILE] [--dir DIR] [--list]
       mailrook-bench fail-over [TIMES] [kill|cut|restart]…

  --only NAME      this load (may be given several times); --list names them
  --quick          a tenth of the work, one round: whether it runs, not how fast
  --peer-only      without Mailrook
  --mailrook-only  without Postfix and Dovecot
  --rounds N       rounds of each (3)
  --json FILE      where the figures go (mailrook-bench.json)
  --dir DIR        where the mail lies while it runs; the disk under it is what is measured (a temporary folder)

`fail-over` measures instead what an SMTP and an IMAP client see when the leader of their shard, one of three nodes, is killed,
cut off and restarted, so many times each (20). Root is needed for its network namespaces.

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

fn bench() -> io::Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    if let Some(("fail-over", rest)) = words.split_first().map(|(f, r)| (f.as_str(), r)) {
        return fail_over(rest);
    }
    let own_folder = tempfile::Builder::new()
        .prefix("mailrook-bench-")
        .tempdir()?;
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
    if options.folder == own_folder.path() {
        // The peer's unprivileged processes walk through it.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(own_folder.path(), fs::Permissions::from_mode(0o755))?;
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
