//! What the command line takes.

use clap::{CommandFactory, Parser, error::ErrorKind};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn takes_what_the_manual_shows() {
    for line in [
        "mailrook serve",
        "mailrook --config x.toml serve",
        "mailrook serve --config x.toml",
        "mailrook dev --nodes 1 --base-port 10000 --data d --accounts 5 --plaintext --json",
        "mailrook config check x.toml",
        "mailrook config example",
        "mailrook config show --json",
        "mailrook domain add example.org",
        "mailrook domain list --json",
        "mailrook domain catch-all example.org a@example.org",
        "mailrook domain catch-all example.org --none",
        "mailrook account add a@example.org --generate --quota 5GB --quota-messages 10",
        "mailrook account add a@example.org --password-stdin",
        "mailrook account list --domain example.org",
        "mailrook account show a@example.org",
        "mailrook account remove a@example.org --yes",
        "mailrook account rename a@example.org b@example.org",
        "mailrook account disable a@example.org",
        "mailrook account quota a@example.org none",
        "mailrook account password add a@example.org phone --scope imap --scope pop3 --generate",
        "mailrook account password set a@example.org --password-stdin",
        "mailrook account password list a@example.org",
        "mailrook account password remove a@example.org phone",
        "mailrook alias add t@example.org a@example.org b@else.org",
        "mailrook alias remove t@example.org",
        "mailrook mailbox list a@example.org",
        "mailrook mailbox where a@example.org --json",
        "mailrook mailbox move a@example.org b@example.org --to shard:3 --rate 20MB --json",
        "mailrook mailbox move --domain example.org --to node2 --dry-run",
        "mailrook mailbox move --file users.txt --to node2 --no-wait",
        "mailrook mailbox move list --all",
        "mailrook mailbox move show 17",
        "mailrook mailbox move pause",
        "mailrook mailbox move resume 17 18",
        "mailrook mailbox move cancel 17",
        "mailrook mailbox move rate 20MB",
        "mailrook mailbox move rate none",
        "mailrook rebalance --plan",
        "mailrook rebalance --rate 20MB --no-wait",
        "mailrook rebalance --stop",
        "mailrook node replace node3 --force",
        "mailrook cluster rotate-ca",
        "mailrook cluster upgrade",
        "mailrook cluster recover",
        "mailrook cluster recover --shards 0,3 --yes-lose-mail",
        "mailrook cluster recover --all",
        "mailrook status --json",
        "mailrook session list",
        "mailrook session list --user a@example.org --node mail1 --protocol imap --json",
        "mailrook session list --domain example.org",
        "mailrook session show mail1-5kx0c2m9rt --json",
        "mailrook session kill mail1-5kx0c2m9rt",
        "mailrook session kill --user a@example.org --reason password",
        "mailrook reload",
        "mailrook stop",
        "mailrook completion bash",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn refuses_what_makes_no_sense() {
    for (line, kind) in [
        (
            "mailrook domain add not..a..domain",
            ErrorKind::ValueValidation,
        ),
        (
            "mailrook mailbox move a@example.org --to shard:x",
            ErrorKind::ValueValidation,
        ),
        (
            "mailrook mailbox move a@example.org",
            ErrorKind::MissingRequiredArgument,
        ),
        (
            "mailrook mailbox move --to shard:2",
            ErrorKind::MissingRequiredArgument,
        ),
        (
            "mailrook mailbox move a@example.org --domain example.org --to shard:2",
            ErrorKind::ArgumentConflict,
        ),
        (
            "mailrook rebalance --plan --stop",
            ErrorKind::ArgumentConflict,
        ),
        ("mailrook account add nobody", ErrorKind::ValueValidation),
        (
            "mailrook account add a@example.org --generate --password-stdin",
            ErrorKind::ArgumentConflict,
        ),
        (
            "mailrook account add a@example.org --quota much",
            ErrorKind::ValueValidation,
        ),
        (
            "mailrook account add a@example.org --password secret",
            ErrorKind::UnknownArgument,
        ),
        (
            "mailrook alias add t@example.org",
            ErrorKind::MissingRequiredArgument,
        ),
        (
            "mailrook domain catch-all example.org",
            ErrorKind::MissingRequiredArgument,
        ),
        ("mailrook session kill", ErrorKind::MissingRequiredArgument),
        (
            "mailrook session kill x --user a@example.org",
            ErrorKind::ArgumentConflict,
        ),
        (
            "mailrook session list --user a@b.org --domain b.org",
            ErrorKind::ArgumentConflict,
        ),
        (
            "mailrook session list --protocol gopher",
            ErrorKind::InvalidValue,
        ),
        ("mailrook acount list", ErrorKind::InvalidSubcommand),
        ("mailrook dev --base-port 65530", ErrorKind::ValueValidation),
    ] {
        let error = parse(line)
            .err()
            .unwrap_or_else(|| panic!("{line} was taken"));
        assert_eq!(error.kind(), kind, "{line}");
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

/// Every command that does something says how, with an example.
#[test]
fn every_command_has_help_with_an_example() {
    fn check(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        assert!(
            command.get_about().is_some(),
            "{path} does not say what it does"
        );
        let mut leaf = true;
        for below in command
            .get_subcommands()
            .filter(|below| below.get_name() != "help")
        {
            leaf = false;
            check(below, &path);
        }
        let example = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(
            !leaf || example.contains("mailrook"),
            "{path} has no example"
        );
    }
    check(&Cli::command(), "");
}

#[test]
fn completes_in_every_shell() {
    for shell in [
        clap_complete::Shell::Bash,
        clap_complete::Shell::Zsh,
        clap_complete::Shell::Fish,
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "mailrook", &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(
            script.contains("catch-all") && script.contains("kill"),
            "{shell}"
        );
    }
}
