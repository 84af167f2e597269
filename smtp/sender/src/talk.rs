//! One conversation with another system: the client's side of SMTP or LMTP ([`mailrook_smtp_proto::client`]) over a stream.
//!
//! The state machine says what is next; here it is done, within the time that it gives. What the stream runs over, and whose certificate is
//! good, is the business of whoever connects.

use std::{io, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use mailrook_smtp_proto::{
    BodyType, EnhancedCode, ForwardPath, Notify, OriginalRecipient, Ret,
    client::{
        Client, ClientConfig, Ended, Envelope, Outcome as Spoken, Protocol, Recipient, RemoteReply,
        Step,
    },
};
use mailrook_store_api::shard::{ClaimedJob, QueuedRecipient};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout},
};

use crate::{Attempt, BodyUnreadable, Errand, Outcome, Told, Way};

/// A byte stream to another system.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Starts TLS on a stream, as its client.
pub trait Handshake: Send + Sync + 'static {
    /// Shakes hands. Says whether the remote's certificate was verified.
    fn shake<'a>(&'a self, stream: Box<dyn Io>) -> BoxFuture<'a, io::Result<(Box<dyn Io>, bool)>>;
}

/// What is read at once: some replies.
const READ_LEN: usize = 4096;

/// After a failed write the remote's last words are waited for so long.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A connection on which messages can be sent.
pub struct Talk {
    /// Away only during a handshake.
    stream: Option<Box<dyn Io>>,
    client: Client,
    handshake: Arc<dyn Handshake>,
    /// The remote's name, for reports.
    remote: String,
    is_final: bool,
    began: Instant,
}

