//! `mailrook account password …`, and where passwords come from. They never stand among a command's arguments, where
//! every user of the machine could read them.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use clap::{Args, Subcommand};
use mailrook_types::Address;
use serde_json::json;

use super::{CliError, Context, account::change, misfit, output::table};
use crate::{
    admin::{
        FIRST_PASSWORD,
        protocol::{PasswordInfo, Reply, Request, Scope, Secret},
    },
    password::generate,
};

/// Longer than any password; bounds what a wrong pipe makes us read.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// Passwords of an account.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add a password, as for one more device
    #[command(
        after_help = "Examples:\n  mailrook account password add alice@example.org phone --generate\n  mailrook account password add alice@example.org scanner --scope smtp --generate"
    )]
    Add {
        /// Whose
        #[arg(value_parser = Address::parse)]
        address: Address,
        /// What to call it
        name: String,
        /// What it opens; without any, everything
        #[arg(long = "scope", value_enum)]
        scopes: Vec<Scope>,
        /// Where it comes from
        #[command(flatten)]
        source: Source,
    },
    /// Replace a password
    #[command(
        after_help = "Examples:\n  mailrook account password set alice@example.org\n  mailrook account password set alice@example.org phone --generate\n\nSessions that are logged in stay; the next login needs the new password."
    )]
    Set {
        /// Whose
        #[arg(value_parser = Address::parse)]
        address: Address,
        /// Which
        #[arg(default_value = FIRST_PASSWORD)]
        name: String,
        /// Where it comes from
        #[command(flatten)]
        source: Source,
    },
    /// List the passwords' names and what they open
    #[command(after_help = "Example:\n  mailrook account password list alice@example.org")]
    List {
        /// Whose
        #[arg(value_parser = Address::parse)]
        address: Address,
    },
    /// Remove a password
    #[command(after_help = "Example:\n  mailrook account password remove alice@example.org phone")]
    Remove {
        /// Whose
        #[arg(value_parser = Address::parse)]
        address: Address,
        /// Which
        name: String,
    },
}

/// Where a password comes from; without a flag it is asked for.
#[derive(Debug, Args)]
pub struct Source {
    /// Read the password from standard input, up to the end of the line
    #[arg(long, conflicts_with = "generate")]
    pub password_stdin: bool,
    /// Make a password up, and print it
    #[arg(long)]
    pub generate: bool,
}

/// A password to be set.
#[derive(Debug)]
pub struct Chosen {
    /// The password.
    pub secret: Secret,
    is_generated: bool,
}

impl Chosen {
    /// The password, if nobody knows it yet.
    pub fn generated(&self) -> Option<String> {
        self.is_generated.then(|| self.secret.reveal().to_owned())
    }
}

impl Source {
    /// Gets the password.
    pub fn obtain(&self, address: &Address) -> Result<Chosen, CliError> {
        let refused =
            |error: io::Error| CliError::Refused(format!("no password was read: {error}"));
        let (text, is_generated) = if self.generate {
            (generate().map_err(CliError::Refused)?, true)
        } else if self.password_stdin {
            (read_line(&mut io::stdin().lock()).map_err(refused)?, false)
        } else if io::stdin().is_terminal() {
            (ask_twice(address).map_err(refused)?, false)
        } else {
            let text = "a password is needed: --password-stdin reads it, --generate makes one up, a terminal is asked";
            return Err(CliError::Usage(text.to_owned()));
        };
        Ok(Chosen {
            secret: Secret::new(text),
            is_generated,
        })
    }
}

/// One line without its end.
fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    input.take(PASSWORD_BYTES_MAX).read_line(&mut text)?;
    let len = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(len);
    if text.is_empty() {
        Err(io::Error::other("it is empty"))
    } else {
        Ok(text)
    }
}

fn ask_twice(address: &Address) -> io::Result<String> {
    let first = rpassword::prompt_password(format!("Password for {address}: "))?;
    let second = rpassword::prompt_password("Once more: ")?;
    match first == second {
        true if first.is_empty() => Err(io::Error::other("it is empty")),
        true => Ok(first),
        false => Err(io::Error::other("the two are not the same")),
    }
}

/// Asks for a yes.
pub fn confirm(question: &str) -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage(format!(
            "{question} Say --yes, as there is no terminal to ask."
        )));
    }
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().lock().take(64).read_line(&mut answer);
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(CliError::Refused("nothing was changed".to_owned())),
    }
}

/// Runs the command.
pub fn run(command: Command, context: &Context) -> Result<(), CliError> {
    match command {
        Command::Add {
            address,
            name,
            scopes,
            source,
        } => {
            let chosen = source.obtain(&address)?;
            let password = chosen.secret.clone();
            let request = Request::PasswordAdd {
                address,
                name: name.clone(),
                scopes,
                password,
            };
            set(context, &request, &name, &chosen)
        }
        Command::Set {
            address,
            name,
            source,
        } => {
            let chosen = source.obtain(&address)?;
            let password = chosen.secret.clone();
            let request = Request::PasswordSet {
                address,
                name: name.clone(),
                password,
            };
            set(context, &request, &name, &chosen)
        }
        Command::List { address } => list(address, context),
        Command::Remove { address, name } => {
            let said = format!("The password {name:?} is removed.");
            change(context, Request::PasswordRemove { address, name }, |_| said)
        }
    }
}

fn set(context: &Context, request: &Request, name: &str, chosen: &Chosen) -> Result<(), CliError> {
    let Reply::Account { account, .. } = context.ask(request)? else {
        return Err(CliError::Refused(
            "the server's answer does not fit the question".to_owned(),
        ));
    };
    let generated = chosen.generated();
    let text = || {
        let said = format!("{} can log in with the password {name:?}.", account.user);
        generated.as_ref().map_or(said.clone(), |password| {
            format!("{said}\nPassword: {password}")
        })
    };
    context
        .output
        .print(&json!({"account": account, "password": generated}), text);
    Ok(())
}

fn list(address: Address, context: &Context) -> Result<(), CliError> {
    let passwords = match context.ask(&Request::PasswordList { address })? {
        Reply::Passwords { passwords } => passwords,
        other => return Err(misfit(&other)),
    };
    let row = |password: &PasswordInfo| {
        let scopes: Vec<_> = password
            .scopes
            .iter()
            .map(|scope| format!("{scope:?}").to_lowercase())
            .collect();
        let scopes = if scopes.is_empty() {
            "everything".to_owned()
        } else {
            scopes.join(", ")
        };
        vec![password.name.clone(), scopes, password.created.clone()]
    };
    let text = || {
        let rows: Vec<_> = passwords.iter().map(row).collect();
        table(
            &["NAME", "OPENS", "SINCE"],
            &rows,
            "There are no passwords: nobody can log in.",
        )
    };
    context.output.print(&passwords, text);
    Ok(())
}
