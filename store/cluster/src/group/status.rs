//! How a group fares, for `mailrook status` and the metrics.

use mailrook_types::ShardId;
use serde::{Deserialize, Serialize};

/// What this node's copy of a group does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupRole {
    /// Takes proposals.
    Leader,
    /// Votes and follows.
    Follower,
    /// Follows, and does not vote yet.
    Learner,
    /// Asks for votes: there is no leader just now.
    Candidate,
    /// Does nothing any more.
    Stopped {
        /// Why.
        cause: String,
    },
}

/// How far another copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// On which node.
    pub node: u64,
    /// The last entry of its log that the leader knows of; 0 for none.
    pub matched_index: u64,
}

/// A group at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Which group.
    pub shard: ShardId,
    /// What this node's copy does.
    pub role: GroupRole,
    /// The node that leads, where known.
    pub leader: Option<u64>,
    /// The term of the copy's vote.
    pub term: u64,
    /// How long this copy has led, in milliseconds; none if it does not.
    pub led_for_ms: Option<u64>,
    /// The nodes that vote, as committed.
    pub voters: Vec<u64>,
    /// The nodes that follow without a vote.
    pub learners: Vec<u64>,
    /// Whether a change of the members is under way.
    pub changing: bool,
    /// How far the others' logs are known to go, where this copy leads.
    pub progress: Vec<Progress>,
    /// The last entry in this node's log; 0 for none.
    pub last_index: u64,
    /// The last entry known to be on a majority; 0 for none.
    pub committed_index: u64,
    /// The last entry whose changes can be read.
    pub applied_index: u64,
    /// The last entry whose changes are in synced tables. The log is cut at most up to here.
    pub flushed_index: u64,
    /// The last entry that is cut from the log.
    pub purged_index: u64,
    /// The log's time at the last applied entry, in milliseconds since 1970.
    pub log_time_ms: i64,
    /// Proposals that wait for their reply, each counted in whole KiB.
    pub in_flight_bytes: usize,
}

impl GroupStatus {
    /// Of a copy that cannot be opened: nothing is known of it but that.
    pub(crate) fn stopped(shard: ShardId, cause: String) -> GroupStatus {
        GroupStatus {
            shard,
            role: GroupRole::Stopped { cause },
            leader: None,
            term: 0,
            led_for_ms: None,
            voters: Vec::new(),
            learners: Vec::new(),
            changing: false,
            progress: Vec::new(),
            last_index: 0,
            committed_index: 0,
            applied_index: 0,
            flushed_index: 0,
            purged_index: 0,
            log_time_ms: 0,
            in_flight_bytes: 0,
        }
    }
}
