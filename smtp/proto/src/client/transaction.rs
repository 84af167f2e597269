//! One message on its way: MAIL, RCPT and DATA in groups (RFC 2920), its text, its end, and the verdict.

use std::{collections::BTreeSet, time::Duration};

use mailrook_types::Domain;

use super::{
    Capabilities, Client, Command, Ended, Envelope, Lacking, Outcome, Protocol, RemoteReply, State,
    encoder::{Encoder, Form},
};
use crate::{BodyType, EnhancedCode, limits};

/// A message on its way.
pub(super) struct Transaction {
    envelope: Envelope,
    /// What is decided of each recipient.
    outcomes: Vec<Option<Outcome>>,
    /// The recipients that the remote accepted, in their order.
    accepted: Vec<usize>,
    /// SMTPUTF8 is said.
    smtputf8: bool,
    /// BDAT, not DATA.
    chunking: bool,
    /// The reports that are wanted are told.
    dsn: bool,
    mail_said: bool,
    mail_accepted: bool,
    /// The first recipient that was not named yet.
    next: usize,
    /// How many were named, and at which domains.
    named: u32,
    domains: BTreeSet<Domain>,
    /// No more are named.
    stopped: bool,
    data_said: bool,
    /// Something of the text was given out.
    text_said: bool,
    /// The caller gave up before there was any text.
    abandoned: bool,
    /// The end of the message was given out.
    committed: bool,
    encoder: Encoder,
    /// Text that waits for its BDAT.
    chunk: Vec<u8>,
}

impl Transaction {
    fn new(envelope: Envelope, offered: &Capabilities, chunking: bool) -> Transaction {
        let chunking = (chunking || envelope.body == BodyType::BinaryMime) && offered.chunking;
        let form = match (chunking, envelope.body) {
            (false, _) => Form::Dotted,
            (true, BodyType::BinaryMime) => Form::Binary,
            (true, _) => Form::Counted,
        };
        Transaction {
            outcomes: vec![None; envelope.recipients.len()],
            accepted: Vec::new(),
            smtputf8: envelope.uses_smtputf8(offered),
            chunking,
            dsn: offered.dsn,
            mail_said: false,
            mail_accepted: false,
            next: 0,
            named: 0,
            domains: BTreeSet::new(),
            stopped: false,
            data_said: false,
            text_said: false,
            abandoned: false,
            committed: false,
            encoder: Encoder::new(form),
            chunk: Vec::new(),
            envelope,
        }
    }

    /// The next recipient to be named, if the remote's limits leave room (RFC 9422).
    fn next_recipient(&mut self, offered: &Capabilities) -> Option<usize> {
        while !self.stopped && self.next < self.outcomes.len() {
            let index = self.next;
            self.next += 1;
            let recipient = &self.envelope.recipients[index];
            if self.outcomes[index].is_some() {
                continue;
            }
            if offered.rcpt_max.is_some_and(|max| self.named >= max) {
                self.next = self.outcomes.len();
                break;
            }
            if let (Some(max), Some(domain)) = (offered.rcpt_domain_max, recipient.domain())
                && !self.domains.contains(domain)
            {
                if self.domains.len() >= max as usize {
                    continue;
                }
                self.domains.insert(domain.clone());
            }
            self.named += 1;
            return Some(index);
        }
        None
    }

    /// Decides about a recipient. What was decided first stays.
    fn decide(&mut self, index: usize, outcome: Outcome) {
        self.outcomes[index].get_or_insert(outcome);
    }

    /// The outcomes, at the transaction's end or that of its connection. Who is undecided without the latter was not
    /// named, or put off until others are through.
    pub(super) fn end(self, ended: Option<&Ended>) -> Vec<Outcome> {
        let (committed, accepted) = (self.committed, self.accepted);
        let undecided = |index: usize| match ended {
            None => Outcome::NextTransaction,
            Some(ended) if committed && accepted.contains(&index) => {
                Outcome::Unknown(ended.clone())
            }
            Some(ended) => Outcome::NotSent(ended.clone()),
        };
        let outcomes = self.outcomes.into_iter().enumerate();
        outcomes
            .map(|(index, outcome)| outcome.unwrap_or_else(|| undecided(index)))
            .collect()
    }
}

