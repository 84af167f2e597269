//! What is touched in a group, as it is applied.

use std::sync::Arc;

use tokio::sync::broadcast;

/// What a [`Watch`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// For each key (an account, say) the highest number that it reached (its MODSEQ, say).
    Keys(Arc<[(u64, u64)]>),
    /// The watcher was too slow, or the state was replaced by a snapshot: anything may have been touched.
    Everything,
}

/// A subscription to a group's [`Touched`] keys, from the moment it was made.
#[derive(Debug)]
pub struct Watch {
    receiver: broadcast::Receiver<Touched>,
}

impl Watch {
    /// Wraps the receiving end of a group's broadcast.
    pub fn new(receiver: broadcast::Receiver<Touched>) -> Watch {
        Watch { receiver }
    }

    /// Waits for what is touched next; `None` once the group is stopped.
    pub async fn next(&mut self) -> Option<Touched> {
        match self.receiver.recv().await {
            Ok(touched) => Some(touched),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Touched::Everything),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
