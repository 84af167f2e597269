//! `mailrook config …`

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::{CliError, Context};
use crate::{
    config::{Config, EXAMPLE},
    tls,
};

/// Check and show the configuration.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what is wrong in a configuration file, with lines and the nearest right names
    #[command(
        after_help = "Examples:\n  mailrook config check\n  mailrook config check ./mailrook.toml"
    )]
    Check {
        /// The file; without it that of --config
        file: Option<PathBuf>,
    },
    /// Print every key with its default, commented
    #[command(after_help = "Example:\n  mailrook config example > mailrook.toml")]
    Example,
    /// Print what is in force, defaults included
    #[command(after_help = "Examples:\n  mailrook config show\n  mailrook config show --json")]
    Show,
}

/// Runs the command.
pub fn run(command: &Command, context: &Context) -> Result<(), CliError> {
    match command {
        Command::Check { file } => {
            let file = file.as_ref().unwrap_or(&context.global.config);
            let config = Config::load(file)?;
            if !config.tls.certificate.is_empty() {
                tls::load(&config).map_err(|error| CliError::Refused(error.to_string()))?;
            }
            context.output.print(&json!({"done": true}), || {
                format!("{} is right.", file.display())
            });
            Ok(())
        }
        Command::Example => {
            context.output.raw(EXAMPLE);
            Ok(())
        }
        Command::Show => {
            let config = context.config()?;
            let text =
                toml::to_string(&config).map_err(|error| CliError::Refused(error.to_string()))?;
            context.output.print(&config, || text);
            Ok(())
        }
    }
}
