//! A server whose store is not open yet, as its admins and its probes see it: they are told what it waits for.

use std::sync::{Arc, OnceLock, Weak};

use mailrook_cluster::Node;
use parking_lot::Mutex;

use super::{host::Running, neighbours::Neighbours, shell::Shell};
use crate::{
    admin::{self, protocol::Status},
    http::Health,
    metrics::Page,
};

/// What is done first.
pub const OPENING: &str = "the store is being opened";

/// A server that is being started.
pub struct Starting {
    shell: Arc<Shell>,
    known: Mutex<Known>,
}

/// What there is already.
struct Known {
    waits_for: String,
    neighbours: Option<Arc<Neighbours>>,
    node: Weak<Node>,
}

impl Starting {
    /// One that has opened its ports.
    pub fn new(shell: Arc<Shell>) -> Arc<Starting> {
        let known = Known {
            waits_for: OPENING.to_owned(),
            neighbours: None,
            node: Weak::new(),
        };
        Arc::new(Starting {
            shell,
            known: Mutex::new(known),
        })
    }

    /// Why it is not ready now.
    pub fn waits_for(&self, what: impl Into<String>) {
        self.known.lock().waits_for = what.into();
    }

    /// The others may be reached from now on.
    pub fn wired(&self, neighbours: Arc<Neighbours>) {
        self.known.lock().neighbours = Some(neighbours);
    }

    /// The copies of this node are open.
    pub fn opened(&self, node: &Arc<Node>) {
        self.known.lock().node = Arc::downgrade(node);
    }
}

impl admin::Starting for Starting {
    fn status(&self) -> Status {
        let known = self.known.lock();
        let node = known.node.upgrade().map(|node| node.status());
        let mut status = (self.shell).status(vec![known.waits_for.clone()], node.as_ref());
        status.cluster_unreached = (known.neighbours.as_ref())
            .map(|neighbours| neighbours.look(known.waits_for.clone(), node.as_ref()));
        status
    }

    fn stop(&self) {
        self.shell.stop();
    }
}

/// The process as its probes see it: at first a server that starts, then one that runs.
pub struct Probed {
    starting: Arc<Starting>,
    running: OnceLock<Arc<Running>>,
}

impl Probed {
    /// One that starts.
    pub fn new(starting: Arc<Starting>) -> Arc<Probed> {
        Arc::new(Probed {
            starting,
            running: OnceLock::new(),
        })
    }

    /// It runs now.
    pub fn runs(&self, running: &Arc<Running>) {
        // It is called once.
        let _ = self.running.set(Arc::clone(running));
    }
}

impl Health for Probed {
    fn not_ready_because(&self) -> Vec<String> {
        match self.running.get() {
            Some(running) => running.not_ready_because(),
            None => vec![self.starting.known.lock().waits_for.clone()],
        }
    }

    fn metrics(&self) -> String {
        if let Some(running) = self.running.get() {
            return running.metrics();
        }
        let mut page = Page::default();
        self.starting.shell.add_figures(&mut page, false);
        page.into_text()
    }
}
