//! What front ends ask of the shards on other nodes, as bytes.
//!
//! ```text
//! 0   version   1
//! 1   shard     u32, little-endian
//! 5   kind      u8: see [`Ask`]
//! 6   the command or the query, as its own format has it
//! ```
//!
//! The reply is a version, 1, and a kind: 0, followed by the answer in its own format, or 1, followed by a [`Failure`].

use bytes::{Buf, BufMut, Bytes, BytesMut};
use mailrook_cluster::GroupError;
use mailrook_kv::{ANSWER_BYTES_MAX, decode, encode};
use mailrook_transport::ITEM_BYTES_MAX;
use mailrook_types::ShardId;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 6;
const ANSWERED: u8 = 0;
const FAILED: u8 = 1;

// What is bounded by its bytes where it is made can be sent, with what stands around it.
const _: () = assert!(ANSWER_BYTES_MAX <= ITEM_BYTES_MAX / 2);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Order a command.
    Propose,
    /// Answer a query, after a read barrier.
    Query,
    /// Say the log's time.
    Time,
    /// Say, in a stream, what is touched.
    Watch,
}

impl Ask {
    const ALL: [Ask; 4] = [Ask::Propose, Ask::Query, Ask::Time, Ask::Watch];
}

/// Why there is no answer. In bytes only ever appended to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    TooLarge {
        len_bytes: u64,
        max_bytes: u64,
    },
    Full {
        free_bytes: u64,
        reserve_bytes: u64,
    },
    NotLeader {
        leader: Option<u64>,
    },
    Timeout,
    OutcomeUnknown,
    Stopped {
        cause: String,
    },
    Refused {
        cause: String,
    },
    /// What was asked cannot be read, or the state is damaged.
    Internal(String),
}

/// The bytes of a request.
pub(crate) fn request(shard: ShardId, ask: Ask, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES + body.len());
    bytes.put_u8(VERSION);
    bytes.put_u32_le(shard.0);
    // Their order is that of their numbers.
    bytes.put_u8(ask as u8);
    bytes.put_slice(body);
    bytes.freeze()
}

/// Refuses what no node can send to another, however often it is tried.
pub(crate) fn require_sendable(what: &str, bytes: &Bytes) -> Result<(), Failure> {
    let len = bytes.len();
    if len > ITEM_BYTES_MAX {
        return Err(Failure::Internal(format!(
            "a {what} of {len} bytes, and {ITEM_BYTES_MAX} are the most between nodes"
        )));
    }
    Ok(())
}

/// Reads [`request`].
pub(crate) fn read_request(mut bytes: Bytes) -> Result<(ShardId, Ask, Bytes), String> {
    if bytes.len() < HEAD_BYTES {
        return Err("a request is too short".to_owned());
    }
    let version = bytes.get_u8();
    if version != VERSION {
        return Err(format!("version {version} of a request is not known here"));
    }
    let shard = ShardId(bytes.get_u32_le());
    let kind = bytes.get_u8();
    let ask = Ask::ALL.get(usize::from(kind));
    let ask = ask.ok_or_else(|| format!("requests of kind {kind} are not known here"))?;
    Ok((shard, *ask, bytes))
}

/// The bytes of a reply. One that is too long says so in its place: by the transport's own words who asked would take it
/// for a node that is busy, and try again.
pub(crate) fn reply(result: Result<Bytes, Failure>) -> Bytes {
    let bytes = reply_bytes(result);
    match require_sendable("reply", &bytes) {
        Ok(()) => bytes,
        Err(failure) => reply_bytes(Err(failure)),
    }
}

fn reply_bytes(result: Result<Bytes, Failure>) -> Bytes {
    let (kind, body) = match result {
        Ok(answer) => (ANSWERED, answer),
        Err(failure) => (FAILED, encode(&failure).into()),
    };
    let mut bytes = BytesMut::with_capacity(2 + body.len());
    bytes.put_u8(VERSION);
    bytes.put_u8(kind);
    bytes.put_slice(&body);
    bytes.freeze()
}

