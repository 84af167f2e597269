//! Which groups are without a leader for longer than an election takes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use mailrook_types::ShardId;
use parking_lot::Mutex;

/// Clients wait for so long without noticing more than a pause; balancers that sent them elsewhere meanwhile would find
/// every other node in the same state. As long as for the directory.
const ELECTED_WITHIN: Duration = Duration::from_secs(5);

/// Remembers from look to look. Probes are what looks; between two of them a group may have had a leader and lost it
/// again, and then it counts as without one a little early.
#[derive(Default)]
pub struct Leaderless {
    groups: Mutex<BTreeMap<ShardId, Looked>>,
}

enum Looked {
    Led,
    WithoutSince(Instant),
}

impl Leaderless {
    /// Looks at one group. True: it is without a leader for too long, or never had one.
    pub fn look(&self, shard: ShardId, is_led: bool, now: Instant) -> bool {
        let mut groups = self.groups.lock();
        if is_led {
            groups.insert(shard, Looked::Led);
            return false;
        }
        let Some(looked) = groups.get_mut(&shard) else {
            return true;
        };
        match looked {
            Looked::Led => {
                *looked = Looked::WithoutSince(now);
                false
            }
            Looked::WithoutSince(since) => now.saturating_duration_since(*since) > ELECTED_WITHIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_election_is_given_its_time() {
        let leaderless = Leaderless::default();
        let begin = Instant::now();
        let look = |is_led, seconds: u64| {
            leaderless.look(ShardId(3), is_led, begin + Duration::from_secs(seconds))
        };
        assert!(look(false, 0), "it never had a leader");
        assert!(look(false, 9));
        assert!(!look(true, 10));
        assert!(!look(false, 11));
        assert!(!look(false, 16));
        assert!(look(false, 17));
        assert!(!look(true, 18));
        assert!(!look(false, 40), "it had one when it was last looked at");
        let other = leaderless.look(ShardId(4), false, begin + Duration::from_secs(40));
        assert!(other, "each group has its own time");
    }
}
