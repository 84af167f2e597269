//! `mailrook session list`, `status`, `reload`, `stop`

use std::time::Duration;

use clap::Subcommand;

use super::{CliError, Context, misfit, output::table};
use crate::{
    admin::protocol::{Reply, Request, SessionInfo, Status},
    config::Span,
};

/// Shows how the server fares.
pub fn status(context: &Context) -> Result<(), CliError> {
    match context.ask(&Request::Status)? {
        Reply::Status(status) => {
            context.output.print(&status, || text(&status));
            Ok(())
        }
        other => Err(misfit(&other)),
    }
}

fn text(status: &Status) -> String {
    let uptime = Span(Duration::from_secs(status.uptime_seconds));
    let state = if status.ready {
        "ready".to_owned()
    } else {
        status.not_ready_because.join(", ")
    };
    let rows: Vec<_> = status
        .listeners
        .iter()
        .map(|listener| {
            vec![
                listener.service.clone(),
                listener.address.clone(),
                listener.connections.to_string(),
            ]
        })
        .collect();
    let groups = status.node["groups"].as_array().map_or(0, Vec::len);
    let number = |name: &str| {
        status.node[name]
            .as_u64()
            .map_or("-".to_owned(), super::output::human_bytes)
    };
    format!(
        "mailrook {} on {}, process {}, up {uptime}: {state}\nstore: {groups} groups, log {}, free disk {}\n\n{}",
        status.version,
        status.hostname,
        status.pid,
        number("log_bytes"),
        number("disk_free_bytes"),
        table(
            &["SERVICE", "ADDRESS", "CONNECTIONS"],
            &rows,
            "nothing listens"
        )
    )
}

/// Sessions of mail clients and of those who send mail.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List who is connected, the oldest first
    #[command(after_help = "Example:\n  mailrook session list\n\nThe id is the one in the log.")]
    List,
}

/// Lists who is connected.
pub fn sessions(context: &Context) -> Result<(), CliError> {
    let sessions = match context.ask(&Request::SessionList)? {
        Reply::Sessions { sessions } => sessions,
        other => return Err(misfit(&other)),
    };
    let row = |session: &SessionInfo| {
        vec![
            session.id.clone(),
            session.service.clone(),
            session.peer.clone(),
            if session.tls { "yes" } else { "no" }.to_owned(),
            session.user.clone().unwrap_or("-".to_owned()),
            session.since.clone(),
        ]
    };
    context.output.print(&sessions, || {
        let rows: Vec<_> = sessions.iter().map(row).collect();
        table(
            &["ID", "SERVICE", "PEER", "TLS", "USER", "SINCE"],
            &rows,
            "Nobody is connected.",
        )
    });
    Ok(())
}

/// Makes the server read certificates and settings again.
pub fn reload(context: &Context) -> Result<(), CliError> {
    match context.ask(&Request::Reload)? {
        Reply::Reloaded {
            reloaded,
            needs_restart,
        } => {
            let reply = Reply::Reloaded {
                reloaded: reloaded.clone(),
                needs_restart: needs_restart.clone(),
            };
            context.output.print(&reply, || {
                let mut text = format!("Reloaded: {}.", reloaded.join(", "));
                if !needs_restart.is_empty() {
                    text += &format!(
                        "\nChanged, and in force only after a restart: {}.",
                        needs_restart.join(", ")
                    );
                }
                text
            });
            Ok(())
        }
        other => Err(misfit(&other)),
    }
}

/// Stops the server.
pub fn stop(context: &Context) -> Result<(), CliError> {
    let reply = context.ask(&Request::Stop)?;
    context
        .output
        .print(&reply, || "The server is stopping.".to_owned());
    Ok(())
}
