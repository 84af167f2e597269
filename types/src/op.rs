//! Operation ids: what makes a retried command run once (DESIGN, "Exactly once, inside").

use serde::{Deserialize, Serialize};

/// A process that sends commands; granted by the meta group, never granted twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientId(pub u64);

/// Names one operation, whatever the number of times it is sent.
///
/// A lane is one sequence of operations of a client, usually a session. Operations of a lane are numbered
/// from 1; `lowest_unanswered` tells the shard which kept replies it may forget, and an operation below it
/// is refused, never executed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpId {
    /// Who sends.
    pub client: ClientId,
    /// Which of its sequences.
    pub lane: u64,
    /// The operation's number in the lane, from 1.
    pub n: u64,
    /// The lowest number of the lane whose reply the client has not seen; at most `n`.
    pub lowest_unanswered: u64,
}
