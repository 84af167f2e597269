//! What the tables say of themselves: how far they are.

use mailrook_kv::{decode, encode};
use serde::{Deserialize, Serialize};

use crate::{
    group::raft::{LogId, StoredMembership},
    log::{LogError, decode_log_id, decode_membership, encode_log_id, encode_membership},
};

/// How far a state is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The last entry whose changes are in.
    pub(crate) log_id: Option<LogId>,
    /// The members of the group as of then.
    pub(crate) membership: StoredMembership,
    /// The log's time as of then.
    pub(crate) time_ms: i64,
}

#[derive(Serialize, Deserialize)]
enum Stored {
    V1 {
        log_id: Option<Vec<u8>>,
        membership: Vec<u8>,
        time_ms: i64,
    },
}

impl Applied {
    /// The last entry's index; zero before the first.
    pub(crate) fn index(&self) -> u64 {
        self.log_id.map_or(0, |id| id.index)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        encode(&Stored::V1 {
            log_id: self.log_id.as_ref().map(encode_log_id),
            membership: encode_membership(&self.membership),
            time_ms: self.time_ms,
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Applied, LogError> {
        let Stored::V1 {
            log_id,
            membership,
            time_ms,
        } = decode(bytes).map_err(|error| {
            LogError::damage("reading how far the tables are", error.to_string())
        })?;
        Ok(Applied {
            log_id: log_id.map(|bytes| decode_log_id(&bytes)).transpose()?,
            membership: decode_membership(&membership)?,
            time_ms,
        })
    }
}
