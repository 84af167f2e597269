//! `mailrook account …`

use clap::Subcommand;
use mailrook_types::{Address, Domain};
use serde_json::json;

use super::{
    CliError, Context, misfit,
    output::{bound, human_bytes, table},
    password::{self, Chosen, Source},
};
use crate::{
    admin::protocol::{AccountInfo, Reply, Request, Usage},
    config::Size,
};

/// Accounts and their passwords.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add an account; its password is asked for
    #[command(
        after_help = "Examples:\n  mailrook account add alice@example.org\n  mailrook account add alice@example.org --generate\n  printf %s \"$PASSWORD\" | mailrook account add alice@example.org --password-stdin --quota 5GB"
    )]
    Add {
        /// Its address
        #[arg(value_parser = Address::parse)]
        address: Address,
        /// Where the password comes from
        #[command(flatten)]
        source: Source,
        /// Without a password: nobody can log in until one is added
        #[arg(long, conflicts_with_all = ["password_stdin", "generate"])]
        no_password: bool,
        /// How much it may hold, as in 5GB
        #[arg(long, value_parser = Size::parse, value_name = "SIZE")]
        quota: Option<Size>,
        /// How many messages it may hold
        #[arg(long, value_name = "N")]
        quota_messages: Option<u64>,
    },
    /// List the accounts
    #[command(
        after_help = "Examples:\n  mailrook account list\n  mailrook account list --domain example.org --json"
    )]
    List {
        /// Of this domain only
        #[arg(long, value_parser = Domain::parse)]
        domain: Option<Domain>,
    },
    /// Show an account and how much it holds
    #[command(after_help = "Example:\n  mailrook account show alice@example.org")]
    Show {
        /// Its address
        #[arg(value_parser = Address::parse)]
        address: Address,
    },
    /// Remove an account and all its mail
    #[command(
        after_help = "Example:\n  mailrook account remove alice@example.org --yes\n\nAliases that lead to it lose that target."
    )]
    Remove {
        /// Its address
        #[arg(value_parser = Address::parse)]
        address: Address,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Give an account another address; its mail stays, and aliases follow
    #[command(
        after_help = "Example:\n  mailrook account rename alice@example.org alice.smith@example.org"
    )]
    Rename {
        /// The present address
        #[arg(value_parser = Address::parse)]
        from: Address,
        /// The new one
        #[arg(value_parser = Address::parse)]
        to: Address,
    },
    /// Let an account log in again
    #[command(after_help = "Example:\n  mailrook account enable alice@example.org")]
    Enable {
        /// Its address
        #[arg(value_parser = Address::parse)]
        address: Address,
    },
    /// Let an account no longer log in; its mail is still taken
    #[command(after_help = "Example:\n  mailrook account disable alice@example.org")]
    Disable {
        /// Its address
        #[arg(value_parser = Address::parse)]
        address: Address,
    },
    /// Say how much an account may hold
    #[command(
        after_help = "Examples:\n  mailrook account quota alice@example.org 5GB\n  mailrook account quota alice@example.org 5GB --messages 100000\n  mailrook account quota alice@example.org none"
    )]
    Quota {
        /// Its address
        #[arg(value_parser = Address::parse)]
        address: Address,
        /// As in 5GB; "none" is no bound
        size: String,
        /// How many messages
        #[arg(long, value_name = "N")]
        messages: Option<u64>,
    },
    /// Passwords of an account
    #[command(subcommand)]
    Password(password::Command),
}

/// Runs the command.
pub fn run(command: Command, context: &Context) -> Result<(), CliError> {
    match command {
        Command::Add {
            address,
            source,
            no_password,
            quota,
            quota_messages,
        } => {
            let chosen = if no_password {
                None
            } else {
                Some(source.obtain(&address)?)
            };
            let request = Request::AccountAdd {
                address,
                password: chosen.as_ref().map(|chosen| chosen.secret.clone()),
                quota_bytes: quota.map(|quota| quota.0),
                quota_messages,
            };
            add(context, &request, chosen)
        }
        Command::List { domain } => list(domain, context),
        Command::Show { address } => show(address, context),
        Command::Remove { address, yes } => {
            if !yes {
                password::confirm(&format!("Remove {address} and all its mail?"))?;
            }
            change(context, Request::AccountRemove { address }, |account| {
                format!("{} is removed.", account.user)
            })
        }
        Command::Rename { from, to } => {
            let said = format!("{from} is now {to}.");
            change(context, Request::AccountRename { from, to }, |_| said)
        }
        Command::Enable { address } => change(
            context,
            Request::AccountEnable {
                address,
                enabled: true,
            },
            |a| format!("{} can log in.", a.user),
        ),
        Command::Disable { address } => change(
            context,
            Request::AccountEnable {
                address,
                enabled: false,
            },
            |a| format!("{} cannot log in; its mail is still taken.", a.user),
        ),
        Command::Quota {
            address,
            size,
            messages,
        } => set_quota(context, address, &size, messages),
        Command::Password(command) => password::run(command, context),
    }
}

