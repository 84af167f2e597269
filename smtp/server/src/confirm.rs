//! Which acknowledgements the client is known to have seen (DESIGN, "Exactly once, from outside").
//!
//! A client that was told `250` and says something afterwards has seen it: the same bytes sent again are a new
//! message. What it had sent before it could hear the `250` (pipelined, as Postfix sends its QUIT) shows nothing: if
//! the connection breaks then, the message comes again, and must not be there twice.

use std::collections::VecDeque;

use mailrook_store_api::shard::Confirmation;

/// The deliveries of a connection whose acknowledgement was sent, and those that are known to be seen.
#[derive(Debug, Default)]
pub(crate) struct Confirmations {
    told: Vec<Confirmation>,
    /// The client's lines up to this one were on their way before it was told.
    lines_before: u64,
    seen: Vec<Confirmation>,
    /// What each delivery took along: the store knows, or will soon.
    taken: VecDeque<Vec<Confirmation>>,
}

/// Of what deliveries took along, that of so many of the last is remembered: what is older has had the time of as many
/// commits to arrive.
const TAKEN_MAX: usize = 64;

/// All of them together have at most so many recipients, or the last one alone: 600 KB.
const TAKEN_RECIPIENTS_MAX: usize = 10_000;

impl Confirmations {
    /// An acknowledgement is about to be sent, after `lines_seen` lines, while `unread` was waiting. Each LF in there may
    /// end a line.
    pub(crate) fn told(&mut self, deliveries: Vec<Confirmation>, lines_seen: u64, unread: &[u8]) {
        let unfinished = unread.last().is_some_and(|byte| *byte != b'\n');
        let lines =
            unread.iter().filter(|byte| **byte == b'\n').count() as u64 + u64::from(unfinished);
        // What was told earlier and not shown to be seen stays unconfirmed for good: it is not known to be.
        self.told = deliveries;
        self.lines_before = lines_seen + lines;
    }

    /// The client has sent so many lines.
    pub(crate) fn lines_seen(&mut self, lines: u64) {
        if lines > self.lines_before && !self.told.is_empty() {
            self.seen.append(&mut self.told);
        }
    }

    /// What the store has yet to be told.
    pub(crate) fn seen(&self) -> &[Confirmation] {
        &self.seen
    }

    /// A delivery took along what was seen.
    pub(crate) fn taken_along(&mut self) {
        if !self.seen.is_empty() {
            self.taken.push_back(std::mem::take(&mut self.seen));
        }
        let is_much = |taken: &VecDeque<Vec<_>>| {
            taken.len() > TAKEN_MAX
                || taken.iter().map(Vec::len).sum::<usize>() > TAKEN_RECIPIENTS_MAX
        };
        while self.taken.len() > 1 && is_much(&self.taken) {
            self.taken.pop_front();
        }
    }

    /// What may still be on its way.
    pub(crate) fn taken(&self) -> Vec<Confirmation> {
        self.taken.iter().flatten().cloned().collect()
    }

    /// The store knows of all.
    pub(crate) fn stored(&mut self) {
        self.seen.clear();
        self.taken.clear();
    }
}

#[cfg(test)]
mod tests {
    use mailrook_store_api::shard::DeliveryKey;
    use mailrook_types::{AccountId, MailboxId, Uid};

    use super::*;

    fn one() -> Vec<Confirmation> {
        vec![Confirmation {
            account: AccountId(1),
            mailbox: MailboxId(1),
            uid: Uid::MIN,
            key: DeliveryKey([1; 32]),
        }]
    }

    #[test]
    fn a_later_line_confirms() {
        let mut confirmations = Confirmations::default();
        confirmations.told(one(), 4, b"");
        confirmations.lines_seen(4);
        assert!(confirmations.seen().is_empty());
        confirmations.lines_seen(5);
        assert_eq!(confirmations.seen().len(), 1);
        confirmations.stored();
        confirmations.lines_seen(6);
        assert!(confirmations.seen().is_empty());
    }

    #[test]
    fn all_recipients_of_a_delivery_are_remembered() {
        let mut confirmations = Confirmations::default();
        let mut deliver = |recipients: usize| {
            confirmations.told(vec![one().remove(0); recipients], 0, b"");
            confirmations.lines_seen(1);
            confirmations.taken_along();
            confirmations.taken().len()
        };
        assert_eq!(deliver(TAKEN_RECIPIENTS_MAX + 5), TAKEN_RECIPIENTS_MAX + 5);
        assert_eq!(deliver(100), 100);
        assert_eq!(deliver(1), 101);
        for _ in 0..TAKEN_MAX {
            deliver(1);
        }
        assert_eq!(deliver(1), TAKEN_MAX);
    }

    #[test]
    fn a_pipelined_line_does_not() {
        let mut confirmations = Confirmations::default();
        confirmations.told(one(), 4, b"NOOP\r\nQUI");
        confirmations.lines_seen(6);
        assert!(confirmations.seen().is_empty());
        confirmations.lines_seen(7);
        assert_eq!(confirmations.seen().len(), 1);
    }
}