/// A refusal of 4yz or 5yz as the outcome that it means.
fn refusal(reply: &RemoteReply) -> Outcome {
    if reply.is_permanent() {
        Outcome::Refused(reply.clone())
    } else {
        Outcome::Deferred(reply.clone())
    }
}

/// Whether a refused RCPT means that there are too many (RFC 5321 §4.5.3.1.10): 452, or 552 as RFC 821 had it, that says so or
/// does not say anything else, where one was accepted before.
fn too_many(reply: &RemoteReply) -> bool {
    let said = reply.enhanced == Some(EnhancedCode::TOO_MANY_RECIPIENTS);
    matches!(reply.code, 452 | 552) && (said || reply.enhanced.is_none())
}

impl Client {
    /// Sends a message. What it needs and the remote does not offer is told at once, without a word to the remote.
    ///
    /// # Panics
    /// If it is not [`Step::Ready`](super::Step::Ready)'s turn, or there is no recipient: the caller is wrong.
    pub fn send(&mut self, envelope: Envelope, now: Duration) {
        assert!(!envelope.recipients.is_empty(), "mail goes to somebody");
        let lacking = envelope.lacks(&self.capabilities, self.tls, &self.config);
        let mut transaction = Transaction::new(envelope, &self.capabilities, self.config.chunking);
        if self.state == State::Closed {
            // It ended since Ready was told.
            self.told = Some(transaction.end(self.ended.as_ref()));
            return;
        }
        assert_eq!(
            self.state,
            State::ExpectEnvelope,
            "one message goes after the other"
        );
        for index in 0..transaction.outcomes.len() {
            let utf8 = transaction.envelope.recipients[index].needs_smtputf8();
            let alone = (utf8 && !self.capabilities.smtputf8).then_some(Lacking::SmtpUtf8);
            if let Some(lacking) = lacking.or(alone) {
                transaction.decide(index, Outcome::Impossible(lacking));
            }
        }
        if transaction.outcomes.iter().all(Option::is_some) {
            self.told = Some(transaction.end(None));
            return;
        }
        self.transaction = Some(Box::new(transaction));
        self.state = State::ExpectAccepted;
        self.mails += 1;
        self.say_more();
        self.arm(now);
    }

    /// Takes more of the message's text, in pieces of any size. What comes after the transaction's end is dropped.
    pub fn body(&mut self, text: &[u8], now: Duration) {
        if self.state != State::ExpectBody || text.is_empty() {
            return;
        }
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        let was_empty = self.output.is_empty();
        if transaction.chunking {
            transaction.encoder.encode(text, &mut transaction.chunk);
            if transaction.chunk.len() >= limits::CHUNK_LEN {
                transaction.text_said = true;
                let chunk = std::mem::take(&mut transaction.chunk);
                self.say(
                    Command::Bdat,
                    format!("BDAT {}\r\n", chunk.len()).as_bytes(),
                );
                self.output.push(&chunk);
            }
        } else {
            transaction.text_said = true;
            transaction.encoder.encode(text, self.output.buffer());
        }
        if was_empty {
            self.arm(now);
        }
    }

    /// The text is complete: [`Step::AboutToCommit`](super::Step::AboutToCommit) follows when all of it is written.
    pub fn end_body(&mut self, now: Duration) {
        if self.state != State::ExpectBody {
            return;
        }
        if let Some(transaction) = &mut self.transaction {
            let out = match transaction.chunking {
                true => &mut transaction.chunk,
                false => self.output.buffer(),
            };
            transaction.encoder.finish(out);
            self.state = State::ExpectCommit;
            self.arm(now);
        }
    }

