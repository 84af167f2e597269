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
    /// The last one that was given.
    vote: Option<Vote>,
    /// The last one that is on the disk: only then the consensus engine goes on.
    durable: Option<Vote>,
    /// Of a leader that was heard of, if it is later than what is on the disk.
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

    /// A vote is given, and will be on the disk before anybody hears of it.
    pub(super) fn vote_given(&self, vote: &Vote) {
        self.heard_of_term(vote.leader_id.term);
        self.change(|inner| {
            inner.caught_up &= inner.vote.as_ref() == Some(vote);
            inner.vote = Some(*vote);
            let leads = vote.committed && vote.leader_id.node_id == self.node_id;
            match (leads, inner.leads_since) {
                (true, None) => inner.leads_since = Some(tokio::time::Instant::now()),
                (true, Some(_)) => {}
                (false, _) => inner.leads_since = None,
            }
        });
    }

    /// A vote is on the disk.
    pub(super) fn vote_durable(&self, vote: &Vote) {
        self.change(|inner| {
            inner.durable = Some(*vote);
            inner.heard = inner.heard.filter(|heard| heard > vote);
        });
    }

    /// A leader spoke that was elected by `vote`. The consensus engine goes on when it has saved that; on a disk that does
    /// not answer, who asks this copy must not wait for so long.
    pub(super) fn heard_of_leader(&self, vote: &Vote) {
        let mut inner = self.inner.lock();
        let later = Some(*vote);
        if inner.durable < later && inner.heard < later && vote.leader_id.node_id != self.node_id {
            inner.heard = later;
            self.settle(&inner);
        }
    }

    /// The vote of a leader that was heard of, if it is later than what is on the disk.
    pub(super) fn heard(&self) -> Option<Vote> {
        self.inner.lock().heard
    }

    /// That leader: this copy led until a moment ago, or knew of another one.
    pub(super) fn superseded_by(&self) -> Option<u64> {
        self.heard().map(|vote| vote.leader_id.node_id)
    }

    /// An error that names that leader, if there is one.
    pub(super) fn check_not_superseded(&self) -> Result<(), GroupError> {
        match self.superseded_by() {
            Some(leader) => Err(GroupError::NotLeader {
                leader: Some(leader),
            }),
            None => Ok(()),
        }
    }

    /// Waits until there is one. What waits in a copy that stopped ends in other ways.
    pub(super) async fn superseded(&self) {
        self.until(|standing| standing.superseded_by().map(drop))
            .await;
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
        self.until(|standing| match standing.check_running() {
            Ok(()) => condition(standing).then_some(Ok(())),
            stopped => Some(stopped),
        })
        .await
    }

    /// Waits until `look` sees something; it looks at each change.
    async fn until<T>(&self, look: impl Fn(&Standing) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(seen) = look(self) {
                return seen;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::vote::leader_id_adv::LeaderId;

    use super::*;

    #[test]
    fn a_leader_counts_from_its_first_word_until_its_vote_is_on_the_disk() {
        let vote = |term, node_id| Vote {
            leader_id: LeaderId { term, node_id },
            committed: true,
        };
        let standing = Standing::new(1);
        let own = vote(1, 1);
        standing.vote_given(&own);
        standing.vote_durable(&own);
        standing.heard_of_leader(&vote(2, 2));
        assert_eq!(standing.superseded_by(), Some(2));
        // The consensus engine begins to save it, and is stuck in that.
        standing.vote_given(&vote(2, 2));
        assert_eq!(standing.superseded_by(), Some(2));
        standing.vote_durable(&vote(2, 2));
        assert_eq!(standing.superseded_by(), None);
        standing.heard_of_leader(&own);
        standing.heard_of_leader(&vote(1, 3));
        assert_eq!(standing.superseded_by(), None, "it was before");
        // Another copy told of it first.
        standing.vote_given(&vote(3, 3));
        standing.heard_of_leader(&vote(3, 3));
        assert_eq!(standing.superseded_by(), Some(3));
        standing.vote_durable(&vote(4, 1));
        assert!(standing.check_not_superseded().is_ok(), "this node leads");
    }
}