impl Talk {
    /// Speaks as far as to the first message.
    ///
    /// # Errors
    /// Why the remote will not, or cannot, talk.
    pub async fn open(
        stream: Box<dyn Io>,
        config: ClientConfig,
        handshake: Arc<dyn Handshake>,
        remote: String,
    ) -> Result<Talk, Ended> {
        // With LMTP the remote is where the mailbox is (RFC 2033 §3).
        let is_final = config.protocol == Protocol::Lmtp;
        let mut talk = Talk {
            stream: Some(stream),
            client: Client::new(config, Duration::ZERO),
            handshake,
            remote,
            is_final,
            began: Instant::now(),
        };
        match talk.speak().await {
            Step::Closed(ended) => Err(ended),
            _ => Ok(talk),
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Reads, writes and shakes hands until the caller's word is needed.
    async fn speak(&mut self) -> Step {
        loop {
            match self.client.next_step() {
                Step::Write => self.write().await,
                Step::Read => self.read().await,
                Step::StartTls => self.start_tls().await,
                step => return step,
            }
        }
    }

    /// What is left until the remote has been silent for too long.
    fn patience(&self) -> Duration {
        let deadline = self.client.deadline().unwrap_or(Duration::MAX);
        deadline.saturating_sub(self.now())
    }

    async fn write(&mut self) {
        let patience = self.patience();
        let Some(stream) = &mut self.stream else {
            return self.client.connection_lost();
        };
        match timeout(patience, stream.write(self.client.output())).await {
            Ok(Ok(written)) if written > 0 => {
                // What is behind must not wait in a buffer of TLS.
                let flushed = timeout(patience, stream.flush()).await;
                let now = self.now();
                self.client.output_sent(written, now);
                if !matches!(flushed, Ok(Ok(()))) {
                    self.last_words().await;
                }
            }
            Ok(_) => self.last_words().await,
            Err(_elapsed) => self.expire(),
        }
    }

    /// A remote that hangs up often says why.
    async fn last_words(&mut self) {
        let mut said = [0; READ_LEN];
        if let Some(stream) = &mut self.stream
            && let Ok(Ok(len)) = timeout(LAST_WORDS, stream.read(&mut said)).await
        {
            let now = self.now();
            self.client.receive(&said[..len], now);
        }
        self.client.connection_lost();
    }

    async fn read(&mut self) {
        let patience = self.patience();
        let Some(stream) = &mut self.stream else {
            return self.client.connection_lost();
        };
        let mut said = [0; READ_LEN];
        match timeout(patience, stream.read(&mut said)).await {
            Ok(Ok(0) | Err(_)) => self.client.connection_lost(),
            Ok(Ok(len)) => {
                let now = self.now();
                self.client.receive(&said[..len], now);
            }
            Err(_elapsed) => self.expire(),
        }
    }

    fn expire(&mut self) {
        // Timers are rounded: the deadline itself is what has come.
        let now = self.now().max(self.client.deadline().unwrap_or_default());
        if !self.client.expire(now) {
            self.client.connection_lost();
        }
    }

    async fn start_tls(&mut self) {
        let patience = self.patience();
        let Some(stream) = self.stream.take() else {
            return self.client.connection_lost();
        };
        match timeout(patience, self.handshake.shake(stream)).await {
            Ok(Ok((stream, verified))) => {
                self.stream = Some(stream);
                let now = self.now();
                self.client.tls_started(verified, now);
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, remote = self.remote, "no TLS");
                self.client.connection_lost();
            }
            Err(_elapsed) => self.expire(),
        }
    }

    /// Sends a message, in as many transactions as the remote wants for its recipients.
    async fn send_all(&mut self, errand: &Errand) -> Attempt {
        let mut outcomes = vec![Outcome::NotTried; errand.job.recipients.len()];
        let mut left: Vec<usize> = (0..outcomes.len()).collect();
        while !left.is_empty() {
            let recipients = left.iter().map(|at| &errand.job.recipients[*at].1);
            let envelope = envelope(&errand.job, recipients, errand.body.size());
            let spoken = match self.transact(envelope, errand).await {
                Ok(spoken) => spoken,
                Err(ended) => vec![Spoken::NotSent(ended); left.len()],
            };
            let mut next = Vec::new();
            for (at, spoken) in left.into_iter().zip(spoken) {
                match self.outcome(spoken) {
                    Some(outcome) => outcomes[at] = outcome,
                    None => next.push(at),
                }
            }
            left = next;
        }
        Attempt { outcomes }
    }

    /// One transaction.
    async fn transact(
        &mut self,
        envelope: Envelope,
        errand: &Errand,
    ) -> Result<Vec<Spoken>, Ended> {
        match self.speak().await {
            Step::Closed(ended) => return Err(ended),
            Step::Ready => {}
            // No other step asks for a word of ours between messages.
            _ => return Err(Ended::Abandoned),
        }
        let now = self.now();
        self.client.send(envelope, now);
        let mut text = Text::Prefix;
        loop {
            let step = self.speak().await;
            let now = self.now();
            match step {
                Step::NeedBody => match text.next(errand).await {
                    Ok(Some(piece)) => self.client.body(&piece, now),
                    Ok(None) => self.client.end_body(now),
                    Err(error) => {
                        tracing::debug!(%error, "a queued message cannot be read");
                        self.client.abandon(now);
                    }
                },
                Step::AboutToCommit => match errand.lease.look().await {
                    Ok(()) => {
                        let now = self.now();
                        self.client.commit(now);
                    }
                    Err(lost) => {
                        tracing::debug!(%lost, "given up before the final dot");
                        self.client.abandon(now);
                    }
                },
                Step::Finished(outcomes) => return Ok(outcomes),
                Step::Closed(ended) => return Err(ended),
                // The transaction tells its end before anything else.
                Step::Ready | Step::Write | Step::Read | Step::StartTls => {
                    return Err(Ended::Abandoned);
                }
            }
        }
    }

    /// What it means for the recipient; `None`: it goes into the next transaction.
    fn outcome(&self, spoken: Spoken) -> Option<Outcome> {
        Some(match spoken {
            Spoken::Delivered { reply, dsn } => Outcome::Delivered {
                told: self.told(&reply),
                reports: dsn,
                is_final: self.is_final,
            },
            Spoken::Refused(reply) => Outcome::Refused(self.told(&reply)),
            Spoken::Deferred(reply) => Outcome::Deferred(self.told(&reply)),
            Spoken::Impossible(lacking) => {
                let EnhancedCode { subject, detail } = lacking.enhanced();
                Outcome::Refused(Told::here(
                    &format!("5.{subject}.{detail}"),
                    lacking.to_string(),
                ))
            }
            Spoken::NextTransaction => return None,
            Spoken::NotSent(Ended::Abandoned) => Outcome::NotTried,
            Spoken::NotSent(ended) => Outcome::Deferred(told_of(&self.remote, &ended)),
            Spoken::Unknown(ended) => {
                let told = told_of(&self.remote, &ended);
                let reason = format!("{told}; whether the message arrived is not known");
                Outcome::Deferred(Told {
                    reason: Some(reason),
                    reply: None,
                    ..told
                })
            }
        })
    }

    fn told(&self, reply: &RemoteReply) -> Told {
        Told::by(&self.remote, &reply.status(), reply.to_string())
    }
}

/// What is told of a conversation that ended.
pub(crate) fn told_of(remote: &str, ended: &Ended) -> Told {
    let by = |reply: &RemoteReply| Told::by(remote, &reply.status(), reply.to_string());
    match ended {
        Ended::Refused(reply) | Ended::ServiceClosing(reply) | Ended::RefusedEarly(reply) => {
            by(reply)
        }
        // RFC 3463 §3.8, X.7.1 and X.7.8: delivery not authorised, credentials.
        Ended::LoginRefused(reply) => Told {
            status: "4.7.8".to_owned(),
            ..by(reply)
        },
        Ended::NoTls(_) | Ended::NoLogin => here(remote, "4.7.10", ended),
        // RFC 3463 §3.5: bad connection; §3.6: invalid protocol conversation.
        Ended::ConnectionLost | Ended::TimedOut(_) | Ended::Quit | Ended::Abandoned => {
            here(remote, "4.4.2", ended)
        }
        Ended::BadReply(_)
        | Ended::UnexpectedReply(_)
        | Ended::PlaintextAfterStartTls
        | Ended::LoginBroken => here(remote, "4.5.0", ended),
    }
}

fn here(remote: &str, status: &str, ended: &Ended) -> Told {
    Told {
        remote: Some(remote.to_owned()),
        ..Told::here(status, format!("{remote}: {ended}"))
    }
}

/// How far a message's text has been given out.
enum Text {
    Prefix,
    Piece(u32),
}

impl Text {
    async fn next(&mut self, errand: &Errand) -> Result<Option<Vec<u8>>, BodyUnreadable> {
        match self {
            Text::Prefix => {
                *self = Text::Piece(0);
                Ok(Some(errand.body.prefix().to_vec()))
            }
            Text::Piece(number) => {
                let piece = errand.body.piece(*number).await?;
                *number += 1;
                Ok(piece)
            }
        }
    }
}

fn envelope<'a>(
    job: &ClaimedJob,
    recipients: impl Iterator<Item = &'a QueuedRecipient>,
    size: u64,
) -> Envelope {
    let of = &job.envelope;
    let recipient = |to: &QueuedRecipient| Recipient {
        path: ForwardPath::Address(to.address.clone()),
        notify: to.notify.map(|notify| Notify {
            success: notify.success,
            failure: notify.failure,
            delay: notify.delay,
        }),
        original: to
            .original
            .as_ref()
            .map(|(kind, address)| OriginalRecipient {
                address_type: kind.clone(),
                address: address.clone(),
            }),
    };
    Envelope {
        body: if of.needs.eight_bit {
            BodyType::EightBitMime
        } else {
            BodyType::SevenBit
        },
        smtputf8: of.needs.smtputf8,
        require_tls: of.needs.require_tls,
        ret: of
            .return_full
            .map(|full| if full { Ret::Full } else { Ret::Headers }),
        envid: of.envid.clone(),
        ..Envelope::new(
            of.reverse_path.clone(),
            recipients.map(recipient).collect(),
            size,
        )
    }
}

impl Way for Talk {
    fn send<'a>(&'a mut self, errand: &'a Errand) -> BoxFuture<'a, Attempt> {
        self.send_all(errand).boxed()
    }

    fn is_open(&self) -> bool {
        self.client.is_open()
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            if let Step::Ready = self.speak().await {
                let now = self.now();
                self.client.quit(now);
                self.speak().await;
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
