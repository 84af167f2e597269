//! A session of a client with us: which command may come when, and what is answered.
//!
//! States are named by what they await. Where a decision is the driver's, the session stands still with a
//! [`Question`] until [`Session::accept`], [`Session::reject`], [`Session::finish`] or [`Session::challenge`]
//! answers it. Replies gather in one buffer, so that a pipelined group of commands is answered by one write
//! (RFC 2920).

mod body;
mod dispatch;
mod event;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};

pub use event::{Aborted, AuthBytes, Awaiting, CloseReason, Event, Step};

use self::body::{Chunk, Discard, Transaction};
use crate::{
    command::HelloVerb,
    config::{Service, SessionConfig},
    data::Decoder,
    limits,
    line::LineReader,
    reply::{EnhancedCode, Reply, ReplyCode},
};

/// One connection's session. See the crate's documentation for how it is driven.
#[derive(Debug)]
pub struct Session {
    config: Arc<SessionConfig>,
    state: State,
    question: Option<Question>,
    line: LineReader,
    out: Vec<u8>,
    closing: Option<CloseReason>,
    /// The client said EHLO or LHLO, not HELO: extensions may be used.
    extended: bool,
    tls: bool,
    authenticated: bool,
    draining: bool,
    /// What [`Session::offer`] said; the configuration's mechanisms otherwise.
    offered: Option<Vec<String>>,
    counters: Counters,
}

/// What bounds a session. All but the first two start afresh when a message was taken.
#[derive(Debug, Default)]
struct Counters {
    lines: u64,
    mails: u32,
    errors: u32,
    refusals: u32,
    junk: u32,
    excess_rcpts: u32,
    auth_failures: u32,
    /// Octets of messages that were read only to be dropped.
    swallowed: u64,
}

/// What the client may say next.
#[derive(Debug)]
enum State {
    /// Connected, or TLS has just begun.
    ExpectHello,
    /// Greeted; no transaction.
    ExpectMail,
    /// MAIL was accepted: RCPT, or DATA or BDAT.
    ExpectRcpt(Transaction),
    /// 354 was sent: text up to the dot.
    ExpectText(Transaction, Decoder),
    /// Octets that BDAT announced.
    ExpectChunk(Transaction, Chunk),
    /// A chunk was taken that was not the last.
    ExpectBdat(Transaction),
    /// Octets that BDAT announced and nobody wants.
    ExpectDiscard(Discard),
    /// All of a message was read; the driver decides, the client waits.
    ExpectVerdict(Transaction),
    /// 334 was sent.
    ExpectAuthResponse,
    /// 220 was sent to STARTTLS: the driver does the handshake.
    ExpectTls,
    /// Over.
    Closed,
}

/// What the driver must answer before the next step.
#[derive(Debug)]
enum Question {
    Greeting,
    Hello(HelloVerb),
    Mail(Transaction),
    Rcpt,
    Data,
    Bdat(Chunk),
    Message,
    Auth,
}

impl Session {
    /// A new session, whose first question is the greeting: [`accept`](Session::accept) sends 220,
    /// [`reject`](Session::reject) sends the client away. `tls` is set where TLS came first (RFC 8314 §3).
    pub fn new(config: Arc<SessionConfig>, tls: bool) -> Session {
        Session {
            config,
            state: State::ExpectHello,
            question: Some(Question::Greeting),
            line: LineReader::default(),
            out: Vec::new(),
            closing: None,
            extended: false,
            tls,
            authenticated: false,
            draining: false,
            offered: None,
            counters: Counters::default(),
        }
    }

