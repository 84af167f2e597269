//! Where this copy stands in its group: what its log, its machine and its callers must agree on at once, without
//! asking the consensus engine's task.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    admission::recovery_number,
    types::{LogId, StoredMembership, Vote},
};
use crate::GroupError;

#[derive(Default)]
struct Inner {
    /// The last one that is on the disk.
    vote: Option<Vote>,
    /// Of a leader that was heard of and whose vote is not on the disk yet, if it is a later one.
    heard: Option<Vote>,
    /// The last membership in the log names this node as the only voter.
    sole_voter: bool,
    /// An entry of this node's own leadership is applied, and with it everything that was committed before.
    caught_up: bool,
    stopped: Option<String>,
    /// Since when this copy leads.
    leads_since: Option<tokio::time::Instant>,
}

/// See the module.
pub(crate) struct Standing {
    node_id: u64,
    inner: Mutex<Inner>,
    reads_at_once: AtomicBool,
    /// How often the group was brought back, as far as this copy knows: see [`admission`](super::admission).
    recoveries: AtomicU64,
    changed: Notify,
}

impl Standing {
    pub(super) fn new(node_id: u64) -> Standing {
        Standing {
            node_id,
            inner: Mutex::default(),
            reads_at_once: AtomicBool::new(false),
            recoveries: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }

    /// Whether a read needs no round: nobody else can lead, and all that was ever acknowledged can be read. Each part
    /// is told before it counts: a second voter when it enters the log, and so before it can vote.
    pub(super) fn reads_at_once(&self) -> bool {
        self.reads_at_once.load(Ordering::Acquire)
    }

    /// Whether this node led, and has applied everything that was committed before it did.
    pub(super) fn caught_up(&self) -> bool {
        self.inner.lock().caught_up
    }

    /// How long this copy has led; none if it does not.
    pub(super) fn led_for_ms(&self) -> Option<u64> {
        let since = self.inner.lock().leads_since?;
        Some(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Why the copy is stopped, if it is.
    pub(super) fn stop_cause(&self) -> Option<String> {
        self.inner.lock().stopped.clone()
    }

    /// An error if the copy is stopped.
    pub(super) fn check_running(&self) -> Result<(), GroupError> {
        match self.stop_cause() {
            Some(cause) => Err(GroupError::Stopped { cause }),
            None => Ok(()),
        }
    }

    /// Stops the copy; the first cause stays.
    pub(super) fn stop(&self, cause: &str) {
        self.change(|inner| {
            inner.stopped.get_or_insert_with(|| cause.to_owned());
        });
    }

    /// How often the group was brought back, as far as this copy knows.
    pub(super) fn recoveries(&self) -> u64 {
        self.recoveries.load(Ordering::Acquire)
    }

    /// The group had reached this term.
    pub(super) fn heard_of_term(&self, term: u64) {
        self.recoveries
            .fetch_max(recovery_number(term), Ordering::AcqRel);
    }

    pub(super) fn vote_saved(&self, vote: &Vote) {
        self.heard_of_term(vote.leader_id.term);
        self.change(|inner| {
            inner.caught_up &= inner.vote.as_ref() == Some(vote);
            inner.vote = Some(*vote);
            inner.heard = inner.heard.filter(|heard| heard > vote);
            let leads = vote.committed && vote.leader_id.node_id == self.node_id;
            match (leads, inner.leads_since) {
                (true, None) => inner.leads_since = Some(tokio::time::Instant::now()),
                (true, Some(_)) => {}
                (false, _) => inner.leads_since = None,
            }
        });
    }

    /// A leader spoke that was elected by `vote`. The consensus engine goes on when it has saved that; on a disk that does
    /// not answer, who asks this copy must not wait for so long.
    pub(super) fn heard_of_leader(&self, vote: &Vote) {
        let mut inner = self.inner.lock();
        let later = Some(*vote);
        if inner.vote < later && inner.heard < later && vote.leader_id.node_id != self.node_id {
            inner.heard = later;
            self.settle(&inner);
        }
    }

    /// The vote of a leader that was heard of and that is not on the disk yet, if it is later than what is.
    pub(super) fn heard(&self) -> Option<Vote> {
        self.inner.lock().heard
    }

    /// That leader: this copy led until a moment ago, or knew of another one.
    pub(super) fn superseded_by(&self) -> Option<u64> {
        self.heard().map(|vote| vote.leader_id.node_id)
    }

    /// Waits for that.
    pub(super) async fn superseded(&self) {
        // A copy that stopped ends in other ways what waits.
        if self
            .wait_until(|standing| standing.superseded_by().is_some())
            .await
            .is_err()
        {
            std::future::pending().await
        }
    }

    /// `membership` is the last one in the log from now on; `None` if it is not known.
    pub(super) fn membership_appended(&self, membership: Option<&StoredMembership>) {
        self.change(|inner| {
            inner.sole_voter =
                membership.is_some_and(|members| members.voter_ids().eq([self.node_id]));
        });
    }

    pub(super) fn applied(&self, last: &LogId) {
        // The common case changes nothing.
        let mut inner = self.inner.lock();
        let own = inner.vote.is_some_and(|vote| {
            vote.committed
                && vote.leader_id == last.leader_id
                && vote.leader_id.node_id == self.node_id
        });
        if own && !inner.caught_up {
            inner.caught_up = true;
            self.settle(&inner);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner.lock();
        change(&mut inner);
        self.settle(&inner);
    }

    fn settle(&self, inner: &Inner) {
        let at_once = inner.sole_voter && inner.caught_up && inner.stopped.is_none();
        self.reads_at_once.store(at_once, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Waits until `condition` holds, or the copy is stopped.
    pub(super) async fn wait_until(
        &self,
        condition: impl Fn(&Standing) -> bool,
    ) -> Result<(), GroupError> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            self.check_running()?;
            if condition(self) {
                return Ok(());
            }
            changed.await;
        }
    }
}
