//! Commands: whether each may come now, and what is said if not.

use super::{
    CloseReason, Event, Question, Session, State,
    body::{Chunk, Transaction},
    event::AuthBytes,
};
use crate::{
    command::{self, BodyType, Command, HelloName, HelloVerb, MailCommand, RcptCommand},
    config::Service,
    limits,
    line::{BadLine, Line},
    reply::{EnhancedCode as E, Reply, ReplyCode as R},
};

impl Session {
    /// Input while a line is awaited.
    pub(super) fn take_line(&mut self, input: &[u8]) -> (usize, Option<Event>) {
        let auth = matches!(self.state, State::ExpectAuthResponse);
        let (count, line) = self.line.next(input, auth);
        let Some(line) = line else {
            return (count, None);
        };
        self.counters.lines += 1;
        let event = match line {
            Line::Bad(bad) => self.bad_line(bad, auth),
            Line::Whole(line) if auth => self.auth_response(&line),
            Line::Whole(line) => match command::parse(&line) {
                // What follows in the same segment was not protected, yet would be read as if it were. A STARTTLS that is
                // refused changes nothing, and what follows it is the next command.
                Ok(Command::StartTls)
                    if count < input.len() && self.starttls_refusal().is_none() =>
                {
                    self.plaintext_after_starttls()
                }
                Ok(command) => self.command(command),
                Err(malformed) => {
                    self.error(&malformed.reply);
                    if malformed.fatal {
                        self.closing = Some(CloseReason::OutOfStep);
                    }
                    None
                }
            },
        };
        (count, event)
    }

    fn bad_line(&mut self, bad: BadLine, auth: bool) -> Option<Event> {
        let (code, enhanced, text) = match bad {
            BadLine::BareLf => (
                R::SyntaxError500,
                E::SYNTAX,
                "a bare LF was sent; command lines end in CRLF",
            ),
            BadLine::Control => (
                R::SyntaxError500,
                E::SYNTAX,
                "a command line must not hold control characters",
            ),
            BadLine::NotUtf8 => (
                R::SyntaxError500,
                E::SYNTAX,
                "a command line must be ASCII or UTF-8",
            ),
            BadLine::TooLong if auth => (
                R::SyntaxError500,
                E::AUTH_LINE_TOO_LONG,
                "the line is too long",
            ),
            BadLine::TooLong | BadLine::Endless => {
                (R::SyntaxError500, E::SYNTAX, "the line is too long")
            }
        };
        self.error(&Reply::new(code, enhanced, text));
        if bad == BadLine::Endless {
            self.closing = Some(CloseReason::OutOfStep);
        }
        if auth {
            self.state = State::ExpectMail;
            return Some(Event::AuthCancelled);
        }
        None
    }

    fn command(&mut self, command: Command) -> Option<Event> {
        let outside = matches!(self.state, State::ExpectHello | State::ExpectMail);
        if self.draining && outside && command != Command::Quit {
            let reply = Reply::new(
                R::ServiceNotAvailable421,
                E::SYSTEM_SHUTTING_DOWN,
                "this server is stopping",
            );
            self.close(&reply, CloseReason::Draining);
            return None;
        }
        match command {
            Command::Hello(verb, name) => return self.hello(verb, name),
            Command::Mail(mail) => return self.or_error(Session::mail, mail),
            Command::Rcpt(_) if self.recipients_are_full() => self.put_off_recipient(),
            Command::Rcpt(rcpt) => return self.or_error(Session::rcpt, rcpt),
            Command::Data => return self.or_error(|session, ()| session.data(), ()),
            Command::Bdat { octets, last } => {
                return self.bdat(Chunk {
                    octets,
                    last,
                    announced: octets,
                });
            }
            Command::Rset => return Some(self.reset()),
            Command::Auth { mechanism, initial } => {
                return self.or_error(
                    |session, (mechanism, initial)| session.auth(mechanism, initial),
                    (mechanism, initial),
                );
            }
            Command::StartTls => return self.or_error(|session, ()| session.starttls(), ()),
            Command::Quit => {
                let reply = Reply::new(R::Closing221, E::OTHER, "goodbye");
                self.close(&reply, CloseReason::Quit);
            }
            Command::Noop => self.idle(&Reply::new(R::Ok250, E::OTHER, "ok")),
            // RFC 5321 §3.5.3: nothing is told about who exists.
            Command::Vrfy => {
                self.idle(&Reply::new(
                    R::CannotVerify252,
                    E::ADDRESS,
                    "send the mail and see",
                ));
            }
            Command::Expn => {
                self.error(&Reply::new(
                    R::NotImplemented502,
                    E::INVALID_COMMAND,
                    "EXPN is not offered",
                ));
            }
            Command::Help => self.idle(&Reply::new(
                R::Help214,
                E::OTHER,
                "this is Mailrook; see RFC 5321 for the commands",
            )),
            Command::Http => {
                let reply = Reply::new(
                    R::ServiceNotAvailable421,
                    E::SECURITY,
                    "this is a mail server",
                );
                self.close(&reply, CloseReason::Http);
            }
        }
        None
    }