    /// Takes bytes from the start of `input` and says how many and what they came to. The rest must be given again
    /// with the next call. Input may be empty, to learn whether something is due without it.
    ///
    /// # Panics
    /// If the last event's question was not answered, or the handshake was not done: the driver is wrong, not the
    /// peer.
    pub fn step<'a>(&mut self, input: &'a [u8]) -> (usize, Step<'a>) {
        assert!(
            self.question.is_none(),
            "the session waits for an answer to {:?}",
            self.question
        );
        assert!(
            !matches!(self.state, State::ExpectTls),
            "the session waits for the handshake"
        );
        let mut taken = 0;
        loop {
            if let Some(reason) = self.closing.take() {
                self.state = State::Closed;
                return (taken, Step::Event(Event::Close(reason)));
            }
            if self.out.len() > limits::OUTPUT_MAX {
                return (taken, Step::Flush);
            }
            let rest = &input[taken..];
            let due = match &self.state {
                State::Closed => return (taken, Step::Closed),
                State::ExpectChunk(_, chunk) => chunk.octets == 0,
                State::ExpectDiscard(discard) => discard.octets == 0,
                _ => false,
            };
            if rest.is_empty() && !due {
                return (taken, Step::NeedInput);
            }
            let (count, step) = match self.state {
                State::ExpectText(..) | State::ExpectChunk(..) | State::ExpectDiscard(_) => {
                    self.take_body(rest)
                }
                _ => {
                    let (count, event) = self.take_line(rest);
                    (count, event.map(Step::Event))
                }
            };
            taken += count;
            if let Some(step) = step {
                return (taken, step);
            }
        }
    }

    /// Answers the open question with yes: greets, or accepts the hello, sender, recipient, credentials, or start
    /// of a message.
    ///
    /// # Panics
    /// If no such question is open. [`Event::End`] is answered by [`finish`](Session::finish).
    pub fn accept(&mut self) {
        use EnhancedCode as E;
        match self.question.take() {
            Some(Question::Greeting) => self.greet(),
            Some(Question::Hello(verb)) => self.welcome(verb),
            Some(Question::Mail(transaction)) => {
                self.counters.mails += 1;
                self.state = State::ExpectRcpt(transaction);
                self.say(ReplyCode::Ok250, E::OTHER, "sender ok");
            }
            Some(Question::Rcpt) => {
                if let State::ExpectRcpt(transaction) = &mut self.state {
                    transaction.accepted += 1;
                }
                self.say(ReplyCode::Ok250, E::RECIPIENT_VALID, "recipient ok");
            }
            Some(Question::Data) => {
                let Some(transaction) = self.take_transaction() else {
                    return;
                };
                self.state =
                    State::ExpectText(transaction, Decoder::dotted(self.config.bare_newlines));
                self.write(&Reply::plain(
                    ReplyCode::StartMail354,
                    "go ahead, end with <CRLF>.<CRLF>",
                ));
            }
            Some(Question::Bdat(chunk)) => {
                let Some(transaction) = self.take_transaction() else {
                    return;
                };
                self.start_chunk(transaction, chunk);
            }
            Some(Question::Auth) => {
                self.authenticated = true;
                self.state = State::ExpectMail;
                self.say(ReplyCode::AuthSucceeded235, E::SECURITY, "authenticated");
            }
            question @ (Some(Question::Message) | None) => {
                panic!("accept() does not answer {question:?}")
            }
        }
    }

    /// Answers the open question with no. A reply of code 421 (or 521 to the greeting) also ends the session.
    ///
    /// # Panics
    /// If no such question is open, or the reply is no failure.
    pub fn reject(&mut self, reply: Reply) {
        assert!(reply.code.is_failure(), "{reply} rejects nothing");
        let ends = matches!(
            reply.code,
            ReplyCode::ServiceNotAvailable421 | ReplyCode::NoMail521
        );
        match self.question.take() {
            Some(Question::Greeting) => self.close(&reply, CloseReason::Refused),
            Some(Question::Hello(_)) => {
                self.state = State::ExpectHello;
                self.write(&reply);
            }
            Some(Question::Mail(_)) => self.refuse(&reply),
            Some(Question::Rcpt) => {
                if let State::ExpectRcpt(transaction) = &mut self.state {
                    transaction.refused += 1;
                }
                self.refuse(&reply);
            }
            Some(Question::Data) => {
                self.state = State::ExpectMail;
                self.write(&reply);
            }
            Some(Question::Bdat(_)) if ends => self.close(&reply, CloseReason::Refused),
            Some(Question::Bdat(chunk)) => {
                let transaction = self.take_transaction();
                self.discard(chunk, reply, transaction);
            }
            Some(Question::Auth) => self.auth_failed(&reply),
            question @ (Some(Question::Message) | None) => {
                panic!("reject() does not answer {question:?}")
            }
        }
        if ends && self.closing.is_none() {
            self.closing = Some(CloseReason::Refused);
        }
    }

    /// Answers [`Event::End`]: one reply for SMTP; for LMTP one for each accepted recipient, in their order
    /// (RFC 2033 §4.2).
    ///
    /// # Panics
    /// If no message waits for its verdict, or the number of replies is wrong.
    pub fn finish(&mut self, replies: &[Reply]) {
        let (Some(Question::Message), State::ExpectVerdict(transaction)) =
            (self.question.take(), &self.state)
        else {
            panic!("finish() answers no question");
        };
        assert_eq!(
            replies.len(),
            transaction.replies(self.config.service),
            "each recipient has its reply"
        );
        self.state = State::ExpectMail;
        replies.iter().for_each(|reply| self.write(reply));
        if replies.iter().any(|reply| !reply.code.is_failure()) {
            let Counters { lines, mails, .. } = self.counters;
            self.counters = Counters {
                lines,
                mails,
                ..Counters::default()
            };
        }
        if replies
            .iter()
            .any(|reply| reply.code == ReplyCode::ServiceNotAvailable421)
        {
            self.closing = Some(CloseReason::Refused);
        }
    }

    /// Answers [`Event::Auth`] or [`Event::AuthResponse`] with the next challenge (334).
    ///
    /// # Panics
    /// If no exchange is open.
    pub fn challenge(&mut self, challenge: &[u8]) {
        let question = self.question.take();
        assert!(
            matches!(question, Some(Question::Auth)),
            "challenge() does not answer {question:?}"
        );
        self.state = State::ExpectAuthResponse;
        self.out.extend_from_slice(b"334 ");
        self.out
            .extend_from_slice(STANDARD.encode(challenge).as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// The handshake after [`Event::StartTls`] is done. What was known of the client is forgotten (RFC 3207 §4.2).
    ///
    /// # Panics
    /// If no handshake was due.
    pub fn tls_started(&mut self) {
        assert!(
            matches!(self.state, State::ExpectTls),
            "no STARTTLS was accepted"
        );
        self.tls = true;
        self.extended = false;
        self.line = LineReader::default();
        self.offered = None;
        self.state = State::ExpectHello;
    }

    /// Offers these SASL mechanisms on this connection, until TLS starts, instead of the configuration's: what a
    /// connection can bind to is known only once it is there (RFC 5802 §6).
    pub fn offer(&mut self, mechanisms: impl IntoIterator<Item = impl Into<String>>) {
        self.offered = Some(mechanisms.into_iter().map(Into::into).collect());
    }

    /// From now on no new transaction starts: the next command outside of one is answered with 421.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Ends the session on the driver's account (timeout, shutdown): sends `reply`, whatever the state.
    pub fn shut_down(&mut self, reply: &Reply) {
        self.question = None;
        self.closing = None;
        self.write(reply);
        self.state = State::Closed;
    }

    /// Replies not yet sent.
    pub fn output(&self) -> &[u8] {
        &self.out
    }

    /// `count` bytes of the output were sent.
    pub fn output_sent(&mut self, count: usize) {
        self.out.drain(..count);
        // Between messages a connection may idle for minutes: it should not hold a burst's buffer.
        if self.out.is_empty() && self.out.capacity() > limits::COMMAND_LINE_MAX * 2 {
            self.out = Vec::new();
        }
    }

    /// What the session waits for: it tells the driver which timeout applies.
    pub fn awaiting(&self) -> Awaiting {
        match self.state {
            _ if self.question.is_some() => Awaiting::Decision,
            State::ExpectText(..) | State::ExpectChunk(..) | State::ExpectDiscard(_) => {
                Awaiting::Text
            }
            State::ExpectTls => Awaiting::Tls,
            State::ExpectHello | State::ExpectMail => Awaiting::Command { transaction: false },
            State::Closed => Awaiting::Nothing,
            _ => Awaiting::Command { transaction: true },
        }
    }

    /// How many lines the client has sent: commands of any kind and responses to challenges. Text does not count.
    pub fn lines_seen(&self) -> u64 {
        self.counters.lines
    }

    /// How many replies [`finish`](Session::finish) must bring, once [`Event::End`] was told.
    pub fn replies_due(&self) -> usize {
        match &self.state {
            State::ExpectVerdict(transaction) => transaction.replies(self.config.service),
            _ => 0,
        }
    }

    /// Whether the connection is under TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether AUTH has succeeded.
    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Whether the client said EHLO or LHLO.
    pub fn is_extended(&self) -> bool {
        self.extended
    }

    fn greet(&mut self) {
        let protocol = if self.config.service == Service::Lmtp {
            "LMTP"
        } else {
            "ESMTP"
        };
        self.write(&Reply::plain(
            ReplyCode::Ready220,
            format!("{} {protocol} Mailrook", self.config.hostname),
        ));
    }

    /// The answer to HELO, EHLO or LHLO, with the extensions offered now.
    fn welcome(&mut self, verb: HelloVerb) {
        self.state = State::ExpectMail;
        self.extended = verb != HelloVerb::Helo;
        let config = &self.config;
        let mut text = config.hostname.to_string();
        if self.extended {
            text.push_str(
                "\nPIPELINING\n8BITMIME\nSMTPUTF8\nCHUNKING\nBINARYMIME\nENHANCEDSTATUSCODES\nHELP",
            );
            text.push_str(&format!("\nSIZE {}", config.size_max));
            text.push_str(&format!(
                "\nLIMITS MAILMAX={} RCPTMAX={}",
                config.mail_max, config.rcpt_max
            ));
            if config.dsn {
                text.push_str("\nDSN");
            }
            if config.starttls && !self.tls && !self.authenticated {
                text.push_str("\nSTARTTLS");
            }
            let mechanisms = self.mechanisms();
            if !mechanisms.is_empty() && !self.authenticated {
                text.push_str(&format!("\nAUTH {}", mechanisms.join(" ")));
            }
        }
        self.write(&Reply::plain(ReplyCode::Ok250, text));
    }

    /// The mechanisms that AUTH offers now.
    fn mechanisms(&self) -> &[String] {
        match &self.offered {
            Some(mechanisms) => mechanisms,
            None => self.config.mechanisms(self.tls),
        }
    }

    fn write(&mut self, reply: &Reply) {
        reply.write_to(&mut self.out);
    }

    fn say(&mut self, code: ReplyCode, enhanced: EnhancedCode, text: &'static str) {
        self.write(&Reply::new(code, enhanced, text));
    }

    fn close(&mut self, reply: &Reply, reason: CloseReason) {
        self.write(reply);
        self.closing = Some(reason);
    }

    /// The client made a mistake; too many end the session.
    fn error(&mut self, reply: &Reply) {
        self.write(reply);
        self.counters.errors += 1;
        if self.counters.errors >= limits::ERRORS_MAX {
            self.too_many("too many errors");
        }
    }

    /// The driver refused a sender or recipient; too many end the session.
    fn refuse(&mut self, reply: &Reply) {
        self.write(reply);
        self.counters.refusals += 1;
        if self.counters.refusals >= limits::REFUSALS_MAX {
            self.too_many("too many refused addresses");
        }
    }

    /// A command that leads to no mail; too many end the session.
    fn junk(&mut self) {
        self.counters.junk += 1;
        if self.counters.junk >= limits::JUNK_MAX {
            self.too_many("too many commands without mail");
        }
    }

    fn too_many(&mut self, what: &'static str) {
        let reply = Reply::new(
            ReplyCode::ServiceNotAvailable421,
            EnhancedCode::SECURITY,
            what,
        );
        self.close(&reply, CloseReason::TooManyErrors);
    }

    fn auth_failed(&mut self, reply: &Reply) {
        self.state = State::ExpectMail;
        self.write(reply);
        self.counters.auth_failures += 1;
        if self.counters.auth_failures >= limits::AUTH_FAILURES_MAX {
            self.too_many("too many failed authentications");
        }
    }

    /// Ends the state, which held a transaction, for the one that follows it.
    fn take_transaction(&mut self) -> Option<Transaction> {
        match std::mem::replace(&mut self.state, State::ExpectMail) {
            State::ExpectRcpt(transaction)
            | State::ExpectBdat(transaction)
            | State::ExpectText(transaction, _) => Some(transaction),
            _ => None,
        }
    }
}
