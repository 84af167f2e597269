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
    tx::Account,
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

/// Looks an operation up. Changes nothing.
pub(crate) fn begin(account: &Account<'_>, op: &OpId) -> Result<Begin, KvError> {
    let key = key::lane(account.id, op.client, op.lane);
    let stored = account.get(&key)?;
    let queued_ms = account.now.saturating_add(millis(REPLY_KEPT));
    let mut record = LaneRecord {
        lowest: 0,
        last_used_ms: account.now,
        queued_ms,
        kept: Vec::new(),
    };
    if let Some(bytes) = &stored {
        let known = LaneRecord::decode(bytes)?;
        if known.last_used_ms.saturating_add(millis(REPLY_KEPT)) > account.now {
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
    /// Keeps the reply of a new operation.
    pub(crate) fn keep(mut self, account: &mut Account<'_>, op: &OpId, reply: Kept) {
        let at = self.record.kept.partition_point(|(n, _)| *n < op.n);
        self.record.kept.insert(at, (op.n, reply));
        self.record.last_used_ms = account.now;
        if self.stored.is_none() {
            let queue_key = key::expiry(
                self.record.queued_ms,
                &Expiring::Lane(account.id, op.client, op.lane),
            );
            account.view.put(Space::Index, queue_key, PRESENT.to_vec());
        }
        account.put(self.key, self.stored.as_deref(), self.record.encode());
    }
}
