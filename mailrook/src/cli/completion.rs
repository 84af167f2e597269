//! `mailrook completion SHELL`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, CliError, Output};

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mailrook completion bash > /etc/bash_completion.d/mailrook\n  mailrook completion zsh > \"${fpath[1]}/_mailrook\"\n  mailrook completion fish > ~/.config/fish/completions/mailrook.fish"
)]
pub struct Arguments {
    /// Which
    pub shell: Shell,
}

/// Prints it.
pub fn run(arguments: &Arguments, output: &Output) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Cli::command(),
        "mailrook",
        &mut script,
    );
    output.raw(&String::from_utf8_lossy(&script));
    Ok(())
}
