//! The state machine itself: one command of the log after the other.

use mailrook_kv::{Applied, ApplyError, StateMachine, View};

use crate::{ShardCommand, apply};

/// A shard's state machine. It holds nothing: all state is in the store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shard;

impl StateMachine for Shard {
    fn apply(
        &self,
        view: &mut View<'_>,
        time_ms: i64,
        command: &[u8],
    ) -> Result<Applied, ApplyError> {
        let command = ShardCommand::decode(command)?;
        let (reply, touched) = apply::apply(view, time_ms, &command)?;
        Ok(Applied {
            reply: reply.encode(),
            touched,
        })
    }

    fn makes_room(&self, command: &[u8]) -> bool {
        // What cannot be read is refused for want of room, or when it is applied.
        ShardCommand::decode(command).is_ok_and(|command| command.makes_room())
    }
}
