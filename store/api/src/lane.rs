//! A sequence of operations that are each carried out once.

use std::time::Duration;

use mailrook_mailbox::{MaildropHolder, Refusal};
use mailrook_types::{ClientId, OpId};
use tokio::time::Instant;

use crate::Intent;

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
    in_doubt: Vec<InDoubt>,
}

/// An operation that was begun for something, and not answered yet.
#[derive(Debug)]
struct InDoubt {
    n: u64,
    intent: Intent,
    since: Instant,
}

/// An operation, as it is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Which.
    pub op: OpId,
    /// Whether it was begun before: it may have been carried out.
    pub again: bool,
}

impl Begun {
    /// Whether the answer was kept from the first time, and nothing was done then: what stood in the way may be gone by now, so
    /// that it is worth another operation.
    pub fn is_worth_another<T>(&self, outcome: &Result<T, Refusal>) -> bool {
        // That it is not known what was done is no refusal.
        self.again && !matches!(outcome, Ok(_) | Err(Refusal::StaleOperation))
    }
}

impl Lane {
    /// How far back an unanswered operation is held: as many replies as the shard keeps.
    pub const UNANSWERED_MAX: usize = 64;

    /// For how long what is asked for again is taken for the same: whoever hears "try again later" does so soon, and the
    /// shard keeps its reply for far longer.
    pub const IN_DOUBT_MAX: Duration = Duration::from_secs(10 * 60);

    /// A fresh lane; `lane` must not have been used by `client` before.
    pub fn new(client: ClientId, lane: u64) -> Lane {
        Lane {
            client,
            lane,
            next: 1,
            unanswered: Vec::new(),
            in_doubt: Vec::new(),
        }
    }

    /// Names the session whose lane this is among all that hold a maildrop, or ever did.
    pub fn maildrop_holder(&self) -> MaildropHolder {
        MaildropHolder {
            client: self.client,
            session: self.lane,
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
        self.op(n)
    }

    /// The operation that does this. If one was begun for the same and not answered, it is that one: whether it was carried
    /// out or not, it is carried out once.
    pub fn begin_for(&mut self, intent: Intent) -> Begun {
        let unanswered = &self.unanswered;
        self.in_doubt.retain(|doubt| {
            unanswered.contains(&doubt.n) && doubt.since.elapsed() < Lane::IN_DOUBT_MAX
        });
        let earlier = self.in_doubt.iter().find(|doubt| doubt.intent == intent);
        if let Some(InDoubt { n, .. }) = earlier {
            let op = self.op(*n);
            return Begun { op, again: true };
        }
        let op = self.begin();
        self.in_doubt.push(InDoubt {
            n: op.n,
            intent,
            since: Instant::now(),
        });
        Begun { op, again: false }
    }

    fn op(&self, n: u64) -> OpId {
        OpId {
            client: self.client,
            lane: self.lane,
            n,
            lowest_unanswered: self.unanswered.first().copied().unwrap_or(n),
        }
    }

    /// Notes that the reply to an operation arrived. What was begun before it for mailboxes' names, and is in doubt, would be
    /// something else if it were asked for again: a mailbox that was deleted may be there anew.
    pub fn answered(&mut self, op: OpId) {
        self.unanswered.retain(|n| *n != op.n);
        let answered = self.in_doubt.iter().find(|doubt| doubt.n == op.n);
        let of_names = answered.is_some_and(|doubt| doubt.intent.is_of_names());
        self.in_doubt
            .retain(|doubt| doubt.n != op.n && !(of_names && doubt.intent.is_of_names()));
    }
}

#[cfg(test)]
mod tests {
    use mailrook_mailbox::Change;
    use mailrook_types::{AccountId, MailboxName};

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

    #[test]
    fn what_is_in_doubt_is_the_same_operation_when_it_is_asked_for_again() {
        let delete =
            |name: &str| Change::DeleteMailbox(MailboxName::parse(name).expect("a good name"));
        let intent = |name: &str| Intent::of_change(AccountId(1), &delete(name)).unwrap();
        let mut lane = Lane::new(ClientId(1), 1);
        let first = lane.begin_for(intent("a"));
        assert!(!first.again);
        let other = lane.begin_for(intent("b"));
        assert_ne!(first.op.n, other.op.n);
        let again = lane.begin_for(intent("a"));
        assert_eq!((again.op, again.again), (first.op, true));
        lane.answered(again.op);
        // What is asked for after an answer is meant, and what was in doubt about names before it may be something else by now.
        let next = lane.begin_for(intent("a"));
        assert_eq!((next.op.n, next.again), (3, false));
        assert!(!lane.begin_for(intent("b")).again);
        for _ in 0..Lane::UNANSWERED_MAX {
            lane.begin();
        }
        let late = lane.begin_for(intent("b"));
        assert!(!late.again, "its reply is not kept any more");
    }
}
