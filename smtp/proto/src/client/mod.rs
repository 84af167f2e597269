//! The client's side of SMTP (RFC 5321) and LMTP (RFC 2033), as a state machine without socket, clock and store.
//!
//! Its caller has the socket, and does what [`Client::next_step`] says, until it says [`Step::Closed`]:
//!
//! ```text
//! match client.next_step() {
//!     Step::Write             => write client.output(), then client.output_sent(count, now),
//!     Step::Read              => client.receive(&bytes, now), client.connection_lost() at the end or an error,
//!                                or client.expire(now) once client.deadline() has come,
//!     Step::StartTls          => shake hands, then client.tls_started(verified, now),
//!     Step::Ready             => client.send(envelope, now), or client.quit(now),
//!     Step::NeedBody          => client.body(&some, now), or client.end_body(now),
//!     Step::AboutToCommit     => look at the lease, then client.commit(now) or client.abandon(now),
//!     Step::Finished(outcomes) => one for each recipient, in the envelope's order,
//!     Step::Closed(why)       => close the connection,
//! }
//! ```
//!
//! The time is a [`Duration`] since any moment that the caller chose; it only ever grows. The caller may read while it
//! writes or gathers a body, and should read once more when writing failed: a remote that hangs up often says why.
//!
//! What is strict, and why:
//! - an answer is attributed to its command. One that answers nothing, or what is not written yet, ends the connection: a
//!   `250` that came before the final dot never counts for it;
//! - from [`Client::commit`] until the whole verdict is there, an end is [`Outcome::Unknown`]; before, it is
//!   [`Outcome::NotSent`], and the remote cannot have the message: the text has no line of one dot (`encoder.rs`), and no BDAT said LAST;
//! - plaintext behind the answer to STARTTLS ends the connection, and what was learnt before TLS is forgotten;
//! - credentials go out under TLS only, and appear in no `Debug`.

mod capabilities;
mod config;
mod encoder;
mod envelope;
mod opening;
mod outcome;
mod output;
mod reply;
#[cfg(test)]
mod tests;
mod transaction;

use std::{collections::VecDeque, fmt, time::Duration};

pub use capabilities::Capabilities;
pub use config::{ClientConfig, Login, Protocol, SevenBitRemote, StartTls, Timeouts, Tls};
pub use envelope::{Envelope, Recipient};
pub use outcome::{Ended, Lacking, Outcome};
pub use reply::{RemoteReply, ReplyError};

use crate::limits;
use output::Output;
use reply::{RawReply, ReplyReader};
use transaction::Transaction;

/// What a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The connection itself: the greeting.
    Connect,
    /// EHLO, or LHLO.
    Ehlo,
    /// HELO, after EHLO was refused.
    Helo,
    /// STARTTLS.
    StartTls,
    /// AUTH, and each response.
    Auth,
    /// RSET.
    Rset,
    /// MAIL.
    Mail,
    /// RCPT of the recipient of this index.
    Rcpt(usize),
    /// DATA.
    Data,
    /// BDAT that is not the last.
    Bdat,
    /// The final dot, or BDAT LAST; with LMTP of the recipient of this index.
    EndOfMessage(Option<usize>),
    /// A dot at once after DATA, as no recipient was accepted.
    EmptyMessage,
    /// QUIT.
    Quit,
    /// Nothing: nobody was asked.
    Nothing,
}

/// As a report names it: "in reply to …".
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Command::Connect => "the connection",
            Command::Ehlo => "EHLO",
            Command::Helo => "HELO",
            Command::StartTls => "STARTTLS",
            Command::Auth => "AUTH",
            Command::Rset => "RSET",
            Command::Mail => "MAIL FROM",
            Command::Rcpt(_) => "RCPT TO",
            Command::Data => "DATA",
            Command::Bdat => "BDAT",
            Command::EndOfMessage(_) | Command::EmptyMessage => "the end of the message",
            Command::Quit => "QUIT",
            Command::Nothing => "nothing",
        })
    }
}

/// What the caller does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Write [`Client::output`].
    Write,
    /// Read, until [`Client::deadline`].
    Read,
    /// Shake hands as a TLS client, then [`Client::tls_started`]; if that fails, [`Client::connection_lost`].
    StartTls,
    /// The connection waits for a message or its end: [`Client::send`] or [`Client::quit`].
    Ready,
    /// More of the text: [`Client::body`] or [`Client::end_body`].
    NeedBody,
    /// All but the end of the message is written and answered: [`Client::commit`] or [`Client::abandon`].
    AboutToCommit,
    /// The transaction is over: what became of each recipient, in the envelope's order.
    Finished(Vec<Outcome>),
    /// The connection is over, and is to be closed.
    Closed(Ended),
}