/// Reads [`reply`].
pub(crate) fn read_reply(mut bytes: Bytes) -> Result<Bytes, Failure> {
    if bytes.len() < 2 || bytes.get_u8() != VERSION {
        return Err(Failure::Internal("a reply that cannot be read".into()));
    }
    match bytes.get_u8() {
        ANSWERED => Ok(bytes),
        FAILED => Err(decode(&bytes).unwrap_or_else(|error| Failure::Internal(error.to_string()))),
        kind => Err(Failure::Internal(format!("a reply of kind {kind}"))),
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match GroupError::try_from(self.clone()) {
            Ok(error) => error.fmt(f),
            Err(internal) => f.write_str(&internal),
        }
    }
}

impl TryFrom<Failure> for GroupError {
    type Error = String;

    fn try_from(failure: Failure) -> Result<GroupError, String> {
        let len = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Ok(match failure {
            Failure::TooLarge {
                len_bytes,
                max_bytes,
            } => GroupError::TooLarge {
                len_bytes: len(len_bytes),
                max_bytes: len(max_bytes),
            },
            Failure::Full {
                free_bytes,
                reserve_bytes,
            } => GroupError::Full {
                free_bytes,
                reserve_bytes,
            },
            Failure::NotLeader { leader } => GroupError::NotLeader { leader },
            Failure::Timeout => GroupError::Timeout,
            Failure::OutcomeUnknown => GroupError::OutcomeUnknown,
            Failure::Stopped { cause } => GroupError::Stopped { cause },
            Failure::Refused { cause } => GroupError::Refused { cause },
            Failure::Internal(cause) => return Err(cause),
        })
    }
}

impl From<GroupError> for Failure {
    fn from(error: GroupError) -> Failure {
        match error {
            GroupError::TooLarge {
                len_bytes,
                max_bytes,
            } => Failure::TooLarge {
                len_bytes: len_bytes as u64,
                max_bytes: max_bytes as u64,
            },
            GroupError::Full {
                free_bytes,
                reserve_bytes,
            } => Failure::Full {
                free_bytes,
                reserve_bytes,
            },
            GroupError::NotLeader { leader } => Failure::NotLeader { leader },
            GroupError::Timeout => Failure::Timeout,
            GroupError::OutcomeUnknown => Failure::OutcomeUnknown,
            GroupError::Stopped { cause } => Failure::Stopped { cause },
            GroupError::Refused { cause } => Failure::Refused { cause },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for ask in Ask::ALL {
            let bytes = request(ShardId(7), ask, b"body");
            let read = read_request(bytes).unwrap();
            assert_eq!(read, (ShardId(7), ask, Bytes::from_static(b"body")));
        }
        let answer = Bytes::from_static(b"answer");
        assert_eq!(read_reply(reply(Ok(answer.clone()))), Ok(answer));
        let failure = Failure::NotLeader { leader: Some(3) };
        assert_eq!(read_reply(reply(Err(failure.clone()))), Err(failure));
    }

    #[test]
    fn what_is_too_long_fails_for_good() {
        let longest = Bytes::from(vec![7; ITEM_BYTES_MAX - 2]);
        assert_eq!(read_reply(reply(Ok(longest.clone()))), Ok(longest));
        let too_long = reply(Ok(vec![7; ITEM_BYTES_MAX - 1].into()));
        assert!(too_long.len() < 1000);
        assert!(matches!(read_reply(too_long), Err(Failure::Internal(_))));
        let request = request(ShardId(7), Ask::Query, &vec![7; ITEM_BYTES_MAX]);
        let refused = require_sendable("request", &request);
        assert!(matches!(refused, Err(Failure::Internal(_))));
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        assert!(read_request(Bytes::from_static(b"\x01\0")).is_err());
        assert!(read_request(Bytes::from_static(b"\x02\0\0\0\0\0")).is_err());
        assert!(read_request(Bytes::from_static(b"\x01\0\0\0\0\x09")).is_err());
        for bytes in [&b""[..], b"\x01", b"\x02\0", b"\x01\x07", b"\x01\x01\xff"] {
            assert!(read_reply(Bytes::copy_from_slice(bytes)).is_err());
        }
    }
}
