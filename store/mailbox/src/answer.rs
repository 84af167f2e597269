//! Reads: what is asked of a snapshot of a shard.

use mailrook_kv::{KvError, Read};

use crate::{Answer, Query};

/// Answers `query` from `view`. `time_ms` is the log's time, by which what has expired counts as absent.
pub fn answer(_view: &dyn Read, _time_ms: i64, _query: &Query) -> Result<Answer, KvError> {
    Err(KvError::Engine("answering is not built yet".to_owned()))
}
