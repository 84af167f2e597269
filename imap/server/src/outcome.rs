//! How a command ends, and whose fault it is when it does not end well.

use std::{borrow::Cow, io};

use mailrook_imap_proto::response::{Code, Status};
use mailrook_net::{Farewell, LEAVE_WITHIN};
use mailrook_store_api::{StoreError, shard::Refusal};
use mailrook_types::MailboxNameError;

use crate::connection::Wire;

/// The tagged response that ends a command.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: Status,
    pub(crate) code: Option<Code>,
    pub(crate) text: Cow<'static, str>,
}

/// Why a command did not end with the reply that it should have had.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The client cannot have what it asks for, or does not ask for it properly.
    Refused(Reply),
    /// The store did not answer.
    Store(StoreError),
    /// The command has printed its tagged response already: what follows is another state of the connection.
    Answered,
    /// There is nobody to answer.
    Connection(io::Error),
    /// The session cannot go on: what it is about is gone.
    Bye(&'static str),
    /// The session is to end, and it is neither its own fault nor the client's.
    Leave(Farewell),
}

/// What a command comes to.
pub(crate) type Outcome = Result<Reply, Failure>;

/// What a client is told that is to go.
pub(crate) fn goodbye(farewell: &Farewell) -> &str {
    match farewell {
        Farewell::Stopping => "server is stopping, connect again",
        Farewell::Ended(reason) => reason.as_str(),
    }
}

/// Says why a session that an admin ended is dropped without a goodbye.
pub(crate) fn log_overdue(wire: &Wire) {
    let seconds = LEAVE_WITHIN.as_secs();
    if wire.is_sending() {
        tracing::info!(
            seconds,
            "an admin ended the session, and it is dropped: its client does not take what it is sent"
        );
    } else {
        tracing::info!(
            seconds,
            "an admin ended the session, and it is dropped: its command is not answered in time"
        );
    }
}

/// What ends a session whose mailbox was deleted by another.
pub(crate) const GONE: Failure = Failure::Bye("the selected mailbox is gone");

impl Reply {
    pub(crate) fn ok(text: impl Into<Cow<'static, str>>) -> Reply {
        Reply::with(Status::Ok, None, text)
    }

    pub(crate) fn no(text: impl Into<Cow<'static, str>>) -> Reply {
        Reply::with(Status::No, None, text)
    }

    pub(crate) fn bad(text: impl Into<Cow<'static, str>>) -> Reply {
        Reply::with(Status::Bad, None, text)
    }

    pub(crate) fn code(mut self, code: Code) -> Reply {
        self.code = Some(code);
        self
    }

    fn with(status: Status, code: Option<Code>, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply {
            status,
            code,
            text: text.into(),
        }
    }
}

impl From<Reply> for Failure {
    fn from(reply: Reply) -> Failure {
        Failure::Refused(reply)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Store(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Connection(error)
    }
}

impl From<MailboxNameError> for Failure {
    fn from(error: MailboxNameError) -> Failure {
        Reply::no(error.to_string()).code(Code::Cannot).into()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Refused(refused(&refusal))
    }
}

/// RFC 5530 for what the store refuses.
fn refused(refusal: &Refusal) -> Reply {
    let code = match refusal {
        Refusal::NoSuchMailbox => Code::NonExistent,
        Refusal::MailboxExists => Code::AlreadyExists,
        Refusal::InboxIsFixed | Refusal::BelowItself => Code::Cannot,
        // RFC 6154 §3
        Refusal::SpecialUseTaken => Code::UseAttr,
        Refusal::OverQuota => Code::OverQuota,
        Refusal::Limit(_) => Code::Limit,
        // No command of IMAP is refused so.
        Refusal::MaildropLost => Code::InUse,
        Refusal::NoSuchAccount
        | Refusal::BodyMissing
        | Refusal::StaleOperation
        | Refusal::SlotNotHere(_)
        | Refusal::StaleMove(_)
        | Refusal::Elsewhere
        | Refusal::StaleAccountMove => {
            // The account may be moving, or was removed under a session that had logged in. Slots are no session's concern.
            return Reply::no("the mailbox cannot be reached now, try again later")
                .code(Code::Unavailable);
        }
    };
    Reply::no(refusal.to_string()).code(code)
}

/// What a client hears of a store that did not answer (P6: never "there is no such thing").
pub(crate) fn store_reply(error: &StoreError) -> Reply {
    match error {
        StoreError::Unavailable(_) => {
            Reply::no("the mail store cannot be reached now, try again later")
                .code(Code::Unavailable)
        }
        StoreError::Full(_) => {
            Reply::no("the mail store has no room now, try again later").code(Code::Unavailable)
        }
        StoreError::Unacceptable(_) => Reply::no("this is too large").code(Code::Limit),
        StoreError::Internal(_) => Reply::no("internal error, see the log").code(Code::ServerBug),
    }
}
