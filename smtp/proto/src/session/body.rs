//! Messages on their way in: text up to the dot, chunks of BDAT (RFC 3030), and octets that are only dropped.

use super::{Aborted, CloseReason, Event, Question, Session, State, Step};
use crate::{
    command::{BodyType, MailCommand},
    config::Service,
    data::{Decoder, Piece},
    limits,
    reply::{EnhancedCode, Reply, ReplyCode},
};

/// What is known of a mail transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) body: BodyType,
    pub(super) smtputf8: bool,
    /// Recipients accepted.
    pub(super) accepted: u32,
    /// Recipients refused.
    pub(super) refused: u32,
    /// Octets of the message so far.
    octets: u64,
    /// The session itself refused the message; this is said at its end.
    verdict: Option<Reply>,
    /// Checks line ends across chunks; none for BINARYMIME.
    decoder: Option<Decoder>,
    /// The first BDAT was accepted.
    pub(super) chunked: bool,
}

/// What BDAT announced, less what has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) octets: u64,
    pub(super) last: bool,
    /// As announced, for the reply.
    pub(super) announced: u64,
}

/// Octets to drop, and what follows.
#[derive(Debug)]
pub(super) struct Discard {
    pub(super) octets: u64,
    reply: Reply,
    times: usize,
    then: Box<State>,
}

impl Transaction {
    /// What MAIL starts.
    pub(super) fn new(mail: &MailCommand) -> Transaction {
        Transaction {
            body: mail.body.unwrap_or_default(),
            smtputf8: mail.smtputf8,
            accepted: 0,
            refused: 0,
            octets: 0,
            verdict: None,
            decoder: None,
            chunked: false,
        }
    }

    /// How many replies follow the message.
    pub(super) fn replies(&self, service: Service) -> usize {
        if service == Service::Lmtp {
            self.accepted as usize
        } else {
            1
        }
    }

    /// The session has refused the message already, and the driver knows.
    pub(super) fn is_refused(&self) -> bool {
        self.verdict.is_some()
    }

    /// Counts what came out of the decoder, or sets the verdict.
    fn receive<'a>(&mut self, piece: &Piece<'a>, size_max: u64) -> Option<Step<'a>> {
        match piece {
            _ if self.verdict.is_some() => None,
            Piece::Text(text) => {
                self.octets += text.len() as u64;
                if self.octets > size_max {
                    self.verdict = Some(too_large(size_max));
                    return Some(Step::Event(Event::Aborted(Aborted::TooLarge)));
                }
                Some(Step::Text(text))
            }
            Piece::Bare => {
                self.verdict = Some(Reply::new(
                    ReplyCode::MailboxUnavailable550,
                    EnhancedCode::INVALID_CHARACTERS,
                    "the message has a bare CR or LF; lines end in CRLF (RFC 5321 section 2.3.8)",
                ));
                Some(Step::Event(Event::Aborted(Aborted::BareNewline)))
            }
            Piece::End => None,
        }
    }
}

fn too_large(size_max: u64) -> Reply {
    // RFC 1870 §6.
    let text = format!("the message is larger than {size_max} octets");
    Reply::new(
        ReplyCode::ExceededStorage552,
        EnhancedCode::MESSAGE_TOO_BIG,
        text,
    )
}

