//! Why a group does not answer.

use thiserror::Error;

/// Why a call to a group failed. None of them says anything about what the state holds: unknown is not absent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GroupError {
    /// The caller's fault: the command is longer than [`COMMAND_BYTES_MAX`](super::COMMAND_BYTES_MAX). It was not
    /// ordered.
    #[error(
        "a command of {len_bytes} bytes is longer than the {max_bytes} that one entry may have"
    )]
    TooLarge {
        /// How long the command is.
        len_bytes: usize,
        /// How long it may be.
        max_bytes: usize,
    },
    /// The disk has less room than the reserve: nothing new is accepted until there is more. The command was not
    /// ordered; reads go on.
    #[error(
        "the disk is nearly full: {free_bytes} bytes are free, {reserve_bytes} are the reserve"
    )]
    Full {
        /// What was free when last looked.
        free_bytes: u64,
        /// Below this nothing new is accepted.
        reserve_bytes: u64,
    },
    /// Another node leads this group, or none does just now. The command was not ordered here: ask there.
    #[error("this node does not lead the group")]
    NotLeader {
        /// The leader's node id, where known.
        leader: Option<u64>,
    },
    /// The change of the group's members cannot be made, as things are.
    #[error("the members of the group cannot be changed so: {cause}")]
    Refused {
        /// Why.
        cause: String,
    },
    /// No answer within the deadline. For a read: try again.
    #[error("no answer in time")]
    Timeout,
    /// The command was handed to the log, and then the answer was lost: it may or may not be carried out. Repeat it
    /// with the same operation id.
    #[error("it is unknown whether the command is carried out")]
    OutcomeUnknown,
    /// This node's copy of the group is stopped: by a shutdown, or because it found damage or a command that it
    /// cannot apply. Other groups of the node go on.
    #[error("the group is stopped on this node: {cause}")]
    Stopped {
        /// Why, for the operator.
        cause: String,
    },
}

impl GroupError {
    /// Whether the same call, repeated a little later, here or at the leader, may succeed.
    pub fn is_temporary(&self) -> bool {
        !matches!(self, GroupError::TooLarge { .. })
    }
}
