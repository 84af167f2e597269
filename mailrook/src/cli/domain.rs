//! `mailrook domain …`

use clap::Subcommand;
use mailrook_types::{Address, Domain};

use super::{CliError, Context, misfit, output::table};
use crate::admin::protocol::{DomainInfo, Reply, Request};

/// Domains that mail is taken for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take mail for a domain
    #[command(
        after_help = "Example:\n  mailrook domain add example.org\n\npostmaster@ and abuse@ exist from then on; their mail goes to the domain's oldest account, until there is an alias."
    )]
    Add {
        /// As in example.org
        #[arg(value_parser = Domain::parse)]
        domain: Domain,
    },
    /// List the domains
    #[command(after_help = "Example:\n  mailrook domain list --json")]
    List,
    /// Take no more mail for a domain, which must have no accounts and aliases left
    #[command(after_help = "Example:\n  mailrook domain remove example.org")]
    Remove {
        /// As in example.org
        #[arg(value_parser = Domain::parse)]
        domain: Domain,
    },
    /// Say who gets the mail of users that do not exist
    #[command(
        after_help = "Examples:\n  mailrook domain catch-all example.org alice@example.org\n  mailrook domain catch-all example.org --none"
    )]
    CatchAll {
        /// As in example.org
        #[arg(value_parser = Domain::parse)]
        domain: Domain,
        /// Who gets it
        #[arg(value_parser = Address::parse, required_unless_present = "none", conflicts_with = "none")]
        target: Option<Address>,
        /// Nobody: such mail is refused
        #[arg(long)]
        none: bool,
    },
}

/// Runs the command.
pub fn run(command: Command, context: &Context) -> Result<(), CliError> {
    let (request, said) = match command {
        Command::List => return list(context),
        Command::Add { domain } => (
            Request::DomainAdd {
                domain: domain.clone(),
            },
            format!("Mail for {domain} is taken."),
        ),
        Command::Remove { domain } => (
            Request::DomainRemove {
                domain: domain.clone(),
            },
            format!("Mail for {domain} is no longer taken."),
        ),
        Command::CatchAll { domain, target, .. } => {
            let said = match &target {
                Some(target) => format!("Mail for unknown users of {domain} goes to {target}."),
                None => format!("Mail for unknown users of {domain} is refused."),
            };
            (Request::DomainCatchAll { domain, target }, said)
        }
    };
    let reply = context.ask(&request)?;
    context.output.print(&reply, || said);
    Ok(())
}

fn list(context: &Context) -> Result<(), CliError> {
    let domains = context.ask_all(|client| async move {
        let mut all: Vec<DomainInfo> = Vec::new();
        loop {
            let after = all.last().map(|last| last.domain.clone());
            match client.call(&Request::DomainList { after }).await? {
                Reply::Domains { domains } => {
                    let is_last = domains.is_empty();
                    all.extend(domains);
                    if is_last {
                        return Ok(all);
                    }
                }
                other => return Err(misfit(&other)),
            }
        }
    })?;
    let row = |domain: &DomainInfo| {
        let catch_all = domain
            .catch_all
            .as_ref()
            .map_or("-".to_owned(), Address::to_string);
        vec![domain.domain.to_string(), catch_all, domain.created.clone()]
    };
    let text = || {
        let rows: Vec<_> = domains.iter().map(row).collect();
        table(
            &["DOMAIN", "CATCH-ALL", "SINCE"],
            &rows,
            "There are no domains yet: mailrook domain add example.org",
        )
    };
    context.output.print(&domains, text);
    Ok(())
}
