//! Which of the other copies are listened to.
//!
//! A request is its sender's own: a candidate asks for its own vote, a leader sends its own entries.
//!
//! And it is of no other time than this copy. A group that lost its quorum for good is brought back from one copy
//! (`Recovery`), and what others hold of it may be other entries under the same indexes. Should they come back they are a
//! quorum, as far as they know, and could elect each other and take the place of what was brought back. So terms count how
//! often the group was brought back, in their upper half. The number is in every vote, and with that in every request and on
//! the disk of every copy. Who has a lower one is told so, and never hears a term of the new count; a copy that hears of a
//! higher one stops. Both are then dropped and made anew, as their records name other nodes. A copy that holds nothing yet takes any.

use mailrook_types::NodeId;
use thiserror::Error;

use super::{handle::RaftGroup, standing::Standing, wire::WireVote};

/// What is left of a term for elections: one a second for 136 years.
const ELECTION_BITS: u32 = 32;

/// How often the group was brought back before `term`.
pub(crate) fn recovery_number(term: u64) -> u64 {
    term >> ELECTION_BITS
}

/// The term in which a group is brought back that had reached `term`.
pub(crate) fn recovery_term(term: u64) -> u64 {
    (recovery_number(term) + 1) << ELECTION_BITS
}

/// Why a request is not listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum NotAdmitted {
    /// The sender broke the protocol.
    #[error("{from} speaks for another node, or as what it is not")]
    NotItsOwn { from: NodeId },
    /// The sender's copy is of before the group was brought back for the so manieth time.
    #[error("the group was brought back from another copy since")]
    Outdated { recoveries: u64 },
    /// This copy is.
    #[error("this copy is of before the group was brought back from another one")]
    Behind,
}

/// Stops a copy that has heard that the group was brought back from another one.
pub(super) fn stop_behind(standing: &Standing, from: NodeId) {
    tracing::error!(%from, "the group was brought back without this copy, which stops");
    standing.stop("the group was brought back from another node's copy, and this copy is of before: it is dropped, and made anew");
}

impl RaftGroup {
    /// Judges a request that carries a vote: a leader's if it is `committed`, and a candidate's otherwise.
    pub(super) fn admit(
        &self,
        from: NodeId,
        vote: WireVote,
        committed: bool,
    ) -> Result<(), NotAdmitted> {
        if vote.node != from.0 || vote.committed != committed {
            return Err(NotAdmitted::NotItsOwn { from });
        }
        let recoveries = self.standing.recoveries();
        let theirs = recovery_number(vote.term);
        if theirs < recoveries {
            return Err(NotAdmitted::Outdated { recoveries });
        }
        if theirs > recoveries && self.holds_something() {
            stop_behind(&self.standing, from);
            return Err(NotAdmitted::Behind);
        }
        Ok(())
    }

    /// Whether the group was not brought back from another copy between what this one holds and a leader's `term`.
    pub(crate) fn is_of_time(&self, term: u64) -> bool {
        self.standing.recoveries() == recovery_number(term)
    }

    fn holds_something(&self) -> bool {
        self.log.last().is_some() || self.state.applied().log_id.is_some()
    }
}
