//! What a runner counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Outcome;

/// Counters since the start of the process.
#[derive(Debug, Default)]
pub struct SenderMetrics {
    /// Recipients whose mail a remote has taken over.
    pub delivered: AtomicU64,
    /// Recipients that were put off, each time.
    pub deferred: AtomicU64,
    /// Recipients that will not get it.
    pub failed: AtomicU64,
    /// Reports to senders.
    pub notices: AtomicU64,
    /// Claims that were lost to another front end.
    pub claims_lost: AtomicU64,
    /// Connections that are open.
    pub connections: AtomicU64,
    /// Connections that could not be made.
    pub unreachable: AtomicU64,
}

impl SenderMetrics {
    pub(crate) fn count(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            match outcome {
                Outcome::Delivered { .. } => add(&self.delivered),
                Outcome::Refused(_) => add(&self.failed),
                Outcome::Deferred(_) => add(&self.deferred),
                Outcome::NotTried => {}
            }
        }
    }
}

pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
