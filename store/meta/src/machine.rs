//! The state machine itself: one command of the log after the other.

use mailrook_kv::{Applied, ApplyError, KvError, StateMachine, View};

use crate::MetaCommand;

/// The meta group's state machine. It holds nothing: all state is in the store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meta;

impl StateMachine for Meta {
    fn apply(
        &self,
        _view: &mut View<'_>,
        _time_ms: i64,
        command: &[u8],
    ) -> Result<Applied, ApplyError> {
        let _command = MetaCommand::decode(command)?;
        Err(KvError::Engine("applying is not built yet".to_owned()).into())
    }
}