    /// Runs `handle`, whose error is a reply to a client's mistake.
    fn or_error<T>(
        &mut self,
        handle: impl FnOnce(&mut Session, T) -> Result<Event, Reply>,
        argument: T,
    ) -> Option<Event> {
        match handle(self, argument) {
            Ok(event) => Some(event),
            Err(reply) => {
                self.error(&reply);
                None
            }
        }
    }

    fn idle(&mut self, reply: &Reply) {
        self.write(reply);
        self.junk();
    }

    fn hello(&mut self, verb: HelloVerb, name: HelloName) -> Option<Event> {
        // RFC 2033 §4.1: LMTP has LHLO alone, SMTP has it not.
        if (verb == HelloVerb::Lhlo) != (self.config.service == Service::Lmtp) {
            self.error(&command::unknown_command());
            return None;
        }
        self.junk();
        if self.closing.is_some() {
            return None;
        }
        // RFC 5321 §4.1.4: as RSET.
        self.state = State::ExpectHello;
        self.question = Some(Question::Hello(verb));
        Some(Event::Hello { verb, name })
    }

    fn mail(&mut self, mail: MailCommand) -> Result<Event, Reply> {
        match self.state {
            State::ExpectHello => return Err(self.hello_first()),
            State::ExpectMail => {}
            _ => return Err(sequence("a sender was given already")),
        }
        let config = &self.config;
        if config.auth_required && !self.authenticated {
            let must_encrypt = self.mechanisms().is_empty();
            // RFC 3207 §4, RFC 4954 §6.
            let text = if must_encrypt {
                "must issue STARTTLS first"
            } else {
                "authentication required"
            };
            return Err(Reply::new(R::AuthRequired530, E::SECURITY, text));
        }
        let uses_extension = mail.size.is_some() || mail.body.is_some() || mail.smtputf8;
        let uses_dsn = mail.ret.is_some() || mail.envid.is_some();
        let auth_offered =
            !config.mechanisms_tls.is_empty() || !config.mechanisms_plaintext.is_empty();
        if (uses_extension && !self.extended)
            || (uses_dsn && !config.dsn)
            || (mail.auth.is_some() && !auth_offered)
        {
            return Err(not_offered());
        }
        if mail.size.is_some_and(|size| size > config.size_max) {
            let text = format!("the message is larger than {} octets", config.size_max);
            return Err(Reply::new(R::ExceededStorage552, E::MESSAGE_TOO_BIG, text));
        }
        if mail.non_ascii && !mail.smtputf8 {
            // RFC 6531 §3.5.
            return Err(Reply::new(
                R::MailboxUnavailable550,
                E::NON_ASCII_ADDRESS,
                "this address needs SMTPUTF8",
            ));
        }
        if self.counters.mails >= config.mail_max {
            let text = "too many messages on one connection";
            self.closing = Some(CloseReason::MailMax);
            return Err(Reply::new(R::ServiceNotAvailable421, E::SECURITY, text));
        }
        self.question = Some(Question::Mail(Transaction::new(&mail)));
        Ok(Event::Mail(mail))
    }

