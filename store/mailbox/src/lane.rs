//! Kept replies: what makes a repeated operation answer as it did the first time (DESIGN, "Exactly once, inside").
//!
//! A lane is forgotten [`REPLY_KEPT`] after its last operation. Nobody may repeat an operation for so long:
//! clients give up within minutes.

use mailrook_kv::{KvError, Space};
use mailrook_types::OpId;

use crate::{
    Refusal,
    key::{self, Expiring},
    limits::{REPLY_KEPT, UNANSWERED_MAX, millis},
    record::{Kept, LaneRecord, PRESENT},
    tx::{Account, Tx, Writable},
};

/// What an operation is to its lane.
pub(crate) enum Begin {
    /// It was carried out before.
    Repeat(Kept),
    /// It is not carried out, now or later.
    Refused(Refusal),
    /// It is new; its reply goes into the lane.
    New(Lane),
}

/// A lane to which a reply is to be added.
pub(crate) struct Lane {
    key: Vec<u8>,
    stored: Option<Vec<u8>>,
    record: LaneRecord,
}

/// Looks up an operation on an account. Changes nothing.
pub(crate) fn begin(account: &Account<'_>, op: &OpId) -> Result<Begin, KvError> {
    let key = key::lane(account.id, op.client, op.lane);
    let stored = account.get(&key)?;
    begin_in(key, stored, account.now, op)
}

/// Looks up an operation on the tables, which belong to no account. Changes nothing.
pub(crate) fn begin_on_tables(tx: &Tx<'_>, op: &OpId) -> Result<Begin, KvError> {
    let key = key::table_lane(op.client, op.lane);
    let stored = tx.view.get(Space::Index, &key)?;
    begin_in(key, stored, tx.now, op)
}

fn begin_in(key: Vec<u8>, stored: Option<Vec<u8>>, now: i64, op: &OpId) -> Result<Begin, KvError> {
    let queued_ms = now.saturating_add(millis(REPLY_KEPT));
    let mut record = LaneRecord {
        lowest: 0,
        last_used_ms: now,
        queued_ms,
        kept: Vec::new(),
    };
    if let Some(bytes) = &stored {
        let known = LaneRecord::decode(bytes)?;
        if known.last_used_ms.saturating_add(millis(REPLY_KEPT)) > now {
            record = known;
        } else {
            record.queued_ms = known.queued_ms;
        }
    }
    if op.n < record.lowest.max(op.lowest_unanswered) {
        return Ok(Begin::Refused(Refusal::StaleOperation));
    }
    if let Some(at) = record.kept.iter().position(|(n, _)| *n == op.n) {
        return Ok(Begin::Repeat(record.kept.swap_remove(at).1));
    }
    record.lowest = record.lowest.max(op.lowest_unanswered);
    let lowest = record.lowest;
    record.kept.retain(|(n, _)| *n >= lowest);
    if record.kept.len() >= UNANSWERED_MAX {
        let text = format!("{UNANSWERED_MAX} unanswered operations in a lane");
        return Ok(Begin::Refused(Refusal::Limit(text)));
    }
    Ok(Begin::New(Lane {
        key,
        stored,
        record,
    }))
}

impl Lane {
    /// Keeps the reply of a new operation on an account.
    pub(crate) fn keep(mut self, account: &mut Account<'_>, op: &OpId, reply: Kept) {
        let what = Expiring::Lane(account.id, op.client, op.lane);
        self.add(&mut *account.view, account.now, op, reply, &what);
        account.put(self.key, self.stored.as_deref(), self.record.encode());
    }

    /// Keeps the reply of a new operation on the tables.
    pub(crate) fn keep_on_tables(mut self, tx: &mut Tx<'_>, op: &OpId, reply: Kept) {
        let what = Expiring::TableLane(op.client, op.lane);
        self.add(&mut *tx.view, tx.now, op, reply, &what);
        tx.view.put(Space::Index, self.key, self.record.encode());
    }

    fn add(&mut self, view: &mut dyn Writable, now: i64, op: &OpId, reply: Kept, what: &Expiring) {
        let at = self.record.kept.partition_point(|(n, _)| *n < op.n);
        self.record.kept.insert(at, (op.n, reply));
        self.record.last_used_ms = now;
        if self.stored.is_none() {
            let queue_key = key::expiry(self.record.queued_ms, what);
            view.put(Space::Index, queue_key, PRESENT.to_vec());
        }
    }
}

/// What is left of a lane when its turn in the queue has come: nothing if nobody used it for long, else the record with
/// its new place in the queue. It moves only then, so that using a lane costs no write there.
pub(crate) fn after_its_turn(mut record: LaneRecord, now: i64) -> Option<LaneRecord> {
    record.queued_ms = record.last_used_ms.saturating_add(millis(REPLY_KEPT));
    (record.queued_ms > now).then_some(record)
}

#[cfg(test)]
mod tests {
    use mailrook_types::{ClientId, OpId};

    use crate::{MailboxRef, Refusal, limits::UNANSWERED_MAX, testing::*};

    fn op(n: u64, lowest_unanswered: u64) -> OpId {
        OpId {
            client: ClientId(2),
            lane: 5,
            n,
            lowest_unanswered,
        }
    }

    #[test]
    fn a_repeat_answers_as_before_and_changes_nothing() {
        let mut world = World::new();
        let append = append(MailboxRef::Id(INBOX), 1);
        let first = world.change_as(op(1, 1), append.clone());
        assert_eq!(world.change_as(op(1, 1), append.clone()), first);
        let second = world.change_as(op(2, 1), append.clone());
        assert_eq!(world.change_as(op(1, 1), append.clone()), first);
        assert_eq!(world.change_as(op(2, 2), append.clone()), second);
        assert_eq!(world.uids(INBOX), "1:2");
        // Once the client has said that it saw the first two, they are refused, not run.
        world.change_as(op(3, 3), append.clone()).unwrap();
        assert_eq!(
            world.change_as(op(1, 1), append),
            Err(Refusal::StaleOperation)
        );
        assert_eq!(world.uids(INBOX), "1:3");
    }

    #[test]
    fn refusals_are_kept_too() {
        let mut world = World::new();
        let lost = append(MailboxRef::Name(name("later")), 1);
        assert_eq!(
            world.change_as(op(1, 1), lost.clone()),
            Err(Refusal::NoSuchMailbox)
        );
        world.create("later").unwrap();
        assert_eq!(world.change_as(op(1, 1), lost), Err(Refusal::NoSuchMailbox));
    }

    #[test]
    fn a_lane_has_a_bounded_number_of_replies() {
        let mut world = World::new();
        let append = append(MailboxRef::Id(INBOX), 0);
        for n in 1..=UNANSWERED_MAX as u64 {
            world.change_as(op(n, 1), append.clone()).unwrap();
        }
        let next = UNANSWERED_MAX as u64 + 1;
        assert!(matches!(
            world.change_as(op(next, 1), append.clone()),
            Err(Refusal::Limit(_))
        ));
        assert!(world.change_as(op(next, 2), append).is_ok());
    }
}
