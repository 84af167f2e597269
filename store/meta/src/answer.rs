//! Reads: what is asked of a snapshot of the directory.

use mailrook_kv::{KvError, Read};

use crate::{MetaAnswer, MetaQuery};

/// Answers `query` from `view`.
pub fn answer(_view: &dyn Read, _query: &MetaQuery) -> Result<MetaAnswer, KvError> {
    Err(KvError::Engine("answering is not built yet".to_owned()))
}