    fn rcpt(&mut self, rcpt: RcptCommand) -> Result<Event, Reply> {
        let State::ExpectRcpt(transaction) = &self.state else {
            return Err(sequence("MAIL first"));
        };
        if (rcpt.notify.is_some() || rcpt.original.is_some()) && !self.config.dsn {
            return Err(not_offered());
        }
        if rcpt.non_ascii && !transaction.smtputf8 {
            let text = "this address needs SMTPUTF8";
            return Err(Reply::new(
                R::MailboxNameNotAllowed553,
                E::NON_ASCII_ADDRESS,
                text,
            ));
        }
        self.question = Some(Question::Rcpt);
        Ok(Event::Rcpt(rcpt))
    }

    fn recipients_are_full(&self) -> bool {
        matches!(&self.state, State::ExpectRcpt(transaction) if transaction.accepted >= self.config.rcpt_max)
    }

    /// RFC 5321 §4.5.3.1.10: the client sends to the others later. No error: it need not know the limit.
    fn put_off_recipient(&mut self) {
        self.say(
            R::InsufficientStorage452,
            E::TOO_MANY_RECIPIENTS,
            "too many recipients",
        );
        self.counters.excess_rcpts += 1;
        if self.counters.excess_rcpts > limits::EXCESS_RCPT_MAX {
            self.too_many("too many recipients");
        }
    }

    fn data(&mut self) -> Result<Event, Reply> {
        match &self.state {
            State::ExpectRcpt(transaction) => {
                recipients_there(transaction)?;
                if transaction.body == BodyType::BinaryMime {
                    // RFC 3030 §3.
                    return Err(sequence("BODY=BINARYMIME needs BDAT"));
                }
            }
            State::ExpectBdat(_) => return Err(sequence("the message has begun with BDAT")),
            _ => return Err(sequence("MAIL first")),
        }
        self.question = Some(Question::Data);
        Ok(Event::Data)
    }

    fn bdat(&mut self, chunk: Chunk) -> Option<Event> {
        let (allowed, first) = match &self.state {
            State::ExpectRcpt(transaction) => (
                recipients_there(transaction).and_then(|()| self.chunk_allowed(transaction, chunk)),
                true,
            ),
            State::ExpectBdat(transaction) => (self.chunk_allowed(transaction, chunk), false),
            _ => (Err(sequence("MAIL first")), true),
        };
        match allowed {
            Ok(()) if first => {
                self.question = Some(Question::Bdat(chunk));
                Some(Event::Data)
            }
            Ok(()) => {
                if let Some(transaction) = self.take_transaction() {
                    self.start_chunk(transaction, chunk);
                }
                None
            }
            Err(reply) => self.unwanted_chunk(chunk, reply, first),
        }
    }

    /// BDAT that cannot be taken. Its octets are on their way, whatever we say.
    fn unwanted_chunk(&mut self, chunk: Chunk, reply: Reply, first: bool) -> Option<Event> {
        self.counters.errors += 1;
        if chunk.octets > self.config.size_max.saturating_add(limits::SWALLOW_MAX)
            || self.counters.errors >= limits::ERRORS_MAX
        {
            self.close(&reply, CloseReason::OutOfStep);
            return None;
        }
        let transaction = match self.state {
            State::ExpectRcpt(_) | State::ExpectBdat(_) => self.take_transaction(),
            _ => None,
        };
        // The driver may hold earlier chunks; what else speaks against a further one, it knows.
        let news = !first
            && transaction
                .as_ref()
                .is_some_and(|transaction| !transaction.is_refused());
        self.discard(chunk, reply, transaction);
        news.then_some(Event::Aborted(super::Aborted::TooLarge))
    }

    fn reset(&mut self) -> Event {
        if !matches!(self.state, State::ExpectHello) {
            self.state = State::ExpectMail;
        }
        self.idle(&Reply::new(R::Ok250, E::OTHER, "reset"));
        Event::Reset
    }

    fn starttls(&mut self) -> Result<Event, Reply> {
        if let Some(refusal) = self.starttls_refusal() {
            return Err(refusal);
        }
        self.state = State::ExpectTls;
        self.say(R::Ready220, E::OTHER, "ready to start TLS");
        Ok(Event::StartTls)
    }

