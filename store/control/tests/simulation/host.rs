//! A machine: a runtime of its own with a clock of its own, that runs for a while at a time.
//!
//! All hosts run on one thread, one after the other, each up to the same moment of the simulation's time. As long as that
//! step is no longer than the fastest message takes, nobody hears from another's future.

use std::{cell::Cell, fmt, future::Future, time::Duration};

use mailrook_types::NodeId;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    time::Instant,
};
use tracing_subscriber::fmt::{format::Writer, time::FormatTime};

thread_local! {
    /// Who runs, and until when.
    static RUNNING: Cell<Option<(NodeId, u64)>> = const { Cell::new(None) };
}

/// What logs say in the place of the time.
pub struct Moment;

impl FormatTime for Moment {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        match RUNNING.get() {
            Some((node, ms)) => write!(w, "{ms} ms, {node}:"),
            None => Ok(()),
        }
    }
}

/// See the module. Dropping it is the end of all its tasks, wherever they are, as the end of a process is.
pub struct Host {
    node: NodeId,
    runtime: Runtime,
    started: Instant,
    /// The simulation's time when it was started.
    began_ms: u64,
}

impl Host {
    /// Starts it, at this moment of the simulation.
    pub fn start(node: NodeId, now_ms: u64) -> Host {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        let started = runtime.block_on(async { Instant::now() });
        Host {
            node,
            runtime,
            started,
            began_ms: now_ms,
        }
    }

    /// For tasks that come from elsewhere.
    pub fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// Begins a task.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Runs up to this moment of the simulation.
    pub fn run_until(&self, now_ms: u64) {
        let end = self.started + Duration::from_millis(now_ms - self.began_ms);
        RUNNING.set(Some((self.node, now_ms)));
        // Made on the runtime, whose clock it goes by.
        self.runtime
            .block_on(async { tokio::time::sleep_until(end).await });
        RUNNING.set(None);
    }

    /// Stood still up to this moment: no task ran, and then all timers are late.
    pub fn resume_at(&self, now_ms: u64) {
        let end = self.started + Duration::from_millis(now_ms - self.began_ms);
        self.runtime.block_on(async {
            let late = end.saturating_duration_since(Instant::now());
            tokio::time::advance(late).await;
        });
    }
}
