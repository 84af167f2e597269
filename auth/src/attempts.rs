//! The failed logins of one connection.

use std::time::Duration;

/// What a connection may fail at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptLimits {
    /// Failures that are answered at once: people mistype twice.
    pub free: u32,
    /// At so many the connection is closed.
    pub max: u32,
    /// How late the others are answered.
    pub delay: Duration,
}

impl Default for AttemptLimits {
    fn default() -> AttemptLimits {
        AttemptLimits {
            free: 2,
            max: 10,
            delay: Duration::from_secs(2),
        }
    }
}

/// Counts the failures of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempts {
    failed: u32,
}

/// What is due after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// The client may try again.
    GoOn,
    /// It has tried enough.
    Close,
}

impl Attempts {
    /// Counts a failure; comes back when it may be answered.
    pub async fn failed(&mut self, limits: AttemptLimits) -> Reaction {
        self.failed = self.failed.saturating_add(1);
        if self.failed >= limits.max {
            return Reaction::Close;
        }
        if self.failed > limits.free {
            tokio::time::sleep(limits.delay).await;
        }
        Reaction::GoOn
    }
}
