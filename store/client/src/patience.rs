//! How long a call waits for what moves from one shard to another.

use std::time::Duration;

use mailrook_store_api::StoreError;
use tokio::time::Instant;

use crate::Client;

/// The first wait for a move to be decided: it takes some commands to two groups.
const WAIT_MIN: Duration = Duration::from_millis(2);
/// The longest wait: what the end of a move may be noticed late by.
const WAIT_MAX: Duration = Duration::from_millis(20);

/// How long a call waits for what is moving.
pub(crate) struct Patience {
    deadline: Instant,
    wait: Option<Duration>,
}

impl Patience {
    /// Before somebody is asked again where `what` is: at first at once, as the move may be long over; then after a while, as it
    /// is under way.
    pub(crate) async fn wait(&mut self, what: &str) -> Result<(), StoreError> {
        if let Some(wait) = self.wait {
            if Instant::now() + wait >= self.deadline {
                let text = format!("{what} being moved, and that takes too long");
                return Err(StoreError::Unavailable(text));
            }
            tokio::time::sleep(wait).await;
        }
        let next = self.wait.map_or(WAIT_MIN, |wait| wait * 2);
        self.wait = Some(next.min(WAIT_MAX));
        Ok(())
    }
}

impl Client {
    pub(crate) fn patience(&self) -> Patience {
        Patience {
            deadline: Instant::now() + self.inner.calls.deadline(),
            wait: None,
        }
    }
}
