//! `mailrook alias …`

use clap::Subcommand;
use mailrook_types::{Address, Domain};

use super::{CliError, Context, misfit, output::table};
use crate::admin::protocol::{AliasInfo, Reply, Request};

/// Addresses that lead to others.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add targets to an alias, and make it if it is new
    #[command(
        after_help = "Examples:\n  mailrook alias add team@example.org alice@example.org bob@example.org\n  mailrook alias add postmaster@example.org alice@example.org"
    )]
    Add {
        /// The address that is no account's
        #[arg(value_parser = Address::parse)]
        alias: Address,
        /// Who gets its mail: accounts, other aliases, addresses elsewhere
        #[arg(value_parser = Address::parse, required = true)]
        targets: Vec<Address>,
    },
    /// List the aliases
    #[command(
        after_help = "Examples:\n  mailrook alias list\n  mailrook alias list --domain example.org --json"
    )]
    List {
        /// Of this domain only
        #[arg(long, value_parser = Domain::parse)]
        domain: Option<Domain>,
    },
    /// Remove targets from an alias, or the whole alias
    #[command(
        after_help = "Examples:\n  mailrook alias remove team@example.org bob@example.org\n  mailrook alias remove team@example.org"
    )]
    Remove {
        /// Which
        #[arg(value_parser = Address::parse)]
        alias: Address,
        /// Which targets; without any, the alias itself
        #[arg(value_parser = Address::parse)]
        targets: Vec<Address>,
    },
}

/// Runs the command.
pub fn run(command: Command, context: &Context) -> Result<(), CliError> {
    let (request, said) = match command {
        Command::List { domain } => return list(domain, context),
        Command::Add { alias, targets } => {
            let said = format!("{alias} leads to {} more.", targets.len());
            (
                Request::AliasAdd {
                    address: alias,
                    targets,
                },
                said,
            )
        }
        Command::Remove { alias, targets } => {
            let said = match targets.len() {
                0 => format!("{alias} is removed."),
                n => format!("{alias} leads to {n} less."),
            };
            (
                Request::AliasRemove {
                    address: alias,
                    targets,
                },
                said,
            )
        }
    };
    let reply = context.ask(&request)?;
    context.output.print(&reply, || said);
    Ok(())
}

fn list(domain: Option<Domain>, context: &Context) -> Result<(), CliError> {
    let aliases = context.ask_all(|client| async move {
        let mut all: Vec<AliasInfo> = Vec::new();
        loop {
            let after = all.last().map(|last| last.alias.clone());
            match client
                .call(&Request::AliasList {
                    domain: domain.clone(),
                    after,
                })
                .await?
            {
                Reply::Aliases { aliases } => {
                    let is_last = aliases.is_empty();
                    all.extend(aliases);
                    if is_last {
                        return Ok(all);
                    }
                }
                other => return Err(misfit(&other)),
            }
        }
    })?;
    let row = |alias: &AliasInfo| {
        let targets: Vec<_> = alias.targets.iter().map(Address::to_string).collect();
        vec![alias.alias.to_string(), targets.join(", ")]
    };
    let text = || {
        let rows: Vec<_> = aliases.iter().map(row).collect();
        table(&["ALIAS", "TARGETS"], &rows, "There are no aliases.")
    };
    context.output.print(&aliases, text);
    Ok(())
}
