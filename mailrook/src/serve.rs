//! `mailrook serve`: a server in the foreground, until a signal or an admin ends it.

use std::{io, path::Path};

use mailrook_control::FEATURE_LEVELS;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info};

use crate::{
    config::Config,
    logging, process,
    server::{Server, Start},
};

/// Runs the server to its end.
///
/// # Errors
/// Why it could not be started.
pub fn run(config: Config, config_path: &Path, keep_root: bool) -> Result<(), String> {
    let log = logging::start(config.log.level, config.log.format)?;
    let config_path = std::path::absolute(config_path).map_err(|error| error.to_string())?;
    let start = Start {
        config,
        config_path,
        log,
        keep_root,
        // Faults are planted in throwaway servers alone.
        plant: if keep_root {
            crate::dev::planted()?
        } else {
            None
        },
        levels: if keep_root {
            crate::dev::levels()?
        } else {
            FEATURE_LEVELS
        },
    };
    runtime()?.block_on(async {
        let descriptors = process::raise_descriptors();
        let mut signals = Signals::take().map_err(|error| error.to_string())?;
        let server = signals.or_started(Server::start(start)).await?;
        info!(
            version = env!("CARGO_PKG_VERSION"),
            open_files_max = descriptors,
            "ready"
        );
        process::notify_systemd("READY=1");
        signals.until_stopped(&server).await;
        process::notify_systemd("STOPPING=1");
        server.stop().await;
        Ok(())
    })
}

/// Threads of a small machine: a group that waits for the disk while it applies holds one up, and others go on.
const WORKERS_MIN: usize = 4;

/// A thread for each core. Sessions and groups share them.
pub fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let cores = std::thread::available_parallelism().map_or(WORKERS_MIN, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.max(WORKERS_MIN))
        .enable_all()
        .thread_name("mailrook")
        .build();
    runtime.map_err(|error| format!("no threads for the server: {error}"))
}

/// The signals that a server obeys. Taken over before anything else starts: they may come at any time, and the system's
/// own answer to them would be to end the process where it stands.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over from the system, which would end the process.
    pub fn take() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Starts a server, unless the end is asked for meanwhile.
    pub async fn or_started<T>(
        &mut self,
        starting: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        tokio::select! {
            started = starting => started,
            _ = self.terminate.recv() => Err("stopped while it was starting".to_owned()),
            _ = self.interrupt.recv() => Err("stopped while it was starting".to_owned()),
        }
    }

    /// Waits for the end; reloads meanwhile when asked to.
    pub async fn until_stopped(mut self, server: &Server) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                () = server.stop_asked() => break,
                _ = self.hangup.recv() => reload(server),
            }
        }
        info!("stopping");
        // Who asks twice is in a hurry; what was acknowledged is on the disk.
        tokio::spawn(async move {
            tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
            std::process::exit(1);
        });
    }
}

fn reload(server: &Server) {
    process::notify_systemd(&format!(
        "RELOADING=1\nMONOTONIC_USEC={}",
        process::monotonic_us()
    ));
    if let Err(why) = server.running().reload() {
        error!(%why, "nothing was reloaded");
    }
    process::notify_systemd("READY=1");
}
