//! A call of the store that was held up and asked again, as the session that made it is told.

use std::time::Duration;

use crate::{NodeId, ShardId};

/// A call that did not get its answer at the first try, from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// What held it up.
    pub cause: StallCause,
    /// Of the shard that was asked; for a move, the one that the account left.
    pub shard: ShardId,
    /// Who led it before, where known.
    pub leader_before: Option<NodeId>,
    /// Who answered in the end; none if nobody did.
    pub leader_after: Option<NodeId>,
    /// From the call's beginning to its end.
    pub lasted: Duration,
    /// How often the call was sent again.
    pub replays: u32,
    /// Whether there was an answer in the end.
    pub done: bool,
}

/// What holds a call up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallCause {
    /// The shard's leader was gone, or another one by then.
    FailOver,
    /// The account was on its way to another shard.
    Move,
}

impl StallCause {
    /// In a word, for logs and lists.
    pub fn name(self) -> &'static str {
        match self {
            StallCause::FailOver => "fail-over",
            StallCause::Move => "move",
        }
    }
}
