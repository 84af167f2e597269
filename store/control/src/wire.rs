//! What nodes ask each other about the cluster's affairs. In bytes only ever appended to.

use bytes::Bytes;
use mailrook_cluster::Reached;
use mailrook_kv::{decode, encode};
use mailrook_types::{NodeId, ShardId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Answered by a [`NodeReport`](crate::NodeReport).
    Report,
    /// Begin a group that there was never one of.
    FoundGroup(ShardId),
    /// Have a copy of a group, which waits for its leader, who was as far.
    AddCopy(ShardId, Reached),
    /// Have no copy of a group any more, unless the meta group says otherwise.
    DropCopy(ShardId),
    /// To the group's leader.
    AddLearner(ShardId, NodeId),
    /// To the group's leader.
    ChangeVoters(ShardId, Vec<NodeId>),
    /// To the group's leader.
    RemoveLearner(ShardId, NodeId),
    /// To the group's leader.
    TransferLeader(ShardId, NodeId),
    /// As of this entry; by a stream alone, which answers with its [`Digest`](crate::digest::Digest).
    Digest(ShardId, u64),
    /// Answered by [`NodePapers`](crate::NodePapers).
    Papers,
    /// A new certificate for who asks, and this key (SubjectPublicKeyInfo, DER). Answered by the certificate, PEM.
    Renew(Vec<u8>),
    /// As [`Ask::DropCopy`], from a group whose leader was as far: nothing need be kept of a copy that was well. From
    /// [`LEVEL_COPY_REMOVAL`](crate::settings::LEVEL_COPY_REMOVAL) on.
    RemoveCopy(ShardId, Reached),
    /// To the program around the node, in a format of its own: see [`Fellow`](crate::Fellow). Answered by a `Result<Vec<u8>, String>`,
    /// so that what the transport says is refused was refused by a program that does not know this.
    Fellow(Vec<u8>),
}

#[derive(Serialize, Deserialize)]
enum Versioned<T> {
    V1(T),
}

pub(crate) fn write<T: Serialize>(value: &T) -> Bytes {
    encode(&Versioned::V1(value)).into()
}

/// Whether these are the words of a program that does not know what it was asked.
pub(crate) fn is_unknown(cause: &str) -> bool {
    // The first byte is the version, the second a request that no program knows. What comes after the record's type is about this
    // very request.
    let Err(words) = read::<Ask>(&[0, u8::MAX >> 1]) else {
        return false;
    };
    let of_type = words.split('<').next().unwrap_or(&words);
    cause.starts_with(of_type) && cause.contains("cannot be read")
}

pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let Versioned::V1(value) = decode(bytes).map_err(|error| error.to_string())?;
    Ok(value)
}