fn set_quota(
    context: &Context,
    address: Address,
    size: &str,
    quota_messages: Option<u64>,
) -> Result<(), CliError> {
    let quota_bytes = match size {
        "none" => None,
        size => Some(Size::parse(size).map_err(CliError::Usage)?.0),
    };
    change(
        context,
        Request::AccountQuota {
            address,
            quota_bytes,
            quota_messages,
        },
        |account| {
            let bytes = bound(account.quota_bytes, human_bytes);
            let messages = bound(account.quota_messages, |n| n.to_string());
            format!(
                "{} may hold: bytes {bytes}, messages {messages}.",
                account.user
            )
        },
    )
}

fn add(context: &Context, request: &Request, chosen: Option<Chosen>) -> Result<(), CliError> {
    let (account, _) = one(context.ask(request)?)?;
    let generated = chosen.and_then(|chosen| chosen.generated());
    let text = || {
        let said = format!("{} can receive mail.", account.user);
        generated.as_ref().map_or(said.clone(), |password| {
            format!("{said}\nPassword: {password}")
        })
    };
    context
        .output
        .print(&json!({"account": account, "password": generated}), text);
    Ok(())
}

/// A change of one account, told with `said`.
pub(super) fn change(
    context: &Context,
    request: Request,
    said: impl FnOnce(&AccountInfo) -> String,
) -> Result<(), CliError> {
    let (account, _) = one(context.ask(&request)?)?;
    context
        .output
        .print(&json!({"account": &account}), || said(&account));
    Ok(())
}

fn one(reply: Reply) -> Result<(AccountInfo, Option<Usage>), CliError> {
    match reply {
        Reply::Account { account, usage } => Ok((account, usage)),
        other => Err(misfit(&other)),
    }
}

fn show(address: Address, context: &Context) -> Result<(), CliError> {
    let (account, usage) = one(context.ask(&Request::AccountShow { address })?)?;
    let text = || {
        let used = |show: fn(&Usage) -> String| usage.as_ref().map_or("-".to_owned(), show);
        let rows = [
            ("address", account.user.to_string()),
            ("id", account.id.clone()),
            ("shard", account.shard.to_string()),
            (
                "may log in",
                if account.enabled { "yes" } else { "no" }.to_owned(),
            ),
            ("passwords", account.passwords.to_string()),
            ("holds", used(|usage| human_bytes(usage.bytes))),
            ("may hold", bound(account.quota_bytes, human_bytes)),
            ("messages", used(|usage| usage.messages.to_string())),
            (
                "messages at most",
                bound(account.quota_messages, |n| n.to_string()),
            ),
            ("since", account.created.clone()),
        ];
        rows.map(|(name, value)| format!("{name:<18}{value}"))
            .join("\n")
    };
    context
        .output
        .print(&json!({"account": account, "usage": usage}), text);
    Ok(())
}

fn list(domain: Option<Domain>, context: &Context) -> Result<(), CliError> {
    let accounts = context.ask_all(|client| async move {
        let mut all: Vec<AccountInfo> = Vec::new();
        loop {
            let after = all.last().map(|last| last.user.clone());
            match client
                .call(&Request::AccountList {
                    domain: domain.clone(),
                    after,
                })
                .await?
            {
                Reply::Accounts { accounts } => {
                    let is_last = accounts.is_empty();
                    all.extend(accounts);
                    if is_last {
                        return Ok(all);
                    }
                }
                other => return Err(misfit(&other)),
            }
        }
    })?;
    let row = |account: &AccountInfo| {
        vec![
            account.user.to_string(),
            if account.enabled { "yes" } else { "no" }.to_owned(),
            account.passwords.to_string(),
            bound(account.quota_bytes, human_bytes),
            account.shard.to_string(),
            account.created.clone(),
        ]
    };
    let text = || {
        let rows: Vec<_> = accounts.iter().map(row).collect();
        let heads = ["USER", "LOGIN", "PASSWORDS", "QUOTA", "SHARD", "SINCE"];
        table(
            &heads,
            &rows,
            "There are no accounts yet: mailrook account add alice@example.org",
        )
    };
    context.output.print(&accounts, text);
    Ok(())
}
