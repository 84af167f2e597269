//! Why a call of the store did not give an answer.

use thiserror::Error;

/// The store did not answer. What a command may not do (no such mailbox, over quota) is an answer, not an error.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// No leader, no quorum, no time left: try again later. Never to be told as "there is no such thing" (P6).
    ///
    /// A change may or may not have been made, and may still be made a little later. Until here it was repeated under one
    /// operation id, which can make it only once. Asked for again in the same lane within
    /// [`Lane::IN_DOUBT_MAX`](crate::Lane::IN_DOUBT_MAX) it is still that operation, unless it is a change that may as well be
    /// made again ([`Intent`](crate::Intent)). In another lane, by a session's successor, say, it is a new one: a delivery is
    /// known by its key, flags and expunges are as they are, but an APPEND or a COPY may then be there twice.
    #[error("the mail store cannot be reached now: {0}")]
    Unavailable(String),
    /// The disk is full or nearly so; reads go on.
    #[error("the mail store has no room: {0}")]
    Full(String),
    /// The caller asked for something that no store accepts, such as a message over the size limit.
    #[error("the mail store cannot take this: {0}")]
    Unacceptable(String),
    /// We are at fault: what was stored cannot be read, or an answer does not fit its question.
    #[error("the mail store failed: {0}")]
    Internal(String),
}