/// Named by what is awaited. A transaction, where there is one, is in [`Client::transaction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Greeting, and the answers to hello, STARTTLS and AUTH.
    ExpectOpening,
    ExpectHandshake,
    ExpectEnvelope,
    /// The answers to MAIL, RCPT and DATA.
    ExpectAccepted,
    /// Text of the caller.
    ExpectBody,
    /// The caller's word.
    ExpectCommit,
    /// The answer, or answers, to the end of the message.
    ExpectVerdict,
    /// Answers that change nothing any more.
    ExpectDrained,
    ExpectGoodbye,
    Closed,
}

/// One connection to one remote. See the module's documentation.
pub struct Client {
    config: ClientConfig,
    tls: Tls,
    capabilities: Capabilities,
    state: State,
    /// Commands that were given out, or wait in the output, and have no answer yet; each with the output's end behind
    /// its line.
    pending: VecDeque<(Command, u64)>,
    reader: ReplyReader,
    output: Output,
    /// What became of the last transaction, until it is told.
    told: Option<Vec<Outcome>>,
    /// Why the connection is over.
    ended: Option<Ended>,
    transaction: Option<Box<Transaction>>,
    login: Option<mailrook_sasl::Client>,
    /// The remote may still hold something of a transaction: RSET goes before the next one.
    dirty: bool,
    /// A 421 came with a verdict; the connection ends after the transaction.
    closing: Option<RemoteReply>,
    mails: u32,
    deadline: Option<Duration>,
}

impl Client {
    /// A client on a connection that was made just now.
    pub fn new(config: ClientConfig, now: Duration) -> Client {
        let mut client = Client {
            tls: config.tls,
            config,
            capabilities: Capabilities::default(),
            state: State::ExpectOpening,
            pending: VecDeque::from([(Command::Connect, 0)]),
            reader: ReplyReader::default(),
            output: Output::default(),
            told: None,
            ended: None,
            transaction: None,
            login: None,
            dirty: false,
            closing: None,
            mails: 0,
            deadline: None,
        };
        client.arm(now);
        client
    }

    /// What to do next. [`Step::Finished`] is told once, all others until what they ask for is done.
    pub fn next_step(&mut self) -> Step {
        if let Some(outcomes) = self.told.take() {
            return Step::Finished(outcomes);
        }
        if let Some(ended) = &self.ended {
            return Step::Closed(ended.clone());
        }
        if !self.output.is_empty() {
            return Step::Write;
        }
        match self.state {
            State::ExpectHandshake => Step::StartTls,
            State::ExpectEnvelope => Step::Ready,
            State::ExpectBody if self.pending.len() < self.chunks_max() => Step::NeedBody,
            State::ExpectCommit if self.pending.is_empty() => Step::AboutToCommit,
            _ => Step::Read,
        }
    }

    /// Takes what the remote sent.
    pub fn receive(&mut self, mut bytes: &[u8], now: Duration) {
        let mut answered = false;
        while !bytes.is_empty() && self.state != State::Closed {
            if self.state == State::ExpectHandshake {
                self.fail(Ended::PlaintextAfterStartTls);
                break;
            }
            let (taken, result) = self.reader.next(bytes);
            bytes = &bytes[taken..];
            match result {
                Ok(None) => {}
                Ok(Some(raw)) => {
                    answered = true;
                    self.on_reply(&raw);
                }
                Err(error) => self.fail(error.into()),
            }
        }
        if answered {
            self.arm(now);
        }
    }

    /// What is to be written.
    pub fn output(&self) -> &[u8] {
        self.output.waiting()
    }

    /// `count` bytes of the output were written. Must be told before what was read afterwards: an answer to what was not
    /// written is none.
    ///
    /// # Panics
    /// If there were not so many.
    pub fn output_sent(&mut self, count: usize, now: Duration) {
        self.output.sent(count);
        if count > 0 {
            self.arm(now);
        }
    }

    /// The connection was closed or broke, or could not be secured.
    pub fn connection_lost(&mut self) {
        self.fail(Ended::ConnectionLost);
    }

    /// When the remote has been silent for too long. `None` while it is the caller who is waited for.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Ends the connection if its deadline has come, and says whether it did.
    pub fn expire(&mut self, now: Duration) -> bool {
        let expired = self.deadline.is_some_and(|deadline| deadline <= now);
        if expired {
            let command = match self.pending.front() {
                Some((command, _)) => *command,
                None if self.state == State::ExpectHandshake => Command::StartTls,
                None => Command::Data,
            };
            self.fail(Ended::TimedOut(command));
        }
        expired
    }

    /// Whether the connection is secured, and how.
    pub fn tls(&self) -> Tls {
        self.tls
    }