    fn starttls_refusal(&self) -> Option<Reply> {
        if !self.config.starttls {
            let text = "STARTTLS is not offered";
            return Some(Reply::new(R::NotImplemented502, E::INVALID_COMMAND, text));
        }
        if self.tls {
            return Some(sequence("TLS is active already"));
        }
        // RFC 3207 §4.2: the handshake voids what was learnt before it, and so would the login. No honest client wants
        // that, and a login that was kept would be that of whoever ends up behind the handshake.
        if self.authenticated {
            return Some(sequence("authenticated already"));
        }
        match self.state {
            State::ExpectMail if self.extended => None,
            State::ExpectHello | State::ExpectMail => Some(self.hello_first()),
            _ => Some(sequence("not within a mail transaction")),
        }
    }

    fn plaintext_after_starttls(&mut self) -> Option<Event> {
        let text = "nothing may follow STARTTLS before its reply (RFC 3207 section 4.2)";
        self.close(
            &Reply::new(R::TransactionFailed554, E::INVALID_COMMAND, text),
            CloseReason::PlaintextAfterStartTls,
        );
        None
    }

    fn auth(&mut self, mechanism: String, initial: Option<Vec<u8>>) -> Result<Event, Reply> {
        let config = &self.config;
        if config.mechanisms_tls.is_empty() && config.mechanisms_plaintext.is_empty() {
            return Err(Reply::new(
                R::NotImplemented502,
                E::INVALID_COMMAND,
                "AUTH is not offered",
            ));
        }
        match self.state {
            State::ExpectMail if self.extended => {}
            State::ExpectHello | State::ExpectMail => return Err(self.hello_first()),
            _ => return Err(sequence("not within a mail transaction")),
        }
        if self.authenticated {
            return Err(sequence("authenticated already"));
        }
        if !self.mechanisms().contains(&mechanism) {
            if !self.tls && config.mechanisms_tls.contains(&mechanism) {
                let text = "this mechanism needs encryption; STARTTLS first";
                return Err(Reply::new(
                    R::EncryptionRequired538,
                    E::ENCRYPTION_REQUIRED,
                    text,
                ));
            }
            let text = "this mechanism is not offered";
            return Err(Reply::new(
                R::ParameterNotImplemented504,
                E::INVALID_ARGUMENTS,
                text,
            ));
        }
        self.question = Some(Question::Auth);
        Ok(Event::Auth {
            mechanism,
            initial: initial.map(AuthBytes),
        })
    }

    fn auth_response(&mut self, line: &str) -> Option<Event> {
        let refusal = match line {
            // RFC 4954 §4.
            "*" => Reply::new(
                R::ParameterError501,
                E::SECURITY,
                "authentication cancelled",
            ),
            _ => match command::decode_response(line) {
                Ok(response) => {
                    self.question = Some(Question::Auth);
                    return Some(Event::AuthResponse(AuthBytes(response)));
                }
                Err(reply) => reply,
            },
        };
        self.state = State::ExpectMail;
        self.error(&refusal);
        Some(Event::AuthCancelled)
    }

    fn hello_first(&self) -> Reply {
        sequence(if self.config.service == Service::Lmtp {
            "say LHLO first"
        } else {
            "say EHLO first"
        })
    }
}

fn recipients_there(transaction: &Transaction) -> Result<(), Reply> {
    match transaction {
        Transaction { accepted: 1.., .. } => Ok(()),
        // RFC 5321 §3.3, RFC 2033 §4.2.
        Transaction { refused: 1.., .. } => Err(Reply::new(
            R::TransactionFailed554,
            E::INVALID_COMMAND,
            "no valid recipients",
        )),
        _ => Err(sequence("RCPT first")),
    }
}

fn sequence(text: &'static str) -> Reply {
    Reply::new(R::BadSequence503, E::INVALID_COMMAND, text)
}

fn not_offered() -> Reply {
    let text = "a parameter of an extension that is not offered";
    Reply::new(R::ParametersNotRecognised555, E::INVALID_ARGUMENTS, text)
}
