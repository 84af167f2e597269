//! The command line: one file for each group of commands.
//!
//! Exit status: 0 done, 1 refused (the text says why), 2 wrong usage, 3 the server or its store cannot be reached, 130 Ctrl-C ended the
//! waiting for what goes on.

mod account;
mod alias;
mod cluster;
mod completion;
mod config;
mod domain;
mod mailbox;
mod moves;
mod output;
mod password;
mod recover;
mod server;
mod session;
#[cfg(test)]
mod tests;
mod waiting;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use thiserror::Error;

use crate::{
    admin::{
        Client, ClientError,
        protocol::{Reply, Request},
    },
    config::{Config, ConfigError, DEFAULT_PATH},
    dev::DevArgs,
};
pub use output::Output;

/// Mailrook: a mail cluster in one program.
#[derive(Debug, Parser)]
#[command(
    name = "mailrook",
    version,
    arg_required_else_help = true,
    after_help = "Examples:\n  mailrook dev                                  try it: a throwaway server with accounts\n  mailrook config example > mailrook.toml       begin a configuration\n  mailrook config check mailrook.toml           is it right?\n  mailrook serve                                run the server\n  mailrook domain add example.org\n  mailrook account add alice@example.org        asks for the password\n\nExit status: 0 done, 1 refused, 2 wrong usage, 3 the server cannot be reached."
)]
pub struct Cli {
    /// What holds for every command
    #[command(flatten)]
    pub global: Global,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Args)]
pub struct Global {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", env = "MAILROOK_CONFIG", default_value = DEFAULT_PATH, hide_env_values = true)]
    pub config: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    #[command(
        after_help = "Examples:\n  mailrook serve\n  mailrook --config ./mailrook.toml serve\n\nSIGTERM or SIGINT stops it gracefully, SIGHUP reads certificates and settings again."
    )]
    Serve(ServeArgs),
    /// Run a throwaway server with certificates, a domain and accounts
    Dev(DevArgs),
    /// Check and show the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Domains that mail is taken for
    #[command(subcommand)]
    Domain(domain::Command),
    /// Accounts and their passwords
    #[command(subcommand)]
    Account(account::Command),
    /// Addresses that lead to others
    #[command(subcommand)]
    Alias(alias::Command),
    /// Mailboxes of accounts
    #[command(subcommand)]
    Mailbox(mailbox::Command),
    /// Even out what the shards hold
    #[command(
        after_help = "Examples:\n  mailrook rebalance --plan\n  mailrook rebalance --rate 20MB\n\nWhat it asks for are moves: `mailrook mailbox move list|pause|cancel` are for them, too."
    )]
    Rebalance(moves::RebalanceArguments),
    /// The cluster as a whole
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// The machines that the cluster is made of
    #[command(subcommand)]
    Node(cluster::NodeCommand),
    /// Sessions: who is connected
    #[command(subcommand)]
    Session(session::Command),
    /// Show how the server fares
    #[command(
        after_help = "Examples:\n  mailrook status\n  mailrook status --watch\n  mailrook status --json"
    )]
    Status(server::StatusArguments),
    /// Read certificates and settings again, without dropping a session
    #[command(
        after_help = "Example:\n  mailrook reload\n\nSays which changed settings need a restart."
    )]
    Reload,
    /// Stop the server gracefully
    #[command(after_help = "Example:\n  mailrook stop")]
    Stop,
    /// Print a completion script for a shell
    Completion(completion::Arguments),
}

/// Arguments of `mailrook serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Stay root, for a throwaway server
    #[arg(long, hide = true)]
    keep_root: bool,
    /// End when standard input does: with the process that started this one
    #[arg(long, hide = true)]
    end_with_stdin: bool,
}

/// Why a command did not do what it was asked for.
#[derive(Debug, Error)]
pub enum CliError {
    /// It cannot be.
    #[error("{0}")]
    Refused(String),
    /// It was asked for in a wrong way.
    #[error("{0}")]
    Usage(String),
    /// Nobody is there to do it.
    #[error("{0}")]
    Unreachable(String),
    /// Whoever waited does not want to any more; what was asked for goes on.
    #[error("{0}")]
    Interrupted(String),
}

impl CliError {
    fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            CliError::Refused(_) => 1,
            CliError::Usage(_) => 2,
            CliError::Unreachable(_) => 3,
            // What a shell says of a program that Ctrl-C has ended.
            CliError::Interrupted(_) => 130,
        })
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> CliError {
        let text = error.to_string();
        match error {
            ClientError::Refused(_) => CliError::Refused(text),
            ClientError::Unreachable { .. } | ClientError::Unavailable(_) => {
                CliError::Unreachable(text)
            }
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> CliError {
        match &error {
            ConfigError::Read { path, .. } => CliError::Usage(format!(
                "{error}\nName the file with --config FILE or MAILROOK_CONFIG; {} is what is taken otherwise.",
                if path == std::path::Path::new(DEFAULT_PATH) {
                    "this"
                } else {
                    DEFAULT_PATH
                }
            )),
            ConfigError::Invalid(_) => CliError::Refused(error.to_string()),
        }
    }
}

/// What commands that ask a server work with.
pub struct Context {
    global: Global,
    /// Where results go.
    pub output: Output,
}

impl Context {
    /// The configuration, checked.
    pub fn config(&self) -> Result<Config, CliError> {
        Ok(Config::load(&self.global.config)?)
    }

    /// Asks the running server.
    pub fn ask(&self, request: &Request) -> Result<Reply, CliError> {
        self.ask_all(|client| async move { Ok(client.call(request).await?) })
    }

    /// Asks the running server several things, one after the other.
    pub fn ask_all<T, F>(&self, conversation: impl FnOnce(Client) -> F) -> Result<T, CliError>
    where
        F: Future<Output = Result<T, CliError>>,
    {
        let client = Client::new(&self.config()?.admin.socket);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| CliError::Refused(error.to_string()))?;
        runtime.block_on(conversation(client))
    }
}

/// Runs the command, and says how it ended.
pub fn run(cli: Cli) -> ExitCode {
    let context = Context {
        output: Output::new(cli.global.json),
        global: cli.global,
    };
    let result = match cli.command {
        Command::Serve(arguments) => context.config().and_then(|config| {
            if arguments.end_with_stdin {
                crate::process::end_with_stdin();
            }
            crate::serve::run(config, &context.global.config, arguments.keep_root)
                .map_err(CliError::Refused)
        }),
        Command::Dev(arguments) => crate::dev::run(&arguments, &context.output),
        Command::Config(command) => config::run(&command, &context),
        Command::Domain(command) => domain::run(command, &context),
        Command::Account(command) => account::run(command, &context),
        Command::Alias(command) => alias::run(command, &context),
        Command::Mailbox(command) => mailbox::run(command, &context),
        Command::Rebalance(arguments) => moves::rebalance(&arguments, &context),
        Command::Cluster(command) => cluster::run_cluster(command, &context),
        Command::Node(command) => cluster::run_node(command, &context),
        Command::Session(command) => session::run(command, &context),
        Command::Status(arguments) => server::status(&arguments, &context),
        Command::Reload => server::reload(&context),
        Command::Stop => server::stop(&context),
        Command::Completion(arguments) => completion::run(&arguments, &context.output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            context.output.error(&error.to_string());
            error.code()
        }
    }
}

/// The server answered something else than what was asked for.
fn misfit(reply: &Reply) -> CliError {
    CliError::Refused(format!(
        "the server's answer does not fit the question: {reply:?}"
    ))
}
