//! Kept replies: what makes a repeated operation answer as it did the first time (DESIGN, "Exactly once, inside").
//!
//! As in a shard: a lane keeps what its client has not said it saw, and is forgotten [`REPLIES_KEPT`] after its last
//! operation. Nobody may repeat an operation for so long: clients give up within minutes. Refusals are kept too, as a
//! repeat that was held up on its way could otherwise find that what was refused, and told so, has become possible.

use std::time::Duration;

use mailrook_kv::KvError;
use mailrook_types::OpId;

use super::{Machine, Told, limit};
use crate::{
    MetaCommand, MetaRefusal, MetaReply, key,
    tables::{LaneRow, QueuedLane, delete, put},
};

/// The most unanswered operations in a lane: as many as a shard keeps.
pub const UNANSWERED_MAX: usize = 64;
/// Kept replies live for 24 hours of log time after a lane's last operation, far longer than any retry.
pub const REPLIES_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How many lanes an operation looks at that may be forgotten: more than the one that it can add.
const SWEPT: usize = 2;

/// When a lane last used at `last_used_ms` is forgotten.
fn forgotten_ms(last_used_ms: i64) -> i64 {
    last_used_ms.saturating_add(REPLIES_KEPT.as_millis() as i64)
}

/// What an operation is to its lane.
enum Begin {
    /// It was carried out before.
    Repeat(MetaReply),
    /// It is new; its reply goes into the lane.
    New(LaneRow),
}

impl Machine<'_, '_> {
    /// Carries a command out, unless the operation was carried out before.
    pub(super) fn run_once(&mut self, op: &OpId, command: MetaCommand) -> Result<Told, KvError> {
        let told_nobody = |reply| Ok((reply, Vec::new()));
        let mut lane = match self.begin(op) {
            Ok(Begin::New(lane)) => lane,
            Ok(Begin::Repeat(reply)) => return told_nobody(reply),
            Err(super::Stop::Refused(refusal)) => return told_nobody(MetaReply::Refused(refusal)),
            Err(super::Stop::Failed(error)) => return Err(error),
        };
        let (reply, touched) = self.run(command)?;
        let at = lane.kept.partition_point(|(n, _)| *n < op.n);
        lane.kept.insert(at, (op.n, reply.clone()));
        put(self.view, key::lane(op.client, op.lane), &lane);
        self.forget_lanes()?;
        Ok((reply, touched))
    }

    /// Looks an operation up. A lane that is new, or as good as new, is put into the queue of those to be forgotten.
    fn begin(&mut self, op: &OpId) -> Result<Begin, super::Stop> {
        let now = self.now.0;
        let stored = self.tables().lane(op.client, op.lane)?;
        let is_new = stored.is_none();
        let mut lane = stored
            .filter(|lane| forgotten_ms(lane.last_used_ms) > now)
            .unwrap_or(LaneRow {
                lowest: 0,
                last_used_ms: now,
                kept: Vec::new(),
            });
        if op.n < lane.lowest.max(op.lowest_unanswered) {
            return Err(MetaRefusal::StaleOperation.into());
        }
        if let Some(at) = lane.kept.iter().position(|(n, _)| *n == op.n) {
            return Ok(Begin::Repeat(lane.kept.swap_remove(at).1));
        }
        lane.last_used_ms = now;
        lane.lowest = lane.lowest.max(op.lowest_unanswered);
        let lowest = lane.lowest;
        lane.kept.retain(|(n, _)| *n >= lowest);
        if lane.kept.len() >= UNANSWERED_MAX {
            return Err(limit(format!(
                "{UNANSWERED_MAX} unanswered operations in a lane"
            )));
        }
        if is_new {
            self.queue_lane(QueuedLane {
                at_ms: forgotten_ms(now),
                client: op.client,
                lane: op.lane,
            });
        }
        Ok(Begin::New(lane))
    }

    fn queue_lane(&mut self, queued: QueuedLane) {
        let QueuedLane {
            at_ms,
            client,
            lane,
        } = queued;
        put(self.view, key::lane_expiry(at_ms, client, lane), &queued);
    }

    /// Forgets some of the lanes that nobody used for long.
    fn forget_lanes(&mut self) -> Result<(), KvError> {
        for queued in self.tables().queued_lanes(SWEPT)? {
            let QueuedLane {
                at_ms,
                client,
                lane,
            } = queued;
            if at_ms > self.now.0 {
                break;
            }
            delete(self.view, key::lane_expiry(at_ms, client, lane));
            let Some(row) = self.tables().lane(client, lane)? else {
                continue;
            };
            let forgotten = forgotten_ms(row.last_used_ms);
            if forgotten <= self.now.0 {
                delete(self.view, key::lane(client, lane));
            } else {
                // It was used since: its entry moves only now, so that using a lane costs no write here.
                self.queue_lane(QueuedLane {
                    at_ms: forgotten,
                    ..queued
                });
            }
        }
        Ok(())
    }
}
