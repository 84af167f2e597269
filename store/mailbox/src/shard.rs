//! The state machine itself: one command of the log after the other.

use mailrook_kv::{Applied, ApplyError, KvError, StateMachine, View};

use crate::ShardCommand;

/// A shard's state machine. It holds nothing: all state is in the store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shard;

impl StateMachine for Shard {
    fn apply(
        &self,
        _view: &mut View<'_>,
        _time_ms: i64,
        command: &[u8],
    ) -> Result<Applied, ApplyError> {
        let _command = ShardCommand::decode(command)?;
        Err(KvError::Engine("applying is not built yet".to_owned()).into())
    }
}