    /// Whether a message can be sent, now or once [`Step::Ready`] is said again.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed | State::ExpectGoodbye) && self.closing.is_none()
    }

    /// What the remote offers, as far as is known by now.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Ends the connection in good order, after [`Step::Ready`].
    ///
    /// # Panics
    /// Within a transaction: the caller is wrong.
    pub fn quit(&mut self, now: Duration) {
        if self.state == State::Closed {
            return;
        }
        assert_eq!(
            self.state,
            State::ExpectEnvelope,
            "QUIT goes between transactions"
        );
        self.say_goodbye();
        self.arm(now);
    }

    fn say_goodbye(&mut self) {
        self.say(Command::Quit, b"QUIT\r\n");
        self.state = State::ExpectGoodbye;
    }

    fn say(&mut self, command: Command, line: &[u8]) {
        self.output.push(line);
        self.await_answer(command);
    }

    /// An answer is due to the line that is the last in the output.
    fn await_answer(&mut self, command: Command) {
        self.pending.push_back((command, self.output.end()));
    }

    /// One whole reply.
    fn on_reply(&mut self, raw: &RawReply) {
        // Nor can what was not written yet have an answer: who says so guesses, or speaks for somebody else.
        let written = self.output.written();
        let asked = self
            .pending
            .pop_front_if(|(_, line_end)| *line_end <= written);
        let Some((command, _)) = asked else {
            return self.on_unsolicited(RemoteReply::new(Command::Nothing, raw));
        };
        let reply = RemoteReply::new(command, raw);
        // RFC 5321 §3.8. To the end of a message it is an answer like others of 4yz, and the connection ends after it.
        if raw.code == 421 {
            match command {
                Command::EndOfMessage(_) => self.closing = Some(reply.clone()),
                Command::Quit => {}
                _ => return self.fail(Ended::ServiceClosing(reply)),
            }
        }
        match command {
            Command::Connect
            | Command::Ehlo
            | Command::Helo
            | Command::StartTls
            | Command::Auth => self.on_opening(raw, reply),
            Command::Quit => self.fail(Ended::Quit),
            _ => self.on_transaction(reply),
        }
    }

    /// A reply that answers no command.
    fn on_unsolicited(&mut self, mut reply: RemoteReply) {
        let in_text = matches!(self.state, State::ExpectBody | State::ExpectCommit);
        if reply.code == 421 {
            self.fail(Ended::ServiceClosing(reply));
        } else if in_text && reply.code >= 400 {
            // It will not have the message, and did not wait for its end. What it makes of the rest is not known.
            reply.command = Command::Data;
            self.refuse_all(&reply);
            self.fail(Ended::RefusedEarly(reply));
        } else {
            self.fail(Ended::UnexpectedReply(reply));
        }
    }

    /// Ends the connection, and with it the transaction.
    fn fail(&mut self, ended: Ended) {
        if self.state == State::Closed {
            return;
        }
        let ended = match self.state {
            // Whatever became of QUIT.
            State::ExpectGoodbye => Ended::Quit,
            _ => ended,
        };
        if let Some(transaction) = self.transaction.take() {
            self.told = Some(transaction.end(Some(&ended)));
        }
        self.ended = Some(ended);
        self.state = State::Closed;
        self.pending.clear();
        self.output.clear();
        self.login = None;
        self.deadline = None;
    }

    /// Sets the deadline for what is awaited now.
    fn arm(&mut self, now: Duration) {
        let timeouts = &self.config.timeouts;
        let text = matches!(self.state, State::ExpectBody | State::ExpectCommit);
        let wait = match self.pending.front() {
            _ if self.state == State::ExpectHandshake => Some(timeouts.command),
            None if text && !self.output.is_empty() => Some(timeouts.block),
            None => None,
            Some((command, _)) => Some(match command {
                Command::Connect => timeouts.greeting,
                Command::Mail => timeouts.mail,
                Command::Rcpt(_) => timeouts.rcpt,
                Command::Data => timeouts.data,
                Command::Bdat => timeouts.block,
                Command::EndOfMessage(_) | Command::EmptyMessage => timeouts.verdict,
                Command::Quit => timeouts.quit,
                _ => timeouts.command,
            }),
        };
        self.deadline = wait.map(|wait| now + wait);
    }

    /// BDATs that may be without an answer when more text is asked for. With DATA nothing is.
    fn chunks_max(&self) -> usize {
        if self.capabilities.pipelining {
            limits::CHUNKS_MAX
        } else {
            1
        }
    }
}

/// Without the output, which may hold credentials and mail.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("state", &self.state)
            .field("tls", &self.tls)
            .field("pending", &self.pending)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
