//! What the framer tells the session.

use thiserror::Error;

use crate::{
    command::{AppendHead, AppendMessage, Secret, Tag, Tagged},
    error::ParseError,
};

/// What a client's bytes come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// A command. The session answers it.
    Command(Tagged),
    /// No command, or one that is refused. The session answers with [`crate::writer::Writer::parse_error`]; in
    /// AUTHENTICATE and IDLE, whose lines have no tag, with the tag of those. An APPEND under way is at its end.
    Bad {
        /// The tag, where it could be read.
        tag: Option<Tag>,
        /// What is wrong.
        error: ParseError,
    },
    /// The client waits to send a literal: the session prints a continuation.
    Continue,
    /// An APPEND begins. The session calls [`super::Framer::accept_message`] (and prints a continuation if the
    /// message is synchronising) or answers with `NO` and calls [`super::Framer::refuse_append`].
    Append {
        /// The command.
        head: AppendHead,
        /// Its first message.
        message: AppendMessage,
    },
    /// Bytes of the message accepted last; never none. As many come as it announced, and no more.
    AppendBytes(&'i [u8]),
    /// The message is complete and another one follows: as with [`Event::Append`].
    AppendNext(AppendMessage),
    /// The last message is complete. The session stores all of them or none, and answers.
    AppendEnd {
        /// The command's tag.
        tag: Tag,
    },
    /// IDLE has ended.
    Done,
    /// The answer to a SASL challenge; `None` where the client gives up (`*`).
    AuthResponse(Option<Secret>),
    /// The client cannot be followed any more: the session prints `BYE` and closes.
    Close(CloseReason),
}

/// Why a connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CloseReason {
    /// What was refused is too large to be read and thrown away.
    #[error("what was refused is too large to skip")]
    RefusedTooLarge,
}