    /// Gives out the end of the message: the final dot, or BDAT LAST with the last of the text, at most
    /// [`limits::CHUNK_LEN`] and one piece of the caller's. From now on the remote may have the message.
    ///
    /// # Panics
    /// If the text is not complete, or not written: the caller is wrong.
    pub fn commit(&mut self, now: Duration) {
        if self.state == State::Closed {
            return;
        }
        assert!(
            self.state == State::ExpectCommit && self.output.is_empty() && self.pending.is_empty(),
            "commit() follows AboutToCommit"
        );
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        transaction.committed = true;
        let chunk = transaction
            .chunking
            .then(|| std::mem::take(&mut transaction.chunk));
        // RFC 2033 §4.2: a reply for each recipient that was accepted, in their order.
        let verdicts: Vec<Option<usize>> = match self.config.protocol {
            Protocol::Smtp => vec![None],
            Protocol::Lmtp => transaction.accepted.iter().copied().map(Some).collect(),
        };
        match &chunk {
            Some(chunk) => self
                .output
                .push(format!("BDAT {} LAST\r\n", chunk.len()).as_bytes()),
            None => self.output.push(b".\r\n"),
        }
        for verdict in verdicts {
            self.await_answer(Command::EndOfMessage(verdict));
        }
        self.output.push(&chunk.unwrap_or_default());
        self.state = State::ExpectVerdict;
        self.arm(now);
    }

    /// Gives the message up. Before DATA was said, and before any BDAT, the connection is kept, and RSET goes before the next
    /// message; later it ends without the end of the message. After [`Client::commit`] it is too late: what is undecided is
    /// [`Outcome::Unknown`].
    pub fn abandon(&mut self, now: Duration) {
        let in_text = matches!(self.state, State::ExpectBody | State::ExpectCommit);
        match &mut self.transaction {
            Some(transaction) if self.state == State::ExpectAccepted && !transaction.data_said => {
                transaction.abandoned = true;
                transaction.stopped = true;
                self.settle();
            }
            Some(transaction) if in_text && transaction.chunking && !transaction.text_said => {
                transaction.abandoned = true;
                self.finish();
            }
            _ => self.fail(Ended::Abandoned),
        }
        self.arm(now);
    }

    /// Says as much of RSET, MAIL, RCPT and DATA as may be without an answer.
    fn say_more(&mut self) {
        let window = if self.capabilities.pipelining {
            limits::PIPELINE_MAX
        } else {
            1
        };
        while self.pending.len() < window {
            let Some(transaction) = self.transaction.as_mut().filter(|t| !t.abandoned) else {
                return;
            };
            let (command, line) = if self.dirty {
                self.dirty = false;
                (Command::Rset, "RSET\r\n".to_owned())
            } else if !transaction.mail_said {
                transaction.mail_said = true;
                (
                    Command::Mail,
                    transaction.envelope.mail_line(&self.capabilities),
                )
            } else if let Some(index) = transaction.next_recipient(&self.capabilities) {
                let recipient = &transaction.envelope.recipients[index];
                let line = recipient.rcpt_line(&self.capabilities, transaction.smtputf8);
                (Command::Rcpt(index), line)
            } else if self.may_say_data() {
                (Command::Data, "DATA\r\n".to_owned())
            } else {
                return;
            };
            if let (Command::Data, Some(transaction)) = (command, &mut self.transaction) {
                transaction.data_said = true;
            }
            self.say(command, line.as_bytes());
        }
    }

    /// DATA goes along with the last RCPT, unless it is known that no recipient can be accepted.
    fn may_say_data(&self) -> bool {
        let Some(transaction) = &self.transaction else {
            return false;
        };
        let open = self
            .pending
            .iter()
            .any(|command| matches!(command, (Command::Rcpt(_), _)));
        let hope = !transaction.accepted.is_empty() || (open && !transaction.stopped);
        hope && !transaction.chunking && !transaction.data_said
    }

