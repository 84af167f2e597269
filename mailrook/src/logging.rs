//! The log: on standard error, as text or JSON. Each line of a session carries the session's id, which `mailrook_net`
//! puts into its span. Passwords never get here: the types that hold them print as `…`.

use std::io::{self, IsTerminal};

use tracing_subscriber::{
    EnvFilter, Registry, filter::ParseError, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::config::{LogFormat, LogLevel};

/// Changes the level of a running log.
#[derive(Clone)]
pub struct LogHandle(reload::Handle<EnvFilter, Registry>);

/// Overrides the level, in `tracing`'s syntax: `MAILROOK_LOG=debug,mailrook_smtp_server=trace`.
const VARIABLE: &str = "MAILROOK_LOG";

/// Starts the log of this process. Can be done once.
pub fn start(level: LogLevel, format: LogFormat) -> Result<LogHandle, String> {
    let filter = filter(level).map_err(|error| format!("{VARIABLE}: {error}"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => {
            let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(io::stderr)
                .with_ansi(ansi)
                .with_target(false);
            registry.with(layer).try_init()
        }
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(io::stderr)
                .json()
                .flatten_event(true)
                .with_span_list(false);
            registry.with(layer).try_init()
        }
    };
    started.map_err(|error| format!("the log cannot be started: {error}"))?;
    Ok(LogHandle(handle))
}

impl LogHandle {
    /// Writes from now on what this level wants.
    pub fn set_level(&self, level: LogLevel) -> Result<(), String> {
        let filter = filter(level).map_err(|error| error.to_string())?;
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}

/// What others log at a level says little to an operator until it is asked for.
fn filter(level: LogLevel) -> Result<EnvFilter, ParseError> {
    if let Ok(text) = std::env::var(VARIABLE) {
        return EnvFilter::try_new(text);
    }
    EnvFilter::try_new(match level {
        LogLevel::Error => "error,openraft=off",
        LogLevel::Warn => "warn,openraft=off",
        LogLevel::Info => "info,openraft=error,raft_engine=warn,hyper=warn,axum=warn,rustls=warn",
        LogLevel::Debug => "debug,openraft=info,raft_engine=info,hyper=info,h2=info,rustls=info",
        LogLevel::Trace => "trace",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_a_filter() {
        for level in [
            LogLevel::Error,
            LogLevel::Warn,
            LogLevel::Info,
            LogLevel::Debug,
            LogLevel::Trace,
        ] {
            assert!(filter(level).is_ok(), "{level:?}");
        }
    }
}
