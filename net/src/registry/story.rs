//! The story of a session whose calls were held up, and went on all the same.
//!
//! What holds up several calls of one command is one story: a client waits for its command, and not for calls.

use std::{collections::VecDeque, time::Duration};

use mailrook_types::{NodeId, ShardId, Stall, StallCause, Timestamp};
use tokio::time::Instant;

/// How one command was held up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// When it went on, or was given up.
    pub at: Timestamp,
    /// `UID FETCH`; none if it was between two commands.
    pub command: Option<&'static str>,
    /// What held up the first call of it.
    pub cause: StallCause,
    /// The shard of the first call that was held up.
    pub shard: ShardId,
    /// Who led it before, where known.
    pub leader_before: Option<NodeId>,
    /// Who answered the last one; none if nobody did.
    pub leader_after: Option<NodeId>,
    /// How long all of them together were held up.
    pub stalled: Duration,
    /// How often calls were sent again.
    pub replays: u32,
    /// Whether the last of them had an answer.
    pub done: bool,
}

/// All that a session lived through. Few have anything of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    pub(super) resumed: u32,
    pub(super) replayed: u32,
    /// The last ones, the oldest first.
    pub(super) last: VecDeque<Resumed>,
    /// What the command under way has met so far.
    held: Option<Held>,
}

/// How many a session remembers: a session that is held up more often than this has other troubles, and the log has all.
pub const RESUMED_KEPT: usize = 8;

#[derive(Clone, Debug)]
struct Held {
    first: Stall,
    leader_after: Option<NodeId>,
    stalled: Duration,
    replays: u32,
    done: bool,
    /// What `stalled` counts lies between these.
    since: Instant,
    until: Instant,
    /// When the call began whose end counts.
    last_began: Instant,
}

impl Story {
    /// A call has come to its end by `now`.
    pub(super) fn hold(&mut self, stall: Stall, now: Instant) {
        let began = now.checked_sub(stall.lasted).unwrap_or(now);
        let Some(held) = &mut self.held else {
            self.held = Some(Held {
                leader_after: stall.leader_after,
                stalled: stall.lasted,
                replays: stall.replays,
                done: stall.done,
                since: began,
                until: now,
                last_began: began,
                first: stall,
            });
            return;
        };
        // Calls may have waited at the same time.
        held.stalled += now.saturating_duration_since(began.max(held.until));
        held.stalled += held.since.saturating_duration_since(began);
        held.since = held.since.min(began);
        held.until = now;
        held.replays = held.replays.saturating_add(stall.replays);
        // One call may be a part of another, and what came last is how it went on.
        if began >= held.last_began {
            held.last_began = began;
            held.done = stall.done;
            held.leader_after = stall.leader_after.or(held.leader_after);
        }
    }

    /// The command under way is over, or goes on after an answer: what held it up, if anything did.
    pub(super) fn take(&mut self, command: Option<&'static str>) -> Option<Resumed> {
        let held = self.held.take()?;
        let resumed = Resumed {
            at: Timestamp::now(),
            command,
            cause: held.first.cause,
            shard: held.first.shard,
            leader_before: held.first.leader_before,
            leader_after: held.leader_after,
            stalled: held.stalled,
            replays: held.replays,
            done: held.done,
        };
        self.resumed = self.resumed.saturating_add(u32::from(resumed.done));
        self.replayed = self.replayed.saturating_add(resumed.replays);
        if self.last.len() >= RESUMED_KEPT {
            self.last.pop_front();
        }
        self.last.push_back(resumed.clone());
        Some(resumed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stall(lasted_ms: u64, replays: u32, done: bool) -> Stall {
        Stall {
            cause: StallCause::FailOver,
            shard: ShardId(3),
            leader_before: Some(NodeId(3)),
            leader_after: done.then_some(NodeId(1)),
            lasted: Duration::from_millis(lasted_ms),
            replays,
            done,
        }
    }

    #[test]
    fn what_holds_up_one_command_is_one_story() {
        let (mut story, now) = (Story::default(), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        story.hold(stall(100, 2, false), at(100));
        // It waited while the first one did, and a little longer.
        story.hold(stall(60, 1, false), at(120));
        story.hold(stall(30, 1, true), at(200));
        let told = story.take(Some("FETCH")).unwrap();
        assert_eq!(told.stalled, Duration::from_millis(150));
        assert_eq!((told.replays, told.done), (4, true));
        assert_eq!(told.leader_after, Some(NodeId(1)));
        assert_eq!(story.take(Some("FETCH")), None);
        assert_eq!((story.resumed, story.replayed), (1, 4));
    }

    #[test]
    fn a_call_that_others_are_a_part_of_does_not_hide_how_they_ended() {
        let (mut story, now) = (Story::default(), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        story.hold(stall(50, 3, false), at(100));
        story.hold(stall(100, 1, true), at(100));
        let told = story.take(None).unwrap();
        assert!(!told.done);
        assert_eq!(told.stalled, Duration::from_millis(100));
        assert_eq!((story.resumed, story.replayed), (0, 4));
    }

    #[test]
    fn only_the_last_ones_are_kept() {
        let mut story = Story::default();
        for n in 1..=20 {
            story.hold(stall(n, 1, true), Instant::now());
            story.take(None);
        }
        assert_eq!((story.resumed, story.last.len()), (20, RESUMED_KEPT));
        assert_eq!(story.last[0].stalled, Duration::from_millis(13));
    }
}