    /// An answer within a transaction.
    pub(super) fn on_transaction(&mut self, reply: RemoteReply) {
        let failure = reply.code >= 400;
        if !failure && !reply.is_positive() && reply.command != Command::Data {
            return self.fail(Ended::UnexpectedReply(reply));
        }
        match reply.command {
            Command::Rset if failure => return self.fail(Ended::UnexpectedReply(reply)),
            Command::Mail if failure => self.refuse_all(&reply),
            Command::Mail => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.mail_accepted = true;
                }
            }
            Command::Rcpt(index) => self.on_rcpt(index, &reply),
            Command::Data => return self.on_data(reply),
            Command::Bdat if failure => {
                self.refuse_all(&reply);
                self.state = State::ExpectDrained;
            }
            // A yes to what it does not have whole.
            Command::EndOfMessage(_) if !failure && !self.output.is_empty() => {
                return self.fail(Ended::UnexpectedReply(reply));
            }
            Command::EndOfMessage(index) => self.on_verdict(index, &reply),
            _ => {}
        }
        self.settle();
    }

    fn on_rcpt(&mut self, index: usize, reply: &RemoteReply) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        if reply.is_positive() {
            if transaction.mail_accepted && transaction.outcomes[index].is_none() {
                transaction.accepted.push(index);
            }
        } else if too_many(reply) && !transaction.accepted.is_empty() {
            // It stays undecided, and so do those behind it that were not named.
            transaction.stopped = true;
        } else if reply.code == 552 && too_many(reply) && reply.enhanced.is_some() {
            // No room for a single one: not for good, whatever the code's first digit.
            transaction.decide(index, Outcome::Deferred(reply.clone()));
        } else {
            transaction.decide(index, refusal(reply));
        }
    }

    fn on_data(&mut self, reply: RemoteReply) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        match reply.code {
            354 if transaction.accepted.is_empty() => {
                // RFC 2920 §3.1: the message must be ended, and goes to nobody.
                self.say(Command::EmptyMessage, b".\r\n");
                self.state = State::ExpectDrained;
            }
            354 => self.state = State::ExpectBody,
            400.. => {
                for index in std::mem::take(&mut transaction.accepted) {
                    transaction.decide(index, refusal(&reply));
                }
                self.finish();
            }
            _ => self.fail(Ended::UnexpectedReply(reply)),
        }
    }

    /// The answer to the end of the message.
    fn on_verdict(&mut self, index: Option<usize>, reply: &RemoteReply) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        let outcome = match reply.is_positive() {
            true => Outcome::Delivered {
                reply: reply.clone(),
                dsn: transaction.dsn,
            },
            false => refusal(reply),
        };
        match index {
            Some(index) => transaction.decide(index, outcome),
            None => {
                for index in std::mem::take(&mut transaction.accepted) {
                    transaction.decide(index, outcome.clone());
                }
            }
        }
    }

    /// Gives every recipient who is undecided this refusal, and names no more.
    pub(super) fn refuse_all(&mut self, reply: &RemoteReply) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        // After RCPT those who were accepted are meant, not those who wait for another transaction.
        let accepted = std::mem::take(&mut transaction.accepted);
        let all = accepted.is_empty() && !transaction.mail_accepted;
        let indices = if all {
            (0..transaction.outcomes.len()).collect()
        } else {
            accepted
        };
        for index in indices {
            transaction.decide(index, refusal(reply));
        }
        transaction.stopped = true;
    }

    /// Goes on once an answer, or the caller's word, has changed something.
    fn settle(&mut self) {
        if self.state == State::ExpectAccepted {
            self.say_more();
        }
        if !self.pending.is_empty() {
            return;
        }
        let Some(transaction) = &self.transaction else {
            return;
        };
        match self.state {
            State::ExpectAccepted if transaction.accepted.is_empty() || transaction.abandoned => {
                self.finish();
            }
            State::ExpectAccepted => self.state = State::ExpectBody,
            State::ExpectVerdict | State::ExpectDrained => self.finish(),
            _ => {}
        }
    }

    /// The transaction is over, the connection is not.
    fn finish(&mut self) {
        let Some(transaction) = self.transaction.take() else {
            return;
        };
        // After the end of a message the remote holds nothing of it (RFC 5321 §4.1.1.4).
        self.dirty = self.state != State::ExpectVerdict;
        let abandoned = transaction.abandoned.then_some(Ended::Abandoned);
        let outcomes = transaction.end(abandoned.as_ref());
        self.told = Some(outcomes);
        self.state = State::ExpectEnvelope;
        if let Some(reply) = self.closing.take() {
            self.fail(Ended::ServiceClosing(reply));
        } else if self
            .capabilities
            .mail_max
            .is_some_and(|max| self.mails >= max)
        {
            self.say_goodbye();
        }
    }
}
