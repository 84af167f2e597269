//! Which acknowledgements the client is known to have seen (DESIGN, "Exactly once, from outside").
//!
//! A client that was told `250` and says something afterwards has seen it: the same bytes sent again are a new
//! message. What it had sent before it could hear the `250` (pipelined, as Postfix sends its QUIT) shows nothing: if
//! the connection breaks then, the message comes again, and must not be there twice.

use mailrook_store_api::shard::Confirmation;

/// The deliveries of a connection whose acknowledgement was sent, and those that are known to be seen.
#[derive(Debug, Default)]
pub(crate) struct Confirmations {
    told: Vec<Confirmation>,
    /// The client's lines up to this one were on their way before it was told.
    lines_before: u64,
    seen: Vec<Confirmation>,
    /// A delivery took them along: the store knows, or will soon.
    taken: Vec<Confirmation>,
}

/// Of those that deliveries took along, so many of the last are remembered: what is older has had the time of as many
/// commits to arrive.
const TAKEN_MAX: usize = 64;

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
        self.taken.append(&mut self.seen);
        let old = self.taken.len().saturating_sub(TAKEN_MAX);
        self.taken.drain(..old);
    }

    /// What may still be on its way.
    pub(crate) fn taken(&self) -> &[Confirmation] {
        &self.taken
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
    fn a_pipelined_line_does_not() {
        let mut confirmations = Confirmations::default();
        confirmations.told(one(), 4, b"NOOP\r\nQUI");
        confirmations.lines_seen(6);
        assert!(confirmations.seen().is_empty());
        confirmations.lines_seen(7);
        assert_eq!(confirmations.seen().len(), 1);
    }
}
