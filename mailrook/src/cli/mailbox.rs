//! `mailrook mailbox …`

use clap::Subcommand;
use mailrook_types::Address;

use super::{
    CliError, Context, misfit, moves,
    output::{human_bytes, table},
};
use crate::admin::protocol::{MailboxInfo, Reply, Request};

/// Mailboxes of accounts.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List an account's mailboxes
    #[command(after_help = "Example:\n  mailrook mailbox list alice@example.org")]
    List {
        /// Whose
        #[arg(value_parser = Address::parse)]
        address: Address,
    },
    /// Say which shard and nodes hold an account
    #[command(after_help = "Example:\n  mailrook mailbox where alice@example.org --json")]
    Where {
        /// Whose
        #[arg(value_parser = Address::parse)]
        address: Address,
    },
    /// Move accounts to another shard, while they are used
    #[command(
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        after_help = "Examples:\n  mailrook mailbox move alice@example.org --to shard:3\n  mailrook mailbox move --domain example.org --to node2 --dry-run\n  mailrook mailbox move --file users.txt --to shard:3 --rate 20MB\n  mailrook mailbox move list\n  mailrook mailbox move cancel 17"
    )]
    Move(moves::Arguments),
}

/// Runs the command.
pub fn run(command: Command, context: &Context) -> Result<(), CliError> {
    match command {
        Command::List { address } => {
            let Reply::Mailboxes { user, mailboxes } =
                context.ask(&Request::MailboxList { address })?
            else {
                return Err(CliError::Refused(
                    "the server's answer does not fit the question".to_owned(),
                ));
            };
            let row = |mailbox: &MailboxInfo| {
                vec![
                    mailbox.name.clone(),
                    mailbox.messages.to_string(),
                    mailbox.unseen.to_string(),
                    human_bytes(mailbox.bytes),
                    mailbox.special_use.clone().unwrap_or("-".to_owned()),
                    if mailbox.subscribed { "yes" } else { "no" }.to_owned(),
                    mailbox.id.clone(),
                ]
            };
            let text = || {
                let rows: Vec<_> = mailboxes.iter().map(row).collect();
                let heads = [
                    "MAILBOX",
                    "MESSAGES",
                    "UNSEEN",
                    "SIZE",
                    "USE",
                    "SUBSCRIBED",
                    "ID",
                ];
                table(&heads, &rows, &format!("{user} has no mailboxes yet."))
            };
            context.output.print(&mailboxes, text);
        }
        Command::Where { address } => match context.ask(&Request::MailboxWhere { address })? {
            Reply::Where(found) => context.output.print(&found, || {
                format!(
                    "{} is on shard {}, led by {}, with copies on {}.",
                    found.user,
                    found.shard,
                    found.leader.as_deref().unwrap_or("nobody just now"),
                    found.replicas.join(", ")
                )
            }),
            other => return Err(misfit(&other)),
        },
        Command::Move(arguments) => return moves::run(arguments, context),
    }
    Ok(())
}
