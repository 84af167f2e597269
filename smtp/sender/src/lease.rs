//! A claim's lease, as its holder sees it.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::settings::LEASE_BELIEVED;

/// How long is waited for a renewal before a message is given up at its final dot: the store may be electing a leader.
const RENEWAL_WAIT: Duration = Duration::from_secs(10);

/// The claim may be another's: nothing may be sent under it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the claim to this job was lost, or could not be renewed")]
pub struct LeaseLost;

/// The lease of one claim, shared by its jobs and by whoever renews it.
#[derive(Debug)]
pub struct Lease {
    state: Mutex<State>,
    renewed: Notify,
}

#[derive(Debug)]
struct State {
    /// When the last renewal that succeeded was sent.
    sent: Instant,
    lost: bool,
}

impl Lease {
    /// Of a claim that was asked for at `sent`.
    pub(crate) fn new(sent: Instant) -> Lease {
        Lease {
            state: Mutex::new(State { sent, lost: false }),
            renewed: Notify::new(),
        }
    }

    /// A renewal that was sent at `sent` has succeeded.
    pub(crate) fn renewed(&self, sent: Instant) {
        let mut state = self.state.lock();
        state.sent = state.sent.max(sent);
        drop(state);
        self.renewed.notify_waiters();
    }

    /// The store says that the claim is over.
    pub(crate) fn lose(&self) {
        self.state.lock().lost = true;
        self.renewed.notify_waiters();
    }

    /// Whether nothing may be begun under it any more.
    pub fn is_lost(&self) -> bool {
        self.state.lock().lost
    }

    /// The look before the final dot: returns once the claim is certain to be ours now.
    ///
    /// # Errors
    /// [`LeaseLost`] if it is not, or nobody can say so in time.
    pub async fn look(&self) -> Result<(), LeaseLost> {
        let deadline = Instant::now() + RENEWAL_WAIT;
        loop {
            let renewed = self.renewed.notified();
            tokio::pin!(renewed);
            // Listens from here on, so that no renewal between the check and the wait is missed.
            renewed.as_mut().enable();
            {
                let state = self.state.lock();
                if state.lost {
                    return Err(LeaseLost);
                }
                if state.sent.elapsed() <= LEASE_BELIEVED {
                    return Ok(());
                }
            }
            tokio::time::timeout_at(deadline, renewed)
                .await
                .map_err(|_| LeaseLost)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fresh_lease_is_believed_and_an_old_one_waits_for_its_renewal() {
        let lease = Arc::new(Lease::new(Instant::now()));
        assert_eq!(lease.look().await, Ok(()));
        tokio::time::advance(LEASE_BELIEVED + Duration::from_millis(1)).await;
        let looking = tokio::spawn({
            let lease = Arc::clone(&lease);
            async move { lease.look().await }
        });
        tokio::task::yield_now().await;
        // A renewal that was sent long ago proves nothing about now.
        lease.renewed(Instant::now() - LEASE_BELIEVED - Duration::from_millis(1));
        tokio::task::yield_now().await;
        assert!(!looking.is_finished());
        lease.renewed(Instant::now());
        assert_eq!(looking.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_or_not_renewed_is_not_sent() {
        let lost = Lease::new(Instant::now());
        lost.lose();
        lost.renewed(Instant::now());
        assert_eq!(lost.look().await, Err(LeaseLost));
        let forgotten = Lease::new(Instant::now());
        tokio::time::advance(LEASE_BELIEVED + Duration::from_millis(1)).await;
        let begun = Instant::now();
        assert_eq!(forgotten.look().await, Err(LeaseLost));
        assert_eq!(begun.elapsed(), RENEWAL_WAIT);
    }
}
