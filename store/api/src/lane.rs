//! A sequence of operations that are each carried out once.

use mailrook_types::{ClientId, OpId};

/// One sequence of operations of a process, usually a session's. An operation is begun, sent as often as it takes,
/// and then answered; the next has the next number.
///
/// An operation that was begun and never answered (the store could not be reached) stays the lowest unanswered one for
/// the lane's life; the store keeps the replies above it.
#[derive(Debug)]
pub struct Lane {
    client: ClientId,
    lane: u64,
    next: u64,
    unanswered: Vec<u64>,
}

impl Lane {
    /// How many operations may stay unanswered: as many as the shard keeps replies for.
    pub const UNANSWERED_MAX: usize = 64;

    /// A fresh lane; `lane` must not have been used by `client` before.
    pub fn new(client: ClientId, lane: u64) -> Lane {
        Lane {
            client,
            lane,
            next: 1,
            unanswered: Vec::new(),
        }
    }

    /// Numbers a new operation.
    pub fn begin(&mut self) -> OpId {
        let n = self.next;
        self.next += 1;
        if self.unanswered.len() == Lane::UNANSWERED_MAX {
            self.unanswered.remove(0);
        }
        self.unanswered.push(n);
        OpId {
            client: self.client,
            lane: self.lane,
            n,
            lowest_unanswered: self.unanswered[0],
        }
    }

    /// Notes that the reply to an operation arrived.
    pub fn answered(&mut self, op: OpId) {
        self.unanswered.retain(|n| *n != op.n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unanswered_operation_holds_the_floor() {
        let mut lane = Lane::new(ClientId(1), 1);
        let first = lane.begin();
        let second = lane.begin();
        assert_eq!(
            (
                first.n,
                first.lowest_unanswered,
                second.n,
                second.lowest_unanswered
            ),
            (1, 1, 2, 1)
        );
        lane.answered(second);
        assert_eq!(lane.begin().lowest_unanswered, 1);
        lane.answered(first);
        assert_eq!(lane.begin().lowest_unanswered, 3);
    }
}