impl Session {
    /// Input while a message, or octets to drop, are awaited.
    pub(super) fn take_body<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Step<'a>>) {
        let size_max = self.config.size_max;
        let unwanted = match &mut self.state {
            State::ExpectText(transaction, decoder) => {
                let (count, piece) = decoder.next(input);
                if piece == Some(Piece::End) {
                    let event = self
                        .take_transaction()
                        .and_then(|transaction| self.conclude(transaction));
                    return (count, event.map(Step::Event));
                }
                let event = piece.and_then(|piece| transaction.receive(&piece, size_max));
                if transaction.verdict.is_none() || event.is_some() {
                    return (count, event);
                }
                count
            }
            State::ExpectChunk(..) => return self.take_chunk(input),
            State::ExpectDiscard(discard) => {
                let count = input
                    .len()
                    .min(usize::try_from(discard.octets).unwrap_or(usize::MAX));
                discard.octets -= count as u64;
                count
            }
            _ => 0,
        };
        self.count_unwanted(unwanted);
        if let State::ExpectDiscard(discard) = &mut self.state
            && discard.octets == 0
        {
            let then = std::mem::replace(&mut *discard.then, State::Closed);
            let (reply, times) = (discard.reply.clone(), discard.times);
            self.state = then;
            (0..times).for_each(|_| self.write(&reply));
        }
        (unwanted, None)
    }

    /// A client that goes on sending what was refused is cut off at a bound.
    fn count_unwanted(&mut self, octets: usize) {
        self.counters.swallowed += octets as u64;
        if self.counters.swallowed > self.config.size_max.saturating_add(limits::SWALLOW_MAX) {
            let text = "too much text after a refusal";
            let reply = Reply::new(
                ReplyCode::ServiceNotAvailable421,
                EnhancedCode::MESSAGE_TOO_BIG,
                text,
            );
            self.close(&reply, CloseReason::OutOfStep);
        }
    }

    /// BDAT was accepted: its octets follow.
    pub(super) fn start_chunk(&mut self, mut transaction: Transaction, chunk: Chunk) {
        if !transaction.chunked && transaction.body != BodyType::BinaryMime {
            transaction.decoder = Some(Decoder::counted(self.config.bare_newlines));
        }
        transaction.chunked = true;
        self.state = State::ExpectChunk(transaction, chunk);
    }

    /// BDAT was refused: its octets are dropped (RFC 3030 §2). A transaction that is given along can only be
    /// reset afterwards, or comes to its end with the last chunk.
    pub(super) fn discard(&mut self, chunk: Chunk, reply: Reply, transaction: Option<Transaction>) {
        let (mut times, mut then) = (1, State::ExpectMail);
        match transaction {
            Some(transaction) if chunk.last => times = transaction.replies(self.config.service),
            Some(mut transaction) => {
                transaction.chunked = true;
                transaction.verdict = Some(Reply::new(
                    ReplyCode::BadSequence503,
                    EnhancedCode::INVALID_COMMAND,
                    "the message was refused with an earlier chunk; RSET",
                ));
                then = State::ExpectBdat(transaction);
            }
            None => then = std::mem::replace(&mut self.state, State::Closed),
        }
        // With no recipient accepted there must be a reply all the same.
        self.state = State::ExpectDiscard(Discard {
            octets: chunk.octets,
            reply,
            times: times.max(1),
            then: Box::new(then),
        });
    }

    /// A further or first BDAT within a transaction: `Err` with what speaks against it.
    pub(super) fn chunk_allowed(
        &self,
        transaction: &Transaction,
        chunk: Chunk,
    ) -> Result<(), Reply> {
        if let Some(verdict) = &transaction.verdict {
            return Err(verdict.clone());
        }
        if transaction.octets.saturating_add(chunk.octets) > self.config.size_max {
            return Err(too_large(self.config.size_max));
        }
        Ok(())
    }

    fn take_chunk<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Step<'a>>) {
        let size_max = self.config.size_max;
        let State::ExpectChunk(transaction, chunk) = &mut self.state else {
            return (0, None);
        };
        if chunk.octets == 0 {
            // A CR at the very end may still be told to be a bare one.
            let held = if chunk.last {
                transaction.decoder.take()
            } else {
                None
            };
            let event = held
                .and_then(|mut decoder| decoder.finish())
                .and_then(|piece| transaction.receive(&piece, size_max));
            return (0, event.or_else(|| self.end_of_chunk().map(Step::Event)));
        }
        let within = &input[..input
            .len()
            .min(usize::try_from(chunk.octets).unwrap_or(usize::MAX))];
        let (count, piece) = match &mut transaction.decoder {
            Some(decoder) => decoder.next(within),
            None => (within.len(), Some(Piece::Text(within))),
        };
        chunk.octets -= count as u64;
        let refused_before = transaction.verdict.is_some();
        let event = piece.and_then(|piece| transaction.receive(&piece, size_max));
        if refused_before {
            self.count_unwanted(count);
        }
        (count, event)
    }

    /// All octets of a BDAT have come.
    fn end_of_chunk(&mut self) -> Option<Event> {
        match std::mem::replace(&mut self.state, State::ExpectMail) {
            State::ExpectChunk(transaction, Chunk { last: true, .. }) => self.conclude(transaction),
            State::ExpectChunk(transaction, chunk) => {
                let reply = transaction.verdict.clone().unwrap_or_else(|| {
                    let text = format!("{} octets received", chunk.announced);
                    Reply::new(ReplyCode::Ok250, EnhancedCode::OTHER, text)
                });
                self.write(&reply);
                self.state = State::ExpectBdat(transaction);
                if chunk.announced == 0 {
                    self.junk();
                }
                None
            }
            _ => None,
        }
    }

    /// All of the message has come: the driver's turn, unless the session has refused it.
    fn conclude(&mut self, transaction: Transaction) -> Option<Event> {
        if let Some(verdict) = &transaction.verdict {
            (0..transaction.replies(self.config.service)).for_each(|_| self.write(verdict));
            return None;
        }
        let octets = transaction.octets;
        self.state = State::ExpectVerdict(transaction);
        self.question = Some(Question::Message);
        Some(Event::End { octets })
    }
}
