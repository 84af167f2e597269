//! What a session tells its driver.

use std::fmt;

use crate::command::{HelloName, HelloVerb, MailCommand, RcptCommand};

/// The outcome of a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Something happened.
    Event(Event),
    /// Some octets of the message: dots unstuffed, no bare CR or LF unless the body is BINARYMIME.
    Text(&'a [u8]),
    /// All input was taken: send the output, then read more.
    NeedInput,
    /// The output is large: send it before the next step.
    Flush,
    /// The session is over.
    Closed,
}

/// What the client did. Each variant says whether the driver must answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// EHLO, HELO or LHLO. Ends a transaction under way. Answer: accept or reject.
    Hello {
        /// Which of them.
        verb: HelloVerb,
        /// The name the client gave.
        name: HelloName,
    },
    /// STARTTLS was accepted. Send the output, do the handshake, call
    /// [`Session::tls_started`](crate::Session::tls_started); if the handshake fails, close.
    StartTls,
    /// AUTH starts. Answer: challenge, accept or reject.
    Auth {
        /// In capitals; one of those offered.
        mechanism: String,
        /// The initial response, if the client sent one.
        initial: Option<AuthBytes>,
    },
    /// The response to a challenge. Answer: challenge, accept or reject.
    AuthResponse(AuthBytes),
    /// The exchange was given up; the client has its reply. No answer.
    AuthCancelled,
    /// MAIL starts a transaction. Answer: accept or reject.
    Mail(MailCommand),
    /// RCPT. Answer: accept or reject.
    Rcpt(RcptCommand),
    /// The message starts: DATA, or the first BDAT. [`Step::Text`] follows. Answer: accept or reject (which ends the transaction).
    Data,
    /// The message is complete. Answer: [`Session::finish`](crate::Session::finish).
    End {
        /// Its size.
        octets: u64,
    },
    /// The message is refused by the session itself: forget what came of it. The client has, or gets, its reply.
    /// The transaction is over for the driver. No answer.
    Aborted(Aborted),
    /// RSET: the transaction, if any, is over. No answer.
    Reset,
    /// Send the output and close the connection. No answer.
    Close(CloseReason),
}

/// Octets of an AUTH exchange, which no log may show.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthBytes(pub Vec<u8>);

impl fmt::Debug for AuthBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthBytes({} bytes)", self.0.len())
    }
}

/// Why a message was refused by the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aborted {
    /// It is larger than the limit.
    TooLarge,
    /// It holds a bare CR or LF.
    BareNewline,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said QUIT.
    Quit,
    /// The driver refused with 421 or 521.
    Refused,
    /// Too many errors, refusals, failed authentications or idle commands.
    TooManyErrors,
    /// Input that cannot be told from commands: an endless line, BDAT of unknown length, too much unwanted text.
    OutOfStep,
    /// Something was sent together with STARTTLS.
    PlaintextAfterStartTls,
    /// The client speaks HTTP.
    Http,
    /// The client sent more messages than MAILMAX.
    MailMax,
    /// The server is stopping.
    Draining,
}

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaiting {
    /// A command.
    Command {
        /// Within a transaction or an AUTH exchange.
        transaction: bool,
    },
    /// Octets of a message.
    Text,
    /// The driver's handshake.
    Tls,
    /// The driver's answer.
    Decision,
    /// Nothing: it is over.
    Nothing,
}
