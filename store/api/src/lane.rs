//! A sequence of operations that are each carried out once.

use mailrook_types::{ClientId, OpId};

/// One sequence of operations of a process, usually a session's. An operation is begun, sent as often as it takes,
/// and then answered; the next has the next number.
///
/// An operation that was begun and never answered (the store could not be reached) holds the store's kept replies back
/// until [`Lane::UNANSWERED_MAX`] more were begun; then it is given up: sent again, it would be refused, never made twice.
#[derive(Debug)]
pub struct Lane {
    client: ClientId,
    lane: u64,
    next: u64,
    unanswered: Vec<u64>,
}

impl Lane {
    /// How far back an unanswered operation is held: as many replies as the shard keeps.
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
        // The shard keeps the reply of everything above the lowest unanswered one: their span counts, not their number.
        self.unanswered
            .retain(|earlier| n - earlier < Lane::UNANSWERED_MAX as u64);
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

    #[test]
    fn an_abandoned_operation_does_not_hold_the_floor_for_ever() {
        let mut lane = Lane::new(ClientId(1), 1);
        let abandoned = lane.begin();
        for _ in 0..1000 {
            let op = lane.begin();
            assert!(op.n - op.lowest_unanswered < Lane::UNANSWERED_MAX as u64);
            lane.answered(op);
        }
        assert!(lane.begin().lowest_unanswered > abandoned.n);
    }
}
